package bench

import (
	"fmt"
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
