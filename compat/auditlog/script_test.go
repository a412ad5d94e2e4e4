//go:build unix

package auditlog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"
)

// A scripted store is this package's, or the one that it replaces.
type scripted interface {
	Record(username, method, path, module string, status int)
	Close() error
}

// A recorder performs calls and writes down what they answer. Nothing in it is
// about one of the packages, so that it runs with both.
type recorder struct {
	dir  string // the current folder, empty at first
	open func(path string) (scripted, error)
	list func(s scripted, limit int) (entries any, err error)
	out  strings.Builder
}

func (r *recorder) note(format string, args ...any) { fmt.Fprintf(&r.out, format+"\n", args...) }

// plain writes an error without the folder's name.
func (r *recorder) plain(err error) string {
	return strings.ReplaceAll(fmt.Sprint(err), r.dir, "DIR")
}

func (r *recorder) new(path string) scripted {
	s, err := r.open(path)
	r.note("New(%q) = %s", strings.ReplaceAll(path, r.dir, "DIR"), r.plain(err))
	if err != nil {
		return nil
	}
	return s
}

// record makes a call, and waits until its entry is there: the old log answers
// before it has stored one.
func (r *recorder) record(s scripted, username, method, path, module string, status int) {
	count := func() int {
		entries, err := r.list(s, -1)
		if err != nil {
			return -1
		}
		return reflect.ValueOf(entries).Len()
	}
	before := count()
	s.Record(username, method, path, module, status)
	for range 1_000 {
		if before < 0 || count() > before {
			break
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *recorder) answer(s scripted, limit int) {
	entries, err := r.list(s, limit)
	value := reflect.ValueOf(entries)
	r.note("List(%d) = nil %t, length %d, %s", limit, value.IsNil(), value.Len(), r.plain(err))
	for i := range value.Len() {
		e := value.Index(i)
		var fields []string
		for _, name := range []string{"Time", "Username", "Method", "Path", "Module", "Status"} {
			text := fmt.Sprintf("%q", fmt.Sprint(e.FieldByName(name)))
			if name == "Time" {
				text = timeForm(e.FieldByName(name).String())
			}
			if len(text) > 200 {
				text = fmt.Sprintf("%.200s… (%d bytes)", text, len(text))
			}
			fields = append(fields, text)
		}
		r.note("  %s", strings.Join(fields, " "))
	}

	text, err := json.Marshal(entries)
	if value.Len() <= 3 {
		for i := range value.Len() {
			at := value.Index(i).FieldByName("Time").String()
			text = []byte(strings.ReplaceAll(string(text), at, timeForm(at)))
		}
		r.note("  JSON %s, %v", text, err)
	}
}

// timeForm returns TIME for a time that is about now and written as it must be.
func timeForm(text string) string {
	at, err := time.Parse(time.RFC3339, text)
	if err == nil && at.UTC().Format(time.RFC3339) == text && time.Since(at).Abs() < time.Hour {
		return "TIME"
	}
	return text
}

func (r *recorder) mode(name string) {
	info, err := os.Stat(name)
	if err != nil {
		r.note("%s: %t", name, errors.Is(err, fs.ErrNotExist))
		return
	}
	r.note("%s: %v", name, info.Mode())
}

func (r *recorder) close(s scripted) { r.note("Close = %v", s.Close()) }

// perform makes the calls of the script.
func (r *recorder) perform() string {
	defer syscall.Umask(syscall.Umask(0o022))
	var logged strings.Builder
	was, flags := log.Writer(), log.Flags()
	log.SetOutput(&logged)
	log.SetFlags(0)
	defer func() {
		log.SetOutput(was)
		log.SetFlags(flags)
	}()

	r.note("# A new store")
	s := r.new("deep/er/audit.db")
	r.mode("deep")
	r.mode("deep/er")
	r.mode("deep/er/audit.db")
	r.answer(s, 10)
	r.record(s, "alice", "POST", "/mail/7?a=<b>&c", "mail", 200)
	r.record(s, "bob", "DELETE", "/mail/7", "mail", 404)
	for _, limit := range []int{10, 1, 0, -1, math.MaxInt, math.MinInt} {
		r.answer(s, limit)
	}

	r.note("# Odd values")
	for _, text := range []string{"", " ", "\x00", "nul\x00within", "\xff", "a\xc3", "\u2028", "\ufffd", "line\nfeed\ttab", "<&>'\"\\", "attestlog.erase", "unknown.actor", "%q%s", strings.Repeat("ü", 3_000)} {
		r.record(s, text, text, text, text, 200)
	}
	for _, status := range []int{0, -1, 99, 100, 399, 400, 599, 1 << 31, 1<<53 - 1, 1 << 53, math.MaxInt, math.MinInt} {
		r.record(s, "status", "GET", "/", "", status)
	}
	r.answer(s, -1)

	r.note("# After Close")
	r.close(s)
	r.answer(s, 1)
	s.Record("late", "PUT", "/late", "mail", 500)
	r.note("logged %q", logged.String())

	r.note("# Opened again")
	s = r.new("deep/er/audit.db")
	r.answer(s, 2)
	r.record(s, "carol", "GET", "/again", "", 200)
	r.answer(s, 3)
	r.close(s)

	r.note("# Paths")
	for _, path := range []string{"file:uri.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)", "params.db?_pragma=busy_timeout(5000)", ":memory:", ""} {
		s := r.new(path)
		r.record(s, "alice", "GET", path, "", 200)
		r.answer(s, 10)
		r.close(s)
		s = r.new(path)
		r.answer(s, 10)
		r.close(s)
	}
	for _, name := range []string{"uri.db", "params.db"} {
		r.mode(name)
	}

	r.note("# Errors")
	if err := errors.Join(
		os.WriteFile("text", []byte(strings.Repeat("no database ", 500)), 0o600),
		os.WriteFile("file", nil, 0o600),
		os.Mkdir("folder", 0o700),
	); err != nil {
		panic(err)
	}
	for _, path := range []string{
		"text", "folder", "file/audit.db", filepath.Join(r.dir, "file", "audit.db"), "file:none/audit.db", "file:audit.db?vfs=none",
		"file:audit.db?mode=rw", "audit.db?_pragma=nonsense(", "file:%00",
	} {
		if s := r.new(path); s != nil {
			r.close(s)
		}
	}
	return r.out.String()
}
