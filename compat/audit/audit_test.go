package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog/compat/audit"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

const schema = `CREATE TABLE audit_log (id BIGSERIAL PRIMARY KEY, timestamp TIMESTAMPTZ, event_type VARCHAR(50), username VARCHAR(255), ip_address VARCHAR(45),
	query TEXT, mail_id VARCHAR(255), success BOOLEAN, detail TEXT)`

func TestMain(m *testing.M) {
	os.Exit(func() int {
		state, err := os.MkdirTemp("", "attestlog-state")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(state)
		os.Setenv("XDG_STATE_HOME", state) // where spools are
		return m.Run()
	}())
}

func newLogger(t *testing.T, dsn, path string, to *bytes.Buffer) *audit.Logger {
	t.Helper()
	if to == nil {
		to = &bytes.Buffer{}
	}
	l, err := audit.New(dsn, path, slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func queryOf(t *testing.T, l *audit.Logger, f audit.QueryFilter) ([]audit.Entry, int) {
	t.Helper()
	entries, total, err := l.Query(f)
	if err != nil || (entries == nil) != (len(entries) == 0) {
		t.Fatalf("Query(%+v) = %v, %v", f, entries, err)
	}
	return entries, total
}

func run(t *testing.T, c *pgtest.Cluster, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

func TestLogAndQuery(t *testing.T) {
	t.Parallel()
	c, dir := pgtest.New(t, "fsync=off"), t.TempDir()
	path := filepath.Join(dir, "logs", "audit.jsonl")
	l := newLogger(t, c.DSN("postgres"), path, nil)
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	var want []audit.Entry
	for n := range 130 {
		e := audit.Entry{
			Timestamp: at.Add(time.Duration(n) * time.Second), EventType: []string{audit.EventLogin, audit.EventMailView, audit.EventOCRDownload}[n%3],
			Username: []string{"alice", "bob"}[n%2], IPAddress: "2001:DB8::1", Success: n%5 > 0,
		}
		if n%3 > 0 {
			e.MailID, e.Detail = fmt.Sprint(n%4), "seen"
		} else {
			e.Query = "subject:x"
		}
		l.Log(e)
		want = append([]audit.Entry{e}, want...)
	}
	seen := map[int64]bool{}
	for page := range 4 {
		got, total := queryOf(t, l, audit.QueryFilter{Page: page})
		if total != 130 || len(got) != []int{50, 50, 30, 0}[page] {
			t.Fatalf("page %d has %d entries of %d", page, len(got), total)
		}
		for i, e := range got {
			if seen[e.ID] || e.ID <= 0 {
				t.Errorf("id %d is not its own", e.ID)
			}
			seen[e.ID] = true
			e.ID = 0
			e.Timestamp = e.Timestamp.UTC()
			if e != want[page*50+i] {
				t.Fatalf("entry %d of page %d is %+v, want %+v", i, page, e, want[page*50+i])
			}
		}
	}
	from, to := at.Add(10*time.Second), at.Add(20*time.Second)
	for _, f := range []struct {
		filter audit.QueryFilter
		keep   func(audit.Entry) bool
	}{
		{audit.QueryFilter{Username: "alice"}, func(e audit.Entry) bool { return e.Username == "alice" }},
		{audit.QueryFilter{EventType: audit.EventOCRDownload}, func(e audit.Entry) bool { return e.EventType == "mail:ocr_download" }},
		{audit.QueryFilter{MailID: "3"}, func(e audit.Entry) bool { return e.MailID == "3" }},
		{audit.QueryFilter{From: &from, To: &to}, func(e audit.Entry) bool { return !e.Timestamp.Before(from) && !e.Timestamp.After(to) }},
		{audit.QueryFilter{From: &to, Username: "bob", EventType: "login"}, func(e audit.Entry) bool {
			return !e.Timestamp.Before(to) && e.Username == "bob" && e.EventType == "login"
		}},
		{audit.QueryFilter{Username: "Alice"}, func(audit.Entry) bool { return false }},
		{audit.QueryFilter{From: &from, To: &from}, func(e audit.Entry) bool { return e.Timestamp.Equal(from) }},
	} {
		f.filter.PageSize = 1000
		var kept []audit.Entry
		for _, e := range want {
			if f.keep(e) {
				kept = append(kept, e)
			}
		}
		got, total := queryOf(t, l, f.filter)
		for i := range got {
			got[i].ID = 0
			got[i].Timestamp = got[i].Timestamp.UTC()
		}
		if total != len(kept) || len(got) != len(kept) || len(kept) > 0 && cmp.Diff(kept, got) != "" {
			t.Errorf("Query(%+v) found %d of %d, want %d", f.filter, len(got), total, len(kept))
		}
	}
	checkFile(t, path, want)
}

// checkFile compares the file with entries, newest first.
func checkFile(t *testing.T, path string, want []audit.Entry) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("the file has %d lines, want %d", len(lines), len(want))
	}
	for i, line := range lines {
		e := want[len(want)-1-i]
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		has := map[string]any{"timestamp": e.Timestamp.Format(time.RFC3339), "event_type": e.EventType, "username": e.Username, "ip_address": e.IPAddress, "success": e.Success}
		for name, v := range map[string]string{"query": e.Query, "mail_id": e.MailID, "detail": e.Detail} {
			if v != "" {
				has[name] = v
			}
		}
		if diff := cmp.Diff(has, got); diff != "" {
			t.Fatalf("line %d (-want +got):\n%s", i+1, diff)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("its folder has mode %v, %v", info.Mode(), err)
	}
}

func TestAnOldTableIsTakenOverOnce(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	run(t, c, schema+`; INSERT INTO audit_log (timestamp, event_type, username, ip_address, query, mail_id, success, detail)
		SELECT '2026-01-01'::timestamptz + n / 10 * interval '1 second', 'login', 'alice', '192.0.2.7', NULL, '', true, NULL FROM generate_series(1, 2500) n;
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''append-only''; END';
		CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON audit_log EXECUTE FUNCTION refuse()`)
	ids := map[int64]bool{}
	for round := range 3 {
		l := newLogger(t, c.DSN("postgres"), "", nil)
		l.Log(audit.Entry{EventType: audit.EventLogout, Username: "bob", Success: true})
		got, total := queryOf(t, l, audit.QueryFilter{PageSize: 10_000})
		if total != 2501+round || len(got) != total {
			t.Fatalf("round %d: %d entries of %d, want %d", round, len(got), total, 2501+round)
		}
		clear(ids)
		for _, e := range got {
			ids[e.ID] = true
		}
		if len(ids) != total || !ids[1] || !ids[2500] || got[0].EventType != "logout" {
			t.Errorf("round %d: %d ids; 1 and 2500 are among them: %v, %v; the newest is %+v", round, len(ids), ids[1], ids[2500], got[0])
		}
		oldest := audit.Entry{ID: got[total-1].ID, Timestamp: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), EventType: "login", Username: "alice", IPAddress: "192.0.2.7", Success: true}
		if !got[total-1].Timestamp.Equal(oldest.Timestamp) || got[total-1].Username != oldest.Username || got[total-1].IPAddress != oldest.IPAddress {
			t.Errorf("round %d: the oldest is %+v, want %+v", round, got[total-1], oldest)
		}
		if _, err := verify.Log(t.Context(), l.AuditLog(), verify.Options{}); err != nil {
			t.Errorf("Verify = %v", err)
		}
		for range 2 {
			if err := l.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		}
	}
}

func TestWhileTheDatabaseIsDown(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	l := newLogger(t, c.DSN("postgres"), "", nil)
	log := func(n int) {
		l.Log(audit.Entry{EventType: "search", Username: "alice", Query: fmt.Sprint(n), Success: true})
	}
	for n := range 5 {
		log(n)
	}
	c.Kill()
	logged := make(chan struct{})
	waited := 0
	go func() {
		defer close(logged)
		for n := 5; n < 60; n++ {
			began := time.Now()
			log(n)
			if time.Since(began) >= 10*time.Second { // which is how long one waits for the database
				waited++
			}
		}
	}()
	testwait.Receive(t, "the end of 55 calls", logged)
	if waited > 2 {
		t.Errorf("%d of 55 calls waited for the database", waited)
	}
	l.Close() // its last checkpoint fails

	c.Restart(t)
	l = newLogger(t, c.DSN("postgres"), "", nil)
	log(60)
	testlog.Flush(t, l.AuditLog())
	next := 0
	for e, err := range l.AuditLog().Entries(t.Context(), query.Query{}) {
		if err != nil || e.Attributes["query"] != fmt.Sprint(next) {
			t.Fatalf("entry %d is about %v, %v; want %d", e.Index, e.Attributes["query"], err, next)
		}
		next++
	}
	if next != 61 {
		t.Errorf("%d entries, want 61", next)
	}
}

func TestOddEntriesAreFound(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	l := newLogger(t, c.DSN("postgres"), "", nil)
	far := time.Date(12_000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, e := range []audit.Entry{
		{EventType: "attestlog.erase", Username: "a"}, {EventType: strings.Repeat("x", 300), Username: "b\xff"}, {EventType: "audit.imported", Username: "", MailID: "\x00"}, {EventType: "far", Timestamp: far},
	} {
		l.Log(e)
		got, total := queryOf(t, l, audit.QueryFilter{EventType: e.EventType, Username: e.Username, MailID: e.MailID})
		if total != 1 || len(got) != 1 || got[0].Username != e.Username || got[0].MailID != e.MailID || len(e.EventType) < 256 && got[0].EventType != e.EventType || !e.Timestamp.IsZero() && !got[0].Timestamp.Equal(e.Timestamp) {
			t.Errorf("Query of %+.100v found %+.200v", e, got)
		}
	}
}

func TestWhatOthersLeftBehindComesFirst(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	loggers := []*audit.Logger{newLogger(t, c.DSN("postgres"), "", nil), newLogger(t, c.DSN("postgres"), "", nil)}
	c.Kill()
	for n := range 1_200 { // more than one Move, in the second's spool
		loggers[1].Log(audit.Entry{EventType: "search", Detail: fmt.Sprint(n)})
	}
	for _, l := range loggers {
		l.Close()
	}
	c.Restart(t)
	l := newLogger(t, c.DSN("postgres"), "", nil)
	l.Log(audit.Entry{EventType: "search", Detail: "1200"})
	next := 0
	for e, err := range l.AuditLog().Entries(t.Context(), query.Query{}) {
		if err != nil || e.Message != fmt.Sprint(next) {
			t.Fatalf("entry %d is %q, %v; want %d", e.Index, e.Message, err, next)
		}
		next++
	}
	if next != 1201 {
		t.Errorf("%d entries, want 1201", next)
	}
}

func TestTwoProcessesAtOnce(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	a, b := newLogger(t, c.DSN("postgres"), "", nil), newLogger(t, c.DSN("postgres"), "", nil)
	var wg sync.WaitGroup
	for w := range 100 {
		wg.Go(func() {
			for n := range 5 {
				[]*audit.Logger{a, b}[w%2].Log(audit.Entry{EventType: "export", Username: fmt.Sprint("user-", w), Detail: fmt.Sprint(n), Success: true})
			}
		})
	}
	wg.Wait()
	if _, total := queryOf(t, b, audit.QueryFilter{}); total != 500 {
		t.Errorf("%d entries, want 500", total)
	}
}

func TestAFileThatCannotBeWrittenIsAWarning(t *testing.T) {
	t.Parallel()
	c, dir := pgtest.New(t, "fsync=off"), t.TempDir()
	blocked := filepath.Join(dir, "blocked")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", filepath.Join(blocked, "audit.jsonl")} {
		var warned bytes.Buffer
		l := newLogger(t, c.DSN("postgres"), path, &warned)
		l.Log(audit.Entry{EventType: "login", Username: "alice"})
		if err := l.Close(); err != nil || !strings.Contains(warned.String(), "level=WARN") {
			t.Errorf("Close = %v; logged %s, want a warning", err, warned.String())
		}
		l.Log(audit.Entry{EventType: "late", Username: "alice"})
		if !strings.Contains(warned.String(), `level=ERROR msg="audit: insert failed" err="closed pool"`) {
			t.Errorf("a Log after Close was not logged: %s", warned.String())
		}
	}
}

// A filter selects the entries with its texts, and not those whose texts the log has
// replaced by the same.
func TestAFilterIsExact(t *testing.T) {
	t.Parallel()
	l := newLogger(t, pgtest.New(t, "fsync=off").DSN("postgres"), "", nil)
	long := strings.Repeat("x", 300)
	texts := []string{"", "alice", "unknown.actor", "unknown.action", "attestlog.erase", "foreign.attestlog.erase", "a\xff", "a\uFFFDff", "a\uFFFD\uFFFDff", `a\xff`, "a\x00", long + "1", long + "2"}
	for _, text := range texts {
		l.Log(audit.Entry{EventType: text, Username: text, MailID: text})
	}
	for _, text := range texts[1:] {
		for _, f := range []audit.QueryFilter{{Username: text}, {EventType: text}, {MailID: text}, {Username: text, EventType: text, MailID: text}} {
			got, total := queryOf(t, l, f)
			if total != 1 || len(got) != 1 || got[0].Username != text || got[0].EventType != text || got[0].MailID != text {
				t.Errorf("%.60v selects %.200q of %d", f, fmt.Sprint(got), total)
			}
			f.Page = 1
			if got, total := queryOf(t, l, f); total != 1 || got != nil {
				t.Errorf("%.60v: the second page is %v of %d", f, got, total)
			}
			f.Page = -1
			if _, total, err := l.Query(f); total != 1 || err == nil || err.Error() != "ERROR: OFFSET must not be negative (SQLSTATE 2201X)" {
				t.Errorf("%.60v: a page before the first is %v of %d", f, err, total)
			}
		}
	}
}
