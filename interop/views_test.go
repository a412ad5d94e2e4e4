package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cef"
	"github.com/attestlog/attestlog/convert/cloudtrail"
	"github.com/attestlog/attestlog/convert/ecs"
	"github.com/attestlog/attestlog/convert/kubernetes"
	"github.com/attestlog/attestlog/convert/ocsf"
	"github.com/attestlog/attestlog/convert/otel"
)

// views are the formats that entries are shown in. A check says everything that
// the format's schema, or another's reader of it, finds wrong with a text.
var views = []struct {
	name   string
	append func([]byte, *attestlog.Entry) ([]byte, error)
	check  func(*attestlog.Entry, []byte) error
}{
	{"ocsf", ocsf.Append, checkOCSF},
	{"ecs", ecs.Append, checkECS},
	{"cef", cef.Append, checkCEF},
	{"cloudevents", appendCloudEvent, checkCloudEvent},
	{"kubernetes", kubernetes.Append, checkKubernetes},
	{"otlp", otel.Append, checkOTel},
	{"cloudtrail", cloudtrail.Append, checkCloudTrail},
}

var (
	moment = time.Date(2026, 3, 1, 10, 0, 0, 123_456_789, time.UTC)
	odd    = "a|b=c \\d\\n \"e\"\r\n\tf\x00\x7f\u0085\u2028é\ufdd0🜁 =|"
	long   = strings.Repeat("é=|\\", 2000)
)

