package inverted

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/multiset"
)

// A Check derives an index from the entries again and compares it with what is
// stored. It is used once.
type Check struct {
	Key      Key
	Reader   Reader                   // of one snapshot
	Size     uint64                   // of the log, not smaller than when the snapshot was taken
	Scan     attestlog.ScanFunc       // reads the log
	Workers  int                      // how many goroutines may call Scan at a time; defaults to 1
	Progress func(done, total uint64) // may be nil

	segs      []Segment
	watermark uint64
	facts     *multiset.Sums // of the derived facts, less the stored ones

	mu   sync.Mutex // locked while Progress runs
	done uint64     // guarded by mu: entries
}

// Run returns a *attestlog.CorruptError if the index is not the one of the
// entries.
func (c *Check) Run(ctx context.Context) error {
	var err error
	c.segs, err = c.Reader.Segments(ctx)
	if err != nil {
		return err
	}
	if err := c.checkRanges(); err != nil {
		return err
	}

	// There are too many facts to keep. Sums of their hashes tell whether the
	// stored ones and those of the entries are the same.
	c.facts = multiset.New(c.watermark)
	for _, seg := range c.segs {
		if err := c.eachStored(ctx, seg, c.facts.Remove); err != nil {
			return err
		}
	}
	if err := c.derive(ctx); err != nil {
		return err
	}

	// Only where a sum differs are the facts themselves compared.
	from, found := c.facts.Difference()
	if found {
		return c.locate(ctx, from, min(from+multiset.Width, c.watermark))
	}
	return nil
}

// checkRanges checks that the segments are about the first entries of the log,
// each once, and finds the watermark.
func (c *Check) checkRanges() error {
	for _, seg := range c.segs {
		if seg.Lo != c.watermark {
			return Corrupt(min(c.watermark, seg.Lo),
				fmt.Sprintf("has a segment from entry %d on after one that ends at %d", seg.Lo, c.watermark))
		}
		if seg.Hi <= seg.Lo {
			return Corrupt(seg.Lo, "has a segment of no entries")
		}
		if seg.Hi > c.Size {
			return Corrupt(c.Size,
				fmt.Sprintf("has a segment of the entries %d to %d, and the log has %d", seg.Lo, seg.Hi, c.Size))
		}
		c.watermark = seg.Hi
	}
	return nil
}

// eachStored calls fn with every fact that a segment holds.
func (c *Check) eachStored(ctx context.Context, seg Segment, fn func(multiset.Fact)) error {
	for _, kind := range kinds {
		run := runReader{reader: c.Reader, seg: seg, kind: kind}
		for {
			more, err := run.next(ctx)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			run.group.each(func(p Pair) { fn(factOf(kind, p)) })
		}
	}
	return nil
}

// factOf returns what a pair says.
func factOf(kind Kind, p Pair) multiset.Fact {
	return multiset.Fact{Kind: byte(kind), Value: uint64(p.Value), Index: p.Index}
}

// eachFact calls fn with the facts of the entries that were added since it was
// last called.
func (b *Builder) eachFact(fn func(multiset.Fact)) {
	for _, kind := range kinds {
		for _, p := range b.sorted(kind) {
			fn(factOf(kind, p))
		}
	}
	b.dropPairs()
}

// A stretch is a part of a segment that one goroutine derives.
type stretch struct {
	from, to uint64
	spans    spans // set by deriveStretch
	err      error // set by the goroutine
}

// stretchWidth is how many entries a stretch is about: whole spans.
const stretchWidth = 64 * spanWidth

// derive derives all segments again: it adds their facts, and compares their
// spans. Of several errors it returns that of the first stretch.
func (c *Check) derive(ctx context.Context) error {
	// No span is in two stretches, so that the spans of a segment are those of its
	// stretches, one after another.
	bySegment := make([][]*stretch, len(c.segs))
	var all []*stretch
	for i, seg := range c.segs {
		for from := seg.Lo; from < seg.Hi; {
			to := min(seg.Hi, (from/stretchWidth+1)*stretchWidth)
			s := &stretch{from: from, to: to}
			bySegment[i] = append(bySegment[i], s)
			all = append(all, s)
			from = to
		}
	}

	c.deriveStretches(ctx, all)

	for i, seg := range c.segs {
		var derived spans
		for _, s := range bySegment[i] {
			if s.err != nil {
				return s.err
			}
			derived = append(derived, s.spans...)
		}

		stored, err := c.Reader.Spans(ctx, seg.ID)
		if err != nil {
			return err
		}
		if !bytes.Equal(stored, derived.encode()) || seg.Span != derived.all() {
			return Corrupt(seg.Lo, "has other times for its entries")
		}
	}
	return nil
}

// deriveStretches derives stretches in order, several at a time, until one of
// them fails.
func (c *Check) deriveStretches(ctx context.Context, all []*stretch) {
	var next atomic.Int64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range max(c.Workers, 1) {
		workers.Go(func() {
			for !failed.Load() {
				n := int(next.Add(1)) - 1
				if n >= len(all) {
					return
				}
				all[n].err = c.deriveStretch(ctx, all[n])
				if all[n].err != nil {
					failed.Store(true)
				}
			}
		})
	}
	workers.Wait()
}

// deriveStretch adds the facts of a stretch's entries, and works out its spans.
func (c *Check) deriveStretch(ctx context.Context, s *stretch) error {
	b := NewBuilder(c.Key, s.from)
	for from := s.from; from < s.to; {
		to := min(s.to, from+maxScan)
		if err := c.Scan(ctx, from, to, b.Add); err != nil {
			return err
		}
		if b.next != to {
			return errLeaf(b.next, errMissing)
		}
		b.eachFact(c.facts.Add)
		c.progress(to - from)
		from = to
	}
	s.spans = b.spans
	return nil
}

func (c *Check) progress(more uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.done += more
	if c.Progress != nil {
		c.Progress(c.done, c.watermark)
	}
}

// locate returns the error of the first entry of a range whose facts differ.
func (c *Check) locate(ctx context.Context, from, to uint64) error {
	differences := map[multiset.Fact]int{} // how often derived, less how often stored
	for _, seg := range c.segs {
		err := c.eachStored(ctx, seg, func(f multiset.Fact) {
			if f.Index >= from && f.Index < to {
				differences[f]--
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
	b.eachFact(func(f multiset.Fact) { differences[f]++ })

	first := uint64(math.MaxUint64)
	for f, n := range differences {
		if n != 0 {
			first = min(first, f.Index)
		}
	}
	if first == math.MaxUint64 {
		return Corrupt(from, "changed while it was verified")
	}
	return Corrupt(first, "has other terms, or another time, than the entry")
}
