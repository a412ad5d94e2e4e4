// Package auditlog reads the audit table that many Go services keep in SQLite:
//
//	audit(id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER, -- Unix seconds
//	      username TEXT, method TEXT, path TEXT, module TEXT, status INTEGER)
//
// A row becomes an event as follows:
//
//	ts        time
//	username  actor.id
//	method    request.method; the action is "http." and it, in lower case
//	path      request.path
//	module    module
//	status    request.status; the outcome is failure from 400 on
//	id        attributes.auditlog.id
//
// SQLite keeps any value in any column. One of another kind than its column's
// stands in attributes.auditlog under the column's name, as an object whose one
// member says its kind: {"null":true}, {"integer":"…"}, {"real":"…"},
// {"text":"…"} or {"blob":"<base64>"}. A row with a text or blob of more than
// 2 KiB is kept whole in the event's original, up to 1 MiB, and that value's
// object is {"original":true}. RowOf maps back: what went in comes out identical.
//
// The id is one of convert.IDs over the row, which has an id of its own: equal
// rows all survive, and importing a table again adds nothing.
package auditlog

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Format starts the ids of events.
const Format = "auditlog"

// Attribute holds what has no field.
const Attribute = "auditlog"

// ErrNoTable is returned for a file that is no database with such a table.
var ErrNoTable = errors.New("has no audit table of id, ts, username, method, path, module and status")

// A Row is a row of the table. A value is nil, int64, float64, string or
// []byte.
type Row struct {
	ID                                         int64
	TS, Username, Method, Path, Module, Status any
}

var columns = [...]string{"ts", "username", "method", "path", "module", "status"}

func (r *Row) values() [len(columns)]any {
	return [...]any{r.TS, r.Username, r.Method, r.Path, r.Module, r.Status}
}

// Event returns the row's event; ids are those of its source.
func (r *Row) Event(ids *convert.IDs) attestlog.Event {
	var e attestlog.Event
	own := map[string]any{"id": r.ID}
	odd := func(name string, v any) {
		own[name] = describe(v)
		if isLong(v) {
			own[name] = map[string]any{"original": true}
			e.Original = r.original()
		}
	}
	if ts, ok := r.TS.(int64); ok && ts >= minTS && ts <= maxTS {
		e.Time = time.Unix(ts, 0).UTC()
	} else {
		odd("ts", r.TS)
	}
	for _, f := range [...]struct {
		name string
		v    any
		to   *string
	}{{"username", r.Username, &e.Actor.ID}, {"method", r.Method, &e.Request.Method}, {"path", r.Path, &e.Request.Path}, {"module", r.Module, &e.Module}} {
		if s, ok := f.v.(string); ok && !isLong(f.v) {
			*f.to = s
		} else {
			odd(f.name, f.v)
		}
	}
	if status, ok := r.Status.(int64); ok {
		e.Request.Status = int(status)
	} else {
		odd("status", r.Status)
	}
	e.Action = Action(e.Request.Method)
	e.Outcome = OutcomeOf(e.Request.Status)
	e.Attributes = map[string]any{Attribute: own}
	e.ID = ids.Next(r.canonical())
	if e.Time.IsZero() {
		convert.Undated(&e)
	}
	convert.Bound(&e)
	return e
}

