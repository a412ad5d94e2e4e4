package audit_test

import (
	"fmt"
	"os"

	"github.com/attestlog/attestlog/compat/audit"
)

// The example needs a PostgreSQL server, so it is compiled but not run.
func Example() {
	l, err := audit.New(os.Getenv("DATABASE_URL"), "/var/log/app/audit.jsonl", nil)
	if err != nil {
		panic(err)
	}
	defer l.Close()

	l.Log(audit.Entry{EventType: audit.EventLogin, Username: "alice", IPAddress: "192.0.2.7", Success: true})

	entries, total, err := l.Query(audit.QueryFilter{Username: "alice", PageSize: 20})
	if err != nil {
		panic(err)
	}
	fmt.Println(len(entries), "of", total, "entries")
}
