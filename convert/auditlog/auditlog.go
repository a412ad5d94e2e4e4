// Package auditlog reads the audit table that many Go services keep in SQLite:
//
//	audit(id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER, -- Unix seconds
//	      username TEXT, method TEXT, path TEXT, module TEXT, status INTEGER)
//
// A row becomes an event as follows:
//
//	ts        time
//	username  actor.id
//	method    request.method; the action is "http." and the method in lower case
//	path      request.path
//	module    module
//	status    request.status; the outcome is failure from 400 on
//	id        attributes.auditlog.id
//
// SQLite keeps any value in any column. A value that is not of its column's kind
// is stored in attributes.auditlog under the column's name, as an object whose one
// member says its kind: {"null":true}, {"integer":"…"}, {"real":"…"},
// {"text":"…"} or {"blob":"<base64>"}. A row with a text or blob of more than 2 KiB
// is kept whole in the event's original, up to 1 MiB, and that value's object is
// {"original":true}. RowOf maps back: it returns the same row that became the
// event.
//
// The event's id is convert.ID of the row, which has an id of its own, and the
// table's name. So equal rows all survive, and importing a table again adds
// nothing.
package auditlog

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
)

// Format starts the ids of events.
const Format = "auditlog"

// Attribute is the name of the attribute that holds what has no field.
const Attribute = "auditlog"

// A Row is a row of the table. A value is nil, int64, float64, string or []byte.
type Row struct {
	ID                                         int64
	TS, Username, Method, Path, Module, Status any
}

// columns are those of a row's values, without the id.
var columns = [...]string{"ts", "username", "method", "path", "module", "status"}

// values are in the order of columns.
func (r *Row) values() [len(columns)]any {
	return [...]any{r.TS, r.Username, r.Method, r.Path, r.Module, r.Status}
}

// Equal reports whether two rows are the same, with values of the same kinds.
func (r *Row) Equal(o *Row) bool { return bytes.Equal(r.canonical(), o.canonical()) }

// EventID returns the id of the row's event. source is the table's name.
func (r *Row) EventID(source string) string { return convert.ID(Format, source, r.canonical()) }

// Event returns the row's event. source is the table's name.
func (r *Row) Event(source string) attestlog.Event {
	var e attestlog.Event
	own := map[string]any{"id": r.ID}
	other := func(column string, v any) { // a value that the column's field cannot hold
		if isLong(v) {
			own[column] = map[string]any{"original": true}
			e.Original = r.original()
		} else {
			own[column] = describe(v)
		}
	}

	if ts, ok := r.TS.(int64); ok && ts >= minTS && ts <= maxTS {
		e.Time = time.Unix(ts, 0).UTC()
	} else {
		other("ts", r.TS)
	}
	for _, f := range [...]struct {
		column string
		v      any
		to     *string
	}{
		{"username", r.Username, &e.Actor.ID},
		{"method", r.Method, &e.Request.Method},
		{"path", r.Path, &e.Request.Path},
		{"module", r.Module, &e.Module},
	} {
		if s, ok := f.v.(string); ok && !isLong(f.v) {
			*f.to = s
		} else {
			other(f.column, f.v)
		}
	}
	if status, ok := r.Status.(int64); ok {
		e.Request.Status = int(status)
	} else {
		other("status", r.Status)
	}

	e.Action = Action(e.Request.Method)
	e.Outcome = OutcomeOf(e.Request.Status)
	e.Attributes = map[string]any{Attribute: own}
	e.ID = r.EventID(source)
	if e.Time.IsZero() {
		fit.Undated(&e)
	}
	fit.Event(&e)
	return e
}

// RowOf returns the row that an event was made of. It fails for an event that was
// not made of one.
func RowOf(e attestlog.Event) (Row, error) {
	e = fit.Restore(e)
	own, ok := e.Attributes[Attribute].(map[string]any)
	if !ok {
		return Row{}, errors.New("auditlog: the event was not made of a row")
	}
	id, err := strconv.ParseInt(fmt.Sprint(digits(own["id"])), 10, 64)
	if err != nil {
		return Row{}, fmt.Errorf("auditlog: row id: %w", err)
	}

	r := Row{
		ID:       id,
		TS:       e.Time.Unix(),
		Username: e.Actor.ID,
		Method:   e.Request.Method,
		Path:     e.Request.Path,
		Module:   e.Module,
		Status:   int64(e.Request.Status),
	}
	for i, to := range [...]*any{&r.TS, &r.Username, &r.Method, &r.Path, &r.Module, &r.Status} {
		// A value that its field could not hold is described in the attribute.
		v, other := own[columns[i]]
		if !other {
			continue
		}

		if o, _ := v.(map[string]any); o["original"] != nil {
			*to, err = fromOriginal(e.Original, i)
		} else {
			*to, err = undescribe(v)
		}
		if err != nil {
			return Row{}, fmt.Errorf("auditlog: row %d: %s: %w", id, columns[i], err)
		}
	}
	return r, nil
}

// digits writes a number that was read back from an entry as digits.
func digits(v any) any {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return v
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

// Seconds of the years in which an event's time may be.
var (
	minTS = time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	maxTS = time.Date(2261, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
)

// maxText is the longest text or blob in bytes that stays in the leaf. All of a
// row's together fit.
const maxText = 2 << 10

func isLong(v any) bool { return lengthOf(v) > maxText }

// lengthOf returns the length of a text or blob in bytes.
func lengthOf(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 0
}

// kinds are the row's values in an event's original: the kind, "text" or "blob",
// and the bytes in base64, so that any bytes survive. Those of other values are
// empty: the leaf has them.
type kinds [len(columns)][2]string

// original returns the event's original: the JSON of kinds.
func (r *Row) original() []byte {
	var all kinds
	for i, v := range r.values() {
		switch v := v.(type) {
		case string:
			all[i] = [2]string{"text", base64.StdEncoding.EncodeToString([]byte(v))}
		case []byte:
			all[i] = [2]string{"blob", base64.StdEncoding.EncodeToString(v)}
		}
	}
	out, _ := json.Marshal(all) // strings
	return out
}

// fromOriginal returns a column's value from what original returned.
func fromOriginal(original []byte, column int) (any, error) {
	var all kinds
	if err := json.Unmarshal(original, &all); err != nil {
		return nil, fmt.Errorf("original: %w", err)
	}

	kind, text := all[column][0], all[column][1]
	b, err := base64.StdEncoding.DecodeString(text)
	if kind == "text" {
		return string(b), err
	}
	return b, err
}

// describe returns an object that says a value's kind.
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

// undescribe returns the value that describe was given.
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
	return nil, errors.New("a value of no known kind")
}

// canonical returns bytes that no other row has: the id, and each value's kind and
// value. Texts and blobs have their length before them.
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