// Seconds of the years that an event's time may lie in.
var (
	minTS = time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	maxTS = time.Date(2261, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
)

// maxText is how long a text or blob may be and stay in the leaf, which all of a
// row's together fit.
const maxText = 2 << 10

func isLong(v any) bool {
	switch v := v.(type) {
	case string:
		return len(v) > maxText
	case []byte:
		return len(v) > maxText
	}
	return false
}

// original returns the row as an array of what tells each value and its kind,
// texts in base64 so that any bytes survive.
func (r *Row) original() []byte {
	var kinds [len(columns)][2]string
	for i, v := range r.values() {
		switch v := v.(type) {
		case string:
			kinds[i] = [2]string{"text", base64.StdEncoding.EncodeToString([]byte(v))}
		case []byte:
			kinds[i] = [2]string{"blob", base64.StdEncoding.EncodeToString(v)}
		}
	}
	out, _ := json.Marshal(kinds) // strings
	return out
}

// fromOriginal returns a column's value out of what original made.
func fromOriginal(original []byte, column int) (any, error) {
	var kinds [len(columns)][2]string
	if err := json.Unmarshal(original, &kinds); err != nil {
		return nil, fmt.Errorf("original: %w", err)
	}
	b, err := base64.StdEncoding.DecodeString(kinds[column][1])
	if kinds[column][0] == "text" {
		return string(b), err
	}
	return b, err
}

// Action returns the action of a request with a method.
func Action(method string) string {
	if method == "" {
		return "http.request"
	}
	return "http." + strings.ToLower(method)
}

// OutcomeOf returns the outcome of a request with a status.
func OutcomeOf(status int) attestlog.Outcome {
	switch {
	case status >= 400:
		return attestlog.Failure
	case status >= 100:
		return attestlog.Success
	}
	return attestlog.Unknown
}

// describe returns an object that tells a value's kind.
func describe(v any) map[string]any {
	switch v := v.(type) {
	case int64:
		return map[string]any{"integer": strconv.FormatInt(v, 10)}
	case float64:
		return map[string]any{"real": strconv.FormatFloat(v, 'g', -1, 64)}
	case string:
		return map[string]any{"text": v}
	case []byte:
		return map[string]any{"blob": base64.StdEncoding.EncodeToString(v)}
	}
	return map[string]any{"null": true}
}

func undescribe(v any) (any, error) {
	o, _ := v.(map[string]any)
	for kind, v := range o {
		text, _ := v.(string)
		switch kind {
		case "null":
			return nil, nil
		case "integer":
			return strconv.ParseInt(text, 10, 64)
		case "real":
			return strconv.ParseFloat(text, 64)
		case "text":
			return text, nil
		case "blob":
			return base64.StdEncoding.DecodeString(text)
		}
	}
	return nil, errors.New("a value of no kind")
}

// canonical returns bytes that no other row has.
func (r *Row) canonical() []byte {
	b := strconv.AppendInt(nil, r.ID, 10)
	for _, v := range r.values() {
		switch v := v.(type) {
		case nil:
			b = append(b, 'n')
		case int64:
			b = strconv.AppendInt(append(b, 'i'), v, 10)
		case float64:
			b = strconv.AppendFloat(append(b, 'r'), v, 'x', -1, 64)
		case string:
			b = append(strconv.AppendInt(append(b, 't'), int64(len(v)), 10), ':')
			b = append(b, v...)
		case []byte:
			b = append(strconv.AppendInt(append(b, 'b'), int64(len(v)), 10), ':')
			b = append(b, v...)
		}
	}
	return b
}

// RowOf returns the row that an event was made of. The error is of an event
// that was made of none.
func RowOf(e attestlog.Event) (Row, error) {
	e = convert.Restore(e)
	own, ok := e.Attributes[Attribute].(map[string]any)
	if !ok {
		return Row{}, errors.New("auditlog: the event is of no row")
	}
	id, err := strconv.ParseInt(fmt.Sprint(number(own["id"])), 10, 64)
	if err != nil {
		return Row{}, fmt.Errorf("auditlog: row id: %w", err)
	}
	r := Row{ID: id, TS: e.Time.Unix(), Username: e.Actor.ID, Method: e.Request.Method, Path: e.Request.Path, Module: e.Module, Status: int64(e.Request.Status)}
	for i, to := range [...]*any{&r.TS, &r.Username, &r.Method, &r.Path, &r.Module, &r.Status} {
		if v, odd := own[columns[i]]; odd {
			if o, _ := v.(map[string]any); o["original"] != nil {
				*to, err = fromOriginal(e.Original, i)
			} else {
				*to, err = undescribe(v)
			}
			if err != nil {
				return Row{}, fmt.Errorf("auditlog: row %d: %s: %w", id, columns[i], err)
			}
		}
	}
	return r, nil
}

// number writes a number as digits: entries are read back as float64.
func number(v any) any {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return v
}

// A Table is an open audit table.
type Table struct {
	conn *sqlite.Conn
	copy string // folder of the copy that conn is to, or ""
	Rows int64  // when it was opened
	// Source is the name that the rows' ids are derived with. Defaults to the
	// file's, as convert.SourceName has it.
	Source string
}

// Open opens a database for reading and looks for the table. Nothing in the file
// is changed: where a program that crashed left a transaction to be rolled back,
// that is done in a copy. Errors match ErrNoTable where there is no such table.
func Open(path string) (*Table, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	t := &Table{Source: convert.SourceName(path)}
	if err := t.open(path); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), t.Close())
	}
	return t, nil
}

