package sqlite

import (
	"context"
	"errors"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog/internal/home"
	"github.com/attestlog/attestlog/internal/inverted"
)

// mergeSuffix is appended to the log's path: the file is locked by the process
// that merges segments.
const mergeSuffix = ".index.lock"

const (
	mergeBytes = 1 << 20 // of a merged segment that are written in one transaction
	sweepRows  = 400     // that are deleted in one transaction
)

// Merge replaces segments. It takes many short transactions, so that entries can
// be indexed in between. Until the last of them, the new segment is not live;
// after it, the old ones are not.
func (ix *index) Merge(
	ctx context.Context,
	choose func(context.Context, inverted.Reader) (*inverted.Merge, error),
) (done bool, err error) {
	_, err = home.TryLocked(ix.store.path+mergeSuffix, func() error {
		// A merge that did not end may have left a segment.
		if err := ix.sweep(ctx); err != nil {
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

// replace writes a new segment, and makes it live in place of the old ones.
func (ix *index) replace(ctx context.Context, m *inverted.Merge) error {
	w := &mergeWriter{ctx: ctx, ix: ix}
	err := ix.write(ctx, func(conn *sqlite.Conn) (err error) {
		w.id, err = putSegment(conn, m.New, m.Spans, false)
		return err
	})
	if err != nil {
		return err
	}
	if err := m.Rows(ctx, w.add); err != nil {
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
		return setLive(conn, w.id, true)
	})
}

// sweep deletes the segments that are not live, a few rows in each transaction.
func (ix *index) sweep(ctx context.Context) error {
	for more := true; more; {
		err := ix.write(ctx, func(conn *sqlite.Conn) error {
			err := change(conn, `DELETE FROM runs WHERE id IN (SELECT id FROM runs
				WHERE segment = (SELECT min(id) FROM segments WHERE NOT live) LIMIT ?)`, sweepRows)
			if err != nil || conn.Changes() == sweepRows {
				return err
			}

			// All rows of the segment are deleted.
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

// A mergeWriter writes the rows of a merged segment, many in a transaction.
type mergeWriter struct {
	ctx  context.Context
	ix   *index
	id   int64 // of the segment
	rows []mergedRow
	data []byte // of rows
}

// A mergedRow is a row that is not written yet.
type mergedRow struct {
	kind     inverted.Kind
	first    inverted.Pair
	from, to int // where its data is
}

func (w *mergeWriter) add(kind inverted.Kind, r inverted.Row) error {
	from := len(w.data)
	w.data = append(w.data, r.Data...)
	w.rows = append(w.rows, mergedRow{kind, r.First, from, len(w.data)})
	if len(w.data) < mergeBytes {
		return nil
	}
	return w.flush()
}

func (w *mergeWriter) flush() error {
	err := w.ix.write(w.ctx, func(conn *sqlite.Conn) error {
		// Rows must not be added to a segment that is gone.
		if err := setLive(conn, w.id, false); err != nil {
			return err
		}
		for _, r := range w.rows {
			err := putRow(conn, w.id, r.kind, inverted.Row{First: r.first, Data: w.data[r.from:r.to]})
			if err != nil {
				return err
			}
		}
		return nil
	})
	w.rows = w.rows[:0]
	w.data = w.data[:0]
	return err
}
