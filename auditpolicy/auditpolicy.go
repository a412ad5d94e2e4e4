// Package auditpolicy decides which events are recorded, and what of them. A
// Filter comes between a log and the code that records events:
//
//	policy, err := auditpolicy.New(log, auditpolicy.Config{
//		Rules: []auditpolicy.Rule{
//			{Action: "health.*", Effect: auditpolicy.Drop},
//			{Action: "user.*", Field: "/attributes/email", Effect: auditpolicy.Hash},
//		},
//		Floods: []auditpolicy.Flood{{Action: "login", Window: time.Minute, Most: 20}},
//		Key:    key,
//	})
//	middleware, err := audithttp.New(policy, audithttp.Config{})
//
// Passwords, tokens and card numbers in attributes and changes are redacted
// without a rule: see Secret and SecretName.
package auditpolicy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/jsonpointer"
	"github.com/attestlog/attestlog/internal/pattern"
)

// ErrRefused is returned by Filter.Record for an event that a rule refuses.
var ErrRefused = errors.New("the audit policy refuses the event")

// An Effect is what a Rule does to an event or a field.
type Effect uint8

const (
	// Redact replaces a field by "[redacted]". An IP address is removed.
	Redact Effect = iota + 1
	// Hash replaces a field by "hmac:" and 32 hexadecimal digits of its
	// HMAC-SHA-256 under Config.Key, so that equal values stay equal. It is not
	// for IP addresses, which the log seals.
	Hash
	// Keep exempts a field from being recognised as a secret.
	Keep
	// Drop leaves the event out, and counts it.
	Drop
	// Refuse has Record return ErrRefused, so that the caller can refrain from
	// what it was about to do, and counts the event.
	Refuse
)

// ofFields reports whether an effect is on a field, and not on the whole event.
func (e Effect) ofFields() bool { return e < Drop }

// A Rule applies to the events of some actions, and to one of their fields.
type Rule struct {
	// Action is a name, such as "mail.view", a prefix that ends in ".*", or "*".
	// Defaults to every action.
	Action string
	// Field is the JSON Pointer (RFC 6901) of a field, as in the event's JSON:
	// "/message", "/source/ip", "/attributes/user/email". "/changes" and a
	// pointer, as in "/changes/user/email", stand for the old and the new value
	// of each change at that path or below it.
	//
	// Drop and Refuse need no Field. With one, they apply only to events that
	// have it.
	Field string
	// Effect is required.
	Effect Effect
}

// Config configures a Filter. The zero Config redacts secrets, and does nothing
// else.
type Config struct {
	// Rules are applied in their order. Defaults to none.
	Rules []Rule
	// KeepSecrets leaves anything that looks like a secret where it is. Defaults
	// to redacting it.
	KeepSecrets bool
	// Floods are summed up. An event belongs to the first that covers its action.
	// Defaults to none.
	Floods []Flood
	// Key is the key of Hash, of at least 16 bytes. Required with such rules.
	Key []byte
	// OnDrop is called with each event that a rule drops. Defaults to nothing.
	OnDrop func(attestlog.Event)
	// Logger receives the summaries of floods that could not be recorded.
	// Defaults to slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
}

// minKey is the least length of Config.Key, in bytes.
const minKey = 16

// A Filter is an attestlog.Recorder that applies a policy to events before the
// next recorder gets them. Its methods are safe for concurrent use.
type Filter struct {
	next   attestlog.Recorder
	cfg    Config
	rules  []rule
	floods floods

	dropped, refused, redacted, coalesced atomic.Uint64
}

var _ attestlog.Recorder = (*Filter)(nil)

type rule struct {
	Rule
	path []string // the names in Field, nil without one
}

// Stats are a Filter's counters.
type Stats struct {
	Dropped   uint64 // events that a rule left out
	Refused   uint64 // events that a rule refused
	Redacted  uint64 // fields that were redacted or hashed
	Coalesced uint64 // events that are part of a flood's summary
}

// New returns a Filter in front of next, an attestlog.Log.
func New(next attestlog.Recorder, cfg Config) (*Filter, error) {
	f := &Filter{next: next, cfg: cfg}
	if cfg.Clock == nil {
		f.cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		f.cfg.Logger = slog.Default()
	}
	f.floods.filter = f

	for i, r := range cfg.Rules {
		compiled, err := compile(r, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("auditpolicy: rule %d: %w", i, err)
		}
		f.rules = append(f.rules, compiled)
	}
	for i, flood := range cfg.Floods {
		err := flood.check()
		if err != nil {
			return nil, fmt.Errorf("auditpolicy: flood %d: %w", i, err)
		}
	}
	return f, nil
}

