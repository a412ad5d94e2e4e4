package auditlog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog/compat/auditlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/verify"
)

// childEnv has the test program open the store in the file that it names.
const childEnv = "ATTESTLOG_AUDITLOG_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		s, err := auditlog.New(path)
		fmt.Println("opened", err)
		if err == nil {
			s.Close()
		}
		return
	}
	os.Exit(m.Run())
}

// logged collects what the package logs during a test, as the old log does.
func logged(t *testing.T) *lockedBuffer {
	t.Helper()
	buf := &lockedBuffer{}
	was, flags := log.Writer(), log.Flags()
	log.SetOutput(buf)
	log.SetFlags(0)
	t.Cleanup(func() {
		log.SetOutput(was)
		log.SetFlags(flags)
	})
	return buf
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newStore(t *testing.T, path string) *auditlog.Store {
	t.Helper()
	s, err := auditlog.New(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func list(t *testing.T, s *auditlog.Store, limit int) []auditlog.Entry {
	t.Helper()
	entries, err := s.List(limit)
	if err != nil || entries == nil {
		t.Fatalf("List(%d) = %v, %v", limit, entries, err)
	}
	return entries
}

func TestAFreshStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "audit.db")
	s := newStore(t, path)
	if got := list(t, s, 10); len(got) != 0 {
		t.Errorf("a fresh store lists %v", got)
	}
	before := time.Now().Truncate(time.Second)
	s.Record("alice", "POST", "/mail/7", "mail", 200)
	s.Record("", "", "", "", 0)
	s.Record("bob\xff", "DELETE", "/\x00", "mail", -5)
	got := list(t, s, -1)
	if len(got) != 3 {
		t.Fatalf("listed %+v", got)
	}
	for i, want := range []auditlog.Entry{{Username: "bob\xff", Method: "DELETE", Path: "/\x00", Module: "mail", Status: -5}, {}, {Username: "alice", Method: "POST", Path: "/mail/7", Module: "mail", Status: 200}} {
		at, err := time.Parse(time.RFC3339, got[i].Time)
		if err != nil || at.Before(before) || at.After(time.Now()) || !strings.HasSuffix(got[i].Time, "Z") {
			t.Errorf("time %q, %v", got[i].Time, err)
		}
		got[i].Time = ""
		if got[i] != want {
			t.Errorf("entry %d is %+v, want %+v", i, got[i], want)
		}
	}
	if got := list(t, s, 1); len(got) != 1 || got[0].Method != "DELETE" {
		t.Errorf("List(1) = %+v, want the newest", got)
	}
	if got := list(t, s, 0); len(got) != 0 {
		t.Errorf("List(0) = %+v", got)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
	if _, err := verify.Log(t.Context(), s.Log(), verify.Options{}); err != nil {
		t.Errorf("Verify = %v", err)
	}
}

func TestEntriesKeepTheirTags(t *testing.T) {
	e := reflect.TypeFor[auditlog.Entry]()
	for _, name := range []string{"Time", "Username", "Method", "Path", "Module", "Status"} {
		f, ok := e.FieldByName(name)
		if !ok || f.Tag.Get("json") != strings.ToLower(name) || f.Tag.Get("example") == "" || f.Tag.Get("doc") == "" {
			t.Errorf("field %s has the tags %q", name, f.Tag)
		}
	}
}

func TestTheOrderIsThatOfTheCalls(t *testing.T) {
	s := newStore(t, filepath.Join(t.TempDir(), "audit.db"))
	const total = 25_000 // more than the queue holds
	for n := range total {
		s.Record("alice", "POST", fmt.Sprint("/", n), "", 200)
	}
	got := list(t, s, -1)
	if len(got) != total {
		t.Fatalf("%d entries, want %d", len(got), total)
	}
	for i := range got {
		if want := fmt.Sprint("/", total-1-i); got[i].Path != want {
			t.Fatalf("entry %d is %s, want %s", i, got[i].Path, want)
		}
	}
}

func TestRecordsDuringCloseAreStoredOrLogged(t *testing.T) {
	errs := logged(t)
	path := filepath.Join(t.TempDir(), "audit.db")
	s := newStore(t, path)
	const writers, each = 100, 60
	var wg, running sync.WaitGroup
	running.Add(writers)
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				s.Record(fmt.Sprint("user-", w), "POST", fmt.Sprint("/", n), "", 200)
				if n == each/3 {
					running.Done()
				}
			}
		})
	}
	running.Wait() // close in the middle
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Errorf("Close = %v", err)
	}
	wg.Wait()
	s.Record("late", "POST", "/late", "", 200)
	if entries, err := s.List(1); entries != nil || fmt.Sprint(err) != "sql: database is closed" {
		t.Errorf("List after Close = %v, %v", entries, err)
	}
	stored := map[string]int{} // of each user: how many, which must be the first
	s = newStore(t, path)
	got := list(t, s, -1)
	for i := len(got) - 1; i >= 0; i-- {
		e := got[i]
		if e.Path != fmt.Sprint("/", stored[e.Username]) {
			t.Fatalf("%s has %s after %d others", e.Username, e.Path, stored[e.Username])
		}
		stored[e.Username]++
	}
	refused := strings.Count(errs.String(), "audit: insert failed (POST /")
	late := "audit: insert failed (POST /late by late): sql: database is closed\n"
	if len(got)+refused != writers*each+1 || !strings.Contains(errs.String(), late) {
		t.Errorf("%d are stored and %d were logged, want %d together", len(got), refused, writers*each+1)
	}
}

