package sqlite

import (
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// migrate brings an empty database to the newest schema, and refuses one that
// is foreign, or not of its version.
func migrate(conn *sqlite.Conn, sc schema) (err error) {
	// A file that is not ours is not touched.
	if empty, err := checkHeader(conn, sc); err != nil || !empty {
		return err
	}
	err = pragmas(conn, fmt.Sprintf("PRAGMA page_size = %d", pageSize), "PRAGMA journal_mode = WAL")
	if err != nil {
		return err
	}
	end, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		return err
	}
	defer end(&err)
	empty, err := checkHeader(conn, sc)
	if err != nil || !empty {
		return err
	}
	if err := sqlitex.ExecuteScriptFS(conn, schemas, fmt.Sprintf("schema/%s_%04d.sql", sc.name, sc.version), nil); err != nil {
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
	got, err := integer(conn, "PRAGMA application_id")
	if err != nil {
		return false, err
	}
	version, err := integer(conn, "PRAGMA user_version")
	if err != nil {
		return false, err
	}
	switch {
	case got == 0 && version == 0 && objects == 0:
		return true, nil
	case got != sc.id:
		return false, fmt.Errorf("%w (application id %#x, want %#x)", ErrForeign, got, sc.id)
	case version > sc.version:
		return false, fmt.Errorf("%w: schema %d, this program knows %d; use a newer attestlog", ErrNewer, version, sc.version)
	case version < sc.version:
		return false, fmt.Errorf("%w: schema %d", ErrOlder, version)
	}
	return false, nil
}
