package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
	"github.com/attestlog/attestlog/internal/merkle"
	"github.com/attestlog/attestlog/verify"
)

// CheckRows looks for rows that belong to no entry, and for triggers, functions,
// constraints and grants that are not as they were installed.
func (s *Store) CheckRows(ctx context.Context) error {
	return s.snapshot(ctx, func(tx pgx.Tx) error {
		tree, err := s.readTree(ctx, tx)
		if err != nil {
			return err
		}
		tiles := merkle.FullTiles(tree.Size)

		for _, check := range []struct {
			sql, where string
			want       uint64
		}{
			{"SELECT coalesce((SELECT idx + n FROM @.entries ORDER BY idx DESC LIMIT 1), 0)", "entries", tree.Size},
			{"SELECT coalesce(min(idx), 0) FROM @.entries", "entries", 0},
			{"SELECT count(*) FROM @.entries WHERE idx >= (SELECT size FROM @.tree)", "entries", 0},
			{
				"SELECT count(*) FROM @.disclosures WHERE place < 0 OR idx < 0 OR idx >= (SELECT size FROM @.tree)",
				"disclosures", 0,
			},
			{"SELECT count(*) FROM @.tiles", "tiles", tiles},
			{"SELECT count(*) FROM @.tree", "tree", 1},
			{"SELECT count(*) FROM @.meta", "meta", 1},
		} {
			var got int64
			err := tx.QueryRow(ctx, s.sql(check.sql)).Scan(&got)
			if err != nil {
				return err
			}
			if uint64(got) != check.want {
				err := fmt.Errorf("rows that belong to no entry, or are missing: %s gives %d, want %d",
					s.sql(check.sql), got, check.want)
				return &attestlog.CorruptError{Index: tree.Size, Where: check.where, Err: err}
			}
		}

		return s.checkSchema(ctx, tx, tree.Size)
	})
}

// CheckIndex derives the pairs of every indexed entry again and compares them
// with the search index. progress, if not nil, is called now and then.
func (s *Store) CheckIndex(ctx context.Context, progress func(done, total uint64)) error {
	if s.cfg.NoIndex {
		return fmt.Errorf("postgres: %w: the log was opened without its search index", verify.ErrCannotVerify)
	}

	// In one snapshot, since segments may be merged at the same time.
	return s.snapshot(ctx, func(tx pgx.Tx) error {
		tree, err := s.readTree(ctx, tx)
		if err != nil {
			return err
		}
		err = s.checkStrayRows(ctx, tx)
		if err != nil {
			return err
		}

		c := inverted.Check{Key: s.index.key, Reader: segmentReader{s, tx}, Size: tree.Size, Progress: progress}
		c.Scan = func(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
			return s.scan(ctx, tx, from, to, fn)
		}
		return c.Run(ctx)
	})
}

// checkStrayRows looks for rows of the index that no search reads.
func (s *Store) checkStrayRows(ctx context.Context, tx pgx.Tx) error {
	var stray int64
	err := tx.QueryRow(ctx, s.sql(`SELECT (SELECT count(*) FROM @.segments WHERE terms <> $1)
		+ (SELECT count(*) FROM @.runs WHERE segment NOT IN (SELECT id FROM @.segments) OR kind NOT IN (0, 1))`),
		attestlog.TermsVersion).Scan(&stray)
	if err == nil && stray > 0 {
		err = inverted.Corrupt(0, fmt.Sprintf("has %d rows of no segment", stray))
	}
	return err
}
