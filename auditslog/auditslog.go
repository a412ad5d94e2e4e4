// Package auditslog turns marked log records into events of an audit log. It
// is a slog.Handler in front of another, which gets the other records:
//
//	logger := slog.New(auditslog.New(slog.Default().Handler(), log, auditslog.Config{}))
//	logger.Log(ctx, auditslog.Level, "mail.view", "actor", "alice", "target", "mail/7")
//	logger.WithGroup("audit").Info("mail.view", "actor", "alice", "target", "mail/7")
//	logger.Info("viewed", slog.Group("audit", "action", "mail.view", "actor", "alice"), "rows", 7)
//
// A record is marked by its level, or by the group that its attributes are in. In
// a marked record, attributes with the names of an event's JSON become its fields:
//
//	id, tenant, service, module, action, operation, outcome, reason, message
//	actor    an id, or a group of id, type, name, session, on_behalf_of
//	source   an IP address, or a group of ip, user_agent, host
//	target   "type/id", or a group of id, type, name; targets: a slice of those
//	request  a group of id, method, path, route, status, duration_us
//	trace    a group of trace_id, span_id
//
// The record's message becomes the action, or the event's message if there is an
// attribute action. The record's time becomes the event's. An error under err or
// error makes the outcome a failure and its text the reason, unless they are given.
// All other attributes, and those above with a value of another kind, become the
// event's attributes: groups become objects, and a repeated name gets a number.
package auditslog

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
)

// Level marks records unless Config.Level is set. It is above slog.LevelError, so
// that no handler's level hides it.
const Level = slog.Level(12)

// DefaultGroup marks records unless Config.Group is set.
const DefaultGroup = "audit"

// Config configures a Handler. The zero Config is useful.
type Config struct {
	// Level marks the records at and above it. Defaults to Level. With a lower
	// one, give the attestlog.Log a logger of its own: what it logs about its
	// store must not become an event.
	Level slog.Leveler
	// Group marks the records with attributes in a group of this name, which is
	// in no other group. Defaults to "audit".
	Group string
	// Complete is called with each event before it is recorded, to add the actor,
	// the tenant or the source from the context. Defaults to nothing.
	Complete func(ctx context.Context, e *attestlog.Event)
	// Both passes marked records to the next handler as well. Defaults to only
	// recording them.
	Both bool
}

// A Handler is a slog.Handler. It is safe for concurrent use.
type Handler struct {
	next slog.Handler
	rec  attestlog.Recorder
	cfg  Config

	steps  []step
	marked bool // WithGroup opened Config.Group
}

// A step is what WithAttrs or WithGroup added.
type step struct {
	group string // "" for attributes
	attrs []slog.Attr
}

var _ slog.Handler = (*Handler)(nil)

// New returns a handler that records marked records with rec, an attestlog.Log,
// and passes the others to next. If an event cannot be recorded, next gets a
// record of who did what and why it failed, at slog.LevelError or above. An event
// that breaks a rule of the log is changed by package fit until it fits.
func New(next slog.Handler, rec attestlog.Recorder, cfg Config) *Handler {
	if cfg.Level == nil {
		cfg.Level = Level
	}
	if cfg.Group == "" {
		cfg.Group = DefaultGroup
	}
	return &Handler{next: next, rec: rec, cfg: cfg}
}

// Enabled reports whether a level is marked or the next handler wants it. In the
// group that WithGroup opened, every level is enabled.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.marked || level >= h.cfg.Level.Level() || h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}

	out := *h
	out.next = h.next.WithAttrs(attrs)
	out.steps = append(slices.Clip(h.steps), step{attrs: slices.Clone(attrs)})
	return &out
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}

	out := *h
	out.next = h.next.WithGroup(name)
	out.steps = append(slices.Clip(h.steps), step{group: name})
	inGroup := slices.ContainsFunc(h.steps, func(s step) bool { return s.group != "" })
	if name == h.cfg.Group && !inGroup {
		out.marked = true
	}
	return &out
}

// Handle records a marked record, and waits while the log's queue is full, until
// ctx ends. It passes any other record to the next handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if !h.isMarked(r) {
		return h.next.Handle(ctx, r)
	}

	e := h.event(r)
	if h.cfg.Complete != nil {
		h.cfg.Complete(ctx, &e)
	}
	err := fit.Record(ctx, h.rec, e)
	if err != nil {
		return errors.Join(err, h.next.Handle(ctx, unrecorded(r, &e, err)))
	}

	if h.cfg.Both && h.next.Enabled(ctx, r.Level) {
		return h.next.Handle(ctx, r)
	}
	return nil
}

// isMarked reports whether a record becomes an event. Most do not, so it looks for
// the marks without building anything.
func (h *Handler) isMarked(r slog.Record) bool {
	if h.marked || r.Level >= h.cfg.Level.Level() {
		return true
	}

	isMark := func(a slog.Attr) bool {
		return a.Key == h.cfg.Group && a.Value.Resolve().Kind() == slog.KindGroup
	}
	for _, s := range h.steps {
		if s.group != "" {
			return false // everything that follows is in this group
		}
		if slices.ContainsFunc(s.attrs, isMark) {
			return true
		}
	}

	marked := false
	r.Attrs(func(a slog.Attr) bool {
		marked = isMark(a)
		return !marked
	})
	return marked
}

// event makes an event of a marked record.
func (h *Handler) event(r slog.Record) attestlog.Event {
	t := tree{mark: h.cfg.Group, root: map[string]any{}}
	t.open = t.root
	for _, s := range h.steps {
		if s.group != "" {
			t.openGroup(s.group)
			continue
		}
		for _, a := range s.attrs {
			t.add(a)
		}
	}
	r.Attrs(func(a slog.Attr) bool {
		t.add(a)
		return true
	})

	var e attestlog.Event
	if t.marked == nil { // the level marks the record
		fill(&e, t.root, r.Message)
	} else {
		fill(&e, t.marked, r.Message)
		e.Attributes = merge(t.root, e.Attributes)
	}
	replaceErrors(e.Attributes)
	e.Time = r.Time
	return e
}

// unrecorded returns a record of an event that is not in the log: who did what,
// without the content, which a policy might have redacted.
func unrecorded(r slog.Record, e *attestlog.Event, err error) slog.Record {
	out := slog.NewRecord(r.Time, max(r.Level, slog.LevelError), "an audit event could not be recorded", r.PC)
	out.AddAttrs(
		slog.String("audit_error", err.Error()),
		slog.String("action", e.Action),
		slog.String("actor", e.Actor.ID),
	)
	return out
}