// entries are of every operation, outcome and kind of source, with and without
// all that is optional.
var entries = []attestlog.Entry{
	{Index: 0, Event: attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "alice"}}},
	{Index: 1, Event: attestlog.Event{
		Action: "session.start", Operation: "login", Outcome: attestlog.Success, Service: "webmail", Tenant: "acme", Module: "auth", Message: "Alice signed in",
		Actor: attestlog.Actor{ID: "alice", Type: "user", Name: "Alice", Session: "s1"}, Source: attestlog.Source{IP: "192.0.2.7", UserAgent: "curl/8"},
		Request: attestlog.Request{ID: "r1", Method: "POST", Path: "/login", Route: "/login", Status: 200, DurationUS: 1500},
		Trace:   attestlog.Trace{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7"},
	}},
	{Index: 2, Event: attestlog.Event{
		Action: "session.start", Operation: "login", Outcome: attestlog.Failure, Reason: "wrong password", Actor: attestlog.Actor{ID: "anonymous", Type: "anonymous"},
		Source: attestlog.Source{IP: "2001:db8::7", Host: "client.example.com"},
	}},
	{Index: 3, Event: attestlog.Event{Action: "session.end", Operation: "logout", Actor: attestlog.Actor{ID: "alice", Session: "s1"}, Source: attestlog.Source{Host: "client"}}},
	{Index: 4, Event: attestlog.Event{
		Action: "user.create", Operation: "create", Outcome: attestlog.Success, Actor: attestlog.Actor{ID: "root", Type: "system", OnBehalfOf: "alice"},
		Targets: []attestlog.Target{{ID: "bob", Type: "user", Name: "Bob"}}, Request: attestlog.Request{Method: "PUT", Path: "/users/bob", Status: 201},
		Changes: []attestlog.Change{{Path: "/name", Op: "add", New: "Bob"}, {Path: "/old", Op: "remove", Old: json.RawMessage("null")}},
	}},
	{Index: 5, Event: attestlog.Event{
		Action: "mail.view", Operation: "read", Outcome: attestlog.Unknown, Actor: attestlog.Actor{ID: "svc", Type: "service"},
		Targets: []attestlog.Target{{ID: "7", Type: "mail"}, {Type: "folder", Name: "Inbox"}, {ID: "8"}}, Request: attestlog.Request{Method: "GET", Path: "/mail/7?x=y z", Status: 404},
		Source: attestlog.Source{IP: "::ffff:192.0.2.7"},
	}},
	{Index: 6, Event: attestlog.Event{
		Action: "mail.flag", Operation: "update", Actor: attestlog.Actor{ID: "alice"}, Request: attestlog.Request{Method: "mail.v1.Mail/Flag", Status: 5},
		Attributes: map[string]any{"a": map[string]any{"b": []any{1.5, "x", nil, true, map[string]any{"c": "d"}}}, "": "empty", "dot.ted": 1.5e10},
	}},
	{Index: 7, Event: attestlog.Event{
		Action: "mail.delete", Operation: "delete", Outcome: attestlog.Failure, Actor: attestlog.Actor{ID: "alice"}, Request: attestlog.Request{Method: "delete", Path: "/mail/7", Status: 403},
		Source: attestlog.Source{IP: "fe80::1%" + strings.Repeat("eth", 20)},
	}},
	{Index: 8, Event: attestlog.Event{Action: "mail.export", Operation: "export", Actor: attestlog.Actor{ID: "alice"}, Request: attestlog.Request{Method: "GET"}, Targets: []attestlog.Target{{ID: " "}, {}}}},
	{Index: 9, Event: attestlog.Event{Action: "leave.approve", Operation: "approve", Outcome: attestlog.Success, Actor: attestlog.Actor{ID: "boss"}}},
	{Index: 10, Event: attestlog.Event{Action: "leave.deny", Operation: "deny", Actor: attestlog.Actor{ID: "boss"}, Request: attestlog.Request{Method: "POST", ID: "r2"}}},
	{Index: 1<<53 - 1, Event: attestlog.Event{
		ID: strings.Repeat("i", attestlog.MaxID), Time: time.Date(1678, 1, 1, 0, 0, 0, 1, time.UTC), Action: "far", Operation: "import", Actor: attestlog.Actor{ID: "a"},
		Request: attestlog.Request{Status: 1<<53 - 1, DurationUS: 1<<53 - 1}, Trace: attestlog.Trace{TraceID: "not hex", SpanID: "0000000000000000"},
	}},
	{Index: 12, Erased: []string{"/actor/id", "/source/ip"}, Event: attestlog.Event{Action: "actor.erased", Operation: "login", Actor: attestlog.Actor{Type: "user"}}},
	{Index: 13, Event: attestlog.Event{
		ID: "id\n" + odd, Tenant: odd, Service: odd, Module: odd, Action: odd, Operation: odd, Reason: odd, Message: odd,
		Actor: attestlog.Actor{ID: odd, Name: odd, Session: odd, OnBehalfOf: odd}, Source: attestlog.Source{IP: "192.0.2.7", UserAgent: odd, Host: odd},
		Targets: []attestlog.Target{{ID: odd, Type: odd, Name: odd}}, Request: attestlog.Request{ID: odd, Method: odd, Path: odd, Route: odd},
		Trace: attestlog.Trace{TraceID: odd, SpanID: odd}, Attributes: map[string]any{odd: odd}, Changes: []attestlog.Change{{Path: odd, Op: odd, Old: odd, New: odd}},
	}},
	{Index: 14, Event: attestlog.Event{
		Tenant: long, Service: long, Module: long, Action: strings.Repeat("é", 127), Operation: long, Reason: long, Message: long,
		Actor: attestlog.Actor{ID: long, Name: long}, Source: attestlog.Source{UserAgent: long, Host: long},
		Targets: []attestlog.Target{{ID: long, Type: long}, {ID: long}, {ID: long}}, Request: attestlog.Request{Method: long, Path: long},
	}},
}

func TestViewsFitTheirSchemas(t *testing.T) {
	for _, e := range entries {
		if e.ID == "" {
			e.ID = "019a9f0c-2f5e-7cc1-9c1e-000000000001"
		}
		if e.Time.IsZero() {
			e.Time = moment
		}
		e.LoggedTime = moment.Truncate(time.Microsecond)
		for _, view := range views {
			text, err := view.append(nil, &e)
			if err == nil {
				err = view.check(&e, text)
			}
			if err != nil {
				t.Errorf("%s of entry %d: %v\n%.1500s", view.name, e.Index, err, text)
			}
		}
	}
}

