//go:build unix

package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A scripted logger is this package's, or the one that it replaces.
type scripted interface{ Close() error }

// A recorder performs calls and writes down what they answer. Nothing in it is
// about one of the packages, so that it runs with both.
type recorder struct {
	dir string // the current folder, empty at first
	dsn string // of an empty database

	open  func(dsn, path string, logger *slog.Logger) (scripted, error)
	log   func(l scripted, e map[string]any)
	query func(l scripted, f map[string]any) (entries any, total int, err error)

	out    strings.Builder
	logged strings.Builder
	first  int64 // the id of the first entry, which is where ids begin
}

func (r *recorder) note(format string, args ...any) { fmt.Fprintf(&r.out, format+"\n", args...) }

// logger writes records without their time, and only those of warnings and errors.
func (r *recorder) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(&r.logged, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

func (r *recorder) takeLogged() {
	for line := range strings.Lines(r.logged.String()) {
		if strings.Contains(line, "fsync off") { // about the test's server
			continue
		}
		r.note("  logged %s", strings.TrimSuffix(strings.ReplaceAll(line, r.dir, "DIR"), "\n"))
	}
	r.logged.Reset()
}

func (r *recorder) new(path string) scripted {
	l, err := r.open(r.dsn, path, r.logger())
	r.note("New(%q) = %v", path, err)
	r.takeLogged()
	return l
}

func (r *recorder) add(l scripted, e map[string]any) {
	r.log(l, e)
	r.takeLogged()
}

func (r *recorder) answer(l scripted, filter map[string]any) {
	entries, total, err := r.query(l, filter)
	value := reflect.ValueOf(entries)
	r.note("Query(%s) = nil %t, length %d, total %d, %v", describe(filter), value.IsNil(), value.Len(), total, err)
	for i := range value.Len() {
		e := value.Index(i)
		id := e.FieldByName("ID").Int()
		if r.first == 0 {
			r.first = id
		}
		at := e.FieldByName("Timestamp").Interface().(time.Time)
		when := at.Format(time.RFC3339Nano) + " " + at.Location().String()
		if time.Since(at).Abs() < time.Hour && at.Nanosecond()%1_000 == 0 {
			when = "NOW " + at.Location().String()
		}
		fields := []string{fmt.Sprint("#", id-r.first), when}
		for _, name := range []string{"EventType", "Username", "IPAddress", "Query", "MailID", "Success", "Detail"} {
			text := fmt.Sprintf("%q", fmt.Sprint(e.FieldByName(name)))
			if len(text) > 100 {
				text = fmt.Sprintf("%.100s… (%d bytes)", text, len(text))
			}
			fields = append(fields, text)
		}
		r.note("  %s", strings.Join(fields, " "))
	}
	if value.Len() <= 1 {
		text, err := json.Marshal(entries)
		r.note("  JSON %s, %v", idMember.ReplaceAll(text, []byte(`"id":ID`)), err)
	}
	r.takeLogged()
}

var idMember = regexp.MustCompile(`"id":[0-9]+`)

// describe writes a filter with its members in one order.
func describe(filter map[string]any) string {
	for _, name := range []string{"From", "To"} {
		if at, ok := filter[name].(*time.Time); ok {
			filter[name] = at.Format(time.RFC3339Nano)
			defer func() { filter[name] = at }()
		}
	}
	return fmt.Sprint(filter)
}

func (r *recorder) file(name string) {
	info, err := os.Stat(name)
	if err != nil {
		r.note("%s: %t", name, errors.Is(err, os.ErrNotExist))
		return
	}
	r.note("%s: %v", name, info.Mode())
	if info.IsDir() {
		return
	}
	text, err := os.ReadFile(name)
	for line := range strings.Lines(string(text)) {
		var is struct{ Timestamp time.Time }
		if json.Unmarshal([]byte(line), &is) == nil && time.Since(is.Timestamp).Abs() < time.Hour {
			line = strings.Replace(line, is.Timestamp.Format(time.RFC3339), "NOW", 1)
		}
		if len(line) > 300 {
			line = fmt.Sprintf("%.300s… (%d bytes)\n", line, len(line))
		}
		r.note("  %q", line)
	}
	if err != nil {
		r.note("  %v", err)
	}
}

// perform makes the calls of the script.
func (r *recorder) perform() string {
	defer syscall.Umask(syscall.Umask(0o022))
	defer func(was *time.Location) { time.Local = was }(time.Local)
	time.Local = time.FixedZone("here", -5*3600)

	at := func(n int) *time.Time {
		t := time.Date(2026, 3, 1, 10, 0, n, 123_456_789, time.FixedZone("CET", 3600))
		return &t
	}
	entry := func(n int, members ...any) map[string]any {
		e := map[string]any{"Timestamp": *at(n), "EventType": "login", "Username": "alice", "Success": true}
		for i := 0; i < len(members); i += 2 {
			e[members[i].(string)] = members[i+1]
		}
		return e
	}
	filter := func(members ...any) map[string]any {
		f := map[string]any{}
		for i := 0; i < len(members); i += 2 {
			f[members[i].(string)] = members[i+1]
		}
		return f
	}

	r.note("# A new log")
	l := r.new("logs/deep/audit.jsonl")
	r.file("logs")
	r.file("logs/deep")
	r.file("logs/deep/audit.jsonl")
	r.answer(l, filter())
	r.answer(l, filter("Page", 3))
	r.add(l, entry(1, "IPAddress", "192.0.2.7"))
	r.answer(l, filter())
	r.add(l, entry(2, "Username", "bob", "EventType", "mail_view", "MailID", "<7>&", "Success", false, "Detail", "denied"))
	r.add(l, entry(3, "EventType", "search", "Query", `subject:"a<b"`))
	r.add(l, map[string]any{"EventType": "logout", "Username": "now"})
	r.answer(l, filter())

	r.note("# Filters")
	for _, f := range []map[string]any{
		filter("Username", "alice"), filter("Username", "Alice"), filter("Username", "alic"), filter("EventType", "mail_view"), filter("MailID", "<7>&"),
		filter("From", at(2)), filter("To", at(2)), filter("From", at(2), "To", at(2)), filter("From", at(3), "To", at(1)),
		filter("Username", "bob", "EventType", "mail_view", "MailID", "<7>&", "From", at(2), "To", at(2)), filter("Username", "bob", "EventType", "login"),
	} {
		r.answer(l, f)
	}

	r.note("# Pages")
	for n := 10; n < 70; n++ {
		r.add(l, entry(n, "Username", fmt.Sprint("user", n)))
	}
	for _, f := range []map[string]any{
		filter("PageSize", 3), filter("PageSize", 3, "Page", 1), filter("PageSize", 1, "Page", 63), filter("PageSize", 1, "Page", 64), filter("Page", 1),
		filter("PageSize", -5, "Page", 1), filter("Page", -1), filter("PageSize", 10, "Page", math.MaxInt), filter("PageSize", math.MaxInt, "Page", 1),
		filter("PageSize", math.MaxInt, "Username", "bob"),
	} {
		r.answer(l, f)
	}

	r.note("# Odd values")
	for i, text := range []string{"", " ", "\u2028", "\ufffd", "line\nfeed\ttab", "<&>'\"\\", "attestlog.erase", "unknown.actor", "audit.imported", "%q%s", "ü"} {
		r.add(l, entry(100+i, "EventType", text, "Username", text, "IPAddress", text, "Query", text, "MailID", text, "Detail", text))
		r.answer(l, filter("From", at(100+i)))
	}
	for i, address := range []string{"2001:DB8::1", "::ffff:192.0.2.1", "192.0.2.1:443", "fe80::1%eth0", "not an address"} {
		r.add(l, entry(120+i, "IPAddress", address))
		r.answer(l, filter("From", at(120+i)))
	}
	r.add(l, entry(130, "Query", strings.Repeat("long ü ", 30_000), "Detail", strings.Repeat("x", 100_000), "Username", strings.Repeat("u", 255), "EventType", strings.Repeat("e", 50)))
	r.answer(l, filter("From", at(130)))
	for _, year := range []int{-1000, 1, 1677, 1969, 2262, 9999, 10_000, 200_000} {
		r.add(l, entry(0, "Timestamp", time.Date(year, 6, 1, 0, 0, 0, 999_999_999, time.UTC), "Username", fmt.Sprint("year", year)))
		r.answer(l, filter("Username", fmt.Sprint("year", year)))
	}

	r.note("# After Close")
	r.note("Close = %v", l.Close())
	r.answer(l, filter())
	r.add(l, entry(200))
	r.note("Close = %v", l.Close())
	r.file("logs/deep/audit.jsonl")

	r.note("# Opened again")
	l = r.new("logs/deep/audit.jsonl")
	r.add(l, entry(201, "Username", "again"))
	r.answer(l, filter("Username", "again"))
	r.answer(l, filter("Username", "alice", "PageSize", 1))
	r.note("Close = %v", l.Close())

	r.note("# Files that cannot be written")
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		panic(err)
	}
	for _, path := range []string{"", "file/audit.jsonl", "logs"} {
		l := r.new(path)
		r.add(l, entry(300, "Username", "path "+path))
		r.answer(l, filter("Username", "path "+path))
		r.note("Close = %v", l.Close())
	}
	return r.out.String()
}
