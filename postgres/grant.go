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
// login. None of them may change or remove an entry, nor alter, drop or disable
// anything. Only the log's owner can grant.
func (s *Store) Grant(ctx context.Context, roles Roles) error {
	if s.cfg.ReadOnly {
		return errors.New("postgres: grant: the log was opened for reading")
	}

	// In one transaction, so that no role is left with a part of its rights.
	err := s.locking(ctx, func(tx pgx.Tx) error {
		names, err := s.tableNames(ctx, tx)
		if err != nil {
			return err
		}

		for _, r := range []struct {
			name   string
			grants func(role string, names []string) []string
		}{
			{roles.Writer, s.writerGrants},
			{roles.Reader, s.readerGrants},
			{roles.Caller, s.callerGrants},
		} {
			if r.name == "" {
				continue
			}
			quoted := pgx.Identifier{r.name}.Sanitize()
			err := grantRole(ctx, tx, r.name, r.grants(quoted, names))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("postgres: grant: %w", err)
	}
	return nil
}

// grantRole runs statements that are about a role, which it creates if it is
// missing.
func grantRole(ctx context.Context, tx pgx.Tx, role string, statements []string) error {
	var exists bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)", role).Scan(&exists)
	if err != nil {
		return err
	}

	if !exists {
		_, err := tx.Exec(ctx, "CREATE ROLE "+pgx.Identifier{role}.Sanitize()+" NOLOGIN")
		if err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
	}
	for _, sql := range statements {
		_, err := tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
	}
	return nil
}

func (s *Store) writerGrants(role string, names []string) []string {
	out := s.tableGrants(role, names, func(t table) []string { return t.rights })
	return append(out, fmt.Sprintf("GRANT EXECUTE ON FUNCTION %s.make_partition(bigint) TO %s", s.schema, role))
}

func (s *Store) readerGrants(role string, names []string) []string {
	out := s.tableGrants(role, names, func(t table) []string {
		if t.secret {
			return nil
		}
		return []string{"SELECT"}
	})
	return append(out, fmt.Sprintf("GRANT SELECT ON %s.leaves TO %s", s.schema, role))
}

func (s *Store) callerGrants(role string, _ []string) []string {
	return []string{
		fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", s.schema, role),
		fmt.Sprintf("GRANT INSERT (event) ON %s.outbox TO %s", s.schema, role),
	}
}

// tableGrants grants rights on those of the tables that are the log's.
func (s *Store) tableGrants(role string, names []string, rights func(table) []string) []string {
	out := []string{fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", s.schema, role)}
	for _, name := range names {
		t, ours := tableNamed(name)
		if !ours || len(rights(t)) == 0 {
			continue
		}
		out = append(out, fmt.Sprintf("GRANT %s ON %s.%s TO %s", strings.Join(rights(t), ", "), s.schema, name, role))
	}
	return out
}
