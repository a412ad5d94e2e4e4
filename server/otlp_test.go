package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
)

// auditRecord is a record of OTEP 0267, with attributes changed or, where empty,
// left out.
func auditRecord(id string, change map[string]string) *logspb.LogRecord {
	attributes := map[string]string{
		"audit.record.id": id, "audit.actor.id": "alice", "audit.actor.type": "user", "audit.action": "READ", "audit.outcome": "success",
	}
	for name, v := range change {
		attributes[name] = v
	}
	r := &logspb.LogRecord{TimeUnixNano: 1772359200123000000, ObservedTimeUnixNano: 1772359200123000000, EventName: "mail.viewed"}
	for name, v := range attributes {
		if v != "" {
			r.Attributes = append(r.Attributes, &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}})
		}
	}
	return r
}

func exportOf(t *testing.T, records ...*logspb.LogRecord) string {
	t.Helper()
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{ScopeLogs: []*logspb.ScopeLogs{{LogRecords: records}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

type auditAnswer struct {
	Status  string
	Records map[string]struct {
		RecordID      string `json:"record_id"`
		Status        string
		IntegrityHash string `json:"integrity_hash"`
		SinkTimestamp string `json:"sink_timestamp"`
		Index         uint64
	} `json:"record_status_map"`
}

func TestAuditRecordsGetReceiptsOrNone(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	protobuf := []string{"Content-Type", "application/x-protobuf"}
	a, b := auditRecord("r1", nil), auditRecord("r2", map[string]string{"audit.target.id": "7", "audit.target.type": "mail"})
	var first, again auditAnswer
	s.post("/v1/audit", token, exportOf(t, a, b), protobuf...).into(t, 200, &first)
	s.post("/ingest/default/v1/audit", token, exportOf(t, a, b), protobuf...).into(t, 200, &again)
	if fmt.Sprint(first) != fmt.Sprint(again) || len(first.Records) != 2 || first.Status != "delivered_all_sinks" {
		t.Errorf("receipts %+v, and again %+v", first, again)
	}
	e, err := s.log.Entry(t.Context(), first.Records["r2"].Index)
	if err != nil || e.ID != "r2" || e.Action != "mail.viewed" || e.Operation != "read" || e.Actor.ID != "alice" || e.Outcome != attestlog.Success ||
		fmt.Sprint(e.Targets) != "[{7 mail }]" || first.Records["r2"].SinkTimestamp != fmt.Sprint(e.LoggedTime.UnixNano()) {
		t.Errorf("the entry is %+v, %v", e.Event, err)
	}
	size := s.size()
	for what, test := range map[string]struct {
		record *logspb.LogRecord
		status int
		says   string
	}{
		"other content":   {auditRecord("r1", map[string]string{"audit.outcome": "failure"}), 409, "other content"},
		"no id":           {auditRecord("", nil), 400, "audit.record.id"},
		"no actor":        {auditRecord("r3", map[string]string{"audit.actor.id": ""}), 400, "audit.actor.id"},
		"an odd type":     {auditRecord("r3", map[string]string{"audit.actor.type": "robot"}), 400, "audit.actor.type"},
		"no action":       {auditRecord("r3", map[string]string{"audit.action": ""}), 400, "audit.action"},
		"an odd outcome":  {auditRecord("r3", map[string]string{"audit.outcome": "maybe"}), 400, "audit.outcome"},
		"without outcome": {auditRecord("r3", map[string]string{"audit.outcome": ""}), 400, "audit.outcome"},
	} {
		got := s.post("/v1/audit", token, exportOf(t, auditRecord("new", nil), test.record), protobuf...)
		if got.StatusCode != test.status || !strings.Contains(string(got.body), test.says) {
			t.Errorf("%s: %d %q, want %d and %q", what, got.StatusCode, got.body, test.status, test.says)
		}
		if got := s.size(); got != size {
			t.Errorf("%s: the log has %d entries, had %d: a part of the request was stored", what, got, size)
		}
	}
}

func TestLogsAreAnsweredInTheirEncoding(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	record := auditRecord("", nil)
	for _, test := range []struct {
		name, path, kind, body string
		status                 int
		check                  func(body []byte) bool
	}{
		{"protobuf", "/v1/logs", "application/x-protobuf", exportOf(t, record), 200, func(b []byte) bool { return len(b) == 0 }},
		{"JSON", "/v1/logs", "application/json", `{"resourceLogs":[]}`, 200, func(b []byte) bool { return string(b) == "{}" }},
		{"a part of it", "/v1/logs", "application/json", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":7},{"body":{"stringValue":"x"}}]}]}]}`, 200, func(b []byte) bool {
			var got struct {
				PartialSuccess struct{ RejectedLogRecords, ErrorMessage string }
			}
			return json.Unmarshal(b, &got) == nil && got.PartialSuccess.RejectedLogRecords == "1" && strings.Contains(got.PartialSuccess.ErrorMessage, "attributes")
		}},
		{"no protobuf", "/v1/logs", "application/x-protobuf", "\xff", 400, func(b []byte) bool {
			number, kind, n := protowire.ConsumeTag(b)
			return n > 0 && number == 2 && kind == protowire.BytesType // google.rpc.Status.message
		}},
		{"no JSON", "/v1/logs", "application/json", `{"a":1}`, 200, func(b []byte) bool { return strings.Contains(string(b), `"rejectedLogRecords":"1"`) }},
	} {
		got := s.post(test.path, token, test.body, "Content-Type", test.kind)
		if got.StatusCode != test.status || got.Header.Get("Content-Type") != test.kind || !test.check(got.body) {
			t.Errorf("%s: %d %s %q", test.name, got.StatusCode, got.Header.Get("Content-Type"), got.body)
		}
	}
	if a := s.post("/v1/logs", "", exportOf(t, record), "Content-Type", "application/x-protobuf"); a.StatusCode != 401 || a.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a token: %d", a.StatusCode)
	}
}

// What has a time is the same when it is sent again; what has none may have
// happened twice.
func TestRecordsWithoutATimeAreNotOne(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	for _, test := range []struct {
		path, body string
		want       uint64 // of three requests
	}{
		{"/v1/logs", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}`, 3},
		{"/v1/logs", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1772359200123000000","body":{"stringValue":"x"}}]}]}]}`, 1},
		{"/ingest/default/json", `{"what":"login"}`, 3},
		{"/ingest/default/cloudevents", `{"specversion":"1.0","id":"1","source":"s","type":"t"}`, 1},
		{"/ingest/default/kubernetes", `{"auditID":"a","verb":"get"}`, 1},
	} {
		before := s.size()
		for range 3 {
			if a := s.post(test.path, token, test.body, "Content-Type", map[bool]string{true: "application/cloudevents+json", false: "application/json"}[strings.HasSuffix(test.path, "events")]); a.StatusCode != 200 {
				t.Errorf("%s: %d %s", test.path, a.StatusCode, a.body)
			}
		}
		if got := s.size() - before; got != test.want {
			t.Errorf("%s %s three times: %d entries, want %d", test.path, test.body, got, test.want)
		}
	}
}

