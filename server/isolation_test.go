package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/server"
)

// canary is in every field of what a limited token must not see, and canaryIP is
// where only an address can be.
const (
	canary   = "canary7f3a"
	canaryIP = "203.0.113.77"
)

// theirs is an event of another tenant, or of another actor of the same one.
func theirs(tenant string, n int) attestlog.Event {
	return attestlog.Event{
		ID: fmt.Sprint(canary, "-id-", tenant, n), Time: time.Date(2026, 2, 1, 0, 0, n, 0, time.UTC), Tenant: tenant, Service: canary + ".service", Module: canary + ".module",
		Action: canary + ".action", Operation: canary, Outcome: attestlog.Failure, Reason: canary + " reason",
		Actor:  attestlog.Actor{ID: canary + "-actor", Type: "user", Name: canary + " name", Session: canary, OnBehalfOf: canary},
		Source: attestlog.Source{IP: canaryIP, Host: canary, UserAgent: canary}, Targets: []attestlog.Target{{ID: canary, Type: canary, Name: canary}},
		Request: attestlog.Request{ID: canary, Method: canary, Path: "/" + canary, Route: canary, Status: 299}, Trace: attestlog.Trace{TraceID: canary, SpanID: canary},
		Changes: []attestlog.Change{{Path: canary, Op: canary, Old: canary, New: canary}}, Message: canary + " message",
		Attributes: map[string]any{"a": canary, canary: true}, Original: []byte(canary),
	}
}

// own is an event that a token with such a limit sees.
func own(limit server.Token, n int) attestlog.Event {
	e := attestlog.Event{ID: fmt.Sprint("own-", n), Time: time.Date(2026, 2, 1, 0, 0, n, 0, time.UTC), Tenant: "acme", Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}, Message: "ownmark"}
	if limit.Actor == "" {
		e.Tenant, e.Actor.ID = "shop", "bob"
	}
	return e
}

// leaks reports whether an answer has something of a foreign entry.
func leaks(header http.Header, body []byte) bool {
	text := fmt.Sprint(header) + string(body)
	// A leaf's own hash is in the proofs of its neighbours; its bytes are not.
	return strings.Contains(text, canary) || strings.Contains(text, canaryIP) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(canary))[:8])
}

// limits are those of the tokens that are tried.
var limits = map[string]server.Token{"an actor's": {Actor: "alice"}, "an actor's of a tenant": {Tenant: "acme", Actor: "alice"}, "a tenant's": {Tenant: "shop"}}

// An isolated service has 32 entries: of alice of acme at 0, 4, 8, …, of the tenant
// shop behind them, and then of another tenant, and of another actor of acme.
func isolated(t *testing.T) (s *service, limited map[string]string) {
	s, limited = serve(t, viaProxy), map[string]string{}
	for n := 0; n < 32; n += 4 {
		s.append(own(limits["an actor's"], n), own(limits["a tenant's"], n+1), theirs("rival", n), theirs("acme", n))
	}
	s.checkpoint(s.post(api+"/checkpoint", s.token("read"), ""))
	for name, limit := range limits {
		limit.Scopes = []string{server.ScopeRead, server.ScopeAppend}
		limited[name] = s.make(limit)
	}
	return s, limited
}

// owns reports whether the entry at an index is that of a limited token.
func owns(limit server.Token, index int) bool {
	return index%4 == map[bool]int{true: 1, false: 0}[limit.Actor == ""]
}

var foreignQueries = []string{
	"", "tenant:rival", "actor:alice OR tenant:rival", "tenant:acme OR tenant:rival", "-tenant:acme", "NOT tenant:acme", "-actor:alice", "-(actor:alice)", "-(tenant:acme actor:alice)",
	"(tenant:rival)", "((tenant:acme) OR (-tenant:acme))", "-(-tenant:rival)", "tenant:r*", "index:0..", "index:1", "index:1 OR index:4", "order:time", "tenant:rival order:time", "-tenant:acme order:time",
	"outcome:failure", "status:299", "actor.type:user", "message:reason OR reason", "time:2026-02 OR outcome:failure", "-after:2027", "id:mine OR -id:mine", "ip:203.0.113.0/24", "ip:203.0.0.0/16 OR -ip:203.0.0.0/16",
}

