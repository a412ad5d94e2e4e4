package interop

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cloudevents"
)

// cloudEvents are with each kind of data, and what it is in the attributes.
var cloudEvents = []struct {
	name             string
	contentType      string
	data             any
	structured, sent map[string]any // in the JSON format, and in binary mode
}{
	{"no data", "", nil, nil, nil},
	{"an object", event.ApplicationJSON, map[string]any{"a": map[string]any{"b": []any{1, nil, true, "é"}}, "big": json.Number("9007199254740993")},
		map[string]any{"a": map[string]any{"b": []any{"number 1", nil, true, "é"}}, "big": "number 9007199254740993"}, nil},
	{"an object with this name", event.ApplicationJSON, map[string]any{"cloudevent": "x"}, map[string]any{"data": map[string]any{"cloudevent": "x"}}, nil},
	{"a list", "application/json; charset=utf-8", []any{"x"}, map[string]any{"data": []any{"x"}}, nil},
	// The SDK knows of this type only that it is not application/json.
	{"JSON of another type", "application/vnd.x+json", []any{"x"}, map[string]any{"data": `["x"]`}, map[string]any{"data": []any{"x"}}},
	{"a number", event.ApplicationJSON, 1.5, map[string]any{"data": "number 1.5"}, nil},
	{"a text of JSON", event.ApplicationJSON, "x", map[string]any{"data": "x"}, nil},
	{"a text", event.TextPlain, "a\nb é", map[string]any{"data": "a\nb é"}, nil},
	{"bytes", "application/octet-stream", []byte{0xff, 0}, map[string]any{"data_base64": "/wA="}, nil},
	{"bytes that are a text", "application/octet-stream", []byte("text"), map[string]any{"data_base64": "dGV4dA=="}, map[string]any{"data": "text"}},
}

// CloudEvents as the SDK writes them come over HTTP in each of the binding's modes.
// It percent-encodes no header, so none has a percent sign here.
func TestCloudEventsOfTheSDKAreRead(t *testing.T) {
	var received []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && kind != event.ApplicationCloudEventsJSON && kind != event.ApplicationCloudEventsBatchJSON {
			body, err = cloudevents.Structured(r.Header, body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
		received = body
	}))
	defer server.Close()
	send := func(r *http.Request, err error) []attestlog.Event {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("status %s", answer.Status)
		}
		got, err := readAll(cloudevents.Read, received)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	var all []event.Event
	ctx := t.Context()
	for _, tt := range cloudEvents {
		e := event.New()
		e.SetID("1/é")
		e.SetSource("/webmail?x=y z")
		e.SetType("mail.viewed")
		e.SetSubject("mail/7 é")
		e.SetTime(moment)
		e.SetDataSchema("https://example.com/schema")
		for name, v := range map[string]any{"number": int32(7), "yes": true, "bytes": []byte{1, 2}, "at": moment, "authid": "ci", "authtype": "service_account",
			"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} {
			e.SetExtension(name, v)
		}
		if tt.data != nil {
			if err := e.SetData(tt.contentType, tt.data); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
		compareCloudEvent(t, tt.name+", binary", send(requestOf(ctx, server.URL, e)), 1, 0, wantCloudEvent(tt.contentType, tt.structured, tt.sent, true))
		compareCloudEvent(t, tt.name+", structured", send(requestOf(binding.WithForceStructured(ctx), server.URL, e)), 1, 0, wantCloudEvent(tt.contentType, tt.structured, nil, false))
	}
	batch := send(cehttp.NewHTTPRequestFromEvents(ctx, server.URL, all))
	for i, tt := range cloudEvents {
		compareCloudEvent(t, tt.name+", batch", batch, len(all), i, wantCloudEvent(tt.contentType, tt.structured, nil, false))
	}
}

func requestOf(ctx context.Context, url string, e event.Event) (*http.Request, error) {
	return cehttp.NewHTTPRequestFromEvent(ctx, url, e)
}

// wantCloudEvent returns the attributes. Headers are texts.
func wantCloudEvent(contentType string, structured, sent map[string]any, binaryMode bool) map[string]any {
	cloudevent := map[string]any{
		"specversion": "1.0", "id": "1/é", "dataschema": "https://example.com/schema", "yes": true, "number": "number 7", "bytes": "AQI=", "at": moment.Format(time.RFC3339Nano),
		"authtype": "service_account", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	if contentType != "" {
		cloudevent["datacontenttype"] = contentType
	}
	if binaryMode {
		cloudevent["yes"], cloudevent["number"] = "true", "7"
	}
	out := map[string]any{"cloudevent": cloudevent}
	if sent == nil {
		sent = structured
	}
	for name, v := range sent {
		if name == "data_base64" {
			cloudevent[name] = v
		} else {
			out[name] = v
		}
	}
	return out
}

func compareCloudEvent(t *testing.T, name string, all []attestlog.Event, n, i int, attributes map[string]any) {
	t.Helper()
	if len(all) != n {
		t.Fatalf("%s: %d events, want %d", name, len(all), n)
	}
	e := all[i]
	if diff := cmp.Diff(any(attributes), plain(e.Attributes)); diff != "" {
		t.Errorf("%s: attributes (-want +got):\n%s", name, diff)
	}
	e.ID, e.Original, e.Attributes = "", nil, nil
	if diff := cmp.Diff(attestlog.Event{
		Time: moment, Service: "/webmail?x=y z", Action: "mail.viewed", Actor: attestlog.Actor{ID: "ci", Type: "service"}, Targets: []attestlog.Target{{Type: "mail", ID: "7 é"}},
		Trace: attestlog.Trace{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7"},
	}, e); diff != "" {
		t.Errorf("%s: the event (-want +got):\n%s", name, diff)
	}
}
