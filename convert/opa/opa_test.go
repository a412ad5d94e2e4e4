package opa_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/opa"
	"github.com/attestlog/attestlog/fit"
	"github.com/google/go-cmp/cmp"
)

func read(t testing.TB, in string) (out []attestlog.Event) {
	t.Helper()
	for e, err := range opa.Read(strings.NewReader(in), "f") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// testdata/upload.json is what OPA 1.22.2 posted.
func TestReadUpload(t *testing.T) {
	data, err := os.ReadFile("testdata/upload.json")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range read(t, string(data)) {
		got = append(got, fmt.Sprintf("%s %s %s %s %s %d", e.Action, e.Actor.ID, e.Outcome, e.Source.IP, e.Time.Format("05.000000000"), e.Request.DurationUS))
		if e.Request.ID == "" || !bytes.Contains(data, e.Original) {
			t.Errorf("event %+v", e)
		}
	}
	want := []string{
		"opa.shop.authz.allow alice success 127.0.0.1 06.269662732 617",
		"opa.shop.authz bob failure 127.0.0.1 06.286094534 2118",
		"opa.shop.authz.allow carol failure 127.0.0.1 06.301769300 626",
		"opa.nothing 127.0.0.1 unknown 127.0.0.1 06.313903286 337",
		"opa.query 127.0.0.1 unknown 127.0.0.1 06.323857988 0",
		"opa.shop.authz.boom dave unknown 127.0.0.1 06.333985606 546",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
}

func TestOutcomeIsWhatWasDecided(t *testing.T) {
	for _, tt := range []struct {
		in      string
		outcome attestlog.Outcome
		reason  string
	}{
		{`"result":true`, attestlog.Success, ""},
		{`"result":false`, attestlog.Failure, ""},
		{`"result":{"allow":true,"reason":"x"}`, attestlog.Success, ""},
		{`"result":{"allowed":false,"reason":"x"}`, attestlog.Failure, "x"},
		{`"result":{"roles":[]},"mapped_result":{"allowed":true}`, attestlog.Success, ""},
		{`"result":{"allow":"no"}`, attestlog.Unknown, ""},
		{`"result":[true]`, attestlog.Unknown, ""},
		{`"erased":["/result"]`, attestlog.Unknown, ""},
		{`"result":null,"error":null`, attestlog.Unknown, ""},
		{`"result":true,"error":{"code":"eval_conflict_error","message":"two rules"}`, attestlog.Failure, "two rules"},
		{`"error":"gone"`, attestlog.Failure, "gone"},
		{`"error":{}`, attestlog.Failure, ""},
	} {
		if got := read(t, `{"decision_id":"D",`+tt.in+`}`); len(got) != 1 || got[0].Outcome != tt.outcome || got[0].Reason != tt.reason || got[0].Action != "opa.decision" {
			t.Errorf("Read(%s) = %+v, want %s %q", tt.in, got, tt.outcome, tt.reason)
		}
	}
}

func TestActorIsWhoAsks(t *testing.T) {
	for _, tt := range []struct {
		in    string
		actor attestlog.Actor
		from  attestlog.Source
	}{
		{`"input":{"subject":{"id":"alice","name":"Alice"}},"requested_by":"[2001:db8::1]:80"`, attestlog.Actor{ID: "alice"}, attestlog.Source{IP: "2001:db8::1"}},
		{`"input":{"user":"alice","actor":{"type":"user"},"user_agent":"x"},"requested_by":"192.0.2.7"`, attestlog.Actor{ID: "alice", Type: "user"}, attestlog.Source{IP: "192.0.2.7", UserAgent: "x"}},
		{`"input":{"kind":"AdmissionReview","request":{"userInfo":{"username":"system:admin"}}}`, attestlog.Actor{ID: "system:admin"}, attestlog.Source{}},
		{`"input":{"attributes":{"source":{"principal":"spiffe://a/b"}}}`, attestlog.Actor{ID: "spiffe://a/b"}, attestlog.Source{}},
		{`"input":[1],"requested_by":"sidecar"`, attestlog.Actor{ID: "sidecar", Type: "service"}, attestlog.Source{Host: "sidecar"}},
		{`"masked":["/input/user"]`, attestlog.Actor{ID: fit.UnknownActor}, attestlog.Source{}},
	} {
		if got := read(t, `{"decision_id":"D",`+tt.in+`}`); len(got) != 1 || got[0].Actor != tt.actor || got[0].Source != tt.from {
			t.Errorf("Read(%s) = %+v, want %+v %+v", tt.in, got, tt.actor, tt.from)
		}
	}
}

// Whatever is asked, the input stays as it was.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"user":{"id":"bob"},"request":{"userInfo":{"username":"x"}},"path":["a"],"ip":"::1"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		given, err := convert.DecodeObject(in)
		if err != nil || len(in) > 1000 {
			return
		}
		for e, err := range opa.Read(strings.NewReader(`{"decision_id":"D","input":`+string(in)+`}`), "f") {
			if err != nil {
				return // such as a line end in a string
			}
			// What Bound makes of the input alone.
			want := attestlog.Event{Action: "a", Actor: attestlog.Actor{ID: "b"}, Attributes: map[string]any{"input": map[string]any(given)}}
			fit.Event(&want)
			if diff := cmp.Diff(want.Attributes["input"], e.Attributes["input"]); diff != "" {
				t.Errorf("input (-want +got):\n%s", diff)
			}
		}
	})
}
