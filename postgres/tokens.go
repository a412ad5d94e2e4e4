package postgres

import (
	"context"
	"errors"

	"github.com/dchest/siphash"
	"github.com/jackc/pgx/v5"
)

// tokens turn terms into the numbers that stand for them in the search index:
// SipHash-2-4 under the log's own key, so that no value is left in the index
// in clear.
type tokens struct{ k0, k1 uint64 }

func (s *Store) loadTokens(ctx context.Context) error {
	var key []byte
	err := s.pool.QueryRow(ctx, s.sql("SELECT value FROM @.meta WHERE name = 'index_key'")).Scan(&key)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && len(key) != 16 {
		return errors.New("the key of the search index is missing")
	}
	if err != nil {
		return err
	}
	for i, b := range key[:8] {
		s.tokens.k0 |= uint64(b) << (8 * i)
		s.tokens.k1 |= uint64(key[8+i]) << (8 * i)
	}
	return nil
}

func (t *tokens) token(scratch []byte, field string, value []byte) (int64, []byte) {
	scratch = append(scratch[:0], field...)
	scratch = append(scratch, 0)
	scratch = append(scratch, value...)
	return int64(siphash.Hash(t.k0, t.k1, scratch)), scratch
}
