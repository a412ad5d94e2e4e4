package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/internal/auditview"
	"github.com/attestlog/attestlog/internal/oldlog"
	"github.com/attestlog/attestlog/query"
)

// makeTable makes the table that the old log makes, with its trigger, unless there
// is a relation of that name. So the old log can be put back, and reports that read
// the table find it.
func makeTable(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// Two that make one table at once would fail.
		_, err := tx.Exec(ctx, auditview.LockName)
		if err != nil {
			return err
		}
		kind, err := tableKind(ctx, tx)
		if err != nil || kind != 0 {
			return err
		}

		_, err = tx.Exec(ctx, `
			CREATE TABLE audit_log (
				id BIGSERIAL PRIMARY KEY,
				timestamp TIMESTAMPTZ NOT NULL DEFAULT NOW(),
				event_type VARCHAR(50) NOT NULL,
				username VARCHAR(255) NOT NULL DEFAULT '',
				ip_address VARCHAR(45) NOT NULL DEFAULT '',
				query TEXT NOT NULL DEFAULT '',
				mail_id VARCHAR(255) NOT NULL DEFAULT '',
				success BOOLEAN NOT NULL DEFAULT true,
				detail TEXT NOT NULL DEFAULT ''
			)
		`)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			CREATE OR REPLACE FUNCTION audit_log_no_mutation() RETURNS trigger AS $$
			BEGIN
				RAISE EXCEPTION 'audit_log is append-only: % is not permitted', TG_OP
					USING ERRCODE = 'integrity_constraint_violation';
			END;
			$$ LANGUAGE plpgsql
		`)
		if err != nil {
			return fmt.Errorf("create trigger function: %w", err)
		}
		_, err = tx.Exec(ctx, `
			CREATE TRIGGER audit_log_immutable
			BEFORE UPDATE OR DELETE ON audit_log
			FOR EACH ROW EXECUTE FUNCTION audit_log_no_mutation()
		`)
		if err != nil {
			return fmt.Errorf("create trigger: %w", err)
		}
		return nil
	})
}

// queryer is what a pool, a connection and a transaction share.
type queryer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// tableKind returns the relkind of the relation audit_log, or 0 if there is none.
func tableKind(ctx context.Context, db queryer) (byte, error) {
	var kind string
	err := db.QueryRow(ctx, "SELECT relkind::text FROM pg_class WHERE oid = to_regclass('audit_log')").Scan(&kind)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return kind[0], nil
}

// isOrdinary reports whether a relation of this kind is a table with rows of its
// own. A view may show the log itself, which must not be taken over from it.
func isOrdinary(kind byte) bool { return kind == 'r' || kind == 'p' }

// chooseSequence finds the sequence that ids come from, and raises it above those
// of the table and of the log, which a new one does not know.
func (l *Logger) chooseSequence(ctx context.Context) error {
	name, err := findSequence(ctx, l.pool, l.schema)
	if err != nil {
		return err
	}
	greatest, err := l.greatestID(ctx)
	if err != nil {
		return err
	}

	err = pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		// Another process that raises it at once may draw ids from it before this one
		// has looked.
		_, err := tx.Exec(ctx, auditview.LockName)
		if err != nil {
			return err
		}
		var last int64 // 0 if none was drawn
		err = tx.QueryRow(ctx, "SELECT coalesce(pg_sequence_last_value($1::regclass), 0)", name).Scan(&last)
		if err != nil || last >= greatest {
			return err
		}
		_, err = tx.Exec(ctx, "SELECT setval($1::regclass, $2)", name, greatest)
		return err
	})
	if err == nil {
		l.sequence.Store(&name)
	}
	return err
}

// greatestID returns the greatest id of the table and of the newest entries of the
// log, whose ids rise, except for those of rows whose transactions ended late.
func (l *Logger) greatestID(ctx context.Context) (greatest int64, err error) {
	kind, err := tableKind(ctx, l.pool)
	if err == nil && isOrdinary(kind) {
		greatest, err = old.In(l.pool).LastID(ctx)
	}
	if err != nil {
		return 0, err
	}

	page, err := l.log.Query(ctx, query.Not(oldlog.Own(importName)), attestlog.PageOptions{Limit: 200})
	if err != nil {
		return 0, err
	}
	for i := range page.Entries {
		record, err := old.RecordOf(page.Entries[i].Event)
		if err == nil && page.Entries[i].Err == nil {
			greatest = max(greatest, record.ID)
		}
	}
	return greatest, nil
}

// findSequence returns the sequence that numbers the rows of the old table, or
// makes one in the log's schema.
func findSequence(ctx context.Context, pool *pgxpool.Pool, schema string) (string, error) {
	// A view of the log may have the table's name, next to the table itself.
	var name *string
	err := pool.QueryRow(ctx, `
		SELECT pg_get_serial_sequence(t.oid::regclass::text, 'id')
		FROM pg_class c JOIN pg_class t ON t.relnamespace = c.relnamespace
		WHERE c.oid = to_regclass('audit_log') AND t.relkind IN ('r', 'p')
			AND t.relname = CASE c.relkind WHEN 'v' THEN $1 ELSE c.relname END
	`, auditview.BeforeName).Scan(&name)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", err
	}
	if name != nil {
		return *name, nil
	}

	own := pgx.Identifier{schema, "audit_ids"}.Sanitize()
	_, err = pool.Exec(ctx, "CREATE SEQUENCE IF NOT EXISTS "+own)
	return own, err
}
