package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"testing"
	"time"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cloudevents"
)

func appendCloudEvent(dst []byte, e *attestlog.Entry) ([]byte, error) {
	return cloudevents.Append(dst, "example.com/audit", e)
}

// traceparent is W3C Trace Context's, Section 3.2.2.3, but for zeros.
var traceparent = regexp.MustCompile("^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")

func checkCloudEvent(e *attestlog.Entry, text []byte) error {
	o, err := object(text)
	if err != nil {
		return err
	}
	var got event.Event
	if err := json.Unmarshal(text, &got); err != nil {
		return fmt.Errorf("event.Event: %w", err)
	}
	if err := got.Validate(); err != nil {
		return fmt.Errorf("Validate: %w", err)
	}
	f := &findings{}
	if got.SpecVersion() != "1.0" || got.ID() != fmt.Sprint(e.Index) || !got.Time().Equal(e.Time) || got.DataContentType() != "application/json" {
		f.add("the SDK reads %v", got)
	}
	want, err := e.MarshalJSON()
	if err != nil {
		return err
	}
	var data, entry any
	if err := errors.Join(json.Unmarshal(got.Data(), &data), json.Unmarshal(want, &entry)); err != nil {
		return err
	}
	if diff := cmp.Diff(entry, data); diff != "" {
		f.add("data differs (-want +got):\n%s", diff)
	}
	// Section "Type System" of the specification; the SDK does not look.
	for name, v := range o {
		if name == "data" {
			continue
		}
		s, ok := v.(string)
		if !ok || s == "" {
			f.add("%s is %#v, want a string", name, v)
		}
		for _, r := range s {
			if unicode.Is(unicode.Cc, r) || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
				f.add("%s has the character %U", name, r)
			}
		}
	}
	if s, ok := o["time"].(string); ok {
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			f.all = append(f.all, err)
		}
	}
	if s, ok := o["traceparent"].(string); ok && !traceparent.MatchString(s) {
		f.add("traceparent is %q", s)
	} else if ok && (s[3:35] == "00000000000000000000000000000000" || s[36:52] == "0000000000000000") {
		f.all = append(f.all, errors.New("traceparent has an id of zeros"))
	}
	return f.err()
}

func TestCloudEventSourceOfAnyOrigin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		origin := rapid.StringMatching(`[/:é!-*,-~]{1,20}`).Draw(t, "origin")
		e := entries[0]
		e.Time = moment
		text, err := cloudevents.Append(nil, origin, &e)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkCloudEvent(&e, text); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		var got event.Event
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if u, err := url.Parse(got.Source()); err != nil || u.Host != "" || u.Path != "/"+origin {
			t.Fatalf("the SDK reads the source %q as %+v %v, want the path %q", got.Source(), u, err, "/"+origin)
		}
	})
}
