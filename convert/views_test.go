package convert_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cef"
	"github.com/attestlog/attestlog/convert/cloudevents"
	"github.com/attestlog/attestlog/convert/cloudtrail"
	"github.com/attestlog/attestlog/convert/csv"
	"github.com/attestlog/attestlog/convert/ecs"
	"github.com/attestlog/attestlog/convert/kubernetes"
	"github.com/attestlog/attestlog/convert/ocsf"
	"github.com/attestlog/attestlog/convert/otel"
)

var viewed = attestlog.Entry{
	Event: attestlog.Event{
		ID: "019a9f0c-2f5e-7cc1-9c1e-000000000001", Time: time.Date(2026, 3, 1, 10, 0, 0, 123_456_789, time.UTC), Tenant: "acme", Service: "webmail", Module: "mail",
		Action: "mail.view", Operation: "read", Outcome: attestlog.Failure, Reason: "denied", Message: "a|b\nc=d",
		Actor: attestlog.Actor{ID: "alice", Type: "user", Name: "Alice"}, Source: attestlog.Source{IP: "192.0.2.7", UserAgent: "x"},
		Targets: []attestlog.Target{{ID: "7", Type: "mail"}}, Request: attestlog.Request{Method: "GET", Path: "/mail/7", Status: 403, DurationUS: 1500},
		Trace: attestlog.Trace{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7"},
	},
	Index: 7, LoggedTime: time.Date(2026, 3, 1, 10, 0, 1, 0, time.UTC),
}

func TestViewsOfAnEntry(t *testing.T) {
	const hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, view := range []struct {
		name string
		fn   func([]byte, *attestlog.Entry) ([]byte, error)
		want string
	}{
		{"ocsf", ocsf.Append, `{"activity_id":2,"activity_name":"Read","actor":{"user":{"name":"Alice","type_id":1,"uid":"alice"}},"api":{"operation":"mail.view","service":{"name":"webmail"}},` +
			`"category_uid":6,"class_uid":6003,"duration":1,"http_request":{"http_method":"GET","url":{"path":"/mail/7"},"user_agent":"x"},"http_response":{"code":403,"status":"Forbidden"},` +
			`"message":"a|b\nc=d","metadata":{"correlation_uid":"4bf92f3577b34da6a3ce929d0e0e4736","event_code":"mail.view","log_name":"mail","logged_time":1772359201000,"product":{"name":"attestlog"},` +
			`"sequence":7,"tenant_uid":"acme","uid":"019a9f0c-2f5e-7cc1-9c1e-000000000001","version":"1.8.0"},"resources":[{"type":"mail","uid":"7"}],"severity_id":1,"src_endpoint":{"ip":"192.0.2.7"},` +
			`"status":"Failure","status_detail":"denied","status_id":2,"time":1772359200123,"type_uid":600302,"unmapped":{"action":"mail.view","actor_type":"user","duration_us":1500,"leaf_hash":"` + hash + `",` +
			`"operation":"read","service":"webmail","span_id":"00f067aa0ba902b7","targets":[{"id":"7","type":"mail"}],"time":"2026-03-01T10:00:00.123456789Z"}}`},
		{"ecs", ecs.Append, `{"@timestamp":"2026-03-01T10:00:00.123Z","attestlog.actor_type":"user","attestlog.index":7,"attestlog.leaf_hash":"` + hash + `","attestlog.operation":"read",` +
			`"attestlog.targets":[{"id":"7","type":"mail"}],"attestlog.time":"2026-03-01T10:00:00.123456789Z","ecs.version":"9.0.0","event.action":"mail.view","event.category":["web"],` +
			`"event.created":"2026-03-01T10:00:01.000Z","event.duration":1500000,"event.id":"019a9f0c-2f5e-7cc1-9c1e-000000000001","event.kind":"event","event.module":"mail","event.outcome":"failure",` +
			`"event.provider":"attestlog","event.reason":"denied","event.sequence":7,"event.type":["access"],"http.request.method":"GET","http.response.status_code":403,"message":"a|b\nc=d",` +
			`"organization.id":"acme","related.ip":["192.0.2.7"],"related.user":["alice"],"service.name":"webmail","source.ip":"192.0.2.7","span.id":"00f067aa0ba902b7",` +
			`"trace.id":"4bf92f3577b34da6a3ce929d0e0e4736","url.path":"/mail/7","user.id":"alice","user.name":"Alice","user_agent.original":"x"}`},
		{"cef", cef.Append, `CEF:0|attestlog|attestlog|1|mail.view|a\|b c=d|6|rt=1772359201000 start=1772359200123 externalId=019a9f0c-2f5e-7cc1-9c1e-000000000001 act=read outcome=failure ` +
			`reason=denied msg=a|b\nc\=d suid=alice suser=Alice src=192.0.2.7 requestMethod=GET request=/mail/7 requestClientApplication=x app=webmail cn1=7 cn1Label=index cs1=` +
			strings.TrimSuffix(hash, "=") + `\= cs1Label=leafHash cs2=acme cs2Label=tenant cs3=mail cs3Label=module cs4=mail/7 cs4Label=targets cs5=4bf92f3577b34da6a3ce929d0e0e4736 cs5Label=traceId cn2=403 cn2Label=httpStatus`},
		{"cloudevents", appendCloudEvent, `{"specversion":"1.0","id":"7","source":"/example.com/audit","type":"mail.view","subject":"mail/7","time":"2026-03-01T10:00:00.123456789Z","datacontenttype":"application/json",` +
			`"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","data":` + entryJSON(t) + `}`},
	} {
		got, err := view.fn([]byte("before "), &viewed)
		if diff := cmp.Diff("before "+view.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", view.name, err, diff)
		}
	}
}

// What a schema does not allow in a field is left out of it, or stands elsewhere.
func TestViewsLeaveOutWhatTheirSchemasDoNotAllow(t *testing.T) {
	zone := "fe80::1%" + strings.Repeat("z", 40)
	longID := strings.Repeat("i", attestlog.MaxID)
	for _, test := range []struct {
		name        string
		event       attestlog.Event
		ocsf        []string // parts of the views, and after a ! what is no part
		ecs         []string
		cef         []string
		cloudevents []string
	}{
		{name: "login", event: attestlog.Event{Operation: "login", Service: "webmail"}, ocsf: []string{`"service":{"name":"webmail"},"severity_id"`}},
		{name: "login without a service", event: attestlog.Event{Operation: "login"}, ocsf: []string{`"service":{"name":"unknown"},"severity_id"`}},
		{name: "anonymous actor", event: attestlog.Event{Actor: attestlog.Actor{ID: "x", Type: "anonymous"}}, ocsf: []string{`{"type":"anonymous","type_id":99,"uid":"x"}`}},
		{
			name: "erased actor", event: attestlog.Event{Actor: attestlog.Actor{Type: "user"}}, ocsf: []string{`"user":{"name":"unknown","type_id":1}`},
			ecs: []string{`!"user.id"`, `!"related.user"`}, cef: []string{`!suid=`},
		},
		{
			name: "create over HTTP", event: attestlog.Event{Operation: "create", Request: attestlog.Request{Method: "POST"}}, ocsf: []string{`"http_method":"POST"`},
			ecs: []string{`"event.category":["api"]`, `"event.type":["creation"]`},
		},
		{name: "read over HTTP", event: attestlog.Event{Operation: "read", Request: attestlog.Request{Method: "GET"}}, ecs: []string{`"event.category":["web"]`, `"event.type":["access"]`}},
		{name: "update", event: attestlog.Event{Operation: "update"}, ecs: []string{`"event.category":["configuration"]`, `"event.type":["change"]`}},
		{name: "approve", event: attestlog.Event{Operation: "approve"}, ecs: []string{`"event.category":["api"]`, `"event.type":["allowed"]`}},
		{
			name: "RPC", event: attestlog.Event{Request: attestlog.Request{Method: "mail.v1.Mail/Flag"}},
			ocsf: []string{`!"http_method"`, `"request_method":"mail.v1.Mail/Flag"`}, ecs: []string{`"http.request.method":"mail.v1.Mail/Flag"`},
		},
		{
			name: "address with a zone", event: attestlog.Event{Source: attestlog.Source{IP: zone}},
			ocsf: []string{`"src_endpoint":{"ip":"fe80::1"}`, `"source_ip":"` + zone}, ecs: []string{`"source.ip":"fe80::1"`, `"related.ip":["fe80::1"]`, `"source.address":"` + zone},
			cef: []string{`c6a2=fe80::1 `},
		},
		{name: "address with a short zone", event: attestlog.Event{Source: attestlog.Source{IP: "fe80::1%eth0"}}, ocsf: []string{`"ip":"fe80::1%eth0"`, `!"source_ip"`}},
		{name: "nameless target", event: attestlog.Event{Targets: []attestlog.Target{{Type: "mail"}}}, ocsf: []string{`!"resources"`, `"targets":[{"type":"mail"}]`}, cloudevents: []string{`"subject":"mail/"`}},
		{name: "blank target", event: attestlog.Event{Targets: []attestlog.Target{{ID: " "}}}, cloudevents: []string{`!"subject"`}},
		{name: "long id", event: attestlog.Event{ID: longID}, cef: []string{`externalId=` + longID[:40] + ` `, `cs6=` + longID + ` cs6Label=id`}},
		{
			name: "control characters", event: attestlog.Event{Action: "a\nb\ufdd0", Targets: []attestlog.Target{{ID: "c\u0085\U0001ffff"}, {}}},
			cloudevents: []string{"\"type\":\"a\ufffdb\ufffd\"", "\"subject\":\"c\ufffd\ufffd\"", `"data":{"index":0`},
		},
		{name: "odd trace", event: attestlog.Event{Trace: attestlog.Trace{TraceID: "x", SpanID: "00f067aa0ba902b7"}}, cloudevents: []string{`!"traceparent"`}},
		{name: "trace of zeros", event: attestlog.Event{Trace: attestlog.Trace{TraceID: strings.Repeat("0", 32), SpanID: "00f067aa0ba902b7"}}, cloudevents: []string{`!"traceparent"`}},
	} {
		e := attestlog.Entry{Event: test.event}
		for _, view := range []struct {
			name string
			fn   func([]byte, *attestlog.Entry) ([]byte, error)
			want []string
		}{{"ocsf", ocsf.Append, test.ocsf}, {"ecs", ecs.Append, test.ecs}, {"cef", cef.Append, test.cef}, {"cloudevents", appendCloudEvent, test.cloudevents}} {
			if view.want == nil {
				continue
			}
			got, err := view.fn(nil, &e)
			if err != nil {
				t.Errorf("%s: %s: %v", test.name, view.name, err)
			}
			for _, want := range view.want {
				part, absent := strings.CutPrefix(want, "!")
				if strings.Contains(string(got), part) == absent {
					t.Errorf("%s: %s = %s, want %s", test.name, view.name, got, want)
				}
			}
		}
	}
}

func TestCloudEventSourceIsAPath(t *testing.T) {
	for origin, want := range map[string]string{"example.com/audit": `"/example.com/audit"`, "/a:b": `"/%2Fa:b"`, "a?b#c": `"/a%3Fb%23c"`} {
		got, err := cloudevents.Append(nil, origin, &viewed)
		if err != nil || !strings.Contains(string(got), `"source":`+want) {
			t.Errorf("Append(%q) = %s %v, want the source %s", origin, got, err, want)
		}
	}
}

func appendCloudEvent(dst []byte, e *attestlog.Entry) ([]byte, error) {
	return cloudevents.Append(dst, "example.com/audit", e)
}

func entryJSON(t *testing.T) string {
	t.Helper()
	text, err := viewed.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// cefLine is the form of a line, with pipes and equals signs only where they
// separate.
var cefLine = regexp.MustCompile(`^CEF:0(\|([^|\\]|\\[|\\])*){6}\|[a-zA-Z0-9]+=([^=\\]|\\[=\\nr])*( [a-zA-Z0-9]+=([^=\\]|\\[=\\nr])*)*$`)

func TestViewsOfAnyEntryAreOneLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := func(name string) string { return rapid.String().Draw(t, name) }
		e := attestlog.Entry{Event: attestlog.Event{
			Action: s("action"), Operation: s("operation"), Message: s("message"), Reason: s("reason"), Actor: attestlog.Actor{ID: s("actor"), Name: s("name")},
			Source: attestlog.Source{UserAgent: s("agent"), Host: s("host")}, Targets: []attestlog.Target{{ID: s("id"), Type: s("type")}}, Tenant: s("tenant"),
			Attributes: map[string]any{s("attribute"): s("value")},
		}}
		for name, fn := range map[string]func([]byte, *attestlog.Entry) ([]byte, error){
			"ocsf": ocsf.Append, "ecs": ecs.Append, "cloudevents": appendCloudEvent, "cef": cef.Append,
			"otlp": otel.Append, "kubernetes": kubernetes.Append, "cloudtrail": cloudtrail.Append,
		} {
			line, err := fn(nil, &e)
			if err != nil || strings.ContainsAny(string(line), "\r\n") {
				t.Fatalf("%s: %v: %q", name, err, line)
			}
			if name == "cef" {
				if !cefLine.Match(line) {
					t.Fatalf("cef: %q", line)
				}
				continue
			}
			var o map[string]any
			if err := json.Unmarshal(line, &o); err != nil {
				t.Fatalf("%s: %v: %q", name, err, line)
			}
		}
	})
}

