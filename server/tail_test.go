package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/server"
)

// A stream is a tail that is being read.
type stream struct {
	body io.ReadCloser
	in   *bufio.Reader
}

// follow opens a tail. headers are those of the request.
func (s *service) follow(ctx context.Context, params, token string, headers ...string) (*stream, error) {
	resp, err := client.Do(s.request(ctx, call{"GET", api + "/tail" + params, token, "", headers}))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return nil, fmt.Errorf("tail%s = %d %s", params, resp.StatusCode, body)
	}
	return &stream{resp.Body, bufio.NewReader(resp.Body)}, nil
}

// next returns the next entry, whose index is the event's id.
func (st *stream) next() (e entry, err error) {
	id := ""
	for {
		line, err := st.in.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				return e, fmt.Errorf("data %q: %w", value, err)
			}
		case "":
			if id != "" && id != strconv.FormatUint(e.Index, 10) {
				return e, fmt.Errorf("id %s of entry %d", id, e.Index)
			}
			if id != "" {
				return e, nil
			}
		}
	}
}

func TestNewEntriesReachATail(t *testing.T) {
	s := serve(t)
	st := s.followMail(t)
	for i := range 50 {
		s.append(attestlog.Event{Action: "other", Actor: attestlog.Actor{ID: "a"}})
		message := fmt.Sprint("m", i)
		receipt := s.append(attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "a"}, Message: message})[0]
		e, err := st.next()
		if err != nil || e.Index != receipt.Index || e.Message != message {
			t.Fatalf("entry %d of the tail: %+v, %v; want index %d", i, e, err, receipt.Index)
		}
	}
}

// An operation is an entry from its receipt to its arrival at a tail.
func BenchmarkTail(b *testing.B) {
	s := serve(b)
	st := s.followMail(b)
	var took time.Duration
	for b.Loop() {
		s.append(attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "a"}})
		durable := time.Now()
		if _, err := st.next(); err != nil {
			b.Fatal(err)
		}
		took += time.Since(durable)
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/arrival")
}

// followMail tails the entries whose actions begin with mail.
func (s *service) followMail(t testing.TB) *stream {
	t.Helper()
	st, err := s.follow(t.Context(), "?q=action:mail.*", s.token(server.ScopeRead))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.body.Close() })
	return st
}

func TestATailBeginsWhereItIsTold(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 20)...)
	for _, test := range []struct {
		params string
		lastID string
		want   uint64 // the first index
	}{
		{"?from=0", "", 0}, {"?from=7", "", 7}, {"", "7", 8}, {"?from=3", "7", 8}, {"?from=0&q=actor:user-4", "", 4}, {"?q=actor:user-4", "4", 9},
		{"?from=0&q=actor:user-4+order:time", "", 4},
	} {
		st, err := s.follow(t.Context(), test.params, token, "Last-Event-ID", test.lastID)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := st.next(); err != nil || e.Index != test.want {
			t.Errorf("tail%s after %q begins with %d, %v; want %d", test.params, test.lastID, e.Index, err, test.want)
		}
		st.body.Close()
	}
}

// A subscriber that reads too slowly for the ring gets the entries from the log.
func TestASlowSubscriberMissesNothing(t *testing.T) {
	n := 5000
	if raceEnabled {
		n = 2000
	}
	s := serve(t)
	token := s.token(server.ScopeRead)
	slow, err := s.follow(t.Context(), "?q=action:mail.*", token)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.body.Close()
	quick, err := s.follow(t.Context(), "?q=action:mail.*", token)
	if err != nil {
		t.Fatal(err)
	}
	defer quick.body.Close()
	padding := strings.Repeat("x", 5000) // more than sockets hold
	var want []uint64
	for from := 0; from < n; from += 500 {
		batch := events(from, 500)
		for i := range batch {
			batch[i].Message = padding
		}
		for _, r := range s.append(batch...) {
			want = append(want, r.Index)
		}
		for _, index := range want[from:] { // quick keeps up, so the ring goes round
			if e, err := quick.next(); err != nil || e.Index != index {
				t.Fatalf("entry %d, %v; want %d", e.Index, err, index)
			}
		}
	}
	for _, index := range want {
		if e, err := slow.next(); err != nil || e.Index != index {
			t.Fatalf("the slow subscriber got entry %d, %v; want %d", e.Index, err, index)
		}
	}
}

// writers store events over HTTP until stop, and try again with the same ids.
func (s *service) writers(n, each int, token string) (wait func() []string) {
	var wg sync.WaitGroup
	ids := make([][]string, n)
	for w := range n {
		wg.Go(func() {
			for i := range each {
				id := uuid.Must(uuid.NewV7()).String()
				ids[w] = append(ids[w], id)
				body := fmt.Sprintf(`{"id":%q,"action":"mail.view","actor":{"id":"writer-%d"},"message":"%d"}`, id, w, i)
				for attempt := 0; ; attempt++ {
					resp, err := client.Do(s.request(context.Background(), call{"POST", api + "/entries", token, body, nil}))
					if err == nil {
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
						if resp.StatusCode == http.StatusCreated {
							break
						}
					}
					if err == nil && resp.StatusCode != http.StatusServiceUnavailable || attempt > 100_000 {
						s.t.Errorf("POST = %v, %v", resp, err)
						return
					}
					awaitListener(s.address)
				}
			}
		})
	}
	return func() []string { wg.Wait(); return slices.Concat(ids...) }
}

