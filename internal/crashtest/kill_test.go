package crashtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestKilledAtRandomMoments has two or three programs and a process with a
// follower append to one log and kills them. A log lives for a few rounds.
func TestKilledAtRandomMoments(t *testing.T) {
	n, _ := rounds(t)
	start := seed(t)
	dir := t.TempDir()
	var log *ledger
	for i := range n {
		rnd := rand.New(rand.NewPCG(start, uint64(i)))
		if log == nil || rnd.IntN(3) == 0 {
			log = &ledger{path: filepath.Join(dir, fmt.Sprintf("%d", i), "a.db")}
			if err := os.Mkdir(filepath.Dir(log.path), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if !t.Run(fmt.Sprintf("round %d", i), func(t *testing.T) { killRound(t, rnd, log) }) {
			log = nil
		}
	}
}

// killRound lets writers append to log, kills most of them, and checks what is
// left.
func killRound(t *testing.T, rnd *rand.Rand, log *ledger) {
	type job struct {
		*writer
		name   string
		events []event
		most   int
		moment moment
		out    string
		err    error
	}
	var jobs []*job
	sent := 0
	t.Logf("%d entries before", len(log.acked))
	for i := range 3 + rnd.IntN(2) {
		name := fmt.Sprintf("writer-%d", i)
		j := &job{name: name, most: 1 + rnd.IntN(60), moment: randomMoment(rnd)}
		j.events = newEvents(rnd.Uint64(), name).events(1 + rnd.IntN(400))
		t.Logf("%s has %d events and %v", name, len(j.events), j.moment)
		log.events = append(log.events, j.events...)
		sent += len(j.events)
		jobs = append(jobs, j)
	}
	var wg sync.WaitGroup
	for i, j := range jobs {
		if i == 0 {
			j.writer = startFollower(t, log.path)
		} else {
			j.writer = startAppend(t, log.path)
		}
		wg.Go(func() { j.out, j.err = j.feed(j.events, j.most, j.moment) })
	}
	wg.Wait()
	for i, j := range jobs {
		receipts := parseReceipts(t, j.out)
		log.acked = append(log.acked, receipts...)
		want := len(j.events)
		if i == 0 {
			want -= len(j.events) / 3 // those that were recorded
		}
		if j.moment.never() && (j.err != nil || len(receipts) != want) {
			t.Errorf("%s, which was not killed: %v, %d receipts, want %d; stderr %q", j.name, j.err, len(receipts), want, clip(j.stderr.String()))
		}
	}
	t.Logf("%d of %d events acknowledged", len(log.acked), len(log.events))
	log.recover(t, sent)
	verifyFollowed(t, log.path, len(log.events))
}

// randomMoment returns a moment while a writer opens the log, while it
// appends, or none.
func randomMoment(rnd *rand.Rand) moment {
	switch rnd.IntN(6) {
	case 0:
		return moment{}
	case 1, 2:
		return moment{time: time.Duration(1 + rnd.IntN(60_000_000))}
	}
	return moment{receipts: 1 + rnd.IntN(200)}
}
