package sqlite

import (
	"embed"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
)

//go:embed schema/*.sql
var schemas embed.FS

// A schema is what one of our databases is made with: a file in the folder
// schema.
type schema struct {
	name    string
	id      int64 // the database's application id
	version int64 // the database's user version
}

var (
	logSchema   = schema{"log", 0x41544c47, 2}   // "ATLG"
	indexSchema = schema{"index", 0x41544c49, 2} // "ATLI"
)

func (sc schema) file() string { return fmt.Sprintf("schema/%s_%04d.sql", sc.name, sc.version) }

// migrate makes the schema in an empty database, and refuses one that is foreign
// or of another version, without touching it.
func migrate(conn *sqlite.Conn, sc schema) (err error) {
	empty, err := checkHeader(conn, sc)
	if err != nil || !empty {
		return err
	}

	// Neither can be set within a transaction.
	err = pragmas(conn, fmt.Sprintf("PRAGMA page_size = %d", pageSize), "PRAGMA journal_mode = WAL")
	if err != nil {
		return err
	}

	end, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		return err
	}
	defer end(&err)

	// Another process may have made the schema before the transaction began.
	empty, err = checkHeader(conn, sc)
	if err != nil || !empty {
		return err
	}
	if err := sqlitex.ExecuteScriptFS(conn, schemas, sc.file(), nil); err != nil {
		return err
	}
	return pragmas(conn, fmt.Sprintf("PRAGMA application_id = %d", sc.id), fmt.Sprintf("PRAGMA user_version = %d", sc.version))
}

// checkHeader reports whether the database is empty, or why it cannot be used.
func checkHeader(conn *sqlite.Conn, sc schema) (empty bool, err error) {
	end := sqlitex.Save(conn) // one snapshot for all three
	defer end(&err)

	objects, err := integer(conn, "SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return false, err
	}
	id, err := integer(conn, "PRAGMA application_id")
	if err != nil {
		return false, err
	}
	version, err := integer(conn, "PRAGMA user_version")
	if err != nil {
		return false, err
	}

	switch {
	case id == 0 && version == 0 && objects == 0:
		return true, nil
	case id != sc.id:
		return false, fmt.Errorf("%w (application id %#x, want %#x)", ErrForeign, id, sc.id)
	case version > sc.version:
		return false, fmt.Errorf("%w: schema %d, this program knows %d; use a newer attestlog", ErrNewer, version, sc.version)
	case version < sc.version:
		return false, fmt.Errorf("%w: schema %d", ErrOlder, version)
	}
	return false, nil
}

// checkSchema compares the schema of a database, for a log of size entries, with
// that of a new one.
func checkSchema(conn *sqlite.Conn, sc schema, size uint64) error {
	// SQLite keeps the text of each statement that made something, so the same
	// script leaves the same texts.
	fresh, err := sqlite.OpenConn(":memory:", sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenMemory)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if err := migrate(fresh, sc); err != nil {
		return err
	}

	want, err := schemaOf(fresh)
	if err != nil {
		return err
	}
	got, err := schemaOf(conn)
	if err != nil {
		return err
	}

	changed := func(format string, name string) error {
		return &attestlog.CorruptError{Index: size, Where: "schema", Err: fmt.Errorf(format, name)}
	}
	for name, sql := range want {
		if got[name] != sql {
			return changed("%s is missing or was changed, so the database no longer refuses what it should", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			return changed("%s was added", name)
		}
	}
	return nil
}

// schemaOf returns the SQL of each object of a database, except the tables that
// ANALYZE makes.
func schemaOf(conn *sqlite.Conn) (map[string]string, error) {
	const query = `SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema
		WHERE name NOT IN ('sqlite_stat1', 'sqlite_stat4')`

	out := map[string]string{}
	err := sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		out[stmt.ColumnText(0)] = stmt.ColumnText(1)
		return nil
	}})
	return out, err
}
