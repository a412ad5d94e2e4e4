// Package auditslog turns marked log records into events of an audit log. It
// is a slog.Handler in front of another, which gets the other records:
//
//	logger := slog.New(auditslog.New(slog.Default().Handler(), log, auditslog.Config{}))
//	logger.Log(ctx, auditslog.Level, "mail.view", "actor", "alice", "target", "mail/7")
//	logger.WithGroup("audit").Info("mail.view", "actor", "alice", "target", "mail/7")
//	logger.Info("viewed", slog.Group("audit", "action", "mail.view", "actor", "alice"), "rows", 7)
//
// A record is marked by its level, or by the group that its attributes stand
// in. In a marked record these attributes become the event's fields:
//
//	id, tenant, service, module, action, operation, outcome, reason, message
//	actor    an id, or a group of id, type, name, session, on_behalf_of
//	source   an IP address, or a group of ip, user_agent, host
//	target   "type/id", or a group of id, type, name; targets: a slice of those
//	request  a group of id, method, path, route, status, duration_us
//	trace    a group of trace_id, span_id
//
// The record's message is the action, or the event's message where there is an
// attribute action. Its time is the event's. An error under err or error makes
// the outcome a failure, unless one is given, and its text the reason. All other
// attributes, and fields whose value is of another kind, become the event's
// attributes; groups become objects, and a name that comes again gets a number.
package auditslog

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
)

// Level is what marks records unless Config.Level does. It is above
// slog.LevelError, so that no other level hides it.
const Level = slog.Level(12)

// DefaultGroup is the group that marks records unless Config.Group does.
const DefaultGroup = "audit"

// Config configures a Handler. The zero Config is useful.
type Config struct {
	// Level marks the records at and above it. Defaults to Level. With a lower
	// one, give the attestlog.Log a logger of its own: what it has to say about
	// its store must not become an event.
	Level slog.Leveler
	// Group marks the records with attributes in a group of this name, outside
	// of any other. Defaults to "audit".
	Group string
	// Complete is called with each event before it is recorded, to add what the
	// context knows: the actor, the tenant, the source. Defaults to nothing.
	Complete func(ctx context.Context, e *attestlog.Event)
	// Both passes marked records on, too. Defaults to recording them alone.
	Both bool
}

// A Handler is a slog.Handler.
type Handler struct {
	next slog.Handler
	rec  attestlog.Recorder
	cfg  Config
	with []step
	open bool // Config.Group was opened by WithGroup
}

// A step is what WithAttrs or WithGroup added.
type step struct {
	group string // "" for attributes
	attrs []slog.Attr
}

var _ slog.Handler = (*Handler)(nil)

// New returns a handler that records marked records with rec, an attestlog.Log,
// and passes the others to next. Of one that could not be recorded, next gets who
// did what, at slog.LevelError or above, and why. An event that breaks a rule is
// bounded as package convert does.
func New(next slog.Handler, rec attestlog.Recorder, cfg Config) *Handler {
	if cfg.Level == nil {
		cfg.Level = Level
	}
	if cfg.Group == "" {
		cfg.Group = DefaultGroup
	}
	return &Handler{next: next, rec: rec, cfg: cfg}
}

// Enabled reports whether a level is marked or the next handler wants it. What
// stands in the group that WithGroup opened is always recorded.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.open || level >= h.cfg.Level.Level() || h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	out := *h
	out.next = h.next.WithAttrs(attrs)
	out.with = append(slices.Clip(h.with), step{attrs: slices.Clone(attrs)})
	return &out
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	out := *h
	out.next = h.next.WithGroup(name)
	out.with = append(slices.Clip(h.with), step{group: name})
	out.open = h.open || name == h.cfg.Group && !slices.ContainsFunc(h.with, func(s step) bool { return s.group != "" })
	return &out
}

// Handle records a marked record, and waits while the log's queue is full, until
// ctx ends. Any other goes to the next handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	root, fields := h.tree(r)
	if root == nil {
		return h.next.Handle(ctx, r)
	}
	var e attestlog.Event
	if fields == nil {
		fill(&e, root, r.Message)
	} else {
		fill(&e, fields, r.Message)
		e.Attributes = merge(root, e.Attributes)
	}
	plain(e.Attributes)
	e.Time = r.Time
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

// unrecorded returns a record of an event that is not in the log: who did what,
// without the content, which may hold what a policy would have redacted.
func unrecorded(r slog.Record, e *attestlog.Event, err error) slog.Record {
	out := slog.NewRecord(r.Time, max(r.Level, slog.LevelError), "an audit event could not be recorded", r.PC)
	out.AddAttrs(slog.String("audit_error", err.Error()), slog.String("action", e.Action), slog.String("actor", e.Actor.ID))
	return out
}

// tree returns the attributes of a marked record as nested objects, and those
// in marking groups together, nil if there is none. Of another it returns nil.
func (h *Handler) tree(r slog.Record) (root, fields map[string]any) {
	if !h.open && r.Level < h.cfg.Level.Level() && !h.hasGroup(r) {
		return nil, nil // as for most records
	}
	root = map[string]any{}
	at, outside := root, true
	marking := func() map[string]any {
		if fields == nil {
			fields = map[string]any{}
		}
		return fields
	}
	addOne := func(a slog.Attr) {
		if v := a.Value.Resolve(); outside && a.Key == h.cfg.Group && v.Kind() == slog.KindGroup {
			addAll(marking(), v.Group())
			return
		}
		add(at, a)
	}
	for _, s := range h.with {
		switch {
		case s.group == "":
			for _, a := range s.attrs {
				addOne(a)
			}
		case outside && s.group == h.cfg.Group:
			at, outside = marking(), false
		default:
			inner := map[string]any{}
			put(at, s.group, inner)
			at, outside = inner, false
		}
	}
	r.Attrs(func(a slog.Attr) bool { addOne(a); return true })
	return root, fields
}

// hasGroup reports whether an attribute outside of groups is the marking one.
func (h *Handler) hasGroup(r slog.Record) (has bool) {
	look := func(a slog.Attr) bool {
		has = has || a.Key == h.cfg.Group && a.Value.Resolve().Kind() == slog.KindGroup
		return !has
	}
	for _, s := range h.with {
		if s.group != "" {
			return has
		}
		for _, a := range s.attrs {
			look(a)
		}
	}
	r.Attrs(look)
	return has
}
