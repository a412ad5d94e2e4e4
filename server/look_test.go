package server_test

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog/server"
)

// Who looked for what stands in the log.
func TestLooksIntoTheLogAreEntries(t *testing.T) {
	s := serve(t)
	token := s.make(server.Token{Scopes: []string{server.ScopeAdmin}, Note: "the auditor"})
	s.append(events(0, 3)...)
	forged := forgedCursor(t, s)
	for path, action := range map[string]string{
		api + "/entries?q=actor:user-1": "audit.query", api + "/entries/1": "audit.show", api + "/proofs/1": "audit.prove",
		api + "/facets?field=actor&q=actor:user-1": "audit.query", api + "/export?q=actor:user-1": "audit.export",
		api + "/histogram?after=2026-01-01T00:00:00Z&before=2026-01-02T00:00:00Z&q=actor:user-1": "audit.query",
		api + "/count?q=actor:user-1": "audit.query", api + "/entries?cursor=" + forged: "audit.query",
	} {
		if err := s.log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := s.size()
		a := s.do(call{"GET", path, token, "", []string{"X-Request-Id", "request-0001", "User-Agent", "curl"}})
		if a.StatusCode != 200 {
			t.Errorf("GET %s = %d %s", path, a.StatusCode, a.body)
		}
		if err := s.log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		e, err := s.log.Entry(t.Context(), before)
		if err != nil {
			t.Errorf("GET %s left no entry", path)
			continue
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(token, "al_"), "_")
		want := []string{action, "token/" + id, "the auditor", "127.0.0.1", "curl", "request-0001"}
		got := []string{e.Action, e.Actor.ID, e.Actor.Name, e.Source.IP, e.Source.UserAgent, e.Request.ID}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("GET %s (-want +got):\n%s", path, diff)
		}
		if text, _ := e.Attributes["query"].(string); strings.Contains(path, "q=") && text != "actor:user-1" {
			t.Errorf("GET %s: attributes %v", path, e.Attributes)
		}
	}
}

// forgedCursor returns a cursor above every entry, which nobody has to have
// looked at a first page for.
func forgedCursor(t *testing.T, s *service) string {
	t.Helper()
	var p page
	s.get(api+"/entries?limit=1", s.token(server.ScopeRead)).into(t, 200, &p)
	b, err := base64.RawURLEncoding.DecodeString(p.Next)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint64(b[6:], 1<<60)
	return base64.RawURLEncoding.EncodeToString(b)
}
