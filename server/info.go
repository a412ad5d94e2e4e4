package server

import (
	"context"
	"errors"
	"slices"

	"github.com/attestlog/attestlog"
)

// A logInput names the log that a request is about.
type logInput struct {
	Log string `path:"log"`
}

type logInfo struct {
	Name           string   `json:"name"`
	Origin         string   `json:"origin" doc:"The log's name in its checkpoints."`
	Size           uint64   `json:"size" doc:"Entries."`
	CheckpointSize uint64   `json:"checkpoint_size" doc:"Entries that the newest checkpoint covers."`
	Scopes         []string `json:"scopes" doc:"What the token may do."`
	Tenant         string   `json:"tenant,omitempty" doc:"The tenant that the token is limited to."`
	Actor          string   `json:"actor,omitempty" doc:"The actor that the token is limited to."`
	ReadOnly       string   `json:"read_only,omitempty" doc:"Why the log cannot be written, if it cannot."`
}

type listOutput struct {
	Body struct {
		Logs []logInfo `json:"logs"`
	}
}

// list answers with the logs that the request may read.
func (s *Server) list(ctx context.Context, _ *struct{}) (*listOutput, error) {
	visits, err := s.enterAll(ctx, ScopeRead)
	if err != nil {
		return nil, err
	}

	out := &listOutput{}
	out.Body.Logs = []logInfo{}
	for _, v := range visits {
		info, err := infoOf(ctx, v)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		out.Body.Logs = append(out.Body.Logs, info)
	}
	return out, nil
}

type infoOutput struct {
	Body logInfo
}

// info answers with the figures of one log.
func (s *Server) info(ctx context.Context, in *logInput) (*infoOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	info, err := infoOf(ctx, v)
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}
	return &infoOutput{info}, nil
}

func infoOf(ctx context.Context, v *visit) (logInfo, error) {
	size, err := v.log.Size(ctx)
	if err != nil {
		return logInfo{}, err
	}

	// A log that has no checkpoint yet is shown with one of size 0.
	c, err := v.hosted.publisher.newest(ctx)
	noneYet := errors.Is(err, attestlog.ErrNotFound) || errors.Is(err, errNotCosigned)
	if err != nil && !noneYet {
		return logInfo{}, err
	}

	info := logInfo{
		Name:           v.hosted.name,
		Origin:         v.log.Origin(),
		Size:           size,
		CheckpointSize: c.Size,
		Scopes:         slices.Clone(v.token.Scopes),
		Tenant:         v.token.Tenant,
		Actor:          v.token.Actor,
	}
	why := v.log.ReadOnly()
	if why != nil {
		info.ReadOnly = why.Error()
	}
	return info, nil
}
