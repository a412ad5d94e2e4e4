package audit

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/internal/auditview"
	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/oldlog"
	"github.com/attestlog/attestlog/internal/retry"
	"github.com/attestlog/attestlog/query"
)

const (
	followEvery  = time.Second // how often to look whether the table has new rows
	compareEvery = 24 * time.Hour
	waitForOther = 200 * time.Millisecond // between looks at how far another process is

	stepRows = 20_000 // that a transaction moves at most
)

// rows selects the entries that were made of rows.
var rows = query.Prefix("id", old.Format+":")

// A follower moves the rows of the table audit_log into the log: those that are
// there when it starts, and those that programs add later, which still have the old
// log. One process at a time does so: it has the lock of a row of the table
// positions.
//
// An id is drawn when a transaction begins to insert, and the row is seen when the
// transaction ends. So rows come with ids below the last that was seen. Rows up to
// an id are settled, and not looked at again, once every transaction has ended that
// was inserting into the table when the id was seen: later ones draw later ids.
type follower struct {
	l     *Logger
	table *old.Table
	add   string // the statement that adds a position, with the parameters of sql.Note
	sql   auditview.PositionSQL
	now   func() time.Time // for compareDaily

	name    string // of the table's position, which is another for a table that begins anew
	settled int64
	seen    int64          // the rows up to here were moved, as far as they were there
	moved   map[int64]bool // ids of rows after settled that are in the log
	pending *settling

	gone     bool // the table, and that was said
	began    bool // an entry says that rows were taken over
	compared time.Time
	failing  lasting.State
}

// A settling waits for transactions to end.
type settling struct {
	upTo    int64
	writers map[string]bool // the transactions that were inserting when upTo was seen, and that run
}

func newFollower(l *Logger, schema string) *follower {
	positions := pgx.Identifier{schema, "positions"}.Sanitize()
	return &follower{
		l:     l,
		table: old.In(l.pool),
		add:   "INSERT INTO " + positions + " (name, position) VALUES ($1, $2) ON CONFLICT DO NOTHING",
		sql:   auditview.PositionsIn(schema),
		now:   time.Now,
	}
}

// identify finds out which table there is. One that was dropped and made again, or
// truncated, has its ids anew, and is read from its start: what the log has is not
// added again.
func (f *follower) identify(ctx context.Context) error {
	var name string
	err := f.l.pool.QueryRow(ctx, "SELECT "+auditview.PositionOf("to_regclass('audit_log')")).Scan(&name)
	if err != nil || name == f.name {
		return err
	}
	_, err = f.l.pool.Exec(ctx, f.add, name, int64(math.MinInt64))
	if err != nil {
		return err
	}
	f.name = name
	f.restart(math.MinInt64)
	return nil
}

// restart forgets all rows after a position.
func (f *follower) restart(position int64) {
	f.settled = position
	f.seen = position
	f.moved = map[int64]bool{}
	f.pending = nil
}

// takeOver moves all rows that are there, or waits until another process has.
func (f *follower) takeOver(ctx context.Context) (err error) {
	f.began, err = oldlog.IsImported(ctx, f.l.log, importName)
	if err != nil {
		return err
	}
	kind, err := tableKind(ctx, f.l.pool)
	if err != nil || !isOrdinary(kind) {
		return err
	}
	last, err := f.table.LastID(ctx)
	if err != nil {
		return err
	}

	for {
		held, more, err := f.step(ctx)
		switch {
		case err != nil:
			return err
		case held && !more:
			return nil
		case held:
			continue
		}

		var position int64
		err = f.l.pool.QueryRow(ctx, f.sql.Look, f.name).Scan(&position)
		if err != nil || position >= last {
			return err
		}
		err = retry.Sleep(ctx, waitForOther)
		if err != nil {
			return err
		}
	}
}

