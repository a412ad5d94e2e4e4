// Package oldlog takes over the table of an audit log that a service wrote for
// itself.
package oldlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/halve"
	"github.com/attestlog/attestlog/query"
)

// A Table is what is taken over.
type Table struct {
	Name   string // of the package that stands in for the old log: "audit"
	Format string // starts the ids of the table's events
	Rows   int64  // how many it had when it was opened
	Grows  bool   // programs may add rows until they are read
	Events iter.Seq2[attestlog.Event, error]
	Logger *slog.Logger // receives the progress
}

// Imported selects the entry that ends the first import under a name. It has the
// action NAME.imported.
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
	rows, err := t.Append(ctx, log)
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
	return End(ctx, log, t.Name, map[string]any{"rows": rows})
}

// End appends the entry that ends the first import under a name.
func End(ctx context.Context, log *attestlog.Log, name string, attributes map[string]any) error {
	_, err := log.Append(ctx, attestlog.Event{
		Action:     actionOf(name),
		Operation:  "import",
		Outcome:    attestlog.Success,
		Actor:      attestlog.Actor{ID: name, Type: "system"},
		Attributes: attributes,
	})
	return err
}

// Append appends the events of all rows, and returns how many there were. Rows
// that are in the log already are not stored again.
func (t *Table) Append(ctx context.Context, log *attestlog.Log) (rows int64, err error) {
	const batchSize, reportEvery = 1_000, 100_000
	batch := make([]attestlog.Event, 0, batchSize)
	store := func() error {
		err := appendBatch(ctx, log, batch)
		batch = batch[:0]
		return err
	}

	for e, err := range t.Events {
		if err != nil {
			return rows, err
		}
		batch = append(batch, e)
		rows++

		if len(batch) == batchSize {
			if err := store(); err != nil {
				return rows, err
			}
		}
		if rows%reportEvery == 0 {
			t.Logger.Info(t.Name+": taking over the old table", "done", rows, "rows", t.Rows)
		}
	}
	return rows, store()
}

// appendBatch appends events in one transaction.
func appendBatch(ctx context.Context, log *attestlog.Log, batch []attestlog.Event) error {
	try := func(events []attestlog.Event) error {
		_, err := log.Append(ctx, events...)
		return err
	}

	// An id is made of a whole row. So an event that conflicts with an entry is of
	// the same row, and was made by a build that maps rows in another way.
	isConflict := func(err error) bool { return errors.Is(err, attestlog.ErrConflict) }
	return halve.Each(batch, try, isConflict, func(attestlog.Event, error) error { return nil })
}
