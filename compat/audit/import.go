package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/attestlog/attestlog"
	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/internal/oldlog"
	"github.com/attestlog/attestlog/postgres"
)

// importOnce imports the old table, unless there is none or an entry says that
// this was done. An import that was interrupted is continued.
func (l *Logger) importOnce(ctx context.Context, dsn string) error {
	done, err := oldlog.IsImported(ctx, l.log, importName)
	if err != nil || done {
		return err
	}

	server, err := postgres.ServerDSN(dsn)
	if err != nil {
		return err
	}
	table, err := old.Open(ctx, server)
	if errors.Is(err, old.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	defer table.Close()

	err = oldlog.Import(ctx, l.log, oldlog.Table{
		Name:   importName,
		Format: old.Format,
		Rows:   table.Rows,
		Grows:  true, // what is read is a snapshot
		Events: checked(table.Events(ctx)),
		Logger: l.logger,
	})
	if err != nil {
		return fmt.Errorf("import of the table audit_log: %w", err)
	}
	return nil
}

// checked ends events with an error at a row whose id could be that of an entry
// that is not imported.
func checked(events iter.Seq2[attestlog.Event, error]) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		for e, err := range events {
			if err == nil {
				err = checkID(e)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// checkID refuses a row whose id could be that of an entry that is not imported.
func checkID(e attestlog.Event) error {
	record, err := old.RecordOf(e)
	if err != nil {
		return fmt.Errorf("a row: %w", err)
	}
	if record.ID < 0 || record.ID >= newIDs {
		return fmt.Errorf("row %d: its id is not one of 0 to 2^52", record.ID)
	}
	return nil
}
