package postgres_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
)

// A log works in the query modes that have binary values, and refuses those
// that do not.
func TestQueryModes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode  string
		works bool
	}{
		{"cache_statement", true},
		{"cache_describe", true},
		{"describe_exec", true},
		{"exec", false},
		{"simple_protocol", false},
	} {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			o := newLog(t)
			dsn := cluster.DSN("postgres", "default_query_exec_mode="+c.mode)
			if !c.works {
				_, err := postgres.Open(t.Context(), dsn, postgres.Config{Log: o.log, Home: o.home})
				if err == nil || !strings.Contains(err.Error(), "cache_describe") {
					t.Errorf("Open = %v, want it refused with the way out", err)
				}
				return
			}
			appendAndVerify(t, dsn, postgres.Config{Log: o.log, Home: o.home})
		})
	}
}

// appendAndVerify writes a new log by every path that a batch may take, and
// reads all of it back.
func appendAndVerify(t *testing.T, dsn string, cfg postgres.Config) {
	t.Helper()
	if cfg.Home == "" {
		cfg.Home = filepath.Join(t.TempDir(), "home")
	}
	l := openWith(t, dsn, cfg, attestlog.Config{})
	var g ledger
	n := 0
	for _, size := range []int{1, 30, 300, 1, 700} {
		for range 2 { // the second time the events are there
			got, err := l.Append(t.Context(), testEvents(n, n+size)...)
			if err != nil {
				t.Fatalf("Append of %d events = %v", size, err)
			}
			g.note(got)
		}
		n += size
	}
	if g.len() != n {
		t.Errorf("%d events were acknowledged, want %d", g.len(), n)
	}
	if found, err := l.Count(t.Context(), attestlog.Field("actor", "alice"), 0); err != nil || found != uint64(n) {
		t.Errorf("Count = %d, %v; want %d", found, err, n)
	}
	closeLog(t, l)
	l = openWith(t, dsn, cfg, attestlog.Config{})
	defer closeLog(t, l)
	if others := g.check(t, l); others > 0 {
		t.Errorf("%d entries without a receipt", others)
	}
	if r, err := l.Verify(t.Context(), attestlog.VerifyOptions{Index: true}); err != nil || r.Size != uint64(n) || r.Signed != uint64(n) {
		t.Errorf("Verify = %+v, %v; want %d signed entries", r, err, n)
	}
}
