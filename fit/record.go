// Package fit fits any event into the rules of a log, and maps it back.
//
// The log refuses what has no place in a leaf: invalid UTF-8, numbers of
// magnitude 2^53 or more, an event without an actor. Middleware and readers of
// foreign records, which must not lose an event for its content, call Event or
// Record: they map such an event to one that the log accepts, and say in an
// attribute of it what they did. Restore maps back.
package fit

import (
	"context"
	"errors"

	"github.com/attestlog/attestlog"
)

// Record records an event, bounded by Bound if it breaks a rule: what stands in
// front of a log never loses an event for its content.
func Record(ctx context.Context, r attestlog.Recorder, e attestlog.Event) error {
	err := r.Record(ctx, e)
	if err == nil {
		return nil
	}
	var field *attestlog.FieldError
	if errors.As(err, &field) || errors.Is(err, attestlog.ErrTooLarge) {
		bounded := e // so that no other event is on the heap
		Event(&bounded)
		err = r.Record(ctx, bounded)
	}
	return err
}