// readings are requests that a limited token may make, for a query.
func readings(q string) []string {
	q = "q=" + url.QueryEscape(q)
	paths := []string{
		"/entries?" + q, "/entries?limit=1&" + q, "/entries?lines=true&" + q, "/count?" + q, "/count?limit=1&" + q, "/export?" + q, "/export?format=csv&" + q, "/export?disclosures=false&from=1&" + q,
		"/histogram?after=2026-01-01T00:00:00Z&before=2026-03-01T00:00:00Z&buckets=7&" + q,
	}
	for _, field := range query.FieldNames() {
		if _, err := new(attestlog.Entry).Field(field); err == nil {
			paths = append(paths, "/facets?limit=100&field="+field+"&"+q)
		}
	}
	return append(paths, "/facets?limit=100&field=attributes.a&"+q, "/facets?limit=100&field=index&"+q)
}

func TestALimitedTokenSeesNothingForeign(t *testing.T) {
	s, limited := isolated(t)
	for name, token := range limited {
		seen := 0
		for i, q := range foreignQueries {
			if raceEnabled && i%5 != 0 {
				continue
			}
			for _, path := range readings(q) {
				a := s.get(api+path, token)
				if a.StatusCode != 200 && a.StatusCode != 400 {
					t.Errorf("%s token: GET %s = %d %s", name, path, a.StatusCode, a.body)
				}
				if leaks(a.Header, a.body) || leaks(a.Trailer, nil) {
					t.Errorf("%s token: GET %s has what is not its own: %.500s", name, path, a.body)
				}
				if bytes.Contains(a.body, []byte("ownmark")) {
					seen++
				}
				if strings.HasPrefix(path, "/facets") && strings.Contains(path, "field=tenant") && bytes.Contains(a.body, []byte(`"rival"`)) {
					t.Errorf("%s token: GET %s names the other tenant", name, path)
				}
			}
		}
		if seen < len(foreignQueries)/5 {
			t.Errorf("%s token saw its own entries in %d answers alone", name, seen)
		}
	}
}

func TestALimitedTokenCountsItsOwnAlone(t *testing.T) {
	s, limited := isolated(t)
	for name, token := range limited {
		for _, q := range foreignQueries {
			want := uint64(0)
			parsed, err := query.Parse(q)
			if err != nil {
				t.Fatal(err)
			}
			for n := range 32 {
				e := attestlog.Entry{Event: own(limits[name], n), Index: uint64(n)}
				if owns(limits[name], n) && parsed.Match(&e) {
					want++
				}
			}
			bounded := query.And(parsed, query.Indexes(0, 32)) // the looks are behind
			var got counted
			s.get(api+"/count?q="+url.QueryEscape(bounded.String()), token).into(t, 200, &got)
			if got.Count != want {
				t.Errorf("%s token: %q counts %d, want %d", name, q, got.Count, want)
			}
		}
	}
}

// What is not the token's own is answered like what is not there.
func TestAForeignEntryIsNotThere(t *testing.T) {
	s, limited := isolated(t)
	for name, token := range limited {
		for index := range 32 {
			own := owns(limits[name], index)
			for _, path := range []string{"/entries/", "/proofs/"} {
				a := s.get(fmt.Sprint(api, path, index), token)
				none := s.get(api+path+"99999", token)
				if own != (a.StatusCode == 200) || leaks(a.Header, a.body) || !own && (a.StatusCode != none.StatusCode || path == "/entries/" && string(a.body) != string(none.body)) {
					t.Errorf("%s token: GET %s%d = %d %s; of none %d %s", name, path, index, a.StatusCode, a.body, none.StatusCode, none.body)
				}
			}
		}
		for _, id := range []string{theirs("rival", 0).ID, theirs("acme", 3).ID} {
			a, none := s.get(api+"/entry?id="+id, token), s.get(api+"/entry?id=none", token)
			if a.StatusCode != 404 || string(a.body) != string(none.body) {
				t.Errorf("%s token: GET entry?id=%s = %d %s; of none %s", name, id, a.StatusCode, a.body, none.body)
			}
		}
	}
}

