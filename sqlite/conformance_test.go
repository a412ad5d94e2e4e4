package sqlite_test

import (
	"context"
	"fmt"
	"testing"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/storetest"
	"github.com/attestlog/attestlog/sqlite"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		return opener{sqlitetest.Path(t)}
	})
}

// An opener opens the log in one file.
type opener struct{ path string }

func (o opener) Open(ctx context.Context, opts storetest.Options) (attestlog.Store, error) {
	s, err := sqlite.Open(ctx, o.path, sqlite.Config{ReadOnly: opts.ReadOnly, NoIndex: opts.NoIndex})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (o opener) Erase(_ context.Context, index uint64, pointer string) error {
	return tamper(o.path, fmt.Sprintf("DELETE FROM disclosures WHERE idx = %d AND pointer = '%s'", index, pointer))
}

// tamper runs a script on a database behind the log's back.
func tamper(path, script string) error {
	return tamperWith(path, func(conn *zombiezen.Conn) error { return sqlitex.ExecuteScript(conn, script+";", nil) })
}

// tamperWith runs fn on a database behind the log's back: with the triggers
// out of the way, which are there again afterwards, word for word.
func tamperWith(path string, fn func(*zombiezen.Conn) error) error {
	conn, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite)
	if err != nil {
		return err
	}
	defer conn.Close()
	var drop, create []string
	err = sqlitex.ExecuteTransient(conn, "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'", &sqlitex.ExecOptions{
		ResultFunc: func(stmt *zombiezen.Stmt) error {
			drop = append(drop, "DROP TRIGGER "+stmt.ColumnText(0))
			create = append(create, stmt.ColumnText(1))
			return nil
		},
	})
	if err != nil {
		return err
	}
	return func() (err error) {
		end, err := sqlitex.ImmediateTransaction(conn)
		if err != nil {
			return err
		}
		defer end(&err)
		for _, sql := range drop {
			if err := sqlitex.ExecuteTransient(conn, sql, nil); err != nil {
				return err
			}
		}
		if err := fn(conn); err != nil {
			return err
		}
		for _, sql := range create {
			if err := sqlitex.ExecuteTransient(conn, sql, nil); err != nil {
				return err
			}
		}
		return nil
	}()
}

func withConn(path string, fn func(*zombiezen.Conn) error) error {
	conn, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite)
	if err != nil {
		return err
	}
	defer conn.Close()
	return fn(conn)
}
