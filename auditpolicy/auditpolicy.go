// Package auditpolicy decides what of an event is recorded. A Recorder stands
// in front of a log, and whatever records events stands in front of it:
//
//	policy, err := auditpolicy.New(log, auditpolicy.Config{
//		Rules: []auditpolicy.Rule{
//			{Action: "health.*", Do: auditpolicy.Drop},
//			{Action: "user.*", Field: "/attributes/email", Do: auditpolicy.Hash},
//		},
//		Floods: []auditpolicy.Flood{{Action: "login", Window: time.Minute, Most: 20}},
//		Key:    key,
//	})
//	middleware, err := audithttp.New(policy, audithttp.Config{})
//
// Passwords, tokens and card numbers are redacted in attributes and changes
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
	"strings"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
)

// ErrRefused is returned by Record for an event that a rule refuses.
var ErrRefused = errors.New("the audit policy refuses the event")

// An Action says what a Rule does.
type Action uint8

const (
	// Redact puts "[redacted]" in the place of a field; an address is removed.
	Redact Action = iota + 1
	// Hash puts "hmac:" and 32 hexadecimal digits of the field's HMAC-SHA-256
	// under Config.Key there, so that equal values stay equal. Not for an
	// address, which the log seals.
	Hash
	// Keep exempts a field from being recognised as a secret.
	Keep
	// Drop leaves the event out, and counts it.
	Drop
	// Refuse returns ErrRefused, so that the caller can do without what it was
	// about to do, and counts it.
	Refuse
)

// A Rule applies to the events of an action, and to one of their fields.
type Rule struct {
	// Action is a name, or a prefix that ends in ".*". Defaults to every one.
	Action string
	// Field is the RFC 6901 JSON Pointer of a field, as in the event's JSON:
	// "/message", "/source/ip", "/attributes/user/email". "/changes" and a
	// pointer, as "/changes/user/email", are the old and the new value of the
	// changes with that path and below it. Empty for Drop and Refuse, which
	// take the whole event, or with a Field those events that have it.
	Field string
	Do    Action
}

// Config configures a Recorder. The zero Config redacts secrets alone.
type Config struct {
	// Rules are applied in their order. Defaults to none.
	Rules []Rule
	// KeepSecrets leaves what looks like a secret where it is. Defaults to
	// redacting it.
	KeepSecrets bool
	// Floods are summed up. Defaults to none.
	Floods []Flood
	// Key is the key of Hash, of 16 bytes at least. Required with such rules.
	Key []byte
	// OnDrop is called with each event that a rule drops. Defaults to nothing.
	OnDrop func(attestlog.Event)
	// Logger receives summaries of floods that could not be recorded. Defaults
	// to slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
}

// A Recorder is a convert.Recorder in front of another. Its methods are safe for
// concurrent use.
type Recorder struct {
	next   attestlog.Recorder
	cfg    Config
	rules  []rule
	floods floods

	dropped, refused, redacted, coalesced atomic.Uint64
}

type rule struct {
	Rule
	path []string // of the field
}

// Stats are a Recorder's counters.
type Stats struct {
	Dropped   uint64 // events that a rule left out
	Refused   uint64 // events that a rule refused
	Redacted  uint64 // fields that were redacted or hashed
	Coalesced uint64 // events that a flood's summary stands for
}

// New returns a Recorder in front of next, an attestlog.Log.
func New(next attestlog.Recorder, cfg Config) (*Recorder, error) {
	r := &Recorder{next: next, cfg: cfg}
	if cfg.Clock == nil {
		r.cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		r.cfg.Logger = slog.Default()
	}
	for i, given := range cfg.Rules {
		compiled, err := compile(given, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("auditpolicy: rule %d: %w", i, err)
		}
		r.rules = append(r.rules, compiled)
	}
	for i, f := range cfg.Floods {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("auditpolicy: flood %d: %w", i, err)
		}
	}
	r.floods.r = r
	return r, nil
}

func compile(given Rule, key []byte) (rule, error) {
	r := rule{Rule: given}
	if err := checkPattern(given.Action); err != nil {
		return r, err
	}
	switch {
	case given.Do < Redact || given.Do > Refuse:
		return r, errors.New("it does nothing")
	case given.Field == "" && given.Do < Drop:
		return r, errors.New("it names no field")
	case given.Do == Hash && len(key) < 16:
		return r, errors.New("hashing needs a key of 16 bytes or more")
	case given.Field != "" && given.Field[0] != '/':
		return r, fmt.Errorf("field %q: want a JSON Pointer such as /attributes/email", given.Field)
	case given.Field != "":
		for part := range strings.SplitSeq(given.Field[1:], "/") {
			r.path = append(r.path, unescaper.Replace(part))
		}
		if !known(r.path) {
			return r, fmt.Errorf("field %q: an event has none", given.Field)
		}
		if given.Do < Drop && (given.Field == "/id" || given.Field == "/action" || given.Field == "/outcome" || given.Field == "/actor/type" || given.Field == "/source/ip" && given.Do == Hash) {
			return r, fmt.Errorf("field %q is needed as it is", given.Field)
		}
	}
	return r, nil
}

// RFC 6901, Section 4.
var unescaper = strings.NewReplacer("~1", "/", "~0", "~")

func checkPattern(p string) error {
	if strings.Contains(strings.TrimSuffix(p, "*"), "*") || strings.HasSuffix(p, "*") && p != "*" && !strings.HasSuffix(p, ".*") {
		return fmt.Errorf(`action %q: want a name, a prefix such as "mail.*", or "*"`, p)
	}
	return nil
}

func covers(pattern, action string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return pattern == "" || wild && strings.HasPrefix(action, prefix) || pattern == action
}

// Record applies the rules to an event and records the rest. It changes nothing
// that the event came with.
func (r *Recorder) Record(ctx context.Context, e attestlog.Event) error {
	ed := editor{r: r, e: &e}
	for i := range r.rules {
		rule := &r.rules[i]
		if !covers(rule.Action, e.Action) {
			continue
		}
		switch {
		case rule.Do < Drop:
			ed.apply(rule)
		case rule.path != nil && !ed.has(rule.path):
		case rule.Do == Drop:
			r.dropped.Add(1)
			if r.cfg.OnDrop != nil {
				r.cfg.OnDrop(e)
			}
			return nil
		default:
			r.refused.Add(1)
			return fmt.Errorf("%w: action %s, field %q", ErrRefused, e.Action, rule.Field)
		}
	}
	if !r.cfg.KeepSecrets {
		ed.secrets()
	}
	if r.floods.swallow(&e) {
		return nil
	}
	return fit.Record(ctx, r.next, e) // bounded here, so that nobody records it again
}

// Ready is that of the recorder behind, for audithttp.Config.FailClosed.
func (r *Recorder) Ready(ctx context.Context) error {
	if next, ok := r.next.(interface{ Ready(context.Context) error }); ok {
		return next.Ready(ctx)
	}
	return errors.New("auditpolicy: the recorder behind cannot tell whether it takes events")
}

// Stats returns the counters now.
func (r *Recorder) Stats() Stats {
	return Stats{r.dropped.Load(), r.refused.Load(), r.redacted.Load(), r.coalesced.Load()}
}

// Close records the summaries of floods that are under way. The recorder behind
// stays open.
func (r *Recorder) Close(ctx context.Context) error { return r.floods.close(ctx) }

func (r *Recorder) hash(text string) string {
	mac := hmac.New(sha256.New, r.cfg.Key)
	mac.Write([]byte(text))
	return "hmac:" + hex.EncodeToString(mac.Sum(nil)[:16])
}
