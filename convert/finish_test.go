package convert_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/loosejson"
	"github.com/google/go-cmp/cmp"
)

// What erasing a field erases must not stand beside it in clear.
func TestFinishSweepsWhatFoundASealedField(t *testing.T) {
	given := func() convert.Object {
		return convert.Object{
			"forwarded": "192.0.2.7", "ips": []any{"192.0.2.8", "192.0.2.7", []any{"192.0.2.7"}}, "only": []any{"192.0.2.7"},
			"headers": map[string]any{"User-Agent": "curl/8", "Host": "h"}, "agent": loosejson.Repeated{"curl/8", "x"},
			"title": "Alice", "userName": "Alice", "users": []any{"Alice", "Bob"}, "user": map[string]any{"label": "Alice", "fullname": "Alice"}, "n": 1.0, "empty": "",
		}
	}
	e := attestlog.Event{
		Action: "a", Time: at, Actor: attestlog.Actor{ID: "a", Name: "Alice"}, Source: attestlog.Source{IP: "192.0.2.7", UserAgent: "curl/8"}, Original: []byte("x"),
	}
	o := given()
	got := e
	convert.Complete(&got, o)
	if diff := cmp.Diff(map[string]any{
		"ips": []any{"192.0.2.8"}, "headers": map[string]any{"Host": "h"}, "agent": []any{"x"},
		"title": "Alice", "users": []any{"Bob"}, "user": map[string]any{"label": "Alice"}, "n": 1.0, "empty": "",
		fit.NotesName: map[string]any{"/attributes/agent": map[string]any{"as": "repeated"}},
	}, got.Attributes); diff != "" {
		t.Errorf("Complete (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(given(), o); diff != "" {
		t.Errorf("Complete changed what it was given (-want +got):\n%s", diff)
	}
	e.Original = nil
	if convert.Complete(&e, o); e.Attributes["forwarded"] != "192.0.2.7" {
		t.Errorf("Complete sweeps an event that has no original: %v", e.Attributes)
	}
}

func TestAnAddressWithAPortIsTaken(t *testing.T) {
	for _, tt := range []struct {
		in   convert.Object
		want map[string]any
	}{
		{convert.Object{"remote_addr": "192.0.2.7:5000"}, map[string]any{"port": 5000.0}},
		{convert.Object{"remote_addr": "192.0.2.7:5000", "port": "x"}, map[string]any{"port": "x"}},
		{convert.Object{"network.peer.address": "192.0.2.7"}, map[string]any{}},
	} {
		e := attestlog.Event{Time: at}
		convert.Named(&e, tt.in)
		if diff := cmp.Diff(tt.want, e.Attributes); diff != "" || e.Source.IP != "192.0.2.7" {
			t.Errorf("%v: %s (-want +got):\n%s", tt.in, e.Source.IP, diff)
		}
	}
}

// What a zone's name says differs from place to place: a record must not get the
// time of the machine that reads it.
func TestZonesDoNotDependOnTheMachine(t *testing.T) {
	before := time.Local
	defer func() { time.Local = before }()
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("CET", 3600), time.FixedZone("IST", 19800), time.FixedZone("GMT", 0)} {
		time.Local = zone
		for text, want := range map[string]string{
			"2026-03-01 10:00:00 UTC": "2026-03-01T10:00:00Z", "Sun, 01 Mar 2026 10:00:00 GMT": "2026-03-01T10:00:00Z", "2026-03-01 10:00:00 Z": "2026-03-01T10:00:00Z",
			"2026-03-01 10:00:00 +0100 CET": "2026-03-01T09:00:00Z", "2026-03-01T10:00:00+01:00": "2026-03-01T09:00:00Z",
			"2026-03-01 10:00:00 CET": "", "Sun, 01 Mar 2026 10:00:00 IST": "", "2026-03-01 10:00:00 GMT+3": "",
		} {
			e := attestlog.Event{}
			o := convert.Object{"time": text}
			convert.Named(&e, o)
			got := e.Time.Format(time.RFC3339)
			if want == "" {
				want = "1970-01-01T00:00:00Z"
				if e.Attributes["time"] != text {
					t.Errorf("%s leaves %v", text, e.Attributes)
				}
			}
			if got != want || e.Time.Location() != time.UTC {
				t.Errorf("in %s, %s is read as %s, want %s", zone, text, e.Time, want)
			}
		}
	}
}

func TestObjectsAddPutUnwrapAndDrop(t *testing.T) {
	o := convert.Object{"x": []any{"1"}, "y": map[string]any{"z": []any{json.Number("1")}, "w": []any{"a", "b"}}, "l": []any{[]any{}}, "d.e": 1.0, "d": map[string]any{"e": []any{}}}
	for _, name := range []string{"x", "y.z", "y.w", "l", "none.at.all"} {
		o.Unwrap(name)
	}
	o.Drop("d.e")
	o.Add("a", 1)
	o.Add("a", nil)
	o.Add("a", 3)
	o.Put("x", "p")
	o.Put("x", "q")
	if diff := cmp.Diff(convert.Object{
		"x": "1", "y": map[string]any{"z": json.Number("1"), "w": []any{"a", "b"}}, "l": []any{[]any{}}, "a": loosejson.Repeated{1, nil, 3}, "x_": "p", "x__": "q",
	}, o); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