func compile(r Rule, key []byte) (rule, error) {
	err := checkAction(r.Action)
	if err != nil {
		return rule{}, err
	}
	switch {
	case r.Effect < Redact || r.Effect > Refuse:
		return rule{}, errors.New("it has no effect")
	case r.Effect == Hash && len(key) < minKey:
		return rule{}, fmt.Errorf("hashing needs a key of at least %d bytes", minKey)
	case r.Effect.ofFields() && r.Field == "":
		return rule{}, errors.New("it names no field")
	}

	path, err := jsonpointer.Split(r.Field)
	if err != nil {
		return rule{}, fmt.Errorf("field: %w", err)
	}
	compiled := rule{r, path}
	if path != nil && !compiled.namesField() {
		return rule{}, fmt.Errorf("field %q: an event has none", r.Field)
	}
	if r.Effect.ofFields() && mustStay(r.Field, r.Effect) {
		return rule{}, fmt.Errorf("field %q is needed as it is", r.Field)
	}
	return compiled, nil
}

// mustStay reports whether the log needs a field as it is: its text has a meaning,
// or only certain texts are valid.
func mustStay(pointer string, effect Effect) bool {
	id, ok := field.ByPointer(pointer)
	switch {
	case !ok:
		return false
	case id.Field().Kind == field.Address:
		return effect == Hash
	}
	return id == field.EventID || id == field.Action || id.Field().Values != nil
}

// checkAction checks Rule.Action or Flood.Action.
func checkAction(p string) error {
	err := pattern.Check(p)
	if err != nil {
		return fmt.Errorf("action %w", err)
	}
	return nil
}

// covers reports whether a rule or a flood for p is for an action.
func covers(p, action string) bool { return p == "" || pattern.Match(p, action) }

// Record applies the rules to an event and records the result. It changes nothing
// in the maps and slices of the event.
func (f *Filter) Record(ctx context.Context, e attestlog.Event) error {
	ed := editor{filter: f, event: &e}
	for i := range f.rules {
		r := &f.rules[i]
		if !covers(r.Action, e.Action) {
			continue
		}

		switch {
		case r.Effect.ofFields():
			ed.apply(r)
		case r.path != nil && !ed.hasField(r):
		case r.Effect == Drop:
			f.dropped.Add(1)
			if f.cfg.OnDrop != nil {
				f.cfg.OnDrop(e)
			}
			return nil
		default:
			f.refused.Add(1)
			return fmt.Errorf("%w: action %s, field %q", ErrRefused, e.Action, r.Field)
		}
	}
	if !f.cfg.KeepSecrets {
		ed.redactSecrets()
	}

	if f.floods.coalesce(&e) {
		return nil
	}
	// If the caller fitted the event it would call Record again, and the event
	// would count twice.
	return fit.Record(ctx, f.next, e)
}

// Ready returns nil if the next recorder, which needs a method Ready, takes events
// now. It is for audithttp.Config.FailClosed.
func (f *Filter) Ready(ctx context.Context) error {
	next, ok := f.next.(interface{ Ready(context.Context) error })
	if !ok {
		return errors.New("auditpolicy: the next recorder has no method Ready, and cannot tell whether it takes events")
	}
	return next.Ready(ctx)
}

// Stats returns the counters.
func (f *Filter) Stats() Stats {
	return Stats{
		Dropped:   f.dropped.Load(),
		Refused:   f.refused.Load(),
		Redacted:  f.redacted.Load(),
		Coalesced: f.coalesced.Load(),
	}
}

// Close records the summaries of floods that have not ended. It does not close the
// next recorder. Summaries that could not be recorded are recorded by the next
// Close. After Close, floods are no longer summed up.
func (f *Filter) Close(ctx context.Context) error { return f.floods.close(ctx) }

func (f *Filter) hash(text string) string {
	mac := hmac.New(sha256.New, f.cfg.Key)
	mac.Write([]byte(text))
	return "hmac:" + hex.EncodeToString(mac.Sum(nil)[:16])
}
