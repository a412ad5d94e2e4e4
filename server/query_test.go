package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/server"
)

type page struct {
	Entries []entry `json:"entries"`
	Next    string  `json:"next"`
	Size    uint64  `json:"size"`
}

type entry struct {
	Index  uint64 `json:"index"`
	ID     string `json:"id"`
	Action string `json:"action"`
	Tenant string `json:"tenant"`
	Actor  struct {
		ID string `json:"id"`
	} `json:"actor"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
}

// pages follows the Link headers from a path on.
func (s *service) pages(path, token string) (out []page) {
	s.t.Helper()
	for path != "" {
		var p page
		a := s.get(path, token)
		a.into(s.t, http.StatusOK, &p)
		out = append(out, p)
		link := a.Header.Get("Link")
		if (link == "") != (p.Next == "") {
			s.t.Fatalf("Link %q and next %q", link, p.Next)
		}
		next, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
		if link != "" && !ok {
			s.t.Fatalf("Link %q", link)
		}
		path = next
	}
	return out
}

func TestPagesHoldEachSelectedEntryOnce(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 100)...)
	for _, q := range []string{ // looks into the log have later indexes
		"index:0..99", "actor:user-1", "actor:user-1 order:time", "index:0..99 order:time", "-action:mail.view index:<100", "actor:user-1 OR actor:user-2",
		`"event 7"`, "index:10..16", "index:10..17", "(message:x OR event) -actor:user-1", "action:mail.* before:2027", "actor:nobody",
	} {
		parsed, err := query.Parse(q)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []uint64
		for e, err := range s.log.Entries(t.Context(), parsed.OrderBy(query.ByIndex)) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, e.Index)
		}
		slices.Reverse(want) // times rise with indexes
		for i, p := range s.pages(api+"/entries?limit=7&q="+url.QueryEscape(q), token) {
			if i > 0 && len(p.Entries) == 0 || len(p.Entries) > 7 || p.Entries == nil {
				t.Errorf("%s: page %d has %d entries", q, i, len(p.Entries))
			}
			for _, e := range p.Entries {
				got = append(got, e.Index)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", q, diff)
		}
	}
}

func TestPagesStayWhileTheLogGrows(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 30)...)
	var first, second page
	s.get(api+"/entries?limit=10&q=actor:user-1", token).into(t, 200, &first)
	s.get(api+"/entries?limit=3&q=actor:user-1", token).into(t, 200, &second)
	s.append(events(30, 30)...)
	s.get(api+"/entries?limit=7&q=actor:user-1&cursor="+second.Next, token).into(t, 200, &second)
	if diff := cmp.Diff(first.Entries[3:], second.Entries); diff != "" {
		t.Errorf("the page behind (-want +got):\n%s", diff)
	}
}

func TestACursorIsOfOneQuery(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 30)...)
	var p page
	s.get(api+"/entries?limit=2&q=actor:user-1", token).into(t, 200, &p)
	for _, q := range []string{"", "actor:user-2", "actor:user-1+order:time", "-actor:user-1"} {
		wantProblem(t, s.get(api+"/entries?q="+q+"&cursor="+p.Next, token), http.StatusBadRequest, "cursor")
	}
	for i := range p.Next {
		damaged := p.Next[:i] + "_" + p.Next[i+1:]
		if a := s.get(api+"/entries?q=actor:user-1&cursor="+url.QueryEscape(damaged), token); a.StatusCode != 200 && a.StatusCode != 400 {
			t.Errorf("cursor %q = %d %s", damaged, a.StatusCode, a.body)
		}
	}
}

// A page that has not changed is not sent again, whatever else came into the log.
func TestAnUnchangedPageIsNotSentAgain(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 30)...)
	const path = api + "/entries?limit=5&q=actor:user-1"
	first := s.get(path, token)
	tag := first.Header.Get("ETag")
	if len(tag) < 10 {
		t.Fatalf("ETag %q", tag)
	}
	strong := strings.TrimPrefix(tag, "W/")
	for match, status := range map[string]int{tag: 304, strong: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200, "": 200, strong[1 : len(strong)-1]: 200} {
		a := s.do(call{"GET", path, token, "", []string{"If-None-Match", match}})
		if a.StatusCode != status || a.Header.Get("ETag") != tag || status == 304 && len(a.body) > 0 {
			t.Errorf("If-None-Match: %s = %d, ETag %q, %d bytes; want %d, %q", match, a.StatusCode, a.Header.Get("ETag"), len(a.body), status, tag)
		}
	}
	for _, other := range []string{path + "&limit=4", api + "/entries?limit=5&q=actor:user-2"} {
		if a := s.do(call{"GET", strings.Replace(other, "limit=5&", "", 1), token, "", []string{"If-None-Match", tag}}); a.StatusCode != 200 {
			t.Errorf("GET %s = %d, want 200", other, a.StatusCode)
		}
	}
	s.append(events(31, 1)...)
	if a := s.do(call{"GET", path, token, "", []string{"If-None-Match", tag}}); a.StatusCode != 200 || a.Header.Get("ETag") == tag {
		t.Errorf("after an entry: %d, ETag %q", a.StatusCode, a.Header.Get("ETag"))
	}
}

func TestAnEntryIsFoundByIndexAndById(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	receipts := s.append(
		attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "a"}, Source: attestlog.Source{IP: "192.0.2.7"}, Original: []byte{0xff, 0}},
		attestlog.Event{ID: "text id/ü&?", Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Action: "x", Actor: attestlog.Actor{ID: "a"}},
		attestlog.Event{ID: "text id/ü&?", Time: time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC), Action: "x", Actor: attestlog.Actor{ID: "b"}},
	)
	for _, test := range []struct {
		path  string
		index uint64
	}{
		{fmt.Sprint(api, "/entries/", receipts[0].Index), 0}, {api + "/entry?id=" + receipts[0].ID, 0},
		{api + "/entries/1", 1}, {api + "/entry?id=" + url.QueryEscape("text id/ü&?"), 2},
	} {
		e, err := s.log.Entry(t.Context(), test.index)
		if err != nil {
			t.Fatal(err)
		}
		want, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if a := s.get(test.path, token); a.StatusCode != 200 || string(a.body) != string(want) || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("GET %s = %d %s, want %s", test.path, a.StatusCode, a.body, want)
		}
	}
}
