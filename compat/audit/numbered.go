package audit

import (
	"context"
	"errors"

	"github.com/attestlog/attestlog"
	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/spool"
)

// A numbered spool gives the entries that wait their ids when they are moved into
// the log: while the database is away there is nobody to draw them from.
type numbered struct {
	*spool.Spool
	l *Logger

	// again is set while entries may have been moved before although the answer was
	// lost. Only Move uses it, which runs once at a time.
	again bool
}

// Move is that of attestlog.Outbox.
func (n *numbered) Move(ctx context.Context, fn func([]attestlog.Prepared) ([]error, error)) (int, error) {
	select {
	case <-n.l.ready:
	case <-ctx.Done():
		return 0, ctx.Err()
	}

	moved, err := n.Spool.Move(ctx, func(waiting []attestlog.Prepared) ([]error, error) {
		out, err := n.number(ctx, waiting)
		if err != nil {
			return nil, err
		}
		return fn(out)
	})
	n.again = err != nil
	return moved, err
}

// A waiting entry is one that has no id yet.
type waiting struct {
	position int
	event    attestlog.Event
	record   old.Record
}

// number returns waiting entries with their ids. One that was logged while the
// database was there has had its id drawn, and one that was moved before has the id
// that it got then, so that it is the same entry.
func (n *numbered) number(ctx context.Context, prepared []attestlog.Prepared) ([]attestlog.Prepared, error) {
	out := make([]attestlog.Prepared, len(prepared))
	var without []waiting
	for i, p := range prepared {
		out[i] = p
		w, err := n.withoutID(ctx, i, p)
		if err != nil {
			return nil, err
		}
		if w == nil {
			continue
		}
		if w.record.ID == 0 {
			without = append(without, *w)
			continue
		}
		out[i], err = w.prepared(p)
		if err != nil {
			return nil, err
		}
	}
	if len(without) == 0 {
		return out, nil
	}

	ids, err := n.l.nextIDs(ctx, len(without))
	if err != nil {
		return nil, err
	}
	for i := range without {
		w := &without[i]
		w.record.ID = ids[i]
		out[w.position], err = w.prepared(prepared[w.position])
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// withoutID returns an entry that has no id of its own in the spool, with the one
// that it has in the log, or nil if there is nothing to number.
func (n *numbered) withoutID(ctx context.Context, position int, p attestlog.Prepared) (*waiting, error) {
	e, err := attestlog.ParseEvent(p.Event)
	if err != nil {
		return nil, nil // the log says what is wrong with it
	}
	record, err := old.RecordOf(e)
	if err != nil || record.ID != 0 {
		return nil, nil
	}

	w := &waiting{position, e, record}
	if !n.again {
		return w, nil
	}
	stored, err := n.l.log.EntryByID(ctx, e.ID)
	if errors.Is(err, attestlog.ErrNotFound) {
		return w, nil
	}
	if err != nil {
		return nil, err
	}
	before, err := old.RecordOf(stored.Event)
	if err == nil {
		w.record.ID = before.ID
	}
	return w, nil
}

// prepared returns the entry with its id, in place of p.
func (w *waiting) prepared(p attestlog.Prepared) (attestlog.Prepared, error) {
	e := w.record.Event()
	e.ID = w.event.ID
	fit.Event(&e)

	var err error
	p.Event, err = e.MarshalJSON()
	return p, err
}
