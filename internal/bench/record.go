package bench

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
)

// record measures Record in its caller: the queue is large enough that Record
// never waits, and the sequencer works at the same time, as it always does, on
// the same processors. The caller's own processor time is noted too. Rounds
// without and with seals take turns, so that a seal's cost is the difference of
// two neighbours and not of two times of the day.
func (b *bench) record() error {
	const rounds = 31
	runtime.LockOSThread() // threadCPU is of a thread
	defer runtime.UnlockOSThread()

	n := min(10_000, b.opts.Events)
	l, _, err := b.log("record")
	if err != nil {
		return err
	}
	plain, sealed := newRecording(n, false), newRecording(n, true)
	for range rounds {
		for _, r := range []*recording{plain, sealed} {
			err = r.round(b, l)
			if err != nil {
				return err
			}
		}
	}

	b.print(plain.figure())
	f := sealed.figure()
	f.Seals = eventSeals
	f.Floor = median(plain.each)
	f.Note += fmt.Sprintf("; a seal %.0f ns, %.0f of processor time",
		median(differences(sealed.each, plain.each))/eventSeals,
		median(differences(sealed.cpu, plain.cpu))/eventSeals)
	b.print(f)
	return l.Close(b.ctx)
}

// A recording has the figures of events of one kind, one of each a round.
type recording struct {
	events []attestlog.Event
	each   []float64 // nanoseconds an event
	cpu    []float64 // nanoseconds of the caller's processor time an event
	allocs []float64 // allocations an event
}

func newRecording(n int, sealed bool) *recording {
	r := &recording{events: make([]attestlog.Event, n)}
	for i := range r.events {
		r.events[i] = event(i, sealed)
	}
	return r
}

// round records the events once and waits until all are indexed.
func (r *recording) round(b *bench, l *attestlog.Log) error {
	var before, after runtime.MemStats
	n := float64(len(r.events))
	runtime.ReadMemStats(&before)
	began, beganCPU := time.Now(), threadCPU()

	for i := range r.events {
		err := l.Record(b.ctx, r.events[i])
		if err != nil {
			return err
		}
	}

	r.each = append(r.each, float64(time.Since(began).Nanoseconds())/n)
	r.cpu = append(r.cpu, float64((threadCPU()-beganCPU).Nanoseconds())/n)
	runtime.ReadMemStats(&after)
	r.allocs = append(r.allocs, float64(after.Mallocs-before.Mallocs)/n)

	err := l.Flush(b.ctx)
	if err != nil {
		return err
	}
	return b.waitIndexed(l)
}

func (r *recording) figure() Figure {
	return Figure{
		Name:    "record",
		Value:   median(r.each),
		Unit:    "ns",
		Events:  len(r.events),
		Writers: 1,
		Note: fmt.Sprintf("%.0f ns of them the caller's own processor time; %.1f allocations, the sequencer's included",
			median(r.cpu), slices.Min(r.allocs)),
	}
}

func differences(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] - b[i]
	}
	return out
}
