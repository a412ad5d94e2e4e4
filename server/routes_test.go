package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
)

// A route is what a test needs to know of one: nothing may be served that is not
// listed here.
type route struct {
	pattern string
	path    string // one that matches
	scope   string // that it asks for; "" for a route that is anybody's
	whole   bool   // it concerns the whole log, so no limited token will do
	body    string // that is acceptable
	headers []string
}

const (
	eventBody = `{"action":"x","actor":{"id":"alice"}}`
	cloudBody = `{"specversion":"1.0","id":"1","source":"test","type":"x","authid":"alice"}`
	kubeBody  = `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"auditID":"1","stage":"ResponseComplete","verb":"list","user":{"username":"alice"},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}]}`
	opaBody   = `[{"decision_id":"1","path":"shop/authz","input":{"user":"alice"},"result":true,"timestamp":"2026-01-01T00:00:00Z"}]`
	otlpBody  = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1767261600000000000","eventName":"x","attributes":[{"key":"user.id","value":{"stringValue":"alice"}}]}]}]}]}`
	auditBody = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1767261600000000000","eventName":"x","attributes":[{"key":"audit.record.id","value":{"stringValue":"1"}},{"key":"audit.actor.id","value":{"stringValue":"alice"}},{"key":"audit.actor.type","value":{"stringValue":"user"}},{"key":"audit.action","value":{"stringValue":"read"}},{"key":"audit.outcome","value":{"stringValue":"success"}}]}]}]}]}`
)

var asJSON = []string{"Content-Type", "application/json"}

var routes = []route{
	{pattern: "GET /openapi.json", path: "/openapi.json"}, {pattern: "GET /openapi-3.0.json", path: "/openapi-3.0.json"},
	{pattern: "GET /openapi.yaml", path: "/openapi.yaml"}, {pattern: "GET /openapi-3.0.yaml", path: "/openapi-3.0.yaml"},
	{pattern: "GET /docs", path: "/docs"}, {pattern: "GET /healthz", path: "/healthz"}, {pattern: "GET /readyz", path: "/readyz"}, {pattern: "/", path: "/nowhere"},

	{pattern: "GET /api/v1/logs", path: "/api/v1/logs", scope: "read"}, {pattern: "GET /api/v1/logs/{log}", path: api, scope: "read"},
	{pattern: "GET /api/v1/logs/{log}/entries", path: api + "/entries", scope: "read"}, {pattern: "GET /api/v1/logs/{log}/entries/{index}", path: api + "/entries/0", scope: "read"},
	{pattern: "GET /api/v1/logs/{log}/entry", path: api + "/entry?id=mine", scope: "read"}, {pattern: "GET /api/v1/logs/{log}/count", path: api + "/count", scope: "read"},
	{pattern: "GET /api/v1/logs/{log}/facets", path: api + "/facets?field=actor", scope: "read"},
	{pattern: "GET /api/v1/logs/{log}/histogram", path: api + "/histogram?after=2026-01-01T00:00:00Z&before=2027-01-01T00:00:00Z", scope: "read"},
	{pattern: "GET /api/v1/logs/{log}/checkpoint", path: api + "/checkpoint", scope: "read"}, {pattern: "POST /api/v1/logs/{log}/checkpoint", path: api + "/checkpoint", scope: "read"},
	{pattern: "GET /api/v1/logs/{log}/proofs/{index}", path: api + "/proofs/0", scope: "read"}, {pattern: "GET /api/v1/logs/{log}/consistency", path: api + "/consistency?from=1&to=2", scope: "read"},
	{pattern: "GET /api/v1/logs/{log}/tail", path: api + "/tail?from=0", scope: "read"}, {pattern: "GET /api/v1/logs/{log}/export", path: api + "/export", scope: "read"},

	{pattern: "POST /api/v1/logs/{log}/verifications", path: api + "/verifications", scope: "verify", whole: true},
	{pattern: "GET /api/v1/logs/{log}/verifications/{id}", path: api + "/verifications/0", scope: "verify", whole: true},
	{pattern: "GET /metrics", path: "/metrics", scope: "admin", whole: true},
	{pattern: "GET /checkpoint", path: "/checkpoint", scope: "read", whole: true}, {pattern: "GET /tile/{tile...}", path: "/tile/entries/000.p/1", scope: "read", whole: true},
	{pattern: "GET /tiles/{log}/checkpoint", path: "/tiles/default/checkpoint", scope: "read", whole: true},
	{pattern: "GET /tiles/{log}/tile/{tile...}", path: "/tiles/default/tile/entries/000.p/1", scope: "read", whole: true},

	{pattern: "POST /api/v1/logs/{log}/entries", path: api + "/entries", scope: "append", body: eventBody}, {pattern: "POST /add", path: "/add", scope: "append", body: "leaf"},
	{pattern: "POST /ingest/{log}/json", path: "/ingest/default/json", scope: "append", body: `{"action":"x","user":"alice"}`},
	{pattern: "POST /ingest/{log}/cloudevents", path: "/ingest/default/cloudevents", scope: "append", body: cloudBody, headers: []string{"Content-Type", "application/cloudevents+json"}},
	{pattern: "POST /ingest/{log}/kubernetes", path: "/ingest/default/kubernetes", scope: "append", body: kubeBody},
	{pattern: "POST /ingest/{log}/opa/logs", path: "/ingest/default/opa/logs", scope: "append", body: opaBody},
	{pattern: "POST /ingest/{log}/v1/logs", path: "/ingest/default/v1/logs", scope: "append", body: otlpBody, headers: asJSON},
	{pattern: "POST /ingest/{log}/v1/audit", path: "/ingest/default/v1/audit", scope: "append", body: auditBody, headers: asJSON},
	{pattern: "POST /v1/logs", path: "/v1/logs", scope: "append", body: otlpBody, headers: asJSON}, {pattern: "POST /v1/audit", path: "/v1/audit", scope: "append", body: auditBody, headers: asJSON},
}

