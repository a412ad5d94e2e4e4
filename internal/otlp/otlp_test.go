package otlp_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestlog/attestlog/convert/otel"
	"github.com/attestlog/attestlog/internal/otlp"
)

func ExampleJSON() {
	request, err := hex.DecodeString("0a1b" + "1219" + "1217" + "2a030a0178" + "4a10d0280000000000000000000000000001")
	if err != nil {
		panic(err)
	}
	text, err := otlp.JSON(request)
	fmt.Printf("%s %v\n", text, err)
	// Output: {"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"},"traceId":"d0280000000000000000000000000001"}]}]}]} <nil>
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ofBody is a request of one record.
func ofBody(body *common.AnyValue) *logs.LogsData {
	return &logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{ScopeLogs: []*logs.ScopeLogs{{LogRecords: []*logs.LogRecord{{Body: body}}}}}}}
}

func text(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
}

func list(values ...*common.AnyValue) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: &common.ArrayValue{Values: values}}}
}

func TestJSONOfValues(t *testing.T) {
	double := func(f float64) *common.AnyValue {
		return &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: f}}
	}
	kvlist := &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: []*common.KeyValue{{Key: "k", Value: text("v")}, {}}}}}
	for _, tt := range []struct {
		body *common.AnyValue
		want string
	}{
		{&common.AnyValue{}, `{}`},
		{text(""), `{"stringValue":""}`},
		{text("é\"\\\n\x00\u2028</"), `{"stringValue":"é\"\\\n\u0000` + "\u2028" + `</"}`},
		{&common.AnyValue{Value: &common.AnyValue_BoolValue{}}, `{"boolValue":false}`},
		{&common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: math.MinInt64}}, `{"intValue":"-9223372036854775808"}`},
		{&common.AnyValue{Value: &common.AnyValue_BytesValue{BytesValue: []byte{1, 2, 3, 4}}}, `{"bytesValue":"AQIDBA=="}`},
		{double(0), `{"doubleValue":0}`},
		{double(math.Copysign(0, -1)), `{"doubleValue":-0}`},
		{double(1e300), `{"doubleValue":1e+300}`},
		{double(math.NaN()), `{"doubleValue":"NaN"}`},
		{double(math.Inf(-1)), `{"doubleValue":"-Infinity"}`},
		{list(), `{"arrayValue":{}}`},
		{list(text("a"), &common.AnyValue{}), `{"arrayValue":{"values":[{"stringValue":"a"},{}]}}`},
		{kvlist, `{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}},{}]}}`},
	} {
		got, err := otlp.JSON(marshal(t, ofBody(tt.body)))
		want := `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":` + tt.want + `}]}]}]}`
		if err != nil || string(got) != want || !json.Valid(got) {
			t.Errorf("JSON(%v) = %s, %v, want %s", tt.body, got, err, want)
		}
	}
}

func TestJSONOfRecords(t *testing.T) {
	full := &logs.LogsData{ResourceLogs: []*logs.ResourceLogs{
		{
			Resource: &resource.Resource{Attributes: []*common.KeyValue{{Key: "service.name", Value: text("webmail")}}, DroppedAttributesCount: math.MaxUint32},
			ScopeLogs: []*logs.ScopeLogs{{Scope: &common.InstrumentationScope{Name: "n", Version: "v"}, SchemaUrl: "u", LogRecords: []*logs.LogRecord{{
				TimeUnixNano: math.MaxUint64, ObservedTimeUnixNano: 1, SeverityNumber: logs.SeverityNumber_SEVERITY_NUMBER_INFO, SeverityText: "INFO",
				Flags: 1, TraceId: bytes.Repeat([]byte{0xab}, 16), SpanId: bytes.Repeat([]byte{1}, 8), EventName: "e",
			}, {}}}},
		},
		{},
	}}
	const want = `{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"webmail"}}],"droppedAttributesCount":4294967295},` +
		`"scopeLogs":[{"scope":{"name":"n","version":"v"},"logRecords":[{"timeUnixNano":"18446744073709551615","observedTimeUnixNano":"1","severityNumber":9,"severityText":"INFO","flags":1,` +
		`"traceId":"abababababababababababababababab","spanId":"0101010101010101","eventName":"e"},{}],"schemaUrl":"u"}]},{}]}`
	got, err := otlp.JSON(marshal(t, full))
	if err != nil || string(got) != want {
		t.Errorf("JSON = %s, %v, want %s", got, err, want)
	}
	events := 0
	for _, err := range otel.Read(bytes.NewReader(got), "") {
		if events++; err != nil {
			t.Error(err)
		}
	}
	if events != 2 {
		t.Errorf("convert/otel reads %d events, want 2", events)
	}
	if got, err := otlp.JSON(nil); err != nil || string(got) != `{"resourceLogs":[]}` {
		t.Errorf("JSON of no bytes = %s, %v", got, err)
	}
}

