package auditlog_test

import (
	"fmt"

	"github.com/attestlog/attestlog/convert/auditlog"
)

func ExampleRow_Event() {
	in := auditlog.Row{ID: 7, TS: int64(1_700_000_000), Username: "alice", Method: "POST", Path: "/mail", Module: nil, Status: int64(403)}

	e := in.Event("app.db")
	fmt.Println(e.Actor.ID, e.Action, e.Outcome, e.Attributes)

	out, err := auditlog.RowOf(e)
	fmt.Println(out == in, err)
	// Output:
	// alice http.post failure map[auditlog:map[id:7 module:map[null:true]]]
	// true <nil>
}
