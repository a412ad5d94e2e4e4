package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/attestlog/attestlog"
	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
)

// importOnce imports the old table, unless there is none or an entry says that
// this was done. An import that was interrupted is continued.
func (l *Logger) importOnce(ctx context.Context, dsn string) error {
	n, err := l.log.Count(ctx, isImported, 1)
	if err != nil || n > 0 {
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

	rows, err := l.importTable(ctx, table)
	if err != nil {
		return fmt.Errorf("import of the table audit_log: %w", err)
	}

	// The entry that isImported selects.
	_, err = l.log.Append(ctx, attestlog.Event{
		Action:     imported,
		Operation:  "import",
		Outcome:    attestlog.Success,
		Actor:      attestlog.Actor{ID: "audit", Type: "system"},
		Attributes: map[string]any{"rows": rows},
	})
	return err
}

// importTable appends the events of all rows, and checks that they are in the log.
func (l *Logger) importTable(ctx context.Context, table *old.Table) (rows int64, err error) {
	rows, err = l.importRows(ctx, table)
	if err != nil {
		return rows, err
	}

	stored, err := l.log.Count(ctx, query.Prefix("id", old.Format+":"), 0)
	if err != nil {
		return rows, err
	}
	if rows < table.Rows || int64(stored) < rows {
		return rows, fmt.Errorf("the table has %d rows, of which %d were read and %d are in the log", table.Rows, rows, stored)
	}
	return rows, nil
}

// importRows appends the events of all rows, and returns how many there were. Rows
// that are in the log already have the same ids, and are not stored again.
func (l *Logger) importRows(ctx context.Context, table *old.Table) (rows int64, err error) {
	const batchSize, reportEvery = 1_000, 100_000
	l.logger.Info("audit: importing the table audit_log", "rows", table.Rows)

	batch := make([]attestlog.Event, 0, batchSize)
	for e, err := range table.Events(ctx) {
		if err != nil {
			return rows, err
		}
		err = checkID(e)
		if err != nil {
			return rows, err
		}
		batch = append(batch, e)
		rows++

		if len(batch) == batchSize {
			_, err := l.log.Append(ctx, batch...)
			if err != nil {
				return rows, err
			}
			batch = batch[:0]
		}
		if rows%reportEvery == 0 {
			l.logger.Info("audit: importing the table audit_log", "done", rows, "rows", table.Rows)
		}
	}

	_, err = l.log.Append(ctx, batch...)
	return rows, err
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