func TestJSONRefuses(t *testing.T) {
	nested := func(n int) []byte {
		v := text("x")
		for range n {
			v = list(v)
		}
		return marshal(t, ofBody(v))
	}
	const most = (otlp.MaxDepth - 5) / 2
	record := func(fields string) []byte {
		b := []byte(fields)
		for _, tag := range []byte{0x12, 0x12, 0x0a} {
			b = append([]byte{tag, byte(len(b))}, b...)
		}
		return b
	}
	inParts := append([]byte("\x0a\x00"), bytes.Repeat([]byte("\x0a\x02\x10\x01"), 1000)...) // a ResourceLogs of a thousand resources
	inParts = append([]byte{0x0a, byte(len(inParts)&0x7f | 0x80), byte(len(inParts) >> 7)}, inParts...)
	for _, tt := range []struct {
		name string
		in   []byte
		err  error
	}{
		{"a list as deep as may be", nested(most), nil},
		{"a list too deep", nested(most + 1), otlp.ErrMalformed},
		{"text that is not UTF-8", record("\x1a\x02\xc3\x28"), otlp.ErrMalformed},
		{"overridden text that is not UTF-8", record("\x1a\x02\xc3\x28\x1a\x01a"), otlp.ErrMalformed},
		{"an overridden value that is malformed", record("\x2a\x04\x2a\x01\xff\x10\x2a\x02\x10\x01"), otlp.ErrMalformed},
		{"a length beyond the end", []byte("\x0a\x05ab"), otlp.ErrMalformed},
		{"a message in parts that are halves", record("\x2a\x03\x0a\x05a\x2a\x04bcde"), otlp.ErrMalformed},
		{"a message in too many parts", inParts, otlp.ErrMalformed},
		{"text of another kind", []byte(`{"resourceLogs":[]}`), otlp.ErrMalformed},
		{"a long request", marshal(t, ofBody(text(strings.Repeat("\x00", otlp.MaxJSON/6)))), otlp.ErrTooLarge},
	} {
		if got, err := otlp.JSON(tt.in); !errors.Is(err, tt.err) || (err == nil) != (got != nil) {
			t.Errorf("%s: JSON = %.100s, %v, want %v", tt.name, got, err, tt.err)
		}
	}
}

// What comes last wins, and messages in parts are one (protobuf.dev, "Encoding").
func TestJSONMergesAsProtobufDoes(t *testing.T) {
	parts := bytes.Join([][]byte{
		marshal(t, &logs.LogRecord{SeverityText: "a", Body: list(text("1"))}),
		marshal(t, &logs.LogRecord{SeverityText: "b", Body: list(text("2"))}),
		marshal(t, &logs.LogRecord{Attributes: []*common.KeyValue{{Key: "k"}}}),
	}, nil)
	merged := &logs.LogRecord{}
	if err := proto.Unmarshal(parts, merged); err != nil {
		t.Fatal(err)
	}
	whole := marshal(t, merged)
	request := func(record []byte) string {
		for _, tag := range []byte{0x12, 0x12, 0x0a} {
			record = append([]byte{tag, byte(len(record))}, record...)
		}
		got, err := otlp.JSON(record)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	if got, want := request(parts), request(whole); got != want || !strings.Contains(got, `"severityText":"b","body":{"arrayValue":{"values":[{"stringValue":"1"},{"stringValue":"2"}]}}`) {
		t.Errorf("JSON = %s, want %s", got, want)
	}
}

// JSON takes what protobuf's own decoder takes, to the same end, and is never
// much longer than what it was given.
func FuzzJSON(f *testing.F) {
	f.Add(marshal(f, ofBody(list(text("a"), list(), &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: 7}}))))
	f.Add([]byte("\x0a\x1b\x12\x19\x12\x17\x2a\x03\x0a\x01x\x4a\x10\xd0\x28\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte("\x0a\x08\x0a\x02\x10\x01\x0a\x02\x10\x02"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := otlp.JSON(in)
		if len(got) > 10*len(in)+64 {
			t.Errorf("%d bytes of JSON from %d", len(got), len(in))
		}
		decoded := &logs.LogsData{}
		decodeErr := proto.Unmarshal(in, decoded)
		if err != nil {
			if decodeErr == nil && !strings.Contains(err.Error(), "deep") && !strings.Contains(err.Error(), "parts") {
				t.Errorf("JSON(%x) = %v", in, err)
			}
			return
		}
		if decodeErr != nil {
			t.Fatalf("JSON(%x) = %s, but proto.Unmarshal: %v", in, got, decodeErr)
		}
		if !json.Valid(got) {
			t.Errorf("JSON(%x) = %s", in, got)
		}
		again, err := otlp.JSON(marshal(t, decoded))
		if err != nil || !bytes.Equal(got, again) {
			t.Errorf("JSON(%x) = %s, and of it decoded and encoded %s, %v", in, got, again, err)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	var records []*logs.LogRecord
	for i := range 1000 {
		r := &logs.LogRecord{TimeUnixNano: uint64(i), Body: text("a message"), TraceId: make([]byte, 16)}
		for k := range 10 {
			r.Attributes = append(r.Attributes, &common.KeyValue{Key: fmt.Sprintf("some.attribute.%d", k), Value: text("value")})
		}
		records = append(records, r)
	}
	for name, in := range map[string][]byte{
		"records": marshal(b, &logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{ScopeLogs: []*logs.ScopeLogs{{LogRecords: records}}}}}),
		"empty":   bytes.Repeat([]byte("\x0a\x00"), 1<<18),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := otlp.JSON(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestResponseSaysNothingOfFullSuccess(t *testing.T) {
	if got := otlp.Response(0, "", false); len(got) != 0 {
		t.Errorf("Response = %x", got)
	}
	if got := otlp.Response(0, "", true); string(got) != "{}" {
		t.Errorf("Response = %s", got)
	}
	if got, want := otlp.Response(2, "\"\xff\n", true), `{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"\"`+"\ufffd"+`\n"}}`; string(got) != want {
		t.Errorf("Response = %s, want %s", got, want)
	}
	if got, want := otlp.Response(2, "no", false), "\x0a\x06\x08\x02\x12\x02no"; string(got) != want {
		t.Errorf("Response = %q, want %q", got, want)
	}
}