// What a view says comes back where its format has a field for it.
func TestViewsAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z][a-z0-9|= "\\é-]{0,8}[a-z0-9]`)
		e := attestlog.Entry{Event: attestlog.Event{
			ID: "0b6f", Time: at, Action: rapid.StringMatching(`[a-z]{1,8}\.[a-z]{1,8}`).Draw(t, "action"), Operation: rapid.SampledFrom([]string{"create", "read", "update", "delete"}).Draw(t, "operation"),
			Service: word.Draw(t, "service"), Outcome: rapid.SampledFrom([]attestlog.Outcome{attestlog.Success, attestlog.Failure}).Draw(t, "outcome"), Message: word.Draw(t, "message"),
			Actor:  attestlog.Actor{ID: word.Draw(t, "actor"), Type: "user"},
			Source: attestlog.Source{IP: rapid.SampledFrom([]string{"192.0.2.7", "2001:db8::7"}).Draw(t, "ip"), UserAgent: word.Draw(t, "agent")},
		}, LoggedTime: at.Add(time.Second)}
		for format, view := range map[string]func([]byte, *attestlog.Entry) ([]byte, error){
			"ocsf": ocsf.Append, "ecs": ecs.Append, "cef": cef.Append, "otlp": otel.Append, "cloudtrail": cloudtrail.Append, "kubernetes": kubernetes.Append, "csv": appendCSV,
			"cloudevents": appendCloudEvent,
		} {
			line, err := view(nil, &e)
			if err != nil {
				t.Fatal(err)
			}
			var got []attestlog.Event
			for e, err := range readers[format](bytes.NewReader(line), "f") {
				if err != nil {
					t.Fatalf("%s: %v: %s", format, err, line)
				}
				got = append(got, e)
			}
			if len(got) != 1 {
				t.Fatalf("%s: %d events of %s", format, len(got), line)
			}
			want := fmt.Sprint(e.Time.Truncate(time.Second), e.Actor.ID, e.Outcome, e.Source)
			if back := fmt.Sprint(got[0].Time.Truncate(time.Second), got[0].Actor.ID, got[0].Outcome, got[0].Source); back != want {
				t.Fatalf("%s: %s, want %s: %s", format, back, want, line)
			}
			if format != "kubernetes" && format != "cloudtrail" && (got[0].Action != e.Action || got[0].Service != e.Service || got[0].Operation != e.Operation || got[0].Message != e.Message) {
				t.Fatalf("%s: %+v, want %+v: %s", format, got[0], e, line)
			}
		}
	})
}

func appendCSV(dst []byte, e *attestlog.Entry) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	w, err := csv.NewWriter(b, csv.Fields)
	if err != nil {
		return nil, err
	}
	err = errors.Join(w.Write(e), w.Flush())
	return b.Bytes(), err
}

func TestTableCellsAreNoFormulas(t *testing.T) {
	e := attestlog.Entry{Event: attestlog.Event{Action: "=1+1", Actor: attestlog.Actor{ID: "'a"}, Message: "@x\ny", Time: at}}
	b, err := appendCSV(nil, &e)
	if err != nil || !strings.Contains(string(b), ",'=1+1,") || !strings.Contains(string(b), ",''a,") || !strings.Contains(string(b), "\"'@x\ny\"") {
		t.Errorf("Write = %q, %v", b, err)
	}
	for e, err := range csv.Read(bytes.NewReader(b), "f") {
		if err != nil || e.Action != "=1+1" || e.Actor.ID != "'a" || e.Message != "@x\ny" {
			t.Errorf("Read = %+v, %v", e, err)
		}
	}
}
