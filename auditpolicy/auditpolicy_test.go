package auditpolicy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditpolicy"
	"github.com/attestlog/attestlog/diff"
)

// kept is a recorder that keeps what it is given, in place of a log, so that
// time can be the test's.
type kept struct {
	mu     sync.Mutex
	events []attestlog.Event
	err    error
}

func (k *kept) Record(_ context.Context, e attestlog.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, e)
	return k.err
}

func record(t *testing.T, cfg auditpolicy.Config, e attestlog.Event) (attestlog.Event, auditpolicy.Stats) {
	t.Helper()
	var to kept
	r, err := auditpolicy.New(&to, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if len(to.events) != 1 {
		t.Fatalf("%d events were recorded", len(to.events))
	}
	return to.events[0], r.Stats()
}

var key = []byte("0123456789abcdef")

func TestRulesChangeFields(t *testing.T) {
	given := attestlog.Event{
		Action: "user.edit", Actor: attestlog.Actor{ID: "alice", Name: "Alice"}, Source: attestlog.Source{IP: "192.0.2.7"}, Message: "m",
		Attributes: map[string]any{"user": map[string]any{"email": "a@example.com", "n": 1}, "raw": json.RawMessage(`{"email":"b@example.com","big":12345678901234567890}`), "other": "x"},
		Changes:    []attestlog.Change{{Path: "/user/email", Old: "a", New: "b"}, {Path: "/user/email/x", New: 1}, {Path: "/user/name", Old: "a"}},
	}
	before, err := given.MarshalJSON()
	if err != nil && !strings.Contains(err.Error(), "2^53") {
		t.Fatal(err)
	}
	got, stats := record(t, auditpolicy.Config{Key: key, Rules: []auditpolicy.Rule{
		{Action: "user.*", Field: "/attributes/user/email", Effect: auditpolicy.Redact},
		{Field: "/attributes/raw/email", Effect: auditpolicy.Hash},
		{Field: "/attributes/none/x", Effect: auditpolicy.Redact},
		{Action: "mail.*", Field: "/message", Effect: auditpolicy.Redact},
		{Action: "user.edit", Field: "/actor/name", Effect: auditpolicy.Hash},
		{Action: "*", Field: "/source/ip", Effect: auditpolicy.Redact},
		{Field: "/source/host", Effect: auditpolicy.Redact},
		{Field: "/changes/user/email", Effect: auditpolicy.Redact},
	}}, given)
	raw, ok := got.Attributes["raw"].(map[string]any)
	if !ok || !strings.HasPrefix(fmt.Sprint(raw["email"]), "hmac:") || fmt.Sprint(raw["big"]) != "12345678901234567890" {
		t.Errorf("raw is %v", got.Attributes["raw"])
	}
	if !strings.HasPrefix(got.Actor.Name, "hmac:") || len(got.Actor.Name) != 37 {
		t.Errorf("the name is %q, want its hash", got.Actor.Name)
	}
	delete(got.Attributes, "raw")
	got.Actor.Name = ""
	want := attestlog.Event{
		Action: "user.edit", Actor: attestlog.Actor{ID: "alice"}, Message: "m",
		Attributes: map[string]any{"user": map[string]any{"email": diff.Redacted, "n": 1}, "other": "x"},
		Changes: []attestlog.Change{
			{Path: "/user/email", Old: diff.Redacted, New: diff.Redacted}, {Path: "/user/email/x", New: diff.Redacted}, {Path: "/user/name", Old: "a"},
		},
	}
	if changed := cmp.Diff(want, got); changed != "" {
		t.Errorf("event (-want +got):\n%s", changed)
	}
	if after, _ := given.MarshalJSON(); string(after) != string(before) || given.Attributes["user"].(map[string]any)["email"] != "a@example.com" || given.Changes[0].Old != "a" {
		t.Error("the caller's event was changed")
	}
	if stats.Redacted != 7 {
		t.Errorf("%d fields were redacted or hashed, want 7", stats.Redacted)
	}
}

func TestRulesDropAndRefuse(t *testing.T) {
	var to kept
	var dropped []string
	r, err := auditpolicy.New(&to, auditpolicy.Config{
		Rules: []auditpolicy.Rule{
			{Action: "health.*", Effect: auditpolicy.Drop},
			{Field: "/attributes/debug", Effect: auditpolicy.Drop},
			{Action: "export", Field: "/actor/on_behalf_of", Effect: auditpolicy.Refuse},
		},
		OnDrop: func(e attestlog.Event) { dropped = append(dropped, e.Action) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var refused int
	for _, e := range []attestlog.Event{
		{Action: "health.check"}, {Action: "healthy"}, {Action: "a", Attributes: map[string]any{"debug": nil}},
		{Action: "export"}, {Action: "export", Actor: attestlog.Actor{OnBehalfOf: "bob"}},
	} {
		if err := r.Record(t.Context(), e); errors.Is(err, auditpolicy.ErrRefused) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if len(to.events) != 2 || fmt.Sprint(dropped) != "[health.check a]" || refused != 1 || (r.Stats() != auditpolicy.Stats{Dropped: 2, Refused: 1}) {
		t.Errorf("recorded %v, dropped %v, refused %d, %+v", to.events, dropped, refused, r.Stats())
	}
}

func TestSecretsAreRecognised(t *testing.T) {
	for _, test := range []struct{ given, want string }{
		{`{"password":"x","userPassword":"x","PASSWORD_HASH":"x","apiKey":"k","API-Key":"k","x-api-key":"k","refreshToken":"t","session_key":1}`,
			`{"password":"R","userPassword":"R","PASSWORD_HASH":"R","apiKey":"R","API-Key":"R","x-api-key":"R","refreshToken":"R","session_key":"R"}`},
		{`{"passenger":"x","tokenize":"x","keyboard":"k","pinned":1,"spinner":"x","monkey":"m","secretary":"s","has_token":true,"password":""}`, ``},
		{`{"a":{"b":[{"secret":{"deep":1}},"plain",{"note":"card 4111 1111 1111 1111, thanks"}]}}`, `{"a":{"b":[{"secret":"R"},"plain",{"note":"card R, thanks"}]}}`},
		{`{"n":"4111111111111112","ts":"1772359200000000000","id":"2221000000000000","phone":"+49 151 23456789012","order":4111111111111111}`, ``},
		{`{"amex":"378282246310005","mc":"5555-5555-5555-4444","card_number":4111111111111111}`, `{"amex":"R","mc":"R","card_number":"R"}`},
		{`{"h":"Authorization: Bearer abcdef123456","jwt":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc_-1","aws":"AKIAIOSFODNN7EXAMPLE","gh":"x ghp_0123456789abcdefghijklmnop y"}`,
			`{"h":"Authorization: R","jwt":"R","aws":"R","gh":"x R y"}`},
		{`{"pem":"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nrest","cut":"-----BEGIN PRIVATE KEY-----\nMIIE"}`, `{"pem":"R\nrest","cut":"R"}`},
	} {
		var given map[string]any
		if err := json.Unmarshal([]byte(test.given), &given); err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(test.want, "R\"", diff.Redacted+"\"")
		want = strings.NewReplacer(": R", ": "+diff.Redacted, "card R,", "card "+diff.Redacted+",", "x R y", "x "+diff.Redacted+" y", `"R\n`, `"`+diff.Redacted+`\n`).Replace(want)
		if test.want == "" {
			want = test.given
		}
		var wanted map[string]any
		if err := json.Unmarshal([]byte(want), &wanted); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		got, _ := record(t, auditpolicy.Config{}, attestlog.Event{Action: "a", Attributes: given})
		if changed := cmp.Diff(wanted, got.Attributes); changed != "" {
			t.Errorf("attributes of %s (-want +got):\n%s", test.given, changed)
		}
		inChange, _ := record(t, auditpolicy.Config{}, attestlog.Event{Action: "a", Changes: []attestlog.Change{{Path: "/x", Old: given, New: json.RawMessage(test.given)}}})
		text, err := json.Marshal(inChange.Changes[0].New)
		if err != nil {
			t.Fatal(err)
		}
		var new map[string]any
		if err := json.Unmarshal(text, &new); err != nil || cmp.Diff(wanted, new) != "" || cmp.Diff(any(wanted), inChange.Changes[0].Old) != "" {
			t.Errorf("change to %s: %s, %v, and from %v", test.given, text, err, inChange.Changes[0].Old)
		}
	}
}

func TestSecretsInChangesOfAStruct(t *testing.T) {
	type user struct{ Name, Password, Pin string }
	changes := diff.Changes(user{"a", "p1", "1"}, user{"b", "p2", "2"})
	got, _ := record(t, auditpolicy.Config{Rules: []auditpolicy.Rule{{Field: "/changes/Pin", Effect: auditpolicy.Keep}}}, attestlog.Event{Action: "a", Changes: changes})
	text := fmt.Sprintf("%s", got.Changes)
	if strings.Contains(text, "p1") || strings.Contains(text, "p2") || !strings.Contains(text, `"1"`) || !strings.Contains(text, `"b"`) {
		t.Errorf("changes are %s", text)
	}
	got, stats := record(t, auditpolicy.Config{KeepSecrets: true}, attestlog.Event{Action: "a", Attributes: map[string]any{"password": "x"}})
	if got.Attributes["password"] != "x" || stats.Redacted != 0 {
		t.Errorf("with KeepSecrets: %v, %+v", got.Attributes, stats)
	}
}

func TestAWrongRuleIsRefused(t *testing.T) {
	for _, cfg := range []auditpolicy.Config{
		{Rules: []auditpolicy.Rule{{Field: "/message"}}},
		{Rules: []auditpolicy.Rule{{Effect: auditpolicy.Redact}}},
		{Rules: []auditpolicy.Rule{{Field: "message", Effect: auditpolicy.Redact}}},
		{Rules: []auditpolicy.Rule{{Field: "/mesage", Effect: auditpolicy.Redact}}},
		{Rules: []auditpolicy.Rule{{Field: "/actor~1type", Effect: auditpolicy.Redact}}},
		{Rules: []auditpolicy.Rule{{Field: "/attributes", Effect: auditpolicy.Redact}}},
		{Rules: []auditpolicy.Rule{{Field: "/action", Effect: auditpolicy.Hash}}, Key: key},
		{Rules: []auditpolicy.Rule{{Field: "/message", Effect: auditpolicy.Hash}}, Key: []byte("short")},
		{Rules: []auditpolicy.Rule{{Action: "a*b", Effect: auditpolicy.Drop}}},
		{Floods: []auditpolicy.Flood{{Window: time.Second}}},
		{Floods: []auditpolicy.Flood{{Most: 1}}},
	} {
		if _, err := auditpolicy.New(&kept{}, cfg); err == nil {
			t.Errorf("New(%+v) succeeded", cfg)
		}
	}
}

func TestAFloodIsSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to kept
		r, err := auditpolicy.New(&to, auditpolicy.Config{Floods: []auditpolicy.Flood{{Action: "login", Window: time.Minute, Most: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		send := func(actor, action string) {
			if err := r.Record(t.Context(), attestlog.Event{Action: action, Actor: attestlog.Actor{ID: actor}, Outcome: attestlog.Failure, Attributes: map[string]any{"try": "x"}}); err != nil {
				t.Error(err)
			}
		}
		began := time.Now()
		for range 50 { // a second apart
			send("mallory", "login")
			send("mallory", "logout")
			time.Sleep(time.Second)
		}
		send("alice", "login")
		time.Sleep(11 * time.Second) // mallory's window is over, alice's is not
		synctest.Wait()
		count := map[string]int{}
		var summary attestlog.Event
		for _, e := range to.events {
			count[e.Actor.ID+" "+e.Action]++
			if e.Attributes["coalesced"] != nil {
				summary = e
			}
		}
		if count["mallory login"] != 4 || count["mallory logout"] != 50 || count["alice login"] != 1 {
			t.Errorf("recorded %v; want mallory's first three logins, their summary, and all else", count)
		}
		want := map[string]any{"try": "x", "coalesced": map[string]any{
			"events": 47, "from": began.Add(3 * time.Second).UTC().Format(time.RFC3339Nano), "to": began.Add(49 * time.Second).UTC().Format(time.RFC3339Nano),
		}}
		if changed := cmp.Diff(want, summary.Attributes); changed != "" || !summary.Time.Equal(began.Add(49*time.Second)) {
			t.Errorf("summary at %v (-want +got):\n%s", summary.Time, changed)
		}
		send("mallory", "login") // a new window
		if len(to.events) != 56 || r.Stats().Coalesced != 47 {
			t.Errorf("%d events and %+v; want a new window", len(to.events), r.Stats())
		}
		for range 5 {
			send("alice", "login")
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		last := to.events[len(to.events)-1]
		if c, _ := last.Attributes["coalesced"].(map[string]any); last.Actor.ID != "alice" || c["events"] != 3 {
			t.Errorf("Close recorded %+v; want alice's summary of 3", last)
		}
		send("alice", "login")
		if len(to.events) != 60 {
			t.Errorf("%d events; want those after Close recorded as they are", len(to.events))
		}
	})
}

func TestNoEventOfAFloodIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to kept
		r, err := auditpolicy.New(&to, auditpolicy.Config{Floods: []auditpolicy.Flood{{Window: 5 * time.Millisecond, Most: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for w := range 10 {
			wg.Go(func() {
				for range 300 {
					r.Record(t.Context(), attestlog.Event{Action: "a", Actor: attestlog.Actor{ID: fmt.Sprint(w % 3)}})
					time.Sleep(time.Millisecond)
				}
			})
		}
		wg.Wait()
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, e := range to.events {
			if c, ok := e.Attributes["coalesced"].(map[string]any); ok {
				total += c["events"].(int)
			} else {
				total++
			}
		}
		if total != 3000 {
			t.Errorf("%d events stand for %d, want 3000", len(to.events), total)
		}
	})
}

type secretive struct {
	Password string
	Note     string
}

type named string

func TestSecretsOfAnyType(t *testing.T) {
	password, note := "hunter2", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc_-1"
	pointer := &secretive{password, note}
	for name, v := range map[string]any{
		"structs": []secretive{{password, note}}, "pointers": []*secretive{pointer}, "pointer": &pointer, "maps": []map[string]any{{"password": password}},
		"texts": []map[string]string{{"user_password": password}}, "array": [1]secretive{{Password: password}}, "named": []named{named(note)}, "text": &note,
		"url": "postgres://app:hunter2@db/x", "raw": json.RawMessage(`{"a":[{"password1":"hunter2"},{"user[password]":"hunter2"},{"authtoken":"hunter2"},{"api_keys":["hunter2"]},{"passcode":7272}]}`),
	} {
		got, _ := record(t, auditpolicy.Config{}, attestlog.Event{Action: "a", Attributes: map[string]any{name: v}, Changes: []attestlog.Change{
			{Path: "/x", New: v}, {Path: "/credentials/value", Old: "hunter2", New: "hunter2"}, {Path: "/tokens/3/value", New: "hunter2"},
		}})
		text, err := json.Marshal(got)
		if err != nil || strings.Contains(string(text), "hunter2") || strings.Contains(string(text), "eyJ") || strings.Contains(string(text), "7272") {
			t.Errorf("%s: %s, %v", name, text, err)
		}
	}
}

func TestWhatIsNoSecretStays(t *testing.T) {
	given := map[string]any{
		"a": "Basic authentication enabled", "b": "changed plan to Basic subscription", "c": "bearer certificate renewed", "phone": "+49 151 23456703",
		"failed_password_attempts": 3, "password_changed_at": "2026-03-01", "max_tokens": 4096, "token_count": 17, "token_type": "bearer", "credential_id": "c-1", "pin_count": 2,
		"iban": "DE89 3704 0044 0532 0130 00", "id": "4539578763621486x", "amount": "0.4539578763621486", "url": "https://example.com:8443/a@b",
	}
	for n := range 1000 {
		given[fmt.Sprint("phone", n)] = fmt.Sprintf("+49 151 %08d", 20_000_000+n*7919)
	}
	got, stats := record(t, auditpolicy.Config{}, attestlog.Event{Action: "a", Attributes: given})
	if changed := cmp.Diff(given, got.Attributes); changed != "" || stats.Redacted != 0 {
		t.Errorf("attributes (-want +got):\n%s", changed)
	}
}

// What package fit keeps of a value that does not fit a leaf is the beginning of
// its JSON, and a secret may be in it.
func TestWhatCannotBeLookedAtIsRedactedInChangesToo(t *testing.T) {
	var deep any = map[string]any{"password": "hunter2"}
	for range 2 * attestlog.MaxDepth {
		deep = []any{deep}
	}
	many := make([]any, 100_000, 100_001)
	many = append(many, map[string]any{"password": "hunter2"})

	for name, v := range map[string]any{"deep": deep, "many": many} {
		for _, e := range []attestlog.Event{
			{Attributes: map[string]any{"value": v}},
			{Changes: []attestlog.Change{{Path: "/value", Old: v}}},
			{Changes: []attestlog.Change{{Path: "/value", New: v}}},
		} {
			e.Action = "a"
			got, _ := record(t, auditpolicy.Config{}, e)
			text := fmt.Sprint(got.Attributes, got.Changes)
			if strings.Contains(text, "hunter2") {
				t.Errorf("%s: %d attributes and %d changes have a secret", name, len(e.Attributes), len(e.Changes))
			}
		}
	}
}

func TestRulesReachIntoLists(t *testing.T) {
	users := map[string]any{"users": []map[string]string{{"email": "a@example.com"}, {"email": "b@example.com"}}, "session_token": "t"}
	got, _ := record(t, auditpolicy.Config{Key: key, Rules: []auditpolicy.Rule{
		{Field: "/attributes/users/1/email", Effect: auditpolicy.Redact}, {Field: "/attributes/session_token", Effect: auditpolicy.Hash}, {Field: "/changes/user/email", Effect: auditpolicy.Redact},
	}}, attestlog.Event{Action: "a", Attributes: users, Changes: diff.Changes(map[string]any{}, map[string]any{"user": map[string]string{"email": "c@example.com", "name": "c"}})})
	text := fmt.Sprint(got.Attributes, got.Changes)
	if strings.Contains(text, "b@example.com") || strings.Contains(text, "c@example.com") || !strings.Contains(text, "a@example.com") || !strings.Contains(text, "session_token:hmac:") || !strings.Contains(text, "name:c") {
		t.Errorf("event: %s", text)
	}
}

func TestAPolicyBearsAnyValue(t *testing.T) {
	m := map[string]any{}
	m["self"], m["again"] = m, m
	s := []any{nil, nil}
	s[0], s[1] = s, s
	for _, v := range []any{m, s, (*secretive)(nil), named(""), make(chan int), func() {}, map[string]any{"n": []any{1, nil}}, json.RawMessage("{")} {
		record(t, auditpolicy.Config{Rules: []auditpolicy.Rule{{Field: "/attributes/v/x/0", Effect: auditpolicy.Redact}}}, attestlog.Event{Action: "a", Attributes: map[string]any{"v": v}, Changes: []attestlog.Change{{Path: "/v", New: v}}})
	}
}

// strict refuses what the log would.
type strict struct{ kept }

func (s *strict) Record(ctx context.Context, e attestlog.Event) error {
	if _, err := (attestlog.Config{}).Prepare(e); err != nil {
		return err
	}
	return s.kept.Record(ctx, e)
}

func TestAFloodOfEventsThatBreakARuleIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to strict
		r, err := auditpolicy.New(&to, auditpolicy.Config{Floods: []auditpolicy.Flood{{Window: time.Minute, Most: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		attributes := map[string]any{"n": 1}
		for range 20 {
			if err := r.Record(t.Context(), attestlog.Event{Action: "login", Actor: attestlog.Actor{ID: "bob\xff"}, Attributes: attributes}); err != nil {
				t.Fatal(err)
			}
		}
		attributes["password"] = "hunter2" // the caller's own, afterwards
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(to.events) != 2 || to.events[1].Attributes["coalesced"].(map[string]any)["events"] != 19 || to.events[1].Attributes["password"] != nil {
			t.Errorf("recorded %+v", to.events)
		}
		to.err = attestlog.ErrQueueFull
		for range 3 {
			r.Record(t.Context(), attestlog.Event{Action: "login", Actor: attestlog.Actor{ID: "x"}})
		}
		if err := r.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "2 events") {
			t.Errorf("Close while the log is full = %v, want the summary that it lacks", err)
		}
		to.err = nil
		before := len(to.events)
		if err := r.Close(t.Context()); err != nil || len(to.events) != before+1 {
			t.Errorf("a second Close = %v, and recorded %d", err, len(to.events)-before)
		}
	})
}
