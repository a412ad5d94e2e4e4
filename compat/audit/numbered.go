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
}

// Move is that of attestlog.Outbox.
func (n *numbered) Move(ctx context.Context, fn func([]attestlog.Prepared) ([]error, error)) (int, error) {
	return n.Spool.Move(ctx, func(waiting []attestlog.Prepared) ([]error, error) {
		out := make([]attestlog.Prepared, len(waiting))
		for i := range waiting {
			var err error
			out[i], err = n.number(ctx, waiting[i])
			if err != nil {
				return nil, err
			}
		}
		return fn(out)
	})
}

// number returns a waiting entry with its id. One that was moved before, although
// the answer was lost, has the id that it got then, so that it is the same entry.
func (n *numbered) number(ctx context.Context, p attestlog.Prepared) (attestlog.Prepared, error) {
	e, err := attestlog.ParseEvent(p.Event)
	if err != nil {
		return p, nil // the log says what is wrong with it
	}
	record, err := old.RecordOf(e)
	if err != nil {
		return p, nil
	}

	stored, err := n.l.log.EntryByID(ctx, e.ID)
	switch {
	case err == nil:
		before, err := old.RecordOf(stored.Event)
		if err != nil {
			return p, nil
		}
		record.ID = before.ID
	case errors.Is(err, attestlog.ErrNotFound):
		record.ID, err = n.l.nextID(ctx)
		if err != nil {
			return p, err
		}
	default:
		return p, err
	}

	numbered := record.Event()
	numbered.ID = e.ID
	fit.Event(&numbered)
	p.Event, err = numbered.MarshalJSON()
	return p, err
}