// oldTable makes a file as the old program did.
func oldTable(t *testing.T, rows int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.db")
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	script := fmt.Sprintf(`CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER, username TEXT, method TEXT, path TEXT, module TEXT, status INTEGER);
		WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n LIMIT %d)
		INSERT INTO audit (ts, username, method, path, module, status) SELECT 1700000000 + i / 100, 'user-' || (i %% 3), 'POST', '/same', 'mail', 200 FROM n;`, rows)
	if err := sqlitex.ExecuteScript(conn, script, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnOldTableIsTakenOverOnce(t *testing.T) {
	const rows = 2_500
	path := oldTable(t, rows)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		s := newStore(t, path)
		got := list(t, s, -1)
		if len(got) != rows+round {
			t.Fatalf("round %d: %d entries, want %d", round, len(got), rows+round)
		}
		oldest := auditlog.Entry{Time: "2023-11-14T22:13:20Z", Username: "user-0", Method: "POST", Path: "/same", Module: "mail", Status: 200}
		if got[len(got)-1] != oldest {
			t.Errorf("round %d: the oldest entry is %+v, want %+v", round, got[len(got)-1], oldest)
		}
		s.Record("alice", "PUT", "/new", "", 201)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the old file was changed: %v", err)
	}
	// Under another name, and then without the old file.
	moved := filepath.Join(t.TempDir(), "app.db")
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Rename(f, moved+strings.TrimPrefix(f, path)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 {
		s := newStore(t, moved)
		if got := list(t, s, -1); len(got) != rows+3 {
			t.Errorf("round %d after a rename: %d entries, want %d", round, len(got), rows+3)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			if err := os.Remove(moved); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAnInterruptedImportGoesOn(t *testing.T) {
	const rows = 20_000
	path := oldTable(t, rows)
	for round := 1; round <= 3; round++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			cmd.Wait()
			close(ended)
		}()

		size := int64(round) * 300_000 // of the log: some way further each time
		testwait.Until(t, "the import is under way", func() bool {
			select {
			case <-ended: // it was too quick to be interrupted
				return true
			default:
			}
			info, err := os.Stat(path + auditlog.Suffix + "-wal")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			return err == nil && info.Size() > size
		})
		cmd.Process.Kill()
		<-ended
	}
	s := newStore(t, path)
	if got := list(t, s, -1); len(got) != rows {
		t.Errorf("%d entries, want %d", len(got), rows)
	}
	if _, err := verify.Log(t.Context(), s.Log(), verify.Options{}); err != nil {
		t.Errorf("Verify = %v", err)
	}
}

func TestTheHandlerListsAsBefore(t *testing.T) {
	s := newStore(t, filepath.Join(t.TempDir(), "audit.db"))
	get := func(target string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		return w
	}
	if body := strings.TrimSpace(get("/").Body.String()); body != "[]" {
		t.Errorf("an empty log is answered with %s", body)
	}
	s.Record("alice", "POST", "/a", "mail", 200)
	s.Record("bob", "POST", "/b", "mail", 404)
	var got []map[string]any
	if err := json.Unmarshal(get("/?limit=1").Body.Bytes(), &got); err != nil || len(got) != 1 || len(got[0]) != 6 || got[0]["username"] != "bob" || got[0]["status"] != 404.0 {
		t.Errorf("GET ?limit=1 = %v, %v", got, err)
	}
	if w := get("/?limit=x"); w.Code != 400 {
		t.Errorf("GET ?limit=x = %d", w.Code)
	}
}
