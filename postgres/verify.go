package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
	"github.com/attestlog/attestlog/verify"
)

// CheckRows looks for rows beyond the tree, and for triggers, functions and
// grants that are not as they were installed.
func (s *Store) CheckRows(ctx context.Context) error {
	return s.snapshot(ctx, func(tx pgx.Tx) error {
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
			{"SELECT coalesce((SELECT idx + n FROM @.entries ORDER BY idx DESC LIMIT 1), 0)", "entries", tree.Size},
			{"SELECT coalesce(min(idx), 0) FROM @.entries", "entries", 0},
			{"SELECT count(*) FROM @.entries WHERE idx >= (SELECT size FROM @.tree)", "entries", 0},
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
}

// snapshot runs fn in a transaction that sees one state of the log, and holds up
// nobody: the server is not to end it while this process is busy with what it
// read. It writes triggers as text, which is compared.
func (s *Store) snapshot(ctx context.Context, fn func(pgx.Tx) error) error {
	const begin = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
		SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL quote_all_identifiers = off`
	return s.clarify(ctx, pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{BeginQuery: begin}, fn))
}

// CheckIndex derives the pairs of every indexed entry again and compares them
// with the search index.
func (s *Store) CheckIndex(ctx context.Context, progress func(done, total uint64)) error {
	if s.cfg.NoIndex {
		return fmt.Errorf("postgres: %w: the log was opened without its search index", verify.ErrCannotVerify)
	}
	// Segments may be merged meanwhile.
	return s.snapshot(ctx, func(tx pgx.Tx) error {
		tree, err := s.readTree(ctx, tx)
		if err != nil {
			return err
		}
		if err := s.checkStray(ctx, tx); err != nil {
			return err
		}
		c := inverted.Check{Key: s.index.key, Reader: segments{s, tx}, Size: tree.Size, Progress: progress}
		c.Scan = func(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
			return s.scan(ctx, tx, from, to, fn)
		}
		return c.Run(ctx)
	})
}

// checkStray looks for rows that belong to no segment.
func (s *Store) checkStray(ctx context.Context, tx pgx.Tx) error {
	var stray int64
	err := tx.QueryRow(ctx, s.sql(`SELECT (SELECT count(*) FROM @.segments WHERE terms <> $1)
		+ (SELECT count(*) FROM @.runs WHERE segment NOT IN (SELECT id FROM @.segments) OR kind NOT IN (0, 1))`), attestlog.TermsVersion).Scan(&stray)
	if err == nil && stray > 0 {
		err = inverted.Corrupt(0, fmt.Sprintf("has %d rows of no segment", stray))
	}
	return err
}
