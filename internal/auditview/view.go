// Package auditview keeps a view with the name, the columns and the readers of the
// table audit_log, which package compat/audit has replaced. It shows the entries of
// the log, for reports that read the table by SQL.
//
// SQL cannot read the log itself, so the view reads a table in the log's schema, which
// a Feeder fills after the entries are durable. Both can be made again from the log at
// any time, and prove nothing.
package auditview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/query"
)

// Name is that of the view, and of the table in whose place it is.
const Name = "audit_log"

// BeforeName is what the table is called while the view has its name.
const BeforeName = "audit_log_before_attestlog"

// positionName is the name of the row of the log's table positions that says which
// entries the view shows: those before an index.
const positionName = "view audit_log"

// lockTimeout is how long a program may go on with the table before Create and Drop
// give up. Everybody who comes after them waits as long.
const lockTimeout = "5s"

// Errors of Create and Drop.
var (
	// ErrThere means that the view is there already.
	ErrThere = errors.New("audit_log shows the log already")
	// ErrNone means that there is no view to drop.
	ErrNone = errors.New("audit_log does not show the log")
	// ErrOldWriter means that a program with the old log may still run.
	ErrOldWriter = errors.New("a program with the old log may still run")
	// ErrNotMoved means that the table has rows that the log lacks.
	ErrNotMoved = errors.New("audit_log has rows that are not in the log yet")
)

// DB is a connection, or a pool of them.
type DB interface {
	queryer
	Begin(ctx context.Context) (pgx.Tx, error)
}

// A queryer is what a DB and a transaction share.
type queryer interface {
	old.Queryer
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// A View is the view of a log. Its methods are for one goroutine at a time.
type View struct {
	db     DB
	log    *attestlog.Log
	names  names
	feeder *Feeder
}

// names are quoted, and have their schema.
type names struct {
	rows, positions, refuse string // in the log's schema
	entries                 string // of the log
}

func namesIn(schema string) names {
	in := func(name string) string { return pgx.Identifier{schema, name}.Sanitize() }
	return names{
		rows:      in("audit_log_rows"),
		positions: in("positions"),
		refuse:    in("audit_log_is_a_view"),
		entries:   in("entries"),
	}
}

// Of returns the view of a log that is kept in a schema of the database.
func Of(db DB, log *attestlog.Log, schema string) *View {
	return &View{db, log, namesIn(schema), NewFeeder(db, log, schema, slog.Default())}
}

// Create puts the view in the place of the table, which it renames to BeforeName, and
// returns once the view shows all entries. Roles that may read the table may read the
// view. A program with the old log could not write any more; so nothing is changed if
// a row was taken over within the time quiet, or not yet.
func (v *View) Create(ctx context.Context, quiet time.Duration) error {
	table, err := v.find(ctx, v.db)
	if err != nil {
		return err
	}
	if table.isView {
		return ErrThere
	}
	err = v.check(ctx, v.db, table)
	if err != nil {
		return err
	}
	err = v.checkQuiet(ctx, quiet)
	if err != nil {
		return err
	}
	seen, err := v.checkMoved(ctx, table)
	if err != nil {
		return err
	}

	err = v.makeRows(ctx, table)
	if err == nil {
		err = v.feedAll(ctx)
	}
	if err == nil {
		err = v.replace(ctx, table, seen)
	}
	if err != nil {
		// Nobody is to go on filling rows that nothing shows.
		return errors.Join(err, v.removeRows(context.WithoutCancel(ctx)))
	}
	return v.feedAll(ctx)
}

// A relation is what has the name audit_log.
type relation struct {
	oid    uint32
	schema string // quoted
	isView bool   // of this log
}

func (r relation) named(name string) string { return r.schema + "." + name }

// find returns the table or the view. Another relation of the name is an error.
func (v *View) find(ctx context.Context, db queryer) (r relation, err error) {
	var kind string
	err = db.QueryRow(ctx, `
		SELECT c.oid, quote_ident(n.nspname), c.relkind::text, EXISTS (
			SELECT 1
			FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
			WHERE w.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass($2)
		)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = to_regclass($1)
	`, Name, v.names.rows).Scan(&r.oid, &r.schema, &kind, &r.isView)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, errors.New("there is no table audit_log in the search path")
	}
	if err != nil {
		return r, err
	}

	r.isView = r.isView && kind == "v"
	if !r.isView && kind != "r" && kind != "p" {
		return r, errors.New("audit_log is neither a table nor the view of this log")
	}
	return r, nil
}

