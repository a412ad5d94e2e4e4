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
	"github.com/attestlog/attestlog/internal/factsum"
)

// A Check derives an index again and compares it with what is stored.
type Check struct {
	Key      Key
	Reader   Reader // of one snapshot
	Size     uint64 // of the log
	Scan     func(ctx context.Context, from, to uint64, fn func(*attestlog.Record) error) error
	Workers  int                      // how many goroutines may call Scan at a time
	Progress func(done, total uint64) // may be nil

	segs []Segment
	size uint64 // indexed
	sum  *factsum.Sums

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
	c.sum = factsum.New(c.size)
	for _, seg := range c.segs {
		if err := c.stored(ctx, seg, c.sum.Remove); err != nil {
			return err
		}
	}
	if err := c.deriveAll(ctx); err != nil {
		return err
	}
	if from, found := c.sum.Difference(); found {
		return c.locate(ctx, from, min(from+factsum.Width, c.size))
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
		c.size = seg.Hi
	}
	if c.size > c.Size {
		return Corrupt(c.Size, fmt.Sprintf("is said to hold %d entries, the log has %d", c.size, c.Size))
	}
	return nil
}

// stored calls fn with every fact that a segment holds.
func (c *Check) stored(ctx context.Context, seg Segment, fn func(factsum.Fact)) error {
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
			last, inOrder := uint64(0), true
			run.piece.each(func(p Pair) {
				inOrder = inOrder && (p == run.piece.first || p.B > last)
				last = p.B
				fn(factsum.Fact{Kind: byte(kind), Value: uint64(p.A), Index: p.B})
			})
			if !inOrder {
				return Corrupt(seg.Lo, errRow.Error())
			}
		}
	}
	return nil
}

// deriveAll derives the segments, several at a time. Of several errors it returns
// that of the first segment.
func (c *Check) deriveAll(ctx context.Context) error {
	errs := make([]error, len(c.segs))
	spans := make([]spans, len(c.segs))
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range min(max(c.Workers, 1), len(c.segs)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(c.segs) && !failed.Load(); i = int(next.Add(1)) - 1 {
				if spans[i], errs[i] = c.derive(ctx, c.segs[i]); errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for i, seg := range c.segs {
		if errs[i] != nil {
			return errs[i]
		}
		stored, err := c.Reader.Spans(ctx, seg.ID)
		if err != nil {
			return err
		}
		if !bytes.Equal(stored, spans[i].encode()) || seg.Span != spans[i].all() {
			return Corrupt(seg.Lo, "has other times for its entries")
		}
	}
	return nil
}

// derive adds the facts that a segment must have, and returns its spans.
func (c *Check) derive(ctx context.Context, seg Segment) (spans, error) {
	b := NewBuilder(c.Key, seg.Lo)
	for from := seg.Lo; from < seg.Hi; {
		to := min(seg.Hi, from+scanMost)
		if err := c.Scan(ctx, from, to, b.Add); err != nil {
			return nil, err
		}
		if b.next != to {
			return nil, &attestlog.CorruptError{Index: b.next, Where: "leaf", Err: errors.New("missing")}
		}
		b.facts(c.sum.Add)
		c.progress(to - from)
		from = to
	}
	return b.spans, nil
}

func (c *Check) progress(more uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done += more; c.Progress != nil {
		c.Progress(c.done, c.size)
	}
}

// facts calls fn with the facts of the entries since it was called last.
func (b *Builder) facts(fn func(factsum.Fact)) {
	for _, kind := range kinds {
		for _, p := range b.sorted(kind) {
			fn(factsum.Fact{Kind: byte(kind), Value: uint64(p.A), Index: p.B})
		}
	}
	b.forget()
}

// locate finds the first entry of a range whose facts differ.
func (c *Check) locate(ctx context.Context, from, to uint64) error {
	differ := map[factsum.Fact]int{}
	first, stray := uint64(math.MaxUint64), false
	for _, seg := range c.segs {
		err := c.stored(ctx, seg, func(f factsum.Fact) {
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
	b.facts(func(f factsum.Fact) { differ[f]++ })
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
