package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
)

// An index is the search index. Every process that writes fills it and merges
// its segments in turn, under locks of their own.
type index struct {
	segments
	key    inverted.Key
	search *inverted.Index
	filler *inverted.Filler // nil: this process does not fill it
}

func (s *Store) openIndex(ctx context.Context) error {
	ix := &s.index
	ix.segments = segments{s, s.pool}
	var key []byte
	err := s.pool.QueryRow(ctx, s.sql("SELECT value FROM @.meta WHERE name = 'index_key'")).Scan(&key)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if ix.key, err = inverted.ParseKey(key); err != nil {
		return err
	}
	ix.search = inverted.New(ix.key, ix.segments, entries{s})
	if !s.cfg.ReadOnly && !s.cfg.NoIndex {
		ix.filler = inverted.Fill(ix.key, ix, s.cfg.Logger.With("log", s.cfg.Log))
	}
	return nil
}

// close catches up with what this process wrote, and ends.
func (ix *index) close() {
	if ix.filler != nil {
		ix.filler.Close()
	}
}

// locked runs fn in a transaction, unless another process is at the same work.
func (ix *index) locked(ctx context.Context, work int, fn func(pgx.Tx) error) (free bool, err error) {
	err = ix.s.locking(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0")
		if err == nil {
			free, err = ix.s.lockWork(ctx, tx, work, false)
		}
		if err != nil || !free {
			return err
		}
		return fn(tx)
	})
	return free, err
}

// Add indexes the next entries. Segments of an older program's terms are
// dropped; a newer program's are left alone, for it keeps the index then.
func (ix *index) Add(ctx context.Context, f *inverted.Filler) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ix.s.limit()) // appends wait for an index that hangs
	defer cancel()
	var indexed, size uint64
	var old, newer bool
	read := func(db queryer) error {
		return db.QueryRow(ctx, ix.s.sql(`SELECT (SELECT coalesce(max(hi), 0) FROM @.segments), size,
			EXISTS (SELECT 1 FROM @.segments WHERE terms < $1), EXISTS (SELECT 1 FROM @.segments WHERE terms > $1) FROM @.tree`),
			attestlog.TermsVersion).Scan(&indexed, &size, &old, &newer)
	}
	err = read(ix.s.pool)
	if err == nil && newer {
		f.Unindexed.GiveUp()
		return false, nil
	}
	if err != nil || indexed >= size && !old {
		if err == nil {
			f.Unindexed.Indexed(indexed)
		}
		return false, err
	}
	free, err := ix.locked(ctx, workIndex, func(tx pgx.Tx) error {
		if err := read(tx); err != nil || newer {
			return err
		}
		if old {
			indexed = 0
			if err := ix.empty(ctx, tx); err != nil {
				return err
			}
		}
		if indexed >= size {
			return nil
		}
		scan := func(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
			return ix.s.scan(ctx, tx, from, to, fn)
		}
		return f.Build(ctx, indexed, size, scan, func(b *inverted.Builder) error {
			seg, spans := b.Segment()
			indexed = seg.Hi
			return ix.put(ctx, tx, seg, spans, b.Rows)
		})
	})
	if err != nil {
		return false, err
	}
	f.Unindexed.Indexed(indexed)
	return free && indexed < size, nil
}

// put stores a segment whose rows are put by rows.
func (ix *index) put(ctx context.Context, tx pgx.Tx, seg inverted.Segment, spans []byte, rows func(func(inverted.Kind, inverted.Row) error) error) error {
	w, err := newSegmentWriter(ctx, ix.s, tx, seg, spans)
	if err == nil {
		err = rows(w.row)
	}
	if err == nil {
		err = w.flush()
	}
	return err
}

// Merge replaces segments in one transaction.
func (ix *index) Merge(ctx context.Context, choose func(context.Context, inverted.Reader) (*inverted.Merge, error)) (done bool, err error) {
	_, err = ix.locked(ctx, workMerge, func(tx pgx.Tx) error {
		m, err := choose(ctx, segments{ix.s, tx})
		if err != nil || m == nil {
			return err
		}
		done = true
		err = ix.put(ctx, tx, m.New, m.Spans, func(put func(inverted.Kind, inverted.Row) error) error { return m.Rows(ctx, put) })
		if err == nil {
			_, err = tx.Exec(ctx, ix.s.sql("DELETE FROM @.runs WHERE segment = ANY($1)"), m.IDs())
		}
		if err == nil {
			_, err = tx.Exec(ctx, ix.s.sql("DELETE FROM @.segments WHERE id = ANY($1)"), m.IDs())
		}
		return err
	})
	return done && err == nil, err
}

// empty empties the index, within a transaction.
func (ix *index) empty(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, ix.s.sql("DELETE FROM @.segments"))
	if err == nil {
		_, err = tx.Exec(ctx, ix.s.sql("DELETE FROM @.runs"))
	}
	return err
}

// Reindex empties the search index and fills it again, while the log is in use.
// progress, if not nil, is called with the number of entries done.
func (s *Store) Reindex(ctx context.Context, progress func(done, total uint64)) error {
	if s.index.filler == nil {
		return fmt.Errorf("postgres: reindex: %w", attestlog.ErrReadOnly)
	}
	err := s.locking(ctx, func(tx pgx.Tx) error {
		for _, work := range []int{workIndex, workMerge} { // waits for whoever adds or merges
			if _, err := s.lockWork(ctx, tx, work, true); err != nil {
				return err
			}
		}
		return s.index.empty(ctx, tx)
	})
	if err == nil {
		err = s.index.filler.Refill(ctx, s.lag, progress)
	}
	return s.clarify(ctx, err)
}

// lag returns how many of the log's entries are not indexed.
func (s *Store) lag(ctx context.Context) (missing, size uint64, err error) {
	var hi int64
	err = s.pool.QueryRow(ctx, s.sql("SELECT size, (SELECT coalesce(max(hi), 0) FROM @.segments WHERE terms = $1) FROM @.tree"), attestlog.TermsVersion).Scan(&size, &hi)
	return size - min(size, uint64(max(hi, 0))), size, err
}
