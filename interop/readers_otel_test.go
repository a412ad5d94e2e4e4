package interop

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/otel"
)

// drawValue fills an AnyValue of any kind.
func drawValue(t *rapid.T, to pcommon.Value, depth int) {
	switch kind := rapid.IntRange(0, 7).Draw(t, "kind"); {
	case kind == 0: // empty
	case kind == 1:
		to.SetBool(rapid.Bool().Draw(t, "bool"))
	case kind == 2:
		to.SetInt(rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, -1, 1<<53 - 1, 1 << 53, 1<<53 + 1, -1<<53 - 1, math.MinInt64, math.MaxInt64})).Draw(t, "int"))
	case kind == 3:
		to.SetDouble(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 1, 1e21, 1 << 53, math.MaxFloat64})).Draw(t, "double"))
	case kind == 4:
		to.SetEmptyBytes().FromRaw(rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "bytes"))
	case kind == 5 && depth < 3:
		list := to.SetEmptySlice()
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			drawValue(t, list.AppendEmpty(), depth+1)
		}
	case kind == 6 && depth < 3:
		drawMap(t, to.SetEmptyMap(), "", depth+1)
	default:
		to.SetStr(rapid.String().Draw(t, "text"))
	}
}

func drawMap(t *rapid.T, to pcommon.Map, prefix string, depth int) {
	for range rapid.IntRange(0, 3).Draw(t, "members") {
		drawValue(t, to.PutEmpty(prefix+rapid.String().Draw(t, "key")), depth)
	}
}

// Attributes whose names begin with x have no field.
func TestOTLPOfAnyRecordIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs := plog.NewLogs()
		rl := logs.ResourceLogs().AppendEmpty()
		drawMap(t, rl.Resource().Attributes(), "x", 0)
		rl.Resource().SetDroppedAttributesCount(rapid.Uint32().Draw(t, "dropped of resource"))
		rl.SetSchemaUrl(rapid.SampledFrom([]string{"", "https://example.com/r"}).Draw(t, "schema of resource"))
		sl := rl.ScopeLogs().AppendEmpty()
		sl.Scope().SetName(rapid.String().Draw(t, "scope"))
		sl.Scope().SetVersion(rapid.String().Draw(t, "version"))
		drawMap(t, sl.Scope().Attributes(), "x", 0)
		sl.SetSchemaUrl(rapid.SampledFrom([]string{"", "https://example.com/s"}).Draw(t, "schema of scope"))
		record := sl.LogRecords().AppendEmpty()
		drawMap(t, record.Attributes(), "x", 0)
		drawValue(t, record.Body(), 0)
		record.SetTimestamp(pcommon.Timestamp(rapid.Uint64Range(0, math.MaxInt64).Draw(t, "time")))
		record.SetObservedTimestamp(pcommon.Timestamp(rapid.Uint64Range(0, math.MaxInt64).Draw(t, "observed")))
		record.SetSeverityNumber(plog.SeverityNumber(rapid.Int32Range(0, 24).Draw(t, "severity")))
		record.SetSeverityText(rapid.String().Draw(t, "severity text"))
		record.SetFlags(plog.LogRecordFlags(rapid.Uint32().Draw(t, "flags")))
		record.SetDroppedAttributesCount(rapid.Uint32().Draw(t, "dropped"))
		record.SetEventName(rapid.String().Draw(t, "event name"))
		var trace [16]byte
		var span [8]byte
		binary.BigEndian.PutUint64(trace[8:], rapid.Uint64().Draw(t, "trace"))
		binary.BigEndian.PutUint64(span[:], rapid.Uint64().Draw(t, "span"))
		record.SetTraceID(trace)
		record.SetSpanID(span)
		checkOTLPRead(t, logs)
	})
}