// run follows the table until ctx ends.
func (f *follower) run(ctx context.Context) {
	for retry.Sleep(ctx, followEvery) == nil {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		f.failing.Note(err, f.l.logger, slog.LevelError,
			"audit: the table audit_log cannot be followed; rows that are added to it wait there",
			"audit: the table audit_log is followed again")
	}
}

func (f *follower) follow(ctx context.Context) error {
	kind, err := tableKind(ctx, f.l.pool)
	if err != nil {
		return err
	}
	if !isOrdinary(kind) {
		if !f.gone && kind == 0 {
			f.l.logger.Warn("audit: the table audit_log is gone, and nothing more is taken over from it")
		}
		f.gone = true
		return nil
	}
	f.gone = false

	for more := true; more; {
		var held bool
		held, more, err = f.step(ctx)
		if err != nil || !held {
			return err
		}
	}
	return f.compareDaily(ctx)
}

// step moves some rows that are new. It reports whether this process was the one to
// do so, and whether there may be more of them.
func (f *follower) step(ctx context.Context) (held, more bool, err error) {
	err = f.identify(ctx)
	if err != nil {
		return false, false, err
	}
	err = pgx.BeginFunc(ctx, f.l.pool, func(tx pgx.Tx) error {
		// If this process hangs, another one goes on.
		_, err := tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = '60s'")
		if err != nil {
			return err
		}
		var position int64
		err = tx.QueryRow(ctx, f.sql.Lock, f.name).Scan(&position)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}

		held = true
		if position != f.settled { // another process went on
			f.restart(position)
		}
		more, err = f.moveNew(ctx, tx)
		return err
	})
	return held, more, err
}

// moveNew moves rows after those that were seen, and settles what it can.
func (f *follower) moveNew(ctx context.Context, tx pgx.Tx) (more bool, err error) {
	for n := 0; n < stepRows; {
		records, err := f.table.After(ctx, f.seen)
		if err != nil {
			return false, err
		}
		if len(records) == 0 {
			return false, f.settle(ctx, tx)
		}

		err = f.move(ctx, records)
		if err != nil {
			return false, err
		}
		f.seen = records[len(records)-1].ID
		n += len(records)

		// The session is not to be idle meanwhile.
		_, err = tx.Exec(ctx, "SELECT 1")
		if err != nil {
			return false, err
		}
	}
	return true, f.settle(ctx, tx)
}

// move appends those of the rows that were not moved.
func (f *follower) move(ctx context.Context, records []old.Record) error {
	var ids []int64
	events := func(yield func(attestlog.Event, error) bool) {
		for i := range records {
			if f.moved[records[i].ID] {
				continue
			}
			ids = append(ids, records[i].ID)
			if !yield(records[i].RowEvent(), nil) {
				return
			}
		}
	}

	t := oldlog.Table{Name: importName, Events: events, Logger: f.l.logger}
	n, err := t.Append(ctx, f.l.log)
	if err != nil {
		return err
	}
	for _, id := range ids {
		f.moved[id] = true
	}
	if n == 0 || f.began {
		return nil
	}
	f.began = true
	return oldlog.End(ctx, f.l.log, importName, map[string]any{"first": ids[0]})
}

// settle notes how far the rows are settled.
func (f *follower) settle(ctx context.Context, tx pgx.Tx) error {
	for f.seen > f.settled {
		writers, err := f.writers(ctx)
		if err != nil {
			return err
		}
		if f.pending == nil {
			f.pending = &settling{f.seen, writers}
		}

		// Each transaction that has ended may have left rows that were not seen.
		ended := 0
		for name := range f.pending.writers {
			if !writers[name] {
				delete(f.pending.writers, name)
				ended++
			}
		}
		isSettled := len(f.pending.writers) == 0
		if ended > 0 || isSettled {
			err := f.moveMissed(ctx, f.seen)
			if err != nil {
				return err
			}
		}
		if !isSettled {
			return nil
		}

		_, err = tx.Exec(ctx, f.sql.Note, f.name, f.pending.upTo)
		if err != nil {
			return err
		}
		f.settled = f.pending.upTo
		f.pending = nil
		for id := range f.moved {
			if id <= f.settled {
				delete(f.moved, id)
			}
		}
	}
	return nil
}

