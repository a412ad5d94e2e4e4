package convert

import (
	"context"
	"errors"

	"github.com/attestlog/attestlog"
)

// A Recorder takes events: an attestlog.Log, or a client of one.
type Recorder interface {
	Record(ctx context.Context, e attestlog.Event) error
}

// Record records an event, bounded by Bound if it breaks a rule: what stands in
// front of a log never loses an event for its content.
func Record(ctx context.Context, r Recorder, e attestlog.Event) error {
	err := r.Record(ctx, e)
	if err == nil {
		return nil
	}
	var field *attestlog.FieldError
	if errors.As(err, &field) || errors.Is(err, attestlog.ErrTooLarge) {
		bounded := e // so that no other event is on the heap
		Bound(&bounded)
		err = r.Record(ctx, bounded)
	}
	return err
}
