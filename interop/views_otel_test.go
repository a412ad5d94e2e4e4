package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/attestlog/attestlog"
)

// auditAttributes are those that a record must have, and their values where the
// draft lists them: OTEP 0267, the audit signal's data model.
var auditAttributes = map[string][]string{
	"audit.record.id":  nil,
	"audit.actor.id":   nil,
	"audit.actor.type": {"user", "service", "system"},
	"audit.action":     nil,
	"audit.outcome":    {"success", "failure", "unknown"},
}

var traceIDs = map[string]*regexp.Regexp{"trace_id": regexp.MustCompile("^[0-9a-f]{32}$"), "span_id": regexp.MustCompile("^[0-9a-f]{16}$")}

func checkOTel(e *attestlog.Entry, text []byte) error {
	if _, err := object(text); err != nil {
		return err
	}
	logs, err := (&plog.JSONUnmarshaler{DisallowUnknownFields: true}).UnmarshalLogs(text)
	if err != nil {
		return fmt.Errorf("UnmarshalLogs: %w", err)
	}
	if logs.ResourceLogs().Len() != 1 || logs.LogRecordCount() != 1 {
		return fmt.Errorf("%d records of %d resources", logs.LogRecordCount(), logs.ResourceLogs().Len())
	}
	f := &findings{}
	record := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
	attributes := record.Attributes().AsRaw()
	if len(attributes) != record.Attributes().Len() {
		f.add("an attribute comes twice")
	}
	for name, values := range auditAttributes {
		got, _ := attributes[name].(string)
		if got == "" || values != nil && !slices.Contains(values, got) {
			f.add("%s is %#v, want one of %q", name, attributes[name], values)
		}
	}
	if record.EventName() != e.Action || record.SeverityNumber() != 0 || record.SeverityText() != "" || record.Body().AsString() != e.Message {
		f.add("event name %q, severity %v %q, body %q", record.EventName(), record.SeverityNumber(), record.SeverityText(), record.Body().AsString())
	}
	checkOTelTimes(f, e, record)
	ids := record.TraceID().String() + record.SpanID().String()
	for name, want := range map[string]string{"trace_id": e.Trace.TraceID, "span_id": e.Trace.SpanID} {
		// What is no id of W3C Trace Context is an attribute.
		got, isAttribute := attributes["attestlog."+name]
		switch isID := traceIDs[name].MatchString(want) && strings.Trim(want, "0") != ""; {
		case isID && (isAttribute || !strings.Contains(ids, want)), !isID && want != "" && got != want, want == "" && isAttribute:
			f.add("%s %q is %q, or the attribute %v", name, want, ids, got)
		}
	}
	again, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	if err != nil {
		return err
	}
	var want, back any
	if err := errors.Join(json.Unmarshal(text, &want), json.Unmarshal(again, &back)); err != nil {
		return err
	}
	if diff := cmp.Diff(withoutDefaults(want), withoutDefaults(back)); diff != "" {
		f.add("the collector writes something else (-want +got):\n%s", diff)
	}
	return f.err()
}

// checkOTelTimes allows for times that OTLP cannot say: a zero is an unknown one,
// and before it there is none.
func checkOTelTimes(f *findings, e *attestlog.Entry, record plog.LogRecord) {
	at, observed := record.Timestamp(), record.ObservedTimestamp()
	if at > observed {
		f.add("the time %v is after the observed %v", at.AsTime(), observed.AsTime())
	}
	if epoch := time.Unix(0, 0); e.Time.After(epoch) && !at.AsTime().Equal(e.Time) || !e.Time.After(epoch) && at != 0 {
		f.add("the time is %v, want %v", at.AsTime(), e.Time)
	}
}

// withoutDefaults leaves out what JSON Protobuf Encoding may leave out: empty
// lists, keys, and messages that are not an AnyValue.
func withoutDefaults(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withoutDefaults(v[i])
		}
	case map[string]any:
		for name, of := range v {
			of = withoutDefaults(of)
			v[name] = of
			list, isList := of.([]any)
			message, isMessage := of.(map[string]any)
			if isList && len(list) == 0 || name == "key" && of == "" || isMessage && len(message) == 0 && slices.Contains([]string{"resource", "scope", "body"}, name) {
				delete(v, name)
			}
		}
	}
	return v
}
