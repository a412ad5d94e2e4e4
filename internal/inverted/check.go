package inverted

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/multiset"
)

// A Check derives an index again and compares it with what is stored.
type Check struct {
	Key      Key
	Reader   Reader // of one snapshot
	Size     uint64 // of the log
	Scan     func(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error
	Workers  int                      // how many goroutines may call Scan at a time
	Progress func(done, total uint64) // may be nil

	segs []Segment
	size uint64 // indexed
	sum  *multiset.Sums

	mu   sync.Mutex
	done uint64 // entries; guarded by mu
}

// Run returns a *attestlog.CorruptError if the index differs.
func (c *Check) Run(ctx context.Context) error {
	var err error
	if c.segs, err = c.Reader.Segments(ctx); err != nil {
		return err
	}
	if err := c.adjoin(); err != nil {
		return err
	}
	c.sum = multiset.New(c.size)
	for _, seg := range c.segs {
		if err := c.stored(ctx, seg, c.sum.Remove); err != nil {
			return err
		}
	}
	if err := c.deriveAll(ctx); err != nil {
		return err
	}
	if from, found := c.sum.Difference(); found {
		return c.locate(ctx, from, min(from+multiset.Width, c.size))
	}
	return nil
}

// adjoin checks that the segments are about the first entries of the log, each
// once.
func (c *Check) adjoin() error {
	for _, seg := range c.segs {
		if seg.Lo != c.size {
			return Corrupt(min(c.size, seg.Lo), fmt.Sprintf("has a segment from entry %d on behind one that ends at %d", seg.Lo, c.size))
		}
		if seg.Hi <= seg.Lo {
			return Corrupt(seg.Lo, "has a segment of no entries")
		}
		if seg.Hi > c.Size {
			return Corrupt(c.Size, fmt.Sprintf("is said to hold the entries %d to %d, the log has %d", seg.Lo, seg.Hi, c.Size))
		}
		c.size = seg.Hi
	}
	return nil
}

// stored calls fn with every fact that a segment holds.
func (c *Check) stored(ctx context.Context, seg Segment, fn func(multiset.Fact)) error {
	for _, kind := range kinds {
		run := cursor{r: c.Reader, seg: seg, kind: kind}
		for {
			more, err := run.next(ctx)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			run.piece.each(func(p Pair) { fn(multiset.Fact{Kind: byte(kind), Value: uint64(p.A), Index: p.B}) })
		}
	}
	return nil
}

// A stretch is a part of a segment that is derived by itself.
type stretch struct {
	from, to uint64
	spans    spans
	err      error
}

// stretchWidth is how many entries a stretch is about: whole spans.
const stretchWidth = 64 * spanWidth

// deriveAll derives the segments, stretch by stretch, several at a time, and
// checks their spans. Of several errors it returns that of the first stretch.
func (c *Check) deriveAll(ctx context.Context) error {
	parts := make([][]stretch, len(c.segs))
	var all []*stretch
	for i, seg := range c.segs {
		for from := seg.Lo; from < seg.Hi; {
			to := min(seg.Hi, (from/stretchWidth+1)*stretchWidth)
			parts[i] = append(parts[i], stretch{from: from, to: to})
			from = to
		}
		for n := range parts[i] {
			all = append(all, &parts[i][n])
		}
	}
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range max(c.Workers, 1) {
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(all) && !failed.Load(); n = int(next.Add(1)) - 1 {
				if all[n].err = c.derive(ctx, all[n]); all[n].err != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for i, seg := range c.segs {
		var sp spans
		for _, part := range parts[i] {
			if part.err != nil {
				return part.err
			}
			sp = append(sp, part.spans...)
		}
		stored, err := c.Reader.Spans(ctx, seg.ID)
		if err != nil {
			return err
		}
		if !bytes.Equal(stored, sp.encode()) || seg.Span != sp.all() {
			return Corrupt(seg.Lo, "has other times for its entries")
		}
	}
	return nil
}

// derive adds the facts of a stretch's entries, and works out its spans.
func (c *Check) derive(ctx context.Context, part *stretch) error {
	b := NewBuilder(c.Key, part.from)
	for from := part.from; from < part.to; {
		to := min(part.to, from+scanMost)
		if err := c.Scan(ctx, from, to, b.Add); err != nil {
			return err
		}
		if b.next != to {
			return &attestlog.CorruptError{Index: b.next, Where: "leaf", Err: errors.New("missing")}
		}
		b.facts(c.sum.Add)
		c.progress(to - from)
		from = to
	}
	part.spans = b.spans
	return nil
}

func (c *Check) progress(more uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done += more; c.Progress != nil {
		c.Progress(c.done, c.size)
	}
}

// facts calls fn with the facts of the entries since it was called last.
func (b *Builder) facts(fn func(multiset.Fact)) {
	for _, kind := range kinds {
		for _, p := range b.sorted(kind) {
			fn(multiset.Fact{Kind: byte(kind), Value: uint64(p.A), Index: p.B})
		}
	}
	b.forget()
}

// locate finds the first entry of a range whose facts differ.
func (c *Check) locate(ctx context.Context, from, to uint64) error {
	differ := map[multiset.Fact]int{}
	first, stray := uint64(math.MaxUint64), false
	for _, seg := range c.segs {
		err := c.stored(ctx, seg, func(f multiset.Fact) {
			if f.Index >= from && f.Index < to {
				differ[f]--
			} else if f.Index < seg.Lo || f.Index >= seg.Hi {
				stray = true
			}
		})
		if err != nil {
			return err
		}
	}
	b := NewBuilder(c.Key, from)
	if err := c.Scan(ctx, from, to, b.Add); err != nil {
		return err
	}
	b.facts(func(f multiset.Fact) { differ[f]++ })
	for f, n := range differ {
		if n != 0 {
			first = min(first, f.Index)
		}
	}
	switch {
	case first != math.MaxUint64:
		return Corrupt(first, "has other terms, or another time, than the entry")
	case stray:
		return Corrupt(to, "has terms or times of no entry")
	}
	return Corrupt(from, "changed while it was verified")
}
