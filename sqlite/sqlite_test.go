package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/sqlite"
)

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "a.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := attestlog.New(ctx, s, attestlog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		act := "mail.view"
		if i%100 == 3 {
			act = "mail.delete"
		}
		_, err := l.Append(ctx, attestlog.Event{Action: act, Actor: attestlog.Actor{ID: "alice", Name: "Alice A"}, Source: attestlog.Source{IP: "10.1.2.3"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []string{"action:mail.delete", "action:mail.*", "ip:10.0.0.0/8", "actor:alice -action:mail.view", "alice order:time", "after:2026-01-01", ""} {
		pq, err := attestlog.ParseQuery(q)
		if err != nil {
			t.Fatal(err)
		}
		p, err := l.Query(ctx, pq, attestlog.PageOptions{})
		if err != nil {
			t.Fatal(q, err)
		}
		n, err := l.Count(ctx, pq, 0)
		t.Log(q, len(p.Entries), n, err, p.Next)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}
