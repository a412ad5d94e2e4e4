// Package auditgrpc records the calls that a gRPC server answers:
//
//	audit, err := auditgrpc.New(log, auditrpc.Config{Actor: currentUser})
//	grpc.NewServer(
//		grpc.ChainUnaryInterceptor(authenticate, audit.Unary),
//		grpc.ChainStreamInterceptor(authenticateStream, audit.Stream))
//
// Package auditrpc says what is recorded, and has Edit for handlers.
package auditgrpc

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditrpc"
)

// Interceptors record calls. They are safe for concurrent use.
type Interceptors struct{ auditor *auditrpc.Auditor }

// New returns interceptors that record with rec, an attestlog.Log.
func New(rec attestlog.Recorder, cfg auditrpc.Config) (*Interceptors, error) {
	a, err := auditrpc.New(rec, cfg)
	if err != nil {
		return nil, err
	}
	return &Interceptors{a}, nil
}

// Unary is a grpc.UnaryServerInterceptor.
func (i *Interceptors) Unary(
	ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (resp any, err error) {
	ctx, d, err := i.auditor.Begin(ctx, call(ctx, info.FullMethod))
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}

	returned := false // stays so if the handler panics
	defer func() { d.End(ctx, codeOf(err), !returned) }()
	resp, err = handler(ctx, req)
	returned = true
	return resp, err
}

// Stream is a grpc.StreamServerInterceptor. A stream is one call.
func (i *Interceptors) Stream(
	srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) (err error) {
	ctx, d, err := i.auditor.Begin(stream.Context(), call(stream.Context(), info.FullMethod))
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}

	returned := false // stays so if the handler panics
	defer func() { d.End(ctx, codeOf(err), !returned) }()
	err = handler(srv, serverStream{stream, ctx})
	returned = true
	return err
}

// A serverStream has the draft in its context.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s serverStream) Context() context.Context { return s.ctx }

func call(ctx context.Context, procedure string) auditrpc.Call {
	md, _ := metadata.FromIncomingContext(ctx)
	c := auditrpc.Call{
		Procedure: procedure,
		Header:    func(name string) []string { return md[strings.ToLower(name)] },
	}
	p, ok := peer.FromContext(ctx)
	if ok && p.Addr != nil {
		c.Peer = p.Addr.String()
	}
	return c
}

// codeOf returns the code that gRPC sends for a handler's error.
func codeOf(err error) int {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	return int(s.Code())
}
