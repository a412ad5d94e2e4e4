package query

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func date(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestQueryTextAndConstructorsGiveTheSameTree(t *testing.T) {
	var open time.Time
	jan, feb := date("2026-01-01T00:00:00Z"), date("2026-02-01T00:00:00Z")
	for text, want := range map[string]Query{
		"":                             {},
		"  ":                           {},
		"actor:alice":                  Field("actor", "alice"),
		"actor.id:alice":               Field("actor", "alice"),
		"-outcome:failure":             Not(Field("outcome", "failure")),
		"NOT outcome:failure":          Not(Field("outcome", "failure")),
		"--outcome:failure":            Field("outcome", "failure"),
		"action:mail:ocr_download":     Field("action", "mail:ocr_download"),
		"action:mail.*":                Prefix("action", "mail."),
		`action:"mail."*`:              Prefix("action", "mail."),
		`action:"mail.*"`:              Field("action", "mail.*"),
		"target:mail/1/2":              Field("target", "mail/1/2"),
		"ip:10.0.0.0/8":                Network("10.0.0.0/8"),
		"ip:10.1.2.3/8":                Network("10.0.0.0/8"),
		"ip:2001:DB8::0:1":             Field("ip", "2001:db8::1"),
		"after:2026-01-01":             Between(jan, open),
		"before:2026-01-01":            Between(open, jan),
		"after:2026-01-01T01:00+01:00": Between(jan, open),
		"time:2026-01":                 Between(jan, feb),
		"time:2026-01..2026-02":        Between(jan, feb),
		"time:<2026-02":                Between(open, feb),
		"time:>2026-01":                Between(feb, open),
		"index:7":                      Indexes(7, 8),
		"index:100..200":               Indexes(100, 201),
		"index:>5":                     Indexes(6, MaxIndex),
		"index:..5":                    Indexes(0, 6),
		"a b":                          And(Text("a"), Text("b")),
		"a AND b":                      And(Text("a"), Text("b")),
		"a b OR c":                     Or(And(Text("a"), Text("b")), Text("c")),
		"a (b OR c)":                   And(Text("a"), Or(Text("b"), Text("c"))),
		`"Free  Text!"`:                Text("free text"),
		`message:"a \"b\" \\"`:         Field("message", `a "b" \`),
		"attributes.folder:inbox":      Field("attributes.folder", "inbox"),
		"actor:alice order:time":       Field("actor", "alice").OrderBy(ByTime),
		"order:time (a OR b)":          Or(Text("a"), Text("b")).OrderBy(ByTime),
	} {
		got, err := Parse(text)
		if err != nil || !got.Equal(want) {
			t.Errorf("Parse(%q) = %q (%v), want %q", text, got, err, want)
		}

		again, err := Parse(want.String())
		if err != nil || !again.Equal(want) {
			t.Errorf("Parse(%q) = %q (%v), want the query that wrote it", want.String(), again, err)
		}
	}
}

func TestQueryErrorsPointAtTheColumn(t *testing.T) {
	for text, column := range map[string]int{
		"foo:bar":             1,
		"actor:alice foo:bar": 13,
		"actor:":              7,
		`actor:"alice`:        7,
		"ä foo:bar":           3,
		"(a":                  1,
		"a)":                  2,
		"a OR":                5,
		"OR a":                1,
		"a AND":               3,
		"- a":                 1,
		"-":                   2,
		"index:x":             7,
		"time:yesterday":      6,
		"after:1500-01-01":    7,
		"ip:10.0.0.0/99":      4,
		"order:size":          7,
		"(order:time)":        2,
		`""`:                  1,
		`actor:""`:            7,
		`a"b"`:                2,
		`message:"a\n"`:       11,
		"http://example.com":  1,
		"a order:time OR b":   1,
	} {
		_, err := Parse(text)
		var bad *Error
		if !errors.As(err, &bad) {
			t.Errorf("Parse(%q) = %v, want a *Error", text, err)
		} else if bad.Column != column {
			t.Errorf("Parse(%q): column %d (%v), want %d", text, bad.Column, err, column)
		}
	}
}

func TestConstructorsReportBadValues(t *testing.T) {
	for name, q := range map[string]Query{
		"unknown field": Field("nope", "x"),
		"empty value":   Field("actor", ""),
		"bad network":   Network("10.0.0.0"),
		"no words":      Text("!?"),
		"inside And":    And(Field("nope", "x"), Text("a")),
		"inside Not":    Not(Field("nope", "x")),
	} {
		if q.Err() == nil {
			t.Errorf("%s: no error", name)
		}
		if q.Match(noEntry{}) {
			t.Errorf("%s: matches", name)
		}
	}
}

// A noEntry is an entry without values.
type noEntry struct{}

func (noEntry) Position() Position             { return Position{} }
func (noEntry) EachValue(string, func(string)) {}
func (noEntry) EachText(func(string))          {}

// A query that is accepted is written so that it reads the same again.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "actor:alice -outcome:failure action:mail.*",
		"target:mail/123 ip:10.0.0.0/8 after:2026-01-01 before:2026-02-01T12:00+01:00",
		`index:100..200 index:>5 "free text" word`, "(a OR b) NOT (c AND d) order:time",
		`attributes.folder:"in\"box"*`, "time:2026-01", "-(a b)", "ip:2001:db8::/32",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "query: column ") {
				t.Fatalf("Parse(%q) = %v, which names no column", text, err)
			}
			return
		}

		again, err := Parse(q.String())
		if err != nil || !again.Equal(q) {
			t.Fatalf("Parse(%q).String() = %q, which reads as %q (%v)", text, q, again, err)
		}

		// Neither panics.
		q.Plan()
		q.Match(noEntry{})
	})
}
