package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Grant lets roles use the log, creating those that are missing without a
// login: writers may append and fill the search index, readers may read and
// verify. Neither may change or remove an entry, nor alter, drop or disable
// anything. An empty name is left out. It takes the log's owner.
func (s *Store) Grant(ctx context.Context, writer, reader string) error {
	if s.cfg.ReadOnly {
		return errors.New("postgres: grant: the log was opened for reading")
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		tables, err := s.tables(ctx, tx)
		if err != nil {
			return err
		}
		for _, role := range []struct {
			name   string
			writes bool
		}{{writer, true}, {reader, false}} {
			if role.name == "" {
				continue
			}
			var exists bool
			if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)", role.name).Scan(&exists); err != nil {
				return err
			}
			if !exists {
				if _, err := tx.Exec(ctx, "CREATE ROLE "+pgx.Identifier{role.name}.Sanitize()+" NOLOGIN"); err != nil {
					return fmt.Errorf("role %s: %w", role.name, err)
				}
			}
			for _, sql := range s.grants(role.name, role.writes, tables) {
				if _, err := tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
					return fmt.Errorf("role %s: %w", role.name, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("postgres: grant: %w", err)
	}
	return nil
}

func (s *Store) grants(name string, writes bool, tables []string) []string {
	role := pgx.Identifier{name}.Sanitize()
	out := []string{fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", s.schema, role)}
	if writes {
		out = append(out, fmt.Sprintf("GRANT EXECUTE ON FUNCTION %s.make_partition(bigint) TO %s", s.schema, role))
	}
	for _, table := range tables {
		g, ours := guardOf(table)
		if !ours {
			continue
		}
		rights := []string{"SELECT"}
		if writes {
			rights = g.grants
		}
		out = append(out, fmt.Sprintf("GRANT %s ON %s.%s TO %s", strings.Join(rights, ", "), s.schema, table, role))
	}
	return out
}
