package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/factsum"
)

// CheckRows looks for rows beyond the tree, and for triggers, functions and
// grants that are not as they were installed.
func (s *Store) CheckRows(ctx context.Context) error {
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// The server writes triggers as text, which is compared.
		if _, err := tx.Exec(ctx, "SET LOCAL quote_all_identifiers = off"); err != nil {
			return err
		}
		tree, err := s.readTree(ctx, tx)
		if err != nil {
			return err
		}
		tiles := uint64(0)
		for n := tree.Size / attestlog.TileWidth; n > 0; n /= attestlog.TileWidth {
			tiles += n
		}
		for _, check := range []struct {
			sql, where string
			want       uint64
		}{
			{"SELECT coalesce(max(idx), -1) + 1 FROM @.entries", "entries", tree.Size},
			{"SELECT coalesce(min(idx), 0) FROM @.entries", "entries", 0},
			{"SELECT count(*) FROM @.disclosures WHERE place < 0 OR idx < 0 OR idx >= (SELECT size FROM @.tree)", "disclosures", 0},
			{"SELECT count(*) FROM @.tiles", "tiles", tiles},
			{"SELECT count(*) FROM @.tree", "tree", 1},
			{"SELECT count(*) FROM @.meta", "meta", 1},
		} {
			var got int64
			if err := tx.QueryRow(ctx, s.sql(check.sql)).Scan(&got); err != nil {
				return err
			}
			if uint64(got) != check.want {
				return &attestlog.CorruptError{Index: tree.Size, Where: check.where, Err: fmt.Errorf("rows that belong to no entry, or are missing: %s gives %d, want %d", s.sql(check.sql), got, check.want)}
			}
		}
		return s.checkGuards(ctx, tx, tree.Size)
	})
	return s.clarify(ctx, err)
}

// CheckIndex derives the pairs of every indexed entry again and compares them
// with the search index.
func (s *Store) CheckIndex(ctx context.Context, progress func(done, total uint64)) error {
	if s.cfg.NoIndex {
		return fmt.Errorf("postgres: %w: the log was opened without its search index", attestlog.ErrCannotVerify)
	}
	// One snapshot of the index, whose segments may be merged meanwhile.
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		segs, size, err := s.checkSegments(ctx, tx)
		if err != nil {
			return err
		}
		sum := factsum.New(size)
		for _, seg := range segs {
			if err := s.eachStored(ctx, tx, seg, sum.Remove); err != nil {
				return err
			}
		}
		for _, seg := range segs {
			if err := s.derive(ctx, tx, seg, sum, size, progress); err != nil {
				return err
			}
		}
		if from, found := sum.Difference(); found {
			return s.locate(ctx, tx, segs, from, min(from+factsum.Width, size))
		}
		return nil
	})
	return s.clarify(ctx, err)
}

func badIndex(index uint64, what string) error {
	return &attestlog.CorruptError{Index: index, Where: "search index", Err: errors.New(what + "; `attestlog reindex` builds it again")}
}

// checkSegments returns the segments, and how many entries they are about,
// after checking that they adjoin and that no other rows are there.
func (s *Store) checkSegments(ctx context.Context, tx pgx.Tx) ([]segment, uint64, error) {
	segs, err := s.segments(ctx, tx)
	if err != nil {
		return nil, 0, err
	}
	size := uint64(0)
	for _, seg := range segs {
		if seg.lo != size {
			return nil, 0, badIndex(min(size, seg.lo), fmt.Sprintf("has a segment from entry %d on behind one that ends at %d", seg.lo, size))
		}
		size = seg.hi
	}
	tree, err := s.readTree(ctx, tx)
	if err == nil && size > tree.Size {
		return nil, 0, badIndex(tree.Size, fmt.Sprintf("is said to hold %d entries, the log has %d", size, tree.Size))
	}
	var stray int64
	if err == nil {
		err = tx.QueryRow(ctx, s.sql(`SELECT (SELECT count(*) FROM @.segments WHERE terms <> $1)
			+ (SELECT count(*) FROM @.runs WHERE segment NOT IN (SELECT id FROM @.segments) OR kind NOT IN (0, 1))`), attestlog.TermsVersion).Scan(&stray)
	}
	if err == nil && stray > 0 {
		err = badIndex(0, fmt.Sprintf("has %d rows of no segment", stray))
	}
	return segs, size, err
}

// eachStored calls fn with every fact that a segment holds.
func (s *Store) eachStored(ctx context.Context, tx pgx.Tx, seg segment, fn func(factsum.Fact)) error {
	for kind := range int16(2) {
		r := runReader{s: s, db: tx, seg: seg, kind: kind}
		for {
			err := r.load(ctx)
			if errors.Is(err, errRow) {
				return badIndex(seg.lo, err.Error())
			}
			if err != nil {
				return err
			}
			if len(r.groups) == 0 {
				break
			}
			for i := range r.groups {
				r.groups[i].each(func(p pair) { fn(factsum.Fact{Kind: byte(kind), Value: uint64(p.a), Index: p.b}) })
			}
			r.groups = r.groups[:0]
		}
	}
	return nil
}

// derive adds the facts that a segment must have, and checks its spans.
func (s *Store) derive(ctx context.Context, tx pgx.Tx, seg segment, sum *factsum.Sums, size uint64, progress func(done, total uint64)) error {
	var sp spans
	for from := seg.lo; from < seg.hi; {
		to := min(seg.hi, from+chunk)
		b := newBuilder(&s.index, seg.lo)
		b.spans, b.next = sp, from
		if err := s.scan(ctx, tx, from, to, b.add); err != nil {
			return err
		}
		if b.next != to {
			return &attestlog.CorruptError{Index: b.next, Where: "leaf", Err: errors.New("missing")}
		}
		sp = b.spans
		b.facts(sum.Add)
		if from = to; progress != nil {
			progress(from, size)
		}
	}
	var stored []byte
	if err := tx.QueryRow(ctx, s.sql("SELECT spans FROM @.segments WHERE id = $1"), seg.id).Scan(&stored); err != nil {
		return err
	}
	if !bytes.Equal(stored, sp.encode()) || seg.span != sp.all() {
		return badIndex(seg.lo, "has other times for its entries")
	}
	return nil
}

// facts calls fn with the facts of the entries that were added.
func (b *builder) facts(fn func(factsum.Fact)) {
	for kind, pairs := range b.pairs {
		sortPairs(pairs)
		for _, p := range slices.Compact(pairs) {
			fn(factsum.Fact{Kind: byte(kind), Value: uint64(p.a), Index: p.b})
		}
	}
}

// locate finds the first entry of a range whose facts differ.
func (s *Store) locate(ctx context.Context, tx pgx.Tx, segs []segment, from, to uint64) error {
	differ := map[factsum.Fact]int{}
	first, stray := uint64(math.MaxUint64), false
	for _, seg := range segs {
		err := s.eachStored(ctx, tx, seg, func(f factsum.Fact) {
			if f.Index >= from && f.Index < to {
				differ[f]--
			} else if f.Index < seg.lo || f.Index >= seg.hi {
				stray = true
			}
		})
		if err != nil {
			return err
		}
	}
	b := newBuilder(&s.index, from)
	if err := s.scan(ctx, tx, from, to, b.add); err != nil {
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
		return badIndex(first, "has other terms, or another time, than the entry")
	case stray:
		return badIndex(to, "has terms or times of no entry")
	}
	return badIndex(from, "changed while it was verified")
}