func TestACursorLetsNobodyOut(t *testing.T) {
	s, limited := isolated(t)
	admin := s.token(server.ScopeAdmin)
	for name, token := range limited {
		for _, q := range foreignQueries {
			var p page
			if a := s.get(api+"/entries?limit=1&q="+url.QueryEscape(q), admin); a.StatusCode == 200 {
				a.into(t, 200, &p)
			}
			cursors := []string{p.Next}
			// And such as a client can make up for the bounded query.
			for _, limit := range []string{"actor:alice", "tenant:acme actor:alice", "tenant:shop"} {
				for _, index := range []uint64{2, 1 << 60} {
					cursors = append(cursors, madeUp(t, q, limit, index))
				}
			}
			for _, cursor := range cursors {
				a := s.get(api+"/entries?q="+url.QueryEscape(q)+"&cursor="+cursor, token)
				if leaks(a.Header, a.body) {
					t.Errorf("%s token: %q behind cursor %s has what is not its own: %.500s", name, q, cursor, a.body)
				}
			}
		}
	}
}

// madeUp is a cursor of a query that is bounded to what limit selects.
func madeUp(t *testing.T, q, limit string, index uint64) string {
	t.Helper()
	text, err := query.Parse(q)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := query.Parse(limit)
	if err != nil {
		t.Fatal(err)
	}
	text = query.And(text, bound)
	h := fnv.New32a()
	h.Write([]byte(text.String()))
	b := binary.BigEndian.AppendUint32([]byte{1, byte(text.Order())}, h.Sum32())
	b = binary.BigEndian.AppendUint64(b, index)
	if text.Order() == query.ByTime {
		b = binary.BigEndian.AppendUint64(b, 1<<62)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestALimitedTailSeesNothingForeign(t *testing.T) {
	s, limited := isolated(t)
	last := 100
	for name, token := range limited {
		for _, q := range foreignQueries {
			last++
			params := "?from=0&q=" + url.QueryEscape(q)
			resp, err := client.Do(s.request(t.Context(), call{method: "GET", path: api + "/tail" + params, token: token}))
			if err != nil {
				t.Fatal(err)
			}
			e := attestlog.Entry{Event: own(limits[name], last), Index: 1 << 20}
			s.append(theirs("rival", last), e.Event, theirs("acme", last))
			if parsed, err := query.Parse(q); err != nil || !parsed.Match(&e) {
				// Nothing tells that nothing comes; what was there is read within that time.
				time.AfterFunc(20*time.Millisecond, func() { resp.Body.Close() })
			}
			var text []byte
			for buf := make([]byte, 32<<10); err == nil && !bytes.Contains(text, []byte(`"`+e.ID+`"`)); {
				var n int
				n, err = resp.Body.Read(buf)
				text = append(text, buf[:n]...)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 || leaks(resp.Header, text) {
				t.Errorf("%s token: tail%s = %d, has what is not its own: %.500s", name, params, resp.StatusCode, text)
			}
		}
	}
}

func TestALimitedTokenWritesItsOwnAlone(t *testing.T) {
	s, limited := isolated(t)
	for name, limit := range limits {
		for _, w := range foreignWrites {
			before := s.size()
			a := s.do(call{"POST", w.path, limited[name], w.body, w.headers})
			if err := s.log.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			for e, err := range s.log.Entries(t.Context(), query.Indexes(before, 1<<60)) {
				if err != nil {
					t.Fatal(err)
				}
				if limit.Tenant != "" && e.Tenant != limit.Tenant || limit.Actor != "" && e.Actor.ID != limit.Actor {
					t.Errorf("%s token: POST %s of %s = %d stored tenant %q, actor %q", name, w.path, w.body, a.StatusCode, e.Tenant, e.Actor.ID)
				}
			}
			if a.StatusCode >= 500 || a.StatusCode == 401 {
				t.Errorf("%s token: POST %s of %s = %d %s", name, w.path, w.body, a.StatusCode, a.body)
			}
		}
	}
	// Without a limit each of them is stored: so it was the limit that kept them out.
	for _, w := range foreignWrites {
		if a := s.do(call{"POST", w.path, s.token(server.ScopeAppend), w.body, w.headers}); a.StatusCode/100 != 2 {
			t.Errorf("POST %s of %s without a limit = %d %s", w.path, w.body, a.StatusCode, a.body)
		}
	}
}

// foreignWrites claim another tenant and another actor, in every way that a source
// has for it.
var foreignWrites = slices.Concat(
	writesOf(api+"/entries", nil, `{"action":"x","actor":{"id":"%s"},"tenant":"%s"}`),
	writesOf(api+"/entries", nil, eventBody+"\n"+`{"action":"x","actor":{"id":"%s"},"tenant":"%s"}`),
	writesOf(api+"/entries", []string{"Idempotency-Key", "a key"}, `[{"action":"x","time":"2026-01-01T00:00:00Z","actor":{"id":"%s"},"tenant":"%s"}]`),
	writesOf("/ingest/default/json", nil, `{"action":"x","user":"%s","tenant":"%s"}`), writesOf("/ingest/default/json", nil, `{"action":"x","actor":{"id":"%s"},"organization":{"id":"%s"}}`),
	writesOf("/ingest/default/json?map=tenant:a.b&map=actor:c", nil, `{"action":"x","c":"%s","a":{"b":"%s"}}`),
	writesOf("/ingest/default/cloudevents", []string{"Content-Type", "application/cloudevents+json"}, `{"specversion":"1.0","id":"1","source":"s","type":"x","data":{"action":"x","actor":{"id":"%s"},"tenant":"%s"}}`),
	writesOf("/ingest/default/cloudevents", []string{"Content-Type", "application/cloudevents-batch+json"}, `[`+cloudBody+`,{"specversion":"1.0","id":"2","source":"s","type":"x","data":{"user":"%s","tenant":"%s","more":1}}]`),
	writesOf("/ingest/default/cloudevents", []string{"Content-Type", "application/json", "Ce-Specversion", "1.0", "Ce-Id", "3", "Ce-Source", "s", "Ce-Type", "x"}, `{"user":"%s","tenant":"%s"}`),
	writesOf("/ingest/default/kubernetes", nil, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"2","stage":"ResponseComplete","verb":"list","user":{"username":"%s"},"annotations":{"attestlog/tenant":"%s","tenant":"rival"},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}`),
	writesOf("/ingest/default/opa/logs", nil, `[{"decision_id":"2","path":"shop/authz","input":{"user":"%s","tenant":"%s"},"result":true,"timestamp":"2026-01-01T00:00:00Z"}]`),
	writesOf("/v1/logs", asJSON, otlpTenant), writesOf("/ingest/default/v1/logs", asJSON, otlpTenant),
	writesOf("/add", nil, "%s %s"),
)

const otlpTenant = `{"resourceLogs":[{"resource":{"attributes":[{"key":"tenant.id","value":{"stringValue":"rival"}}]},"scopeLogs":[{"logRecords":[{"timeUnixNano":"1767261600000000000","eventName":"x","attributes":[{"key":"user.id","value":{"stringValue":"%s"}},{"key":"attestlog.tenant","value":{"stringValue":"%s"}},{"key":"tenant","value":{"stringValue":"rival"}}]}]}]}]}`

type write struct {
	path, body string
	headers    []string
}

func writesOf(path string, headers []string, format string) []write {
	var out []write
	for _, claim := range [][2]string{{"mallory", "rival"}, {"alice", "other"}, {"mallory", "acme"}, {"mallory", "shop"}} {
		out = append(out, write{path, fmt.Sprintf(format, claim[0], claim[1]), headers})
	}
	return out
}

// A limited token learns nothing from ids that others have used.
func TestAnIdOfAnotherTenantIsNoConflictToLookInto(t *testing.T) {
	s, limited := isolated(t)
	receipt := s.append(attestlog.Event{Tenant: "rival", Action: "secret.action", Actor: attestlog.Actor{ID: canary}})[0]
	for name, token := range limited {
		body, _ := json.Marshal(map[string]any{"id": receipt.ID, "action": "secret.action", "actor": map[string]any{"id": "alice"}})
		a := s.post(api+"/entries", token, string(body))
		if a.StatusCode == 201 || leaks(a.Header, a.body) || strings.Contains(string(a.body), fmt.Sprint("entry ", receipt.Index)) {
			t.Errorf("%s token: POST of a foreign id = %d %s", name, a.StatusCode, a.body)
		}
	}
}
