package bench

import (
	"context"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
)

// A backend is a kind of store, and its bare driver.
type backend interface {
	// open opens a log, or makes it.
	open(ctx context.Context, name string) (attestlog.Store, error)
	// bulk inserts n rows in transactions of a batch, with nothing but their
	// number beside the leaf. The same few thousand leaves come again and
	// again: a driver neither knows nor cares.
	bulk(ctx context.Context, name string, leaves [][]byte, n, batch int) (floor, error)
	// single inserts one leaf at a time and returns the median milliseconds.
	single(ctx context.Context, leaves [][]byte) (float64, error)
	// page reads 50 of bulk's leaves by number and returns the median
	// milliseconds.
	page(ctx context.Context, name string, n int) (float64, error)
	// close removes what was made.
	close() error
}

// floor is what the bare driver does with the same leaf bytes.
type floor struct {
	rate  float64 // rows inserted a second
	bytes float64 // on disk, a row, beyond the leaf
	scan  float64 // rows read and hashed a second
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Nanoseconds()) / 1e6 }

// leaves returns n leaves of the benchmark's event, as a log stores them.
func (b *bench) leaves(n int, sealed bool) ([][]byte, error) {
	l, store, err := b.log(sealedName("leaves", sealed))
	if err != nil {
		return nil, err
	}
	size, err := l.Size(b.ctx)
	if err != nil {
		return nil, err
	}
	for i := int(size); i < n; i += 1000 {
		events := make([]attestlog.Event, 0, 1000)
		for k := i; k < min(n, i+1000); k++ {
			events = append(events, event(k, sealed))
		}
		if _, err := l.Append(b.ctx, events...); err != nil {
			return nil, err
		}
	}
	leaves := make([][]byte, 0, n)
	err = store.Scan(b.ctx, 0, uint64(n), func(r *attestlog.RawEntry) error {
		leaves = append(leaves, slices.Clone(r.Leaf))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return leaves, l.Close(b.ctx)
}

func sealedName(name string, sealed bool) string {
	if sealed {
		return name + "_sealed"
	}
	return name
}

// floorBulk returns the floor of n events in bulk.
func (b *bench) floorBulk(n int, sealed bool) (floor, error) {
	leaves, err := b.leaves(min(n, 20_000), sealed)
	if err != nil {
		return floor{}, err
	}
	return b.backend.bulk(b.ctx, sealedName("plain", sealed), leaves, n, b.opts.Batch)
}
