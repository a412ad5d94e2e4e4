package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Roles are the roles that Grant gives rights to. An empty name is left out.
type Roles struct {
	Writer string // may append, fill the search index and empty the outbox
	Reader string // may read and verify
	Caller string // may put events into the outbox: see Outbox
}

// Grant lets roles use the log, creating those that are missing without a
// login. None may change or remove an entry, nor alter, drop or disable
// anything. It takes the log's owner.
func (s *Store) Grant(ctx context.Context, roles Roles) error {
	if s.cfg.ReadOnly {
		return errors.New("postgres: grant: the log was opened for reading")
	}
	err := s.locking(ctx, func(tx pgx.Tx) error {
		tables, err := s.tables(ctx, tx)
		if err != nil {
			return err
		}
		for _, role := range []struct {
			name   string
			grants func(role string, tables []string) []string
		}{{roles.Writer, s.writerGrants}, {roles.Reader, s.readerGrants}, {roles.Caller, s.callerGrants}} {
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
			for _, sql := range role.grants(pgx.Identifier{role.name}.Sanitize(), tables) {
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

func (s *Store) writerGrants(role string, tables []string) []string {
	out := s.tableGrants(role, tables, func(g guard) []string { return g.grants })
	return append(out, fmt.Sprintf("GRANT EXECUTE ON FUNCTION %s.make_partition(bigint) TO %s", s.schema, role))
}

func (s *Store) readerGrants(role string, tables []string) []string {
	out := s.tableGrants(role, tables, func(guard) []string { return []string{"SELECT"} })
	return append(out, fmt.Sprintf("GRANT SELECT ON %s.leaves TO %s", s.schema, role))
}

func (s *Store) callerGrants(role string, _ []string) []string {
	return []string{
		fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", s.schema, role),
		fmt.Sprintf("GRANT INSERT (event) ON %s.outbox TO %s", s.schema, role),
	}
}

func (s *Store) tableGrants(role string, tables []string, rights func(guard) []string) []string {
	out := []string{fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", s.schema, role)}
	for _, table := range tables {
		if g, ours := guardOf(table); ours {
			out = append(out, fmt.Sprintf("GRANT %s ON %s.%s TO %s", strings.Join(rights(g), ", "), s.schema, table, role))
		}
	}
	return out
}
