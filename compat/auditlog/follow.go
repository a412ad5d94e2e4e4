package auditlog

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/attestlog/attestlog"
	table "github.com/attestlog/attestlog/convert/auditlog"
	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/oldlog"
	"github.com/attestlog/attestlog/internal/retry"
	"github.com/attestlog/attestlog/query"
)

const (
	// importName names this package in its own entries.
	importName = "auditlog"

	followEvery  = time.Second     // how often to look whether the table was written
	settleTime   = 2 * time.Second // how long a file may seem unchanged that was written just now
	compareEvery = 24 * time.Hour
)

// rows selects the entries that were made of rows.
var rows = query.Prefix("id", table.Format+":")

// A follower moves the rows of the old table into the log: those that are there
// when it starts, and those that programs add later, which still have the old log.
// SQLite gives out ids in the order of the commits, so new rows are those after
// the last one.
type follower struct {
	log    *attestlog.Log
	path   string // of the table's database
	source string // of the ids of the table's rows
	began  bool   // whether an entry says that rows were taken over

	newest   table.Row // the row that was moved last
	hasMoved bool

	stamps  [3]stamp // of the files when they were read last
	checked bool     // newest was compared with the table
	gone    bool     // the table, and that was said

	now      func() time.Time // for compareDaily
	compared time.Time        // when the table was compared last, or zero if that is unknown
	failing  lasting.State
}

// newFollower finds out how far the log is.
func newFollower(ctx context.Context, log *attestlog.Log, path string) (*follower, error) {
	f := &follower{log: log, path: path, source: filepath.Base(path), now: time.Now}

	// The file may have been given another name since, which must not change the
	// ids of its rows.
	began, err := newestEntry(ctx, log, oldlog.Imported(importName))
	if err != nil {
		return nil, err
	}
	if began != nil {
		f.began = true
		if source, ok := began.Attributes["source"].(string); ok {
			f.source = source
		}
	}

	last, err := newestEntry(ctx, log, rows)
	if err != nil || last == nil {
		return f, err
	}
	row, err := table.RowOf(last.Event)
	if err == nil { // else all rows are read again, which adds nothing
		f.newest, f.hasMoved = row, true
	}
	return f, nil
}

// newestEntry returns the newest entry that a query selects, or nil.
func newestEntry(ctx context.Context, log *attestlog.Log, q query.Query) (*attestlog.Entry, error) {
	page, err := log.Query(ctx, q, attestlog.PageOptions{Limit: 1})
	if err != nil || len(page.Entries) == 0 {
		return nil, err
	}
	return &page.Entries[0], nil
}

// run follows the table until ctx ends.
func (f *follower) run(ctx context.Context) {
	for retry.Sleep(ctx, followEvery) == nil {
		err := f.catchUp(ctx)
		if err == nil {
			err = f.compareDaily(ctx)
		}
		if ctx.Err() == nil {
			f.failing.Note(err, slog.Default(), slog.LevelError,
				"auditlog: the old table cannot be followed; rows that are added to it wait there",
				"auditlog: the old table is followed again", "path", f.path)
		}
	}
}

// catchUp moves the rows that are new, if the files have changed.
func (f *follower) catchUp(ctx context.Context) error {
	before := f.stampsNow()
	if f.checked && before == f.stamps {
		return nil
	}
	err := f.move(ctx)
	if err != nil {
		return err
	}

	// A file that is written twice within a tick of its clock looks the same.
	f.checked = true
	for _, s := range before {
		if age := time.Since(s.modified); age >= 0 && age < settleTime {
			f.checked = false
		}
	}
	f.stamps = before
	return nil
}

// A stamp tells whether a file was written. Looking at it takes no lock: a program
// that writes with a rollback journal is not disturbed while it writes nothing new.
type stamp struct {
	size     int64
	modified time.Time
}

