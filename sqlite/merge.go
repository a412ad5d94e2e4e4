package sqlite

import (
	"context"
	"errors"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog/internal/home"
	"github.com/attestlog/attestlog/internal/inverted"
)

const (
	mergeSuffix = ".index.lock" // held by the process that merges segments

	flushBytes = 1 << 20 // of a merged segment's rows that are written in one transaction
	sweepRows  = 400     // that are deleted in one transaction
)

// Merge replaces segments. A large merge takes many transactions, so that none
// holds up what is appended: what is not whole yet, or no longer needed, is not
// live.
func (ix *index) Merge(ctx context.Context, choose func(context.Context, inverted.Reader) (*inverted.Merge, error)) (done bool, err error) {
	_, err = home.TryLocked(ix.store.path+mergeSuffix, func() error {
		if err := ix.sweep(ctx); err != nil { // what a merge that was interrupted left
			return err
		}
		m, err := choose(ctx, ix.segments)
		if err != nil || m == nil {
			return err
		}
		if err := ix.replace(ctx, m); err != nil {
			return err
		}
		done = true
		return ix.sweep(ctx)
	})
	if errors.Is(err, inverted.ErrGone) {
		return false, nil // another process emptied the index
	}
	return done, err
}

// replace writes a new segment and then puts it in the place of the old ones.
func (ix *index) replace(ctx context.Context, m *inverted.Merge) error {
	var id int64
	err := ix.write(ctx, func(conn *sqlite.Conn) error {
		err := putSegment(conn, m.New, m.Spans, false)
		id = conn.LastInsertRowID()
		return err
	})
	if err != nil {
		return err
	}
	w := &mergeWriter{ctx: ctx, ix: ix, id: id}
	if err := m.Rows(ctx, w.row); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	return ix.write(ctx, func(conn *sqlite.Conn) error {
		for _, old := range m.IDs() {
			if err := setLive(conn, old, false); err != nil {
				return err
			}
		}
		return setLive(conn, id, true)
	})
}

// setLive changes whether a segment is read, or returns inverted.ErrGone.
func setLive(conn *sqlite.Conn, id int64, live bool) error {
	err := change(conn, "UPDATE segments SET live = ? WHERE id = ?", live, id)
	if err == nil && conn.Changes() == 0 {
		err = inverted.ErrGone
	}
	return err
}

// sweep deletes the segments that are not live, a little at a time.
func (ix *index) sweep(ctx context.Context) error {
	for more := true; more; {
		err := ix.write(ctx, func(conn *sqlite.Conn) error {
			err := change(conn, `DELETE FROM runs WHERE id IN (SELECT id FROM runs
				WHERE segment = (SELECT min(id) FROM segments WHERE NOT live) LIMIT ?)`, sweepRows)
			if err != nil || conn.Changes() == sweepRows {
				return err
			}
			err = change(conn, "DELETE FROM segments WHERE id = (SELECT min(id) FROM segments WHERE NOT live)")
			more = conn.Changes() > 0
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// A mergeWriter writes a merged segment's rows, many in a transaction.
type mergeWriter struct {
	ctx   context.Context
	ix    *index
	id    int64
	rows  []keptRow
	bytes []byte // of rows
}

type keptRow struct {
	kind     inverted.Kind
	first    inverted.Pair
	from, to int // in bytes
}

func (w *mergeWriter) row(kind inverted.Kind, r inverted.Row) error {
	from := len(w.bytes)
	w.bytes = append(w.bytes, r.Data...)
	w.rows = append(w.rows, keptRow{kind, r.First, from, len(w.bytes)})
	if len(w.bytes) < flushBytes {
		return nil
	}
	return w.flush()
}

func (w *mergeWriter) flush() error {
	err := w.ix.write(w.ctx, func(conn *sqlite.Conn) error {
		if err := setLive(conn, w.id, false); err != nil { // it is gone if the index was emptied
			return err
		}
		for _, r := range w.rows {
			if err := putRow(conn, w.id, r.kind, inverted.Row{First: r.first, Data: w.bytes[r.from:r.to]}); err != nil {
				return err
			}
		}
		return nil
	})
	w.rows, w.bytes = w.rows[:0], w.bytes[:0]
	return err
}
