package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
)

const (
	fillBatch = 5000                   // entries in one transaction
	fillPoll  = 500 * time.Millisecond // for a search index that is behind
	fillRetry = 5 * time.Second
)

// fill keeps the search index filled where appends did not: after it was
// emptied, or because a process appended without it.
func (s *Store) fill() {
	for {
		wait := fillPoll
		for more := true; more && s.stop.Err() == nil; {
			var err error
			if more, err = s.fillSome(s.stop); err != nil && s.stop.Err() == nil {
				s.cfg.Logger.Error("attestlog: the search index could not be filled; queries read what it lacks from the log", "log", s.cfg.Log, "err", err)
				wait = fillRetry
			}
		}
		select {
		case <-time.After(wait):
		case <-s.stop.Done():
			return
		}
	}
}

// fillSome indexes the next entries, and reports whether there may be more.
func (s *Store) fillSome(ctx context.Context) (more bool, err error) {
	var behind bool
	err = s.pool.QueryRow(ctx, s.sql("SELECT indexed < size OR terms <> $1 AND size > 0 FROM @.tree"), attestlog.TermsVersion).Scan(&behind)
	if err != nil || !behind {
		return false, err
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		size, indexed, err := s.lockIndex(ctx, tx)
		if err != nil || indexed == size {
			return err
		}
		to := min(size, indexed+fillBatch, (indexed/partWidth+1)*partWidth)
		var rows []searchRow
		d := s.tokens.deriver()
		n, err := s.scanChunk(ctx, tx, indexed, to, func(rec *attestlog.Record) error {
			row, err := d.row(rec)
			rows = append(rows, row)
			return err
		})
		if err != nil {
			return err
		}
		if uint64(n) != to-indexed {
			return &attestlog.CorruptError{Index: indexed, Where: "leaf", Err: fmt.Errorf("%d of %d entries are missing", to-indexed-uint64(n), to-indexed)}
		}
		if err := new(copier).search(ctx, tx.Conn().PgConn(), s, indexed/partWidth, rows); err != nil {
			return err
		}
		var b pgx.Batch
		s.queueBlocks(&b, indexed, to)
		b.Queue(s.sql("UPDATE @.tree SET indexed = $1"), int64(to))
		more = to < size
		return tx.SendBatch(ctx, &b).Close()
	})
	return more && err == nil, err
}

// lockIndex locks the tree's row, and empties an index of other terms.
func (s *Store) lockIndex(ctx context.Context, tx pgx.Tx) (size, indexed uint64, err error) {
	var n, have int64
	var terms int
	if err := tx.QueryRow(ctx, s.sql("SELECT size, indexed, terms FROM @.tree FOR UPDATE")).Scan(&n, &have, &terms); err != nil {
		return 0, 0, err
	}
	if terms != attestlog.TermsVersion {
		have = 0
		err = s.empty(ctx, tx)
	}
	return uint64(n), uint64(have), err
}

// empty empties the index, within a transaction.
func (s *Store) empty(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, s.sql("TRUNCATE @.search, @.blocks")); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, s.sql("UPDATE @.tree SET indexed = 0, terms = $1, emptied = emptied + 1"), attestlog.TermsVersion)
	return err
}

// Reindex empties the search index and fills it again, while the log is in use.
// progress, if not nil, is called with the number of entries done.
func (s *Store) Reindex(ctx context.Context, progress func(done, total uint64)) error {
	err := s.reindex(ctx, progress)
	if err != nil {
		return fmt.Errorf("postgres: reindex: %w", err)
	}
	return nil
}

func (s *Store) reindex(ctx context.Context, progress func(done, total uint64)) error {
	if s.cfg.ReadOnly || s.cfg.NoIndex {
		return attestlog.ErrReadOnly
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, _, err := s.lockIndex(ctx, tx); err != nil {
			return err
		}
		return s.empty(ctx, tx)
	})
	for more := true; err == nil && more; {
		if more, err = s.fillSome(ctx); err == nil && progress != nil {
			var st indexState
			if st, err = s.indexState(ctx, s.pool); err == nil {
				progress(st.indexed, st.size)
			}
		}
	}
	return err
}

// indexState is what the tree's row says of the search index.
type indexState struct {
	size, indexed uint64
	terms         int
	emptied       int64
}

func (s *Store) indexState(ctx context.Context, db queryer) (st indexState, err error) {
	var size, indexed int64
	err = db.QueryRow(ctx, s.sql("SELECT size, indexed, terms, emptied FROM @.tree")).Scan(&size, &indexed, &st.terms, &st.emptied)
	st.size, st.indexed = uint64(size), uint64(indexed)
	if s.cfg.NoIndex || st.terms != attestlog.TermsVersion {
		st.indexed = 0
	}
	return st, err
}
