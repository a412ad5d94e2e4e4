package postgres_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/verify"
)

// withoutState makes this process one that has no state outside the database.
func withoutState(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
}

// Several processes without any state make one log, write it and verify it.
func TestAHomeInTheSchema(t *testing.T) {
	withoutState(t)
	o := newLog(t)
	cfg := postgres.Config{Log: o.log, HomeInSchema: true, Logger: testlog.Quiet}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			s, err := postgres.Open(t.Context(), cluster.DSN("postgres"), cfg)
			if err != nil {
				t.Errorf("Open = %v", err)
				return
			}
			l, err := attestlog.New(t.Context(), s, attestlog.Config{Logger: testlog.Quiet})
			if err != nil {
				t.Errorf("New = %v", err)
				return
			}
			if _, err := l.Append(t.Context(), testlog.Events(n*10, n*10+10)...); err != nil {
				t.Errorf("Append = %v", err)
			}
			if n == 0 {
				if _, err := l.RotateKey(t.Context()); err != nil {
					t.Errorf("RotateKey = %v", err)
				}
			}
			if err := l.Close(t.Context()); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
	wg.Wait()

	// A process that opens the log for reading needs not be told where its keys are.
	for _, read := range []postgres.Config{cfg, {Log: o.log, ReadOnly: true, Logger: testlog.Quiet}} {
		s, err := postgres.Open(t.Context(), cluster.DSN("postgres"), read)
		if err != nil {
			t.Fatal(err)
		}
		l := testlog.New(t, s, attestlog.Config{ReadOnly: true})
		r, err := verify.Log(t.Context(), l, verify.Options{Index: true})
		if err != nil || r.Size != 41 || r.Signed != 41 || !r.KeysInDatabase || !r.KeysFromHome {
			t.Errorf("Verify = %+v, %v; want 41 entries, signed with keys in the database", r, err)
		}
	}
}

// The owner of a database may plant a key. A program that was not told to look for
// it there does not sign with it.
func TestKeysInTheSchemaAreNotTrustedUnasked(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	o := newLog(t)
	cfg := postgres.Config{Log: o.log, Logger: testlog.Quiet}
	l := openWith(t, cluster.DSN("postgres"), cfg, attestlog.Config{})
	testlog.Append(t, l, testlog.Event(0))
	testlog.Close(t, l)
	signer, verifier, err := attestlog.GenerateKey("example.com/planted")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, o.connect(t), "INSERT INTO home (name, value) VALUES ('key', '"+signer+"'), ('verifiers', '"+verifier+"')")

	l = openWith(t, cluster.DSN("postgres"), cfg, attestlog.Config{})
	testlog.Append(t, l, testlog.Event(1))
	r, err := verify.Log(t.Context(), l, verify.Options{})
	if err != nil || r.KeysInDatabase || strings.Contains(strings.Join(r.Keys, " "), "planted") {
		t.Errorf("Verify = %+v, %v; want the key that is kept in files", r, err)
	}
	testlog.Close(t, l)

	if err := os.RemoveAll(filepath.Join(state, "attestlog")); err != nil {
		t.Fatal(err)
	}
	_, err = postgres.Open(t.Context(), cluster.DSN("postgres"), cfg)
	if err == nil || !strings.Contains(err.Error(), "home=schema") {
		t.Errorf("Open without the files = %v, want that home=schema has to be said", err)
	}
}

// Roles for reading and calling see nothing of the keys.
func TestTheHomeInTheSchemaIsGrantedToWritersAlone(t *testing.T) {
	withoutState(t)
	o := newLog(t)
	cfg := postgres.Config{Log: o.log, HomeInSchema: true, Logger: testlog.Quiet}
	s, err := postgres.Open(t.Context(), cluster.DSN("postgres"), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := testlog.New(t, s, attestlog.Config{})
	testlog.Append(t, l, testlog.Event(0))
	roles := postgres.Roles{Writer: o.log + "_w", Reader: o.log + "_r", Caller: o.log + "_c"}
	if err := s.Grant(t.Context(), roles); err != nil {
		t.Fatal(err)
	}
	conn := o.connect(t)
	for role, may := range map[string]bool{roles.Writer: true, roles.Reader: false, roles.Caller: false} {
		if got := one[bool](t, conn, "SELECT has_table_privilege($1, 'home', 'SELECT')", role); got != may {
			t.Errorf("%s may read the keys: %t", role, got)
		}
	}
}
