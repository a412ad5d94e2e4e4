package convert_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/cef"
	"github.com/attestlog/attestlog/convert/cloudevents"
	"github.com/attestlog/attestlog/convert/cloudtrail"
	"github.com/attestlog/attestlog/convert/csv"
	"github.com/attestlog/attestlog/convert/ecs"
	"github.com/attestlog/attestlog/convert/jsonlines"
	"github.com/attestlog/attestlog/convert/kubernetes"
	"github.com/attestlog/attestlog/convert/ocsf"
	"github.com/attestlog/attestlog/convert/opa"
	"github.com/attestlog/attestlog/convert/otel"
	"github.com/attestlog/attestlog/convert/syslog"
	"github.com/attestlog/attestlog/fit"
	"github.com/google/go-cmp/cmp"
)

var readers = map[string]convert.Reader{
	"cef": cef.Read, "cloudevents": cloudevents.Read, "cloudtrail": cloudtrail.Read, "csv": csv.Read, "ecs": ecs.Read,
	"jsonl": jsonlines.Read, "kubernetes": kubernetes.Read, "ocsf": ocsf.Read, "opa": opa.Read, "otlp": otel.Read, "syslog": syslog.Read,
}

// read returns all events, and fails on any error.
func read(t testing.TB, format, in string) (out []attestlog.Event) {
	t.Helper()
	for e, err := range readers[format](strings.NewReader(in), "f") {
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		out = append(out, e)
	}
	return out
}

var at = time.Date(2026, 3, 1, 10, 0, 0, 123_000_000, time.UTC)

