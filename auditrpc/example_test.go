package auditrpc_test

import (
	"context"
	"fmt"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditrpc"
)

// A printer prints events where a program would have its *attestlog.Log.
type printer struct{}

func (printer) Record(_ context.Context, e attestlog.Event) error {
	fmt.Println(e.Actor.ID, e.Action, e.Targets, e.Outcome, e.Reason, e.Request.Status)
	return nil
}

// An interceptor for another framework calls Begin and End around the handler.
func Example() {
	audit, err := auditrpc.New(printer{}, auditrpc.Config{
		Actor: func(context.Context, auditrpc.Call) attestlog.Actor { return attestlog.Actor{ID: "alice"} },
	})
	if err != nil {
		panic(err)
	}

	call := auditrpc.Call{
		Procedure: "/mail.v1.MailService/Delete",
		Peer:      "192.0.2.7:4711",
		Header:    func(string) []string { return nil },
	}
	ctx, draft, err := audit.Begin(context.Background(), call)
	if err != nil {
		panic(err)
	}
	auditrpc.AddTargets(ctx, attestlog.Target{Type: "mail", ID: "7"}) // in the handler
	const permissionDenied = 7
	draft.End(ctx, permissionDenied, false)
	// Output:
	// alice mail.v1.MailService.Delete [{7 mail }] failure permission_denied 7
}
