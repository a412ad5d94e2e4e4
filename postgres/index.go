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
// its segments in turn: a process that does either holds that work's lock.
type index struct {
	segmentReader
	key    inverted.Key
	search *inverted.Index
	filler *inverted.Filler // nil: this process does not fill the index
}

func (s *Store) openIndex(ctx context.Context) error {
	ix := &s.index
	ix.segmentReader = segmentReader{s, s.pool}

	var key []byte
	err := s.pool.QueryRow(ctx, s.sql("SELECT value FROM @.meta WHERE name = 'index_key'")).Scan(&key)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	ix.key, err = inverted.ParseKey(key)
	if err != nil {
		return err
	}

	ix.search = inverted.New(ix.key, ix.segmentReader, indexedLog{s})
	if !s.cfg.ReadOnly && !s.cfg.NoIndex {
		ix.filler = inverted.Fill(ix.key, ix, s.cfg.Logger.With("log", s.cfg.Log))
	}
	return nil
}

// close indexes what this process has written, and ends the filler.
func (ix *index) close() {
	if ix.filler != nil {
		ix.filler.Close()
	}
}

// tryLocked runs fn in a transaction that holds a work's lock. It does not if
// another process has the lock, and then reports false.
func (ix *index) tryLocked(ctx context.Context, w work, fn func(pgx.Tx) error) (held bool, err error) {
	err = ix.s.locking(ctx, func(tx pgx.Tx) error {
		// What a crash of the server takes is indexed again, so nobody waits for it to
		// be durable.
		_, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', '0', true), set_config('synchronous_commit', 'off', true)")
		if err != nil {
			return err
		}
		held, err = ix.s.tryLockWork(ctx, tx, w)
		if err != nil || !held {
			return err
		}
		return fn(tx)
	})
	return held, err
}

// An indexState says how far the search index is.
type indexState struct {
	indexed uint64 // entries that are indexed
	size    uint64 // entries of the log
	old     bool   // there are segments of an older program's terms
	newer   bool   // there are segments of a newer program's terms
}

func (ix *index) state(ctx context.Context, db queryer) (st indexState, err error) {
	err = db.QueryRow(ctx, ix.s.sql(`SELECT (SELECT coalesce(max(hi), 0) FROM @.segments), size,
		EXISTS (SELECT 1 FROM @.segments WHERE terms < $1), EXISTS (SELECT 1 FROM @.segments WHERE terms > $1) FROM @.tree`),
		attestlog.TermsVersion).Scan(&st.indexed, &st.size, &st.old, &st.newer)
	return st, err
}

// Add indexes the next entries. Segments of an older program's terms are
// deleted. Those of a newer program's are left alone: that program keeps the
// index then.
func (ix *index) Add(ctx context.Context, f *inverted.Filler) (more bool, err error) {
	// Appends would wait for an index that hangs.
	ctx, cancel := context.WithTimeout(ctx, ix.s.stepLimit())
	defer cancel()

	// Mostly there is nothing to do, which needs no lock.
	st, err := ix.state(ctx, ix.s.pool)
	switch {
	case err != nil:
		return false, err
	case st.newer:
		f.Unindexed.GiveUp()
		return false, nil
	case st.indexed >= st.size && !st.old:
		f.Unindexed.Indexed(st.indexed)
		return false, nil
	}

	// The state under the lock: another process may have indexed the same entries
	// in the meantime.
	held, err := ix.tryLocked(ctx, workIndex, func(tx pgx.Tx) error {
		var err error
		st, err = ix.state(ctx, tx)
		if err != nil || st.newer {
			return err
		}
		if st.old {
			err := ix.empty(ctx, tx)
			if err != nil {
				return err
			}
			st.indexed = 0
		}
		if st.indexed >= st.size {
			return nil
		}

		scan := func(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
			return ix.s.scan(ctx, tx, from, to, fn)
		}
		return f.Build(ctx, st.indexed, st.size, scan, func(b *inverted.Builder) error {
			seg, spans := b.Segment()
			st.indexed = seg.Hi
			return ix.put(ctx, tx, seg, spans, b.Rows)
		})
	})
	if err != nil {
		return false, err
	}
	f.Unindexed.Indexed(st.indexed)
	return held && st.indexed < st.size, nil
}

// put stores a segment. rows calls its argument with each row.
func (ix *index) put(
	ctx context.Context, tx pgx.Tx, seg inverted.Segment, spans []byte,
	rows func(func(inverted.Kind, inverted.Row) error) error,
) error {
	w, err := newSegmentWriter(ctx, ix.s, tx, seg, spans)
	if err != nil {
		return err
	}
	err = rows(w.add)
	if err != nil {
		return err
	}
	return w.flush()
}

// Merge replaces segments in one transaction.
func (ix *index) Merge(
	ctx context.Context, choose func(context.Context, inverted.Reader) (*inverted.Merge, error),
) (done bool, err error) {
	_, err = ix.tryLocked(ctx, workMerge, func(tx pgx.Tx) error {
		m, err := choose(ctx, segmentReader{ix.s, tx})
		if err != nil || m == nil {
			return err
		}

		done = true
		rows := func(put func(inverted.Kind, inverted.Row) error) error { return m.Rows(ctx, put) }
		err = ix.put(ctx, tx, m.New, m.Spans, rows)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, ix.s.sql("DELETE FROM @.runs WHERE segment = ANY($1)"), m.IDs())
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, ix.s.sql("DELETE FROM @.segments WHERE id = ANY($1)"), m.IDs())
		return err
	})
	return done && err == nil, err
}

// empty deletes all segments, within a transaction.
func (ix *index) empty(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, ix.s.sql("DELETE FROM @.segments"))
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, ix.s.sql("DELETE FROM @.runs"))
	return err
}

// Reindex empties the search index and fills it again, while the log is in use.
// progress, if not nil, is called with the number of entries done.
func (s *Store) Reindex(ctx context.Context, progress func(done, total uint64)) error {
	if s.index.filler == nil {
		return fmt.Errorf("postgres: reindex: %w", attestlog.ErrReadOnly)
	}

	// Neither a segment that is being added nor one that is being merged may come
	// in after the index was emptied.
	err := s.locking(ctx, func(tx pgx.Tx) error {
		for _, w := range []work{workIndex, workMerge} {
			err := s.lockWork(ctx, tx, w)
			if err != nil {
				return err
			}
		}
		return s.index.empty(ctx, tx)
	})
	if err == nil {
		err = s.index.filler.Refill(ctx, s.unindexed, progress)
	}
	return s.readError(ctx, err)
}

// unindexed returns how many of the log's entries are not indexed.
func (s *Store) unindexed(ctx context.Context) (missing, size uint64, err error) {
	var indexed int64
	err = s.pool.QueryRow(ctx, s.sql(`SELECT size,
		(SELECT coalesce(max(hi), 0) FROM @.segments WHERE terms = $1) FROM @.tree`),
		attestlog.TermsVersion).Scan(&size, &indexed)
	return size - min(size, uint64(max(indexed, 0))), size, err
}