func TestReadersMapFields(t *testing.T) {
	for _, tt := range []struct {
		name, format, in string
		want             attestlog.Event
	}{
		{
			"a pod's shell", "kubernetes",
			`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"A1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web/exec","verb":"create","user":{"username":"system:serviceaccount:shop:ci","groups":["system:serviceaccounts"]},"impersonatedUser":{"username":"alice"},"sourceIPs":["203.0.113.9","192.0.2.7"],"userAgent":"kubectl/1.33","objectRef":{"resource":"pods","namespace":"shop","name":"web","apiVersion":"v1","subresource":"exec"},"responseStatus":{"metadata":{},"status":"Failure","reason":"Forbidden","message":"no","code":403},"requestReceivedTimestamp":"2026-03-01T10:00:00.123000Z","stageTimestamp":"2026-03-01T10:00:00.124500Z"}`,
			attestlog.Event{
				Time: at, Service: "kubernetes", Action: "pods.exec.create", Operation: "execute", Outcome: attestlog.Failure, Reason: "Forbidden: no",
				Actor:   attestlog.Actor{ID: "system:serviceaccount:shop:ci", Type: "service", OnBehalfOf: "alice"},
				Source:  attestlog.Source{IP: "192.0.2.7", UserAgent: "kubectl/1.33"},
				Targets: []attestlog.Target{{Type: "pods/exec", ID: "shop/web"}},
				Request: attestlog.Request{ID: "A1", Path: "/api/v1/namespaces/shop/pods/web/exec", Status: 403, DurationUS: 1500},
				Attributes: map[string]any{
					"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete", "verb": "create",
					"user": map[string]any{"groups": []any{"system:serviceaccounts"}}, "sourceIPs": []any{"203.0.113.9"},
					"objectRef":      map[string]any{"namespace": "shop", "apiVersion": "v1"},
					"responseStatus": map[string]any{"metadata": map[string]any{}, "status": "Failure", "code": 403.0},
					"stageTimestamp": "2026-03-01T10:00:00.124500Z",
				},
			},
		},
		{
			"an audit record", "otlp",
			`{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"webmail"}},{"key":"host.name","value":{"stringValue":"h1"}}]},"scopeLogs":[{"scope":{},"logRecords":[{"timeUnixNano":"1772359200123000000","observedTimeUnixNano":1772359201000000000,"eventName":"mail.viewed","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","body":{"stringValue":"hello"},"attributes":[{"key":"audit.record.id","value":{"stringValue":"0b6f"}},{"key":"audit.actor.id","value":{"stringValue":"alice"}},{"key":"audit.actor.type","value":{"stringValue":"user"}},{"key":"audit.action","value":{"stringValue":"READ"}},{"key":"audit.outcome","value":{"stringValue":"success"}},{"key":"audit.target.id","value":{"stringValue":"7"}},{"key":"audit.target.type","value":{"stringValue":"mail"}},{"key":"audit.source.id","value":{"stringValue":"192.0.2.7"}},{"key":"audit.source.type","value":{"stringValue":"ipv4"}},{"key":"http.response.status_code","value":{"intValue":"200"}},{"key":"big","value":{"intValue":"9007199254740993"}},{"key":"tags","value":{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":1.5},{"kvlistValue":{"values":[{"key":"a","value":{"bytesValue":"AQI="}}]}}]}}}]}]}]}]}`,
			attestlog.Event{
				ID: "0b6f", Time: at, Service: "webmail", Action: "mail.viewed", Operation: "read", Outcome: attestlog.Success, Message: "hello",
				Actor: attestlog.Actor{ID: "alice", Type: "user"}, Source: attestlog.Source{IP: "192.0.2.7"},
				Targets: []attestlog.Target{{ID: "7", Type: "mail"}}, Request: attestlog.Request{Status: 200},
				Trace: attestlog.Trace{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7"},
				Attributes: map[string]any{
					"audit.action": "READ", "audit.source.type": "ipv4", "http.response.status_code": 200.0, "big": "9007199254740993",
					"tags":                 []any{true, 1.5, map[string]any{"a": "AQI="}},
					"observedTimeUnixNano": "1772359201000000000", "resource": map[string]any{"attributes": map[string]any{"host.name": "h1"}},
					fit.NotesName: map[string]any{
						"/attributes/big": map[string]any{"as": "number"}, "/attributes/observedTimeUnixNano": map[string]any{"as": "number"},
					},
				},
			},
		},
		{
			"a plain log record", "otlp",
			`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1772359200123000000","severityText":"INFO","body":{"kvlistValue":{"values":[{"key":"n","value":{"intValue":1}}]}},"attributes":[{"key":"user.id","value":{"stringValue":"bob"}}]}]}]}]}`,
			attestlog.Event{
				Time: at, Action: "log", Actor: attestlog.Actor{ID: "bob"},
				Attributes: map[string]any{"severityText": "INFO", "body": map[string]any{"n": 1.0}},
			},
		},
		{
			"schemas around, bytes as the body and a key that comes again", "otlp",
			`{"resourceLogs":[{"schemaUrl":"r","scopeLogs":[{"scope":{"name":"n"},"schemaUrl":"s","logRecords":[{"timeUnixNano":"1772359200123000000","body":{"bytesValue":"AQI="},"attributes":[{"key":"user.id","value":{"stringValue":"bob"}},{"key":"client.address","value":{"stringValue":"192.0.2.7"}},{"key":"k","value":{}},{"key":"k","value":{"stringValue":"v"}}]}]}]}]}`,
			attestlog.Event{
				Time: at, Action: "log", Actor: attestlog.Actor{ID: "bob"}, Source: attestlog.Source{IP: "192.0.2.7"},
				Attributes: map[string]any{
					"body": "AQI=", "k": []any{nil, "v"}, "resource": map[string]any{"schemaUrl": "r"}, "scope": map[string]any{"name": "n", "schemaUrl": "s"},
					fit.NotesName: map[string]any{"/attributes/k": map[string]any{"as": "repeated"}},
				},
			},
		},
		{
			"API Activity", "ocsf",
			`{"class_uid":6003,"activity_id":2,"activity_name":"Read","time":1772359200123,"status_id":2,"status":"Failure","status_detail":"denied","actor":{"user":{"uid":"alice","name":"Alice","type_id":1},"session":{"uid":"S"}},"api":{"operation":"mail.view","service":{"name":"webmail"},"request":{"uid":"R"}},"src_endpoint":{"ip":"192.0.2.7"},"http_request":{"http_method":"GET","user_agent":"x","url":{"path":"/mail/7"}},"http_response":{"code":403},"duration":2,"resources":[{"uid":"7","type":"mail"}],"metadata":{"uid":"M","tenant_uid":"acme","product":{"name":"p"}},"message":"hi"}`,
			attestlog.Event{
				Time: at, Tenant: "acme", Service: "webmail", Action: "mail.view", Operation: "read", Outcome: attestlog.Failure, Reason: "denied", Message: "hi",
				Actor: attestlog.Actor{ID: "alice", Type: "user", Name: "Alice", Session: "S"}, Source: attestlog.Source{IP: "192.0.2.7", UserAgent: "x"},
				Targets: []attestlog.Target{{ID: "7", Type: "mail"}}, Request: attestlog.Request{ID: "R", Method: "GET", Path: "/mail/7", Status: 403, DurationUS: 2000},
				Attributes: map[string]any{
					"class_uid": 6003.0, "activity_id": 2.0, "activity_name": "Read", "time": 1772359200123.0, "status_id": 2.0, "status": "Failure",
					"actor": map[string]any{"user": map[string]any{"type_id": 1.0}}, "http_response": map[string]any{"code": 403.0}, "duration": 2.0,
					"metadata": map[string]any{"uid": "M", "product": map[string]any{"name": "p"}},
				},
			},
		},
		{
			"a sign-in without an actor", "ocsf",
			`{"class_uid":3002,"class_name":"Authentication","activity_id":1,"activity_name":"Logon","time":1772359200123,"status_id":1,"user":{"name":"bob","type_id":1}}`,
			attestlog.Event{
				Time: at, Action: "authentication.logon", Operation: "login", Outcome: attestlog.Success, Actor: attestlog.Actor{ID: "bob", Type: "user"},
				Attributes: map[string]any{
					"class_uid": 3002.0, "class_name": "Authentication", "activity_id": 1.0, "activity_name": "Logon", "time": 1772359200123.0, "status_id": 1.0,
					"user": map[string]any{"type_id": 1.0},
				},
			},
		},
		{
			"a hit with nested objects", "ecs",
			`{"_index":"i","_id":"1","_source":{"@timestamp":"2026-03-01T10:00:00.123Z","event":{"action":"user-login","category":["authentication"],"type":["start"],"outcome":"failure","duration":2000000},"user":{"id":"alice","target":{"id":"root"}},"source":{"ip":"192.0.2.7"},"url":{"path":"/login"},"service":{"name":"sshd"},"labels":{"a":"b"}}}`,
			attestlog.Event{
				Time: at, Service: "sshd", Action: "user-login", Operation: "login", Outcome: attestlog.Failure, Actor: attestlog.Actor{ID: "alice"},
				Source: attestlog.Source{IP: "192.0.2.7"}, Targets: []attestlog.Target{{ID: "root", Type: "user"}}, Request: attestlog.Request{Path: "/login", DurationUS: 2000},
				Attributes: map[string]any{
					"_hit":   map[string]any{"_index": "i", "_id": "1"},
					"event":  map[string]any{"category": []any{"authentication"}, "type": []any{"start"}, "duration": 2000000.0},
					"labels": map[string]any{"a": "b"},
				},
			},
		},
		{
			"dotted names", "ecs",
			`{"@timestamp":"2026-03-01T10:00:00.123Z","event.action":"x","event.type":"deletion","event.outcome":"success","user.id":"alice","user.name":"Alice","source.ip":"2001:db8::1","http.request.method":"GET","http.response.status_code":404,"trace.id":"t"}`,
			attestlog.Event{
				Time: at, Action: "x", Operation: "delete", Outcome: attestlog.Success, Actor: attestlog.Actor{ID: "alice", Name: "Alice"},
				Source: attestlog.Source{IP: "2001:db8::1"}, Request: attestlog.Request{Method: "GET", Status: 404}, Trace: attestlog.Trace{TraceID: "t"},
				Attributes: map[string]any{"event.type": "deletion", "http.response.status_code": 404.0},
			},
		},
		{
			"behind a syslog header", "cef",
			`<134>Mar  1 10:00:00 fw CEF:0|Vendor|Fire\|wall|1.0|100|worm stopped|10|src=192.0.2.7 suser=alice act=blocked dhost=db msg=a \= b\\c\nd request=http://x/?a\=b start=1772359200123 cs1=z cs1Label=zone externalId=E outcome=failure`,
			attestlog.Event{
				Time: at, Service: "Fire|wall", Action: "worm stopped", Outcome: attestlog.Failure, Actor: attestlog.Actor{ID: "alice"},
				Source: attestlog.Source{IP: "192.0.2.7"}, Targets: []attestlog.Target{{ID: "db", Type: "host"}}, Request: attestlog.Request{Path: "http://x/?a=b"},
				Message: "a = b\\c\nd",
				Attributes: map[string]any{
					"act": "blocked", "cs1": "z", "cs1Label": "zone", "externalId": "E",
					"cef": map[string]any{
						"before": "<134>Mar  1 10:00:00 fw", "version": "0", "vendor": "Vendor", "device_version": "1.0", "class": "100", "severity": "10",
					},
				},
			},
		},
		{
			"structured", "cloudevents",
			`{"specversion":"1.0","id":"1","source":"/webmail","type":"mail.viewed","subject":"mail/7","time":"2026-03-01T10:00:00.123Z","authtype":"service_account","authid":"ci","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","datacontenttype":"application/json","data":{"ip":"192.0.2.7","outcome":"success","x":1}}`,
			attestlog.Event{
				Time: at, Service: "/webmail", Action: "mail.viewed", Outcome: attestlog.Success, Actor: attestlog.Actor{ID: "ci", Type: "service"},
				Source: attestlog.Source{IP: "192.0.2.7"}, Targets: []attestlog.Target{{ID: "7", Type: "mail"}},
				Trace: attestlog.Trace{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7"},
				Attributes: map[string]any{
					"x": 1.0,
					"cloudevent": map[string]any{
						"specversion": "1.0", "id": "1", "authtype": "service_account", "datacontenttype": "application/json",
						"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
					},
				},
			},
		},
		{
			"data of this log's own schema", "cloudevents",
			`{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"id":"own","action":"mail.view","time":"2026-03-01T10:00:00.123Z","actor":{"id":"alice"},"attributes":{"folder":"inbox"}}}`,
			attestlog.Event{
				Time: at, Service: "s", Action: "mail.view", Actor: attestlog.Actor{ID: "alice"},
				Attributes: map[string]any{"folder": "inbox", "cloudevent": map[string]any{"specversion": "1.0", "id": "1", "type": "t", "dataid": "own"}},
			},
		},
		{
			"a table with a semicolon and a quoted line end", "csv",
			"time;user;action;note\r\n2026-03-01T10:00:00.123Z;alice;mail.view;\"a;b\r\nc\"\"d\";more\r\n",
			attestlog.Event{
				Time: at, Action: "mail.view", Actor: attestlog.Actor{ID: "alice"},
				Attributes: map[string]any{"note": "a;b\nc\"d", "column_5": "more"},
			},
		},
		{
			"a denial", "opa",
			`[{"labels":{"id":"b6"},"decision_id":"D","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","path":"shop/authz","input":{"user":{"id":"bob","roles":["a"]},"resource":"7","method":"GET"},"result":{"allow":false,"reason":"closed"},"requested_by":"192.0.2.7:34100","timestamp":"2026-03-01T10:00:00.123Z","metrics":{"timer_server_handler_ns":2118741},"req_id":2}]`,
			attestlog.Event{
				Time: at, Service: "opa", Action: "opa.shop.authz", Outcome: attestlog.Failure, Reason: "closed", Actor: attestlog.Actor{ID: "bob"},
				Source: attestlog.Source{IP: "192.0.2.7"}, Targets: []attestlog.Target{{ID: "7"}}, Request: attestlog.Request{ID: "D", Method: "GET", DurationUS: 2118},
				Trace: attestlog.Trace{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7"},
				Attributes: map[string]any{
					"labels": map[string]any{"id": "b6"}, "path": "shop/authz", "result": map[string]any{"allow": false}, "req_id": 2.0, "requested_by": "192.0.2.7:34100",
					"metrics": map[string]any{"timer_server_handler_ns": 2118741.0},
					"input":   map[string]any{"user": map[string]any{"id": "bob", "roles": []any{"a"}}, "resource": "7", "method": "GET"},
				},
			},
		},
		{
			"RFC 5424", "syslog",
			`<86>1 2026-03-01T10:00:00.123Z web1 sshd 4711 login [user@32473 uid="alice"] accepted`,
			attestlog.Event{
				Time: at, Service: "sshd", Action: "login", Actor: attestlog.Actor{ID: "alice"}, Source: attestlog.Source{Host: "web1"}, Message: "accepted",
				Attributes: map[string]any{"syslog": map[string]any{"facility": "authpriv", "severity": "info", "procid": "4711"}},
			},
		},
	} {
		t.Run(tt.format+" "+tt.name, func(t *testing.T) {
			got := read(t, tt.format, tt.in)
			if len(got) != 1 || len(got[0].Original) == 0 {
				t.Fatalf("Read = %d events", len(got))
			}
			e := got[0]
			if tt.want.ID == "" {
				if !strings.HasPrefix(e.ID, tt.format+":") {
					t.Errorf("id %q", e.ID)
				}
				e.ID = ""
			}
			e.Original = nil
			if diff := cmp.Diff(tt.want, e); diff != "" {
				t.Errorf("Read (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadersGoOnBehindBadRecords(t *testing.T) {
	const k8s = `{"auditID":"a","verb":"get"}`
	for _, tt := range []struct {
		format, in string
		want       string // "+" an event, "-" a refused record
	}{
		{"kubernetes", `{"kind":"EventList","items":[` + k8s + `,{"x":1},` + k8s + `]}`, "+-+"},
		{"kubernetes", `{"kind":"EventList","items":[]}`, ""},
		{"kubernetes", k8s + "\nnonsense\n" + k8s, "+-+"},
		{"otlp", `{}` + "\n" + `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":3},{"body":{"stringValue":"x"}}]}]}]}`, "--+"},
		{"otlp", `{"resourceLogs":[]}`, ""},
		{"otlp", `{"resourceLogs":7}`, "-"},
		{"ocsf", `[{"class_uid":1},{"a":1},{"class_uid":2}]`, "+-+"},
		{"ecs", `{"@timestamp":1}` + "\n7\n" + `{"event.kind":2}{"event":"x"}`, "+-+-"},
		{"cef", "CEF:0|a|b|c|d|e|1|\nCEF:0|a|b|c\nCEF:x|a|b|c|d|e|1|k=v\nCEF:0|a|b|c|d|e|1|no key\n\nCEF:1|a|b|c|d|e|1|k=v", "+--++"},
		{"cloudevents", `[{"specversion":"1.0","id":"1","source":"s","type":"t"},{"specversion":"0.3","id":"1","source":"s","type":"t"},{"specversion":"1.0"}]`, "+--"},
		{"opa", `[{"decision_id":"a"},{"level":"info"},{"path":"p"}]`, "+-+"},
		{"syslog", "<1>1 - - - - - -\n\n<34>Oct 11 22:14:15 h su: x\n", "++"},
		{"syslog", "16 <1>1 - - - - - -99999999 <1>1 - - - - - -", "+-"},
		{"csv", "a,b\n1,2\n\n\"3,4\n", "+-"},
		{"csv", "a,b\n", ""},
		{"csv", "", ""},
	} {
		for name, r := range map[string]io.Reader{"": strings.NewReader(tt.in), " byte by byte": iotest.OneByteReader(strings.NewReader(tt.in))} {
			got := ""
			for _, err := range readers[tt.format](r, "f") {
				var refused *convert.RecordError
				switch {
				case err == nil:
					got += "+"
				case errors.As(err, &refused) && refused.Source == "f" && refused.Line > 0:
					got += "-"
				default:
					t.Errorf("%s: %v", tt.format, err)
				}
			}
			if got != tt.want {
				t.Errorf("%s%s: Read(%q) = %q, want %q", tt.format, name, tt.in, got, tt.want)
			}
		}
	}
}

func TestReadersEndWithTheirReadersError(t *testing.T) {
	broken := errors.New("broken")
	for format, read := range readers {
		r := io.MultiReader(strings.NewReader("{\"a\":"), iotest.ErrReader(broken))
		var last error
		for _, err := range read(r, "f") {
			last = err
		}
		var refused *convert.RecordError
		if !errors.Is(last, broken) || errors.As(last, &refused) {
			t.Errorf("%s: %v, want %v", format, last, broken)
		}
	}
}

// Whatever a file holds, its records are refused or become events that a log
// accepts.
func FuzzReaders(f *testing.F) {
	for _, seed := range []string{
		`{"resourceLogs":[{"resource":{},"scopeLogs":[{"scope":{},"logRecords":[{"timeUnixNano":"1","attributes":[{"key":"a","value":{"intValue":"1"}}]}]}]}]}`,
		`{"kind":"EventList","items":[{"auditID":"a","sourceIPs":["1.2.3.4"],"objectRef":{}}]}`, "a,b;c\n\"1\",2\n", "CEF:0|a|b|c|d|e|1|k=v c6a2=::1",
		`{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"action":"a","actor":{"id":"b"}}}`, `{"class_uid":3002,"actor":{"user":[]},"user":{"name":"x"},"resources":[1,{}]}`,
		`{"_source":{"event":{"type":["start"],"category":"session"}}}`, "16 <1>1 - - - - - -3 <a>", `<1>1 - - - - - [a b="c"] {"user":1}`,
		`{"decision_id":"1","path":"a/b","input":{"subject":{"id":"x"}},"result":{"allowed":true},"requested_by":"[::1]:1","error":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range readers {
			for e, err := range read(bytes.NewReader(data), "f") {
				if err == nil {
					accepted(t, e)
				}
			}
		}
	})
}

// accepted checks that a log takes the event, and has room for its seals.
func accepted(t testing.TB, e attestlog.Event) {
	t.Helper()
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatalf("MarshalJSON: %v", err)
	}
	if _, err := attestlog.ParseEvent(data); err != nil {
		t.Fatalf("ParseEvent(%.300q): %v", data, err)
	}
	if strings.HasPrefix(e.Action, attestlog.ReservedPrefix) {
		t.Fatalf("action %q is reserved", e.Action)
	}

	e.Original = nil
	data, err = e.MarshalJSON()
	if err != nil {
		t.Fatalf("MarshalJSON: %v", err)
	}
	if max := attestlog.MaxLeaf - 4096; len(data) > max {
		t.Fatalf("event of %d bytes in clear, want at most %d", len(data), max)
	}
}
