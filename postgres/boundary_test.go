package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// boundary is the first entry of the second partition: see schema/0002.sql.
const boundary = 1 << 19

// smallEvent is one that takes little to encode, store and index.
func smallEvent(n int) attestlog.Event {
	e := attestlog.Event{ID: fmt.Sprintf("019a9f0c-2f5e-7cc1-9c1e-%012x", n), Action: "tick", Actor: attestlog.Actor{ID: "a"}}
	if n >= boundary-20 && n < boundary+20 {
		e.Actor.ID = "edge"
	}
	return e
}

func smallEvents(from, to int) (out []attestlog.Event) {
	for n := from; n < to; n++ {
		out = append(out, smallEvent(n))
	}
	return out
}

// One call has entries on both sides of the boundary between two partitions,
// by INSERT and by COPY: they are read, found, proven and verified as any
// others, and the new partition refuses changes as the first does.
func TestACallAcrossTwoPartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("appends half a million entries")
	}
	t.Parallel()
	o := newLog(t)
	dsn := database(t)
	name, _, _ := strings.Cut(strings.TrimPrefix(dsn, "postgres:///"), "?")

	upTo(t, dsn, o, boundary-300)

	conn := admin(t, cluster.DSN("postgres"))
	execute(t, conn, "CREATE DATABASE "+name+"_copy TEMPLATE "+name+" STRATEGY FILE_COPY")

	other := newLog(t)
	for _, suffix := range []string{".key", ".pub", ".checkpoint"} {
		data, err := os.ReadFile(o.home + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(other.home+suffix, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("by INSERT", func(t *testing.T) {
		t.Parallel()
		crossBoundary(t, dsn, o, 50, verify.Options{Index: true})
	})
	t.Run("by COPY", func(t *testing.T) {
		t.Parallel()
		crossBoundary(t, cluster.DSN(name+"_copy"), opener{o.log, other.home}, 290, verify.Options{})
	})
}

// upTo appends until a new log has size entries, in the order of their ids.
func upTo(t *testing.T, dsn string, o opener, size int) {
	t.Helper()
	l := openWith(t, dsn, postgres.Config{Log: o.log, Home: o.home}, attestlog.Config{})
	for n := 0; n < size; {
		to := min(n+10_000, size)
		if _, err := l.Append(t.Context(), smallEvents(n, to)...); err != nil {
			t.Fatal(err)
		}
		n = to
	}
	testlog.Close(t, l)
}

// crossBoundary fills the first partition except for some entries, and appends a
// call of twice as many.
func crossBoundary(t *testing.T, dsn string, o opener, some int, opts verify.Options) {
	l := openWith(t, dsn, postgres.Config{Log: o.log, Home: o.home}, attestlog.Config{})
	if _, err := l.Append(t.Context(), smallEvents(boundary-300, boundary-some)...); err != nil {
		t.Fatal(err)
	}

	got, err := l.Append(t.Context(), smallEvents(boundary-some, boundary+some)...)
	if err != nil {
		t.Fatalf("Append across the boundary = %v", err)
	}
	for i, r := range got {
		if r.Index != uint64(boundary-some+i) {
			t.Fatalf("event %d is said to be entry %d", boundary-some+i, r.Index)
		}
	}

	again, err := l.Append(t.Context(), smallEvents(boundary-some, boundary+some)...)
	if err != nil || again[0] != got[0] || again[2*some-1] != got[2*some-1] {
		t.Errorf("Append again = %v, want the first receipts", err)
	}

	readAcross(t, l, got, some)
	testlog.Close(t, l)

	l = openWith(t, dsn, postgres.Config{Log: o.log, Home: o.home}, attestlog.Config{})
	if n, err := l.Count(t.Context(), query.Field("actor", "edge"), 0); err != nil || n != 40 {
		t.Errorf("Count after reopening = %d, %v; want 40", n, err)
	}
	if r, err := verify.Log(t.Context(), l, opts); err != nil || r.Signed != uint64(boundary+some) {
		t.Errorf("Verify = %+v, %v; want %d signed entries", r, err, boundary+some)
	}
	testlog.Close(t, l)
	partitionRefusesChanges(t, dsn, o)
}

// readAcross reads what is next to the boundary in every way.
func readAcross(t *testing.T, l *attestlog.Log, receipts []attestlog.Receipt, some int) {
	for _, r := range []attestlog.Receipt{receipts[some-1], receipts[some]} {
		e, err := l.Entry(t.Context(), r.Index)
		if err != nil || e.ID != r.ID || attestlog.LeafHash(e.Leaf) != r.LeafHash {
			t.Errorf("Entry(%d) = %q, %v; want that of the receipt", r.Index, e.ID, err)
		}
		if e, err := l.EntryByID(t.Context(), r.ID); err != nil || e.Index != r.Index {
			t.Errorf("EntryByID(%s) = entry %d, %v; want %d", r.ID, e.Index, err, r.Index)
		}
	}

	for _, q := range []query.Query{
		query.Field("actor", "edge"),
		query.Field("actor", "edge").OrderBy(query.ByTime),
		query.And(query.Indexes(boundary-20, boundary+20), query.Field("action", "tick")),
	} {
		page, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: 100})
		if err != nil || len(page.Entries) != 40 {
			t.Errorf("Query(%v) = %d entries, %v; want the 40 about the boundary", q, len(page.Entries), err)
		}
	}

	next := uint64(boundary - some)
	for e, err := range l.Entries(t.Context(), query.Indexes(boundary-uint64(some), boundary+uint64(some))) {
		if err != nil || e.Index != next {
			t.Fatalf("Entries gives entry %d, %v; want %d", e.Index, err, next)
		}
		next++
	}
	if next != uint64(boundary+some) {
		t.Errorf("Entries ends before entry %d, want %d", next, boundary+some)
	}
}

func partitionRefusesChanges(t *testing.T, dsn string, o opener) {
	conn := admin(t, dsn)
	for _, sql := range []string{
		"UPDATE %s.entries_1 SET leaves = ''", "DELETE FROM %s.entries_1", "TRUNCATE %s.entries_1",
		fmt.Sprintf("INSERT INTO %%s.entries_1 VALUES (%d, 1, '')", boundary), fmt.Sprintf("INSERT INTO %%s.entries_1 VALUES (%d, 1, '')", boundary-1),
		fmt.Sprintf("DELETE FROM %%s.entries WHERE idx = %d", boundary),
	} {
		_, err := conn.Exec(context.Background(), fmt.Sprintf(sql, o.log))
		var pg *pgconn.PgError
		if !errors.As(err, &pg) {
			t.Errorf("%s: %v, want an error of the server", sql, err)
		}
	}

	execute(t, conn, "ALTER TABLE "+o.log+".entries_1 DISABLE TRIGGER refuse")
	s, err := postgres.Open(t.Context(), dsn, postgres.Config{Log: o.log, Home: o.home, ReadOnly: true, Logger: testlog.Quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var corrupt *attestlog.CorruptError
	if err := s.CheckRows(t.Context()); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "entries_1") {
		t.Errorf("CheckRows with the second partition's trigger disabled = %v, want a *CorruptError about it", err)
	}
}
