package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
)

// Alarms: what an operator has to know at once.
const (
	AlarmTampered   = "tampered"    // a verification or a read found that the log was changed
	AlarmDisk       = "disk"        // the disk is nearly full
	AlarmFollower   = "follower"    // a follower does not get on
	AlarmCheckpoint = "checkpoint"  // no checkpoint covers entries that are a minute old
	AlarmWitness    = "witness"     // too few witnesses cosign
	AlarmFork       = "fork"        // a witness says that the log was forked or rolled back
	AlarmClock      = "clock"       // the clock jumped
	AlarmStore      = "unavailable" // the log takes no events
)

// An Alarm is raised when something goes wrong, once, and again every hour as
// long as it lasts.
type Alarm struct {
	Time  time.Time `json:"time"`
	Log   string    `json:"log"`
	Alarm string    `json:"alarm"` // one of the constants
	Text  string    `json:"text"`
	Over  bool      `json:"over"` // what an earlier alarm told of is over
}

const (
	watchEvery   = 5 * time.Second
	alarmAgain   = time.Hour
	alarmAfter   = time.Minute // what may last a moment is none before
	webhookTries = 5
	maxPosts     = 256
	// Of a disk, this much has to be free.
	minFree      = 1 << 30
	minFreeShare = 0.02
)

// alarms are those of one log that have been raised.
type alarms struct {
	mu     sync.Mutex
	raised map[string]time.Time // when it was told last
}

// raise tells of an alarm, unless it was told within the hour.
func (s *Server) raise(h *hosted, alarm, text string) {
	now := s.cfg.Clock()
	h.alarms.mu.Lock()
	last, raised := h.alarms.raised[alarm]
	if again := !raised || now.Sub(last) >= alarmAgain; !again {
		h.alarms.mu.Unlock()
		return
	}
	h.alarms.raised[alarm] = now
	h.alarms.mu.Unlock()
	s.metrics.alarms.WithLabelValues(h.name, alarm).Inc()
	s.cfg.Logger.Error("server: alarm", "log", h.name, "alarm", alarm, "text", text)
	s.tell(h, Alarm{Time: now.UTC(), Log: h.name, Alarm: alarm, Text: text})
}

// clear tells that an alarm is over.
func (s *Server) clear(h *hosted, alarm string) {
	h.alarms.mu.Lock()
	_, raised := h.alarms.raised[alarm]
	delete(h.alarms.raised, alarm)
	h.alarms.mu.Unlock()
	if raised {
		s.cfg.Logger.Info("server: an alarm is over", "log", h.name, "alarm", alarm)
		s.tell(h, Alarm{Time: s.cfg.Clock().UTC(), Log: h.name, Alarm: alarm, Over: true})
	}
}

// tell has an alarm sent to the webhook and recorded in the log, each in the order
// of the alarms and beside what goes on.
func (s *Server) tell(h *hosted, a Alarm) {
	s.open.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, alarmAfter)
		defer cancel()
		outcome := attestlog.Failure
		if a.Over {
			outcome = attestlog.Success
		}
		err := h.log.Record(ctx, attestlog.Event{
			Service: "attestlog", Module: "server", Action: "server.alarm", Outcome: outcome, Reason: a.Text, Time: a.Time,
			Actor: attestlog.Actor{ID: "attestlog", Type: "system"}, Targets: []attestlog.Target{{Type: "alarm", ID: a.Alarm}},
		})
		if err != nil {
			s.cfg.Logger.Warn("server: an alarm is not recorded in the log", "log", h.name, "alarm", a.Alarm, "err", err)
		}
	})
	if s.cfg.Webhook == "" {
		return
	}
	select {
	case s.posts <- a:
	default:
		s.cfg.Logger.Error("server: too many alarms wait for the webhook", "log", h.name, "alarm", a.Alarm)
	}
}

