package bench

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
)

// durable measures one durable event at a time, by 1 and by 64 writers.
func (b *bench) durable() error {
	for _, writers := range []int{1, 64} {
		n := min(2_000*writers, max(b.opts.Events, 1_000))
		leaves, err := b.leaves(min(n, 2_000), false)
		if err != nil {
			return err
		}
		floor, err := b.backend.single(b.ctx, leaves)
		if err != nil {
			return err
		}
		l, _, err := b.log(fmt.Sprintf("durable_%d", writers))
		if err != nil {
			return err
		}
		times, rate, err := b.single(l, writers, n/writers)
		if err != nil {
			return err
		}
		b.print(Figure{Name: "append_durable_p50", Value: times[len(times)/2], Unit: "ms", Floor: floor, Events: n, Writers: writers, Batch: 1,
			Note: fmt.Sprintf("p99 %.2f ms", times[len(times)*99/100])})
		b.print(Figure{Name: "append_durable_rate", Value: rate, Unit: "events/s", Floor: 1000 / floor, Events: n, Writers: writers, Batch: 1})
		if err := l.Close(b.ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) single(l *attestlog.Log, writers, each int) (times []float64, rate float64, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	began := time.Now()
	for w := range writers {
		wg.Go(func() {
			mine := make([]float64, 0, each)
			for i := range each {
				start := time.Now()
				if _, appendErr := l.Append(b.ctx, event(w*each+i, false)); appendErr != nil {
					mu.Lock()
					err = appendErr
					mu.Unlock()
					return
				}
				mine = append(mine, float64(time.Since(start).Nanoseconds())/1e6)
			}
			mu.Lock()
			times = append(times, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	if err != nil {
		return nil, 0, err
	}
	slices.Sort(times)
	return times, float64(len(times)) / time.Since(began).Seconds(), nil
}

// record measures Record in its caller: the queue is large enough that it
// never waits, and the sequencer works beside it as it always does, on the
// same processors. The caller's own processor time is noted too.
func (b *bench) record() error {
	const rounds = 9
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	n := min(10_000, b.opts.Events)
	var plain, plainCPU float64
	for _, sealed := range []bool{false, true} {
		l, _, err := b.log(sealedName("record", sealed))
		if err != nil {
			return err
		}
		events := make([]attestlog.Event, n)
		for i := range events {
			events[i] = event(i, sealed)
		}
		var each, cpu, allocs []float64
		for range rounds {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began, worked := time.Now(), threadCPU()
			for i := range events {
				if err := l.Record(b.ctx, events[i]); err != nil {
					return err
				}
			}
			each = append(each, float64(time.Since(began).Nanoseconds())/float64(n))
			cpu = append(cpu, float64((threadCPU()-worked).Nanoseconds())/float64(n))
			runtime.ReadMemStats(&after)
			allocs = append(allocs, float64(after.Mallocs-before.Mallocs)/float64(n))
			if err := l.Flush(b.ctx); err != nil {
				return err
			}
			if err := b.settle(l); err != nil {
				return err
			}
		}
		if err := l.Close(b.ctx); err != nil {
			return err
		}
		for _, figures := range [][]float64{each, cpu, allocs} {
			slices.Sort(figures)
		}
		f := Figure{Name: "record", Value: each[rounds/2], Unit: "ns", Events: n, Writers: 1,
			Note: fmt.Sprintf("%.0f ns of them the caller's own processor time; %.1f allocations, the sequencer's included", cpu[rounds/2], allocs[0])}
		if sealed {
			f.Seals, f.Floor = 3, plain
			f.Note += fmt.Sprintf("; a seal %.0f ns, %.0f of processor time", (f.Value-plain)/3, (cpu[rounds/2]-plainCPU)/3)
		}
		plain, plainCPU = f.Value, cpu[rounds/2]
		b.print(f)
	}
	return nil
}
