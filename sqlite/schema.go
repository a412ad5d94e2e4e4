package sqlite

import (
	"embed"
	"fmt"
	"slices"
	"strings"

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

// newSchema returns the objects of a new database.
func newSchema(sc schema) ([]string, error) {
	// SQLite keeps the text of each statement that made something, so the same
	// script leaves the same texts.
	fresh, err := sqlite.OpenConn(":memory:", sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenMemory)
	if err != nil {
		return nil, err
	}
	defer fresh.Close()
	err = migrate(fresh, sc)
	if err != nil {
		return nil, err
	}
	return objectsOf(fresh, "main")
}

// checkSchema compares the schema of a database, for a log of size entries, with
// want, that of a new one. It also looks for objects that take the place of the
// database's on the connection: temporary ones, and those of databases that
// were attached.
func checkSchema(conn *sqlite.Conn, want []string, size uint64) error {
	changed := func(format string, object string) error {
		name, _, _ := strings.Cut(object, "\n")
		return &attestlog.CorruptError{Index: size, Where: "schema", Err: fmt.Errorf(format, name)}
	}

	got, err := objectsOf(conn, "main")
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		for _, object := range want {
			if !slices.Contains(got, object) {
				return changed("%s is missing or was changed, so the database no longer refuses what it should", object)
			}
		}
		for i, object := range got {
			twice := i > 0 && object == got[i-1]
			if twice || !slices.Contains(want, object) {
				return changed("%s was added", object)
			}
		}
	}

	temporary, err := objectsOf(conn, "temp")
	if err != nil {
		return err
	}
	if len(temporary) > 0 {
		return changed("temporary %s was added", temporary[0])
	}
	return nil
}

// objectsOf returns the objects of a database of a connection, sorted: what each is,
// its name, the table that it belongs to and its SQL, on lines. The tables that
// ANALYZE makes are left out.
func objectsOf(conn *sqlite.Conn, database string) ([]string, error) {
	stmt, err := prepare(conn, `SELECT concat(type, ' ', name, char(10), tbl_name, char(10), sql) FROM `+database+`.sqlite_schema
		WHERE name NOT IN ('sqlite_stat1', 'sqlite_stat4')`)
	if err != nil {
		return nil, err
	}

	var out []string
	err = rows(stmt, func() error {
		out = append(out, stmt.ColumnText(0))
		return nil
	})
	slices.Sort(out)
	return out, err
}
