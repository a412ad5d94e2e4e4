package auditgrpc_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditgrpc"
	"github.com/attestlog/attestlog/auditrpc"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
)

// server stands for an application's own service.
type server struct {
	grpc_health_v1.UnimplementedHealthServer
	ran atomic.Int64
}

func (s *server) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.ran.Add(1)
	switch r.Service {
	case "denied":
		return nil, status.Error(codes.PermissionDenied, "not yours")
	case "slow":
		return nil, fmt.Errorf("the store: %w", context.DeadlineExceeded)
	case "panic":
		panic("broken")
	case "veto":
		auditrpc.Veto(ctx)
	}
	auditrpc.AddTargets(ctx, attestlog.Target{Type: "service", ID: r.Service})
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

func (s *server) Watch(r *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	auditrpc.Edit(stream.Context(), func(e *attestlog.Event) { e.Actor.ID = "watcher" })
	for range 3 {
		if err := stream.Send(&grpc_health_v1.HealthCheckResponse{}); err != nil {
			return err
		}
	}
	return nil
}

func serve(t *testing.T, l *attestlog.Log, cfg auditrpc.Config) (grpc_health_v1.HealthClient, *server) {
	t.Helper()
	audit, err := auditgrpc.New(l, cfg)
	if err != nil {
		t.Fatal(err)
	}
	recover := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = status.Error(codes.Internal, "panic")
			}
		}()
		return handler(ctx, req)
	}
	srv := grpc.NewServer(grpc.ChainUnaryInterceptor(recover, audit.Unary), grpc.ChainStreamInterceptor(audit.Stream))
	s := &server{}
	grpc_health_v1.RegisterHealthServer(srv, s)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(lis)
	t.Cleanup(srv.GracefulStop)
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return grpc_health_v1.NewHealthClient(conn), s
}

func every(auditrpc.Call) bool { return true }

func TestCallsBecomeEvents(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	client, _ := serve(t, l, auditrpc.Config{Record: every, Service: "mail", Actor: func(_ context.Context, c auditrpc.Call) attestlog.Actor {
		for _, user := range c.Header("User") {
			return attestlog.Actor{ID: user}
		}
		return attestlog.Actor{}
	}})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "user", "alice", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x-request-id", "r1")
	for _, service := range []string{"ok", "denied", "slow", "panic", "veto"} {
		client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	}
	stream, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	for err == nil {
		_, err = stream.Recv()
	}
	var got []string
	for _, e := range events(t, l, 5) {
		if e.Source.IP != "127.0.0.1" || e.Source.UserAgent == "" || e.Service != "mail" || e.Request.Path == "" {
			t.Errorf("event %+v", e)
		}
		got = append(got, fmt.Sprint(e.Action, " ", e.Actor.ID, " ", e.Outcome, " ", e.Reason, " ", e.Request.Status, " ", e.Targets, " ", e.Trace.SpanID, " ", e.Request.ID))
	}
	want := []string{
		"grpc.health.v1.Health.Check alice success  0 [{ok service }] 00f067aa0ba902b7 r1",
		"grpc.health.v1.Health.Check alice failure permission_denied 7 [] 00f067aa0ba902b7 r1",
		"grpc.health.v1.Health.Check alice failure deadline_exceeded 4 [] 00f067aa0ba902b7 r1",
		"grpc.health.v1.Health.Check alice failure the handler panicked 13 [] 00f067aa0ba902b7 r1",
		"grpc.health.v1.Health.Watch watcher success  0 []  ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// events waits until the log has n entries: a stream's client may be done
// before its handler has returned.
func events(t *testing.T, l *attestlog.Log, n int) (out []attestlog.Event) {
	t.Helper()
	for e, err := range l.Tail(testwait.Context(t), 0, query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Event)
		if len(out) == n {
			break
		}
	}
	return out
}

func TestHealthChecksAreNotRecorded(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	client, s := serve(t, l, auditrpc.Config{})
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || s.ran.Load() != 1 {
		t.Fatal(err)
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size, err := l.Size(t.Context()); err != nil || size != 0 {
		t.Errorf("%d entries, %v", size, err)
	}
}

func TestACallThatFailsClosedDoesNothingUnrecorded(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	client, s := serve(t, l, auditrpc.Config{Record: every, FailClosed: every, Logger: testlog.Quiet})
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("while the log takes events: %v", err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable || s.ran.Load() != 1 {
		t.Errorf("while it does not: %v, and the handler ran %d times", err, s.ran.Load())
	}
	stream, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a stream: %v", err)
	}
}
