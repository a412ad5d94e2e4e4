package server

import (
	"context"
	"encoding/base64"
	"net/http"
)

type logInput struct {
	Log string `path:"log"`
}

type noteOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *Server) checkpoint(ctx context.Context, in *logInput) (*noteOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	c, err := s.published(ctx, v.log)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &noteOutput{"text/plain; charset=utf-8", c.Note}, nil
}

// publish signs a checkpoint over all that was acknowledged.
func (s *Server) publish(ctx context.Context, in *logInput) (*noteOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	c, err := s.publishedNow(ctx, v.log)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &noteOutput{"text/plain; charset=utf-8", c.Note}, nil
}

type inclusionInput struct {
	Log   string `path:"log"`
	Index uint64 `path:"index"`
}

// inclusion answers with a c2sp.org/tlog-proof, of an entry that the token sees.
func (s *Server) inclusion(ctx context.Context, in *inclusionInput) (*noteOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	if v.token.Limited() {
		e, err := v.log.log.Entry(ctx, in.Index)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		if !v.token.sees(&e) {
			return nil, problem(http.StatusNotFound, "the log has no such entry")
		}
	}
	c, err := s.published(ctx, v.log)
	if (err != nil || in.Index >= c.Size) && v.log.log.ReadOnly() == nil {
		c, err = s.publishedNow(ctx, v.log)
	}
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	p, err := v.log.log.InclusionProofTo(ctx, in.Index, c)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	if err := s.note(ctx, v, "audit.prove", "read", map[string]any{"index": in.Index}); err != nil {
		return nil, err
	}
	text, err := p.MarshalText()
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &noteOutput{"text/plain; charset=utf-8", text}, nil
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

func (s *Server) consistency(ctx context.Context, in *consistencyInput) (*consistencyOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	hashes, err := v.log.log.ConsistencyProof(ctx, in.From, in.To)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	out := &consistencyOutput{}
	out.Body.From, out.Body.To, out.Body.Hashes = in.From, in.To, []string{}
	for _, h := range hashes {
		out.Body.Hashes = append(out.Body.Hashes, base64.StdEncoding.EncodeToString(h[:]))
	}
	return out, nil
}