// postAll sends alarms to the webhook, one after the other, until the server is
// closed.
func (s *Server) postAll() {
	for {
		select {
		case a := <-s.posts:
			if err := s.post(s.ctx, a); err != nil {
				s.cfg.Logger.Error("server: an alarm did not reach the webhook", "log", a.Log, "alarm", a.Alarm, "err", err)
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// post sends an alarm to the webhook, a few times if it must.
func (s *Server) post(ctx context.Context, a Alarm) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		if err = s.postOnce(ctx, body); err == nil || try == webhookTries {
			return err
		}
		select {
		case <-time.After(time.Duration(try) * time.Second):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

func (s *Server) postOnce(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.Webhook, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answers %s", resp.Status)
	}
	return nil
}

// A watch remembers what a log looked like before.
type watch struct {
	jumps     uint64
	followers map[string]progressed
	since     map[string]time.Time // since when something has not been as it should be
}

type progressed struct {
	position uint64
	at       time.Time
}

// watchAll looks at all logs now and then, until the server is closed.
func (s *Server) watchAll() {
	seen := map[*hosted]*watch{}
	for _, h := range s.logs {
		seen[h] = &watch{followers: map[string]progressed{}, since: map[string]time.Time{}}
	}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		for _, h := range s.logs {
			s.look(h, seen[h])
		}
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// look compares a log with how it was, and raises what is wrong.
func (s *Server) look(h *hosted, w *watch) {
	now := s.cfg.Clock()
	ctx, cancel := context.WithTimeout(s.ctx, watchEvery)
	defer cancel()
	st, err := h.log.Stats(ctx)
	if s.ctx.Err() != nil {
		return
	}
	ready := err
	if ready == nil {
		ready = h.log.Ready(ctx) // a log that can only be read is not
	}
	s.lasting(h, w, AlarmStore, now, ready)
	if err != nil {
		return
	}
	if st.ClockJumps > w.jumps {
		s.raise(h, AlarmClock, "the clock of this machine jumped by more than five seconds")
	} else {
		s.clear(h, AlarmClock)
	}
	w.jumps = st.ClockJumps
	for _, f := range st.Followers {
		before := w.followers[f.Name]
		if f.Lag == 0 || f.Held || f.Position != before.position || before.at.IsZero() {
			w.followers[f.Name] = progressed{f.Position, now}
		}
	}
	var stuck error
	for name, f := range w.followers {
		if now.Sub(f.at) > alarmAfter {
			stuck = fmt.Errorf("follower %s has been at entry %d since %s", name, f.position, f.at.UTC().Format(time.RFC3339))
		}
	}
	s.state(h, AlarmFollower, stuck)
	var overdue error
	if st.CheckpointSize < st.Size && h.log.ReadOnly() == nil {
		overdue = fmt.Errorf("the newest checkpoint covers %d of %d entries", st.CheckpointSize, st.Size)
	}
	s.lasting(h, w, AlarmCheckpoint, now, overdue)
	s.state(h, AlarmDisk, diskFull(h.disk))
}

// state raises an alarm for an error, and clears it for none.
func (s *Server) state(h *hosted, alarm string, err error) {
	if err != nil {
		s.raise(h, alarm, err.Error())
	} else {
		s.clear(h, alarm)
	}
}

// lasting is state for what is no alarm before it has lasted.
func (s *Server) lasting(h *hosted, w *watch, alarm string, now time.Time, err error) {
	if err == nil {
		delete(w.since, alarm)
	} else if since, ok := w.since[alarm]; !ok {
		w.since[alarm] = now
		return
	} else if now.Sub(since) < alarmAfter {
		return
	}
	s.state(h, alarm, err)
}

func diskFull(disk func() (free, total uint64, err error)) error {
	if disk == nil {
		return nil
	}
	free, total, err := disk()
	if err != nil {
		return fmt.Errorf("the disk cannot be looked at: %w", err)
	}
	if free < minFree || float64(free) < minFreeShare*float64(total) {
		return fmt.Errorf("%d of %d MiB are free on the log's disk", free>>20, total>>20)
	}
	return nil
}
