package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
)

// durable measures appends of one event, each durable before the writer's next,
// by 1 and by 64 writers.
func (b *bench) durable() error {
	for _, writers := range []int{1, 64} {
		err := b.durableBy(writers)
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) durableBy(writers int) error {
	n := min(2_000*writers, max(b.opts.Events, 1_000))
	floor, err := b.floorSingle(fmt.Sprintf("single_%d", writers), min(n, 2_000))
	if err != nil {
		return err
	}

	l, _, err := b.log(fmt.Sprintf("durable_%d", writers))
	if err != nil {
		return err
	}
	times, perSecond, err := b.appendSingly(l, writers, n/writers)
	if err != nil {
		return err
	}

	b.print(Figure{
		Name:    "append_durable_p50",
		Value:   times[len(times)/2],
		Unit:    "ms",
		Floor:   floor,
		Events:  n,
		Writers: writers,
		Batch:   1,
		Note:    fmt.Sprintf("p99 %.2f ms", times[len(times)*99/100]),
	})
	b.print(Figure{
		Name:    "append_durable_rate",
		Value:   perSecond,
		Unit:    "events/s",
		Floor:   1000 / floor,
		Events:  n,
		Writers: writers,
		Batch:   1,
	})
	return l.Close(b.ctx)
}

// appendSingly appends the events of several writers, one a call. It returns
// the milliseconds of each call, sorted, and the events a second.
func (b *bench) appendSingly(l *attestlog.Log, writers, each int) (times []float64, perSecond float64, err error) {
	timesOf := make([][]float64, writers)
	began := time.Now()
	err = parallel(writers, func(w int) error {
		times := make([]float64, each)
		for i := range each {
			start := time.Now()
			_, err := l.Append(b.ctx, event(w*each+i, false))
			if err != nil {
				return err
			}
			times[i] = milliseconds(start)
		}
		timesOf[w] = times
		return nil
	})
	if err != nil {
		return nil, 0, err
	}

	perSecond = rate(writers*each, began)
	times = slices.Concat(timesOf...)
	slices.Sort(times)
	return times, perSecond, nil
}
