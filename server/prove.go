package server

import (
	"context"
	"encoding/base64"
)

type noteOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func noteOf(text []byte) *noteOutput {
	return &noteOutput{ContentType: "text/plain; charset=utf-8", Body: text}
}

// checkpoint answers with the newest checkpoint.
func (s *Server) checkpoint(ctx context.Context, in *logInput) (*noteOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	c, err := v.hosted.publisher.newest(ctx)
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}
	return noteOf(c.Note), nil
}

// publish signs a checkpoint over all that was acknowledged.
func (s *Server) publish(ctx context.Context, in *logInput) (*noteOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	c, err := v.hosted.publisher.publish(ctx)
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}
	return noteOf(c.Note), nil
}

type inclusionInput struct {
	Log   string `path:"log"`
	Index uint64 `path:"index"`
}

// inclusion answers with a c2sp.org/tlog-proof of an entry that the token may
// see.
func (s *Server) inclusion(ctx context.Context, in *inclusionInput) (*noteOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	if v.token.Limited() {
		_, err := s.visibleEntry(ctx, v, in.Index)
		if err != nil {
			return nil, err
		}
	}

	// A new checkpoint is signed only for an entry that the newest does not cover, and
	// only in a log that can be written.
	publisher := v.hosted.publisher
	c, err := publisher.newest(ctx)
	covered := err == nil && in.Index < c.Size
	if !covered && v.log.ReadOnly() == nil {
		c, err = publisher.publish(ctx)
	}
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}

	proof, err := v.log.InclusionProofTo(ctx, in.Index, c)
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}
	err = s.recordLook(ctx, v, "audit.prove", "read", map[string]any{"index": in.Index})
	if err != nil {
		return nil, err
	}
	text, err := proof.MarshalText()
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}
	return noteOf(text), nil
}

type consistencyInput struct {
	Log  string `path:"log"`
	From uint64 `query:"from" doc:"The size of the smaller tree."`
	To   uint64 `query:"to" required:"true" doc:"The size of the larger tree, at most the newest checkpoint's."`
}

type consistencyOutput struct {
	Body struct {
		From   uint64   `json:"from"`
		To     uint64   `json:"to"`
		Hashes []string `json:"hashes" doc:"RFC 6962, Section 2.1.2, each in base64."`
	}
}

// consistency answers with a proof that one tree is the beginning of another.
func (s *Server) consistency(ctx context.Context, in *consistencyInput) (*consistencyOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	hashes, err := v.log.ConsistencyProof(ctx, in.From, in.To)
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}

	out := &consistencyOutput{}
	out.Body.From = in.From
	out.Body.To = in.To
	out.Body.Hashes = []string{}
	for _, h := range hashes {
		out.Body.Hashes = append(out.Body.Hashes, base64.StdEncoding.EncodeToString(h[:]))
	}
	return out, nil
}
