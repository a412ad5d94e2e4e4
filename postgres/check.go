package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
	"github.com/attestlog/attestlog/internal/merkle"
	"github.com/attestlog/attestlog/verify"
)

// CheckRows looks for rows that belong to no entry, and for triggers, functions,
// constraints and grants that are not as they were installed.
func (s *Store) CheckRows(ctx context.Context) error {
	return s.lockedSnapshot(ctx, nil, func(tx pgx.Tx) error {
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
	return s.lockedSnapshot(ctx, nil, func(tx pgx.Tx) error {
		tree, err := s.readTree(ctx, tx)
		if err != nil {
			return err
		}
		err = s.checkSchema(ctx, tx, tree.Size)
		if err != nil {
			return err
		}
		err = s.checkStrayRows(ctx, tx)
		if err != nil {
			return err
		}
		err = s.lookUpRuns(ctx, tx)
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

// lookUpRuns looks each row of the index up as a search does, which begins a run at
// the last row up to a pair, and leaves the transaction reading so.
func (s *Store) lookUpRuns(ctx context.Context, tx pgx.Tx) error {
	err := set(ctx, tx, byScanning)
	if err != nil {
		return err
	}
	var stored, found int64
	err = tx.QueryRow(ctx, s.sql("SELECT count(*) FROM @.runs")).Scan(&stored)
	if err != nil {
		return err
	}

	err = set(ctx, tx, bySeeking)
	if err != nil {
		return err
	}
	err = tx.QueryRow(ctx, s.sql(`SELECT count(f.a) FROM @.runs r LEFT JOIN LATERAL (
			SELECT a, b FROM @.runs WHERE segment = r.segment AND kind = r.kind AND (a, b) <= (r.a, r.b)
			ORDER BY a DESC, b DESC LIMIT 1
		) f ON f.a = r.a AND f.b = r.b`)).Scan(&found)
	if err == nil && found != stored {
		err = inverted.Corrupt(0, fmt.Sprintf("has %d rows, of which a search finds %d", stored, found))
	}
	return err
}

// CheckPhysical has the extension amcheck check the log's tables and the indexes of
// their primary keys, also that the index has every row of its table. Each of them is
// read in a snapshot of its own.
func (s *Store) CheckPhysical(ctx context.Context) error {
	var schema *string
	err := s.pool.QueryRow(ctx, `SELECT (SELECT quote_ident(n.nspname)
		FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck')`).Scan(&schema)
	if err != nil {
		return s.readError(ctx, err)
	}
	if schema == nil {
		return fmt.Errorf("postgres: %w: the database has no extension amcheck: "+
			"a superuser can add it with CREATE EXTENSION amcheck (on some systems it is in the package postgresql-contrib)",
			verify.ErrCannotVerify)
	}

	rows, err := s.pool.Query(ctx, `SELECT c.relname, c.oid, x.indexrelid, t.amname = 'heap'
		FROM pg_class c JOIN pg_index x ON x.indrelid = c.oid AND x.indisprimary JOIN pg_am t ON t.oid = c.relam
		WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' ORDER BY c.relname`, s.schema)
	if err != nil {
		return s.readError(ctx, err)
	}
	type relation struct {
		name        string
		heap, index uint32
		isHeap      bool
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r relation, err error) {
		err = row.Scan(&r.name, &r.heap, &r.index, &r.isHeap)
		return r, err
	})
	if err != nil {
		return s.readError(ctx, err)
	}

	for _, r := range all {
		_, ours := tableNamed(r.name)
		if !ours {
			continue
		}
		err := s.amcheck(ctx, *schema, r.name, r.heap, r.index, r.isHeap)
		if err != nil {
			return err
		}
	}
	return nil
}

// amcheck checks a table and the index of its primary key. schema is where the
// extension's functions are.
func (s *Store) amcheck(ctx context.Context, schema, name string, heap, index uint32, isHeap bool) error {
	where := "table " + name
	if isHeap {
		var damage *string
		err := s.pool.QueryRow(ctx, `SELECT (SELECT format('block %s, row %s: %s', blkno, offnum, msg)
			FROM `+schema+`.verify_heapam($1::oid, on_error_stop => true) LIMIT 1)`, heap).Scan(&damage)
		if err != nil {
			return s.amcheckError(ctx, where, err)
		}
		if damage != nil {
			return &attestlog.CorruptError{Where: where, Err: errors.New("amcheck says: " + *damage)}
		}
	}

	_, err := s.pool.Exec(ctx, "SELECT "+schema+".bt_index_check($1::oid, heapallindexed => true)", index)
	return s.amcheckError(ctx, where, err)
}

// amcheckError returns damage that amcheck found as a *attestlog.CorruptError, and a
// lack of rights as what can be done about it.
func (s *Store) amcheckError(ctx context.Context, where string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return s.readError(ctx, err)
	}
	switch pg.Code {
	case "XX001", "XX002": // data_corrupted, index_corrupted
		return &attestlog.CorruptError{Where: where, Err: errors.New("amcheck says: " + pg.Message)}
	case "42501": // insufficient_privilege
		return fmt.Errorf("postgres: %w: %s: a superuser can allow it with GRANT EXECUTE ON FUNCTION "+
			"bt_index_check(regclass, boolean), verify_heapam TO %s", verify.ErrCannotVerify, pg.Message,
			pgx.Identifier{s.pool.Config().ConnConfig.User}.Sanitize())
	}
	return s.readError(ctx, err)
}
