package interop

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog/convert/otel"
	"github.com/attestlog/attestlog/internal/otlp"
)

func drawLogs(t *rapid.T) (logs plog.Logs, records int) {
	logs = plog.NewLogs()
	for range rapid.IntRange(0, 2).Draw(t, "resources") {
		rl := logs.ResourceLogs().AppendEmpty()
		drawMap(t, rl.Resource().Attributes(), "", 0)
		rl.Resource().SetDroppedAttributesCount(rapid.Uint32().Draw(t, "dropped of resource"))
		rl.SetSchemaUrl(rapid.String().Draw(t, "schema of resource"))
		for range rapid.IntRange(0, 2).Draw(t, "scopes") {
			sl := rl.ScopeLogs().AppendEmpty()
			sl.Scope().SetName(rapid.String().Draw(t, "scope"))
			sl.Scope().SetVersion(rapid.String().Draw(t, "version"))
			drawMap(t, sl.Scope().Attributes(), "", 0)
			sl.Scope().SetDroppedAttributesCount(rapid.Uint32().Draw(t, "dropped of scope"))
			sl.SetSchemaUrl(rapid.String().Draw(t, "schema of scope"))
			for range rapid.IntRange(0, 3).Draw(t, "records") {
				drawRecord(t, sl.LogRecords().AppendEmpty())
				records++
			}
		}
	}
	return logs, records
}

func drawRecord(t *rapid.T, record plog.LogRecord) {
	drawMap(t, record.Attributes(), "", 0)
	drawValue(t, record.Body(), 0)
	record.SetTimestamp(pcommon.Timestamp(rapid.Uint64().Draw(t, "time")))
	record.SetObservedTimestamp(pcommon.Timestamp(rapid.Uint64().Draw(t, "observed")))
	record.SetSeverityNumber(plog.SeverityNumber(rapid.Int32().Draw(t, "severity")))
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
}

// What the collector sends in protobuf is, as JSON, what the collector reads from
// JSON, and all of its records become events.
func TestOTLPProtobufIsTheSameAsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs, records := drawLogs(t)
		protobuf, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
		if err != nil {
			t.Fatal(err)
		}
		text, err := otlp.JSON(protobuf)
		if err != nil {
			t.Fatalf("JSON(%x): %v", protobuf, err)
		}
		back, err := (&plog.JSONUnmarshaler{DisallowUnknownFields: true}).UnmarshalLogs(text)
		if err != nil {
			t.Fatalf("JSON(%x) = %s: %v", protobuf, text, err)
		}
		again, err := (&plog.ProtoMarshaler{}).MarshalLogs(back)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(protobuf, again); diff != "" {
			t.Fatalf("JSON(%x) = %s (-want +got):\n%s", protobuf, text, diff)
		}
		if got, err := readAll(otel.Read, text); err != nil || len(got) != records {
			t.Fatalf("Read = %d events, %v, want %d: %s", len(got), err, records, text)
		}
	})
}

func TestOTLPResponseIsTheCollectors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rejected := rapid.OneOf(rapid.SampledFrom([]int64{0, 1, math.MaxInt64}), rapid.Int64Min(0)).Draw(t, "rejected")
		message := rapid.String().Draw(t, "message")
		for _, asJSON := range []bool{false, true} {
			text := otlp.Response(rejected, message, asJSON)
			got := plogotlp.NewExportResponse()
			decode := got.UnmarshalProto
			if asJSON {
				decode = got.UnmarshalJSON
			}
			if err := decode(text); err != nil {
				t.Fatalf("Response(%d, %q) = %q: %v", rejected, message, text, err)
			}
			if p := got.PartialSuccess(); p.RejectedLogRecords() != rejected || p.ErrorMessage() != message {
				t.Fatalf("Response(%d, %q) = %d, %q", rejected, message, p.RejectedLogRecords(), p.ErrorMessage())
			}
		}
	})
}