func TestViewsOfAnyEntryFitTheirSchemas(t *testing.T) {
	for _, view := range views {
		t.Run(view.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				e := anyEntry(t)
				text, err := view.append(nil, &e)
				if err == nil {
					err = view.check(&e, text)
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
			})
		})
	}
}

// anyEntry draws what a log may hold.
func anyEntry(t *rapid.T) attestlog.Entry {
	s := func(name string) string { return rapid.String().Draw(t, name) }
	instant := func(name string) time.Time {
		return time.UnixMicro(rapid.Int64Range(-9_214_560_000_000_000, 9_214_560_000_000_000).Draw(t, name)).UTC()
	}
	of := func(name string, values ...string) string { return rapid.SampledFrom(values).Draw(t, name) }
	number := rapid.Int64Range(0, 1<<53-1)
	e := attestlog.Entry{Index: uint64(number.Draw(t, "index")), LoggedTime: instant("logged_time"), Event: attestlog.Event{
		ID: "i" + short(s("id"), attestlog.MaxID-1), Time: instant("time"), Tenant: s("tenant"), Service: s("service"), Module: s("module"), Action: "a" + short(s("action"), attestlog.MaxAction-1),
		Operation: of("operation", "", "login", "logout", "create", "read", "update", "delete", "export", "import", "execute", "approve", "deny", s("other operation")),
		Outcome:   attestlog.Outcome(of("outcome", "", "success", "failure", "unknown")), Reason: s("reason"), Message: s("message"),
		Actor:  attestlog.Actor{ID: s("actor"), Type: of("actor type", "", "user", "service", "system", "anonymous"), Name: s("name"), Session: s("session"), OnBehalfOf: s("on behalf of")},
		Source: attestlog.Source{IP: anyIP(t), UserAgent: s("user agent"), Host: s("host")},
		Request: attestlog.Request{
			ID: s("request"), Method: of("method", "", "GET", "POST", "PROPFIND", s("other method")), Path: s("path"), Route: s("route"),
			Status: int(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(100, 599), number).Draw(t, "status")), DurationUS: number.Draw(t, "duration"),
		},
		Trace: attestlog.Trace{
			TraceID: of("trace", "", "4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000", s("other trace")), SpanID: of("span", "", "00f067aa0ba902b7", s("other span")),
		},
	}}
	for range rapid.IntRange(0, 3).Draw(t, "targets") {
		e.Targets = append(e.Targets, attestlog.Target{ID: s("target"), Type: s("target type"), Name: s("target name")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		e.Changes = append(e.Changes, attestlog.Change{Path: s("path"), Op: s("op"), Old: s("old"), New: json.RawMessage("null")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "attributes") {
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		e.Attributes[s("attribute")] = map[string]any{s("inner"): []any{s("value"), rapid.Float64Range(-1<<52, 1<<52).Draw(t, "number"), nil}}
	}
	return e
}

func short(s string, most int) string {
	for len(s) > most {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

func anyIP(t *rapid.T) string {
	switch rapid.IntRange(0, 3).Draw(t, "family") {
	case 1:
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "IPv4"))).String()
	case 2:
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "IPv6"))).String()
	case 3:
		return "fe80::1%" + rapid.StringMatching("[a-z0-9]{1,50}").Draw(t, "zone")
	}
	return ""
}

// A findings collects what is wrong.
type findings struct{ all []error }

func (f *findings) add(format string, args ...any) {
	f.all = append(f.all, fmt.Errorf(format, args...))
}

func (f *findings) err() error { return errors.Join(f.all...) }

func object(text []byte) (map[string]any, error) {
	if slices.ContainsFunc(text, func(b byte) bool { return b == '\n' || b == '\r' }) {
		return nil, errors.New("more than one line")
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var out map[string]any
	err := d.Decode(&out)
	return out, err
}