func (t *Table) open(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro"}
	flags := sqlite.OpenReadOnly | sqlite.OpenURI
	switch {
	case isThere(path + "-journal"):
		if u.Path, err = t.rolledBack(path); err != nil {
			return err
		}
		u.RawQuery, flags = "mode=rw", sqlite.OpenReadWrite|sqlite.OpenURI
	case !isThere(path + "-wal"):
		u.RawQuery = "immutable=1&mode=ro" // without making files beside it
	}
	if t.conn, err = sqlite.OpenConn(u.String(), flags); err != nil {
		return err
	}
	return t.find()
}

// isThere reports whether a file is there and not empty.
func isThere(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}

// rolledBack copies a database with its rollback journal, which SQLite applies
// when it opens the copy.
func (t *Table) rolledBack(path string) (string, error) {
	var err error
	if t.copy, err = os.MkdirTemp("", "attestlog-import-"); err != nil {
		return "", err
	}
	to := filepath.Join(t.copy, filepath.Base(path))
	for _, suffix := range []string{"", "-journal"} {
		if err := copyFile(to+suffix, path+suffix); err != nil {
			return "", err
		}
	}
	return to, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (t *Table) find() error {
	stmt, _, err := t.conn.PrepareTransient("SELECT count(*) FROM pragma_table_info('audit') WHERE name IN ('id', 'ts', 'username', 'method', 'path', 'module', 'status')")
	if sqlite.ErrCode(err) == sqlite.ResultNotADB || sqlite.ErrCode(err) == sqlite.ResultNotADB.ToPrimary() {
		return ErrNoTable
	}
	if err != nil {
		return err
	}
	defer stmt.Finalize()
	if _, err := stmt.Step(); err != nil {
		return err
	}
	if stmt.ColumnInt(0) != 7 {
		return ErrNoTable
	}
	count, _, err := t.conn.PrepareTransient("SELECT count(*) FROM audit")
	if err != nil {
		return err
	}
	defer count.Finalize()
	_, err = count.Step()
	t.Rows = count.ColumnInt64(0)
	return err
}

// Events returns the rows as events, by id, in constant memory but for the few
// bytes a row that convert.IDs keeps.
func (t *Table) Events(ctx context.Context) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		t.conn.SetInterrupt(ctx.Done())
		defer t.conn.SetInterrupt(nil)
		stmt, _, err := t.conn.PrepareTransient("SELECT id, ts, username, method, path, module, status FROM audit ORDER BY id")
		if err != nil {
			yield(attestlog.Event{}, err)
			return
		}
		defer stmt.Finalize()
		ids := convert.NewIDs(Format, t.Source)
		for {
			more, err := stmt.Step()
			if err != nil {
				yield(attestlog.Event{}, fmt.Errorf("audit table: %w", err))
				return
			}
			if !more {
				return
			}
			row := Row{stmt.ColumnInt64(0), column(stmt, 1), column(stmt, 2), column(stmt, 3), column(stmt, 4), column(stmt, 5), column(stmt, 6)}
			if !yield(row.Event(ids), nil) {
				return
			}
		}
	}
}

func column(stmt *sqlite.Stmt, i int) any {
	switch stmt.ColumnType(i) {
	case sqlite.TypeInteger:
		return stmt.ColumnInt64(i)
	case sqlite.TypeFloat:
		return stmt.ColumnFloat(i)
	case sqlite.TypeText:
		return stmt.ColumnText(i)
	case sqlite.TypeBlob:
		b := make([]byte, stmt.ColumnLen(i))
		stmt.ColumnBytes(i, b)
		return b
	}
	return nil
}

// Close closes the database.
func (t *Table) Close() (err error) {
	if t.conn != nil {
		err = t.conn.Close()
	}
	if t.copy != "" {
		err = errors.Join(err, os.RemoveAll(t.copy))
	}
	return err
}