func (f *follower) stampsNow() (stamps [3]stamp) {
	for i, suffix := range []string{"", "-wal", "-journal"} {
		if info, err := os.Stat(f.path + suffix); err == nil {
			stamps[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return stamps
}

// move moves the rows after the newest.
func (f *follower) move(ctx context.Context) error {
	old, err := table.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, table.ErrNoTable) {
		if !f.gone {
			slog.Warn("auditlog: the old table is gone, and nothing more is taken over from it", "path", f.path)
		}
		f.gone = true
		return nil
	}
	if err != nil {
		return err
	}
	defer old.Close()
	f.gone = false
	old.Source = f.source

	// If the newest row is not in the table as it was, this is another table, or
	// one that rows are removed from. It is read from the start: what the log has
	// is not added again.
	first := int64(math.MinInt64)
	if f.hasMoved {
		row, found, err := old.Row(ctx, f.newest.ID)
		if err != nil {
			return err
		}
		if found && row.Equal(&f.newest) {
			first = f.newest.ID
		}
	}
	for {
		moved, err := f.moveFrom(ctx, old, first)
		if err != nil || !moved {
			return err
		}
		first = f.newest.ID

		// Rows that were added meanwhile.
		if err := old.Refresh(); err != nil {
			return err
		}
	}
}

// moveFrom moves the rows from an id on, and reports whether there were others
// than the newest.
func (f *follower) moveFrom(ctx context.Context, old *table.Table, first int64) (moved bool, err error) {
	if old.Rows == 0 || f.hasMoved && first == f.newest.ID && old.Last == first {
		return false, nil
	}
	var last table.Row
	read := func(yield func(attestlog.Event, error) bool) {
		for row, err := range old.RowsFrom(ctx, first) {
			if err != nil {
				yield(attestlog.Event{}, err)
				return
			}
			last = row
			if !yield(row.Event(old.Source), nil) {
				return
			}
		}
	}
	t := oldlog.Table{Name: importName, Rows: old.Rows, Events: read, Logger: slog.Default()}
	n, err := t.Append(ctx, f.log)
	if err != nil || n == 0 {
		return false, err
	}

	f.newest, f.hasMoved = last, true
	if f.began {
		return true, nil
	}
	f.began = true
	return true, oldlog.End(ctx, f.log, importName, map[string]any{"rows": n, "source": f.source})
}

// compareDaily compares the table with the log, if the last time was a day ago.
func (f *follower) compareDaily(ctx context.Context) error {
	if !f.hasMoved || f.gone {
		return nil
	}
	now := f.now()
	if now.Sub(f.compared) < compareEvery {
		return nil
	}
	last, err := oldlog.LastCompared(ctx, f.log, importName) // by any process
	if err != nil {
		return err
	}
	if now.Sub(last) < compareEvery {
		f.compared = last
		return nil
	}

	old, err := table.Open(f.path)
	if err != nil {
		return err
	}
	defer old.Close()
	if old.Rows == 0 { // the file was moved away, and made anew
		f.compared = now
		return nil
	}
	result, err := oldlog.Compare(f.tableRows(ctx, old), f.entryRows(ctx))
	if err != nil {
		return err
	}
	if result.Missing+result.Changed > 0 {
		slog.Warn("auditlog: rows that were taken over have disappeared from the old table or were changed in it; the log has them as they were",
			"path", f.path, "rows", result.Rows, "missing", result.Missing, "changed", result.Changed, "first", result.First)
	}
	f.compared = now
	return result.Record(ctx, f.log, importName)
}

func (f *follower) tableRows(ctx context.Context, old *table.Table) iter.Seq2[oldlog.Pair, error] {
	return func(yield func(oldlog.Pair, error) bool) {
		for row, err := range old.RowsFrom(ctx, math.MinInt64) {
			if !yield(oldlog.Pair{ID: row.ID, Mark: row.EventID(f.source)}, err) || err != nil {
				return
			}
		}
	}
}

// entryRows yields the rows of the entries. Those of tables with other sources
// were imported by somebody else.
func (f *follower) entryRows(ctx context.Context) iter.Seq2[oldlog.Pair, error] {
	return func(yield func(oldlog.Pair, error) bool) {
		for e, err := range f.log.Entries(ctx, rows) {
			if err != nil {
				yield(oldlog.Pair{}, err)
				return
			}
			row, err := table.RowOf(e.Event)
			if err != nil || e.Err != nil || row.EventID(f.source) != e.ID {
				continue
			}
			if !yield(oldlog.Pair{ID: row.ID, Mark: e.ID}, nil) {
				return
			}
		}
	}
}
