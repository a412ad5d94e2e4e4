package postgres_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
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

// Whatever a database's sessions begin with, receipts are right and all is read
// back as it was written.
func TestSettingsOfTheDatabaseDoNotMatter(t *testing.T) {
	t.Parallel()
	for _, settings := range [][]string{
		{"synchronous_commit = off"},
		{"default_transaction_isolation = 'repeatable read'"},
		{"default_transaction_isolation = serializable"},
		{"default_transaction_deferrable = on", "default_transaction_isolation = serializable"},
		{"idle_in_transaction_session_timeout = '20ms'"},
		{"statement_timeout = '3s'", "lock_timeout = '1ms'"},
		{"search_path = ''"},
		{"search_path = 'information_schema, pg_temp, nowhere'"},
		{"DateStyle = 'German, DMY'", "TimeZone = 'Asia/Kathmandu'", "IntervalStyle = sql_standard", "bytea_output = escape", "extra_float_digits = -15"},
		{"standard_conforming_strings = off", "backslash_quote = on", "escape_string_warning = off"},
		{"client_encoding = LATIN1"},
		{"enable_indexscan = off", "enable_bitmapscan = off", "plan_cache_mode = force_generic_plan"},
		{"row_security = off", "check_function_bodies = off", "array_nulls = off", "transform_null_equals = on", "quote_all_identifiers = on"},
		{"session_replication_role = replica"},
	} {
		t.Run(strings.Join(settings, ", "), func(t *testing.T) {
			t.Parallel()
			appendAndVerify(t, database(t, settings...), postgres.Config{})
		})
	}
}