func checkOTLPRead(t *rapid.T, logs plog.Logs) {
	text, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(otel.Read, text)
	if err != nil || len(got) != 1 {
		t.Fatalf("Read = %d events, %v", len(got), err)
	}
	e := got[0]
	back, err := (&plog.JSONUnmarshaler{DisallowUnknownFields: true}).UnmarshalLogs(e.Original)
	if err != nil {
		t.Fatalf("original: %v", err)
	}
	again, err := (&plog.JSONMarshaler{}).MarshalLogs(back)
	if err != nil || string(again) != string(text) {
		t.Fatalf("original = %s, %v, want %s", again, err, text)
	}
	rl := logs.ResourceLogs().At(0)
	sl := rl.ScopeLogs().At(0)
	record := sl.LogRecords().At(0)
	want := attestlog.Event{
		Action: record.EventName(), Time: record.Timestamp().AsTime(), Trace: attestlog.Trace{TraceID: record.TraceID().String(), SpanID: record.SpanID().String()},
	}
	attributes := record.Attributes().AsRaw()
	put := func(to map[string]any, name string, v any) {
		if v != "" && v != int64(0) {
			to[name] = v
		}
	}
	observed := strconv.FormatUint(uint64(record.ObservedTimestamp()), 10)
	switch {
	case record.Timestamp() == 0 && observed == "0":
		want.Time = time.Time{}
	case record.Timestamp() == 0:
		want.Time = record.ObservedTimestamp().AsTime()
	case observed != "0":
		attributes["observedTimeUnixNano"] = observed
	}
	if want.Action == "" {
		want.Action = "log"
	}
	if record.Body().Type() == pcommon.ValueTypeStr {
		want.Message = record.Body().Str()
	} else if record.Body().Type() != pcommon.ValueTypeEmpty {
		attributes["body"] = record.Body().AsRaw()
	}
	put(attributes, "severityNumber", int64(record.SeverityNumber()))
	put(attributes, "severityText", record.SeverityText())
	put(attributes, "flags", int64(record.Flags()))
	put(attributes, "droppedAttributesCount", int64(record.DroppedAttributesCount()))
	resource, scope := map[string]any{}, map[string]any{}
	put(resource, "droppedAttributesCount", int64(rl.Resource().DroppedAttributesCount()))
	put(resource, "schemaUrl", rl.SchemaUrl())
	put(scope, "name", sl.Scope().Name())
	put(scope, "version", sl.Scope().Version())
	put(scope, "schemaUrl", sl.SchemaUrl())
	for name, part := range map[string]struct {
		members map[string]any
		of      pcommon.Map
	}{"resource": {resource, rl.Resource().Attributes()}, "scope": {scope, sl.Scope().Attributes()}} {
		if part.of.Len() > 0 {
			part.members["attributes"] = part.of.AsRaw()
		}
		if len(part.members) > 0 {
			attributes[name] = part.members
		}
	}
	if len(attributes) == 0 {
		attributes = nil
	}
	if diff := cmp.Diff(plain(attributes), plain(e.Attributes)); diff != "" {
		t.Fatalf("attributes (-want +got):\n%s\n%s", diff, text)
	}
	e.ID, e.Original, e.Attributes = "", nil, nil
	if diff := cmp.Diff(want, e); diff != "" {
		t.Fatalf("the event (-want +got):\n%s\n%s", diff, text)
	}
}

// The names of the audit draft and of the semantic conventions find their fields;
// numbers and what does not fit stay.
func TestOTLPAttributesFindTheirFields(t *testing.T) {
	logs := plog.NewLogs()
	rl := logs.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "webmail")
	record := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetTimestamp(pcommon.NewTimestampFromTime(moment))
	if err := record.Attributes().FromRaw(map[string]any{
		"audit.record.id": "r1", "audit.actor.id": "alice", "audit.actor.type": "service", "audit.action": "READ", "audit.outcome": "failure", "audit.target.id": "7", "audit.target.type": "mail",
		"client.address": "192.0.2.7", "user.name": "Alice", "session.id": "s", "user_agent.original": "curl/8", "http.request.method": "GET", "url.path": "/mail/7", "http.route": "/mail/{id}",
		"http.response.status_code": int64(403), "event.name": "mail.view", "error.message": "denied", "other": []any{"x", int64(1) << 60},
	}); err != nil {
		t.Fatal(err)
	}
	text, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(otel.Read, text)
	if err != nil || len(got) != 1 {
		t.Fatalf("Read = %d events, %v", len(got), err)
	}
	got[0].Original = nil
	if diff := cmp.Diff(attestlog.Event{
		ID: "r1", Time: moment, Service: "webmail", Action: "mail.view", Operation: "read", Outcome: attestlog.Failure, Reason: "denied",
		Actor: attestlog.Actor{ID: "alice", Type: "service", Name: "Alice", Session: "s"}, Source: attestlog.Source{IP: "192.0.2.7", UserAgent: "curl/8"}, Targets: []attestlog.Target{{ID: "7", Type: "mail"}},
		Request:    attestlog.Request{Method: "GET", Path: "/mail/7", Route: "/mail/{id}", Status: 403},
		Attributes: map[string]any{"audit.action": "READ", "http.response.status_code": 403.0, "other": []any{"x", json.Number("1152921504606846976")}},
	}, got[0]); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
}
