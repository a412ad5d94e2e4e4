// Package oldlog imports the table of an audit log that a service wrote for
// itself, once.
package oldlog

import (
	"context"
	"fmt"
	"iter"
	"log/slog"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// A Table is what is imported.
type Table struct {
	Name   string // of the package that stands in for the old log: "audit"
	Format string // starts the ids of the table's events
	Rows   int64  // how many it had when it was opened
	Grows  bool   // programs may add rows until they are read
	Events iter.Seq2[attestlog.Event, error]
	Logger *slog.Logger // receives the progress
}

// Imported selects the entry that ends an import under a name. It has the action
// NAME.imported.
func Imported(name string) query.Query {
	return query.And(query.Field("action", actionOf(name)), query.Field("operation", "import"))
}

func actionOf(name string) string { return name + ".imported" }

// IsImported reports whether a log has the entry that ends an import.
func IsImported(ctx context.Context, log *attestlog.Log, name string) (bool, error) {
	n, err := log.Count(ctx, Imported(name), 1)
	return n > 0, err
}

// Import appends the events of all rows, checks that they are in the log, and
// appends the entry that ends the import. An import that was interrupted is
// continued by another: rows that are in the log have the same ids again, and are
// not stored twice.
func Import(ctx context.Context, log *attestlog.Log, t Table) error {
	rows, err := t.appendRows(ctx, log)
	if err != nil {
		return err
	}

	// Rows that come later would be lost, because a table is imported once.
	if rows > t.Rows && !t.Grows {
		return fmt.Errorf("the table has %d rows and had %d when it was opened: a program still adds to it", rows, t.Rows)
	}
	stored, err := log.Count(ctx, query.Prefix("id", t.Format+":"), 0)
	if err != nil {
		return err
	}
	if rows < t.Rows || int64(stored) < rows {
		return fmt.Errorf("the table has %d rows, of which %d were read and %d are in the log", t.Rows, rows, stored)
	}

	_, err = log.Append(ctx, attestlog.Event{
		Action:     actionOf(t.Name),
		Operation:  "import",
		Outcome:    attestlog.Success,
		Actor:      attestlog.Actor{ID: t.Name, Type: "system"},
		Attributes: map[string]any{"rows": rows},
	})
	return err
}

// appendRows appends the events of all rows, and returns how many there were.
func (t *Table) appendRows(ctx context.Context, log *attestlog.Log) (rows int64, err error) {
	const batchSize, reportEvery = 1_000, 100_000
	t.Logger.Info(t.Name+": importing the old table", "rows", t.Rows)

	batch := make([]attestlog.Event, 0, batchSize)
	for e, err := range t.Events {
		if err != nil {
			return rows, err
		}
		batch = append(batch, e)
		rows++

		if len(batch) == batchSize {
			_, err := log.Append(ctx, batch...)
			if err != nil {
				return rows, err
			}
			batch = batch[:0]
		}
		if rows%reportEvery == 0 {
			t.Logger.Info(t.Name+": importing the old table", "done", rows, "rows", t.Rows)
		}
	}

	_, err = log.Append(ctx, batch...)
	return rows, err
}