// check looks for what a view in the table's place would break.
func (v *View) check(ctx context.Context, db queryer, table relation) error {
	more, err := texts(ctx, db, `
		SELECT attname::text
		FROM pg_attribute
		WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
			AND attname NOT IN ('id', 'timestamp', 'event_type', 'username', 'ip_address', 'query', 'mail_id', 'success', 'detail')
		ORDER BY attnum
	`, table.oid)
	if err != nil {
		return err
	}
	if len(more) > 0 {
		return fmt.Errorf("audit_log has columns that the old log does not have, and that no entry has: %s", strings.Join(more, ", "))
	}

	views, err := texts(ctx, db, `
		SELECT DISTINCT w.ev_class::regclass::text
		FROM pg_depend d JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
		WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
		ORDER BY 1
	`, table.oid)
	if err != nil {
		return err
	}
	if len(views) > 0 {
		return fmt.Errorf("views read the table audit_log, and would go on reading it under its other name, where nothing is added: %s: "+
			"drop them, and make them again afterwards", strings.Join(views, ", "))
	}
	return nil
}

func texts(ctx context.Context, db queryer, sql string, args ...any) ([]string, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// columnsOf returns what an expression says of each column of a table, in their order.
func columnsOf(ctx context.Context, db queryer, table relation, expression string) ([]string, error) {
	return texts(ctx, db, "SELECT "+expression+`
		FROM pg_attribute
		WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
		ORDER BY attnum
	`, table.oid)
}

// checkQuiet fails if a row was taken over a short while ago.
func (v *View) checkQuiet(ctx context.Context, quiet time.Duration) error {
	page, err := v.log.Query(ctx, query.Prefix("id", old.Format+":"), attestlog.PageOptions{Limit: 1})
	if err != nil || len(page.Entries) == 0 {
		return err
	}

	newest := &page.Entries[0]
	if time.Since(newest.LoggedTime) >= quiet {
		return nil
	}
	return fmt.Errorf("%w: the last row of audit_log was taken over at %s, and there must have been none for %s",
		ErrOldWriter, newest.LoggedTime.UTC().Format(time.RFC3339), strings.TrimSuffix(strings.TrimSuffix(quiet.String(), "0s"), "0m"))
}

// seenRows are those that were found in the log.
type seenRows struct {
	last  int64 // the greatest id
	count int64 // how many there are up to it
}

// checkMoved fails if the table has rows that the log lacks.
func (v *View) checkMoved(ctx context.Context, table relation) (seen seenRows, err error) {
	// Rows up to here were all moved, or there is no such row.
	err = v.db.QueryRow(ctx, "SELECT coalesce(max(position), $2) FROM "+v.names.positions+" WHERE name = "+PositionOf("$1"), table.oid, noID).
		Scan(&seen.last)
	if err != nil {
		return seen, err
	}
	seen.last, err = v.checkAfter(ctx, old.In(v.db), seen.last)
	if err != nil {
		return seen, err
	}
	seen.count, err = v.countTo(ctx, v.db, seen.last)
	return seen, err
}

// PositionOf returns the SQL of the name of the row of the table positions that says
// how far a table was taken over, by package compat/audit. A table that was dropped and
// made again, or truncated, has another.
func PositionOf(table string) string {
	return "format('audit_log %s %s', " + table + "::oid, coalesce(pg_relation_filenode(" + table + "), 0))"
}

// checkAfter looks for the rows after an id in the log, and returns the last.
func (v *View) checkAfter(ctx context.Context, table *old.Table, last int64) (int64, error) {
	for {
		records, err := table.After(ctx, last)
		if err != nil || len(records) == 0 {
			return last, err
		}
		for i := range records {
			_, err := v.log.EntryByID(ctx, records[i].EventID())
			if errors.Is(err, attestlog.ErrNotFound) {
				err = fmt.Errorf("%w: the first is %d", ErrNotMoved, records[i].ID)
			}
			if err != nil {
				return last, err
			}
			last = records[i].ID
		}
	}
}

func (v *View) countTo(ctx context.Context, db queryer, last int64) (n int64, err error) {
	err = db.QueryRow(ctx, "SELECT count(*) FROM audit_log WHERE id <= $1", last).Scan(&n)
	return n, err
}

// makeRows makes the table that is filled, for those who may append to the log. Its
// columns have the types of the old table's, which prepared statements rely on.
func (v *View) makeRows(ctx context.Context, table relation) error {
	return pgx.BeginFunc(ctx, v.db, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, LockName)
		if err != nil {
			return err
		}
		columns, err := columnsOf(ctx, tx, table, "quote_ident(attname) || ' ' || format_type(atttypid, atttypmod)")
		if err != nil {
			return err
		}

		for _, sql := range []string{
			"DROP TABLE IF EXISTS " + v.names.rows, // of a Create that was killed
			"DELETE FROM " + v.names.positions + " WHERE name = '" + positionName + "'",
			"CREATE TABLE " + v.names.rows + " (idx bigint PRIMARY KEY, " + strings.Join(columns, ", ") + ")",
			"COMMENT ON TABLE " + v.names.rows + " IS 'What the view audit_log shows. idx is the index of the entry.'",
			"CREATE INDEX ON " + v.names.rows + " (id)",
			"CREATE INDEX ON " + v.names.rows + " (timestamp)",
		} {
			_, err = tx.Exec(ctx, sql)
			if err != nil {
				return err
			}
		}

		writers, err := texts(ctx, tx, `
			SELECT DISTINCT quote_ident(pg_get_userbyid(a.grantee))
			FROM pg_class c, aclexplode(c.relacl) a
			WHERE c.oid = to_regclass($1) AND a.privilege_type = 'INSERT' AND a.grantee <> c.relowner AND a.grantee <> 0
		`, v.names.entries)
		if err != nil {
			return err
		}
		for _, writer := range writers {
			_, err := tx.Exec(ctx, "GRANT SELECT, INSERT ON "+v.names.rows+" TO "+writer)
			if err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "INSERT INTO "+v.names.positions+" (name, position) VALUES ($1, 0)", positionName)
		return err
	})
}