func TestAMappingFindsFields(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	const body = `{"what":"order.paid","who":{"login":"carol"},"when":1772359200,"on":"order/9","ok":"yes","result":"denied","where":"192.0.2.7","org":"acme"}`
	const mapping = "map=action:what&map=actor:who.login&map=time:when&map=target:on&map=outcome:result&map=ip:where&map=tenant:org"
	var first, again struct{ Receipts []struct{ Index uint64 } }
	s.post("/ingest/default/json?"+mapping, token, body, "Idempotency-Key", "k").into(t, 200, &first)
	s.post("/ingest/default/json?"+mapping, token, body, "Idempotency-Key", "k").into(t, 200, &again)
	e, err := s.log.Entry(t.Context(), first.Receipts[0].Index)
	if err != nil || e.Action != "order.paid" || e.Actor.ID != "carol" || e.Time.Unix() != 1772359200 || fmt.Sprint(e.Targets) != "[{9 order }]" ||
		e.Outcome != attestlog.Failure || e.Source.IP != "192.0.2.7" || e.Tenant != "acme" || string(e.Original) != body {
		t.Errorf("the entry is %+v, %v", e.Event, err)
	}
	if again.Receipts[0].Index != first.Receipts[0].Index {
		t.Errorf("with the same key: entries %d and %d", first.Receipts[0].Index, again.Receipts[0].Index)
	}
	for _, bad := range []string{"map=x:y", "map=actor", "map=actor:", "map=:y"} {
		if a := s.post("/ingest/default/json?"+bad, token, body); a.StatusCode != 400 || !strings.Contains(string(a.body), "FIELD:PATH") {
			t.Errorf("%s: %d %s", bad, a.StatusCode, a.body)
		}
	}
}
