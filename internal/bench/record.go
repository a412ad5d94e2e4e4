package bench

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
)

// record measures Record in its caller: the queue is large enough that it
// never waits, and the sequencer works beside it as it always does, on the
// same processors. The caller's own processor time is noted too. Rounds without
// and with seals take turns, so that a seal's cost is a difference of
// neighbours and not of two times of the day.
func (b *bench) record() error {
	const rounds = 31
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	n := min(10_000, b.opts.Events)
	l, _, err := b.log("record")
	if err != nil {
		return err
	}
	var sides [2]recording
	for i := range sides {
		sides[i].events = make([]attestlog.Event, n)
		for k := range sides[i].events {
			sides[i].events[k] = event(k, i == 1)
		}
	}
	for range rounds {
		for i := range sides {
			if err := sides[i].round(b, l); err != nil {
				return err
			}
		}
	}
	plain, sealed := &sides[0], &sides[1]
	seal := fmt.Sprintf("; a seal %.0f ns, %.0f of processor time",
		median(differences(sealed.each, plain.each))/eventSeals, median(differences(sealed.cpu, plain.cpu))/eventSeals)
	b.print(plain.figure(n))
	f := sealed.figure(n)
	f.Seals, f.Floor, f.Note = eventSeals, median(plain.each), f.Note+seal
	b.print(f)
	return l.Close(b.ctx)
}

// A recording has the figures of events of one kind, one of each a round.
type recording struct {
	events            []attestlog.Event
	each, cpu, allocs []float64 // nanoseconds, nanoseconds, allocations an event
}

func (r *recording) round(b *bench, l *attestlog.Log) error {
	var before, after runtime.MemStats
	n := float64(len(r.events))
	runtime.ReadMemStats(&before)
	began, worked := time.Now(), threadCPU()
	for i := range r.events {
		if err := l.Record(b.ctx, r.events[i]); err != nil {
			return err
		}
	}
	r.each = append(r.each, float64(time.Since(began).Nanoseconds())/n)
	r.cpu = append(r.cpu, float64((threadCPU()-worked).Nanoseconds())/n)
	runtime.ReadMemStats(&after)
	r.allocs = append(r.allocs, float64(after.Mallocs-before.Mallocs)/n)
	if err := l.Flush(b.ctx); err != nil {
		return err
	}
	return b.settle(l)
}

func (r *recording) figure(n int) Figure {
	return Figure{Name: "record", Value: median(r.each), Unit: "ns", Events: n, Writers: 1,
		Note: fmt.Sprintf("%.0f ns of them the caller's own processor time; %.1f allocations, the sequencer's included",
			median(r.cpu), slices.Min(r.allocs))}
}

func differences(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] - b[i]
	}
	return out
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