// LockName is the statement that a transaction begins with which makes or replaces the
// table, or raises its sequence.
const LockName = "SELECT pg_advisory_xact_lock(hashtextextended('attestlog audit_log', 0))"

func (v *View) feedAll(ctx context.Context) error {
	for more := true; more; {
		var err error
		more, err = v.feeder.Step(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// replace renames the table and puts the view in its place, unless rows have come that
// were not seen.
func (v *View) replace(ctx context.Context, table relation, seen seenRows) error {
	return v.exclusively(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "LOCK TABLE "+table.named(Name)+" IN ACCESS EXCLUSIVE MODE")
		if err != nil {
			return err
		}
		err = v.checkUnchanged(ctx, tx, table, seen)
		if err != nil {
			return err
		}
		readers, err := readersOf(ctx, tx, table)
		if err != nil {
			return err
		}
		columns, err := columnsOf(ctx, tx, table, "quote_ident(attname)")
		if err != nil {
			return err
		}

		view := table.named(Name)
		sql := []string{
			"ALTER TABLE " + view + " RENAME TO " + BeforeName,
			"COMMENT ON TABLE " + table.named(BeforeName) +
				` IS 'The table audit_log as the old log left it. "attestlog view drop audit_log" puts it back.'`,
			"CREATE VIEW " + view + " AS SELECT " + strings.Join(columns, ", ") + " FROM " + v.names.rows,
			"COMMENT ON VIEW " + view + ` IS 'The entries of an attestlog log. "attestlog view drop audit_log" puts the table back.'`,
			// A view of one table could be written to.
			"CREATE OR REPLACE FUNCTION " + v.names.refuse + `() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN
					RAISE EXCEPTION 'audit_log shows the entries of a log and takes no rows: "attestlog view drop audit_log" puts the table back'
						USING ERRCODE = 'object_not_in_prerequisite_state';
				END $$`,
			"CREATE TRIGGER refuse INSTEAD OF INSERT OR UPDATE OR DELETE ON " + view + " FOR EACH ROW EXECUTE FUNCTION " + v.names.refuse + "()",
		}
		for _, r := range readers {
			sql = append(sql, "GRANT SELECT"+r.columns+" ON "+view+" TO "+r.role)
		}
		for _, statement := range sql {
			_, err := tx.Exec(ctx, statement)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// checkUnchanged looks again at what nobody can change any more.
func (v *View) checkUnchanged(ctx context.Context, tx pgx.Tx, table relation, seen seenRows) error {
	now, err := v.find(ctx, tx)
	if err != nil {
		return err
	}
	if now != table {
		return errors.New("audit_log is another table than a moment ago")
	}
	err = v.check(ctx, tx, table)
	if err != nil {
		return err
	}

	// Rows of transactions that ended late have ids that were passed.
	count, err := v.countTo(ctx, tx, seen.last)
	if err != nil {
		return err
	}
	if count != seen.count {
		return fmt.Errorf("%w: some came a moment ago", ErrNotMoved)
	}
	_, err = v.checkAfter(ctx, old.In(tx), seen.last)
	return err
}

// A readRight is the right of a role to read a table.
type readRight struct {
	role    string // quoted, or PUBLIC
	columns string // "(a, b)", or empty for all
}

// readersOf returns who may read a table, its owner included.
func readersOf(ctx context.Context, tx pgx.Tx, table relation) ([]readRight, error) {
	rows, err := tx.Query(ctx, `
		WITH rights AS (
			SELECT a.grantee, NULL::name AS attname
			FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
			WHERE c.oid = $1 AND a.privilege_type = 'SELECT'
			UNION ALL
			SELECT a.grantee, t.attname
			FROM pg_attribute t, aclexplode(t.attacl) a
			WHERE t.attrelid = $1 AND NOT t.attisdropped AND a.privilege_type = 'SELECT'
		)
		SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
			coalesce(' (' || string_agg(quote_ident(attname), ', ') || ')', '')
		FROM rights
		GROUP BY grantee, attname IS NULL
	`, table.oid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r readRight, err error) {
		err = row.Scan(&r.role, &r.columns)
		return r, err
	})
}

// exclusively runs fn in a transaction that does not wait for others for long.
func (v *View) exclusively(ctx context.Context, fn func(pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, v.db, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockTimeout+"'")
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, LockName)
		if err != nil {
			return err
		}
		return fn(tx)
	})

	var pg *pgconn.PgError
	switch {
	case !errors.As(err, &pg):
	case pg.Code == "55P03": // lock_not_available
		return fmt.Errorf("a program has been using audit_log for %s, and nothing was changed: try again: %w", lockTimeout, err)
	case pg.Detail != "":
		return fmt.Errorf("%w: %s", err, pg.Detail)
	}
	return err
}

// Drop removes the view and puts the table back as it was. What was logged meanwhile
// is in the log, and not in the table. kept is false if there is no table to put back.
func (v *View) Drop(ctx context.Context) (kept bool, err error) {
	isView := false
	err = v.exclusively(ctx, func(tx pgx.Tx) error {
		view, err := v.find(ctx, tx)
		if err != nil {
			return err
		}
		isView = view.isView
		if !isView { // a Create that was killed may have left rows
			return v.dropRows(ctx, tx)
		}

		// A Feeder locks this row before the others.
		err = v.dropPosition(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "DROP VIEW "+view.named(Name))
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", view.named(BeforeName)).Scan(&kept)
		if err != nil {
			return err
		}
		if kept {
			_, err = tx.Exec(ctx, "ALTER TABLE "+view.named(BeforeName)+" RENAME TO "+Name)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, "COMMENT ON TABLE "+view.named(Name)+" IS NULL")
			if err != nil {
				return err
			}
		}
		return v.dropRows(ctx, tx)
	})
	if err == nil && !isView {
		err = ErrNone
	}
	return kept, err
}

// removeRows removes the table that is filled, while no view shows it.
func (v *View) removeRows(ctx context.Context) error {
	return v.exclusively(ctx, func(tx pgx.Tx) error {
		r, err := v.find(ctx, tx)
		if err == nil && r.isView { // of another process, meanwhile
			return nil
		}
		return v.dropRows(ctx, tx)
	})
}

func (v *View) dropPosition(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "DELETE FROM "+v.names.positions+" WHERE name = $1", positionName)
	return err
}

// dropRows drops what is filled, in the order in which a Feeder takes it.
func (v *View) dropRows(ctx context.Context, tx pgx.Tx) error {
	err := v.dropPosition(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "DROP TABLE IF EXISTS "+v.names.rows)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "DROP FUNCTION IF EXISTS "+v.names.refuse+"()")
	return err
}
