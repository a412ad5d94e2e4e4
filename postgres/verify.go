package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
)

// CheckRows looks for rows beyond the tree, and for triggers, functions and
// grants that are not as they were installed.
func (s *Store) CheckRows(ctx context.Context) error {
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		tree, err := scanTree(tx.QueryRow(ctx, s.sql("SELECT size, root, peaks, tail, logged_time FROM @.tree")))
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
			{"SELECT count(*) FROM @.disclosures WHERE idx < 0 OR idx >= (SELECT size FROM @.tree)", "disclosures", 0},
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

// CheckIndex derives the row of every indexed entry again and compares it with
// the search index.
func (s *Store) CheckIndex(ctx context.Context, progress func(done, total uint64)) error {
	if s.cfg.NoIndex {
		return fmt.Errorf("postgres: %w: the log was opened without its search index", attestlog.ErrCannotVerify)
	}
	var size, indexed, beyond int64
	err := s.pool.QueryRow(ctx, s.sql("SELECT size, indexed, coalesce((SELECT max(idx) FROM @.search), -1) FROM @.tree")).Scan(&size, &indexed, &beyond)
	if err != nil {
		return s.clarify(ctx, err)
	}
	if beyond >= indexed {
		return badIndex(uint64(indexed), fmt.Sprintf("has a row for entry %d, and should end before %d", beyond, indexed))
	}
	d := s.tokens.deriver()
	span := block{math.MaxInt64, math.MinInt64}
	for from := uint64(0); from < uint64(indexed); {
		to := min(uint64(indexed), from+chunk)
		stored, err := s.searchRows(ctx, from, to)
		if err != nil {
			return s.clarify(ctx, err)
		}
		err = s.Scan(ctx, from, to, func(r *attestlog.Record) error {
			want, err := d.row(r)
			if err != nil {
				return err
			}
			got, ok := stored[r.Index]
			switch {
			case !ok:
				return badIndex(r.Index, "lacks the entry")
			case got.time != want.time || !slices.Equal(got.terms, want.terms):
				return badIndex(r.Index, "has other terms, or another time, than the entry")
			}
			span = block{min(span.lo, want.time), max(span.hi, want.time)}
			return nil
		})
		if err != nil {
			return err
		}
		if from = to; from%blockWidth == 0 {
			if err := s.checkBlock(ctx, from/blockWidth-1, span); err != nil {
				return err
			}
			span = block{math.MaxInt64, math.MinInt64}
		}
		if progress != nil {
			progress(from, uint64(indexed))
		}
	}
	return nil
}

func badIndex(index uint64, what string) error {
	return &attestlog.CorruptError{Index: index, Where: "search index", Err: errors.New(what + "; `attestlog reindex` builds it again")}
}

func (s *Store) checkBlock(ctx context.Context, n uint64, want block) error {
	var got block
	err := s.pool.QueryRow(ctx, s.sql("SELECT lo, hi FROM @.blocks WHERE n = $1"), int64(n)).Scan(&got.lo, &got.hi)
	if errors.Is(err, pgx.ErrNoRows) {
		return badIndex(n*blockWidth, fmt.Sprintf("lacks block %d", n))
	}
	if err == nil && got != want {
		return badIndex(n*blockWidth, fmt.Sprintf("has other times for block %d", n))
	}
	return s.clarify(ctx, err)
}

// searchRows reads the index's rows of a range of entries.
func (s *Store) searchRows(ctx context.Context, from, to uint64) (map[uint64]searchRow, error) {
	result, err := s.pool.Query(ctx, s.sql("SELECT idx, time, terms FROM @.search WHERE idx >= $1 AND idx < $2"), pgx.QueryResultFormats{pgx.BinaryFormatCode}, int64(from), int64(to))
	if err != nil {
		return nil, err
	}
	defer result.Close()
	out := make(map[uint64]searchRow, to-from)
	for result.Next() {
		v := result.RawValues()
		row := searchRow{idx: binary.BigEndian.Uint64(v[0]), time: int64(binary.BigEndian.Uint64(v[1]))}
		terms, err := readInt8s(v[2])
		if err != nil {
			return nil, badIndex(row.idx, err.Error())
		}
		row.terms = terms
		out[row.idx] = row
	}
	return out, result.Err()
}

// readInt8s reads an array of one dimension without nulls, as copier.int8s
// writes it.
func readInt8s(v []byte) ([]int64, error) {
	const header, element = 20, 12
	if len(v) == 12 && binary.BigEndian.Uint32(v) == 0 {
		return nil, nil
	}
	if len(v) < header || binary.BigEndian.Uint32(v) != 1 || binary.BigEndian.Uint32(v[4:]) != 0 || (len(v)-header)%element != 0 {
		return nil, errors.New("has terms that are no plain array")
	}
	out := make([]int64, 0, (len(v)-header)/element)
	for v = v[header:]; len(v) > 0; v = v[element:] {
		out = append(out, int64(binary.BigEndian.Uint64(v[4:])))
	}
	return out, nil
}