func (r *route) call(token string, headers ...string) call {
	method := "GET"
	if r.pattern[0] == 'P' {
		method = "POST"
	}
	return call{method, r.path, token, r.body, append(slices.Clone(r.headers), headers...)}
}

func TestEveryRouteIsListed(t *testing.T) {
	s := serve(t)
	var listed []string
	for _, r := range routes {
		listed = append(listed, r.pattern)
	}
	for _, pattern := range s.srv.Patterns() {
		if !slices.Contains(listed, pattern) {
			t.Errorf("no test knows the route %q", pattern)
		}
	}
	for _, pattern := range listed {
		if !slices.Contains(s.srv.Patterns(), pattern) {
			t.Errorf("there is no route %q", pattern)
		}
	}
}

// viaProxy gives each request an address of its own, so that none is refused for
// the wrong tokens of others.
func viaProxy(s *service) {
	s.config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

var addresses int

func address() []string {
	addresses++
	return []string{"X-Forwarded-For", fmt.Sprintf("198.18.%d.%d", addresses/256, addresses%256)}
}

// status is that of a route's answer, which may be a stream without an end.
func (s *service) status(c call) int {
	s.t.Helper()
	resp, err := client.Do(s.request(s.t.Context(), c))
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestEveryRouteAsksForItsToken(t *testing.T) {
	otherStore := sqlitetest.Store(t, sqlitetest.Path(t), sqlite.Config{})
	other := testlog.New(t, otherStore, attestlog.Config{})
	c := &clock{now: time.Now()}
	s := serve(t, viaProxy, func(s *service) {
		s.config.Logs, s.config.Clock = []server.Log{{Name: "other", Log: other, Tokens: otherStore}}, c.time
	})
	s.append(events(0, 3)...)
	s.checkpoint(s.post(api+"/checkpoint", s.token("read"), ""))
	expired := s.make(server.Token{Scopes: []string{"admin"}, Expires: c.time().Add(time.Minute)})
	revoked := server.Token{Scopes: []string{"admin"}}
	revokedText := s.make(revoked)
	for _, token := range []string{expired, revokedText} {
		if a := s.get(api, token); a.StatusCode != 200 {
			t.Fatalf("before: %d %s", a.StatusCode, a.body)
		}
	}
	c.add(time.Hour)
	all, err := server.ListTokens(t.Context(), s.store)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range all {
		if token.Expires.IsZero() && slices.Contains(token.Scopes, "admin") {
			if _, err := server.RevokeToken(t.Context(), s.store, token.ID, c.time()); err != nil {
				t.Fatal(err)
			}
		}
	}
	foreign, err := server.CreateToken(t.Context(), otherStore, &server.Token{Scopes: server.Scopes})
	if err != nil {
		t.Fatal(err)
	}
	good := s.token("admin")
	for _, r := range routes {
		if r.scope == "" {
			if got := s.status(r.call("")); got == 401 || got == 403 {
				t.Errorf("%s without a token = %d", r.pattern, got)
			}
			continue
		}
		other := func(at int) string { return good[:at] + string('a'+(good[at]-'a'+1)%2) + good[at+1:] }
		for name, token := range map[string]string{
			"no": "", "a malformed": "al_x", "another's secret": other(len("al_aaaaaaaaaaaaaaaa_")), "another spelling of a": other(len(good) - 1), "an unknown": "al_aaaaaaaaaaaaaaaa_" + good[len("al_aaaaaaaaaaaaaaaa_"):],
			"an expired": expired, "a revoked": revokedText, "another log's": foreign, "a cut": good[:len(good)-1], "a long": good + "a", "an id's": good[:20],
		} {
			want := http.StatusUnauthorized
			if r.pattern == "GET /api/v1/logs" && name == "another log's" {
				want = http.StatusOK // which lists the other log alone
			}
			if got := s.status(r.call(token, address()...)); got != want {
				t.Errorf("%s with %s token = %d, want %d", r.pattern, name, got, want)
			}
		}
	}
}

func TestEveryRouteAsksForItsScope(t *testing.T) {
	s := serve(t, viaProxy)
	s.append(events(0, 3)...)
	s.checkpoint(s.post(api+"/checkpoint", s.token("read"), ""))
	tokens := map[string]string{}
	for _, scope := range server.Scopes {
		tokens[scope] = s.token(scope)
	}
	limited := map[string]string{
		"a tenant's": s.make(server.Token{Scopes: []string{"read", "append"}, Tenant: "acme"}), "an actor's": s.make(server.Token{Scopes: []string{"read", "append"}, Actor: "alice"}),
	}
	// No one makes such a token; a server must not rely on it.
	for name, limit := range map[string]server.Token{"a tenant's with all scopes": {Tenant: "acme"}, "an actor's with all scopes": {Actor: "alice"}} {
		limited[name] = s.forge(limit)
	}
	for _, r := range routes {
		if r.scope == "" {
			continue
		}
		for scope, token := range tokens {
			may := scope == r.scope || scope == "admin"
			if got := s.status(r.call(token)); may == (got == 401 || got == 403) {
				t.Errorf("%s with the scope %s = %d", r.pattern, scope, got)
			}
		}
		for name, token := range limited {
			if got := s.status(r.call(token)); r.whole && got != http.StatusForbidden {
				t.Errorf("%s with %s token = %d, want 403", r.pattern, name, got)
			}
		}
	}
}

// forge makes a token with all scopes whose record is then limited.
func (s *service) forge(limit server.Token) string {
	s.t.Helper()
	t := server.Token{Scopes: server.Scopes}
	text, err := server.CreateToken(s.t.Context(), s.store, &t)
	if err != nil {
		s.t.Fatal(err)
	}
	t.Tenant, t.Actor = limit.Tenant, limit.Actor
	record, err := json.Marshal(&t)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.store.PutToken(s.t.Context(), t.ID, record); err != nil {
		s.t.Fatal(err)
	}
	return text
}
