package inverted

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// noSegments is an index that lacks all.
type noSegments struct{ oneRow }

func (noSegments) Segments(context.Context) ([]Segment, error) { return nil, nil }

// generated is a log whose entries are made when they are read, in an order that
// is not that of their times.
type generated struct {
	size  uint64
	scans *int
}

func (g generated) leaf(index uint64, dst []byte) []byte {
	dst = append(dst[:0], `{"action":"a","actor":{"id":"x"},"id":"i","logged_time":"2026-01-01T00:00:00.000000Z","time":"`...)
	dst = time.Unix(int64(index*1_000_003%g.size), 0).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z")
	return append(dst, `","v":1}`...)
}

func (g generated) Scan(_ context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	if from == 0 && to > 1 { // a reading of the whole log begins
		*g.scans++
	}
	var leaf []byte
	for i := from; i < to; i++ {
		leaf = g.leaf(i, leaf)
		if err := fn(&attestlog.RawEntry{Index: i, Leaf: leaf}); err != nil {
			return err
		}
	}
	return nil
}

func (g generated) Entries(ctx context.Context, ids []uint64, fn func(*attestlog.RawEntry) error) error {
	for _, id := range ids {
		if err := g.Scan(ctx, id, id+1, fn); err != nil {
			return err
		}
	}
	return nil
}

func (g generated) Leaves(context.Context, []uint64, func(uint64, []byte) error) error {
	return fmt.Errorf("not asked for")
}

// A log without an index is ordered by time a bounded number of places at a
// time, and none is left out between two of them.
func TestOrderByTimeOfWhatNoSegmentHas(t *testing.T) {
	scans := 0
	log := generated{2*maxPlaces + 1000, &scans}
	plan := query.Plan{To: math.MaxUint64, After: math.MinInt64, Before: math.MaxInt64, Order: query.ByTime}
	next := int64(log.size) - 1
	err := New(Key{}, noSegments{}, log).Search(context.Background(), log.size, plan, nil, func(r *attestlog.RawEntry) (bool, error) {
		at, _ := attestlog.LeafTime(r.Leaf)
		if at != next*int64(time.Second) {
			return false, fmt.Errorf("an entry of second %d, want %d", at/int64(time.Second), next)
		}
		next--
		return true, nil
	})
	if err != nil || next != -1 || scans != 3 {
		t.Errorf("left off at second %d after %d readings of the log: %v; want -1 and 3", next, scans, err)
	}
}
