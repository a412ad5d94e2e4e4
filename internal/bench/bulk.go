package bench

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// plain measures the bulk figures and queries, with events without seals.
func (b *bench) plain() error { return b.bulk("plain", b.opts.Events, false) }

// sealed measures the bulk figures with the three default seals.
func (b *bench) sealed() error {
	n := max(b.opts.Events/10, min(b.opts.Events, 100_000))
	return b.bulk("sealed", n, true)
}

// bulk measures bulk appends of n events, disk use and verification, and
// queries if the events have no seals.
func (b *bench) bulk(name string, n int, sealed bool) error {
	floor, err := b.floorBulk(n, sealed)
	if err != nil {
		return err
	}
	l, _, err := b.log(name)
	if err != nil {
		return err
	}
	seals := 0
	if sealed {
		seals = eventSeals
	}

	seconds, err := b.fill(l, n, sealed)
	if err != nil {
		return err
	}
	b.print(Figure{
		Name:    "append_bulk",
		Value:   float64(n) / seconds,
		Unit:    "events/s",
		Floor:   floor.rate,
		Events:  n,
		Writers: b.opts.Writers,
		Batch:   b.opts.Batch,
		Seals:   seals,
	})

	if !sealed {
		err = b.waitMerged(l)
		if err != nil {
			return err
		}
	}
	err = b.size(l, n, seals, floor.bytes)
	if err != nil {
		return err
	}
	if !sealed {
		err = b.queries(l, n)
		if err != nil {
			return err
		}
	}

	// Verification begins with a log that was just opened.
	err = l.Close(b.ctx)
	if err != nil {
		return err
	}
	return b.verify(name, n, seals, floor.scan)
}

// fill appends n events in bulk, and waits for the index. It returns the
// seconds until all were durable and indexed.
func (b *bench) fill(l *attestlog.Log, n int, sealed bool) (float64, error) {
	var taken atomic.Int64 // events that a writer has or had
	began := time.Now()
	err := parallel(b.opts.Writers, func(int) error {
		events := make([]attestlog.Event, 0, b.opts.Batch)
		for {
			from := int(taken.Add(int64(b.opts.Batch))) - b.opts.Batch
			if from >= n {
				return nil
			}
			events = events[:0]
			for i := from; i < min(n, from+b.opts.Batch); i++ {
				events = append(events, event(i, sealed))
			}
			_, err := l.Append(b.ctx, events...)
			if err != nil {
				return err
			}
		}
	})
	if err != nil {
		return 0, err
	}

	err = b.waitIndexed(l)
	return time.Since(began).Seconds(), err
}

// waitIndexed waits until the index has caught up.
func (b *bench) waitIndexed(l *attestlog.Log) error {
	for {
		st, err := l.Stats(b.ctx)
		if err != nil || st.Store.IndexLag == 0 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// waitMerged waits until the index has merged its segments, as it does while
// nothing is appended.
func (b *bench) waitMerged(l *attestlog.Log) error {
	for {
		st, err := l.Stats(b.ctx)
		if err != nil || !st.Store.IndexMerging {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// size prints what the log takes on disk beyond its leaves and disclosures.
func (b *bench) size(l *attestlog.Log, n, seals int, floor float64) error {
	_, err := l.Publish(b.ctx)
	if err != nil {
		return err
	}
	st, err := l.Stats(b.ctx)
	if err != nil {
		return err
	}

	// The first entries are as long as all others.
	sample := min(n, 1000)
	content := 0
	for e, err := range l.Entries(b.ctx, query.Indexes(0, uint64(sample))) {
		if err != nil {
			return err
		}
		content += len(e.Leaf)
		for _, d := range e.Disclosures {
			content += len(d.Pointer) + len(d.Salt) + len(d.Value)
		}
	}

	perEntry := float64(content) / float64(sample)
	b.print(Figure{
		Name:   "bytes_per_entry",
		Value:  float64(st.Store.Bytes)/float64(n) - perEntry,
		Unit:   "B",
		Floor:  floor,
		Events: n,
		Seals:  seals,
		Note: fmt.Sprintf("beyond %.0f B of leaf and disclosures; %.1f B of it the index",
			perEntry, float64(st.Store.IndexBytes)/float64(n)),
	})
	return nil
}

// verify measures verification without and with the index.
func (b *bench) verify(name string, n, seals int, floor float64) error {
	l, _, err := b.log(name)
	if err != nil {
		return err
	}

	f := Figure{Name: "verify", Unit: "entries/s", Floor: floor, Events: n, Seals: seals}
	f.Value, err = b.timeVerify(l, n, false)
	if err != nil {
		return err
	}
	b.print(f)

	f.Name = "verify_index"
	f.Floor = 0
	f.Value, err = b.timeVerify(l, n, true)
	if err != nil {
		return err
	}
	b.print(f)
	return l.Close(b.ctx)
}

// timeVerify verifies the log and returns the entries a second.
func (b *bench) timeVerify(l *attestlog.Log, n int, index bool) (float64, error) {
	began := time.Now()
	_, err := verify.Log(b.ctx, l, verify.Options{Index: index})
	return rate(n, began), err
}