// writers returns the transactions that are inserting into the table, or changing
// it in another way. A transaction takes this lock before it draws an id, and keeps
// it until it ends.
func (f *follower) writers(ctx context.Context) (map[string]bool, error) {
	found, err := f.l.pool.Query(ctx, `
		SELECT virtualtransaction
		FROM pg_locks
		WHERE locktype = 'relation' AND granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND relation = to_regclass('audit_log')
			AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock', 'ShareUpdateExclusiveLock')
	`)
	if err != nil {
		return nil, err
	}

	writers := map[string]bool{}
	var name string
	_, err = pgx.ForEachRow(found, []any{&name}, func() error {
		writers[name] = true
		return nil
	})
	return writers, err
}

// moveMissed moves the rows up to an id that were seen after rows with greater ids.
func (f *follower) moveMissed(ctx context.Context, upTo int64) error {
	last := f.settled
	for {
		ids, err := f.table.IDsAfter(ctx, last, upTo)
		if err != nil || len(ids) == 0 {
			return err
		}
		last = ids[len(ids)-1]

		var missed []int64
		for _, id := range ids {
			if !f.moved[id] {
				missed = append(missed, id)
			}
		}
		if len(missed) == 0 {
			continue
		}
		records, err := f.table.ByID(ctx, missed)
		if err != nil {
			return err
		}
		err = f.move(ctx, records)
		if err != nil {
			return err
		}
	}
}

// compareDaily compares the table with the log, if the last time was a day ago.
func (f *follower) compareDaily(ctx context.Context) error {
	now := f.now()
	if !f.began || now.Sub(f.compared) < compareEvery {
		return nil
	}
	last, err := oldlog.LastCompared(ctx, f.l.log, importName) // by any process
	if err != nil {
		return err
	}
	if now.Sub(last) < compareEvery {
		f.compared = last
		return nil
	}
	greatest, err := f.table.LastID(ctx)
	if err != nil || greatest == 0 { // the table was made anew
		f.compared = now
		return err
	}

	result, err := oldlog.Compare(f.tableRows(ctx), f.entryRows(ctx))
	if err != nil {
		return err
	}
	if result.Missing+result.Changed > 0 {
		f.l.logger.Warn("audit: rows that were taken over have disappeared from the table audit_log or were changed in it; the log has them as they were",
			"rows", result.Rows, "missing", result.Missing, "changed", result.Changed, "first", result.First)
	}
	f.compared = now
	return result.Record(ctx, f.l.log, importName)
}

func (f *follower) tableRows(ctx context.Context) iter.Seq2[oldlog.Pair, error] {
	return func(yield func(oldlog.Pair, error) bool) {
		for last := int64(math.MinInt64); ; {
			records, err := f.table.After(ctx, last)
			if err != nil {
				yield(oldlog.Pair{}, err)
				return
			}
			if len(records) == 0 {
				return
			}
			for i := range records {
				if !yield(oldlog.Pair{ID: records[i].ID, Mark: records[i].EventID()}, nil) {
					return
				}
			}
			last = records[len(records)-1].ID
		}
	}
}

func (f *follower) entryRows(ctx context.Context) iter.Seq2[oldlog.Pair, error] {
	return func(yield func(oldlog.Pair, error) bool) {
		for e, err := range f.l.log.Entries(ctx, rows) {
			if err != nil {
				yield(oldlog.Pair{}, err)
				return
			}
			record, err := old.RecordOf(e.Event)
			if err != nil || record.ID == 0 || e.Err != nil { // a line of the file, or damaged
				continue
			}
			if !yield(oldlog.Pair{ID: record.ID, Mark: e.ID}, nil) {
				return
			}
		}
	}
}
