package auditlog_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/attestlog/attestlog/compat/auditlog"
)

func Example() {
	dir, err := os.MkdirTemp("", "auditlog")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	s, err := auditlog.New(filepath.Join(dir, "audit.db"))
	if err != nil {
		panic(err)
	}
	defer s.Close()

	s.Record("alice", "POST", "/mail/7", "mail", 200)
	s.Record("bob", "DELETE", "/mail/7", "mail", 403)

	entries, err := s.List(10)
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		fmt.Println(e.Username, e.Method, e.Path, e.Module, e.Status)
	}
	// Output:
	// bob DELETE /mail/7 mail 403
	// alice POST /mail/7 mail 200
}
