package cloudevents

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Format starts the records' ids.
const Format = "cloudevents"

// Attribute holds the context attributes that have no field.
const Attribute = "cloudevent"

// Read is a convert.Reader of events in the JSON format, one after the other or
// in batches. An event becomes one of the log's as follows, and its exact bytes
// are the original.
//
//	action    type
//	time      time
//	service   source
//	targets   subject, as type/id where it has a slash
//	actor     authid and authtype (the auth context extension), or from the data
//	trace     traceparent
//
// Data that is an event of this log's own schema is taken as that; of any other
// JSON object, members find their fields by convert.Named. What else there is in
// the context stands in attributes.cloudevent, what else is in the data in the
// attributes, or under "data" if it is no object.
//
// Ids are those of convert.IDs, without the source: an event carries its own
// identity, and an equal one is the same one, delivered again.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewIDs(Format, "")
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(read(raw, ids))
	})
}

func read(raw []byte, ids *convert.IDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	for _, name := range [...]string{"specversion", "id", "source", "type"} { // CloudEvents 1.0.2, "REQUIRED Attributes"
		if o.Text(name) == "" {
			return attestlog.Event{}, fmt.Errorf("not a CloudEvent: no %s", name)
		}
	}
	if v := o.Text("specversion"); !strings.HasPrefix(v, "1.") {
		return attestlog.Event{}, fmt.Errorf("a CloudEvent of specversion %q, not 1.0", v)
	}
	data, native := payload(o)
	e := native
	e.ID, e.Original = ids.Next(raw), raw
	if e.Action == "" {
		e.Action = o.Take("type")
	}
	if at, err := time.Parse(time.RFC3339, o.Text("time")); err == nil && !at.IsZero() && e.Time.IsZero() {
		e.Time = at
		o.Take("time")
	}
	if e.Service == "" {
		e.Service = o.Take("source")
	}
	context(&e, o)
	if len(o) > 0 {
		if _, taken := data[Attribute]; taken {
			data = map[string]any{"data": map[string]any(data)}
		}
		data[Attribute] = map[string]any(o)
	}
	convert.Named(&e, data)
	convert.Bound(&e)
	return e, nil
}

// payload takes the data out of an event: as an event of this log's schema, or
// else as an object whose members are looked at.
func payload(o convert.Object) (data convert.Object, native attestlog.Event) {
	defer delete(o, "data")
	switch v := o["data"].(type) {
	case map[string]any:
		if raw, err := json.Marshal(v); err == nil {
			if e, err := attestlog.ParseEvent(raw); err == nil {
				rest := convert.Object(e.Attributes)
				if rest == nil {
					rest = convert.Object{}
				}
				if e.ID != "" {
					o["dataid"] = e.ID
				}
				e.Attributes = nil
				return rest, e
			}
		}
		return v, native
	case nil:
		return convert.Object{}, native
	default:
		return convert.Object{"data": v}, native
	}
}

// authTypes are those of the auth context extension.
var authTypes = map[string]string{
	"app_user": "user", "user": "user", "service_account": "service", "api_key": "service", "system": "system", "unauthenticated": "anonymous",
}

func context(e *attestlog.Event, o convert.Object) {
	if e.Actor.ID == "" {
		e.Actor.ID = o.Take("authid")
		if t := authTypes[o.Text("authtype")]; t != "" {
			e.Actor.Type = t
		}
		if e.Actor.ID == "" && e.Actor.Type == "anonymous" {
			e.Actor.ID = "anonymous"
		}
	}
	if subject := o.Text("subject"); subject != "" && len(e.Targets) == 0 {
		t := attestlog.Target{ID: o.Take("subject")}
		if kind, id, ok := strings.Cut(t.ID, "/"); ok && kind != "" && id != "" {
			t.Type, t.ID = kind, id
		}
		e.Targets = []attestlog.Target{t}
	}
	// 00-TRACE-SPAN-FLAGS (W3C Trace Context)
	if parts := strings.Split(o.Text("traceparent"), "-"); len(parts) == 4 && len(parts[1]) == 32 && len(parts[2]) == 16 && e.Trace.TraceID == "" {
		e.Trace = attestlog.Trace{TraceID: parts[1], SpanID: parts[2]}
	}
}

// Structured returns the event that an HTTP request has in binary mode as one in
// the JSON format: context attributes in ce- headers, whose values are
// percent-encoded (HTTP Protocol Binding, Section 3.1). header has the
// canonical names of net/http.
func Structured(header map[string][]string, body []byte) ([]byte, error) {
	const prefix = "Ce-"
	o := map[string]any{}
	for name, values := range header {
		attribute, ok := strings.CutPrefix(name, prefix)
		if !ok || len(values) == 0 {
			continue
		}
		text, err := unescape(values[0])
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		o[strings.ToLower(attribute)] = text
	}
	if len(o) == 0 {
		return nil, errors.New("not a CloudEvent: no ce- headers")
	}
	contentType := ""
	if v := header["Content-Type"]; len(v) > 0 {
		contentType = v[0]
		o["datacontenttype"] = contentType
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	isJSON := kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
	switch {
	case len(body) == 0:
	case isJSON && json.Valid(body):
		o["data"] = json.RawMessage(body)
	case utf8.Valid(body):
		o["data"] = string(body)
	default:
		o["data_base64"] = base64.StdEncoding.EncodeToString(body)
	}
	return json.Marshal(o)
}

// unescape undoes percent-encoding.
func unescape(s string) (string, error) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' { // quoted, as older senders do
		s = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(s[1 : len(s)-1])
	}
	return url.PathUnescape(s)
}
