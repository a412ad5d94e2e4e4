package server_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/server"
)

type counted struct {
	Count  uint64 `json:"count"`
	Capped bool   `json:"capped"`
}

func TestCountIsThatOfTheQuery(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 100)...)
	for _, test := range []struct {
		params string
		want   counted
	}{
		{"q=index:0..99", counted{100, false}}, {"q=actor:user-1", counted{20, false}}, {"q=actor:user-1&limit=5", counted{5, true}},
		{"q=actor:user-1&limit=20", counted{20, true}}, {"q=actor:user-1&limit=21", counted{20, false}}, {"q=actor:nobody", counted{}},
		{"q=-actor:user-1+action:mail.view", counted{27, false}}, {"q=actor:user-1&limit=9223372036854775808", counted{20, false}},
		{"q=event+index:<100&limit=18446744073709551615", counted{100, false}}, {"q=%22event+7%22+index:<100", counted{1, false}},
	} {
		var got counted
		s.get(api+"/count?"+test.params, token).into(t, 200, &got)
		if got != test.want {
			t.Errorf("count?%s = %+v, want %+v", test.params, got, test.want)
		}
	}
}

type faceted struct {
	Field  string
	Values []struct {
		Value string
		Count uint64
	}
	Entries  uint64
	Complete bool
}

func TestFacetsCountTheValuesOfAField(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 100)...)
	s.append(attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "a"}, Targets: []attestlog.Target{{Type: "t", ID: "1"}, {Type: "t", ID: "2"}}, Attributes: map[string]any{"n": 7, "tags": []any{"a", "b"}}})
	for _, test := range []struct {
		params string
		want   string
	}{
		{"field=action&q=index:<100", "{action [{mail.view 34} {mail.move 33} {mail.send 33}] 100 true}"},
		{"field=action&limit=1&q=index:<100", "{action [{mail.view 34}] 100 true}"},
		{"field=actor&q=action:mail.view+index:<30", "{actor [{user-0 2} {user-1 2} {user-2 2} {user-3 2} {user-4 2}] 10 true}"},
		{"field=target&q=action:x", "{target [{t/1 1} {t/2 1}] 1 true}"},
		{"field=attributes.n&q=action:x", "{attributes.n [{7 1}] 1 true}"}, {"field=attributes.tags&q=action:x", "{attributes.tags [{a 1} {b 1}] 1 true}"},
		{"field=tenant&q=action:x", "{tenant [] 1 true}"}, {"field=actor&q=actor:nobody", "{actor [] 0 true}"},
	} {
		var got faceted
		s.get(api+"/facets?"+test.params, token).into(t, 200, &got)
		if text := fmt.Sprint(got); text != test.want {
			t.Errorf("facets?%s = %s, want %s", test.params, text, test.want)
		}
	}
}

type histogram struct {
	Buckets []struct {
		After time.Time
		Count uint64
	}
	Before time.Time
}

func TestAHistogramsSumIsTheCount(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 100)...)
	for _, at := range []string{"1678-01-01", "1969-12-31", "2261-12-31"} {
		day, _ := time.Parse("2006-01-02", at)
		s.append(attestlog.Event{Time: day, Action: "x", Actor: attestlog.Actor{ID: "user-1"}})
	}
	const start = "2026-01-01T00:00:00Z"
	for _, test := range []struct {
		after, before string
		buckets       int
		q             string
	}{
		{start, "2026-01-01T00:01:40Z", 10, "index:<103"}, {start, "2026-01-01T00:01:40Z", 7, "actor:user-1"},
		{start, "2026-01-01T00:01:00.000000007Z", 7, "actor:user-1"}, {"2026-01-01T00:00:03+02:00", start, 3, "actor:user-1"},
		{"2026-01-01T00:00:05Z", "2026-01-01T00:00:05.0000002Z", 200, "index:<103"}, {"2025-06-01T00:00:00Z", "2026-06-01T00:00:00Z", 200, "-actor:user-1 index:<103"},
		{"1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z", 60, "index:<103"}, {"1678-01-01T00:00:00Z", "1950-01-01T00:00:00Z", 1, "index:<103"},
		{"1678-01-01T00:00:00Z", "2262-01-01T00:00:00Z", 60, "actor:user-1"}, {"0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z", 9, "actor:user-1"},
	} {
		var got histogram
		a := s.get(fmt.Sprintf("%s/histogram?by=time&q=%s&after=%s&before=%s&buckets=%d", api, url.QueryEscape(test.q), url.QueryEscape(test.after), url.QueryEscape(test.before), test.buckets), token)
		a.into(t, 200, &got)
		after, _ := time.Parse(time.RFC3339, test.after)
		before, _ := time.Parse(time.RFC3339, test.before)
		sum := uint64(0)
		for i, b := range got.Buckets {
			sum += b.Count
			if i > 0 && !b.After.After(got.Buckets[i-1].After) {
				t.Errorf("%+v: bucket %d begins at %v, the one before at %v", test, i, b.After, got.Buckets[i-1].After)
			}
		}
		if len(got.Buckets) != test.buckets || !got.Buckets[0].After.Equal(after) || !got.Before.Equal(before) || !got.Buckets[test.buckets-1].After.Before(before) {
			t.Errorf("%+v: %d buckets from %v to %v", test, len(got.Buckets), got.Buckets[0].After, got.Before)
		}
		q, err := query.Parse(test.q)
		if err != nil {
			t.Fatal(err)
		}
		want, err := s.log.Count(t.Context(), query.And(q, query.Between(after, before)), 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, sum); diff != "" {
			t.Errorf("%+v: sum (-want +got):\n%s", test, diff)
		}
	}
}

// By the time of logging, a bucket has the entries that were logged within it,
// whenever they happened.
func TestAHistogramOfLogging(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	var after, before time.Time
	want := map[string]uint64{}
	for i := range 40 {
		r := s.append(events(10*i, 10)...)
		if i == 5 {
			after = r[0].LoggedTime
		}
		before = r[9].LoggedTime.Add(time.Microsecond)
		if i >= 5 {
			want[""] += 10
			want["actor:user-1"] += 2
		}
	}
	for q, n := range want {
		for _, buckets := range []int{1, 3, 60, 200} {
			var got histogram
			s.get(fmt.Sprintf("%s/histogram?q=%s&after=%s&before=%s&buckets=%d", api, url.QueryEscape(withoutLooks(q)), url.QueryEscape(after.Format(time.RFC3339Nano)),
				url.QueryEscape(before.Format(time.RFC3339Nano)), buckets), token).into(t, 200, &got)
			sum := uint64(0)
			for _, b := range got.Buckets {
				sum += b.Count
			}
			if len(got.Buckets) != buckets || sum != n {
				t.Errorf("%q in %d buckets: %d of %d entries in %d", q, buckets, sum, n, len(got.Buckets))
			}
		}
	}
}

// withoutLooks leaves out what the looks themselves add to the log.
func withoutLooks(q string) string { return strings.TrimSpace(q + " -service:attestlog") }
