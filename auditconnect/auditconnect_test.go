package auditconnect_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditconnect"
	"github.com/attestlog/attestlog/auditrpc"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
)

const (
	unary  = "/mail.v1.MailService/Delete"
	stream = "/mail.v1.MailService/Watch"
)

type text = wrapperspb.StringValue

func serve(t *testing.T, cfg auditrpc.Config) (*attestlog.Log, *httptest.Server) {
	t.Helper()
	l := sqlitetest.Log(t, attestlog.Config{})
	audit, err := auditconnect.New(l, cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(unary, connect.NewUnaryHandler(unary, func(ctx context.Context, r *connect.Request[text]) (*connect.Response[text], error) {
		auditrpc.AddTargets(ctx, attestlog.Target{ID: r.Msg.Value})
		if r.Msg.Value == "none" {
			return nil, connect.NewError(connect.CodeNotFound, errors.New("no such mail"))
		}
		return connect.NewResponse(r.Msg), nil
	}, connect.WithInterceptors(audit)))
	mux.Handle(stream, connect.NewServerStreamHandler(stream, func(ctx context.Context, r *connect.Request[text], s *connect.ServerStream[text]) error {
		auditrpc.Edit(ctx, func(e *attestlog.Event) { e.Message = r.Msg.Value })
		return s.Send(r.Msg)
	}, connect.WithInterceptors(audit)))
	srv := httptest.NewUnstartedServer(mux)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return l, srv
}

func TestCallsBecomeEvents(t *testing.T) {
	for _, protocol := range []struct {
		name string
		opts []connect.ClientOption
	}{{"connect", nil}, {"grpc", []connect.ClientOption{connect.WithGRPC()}}, {"grpc-web", []connect.ClientOption{connect.WithGRPCWeb()}}} {
		t.Run(protocol.name, func(t *testing.T) {
			l, srv := serve(t, auditrpc.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
			client := connect.NewClient[text, text](srv.Client(), srv.URL+unary, protocol.opts...)
			for _, id := range []string{"7", "none"} {
				req := connect.NewRequest(&text{Value: id})
				req.Header().Set("X-Forwarded-For", "203.0.113.9")
				client.CallUnary(t.Context(), req)
			}
			watch := connect.NewClient[text, text](srv.Client(), srv.URL+stream, protocol.opts...)
			s, err := watch.CallServerStream(t.Context(), connect.NewRequest(&text{Value: "w"}))
			if err != nil {
				t.Fatal(err)
			}
			for s.Receive() {
			}
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			s.Close()
			var got []string
			for e, err := range l.Tail(testwait.Context(t), 0, query.Query{}) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprint(e.Action, " ", e.Outcome, " ", e.Reason, " ", e.Request.Status, " ", e.Source.IP, " ", e.Targets, e.Message))
				if len(got) == 3 {
					break
				}
			}
			want := []string{
				"mail.v1.MailService.Delete success  0 203.0.113.9 [{7  }]", "mail.v1.MailService.Delete failure not_found 5 203.0.113.9 [{none  }]",
				"mail.v1.MailService.Watch success  0 127.0.0.1 []w",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestACallThatFailsClosedDoesNothingUnrecorded(t *testing.T) {
	l, srv := serve(t, auditrpc.Config{FailClosed: func(auditrpc.Call) bool { return true }, Logger: testlog.Quiet})
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	client := connect.NewClient[text, text](srv.Client(), srv.URL+unary)
	if _, err := client.CallUnary(t.Context(), connect.NewRequest(&text{Value: "7"})); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("CallUnary = %v, want unavailable", err)
	}
}
