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

// maxVerifications bounds the verifications of one log that are remembered.
const maxVerifications = 20

// States of a verification.
const (
	stateRunning  = "running"
	stateVerified = "verified"
	stateTampered = "tampered"
	stateUnable   = "unable" // a key or a signature is missing, or the log could not be read
)

// verifications are those of one log: one at a time, and the last few that have
// ended. They are safe for concurrent use.
type verifications struct {
	log    *attestlog.Log
	alarms alarmSetter
	life   *lifecycle
	clock  func() time.Time

	mu      sync.Mutex
	byID    map[string]*verification
	order   []string // ids, oldest first
	running *verification
}

// A verification's progress is guarded by the mutex of its verifications.
type verification struct {
	index    bool // the search index too
	progress jobProgress
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
	KeysBeside  bool     `json:"keys_beside" doc:"They are only those stored next to the log, so this proves nothing against anyone who can replace them."`
}

// errWithoutIndex is returned when the search index is to be verified, and a
// verification without it is running.
type errWithoutIndex struct{ id string }

func (e errWithoutIndex) Error() string {
	return "a verification without the search index is under way: " + e.id
}

func newVerifications(log *attestlog.Log, alarms alarmSetter, life *lifecycle, clock func() time.Time) *verifications {
	return &verifications{log: log, alarms: alarms, life: life, clock: clock, byID: map[string]*verification{}}
}

// start starts a verification, or joins the one that is running. It returns
// errWithoutIndex if that verifies less.
func (vs *verifications) start(index bool) (jobProgress, error) {
	vs.mu.Lock()
	defer vs.mu.Unlock()

	if v := vs.running; v != nil {
		if index && !v.index {
			return jobProgress{}, errWithoutIndex{v.progress.ID}
		}
		return v.progress, nil
	}

	v := &verification{
		index:    index,
		progress: jobProgress{ID: newID(), State: stateRunning, Began: vs.clock().UTC()},
	}
	vs.running = v
	vs.byID[v.progress.ID] = v
	vs.order = append(vs.order, v.progress.ID)
	if len(vs.order) > maxVerifications {
		delete(vs.byID, vs.order[0])
		vs.order = vs.order[1:]
	}

	// Stop ends it, and not only Close: it can go on for hours.
	vs.life.start(func(context.Context) { vs.run(vs.life.untilStop, v) })
	return v.progress, nil
}

// find returns the verification with an id, unless it is not there or no longer.
func (vs *verifications) find(id string) (p jobProgress, ok bool) {
	vs.mu.Lock()
	defer vs.mu.Unlock()

	v := vs.byID[id]
	if v == nil {
		return jobProgress{}, false
	}
	return v.progress, true
}

// run verifies the log.
func (vs *verifications) run(ctx context.Context, v *verification) {
	got, err := verify.Log(ctx, vs.log, verify.Options{
		Index: v.index,
		Progress: func(done, total uint64) {
			vs.mu.Lock()
			defer vs.mu.Unlock()
			v.progress.Done = done
			v.progress.Total = total
		},
	})

	var corrupt *attestlog.CorruptError
	if errors.As(err, &corrupt) {
		vs.alarms.set(AlarmTampered, err)
	}

	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.running = nil
	v.progress.end(&got, err, vs.clock())
}

// end sets the result of a verification.
func (p *jobProgress) end(got *verify.Report, err error, now time.Time) {
	p.Ended = now.UTC()

	var corrupt *attestlog.CorruptError
	switch {
	case err == nil:
		p.State = stateVerified
		p.Done = got.Size
		p.Total = got.Size
	case errors.As(err, &corrupt):
		p.State = stateTampered
		p.BadIndex = &corrupt.Index
		p.Error = err.Error()
	default:
		p.State = stateUnable
		p.Error = err.Error()
	}

	// An error comes with a report too, of what was verified before it.
	p.Report = &report{
		Size:        got.Size,
		Root:        base64.StdEncoding.EncodeToString(got.Root[:]),
		Signed:      got.Signed,
		Checkpoints: got.Checkpoints,
		Erased:      got.Erased,
		Keys:        got.Keys,
		KeysBeside:  got.KeysFromHome,
	}
}

type verifyInput struct {
	Log   string `path:"log"`
	Index bool   `query:"index" doc:"Derive the search index of every entry again, too."`
}

type jobOutput struct {
	Location string `header:"Location"`
	Body     jobProgress
}

// startVerification starts a verification, or joins the one that is running.
func (s *Server) startVerification(ctx context.Context, in *verifyInput) (*jobOutput, error) {
	v, err := s.enterWhole(ctx, in.Log, ScopeVerify)
	if err != nil {
		return nil, err
	}
	err = s.recordLook(ctx, v, "audit.verify", "execute", map[string]any{"index": in.Index})
	if err != nil {
		return nil, err
	}

	progress, err := v.hosted.verifications.start(in.Index)
	if err != nil {
		return nil, problem(http.StatusConflict, err.Error())
	}
	location := fmt.Sprintf("/api/v1/logs/%s/verifications/%s", in.Log, progress.ID)
	return &jobOutput{Location: location, Body: progress}, nil
}

type jobInput struct {
	Log string `path:"log"`
	ID  string `path:"id"`
}

func (s *Server) verification(ctx context.Context, in *jobInput) (*jobOutput, error) {
	v, err := s.enterWhole(ctx, in.Log, ScopeVerify)
	if err != nil {
		return nil, err
	}

	progress, ok := v.hosted.verifications.find(in.ID)
	if !ok {
		return nil, problem(http.StatusNotFound,
			fmt.Sprintf("no such verification; a server remembers its last %d", maxVerifications))
	}
	return &jobOutput{Body: progress}, nil
}
