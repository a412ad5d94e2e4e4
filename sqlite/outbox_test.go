package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // an application's driver

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/sqlite"
)

// openApplication opens an application's own database, with one table of its.
func openApplication(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS orders (name TEXT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	return db
}

func openOutbox(t *testing.T, db *sql.DB) *sqlite.Outbox {
	t.Helper()
	box, err := sqlite.OpenOutbox(t.Context(), db, sqlite.OutboxConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func openOutboxLog(t *testing.T, path string, box *sqlite.Outbox) *attestlog.Log {
	t.Helper()
	return sqlitetest.LogAt(t, path, attestlog.Config{Outboxes: []attestlog.Outbox{box}, OutboxInterval: 5 * time.Millisecond})
}

// order inserts a row and its event in one transaction.
func order(ctx context.Context, db *sql.DB, box *sqlite.Outbox, name string, commit bool) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (name) VALUES (?)", name); err != nil {
		return err
	}
	if err := box.AppendTx(ctx, tx, attestlog.Event{Action: "order.create", Actor: attestlog.Actor{ID: "alice"}, Targets: []attestlog.Target{{ID: name}}}); err != nil {
		return err
	}
	if !commit {
		return nil
	}
	return tx.Commit()
}

func TestAnApplicationsTransactionAndItsEntryAreOne(t *testing.T) {
	dir := t.TempDir()
	db := openApplication(t, filepath.Join(dir, "app.db"))
	box := openOutbox(t, db)
	const writers, each = 4, 60
	var wg sync.WaitGroup
	l := openOutboxLog(t, filepath.Join(dir, "audit.db"), box)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := order(t.Context(), db, box, fmt.Sprintf("%d-%d", w, i), i%3 > 0); err != nil {
					t.Errorf("order = %v", err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := db.QueryContext(t.Context(), "SELECT name FROM orders ORDER BY rowid")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	index := uint64(0)
	for ; rows.Next(); index++ {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if e, err := l.Entry(t.Context(), index); err != nil || e.Targets[0].ID != name {
			t.Fatalf("entry %d is about %v, %v; want %s, which was committed then", index, e.Targets, err, name)
		}
	}
	if size, err := l.Size(t.Context()); err != nil || size != index || index != writers*each*2/3 {
		t.Errorf("Size = %d, %v; want one entry for each of %d orders", size, err, index)
	}
}

func TestAnApplicationsOutboxOutlivesTheLog(t *testing.T) {
	dir := t.TempDir()
	db := openApplication(t, filepath.Join(dir, "app.db"))
	box := openOutbox(t, db)
	began := time.Now()
	for i := range 2500 { // more than one Move
		if err := order(t.Context(), db, box, fmt.Sprint(i), true); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := box.Backlog(t.Context()); err != nil || b.Events != 2500 || b.Since.Before(began.Truncate(time.Second)) || b.Since.After(time.Now()) {
		t.Errorf("Backlog = %+v, %v; want 2500 events", b, err)
	}
	// The log takes some, and ends before it has removed them all.
	l := openOutboxLog(t, filepath.Join(dir, "audit.db"), box)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	l = openOutboxLog(t, filepath.Join(dir, "audit.db"), openOutbox(t, db))
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 2500 {
		if e, err := l.Entry(t.Context(), uint64(i)); err != nil || e.Targets[0].ID != fmt.Sprint(i) {
			t.Fatalf("entry %d is about %v, %v", i, e.Targets, err)
		}
	}
	if size, err := l.Size(t.Context()); err != nil || size != 2500 {
		t.Errorf("Size = %d, %v; want 2500", size, err)
	}
}

func TestWhatTheLogNeverTakesIsSetAside(t *testing.T) {
	dir := t.TempDir()
	db := openApplication(t, filepath.Join(dir, "app.db"))
	box := openOutbox(t, db)
	l := openOutboxLog(t, filepath.Join(dir, "audit.db"), box)
	id := "019a9f0c-2f5e-7cc1-9c1e-000000000001"
	for _, text := range []string{
		`{"action":"a","actor":{"id":"alice"},"id":"` + id + `"}`,
		`not JSON`,
		`{"action":"a","actor":{"id":"alice"}}`,
		`{"action":"attestlog.erase","actor":{"id":"alice"},"id":"019a9f0c-2f5e-7cc1-9c1e-000000000002"}`,
		`{"action":"b","actor":{"id":"mallory"},"id":"` + id + `"}`,
		`{"action":"a","actor":{"id":"alice"},"id":"` + id + `"}`, // again
		`{"action":"z","actor":{"id":"alice"},"id":"019a9f0c-2f5e-7cc1-9c1e-000000000003"}`,
	} {
		if _, err := db.ExecContext(t.Context(), "INSERT INTO attestlog_outbox (at, event) VALUES (1700000000000000000, ?)", text); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size, err := l.Size(t.Context()); err != nil || size != 2 {
		t.Errorf("Size = %d, %v; want the two events that are whole", size, err)
	}
	if e, err := l.EntryByID(t.Context(), id); err != nil || e.Actor.ID != "alice" || e.Time.Unix() != 1_700_000_000 {
		t.Errorf("entry %s = %+v, %v; want alice's, at the time in the outbox", id, e, err)
	}
	st, err := l.Stats(t.Context())
	if err != nil || st.Failed != 4 || st.Outboxes[0].Refused != 4 || st.Outboxes[0].Events != 0 {
		t.Errorf("Stats = %+v, %v; want four refused", st, err)
	}
	var reason string
	if err := db.QueryRowContext(t.Context(), "SELECT reason FROM attestlog_outbox_refused WHERE event LIKE '%mallory%'").Scan(&reason); err != nil || reason == "" {
		t.Errorf("the reason is %q, %v", reason, err)
	}
}

func TestAnEventThatBreaksARuleDoesNotEndTheTransaction(t *testing.T) {
	db := openApplication(t, filepath.Join(t.TempDir(), "app.db"))
	box := openOutbox(t, db)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var field *attestlog.FieldError
	if err := box.AppendTx(t.Context(), tx, attestlog.Event{Action: "a"}); !errors.As(err, &field) || field.Field != "actor.id" {
		t.Errorf("AppendTx without an actor = %v, want a FieldError", err)
	}
	if err := box.AppendTx(t.Context(), tx, attestlog.Event{Action: "attestlog.erase", Actor: attestlog.Actor{ID: "a"}}); !errors.As(err, &field) {
		t.Errorf("AppendTx of the log's own action = %v, want a FieldError", err)
	}
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO orders (name) VALUES ('x')"); err != nil {
		t.Error(err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
}

func TestAnOutboxNeedsABusyTimeout(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := sqlite.OpenOutbox(t.Context(), db, sqlite.OutboxConfig{}); err == nil {
		t.Error("OpenOutbox without a busy timeout succeeded")
	}
}
