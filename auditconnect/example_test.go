package auditconnect_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditconnect"
	"github.com/attestlog/attestlog/auditrpc"
)

// A printer prints events where a program would have its *attestlog.Log.
type printer struct{}

func (printer) Record(_ context.Context, e attestlog.Event) error {
	fmt.Println(e.Actor.ID, e.Action, e.Targets, e.Outcome, e.Reason)
	return nil
}

func Example() {
	audit, err := auditconnect.New(printer{}, auditrpc.Config{
		Actor: func(context.Context, auditrpc.Call) attestlog.Actor { return attestlog.Actor{ID: "alice"} },
	})
	if err != nil {
		panic(err)
	}

	const procedure = "/mail.v1.MailService/Delete"
	deleteMail := func(ctx context.Context, r *connect.Request[wrapperspb.StringValue]) (*connect.Response[wrapperspb.StringValue], error) {
		auditrpc.AddTargets(ctx, attestlog.Target{Type: "mail", ID: r.Msg.Value})
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such mail"))
	}
	srv := httptest.NewServer(connect.NewUnaryHandler(procedure, deleteMail, connect.WithInterceptors(audit)))
	defer srv.Close()

	client := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](srv.Client(), srv.URL+procedure)
	_, err = client.CallUnary(context.Background(), connect.NewRequest(wrapperspb.String("7")))
	fmt.Println(err)
	// Output:
	// alice mail.v1.MailService.Delete [{7 mail }] failure not_found
	// not_found: no such mail
}
