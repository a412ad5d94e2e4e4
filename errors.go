package attestlog

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

var (
	// ErrConflict is returned when an id is already in the log with other
	// content. The first entry stays; the call stored nothing.
	ErrConflict = errors.New("id is already in the log with other content")

	// ErrClosed is returned by a Log after Close has begun.
	ErrClosed = errors.New("log is closed")

	// ErrQueueFull is returned when the context ended while Append or Record
	// waited for room in the queue, and at once by Record with the policy Fail and
	// by Ready. Nothing of the call was queued.
	ErrQueueFull = errors.New("queue is full")

	// ErrTooLarge is returned when a leaf exceeds MaxLeaf bytes, or a call
	// exceeds Config.MaxEvents events.
	ErrTooLarge = errors.New("too large")

	// ErrNotFound is returned when the log has no entry with the index or id
	// asked for, no checkpoint yet, or not the tile or key.
	ErrNotFound = errors.New("not found")

	// ErrReadOnly is returned when a log can be read and verified but not
	// written; the error's text gives the reason and the way out.
	ErrReadOnly = errors.New("log is read-only")

	// ErrUnavailable is returned when the store could not take a batch. The
	// events may or may not be in the log; the same ids decide on a retry. Record
	// with the policy Fail, and Ready, return it while others wait for the store.
	ErrUnavailable = errors.New("store is unavailable")
)

// A FieldError names the field of an event, and the rule that it breaks.
type FieldError struct {
	Event int    // position of the event in its call, from 0
	Field string // dotted JSON name, "" where the whole event is meant
	Rule  string
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Rule
	}
	return e.Field + ": " + e.Rule
}

// A CorruptError locates something in the store that does not agree with the
// rest of it.
type CorruptError struct {
	Index uint64 // the first entry concerned
	Where string // "leaf", "tile 0/12", "disclosure /source/ip", "checkpoint 500", …; "" if unknown
	Err   error  // what differs
}

func (e *CorruptError) Error() string {
	if e.Where == "" {
		return fmt.Sprintf("entry %d: %v", e.Index, e.Err)
	}
	return fmt.Sprintf("entry %d: %s: %v", e.Index, e.Where, e.Err)
}

// Unwrap returns what differs.
func (e *CorruptError) Unwrap() error { return e.Err }

// An AppendError says why a call's events may not be in the log and carries
// their ids, so that the call can be repeated with the same ids: the log then
// holds each event once, whatever became of the first try.
type AppendError struct {
	IDs []string
	Err error // matches ErrConflict, ErrUnavailable, ErrClosed or the context's error
}

func (e *AppendError) Error() string {
	const show = 3
	ids := e.IDs
	more := ""
	if len(ids) > show {
		more = fmt.Sprintf(" and %d more", len(ids)-show)
		ids = ids[:show]
	}
	return fmt.Sprintf("append %s%s: %v", strings.Join(ids, ", "), more, e.Err)
}

// Unwrap returns the cause.
func (e *AppendError) Unwrap() error { return e.Err }

// storable is an error whose text any store can keep, whatever bytes of a foreign
// event it quotes.
func storable(err error) error {
	const maxText = 1_000
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, err.Error())
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return errors.New(text)
}
