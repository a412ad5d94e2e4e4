package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/verify"
)

// jobs are the verifications of one log: one at a time, and the last few.
type jobs struct {
	mu      sync.Mutex
	all     map[string]*job
	order   []string
	running *job
}

// maxJobs bounds the verifications that are remembered.
const maxJobs = 20

// States of a verification.
const (
	stateRunning  = "running"
	stateVerified = "verified"
	stateTampered = "tampered"
	stateUnable   = "unable" // a key or a signature is missing, or the log could not be read
)

// A job is one verification. Its progress is guarded by jobs.mu.
type job struct {
	index bool
	jobProgress
}

type jobProgress struct {
	ID       string    `json:"id"`
	State    string    `json:"state" enum:"running,verified,tampered,unable"`
	Done     uint64    `json:"done" doc:"Entries that were verified so far."`
	Total    uint64    `json:"total"`
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended,omitzero"`
	Error    string    `json:"error,omitempty" doc:"What was found, or why there is no answer."`
	BadIndex *uint64   `json:"bad_index,omitempty" doc:"The first entry concerned."`
	Report   *report   `json:"report,omitempty"`
}

type report struct {
	Size        uint64   `json:"size" doc:"Entries, all of which were hashed again."`
	Root        string   `json:"root" doc:"The tree's root hash, in base64."`
	Signed      uint64   `json:"signed" doc:"Of them, those that a trusted signature covers."`
	Checkpoints int      `json:"checkpoints"`
	Erased      int      `json:"erased"`
	Keys        []string `json:"keys" doc:"The keys that were trusted."`
	KeysBeside  bool     `json:"keys_beside" doc:"They are merely those kept beside the log, so this says nothing against whoever can replace them."`
}

type verifyInput struct {
	Log   string `path:"log"`
	Index bool   `query:"index" doc:"Derive the search index of every entry again, too."`
}

type jobOutput struct {
	Location string `header:"Location"`
	Body     jobProgress
}

// verify starts a verification, or joins the one that runs.
func (s *Server) verify(ctx context.Context, in *verifyInput) (*jobOutput, error) {
	v, err := s.whole(ctx, in.Log, ScopeVerify)
	if err != nil {
		return nil, err
	}
	if err := s.note(ctx, v, "audit.verify", "execute", map[string]any{"index": in.Index}); err != nil {
		return nil, err
	}
	js := &v.log.jobs
	js.mu.Lock()
	defer js.mu.Unlock()
	j := js.running
	if j == nil {
		j = &job{index: in.Index, jobProgress: jobProgress{ID: requestID(""), State: stateRunning, Began: s.cfg.Clock().UTC()}}
		js.running, js.all[j.ID] = j, j
		if js.order = append(js.order, j.ID); len(js.order) > maxJobs {
			delete(js.all, js.order[0])
			js.order = js.order[1:]
		}
		s.open.Go(func() { s.run(v.log, j) })
	} else if in.Index && !j.index {
		return nil, problem(http.StatusConflict, "a verification without the search index is under way: "+j.ID)
	}
	return &jobOutput{Location: fmt.Sprintf("/api/v1/logs/%s/verifications/%s", in.Log, j.ID), Body: j.jobProgress}, nil
}

// run verifies a log. It ends when the server stops.
func (s *Server) run(h *hosted, j *job) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	got, err := verify.Log(ctx, h.log, verify.Options{Index: j.index, Progress: func(done, total uint64) {
		h.jobs.mu.Lock()
		defer h.jobs.mu.Unlock()
		j.Done, j.Total = done, total
	}})
	var corrupt *attestlog.CorruptError
	if errors.As(err, &corrupt) {
		s.raise(h, AlarmTampered, err.Error())
	}
	h.jobs.mu.Lock()
	defer h.jobs.mu.Unlock()
	h.jobs.running = nil
	j.Ended = s.cfg.Clock().UTC()
	switch {
	case err == nil:
		j.State = stateVerified
	case corrupt != nil:
		j.State, j.BadIndex = stateTampered, &corrupt.Index
	default:
		j.State = stateUnable
	}
	if err != nil {
		j.Error = err.Error()
	} else {
		j.Done, j.Total = got.Size, got.Size
	}
	j.Report = &report{
		Size: got.Size, Root: base64.StdEncoding.EncodeToString(got.Root[:]), Signed: got.Signed, Checkpoints: got.Checkpoints, Erased: got.Erased,
		Keys: got.Keys, KeysBeside: got.KeysBeside,
	}
}

type jobInput struct {
	Log string `path:"log"`
	ID  string `path:"id"`
}

func (s *Server) verification(ctx context.Context, in *jobInput) (*jobOutput, error) {
	v, err := s.whole(ctx, in.Log, ScopeVerify)
	if err != nil {
		return nil, err
	}
	js := &v.log.jobs
	js.mu.Lock()
	defer js.mu.Unlock()
	j := js.all[in.ID]
	if j == nil {
		return nil, problem(http.StatusNotFound, "no such verification; a server remembers its last 20")
	}
	return &jobOutput{Body: j.jobProgress}, nil
}
