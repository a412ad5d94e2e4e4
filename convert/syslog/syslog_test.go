package syslog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/syslog"
	"github.com/attestlog/attestlog/fit"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	at       = time.Date(2026, 3, 1, 10, 0, 0, 123_000_000, time.UTC)
	received = at.Add(time.Minute)
)

func unknown(attributes map[string]any) map[string]any {
	attributes[fit.NotesName] = map[string]any{"/actor/id": map[string]any{"as": "empty"}}
	return attributes
}

func header(facility, severity string) map[string]any {
	return map[string]any{"facility": facility, "severity": severity}
}

func TestEventMapsFields(t *testing.T) {
	nobody := attestlog.Actor{ID: fit.UnknownActor}
	for _, tt := range []struct {
		name, in string
		want     attestlog.Event
	}{
		{
			"structured data",
			`<110>1 2026-03-01T11:00:00.123+01:00 192.0.2.1 webmail 4711 mail.view [origin ip="192.0.2.7" software="x"][user@32473 uid="alice" session_id="S" note="a\"\]\\b"] ` + "\ufeffhello",
			attestlog.Event{
				Time: at, Service: "webmail", Action: "mail.view", Actor: attestlog.Actor{ID: "alice", Session: "S"}, Source: attestlog.Source{IP: "192.0.2.1"}, Message: "hello",
				Attributes: map[string]any{
					"syslog": map[string]any{"facility": "audit", "severity": "info", "procid": "4711"},
					"origin": map[string]any{"ip": "192.0.2.7", "software": "x"}, "user@32473": map[string]any{"note": `a"]\b`},
				},
			},
		},
		{
			"nothing but nil values", "<0>1 - - - - - -",
			attestlog.Event{Time: received, Action: "syslog.kern", Actor: nobody, Attributes: unknown(map[string]any{"syslog": header("kern", "emerg")})},
		},
		{
			"a JSON object", `<86>2 - web1 sshd - - [syslog] @cee: {"user":"bob","action":"user.login","msg":"hi","outcome":"failure","src_ip":"192.0.2.7","time":"2026-03-01T10:00:00.123Z","syslog":1,"n":9007199254740993}` + "\n",
			attestlog.Event{
				Time: at, Service: "sshd", Action: "user.login", Outcome: attestlog.Failure, Actor: attestlog.Actor{ID: "bob"}, Message: "hi",
				Source: attestlog.Source{IP: "192.0.2.7", Host: "web1"},
				Attributes: map[string]any{
					"syslog":  map[string]any{"facility": "authpriv", "severity": "info", "version": 2.0},
					"syslog_": map[string]any{}, "syslog__": 1.0, "n": "9007199254740993",
					fit.NotesName: map[string]any{"/attributes/n": map[string]any{"as": "number"}},
				},
			},
		},
		{
			"a message that only begins as JSON", `<13>1 - - - - M - {"a":`,
			attestlog.Event{Time: received, Action: "M", Actor: nobody, Message: `{"a":`, Attributes: unknown(map[string]any{"syslog": header("user", "notice")})},
		},
		{
			"bytes that are not UTF-8", "<13>1 - - - - M - caf\xe9",
			attestlog.Event{
				Time: received, Action: "M", Actor: nobody, Message: "caf\ufffde9",
				Attributes: map[string]any{
					"syslog":      header("user", "notice"),
					fit.NotesName: map[string]any{"/actor/id": map[string]any{"as": "empty"}, "/message": map[string]any{"as": "escaped"}},
				},
			},
		},
		{
			"RFC 3164", "<34>Oct 11 22:14:15 mymachine su: 'su root' failed\r\n",
			attestlog.Event{
				Time: received, Action: "syslog", Actor: nobody, Message: "<34>Oct 11 22:14:15 mymachine su: 'su root' failed",
				Attributes: unknown(map[string]any{"syslog": header("auth", "crit")}),
			},
		},
		{"a priority that is none", "<192>x", attestlog.Event{Time: received, Action: "syslog", Actor: nobody, Message: "<192>x", Attributes: unknown(map[string]any{})}},
		{"an element that comes twice", `<1>1 - - - - - [a b="c"][a b="d"]`, attestlog.Event{
			Time: received, Action: "syslog", Actor: nobody, Message: `<1>1 - - - - - [a b="c"][a b="d"]`, Attributes: unknown(map[string]any{"syslog": header("kern", "alert")}),
		}},
		{"a header that ends early", "<1>1 - -", attestlog.Event{
			Time: received, Action: "syslog", Actor: nobody, Message: "<1>1 - -", Attributes: unknown(map[string]any{"syslog": header("kern", "alert")}),
		}},
		{"nothing", "", attestlog.Event{Time: received, Action: "syslog", Actor: nobody, Attributes: unknown(map[string]any{})}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := []byte(tt.in)
			e := syslog.Event(raw, received)
			for i := range raw {
				raw[i] = 0
			}
			if string(e.Original) != tt.in {
				t.Errorf("original %q, want %q", e.Original, tt.in)
			}
			plain := jsonAttributes(t, e)
			plain.Original = nil
			if diff := cmp.Diff(tt.want, plain); diff != "" {
				t.Errorf("Event (-want +got):\n%s", diff)
			}
		})
	}
}

// jsonAttributes returns the event as a log would keep it.
func jsonAttributes(t testing.TB, e attestlog.Event) attestlog.Event {
	t.Helper()
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := attestlog.ParseEvent(data)
	if err != nil {
		t.Fatalf("ParseEvent(%.300q): %v", data, err)
	}
	return got
}

func frames(r io.Reader, max int) (got []string, last error) {
	for frame, err := range syslog.Frames(r, max) {
		if last = err; err == nil {
			got = append(got, string(frame))
		}
	}
	return got, last
}

func TestFramesEndWithTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		in   string
		then error // of the reader
		want []string
		err  error
	}{
		{"", nil, nil, nil},
		{"3 <a>4 <b>\n", nil, []string{"<a>", "<b>\n"}, nil},
		{"<a>\n\n\r\n<b>\r\n3 <c>\n<d>", nil, []string{"<a>", "<b>", "<c>", "<d>"}, nil},
		{"6 <\n\n\n>", nil, nil, io.ErrUnexpectedEOF},
		{"8 <123456", nil, nil, io.ErrUnexpectedEOF},
		{"3 <a>9 <1234567>", nil, []string{"<a>"}, syslog.ErrTooLong},
		{"<a>\n<12345678\n<b>\n", nil, []string{"<a>"}, syslog.ErrTooLong},
		{"<a>\nb\n<c>\n", nil, []string{"<a>"}, syslog.ErrFrame},
		{"03 <a>", nil, nil, syslog.ErrFrame},
		{"3<a>", nil, nil, syslog.ErrFrame},
		{"99999999999 <a>", nil, nil, syslog.ErrFrame},
		{"9999999999 <a>", nil, nil, syslog.ErrTooLong},
		{"3 <a>3 <b", broken, []string{"<a>"}, broken},
		{"<a>\n<b", broken, []string{"<a>"}, broken},
		{"3 <a>1", broken, []string{"<a>"}, broken},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			r := io.Reader(strings.NewReader(tt.in))
			if tt.then != nil {
				r = io.MultiReader(r, iotest.ErrReader(tt.then))
			}
			got, err := frames(wrap(r), 8)
			if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(err, tt.err) {
				t.Errorf("%s: Frames(%q) = %v, want %v (-want +got):\n%s", name, tt.in, err, tt.err, diff)
			}
		}
	}
}

// However a sender frames its messages, one by one, they arrive.
func TestFramesTellTheWaysOfFramingApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in bytes.Buffer
		var want []string
		for range rapid.IntRange(0, 8).Draw(t, "messages") {
			if rapid.Bool().Draw(t, "counted") {
				m := string(rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "message"))
				fmt.Fprintf(&in, "%d %s", len(m), m)
				want = append(want, m)
			} else {
				m := "<" + rapid.StringMatching(`[^\r\n]{0,20}`).Draw(t, "line")
				in.WriteString(m + rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end"))
				want = append(want, m)
			}
		}
		if got, err := frames(&in, 100); err != nil || !cmp.Equal(want, got) {
			t.Fatalf("Frames = %q, %v, want %q", got, err, want)
		}
	})
}

func TestReadGoesOnBehindBadFrames(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"9 <1>1 a\n b\n3 <b>", "<1>1 a\n b|<b>"},
		{"3 <a>what is this?\n3 <b>\n", "<a>|what is this?|<b>"},
		{"3 <a>30 <b>", "<a>|-"},
		{"12 or so <lines>\nof text", "12 or so <lines>|of text"},
		{"1 <", "<"},
	} {
		got := ""
		for e, err := range syslog.Read(strings.NewReader(tt.in), "f") {
			var refused *convert.RecordError
			switch {
			case err == nil:
				got += "|" + string(e.Original)
			case errors.As(err, &refused) && refused.Offset == 5 && refused.Record == 2 && refused.Line == 1:
				got += "|-"
			default:
				t.Errorf("Read(%q): %v", tt.in, err)
			}
		}
		if got = strings.TrimPrefix(got, "|"); got != tt.want {
			t.Errorf("Read(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// A refused message's line counts those of a longer one before it.
func TestReadCountsTheLinesOfALongMessage(t *testing.T) {
	long := "<" + strings.Repeat("x", convert.MaxRecord) + "\n>"
	in := fmt.Sprintf("3 <a>%d %s30 <b>", len(long), long)
	var lines []int
	for _, err := range syslog.Read(strings.NewReader(in), "f") {
		var refused *convert.RecordError
		if errors.As(err, &refused) {
			lines = append(lines, refused.Line)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]int{1, 2}, lines); diff != "" {
		t.Errorf("lines of refused messages (-want +got):\n%s", diff)
	}
}

// A message of any bytes becomes an event that a log takes.
func FuzzEvent(f *testing.F) {
	for _, seed := range []string{
		`<110>1 2026-03-01T11:00:00.123+01:00 192.0.2.1 webmail 4711 mail.view [user@32473 uid="al\"ice"] ` + "\ufeffhello",
		`<86>1 - h a - - - @cee: {"user":{"id":"bob"},"attestlog_mapped":1}`, "<34>Oct 11 22:14:15 mymachine su: x", `<1>1 - - - - - [a b="c"][attestlog_mapped x="y"]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := syslog.Event(raw, received)
		got := jsonAttributes(t, e)
		if len(raw) <= attestlog.MaxOriginal && string(got.Original) != string(raw) {
			t.Errorf("original %q, want %q", got.Original, raw)
		}
	})
}

// Frames are never longer than they may be, and an error is the last.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("3 <a>4 <b>\n"))
	f.Add([]byte("<a>\n\n\r\n<b>\r\n3 <c>\n<d>"))
	f.Fuzz(func(t *testing.T, in []byte) {
		const max = 32
		var ended error
		total := 0
		for frame, err := range syslog.Frames(bytes.NewReader(in), max) {
			if ended != nil || len(frame) > max || err != nil && frame != nil {
				t.Fatalf("frame %q, %v behind %v", frame, err, ended)
			}
			ended = err
			total += len(frame)
		}
		if total > len(in) {
			t.Errorf("%d bytes of %d", total, len(in))
		}
	})
}