// awaitListener returns once something listens at an address, or patience has
// ended.
func awaitListener(address string) {
	for deadline := testwait.Deadline(); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return
		}
	}
}

func TestATailGoesOnAcrossReconnectsAndARestart(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead, server.ScopeAppend)
	each := 150
	wait := s.writers(4, each, token)
	var got []entry
	written := map[string]bool{}
	connections, restarted := 0, false
	for last := ""; len(written) < 4*each; connections++ {
		st, err := s.follow(t.Context(), "?from=0", token, "Last-Event-ID", last)
		if err != nil {
			awaitListener(s.address)
			continue
		}
		for range 37 + connections {
			e, err := st.next()
			if err != nil {
				break
			}
			got = append(got, e)
			last = strconv.FormatUint(e.Index, 10)
			if strings.HasPrefix(e.Actor.ID, "writer-") {
				written[e.ID] = true
			}
			if len(written) == 4*each {
				break
			}
		}
		st.body.Close()
		if !restarted && len(written) > 2*each {
			restarted = true
			s.stop()
			s.start()
		}
	}
	for i, e := range got {
		if e.Index != uint64(i) {
			t.Fatalf("entry %d of the tail has index %d", i, e.Index)
		}
	}
	for _, id := range wait() {
		if !written[id] {
			t.Errorf("event %s was acknowledged, and not in the tail", id)
		}
	}
	if !restarted || connections < 5 {
		t.Errorf("%d connections, restarted: %v", connections, restarted)
	}
}

func TestARevokedTokensTailEnds(t *testing.T) {
	c := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	s := serve(t, func(s *service) { s.config.Clock = c.time })
	token := s.token(server.ScopeRead)
	st, err := s.follow(t.Context(), "", token)
	if err != nil {
		t.Fatal(err)
	}
	defer st.body.Close()
	for _, message := range []string{"before", "still before"} {
		s.append(attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "a"}, Message: message})
		for e := (entry{}); e.Message != message; {
			if e, err = st.next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(token, "al_"), "_")
	if _, err := server.RevokeToken(t.Context(), s.store, id, c.time()); err != nil {
		t.Fatal(err)
	}
	c.add(3 * time.Second)
	s.append(attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "a"}, Message: "after"})
	for err == nil {
		var e entry
		if e, err = st.next(); err == nil && e.Message == "after" {
			t.Fatal("a revoked token's tail goes on")
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the tail ended with %v", err)
	}
}

// A tail that selects nothing of a busy log gets beats nevertheless.
func TestATailBeatsWhileTheLogIsBusy(t *testing.T) {
	s := serve(t, func(s *service) { s.beat = 50 * time.Millisecond })
	st, err := s.follow(t.Context(), "?q=actor:nobody", s.token(server.ScopeRead))
	if err != nil {
		t.Fatal(err)
	}
	defer st.body.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 4 { // so that entries come more often than beats
		writers.Go(func() {
			for ctx.Err() == nil {
				s.log.Append(ctx, attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "a"}})
			}
		})
	}
	defer writers.Wait()
	defer cancel()
	late := time.AfterFunc(testwait.Patience(), func() { st.body.Close() })
	defer late.Stop()
	for range 40 {
		if line, err := st.in.ReadString('\n'); err != nil || line != ":\n" && line != "\n" {
			t.Fatalf("the tail has %q, %v; want beats", line, err)
		}
	}
}

// A tail that is far behind ends with the server too.
func TestAStopEndsATailThatCatchesUp(t *testing.T) {
	s := serve(t)
	batch := events(0, 2000)
	for i := range batch {
		batch[i].Message = strings.Repeat("x", 10_000)
	}
	s.append(batch...)
	st, err := s.follow(t.Context(), "?from=0", s.token(server.ScopeRead))
	if err != nil {
		t.Fatal(err)
	}
	defer st.body.Close()
	if _, err := st.next(); err != nil {
		t.Fatal(err)
	}
	s.srv.Stop()
	n := 1
	for ; err == nil; n++ {
		_, err = st.next()
	}
	if err != io.EOF || n >= 2000 {
		t.Errorf("the tail ended with %v after %d entries, want EOF before all 2000", err, n)
	}
}

func TestAStopEndsTails(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	var open []*stream
	for range 20 {
		st, err := s.follow(t.Context(), "", token)
		if err != nil {
			t.Fatal(err)
		}
		defer st.body.Close()
		open = append(open, st)
	}
	s.srv.Stop()
	for _, st := range open {
		if _, err := io.Copy(io.Discard, st.in); err != nil {
			t.Errorf("a tail of a server that stops ended with %v", err)
		}
	}
}

func TestATailOutlivesTheReadTimeout(t *testing.T) {
	s, limits := limited(t)
	st, err := s.follow(t.Context(), "?q=actor:late", s.token(server.ScopeRead))
	if err != nil {
		t.Fatal(err)
	}
	defer st.body.Close()
	limits.pass(2 * limit)
	s.append(attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "late"}})
	if e, err := st.next(); err != nil || e.Actor.ID != "late" {
		t.Errorf("after the timeout: %+v, %v", e, err)
	}
}
