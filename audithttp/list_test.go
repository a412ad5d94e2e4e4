package audithttp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

type listed struct {
	Entries []struct {
		Index  uint64 `json:"index"`
		Action string `json:"action"`
		Tenant string `json:"tenant"`
	} `json:"entries"`
	Next string `json:"next"`
	Size uint64 `json:"size"`
}

func get(t *testing.T, h http.Handler, target string) (*http.Response, []byte) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), body
}

func TestHandlerListsPageByPage(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	for n := range 25 {
		e := attestlog.Event{Action: []string{"mail.view", "mail.send"}[n%2], Actor: attestlog.Actor{ID: "alice"}, Tenant: fmt.Sprint("t", n%3)}
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	h := audithttp.Handler(l, audithttp.ListConfig{MaxLimit: 5})
	if _, body := get(t, h, "/"); strings.Count(string(body), `"index"`) != 5 {
		t.Errorf("without a limit: %s; want 5 entries", body)
	}
	next := "/admin/audit?limit=100&q=" + url.QueryEscape("action:mail.view")
	var seen []uint64
	for pages := 0; next != "" && pages < 10; pages++ {
		resp, body := get(t, h, next)
		var got listed
		if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != 200 || got.Size != 25 || len(got.Entries) > 5 {
			t.Fatalf("GET %s = %d, %s, %v", next, resp.StatusCode, body, err)
		}
		for _, e := range got.Entries {
			seen = append(seen, e.Index)
		}
		next = ""
		if link := resp.Header.Get("Link"); (link != "") != (got.Next != "") {
			t.Errorf("Link is %q, next is %q", link, got.Next)
		} else if link != "" {
			next, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
			next = "/admin/audit" + next
		}
	}
	if fmt.Sprint(seen) != "[24 22 20 18 16 14 12 10 8 6 4 2 0]" {
		t.Errorf("listed %v", seen)
	}
	if resp, body := get(t, h, "/?q=actor:nobody"); resp.StatusCode != 200 || !strings.Contains(string(body), `"entries":[]`) {
		t.Errorf("a query without a result: %d, %s", resp.StatusCode, body)
	}
}

func TestHandlerShowsNoMoreThanWithin(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	for n := range 6 {
		if _, err := l.Append(t.Context(), attestlog.Event{Action: "a", Actor: attestlog.Actor{ID: "x"}, Tenant: fmt.Sprint("t", n%3)}); err != nil {
			t.Fatal(err)
		}
	}
	h := audithttp.Handler(l, audithttp.ListConfig{Within: func(r *http.Request) (query.Query, error) {
		if r.URL.Query().Has("stranger") {
			return query.Query{}, errors.New("not yours")
		}
		return query.Field("tenant", "t1"), nil
	}})
	for _, q := range []string{"", "tenant:t2", "tenant:t1 OR tenant:t2", "NOT tenant:t1", "-tenant:t1 OR index:0..9"} {
		_, body := get(t, h, "/?q="+url.QueryEscape(q))
		var got listed
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		for _, e := range got.Entries {
			if e.Tenant != "t1" {
				t.Errorf("q=%s lists an entry of %s", q, e.Tenant)
			}
		}
	}
	if resp, _ := get(t, h, "/?stranger=1"); resp.StatusCode != 403 {
		t.Errorf("status %d for a stranger, want 403", resp.StatusCode)
	}
}

func TestHandlerAnswersNonsenseWithAProblem(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	h := audithttp.Handler(l, audithttp.ListConfig{Logger: testlog.Quiet})
	for _, target := range []string{"/?q=%28", "/?limit=x", "/?limit=-1", "/?limit=0", "/?cursor=zzz", "/?q=ip:10.*", "/?q=actor:bob;limit=3", "/?q=actor:bob%zz"} {
		resp, body := get(t, h, target)
		var p struct {
			Status int    `json:"status"`
			Detail string `json:"detail"`
		}
		if err := json.Unmarshal(body, &p); err != nil || resp.StatusCode != 400 || p.Status != 400 || p.Detail == "" || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("GET %s = %d, %s, %v; want a problem of status 400", target, resp.StatusCode, body, err)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("DELETE", "/", nil))
	if w.Code != 405 || w.Header().Get("Allow") == "" {
		t.Errorf("DELETE: %d, %v", w.Code, w.Header())
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp, body := get(t, h, "/"); resp.StatusCode != 500 || strings.Contains(string(body), "sqlite") {
		t.Errorf("over a closed log: %d, %s; want 500 without the store's words", resp.StatusCode, body)
	}
}
