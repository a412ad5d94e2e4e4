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

// takeOver imports the old table, unless there is none or an entry says that
// this was done. One that was interrupted goes on.
func (l *Logger) takeOver(ctx context.Context, dsn string) error {
	server, err := postgres.ServerDSN(dsn)
	if err != nil {
		return err
	}
	if n, err := l.log.Count(ctx, isImported, 1); err != nil || n > 0 {
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
	rows, err := l.importRows(ctx, table)
	if err != nil {
		return fmt.Errorf("import of the table audit_log: %w", err)
	}
	_, err = l.log.Append(ctx, attestlog.Event{
		Action: imported, Operation: "import", Outcome: attestlog.Success, Actor: attestlog.Actor{ID: "audit", Type: "system"},
		Attributes: map[string]any{"rows": rows},
	})
	return err
}

func (l *Logger) importRows(ctx context.Context, table *old.Table) (rows int64, err error) {
	const batch, every = 1_000, 100_000
	l.logger.Info("audit: importing the table audit_log", "rows", table.Rows)
	events := make([]attestlog.Event, 0, batch)
	flush := func() error {
		_, err := l.log.Append(ctx, events...)
		events = events[:0]
		return err
	}
	for e, err := range table.Events(ctx) {
		if err != nil {
			return rows, err
		}
		if record, err := old.RecordOf(e); err != nil || record.ID < 0 || record.ID >= newIDs {
			return rows, fmt.Errorf("row %d: its id is not one of 0 to 2^52, %v", record.ID, err)
		}
		events = append(events, e)
		if rows++; len(events) == batch {
			if err := flush(); err != nil {
				return rows, err
			}
		}
		if rows%every == 0 {
			l.logger.Info("audit: importing the table audit_log", "done", rows, "rows", table.Rows)
		}
	}
	if err := flush(); err != nil {
		return rows, err
	}
	stored, err := l.log.Count(ctx, query.Prefix("id", old.Format+":"), 0)
	if err == nil && (rows < table.Rows || int64(stored) < rows) {
		err = fmt.Errorf("the table has %d rows, of which %d were read and %d are in the log", table.Rows, rows, stored)
	}
	return rows, err
}