// A database that takes no writes says so, is read, and is written again as
// soon as it may be.
func TestADatabaseThatIsSetReadOnly(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	home := newHome(t)
	var g ledger
	l := openAt(t, dsn, home)
	got, err := l.Append(t.Context(), testlog.Events(0, 300)...)
	if err != nil {
		t.Fatal(err)
	}
	g.note(got)
	testlog.Close(t, l)

	conn := admin(t, dsn)
	name := one[string](t, conn, "SELECT current_database()")
	execute(t, conn, "ALTER DATABASE "+name+" SET default_transaction_read_only = on")

	_, err = postgres.Open(t.Context(), dsn, postgres.Config{Log: "new", Home: home, Logger: testlog.Quiet})
	if err == nil || !strings.Contains(err.Error(), "read-only transaction") {
		t.Errorf("Open of a new log = %v, want the server's reason", err)
	}

	l = openWith(t, dsn, postgres.Config{Home: home, Retry: -1}, attestlog.Config{})
	var failed *attestlog.AppendError
	got, err = l.Append(t.Context(), testlog.Event(300))
	refused := errors.As(err, &failed) && errors.Is(err, attestlog.ErrUnavailable) && strings.Contains(err.Error(), "read-only transaction")
	if got != nil || !refused {
		t.Errorf("Append = %v, %v; want ErrUnavailable with the server's reason, and no receipt", got, err)
	}
	g.check(t, l)

	execute(t, conn, "SET default_transaction_read_only = off", "ALTER DATABASE "+name+" RESET default_transaction_read_only")
	execute(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	testwait.Until(t, "an Append that succeeds", func() bool {
		got, err := l.Append(t.Context(), testlog.Events(300, 310)...)
		g.note(got)
		return err == nil
	})
	testlog.Close(t, l)
	g.checkVerified(t, dsn, home)
}

// A statement_timeout that is meant for queries does not keep a large batch out
// for good.
func TestAShortStatementTimeoutDoesNotStopWriting(t *testing.T) {
	t.Parallel()
	dsn, home := database(t), newHome(t)
	testlog.Close(t, openAt(t, dsn, home))
	conn := admin(t, dsn)
	name := one[string](t, conn, "SELECT current_database()")

	// Opening is not what is timed: only the connections that are made after it are.
	l := openAt(t, dsn, home)
	execute(t, conn, "ALTER DATABASE "+name+" SET statement_timeout = '20ms'",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")

	var g ledger
	for n := 0; n < 30_000; n += 10_000 {
		g.append(t, l, testlog.Events(n, n+10_000)...) // BEGIN has its 20 ms too
	}
	testwait.Until(t, "an index over all entries", func() bool {
		return one[int](t, conn, "SELECT coalesce(max(hi), 0) FROM attestlog.segments") == g.len()
	})

	execute(t, conn, "ALTER DATABASE "+name+" RESET statement_timeout")
	if err := l.Close(t.Context()); err != nil { // its reading is still under the timeout, so the next signs
		testlog.Close(t, openAt(t, dsn, home))
	}
	g.checkVerified(t, dsn, home)
}

// The server ends sessions that are idle: the next call does not suffer.
func TestIdleSessionsMayBeEnded(t *testing.T) {
	t.Parallel()
	dsn := database(t, "idle_session_timeout = '100ms'")
	home := newHome(t)
	var g ledger
	l := openWith(t, dsn, postgres.Config{Home: home, NoIndex: true}, attestlog.Config{})

	conn := admin(t, cluster.DSN("postgres"))
	name, _, _ := strings.Cut(strings.TrimPrefix(dsn, "postgres:///"), "?")
	for n := range 5 {
		got, err := l.Append(t.Context(), testlog.Event(n))
		if err != nil {
			t.Fatalf("Append = %v", err)
		}
		g.note(got)
		testwait.Until(t, "no session of the log", func() bool {
			return one[int](t, conn, "SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name) == 0
		})
	}

	// Reading is not tried again, nor is the signing of the last checkpoint: the
	// sessions that the server ends must have ended by then. One that has begun
	// during the reset may have read the new setting, so all are ended here.
	execute(t, conn, "ALTER DATABASE "+name+" RESET idle_session_timeout")
	reset := one[time.Time](t, conn, "SELECT clock_timestamp()")
	testwait.Until(t, "no session from before the reset", func() bool {
		return one[int](t, conn, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND backend_start < $2", name, reset) == 0
	})
	testwait.Until(t, "a session that was not ended", func() bool {
		_, err := l.Size(t.Context())
		return err == nil
	})

	testlog.Close(t, l)
	g.checkVerified(t, dsn, home)
}

// Several processes make, fill and index one log under any isolation that
// their transactions begin with by default.
func TestProcessesUnderAnyDefaultIsolation(t *testing.T) {
	t.Parallel()
	for _, isolation := range []string{"read committed", "repeatable read", "serializable"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			dsn := database(t, "default_transaction_isolation = '"+isolation+"'")
			home := newHome(t)
			var g ledger
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					s, err := postgres.Open(t.Context(), dsn, postgres.Config{Home: home, Logger: testlog.Quiet})
					if err != nil {
						t.Errorf("Open next to others = %v", err)
						return
					}

					l, err := attestlog.New(t.Context(), s, attestlog.Config{Logger: testlog.Quiet})
					if err != nil {
						t.Errorf("New next to others = %v", err)
						return
					}

					for i := range 60 {
						if i%20 == 10 {
							if err := s.Reindex(t.Context(), nil); err != nil {
								t.Errorf("Reindex = %v", err)
							}
						}
						first := int(g.next.Add(5)) - 5
						got, err := l.Append(t.Context(), testlog.Events(first, first+5)...)
						if err != nil {
							t.Errorf("Append = %v", err)
						}
						g.note(got)
					}
					testlog.Close(t, l)
				})
			}
			wg.Wait()
			g.checkVerified(t, dsn, home)
		})
	}
}

// appendAndVerify writes a new log by every path that a batch may take, and
// reads all of it back.
func appendAndVerify(t *testing.T, dsn string, cfg postgres.Config) {
	t.Helper()
	if cfg.Home == "" {
		cfg.Home = newHome(t)
	}

	cfg.Retry = testwait.Patience() // some settings end transactions now and then
	l := openWith(t, dsn, cfg, attestlog.Config{})
	var g ledger
	n := 0
	for _, size := range []int{1, 30, 300, 1, 700} {
		for range 2 { // the second time the events are there
			got, err := l.Append(t.Context(), testlog.Events(n, n+size)...)
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
	if found, err := l.Count(t.Context(), query.Field("actor", "alice"), 0); err != nil || found != uint64(n) {
		t.Errorf("Count = %d, %v; want %d", found, err, n)
	}

	testlog.Close(t, l)
	l = openWith(t, dsn, cfg, attestlog.Config{})
	defer testlog.Close(t, l)
	if others := g.check(t, l); others > 0 {
		t.Errorf("%d entries without a receipt", others)
	}
	if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil || r.Size != uint64(n) || r.Signed != uint64(n) {
		t.Errorf("Verify = %+v, %v; want %d signed entries", r, err, n)
	}
}
