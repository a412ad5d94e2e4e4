package auditgrpc_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditgrpc"
	"github.com/attestlog/attestlog/auditrpc"
)

// A printer prints events where a program would have its *attestlog.Log.
type printer struct{}

func (printer) Record(_ context.Context, e attestlog.Event) error {
	fmt.Println(e.Actor.ID, e.Action, e.Targets, e.Outcome, e.Reason)
	return nil
}

func Example() {
	audit, err := auditgrpc.New(printer{}, auditrpc.Config{
		Actor: func(context.Context, auditrpc.Call) attestlog.Actor { return attestlog.Actor{ID: "alice"} },
	})
	if err != nil {
		panic(err)
	}

	// A server is made with grpc.NewServer(grpc.ChainUnaryInterceptor(audit.Unary)),
	// and calls the interceptor like this.
	info := &grpc.UnaryServerInfo{FullMethod: "/mail.v1.MailService/Delete"}
	handler := func(ctx context.Context, _ any) (any, error) {
		auditrpc.AddTargets(ctx, attestlog.Target{Type: "mail", ID: "7"})
		return nil, status.Error(codes.NotFound, "no such mail")
	}
	_, err = audit.Unary(context.Background(), nil, info, handler)
	fmt.Println(err)
	// Output:
	// alice mail.v1.MailService.Delete [{7 mail }] failure not_found
	// rpc error: code = NotFound desc = no such mail
}
