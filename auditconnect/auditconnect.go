// Package auditconnect records the calls that a Connect server answers:
//
//	audit, err := auditconnect.New(log, auditrpc.Config{Actor: currentUser})
//	mailv1connect.NewMailServiceHandler(svc, connect.WithInterceptors(authenticate, audit))
//
// Package auditrpc says what is recorded, and has Edit for handlers.
package auditconnect

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditrpc"
)

type interceptor struct{ auditor *auditrpc.Auditor }

// New returns an interceptor that records with rec, an attestlog.Log. It records the
// calls that a handler gets, and not those that a client makes.
func New(rec attestlog.Recorder, cfg auditrpc.Config) (connect.Interceptor, error) {
	a, err := auditrpc.New(rec, cfg)
	if err != nil {
		return nil, err
	}
	return &interceptor{a}, nil
}

// WrapUnary implements connect.Interceptor.
func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (resp connect.AnyResponse, err error) {
		if req.Spec().IsClient {
			return next(ctx, req)
		}
		ctx, d, err := i.begin(ctx, req.Spec(), req.Peer(), req.Header())
		if err != nil {
			return nil, err
		}

		returned := false // stays so if the handler panics
		defer func() { d.End(ctx, codeOf(err), !returned) }()
		resp, err = next(ctx, req)
		returned = true
		return resp, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		ctx, d, err := i.begin(ctx, conn.Spec(), conn.Peer(), conn.RequestHeader())
		if err != nil {
			return err
		}

		returned := false // stays so if the handler panics
		defer func() { d.End(ctx, codeOf(err), !returned) }()
		err = next(ctx, conn)
		returned = true
		return err
	}
}

func (i *interceptor) begin(
	ctx context.Context, spec connect.Spec, peer connect.Peer, header http.Header,
) (context.Context, *auditrpc.Draft, error) {
	call := auditrpc.Call{Procedure: spec.Procedure, Peer: peer.Addr, Header: header.Values}
	ctx, d, err := i.auditor.Begin(ctx, call)
	if err != nil {
		return ctx, nil, connect.NewError(connect.CodeUnavailable, err)
	}
	return ctx, d, nil
}

// codeOf returns the code that Connect sends for a handler's error.
func codeOf(err error) int {
	code := connect.CodeOf(err)
	switch {
	case err == nil:
		return 0
	case code != connect.CodeUnknown:
		return int(code)
	case errors.Is(err, context.Canceled):
		return int(connect.CodeCanceled)
	case errors.Is(err, context.DeadlineExceeded):
		return int(connect.CodeDeadlineExceeded)
	}
	return int(code)
}
