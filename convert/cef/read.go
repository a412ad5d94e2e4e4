package cef

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Format starts the records' ids.
const Format = "cef"

// Attribute holds the header's fields.
const Attribute = "cef"

// Read is a convert.Reader of lines, with or without a syslog header before
// "CEF:". What is not listed stays in the attributes under its own key, the
// header in attributes.cef, with what stands before the first key as its text, and
// the line's exact bytes are the original.
//
//	time        start, rt or end
//	service     the header's device product, or app where that is attestlog
//	action      the header's event class, or its name where the class is a number
//	operation   act, where it is one that the log knows
//	outcome     outcome; reason
//	actor       suid, suser, spid, sproc, or else duid, duser
//	source      src, or the custom IPv6 address of the source; shost, or src that is
//	            no address; requestClientApplication
//	targets     duid and duser, fname, dhost
//	request     requestMethod, request
//	message     msg, or the header's name
//
// Ids are those of convert.IDs: without the source where there is an externalId.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewMixedIDs(Format, source)
	return convert.ByLine(r, source, func(line []byte) (attestlog.Event, bool, error) {
		m, err := parse(string(line))
		if err != nil {
			return attestlog.Event{}, false, err
		}
		e := attestlog.Event{ID: ids.Next(line, m.extension.Text("externalId") != ""), Original: bytes.Clone(line)}
		m.event(&e)
		convert.Complete(&e, m.extension)
		return e, false, nil
	})
}

// A message is a parsed line.
type message struct {
	before    string    // a syslog header
	header    [6]string // behind the version
	version   string
	text      string // before the first key
	extension convert.Object
}

var errNotCEF = errors.New("not a CEF line: no CEF:version and seven fields with a | between")

func parse(line string) (message, error) {
	m := message{extension: convert.Object{}}
	start := strings.Index(line, "CEF:")
	if start < 0 {
		return m, errNotCEF
	}
	m.before = line[:start]
	rest := line[start+len("CEF:"):]
	for i := range len(m.header) + 1 {
		text, after := rest, ""
		end, last := unescaped(rest, '|'), i == len(m.header)
		if end >= 0 && !(last && key.MatchString(rest[:end])) {
			text, after = rest[:end], rest[end+1:]
		} else if !last {
			return m, errNotCEF
		} else { // some leave the last pipe out
			text, after, _ = strings.Cut(rest, " ")
		}
		rest = after
		if text = headerEscapes.Replace(text); i == 0 {
			m.version = text
		} else {
			m.header[i-1] = text
		}
	}
	if _, err := strconv.Atoi(m.version); err != nil {
		return m, errNotCEF
	}
	return m, m.pairs(rest)
}

// unescaped returns where c first stands without a backslash before it, or -1.
func unescaped(s string, c byte) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case c:
			return i
		}
	}
	return -1
}

var (
	headerEscapes = strings.NewReplacer(`\\`, `\`, `\|`, `|`)
	valueEscapes  = strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\n`, "\n", `\r`, "\r", `\|`, `|`)
	// A key begins the extension, or stands behind a space.
	key = regexp.MustCompile(`(?:^|\s)([A-Za-z0-9_.\[\]-]+)=`)
)

// pairs reads the extension: a value goes on until the next key, spaces and all.
// Many senders do not escape the equals signs of a value; what stands before one
// then counts as a key.
func (m *message) pairs(s string) error {
	found := key.FindAllStringSubmatchIndex(s, loosejson.MaxValues+1)
	if len(found) > loosejson.MaxValues {
		return loosejson.ErrTooMany
	}
	first := len(s)
	if len(found) > 0 {
		first = found[0][0]
	}
	m.text = valueEscapes.Replace(strings.TrimSpace(s[:first]))
	for i, at := range found {
		end := len(s)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		m.extension.Add(s[at[2]:at[3]], valueEscapes.Replace(strings.TrimRight(s[at[1]:end], " ")))
	}
	return nil
}

func (m *message) event(e *attestlog.Event) {
	o := m.extension
	vendor, product, version, class, name, severity := m.header[0], m.header[1], m.header[2], m.header[3], m.header[4], m.header[5]
	e.Action, e.Service = class, product
	if _, err := strconv.Atoi(class); err == nil || class == "" {
		e.Action = name
	}
	if app := o.Text("app"); product == "attestlog" && app != "" {
		e.Service = o.Take("app")
	}
	if e.Operation = convert.Operation(o.Text("act")); e.Operation != "" {
		o.Take("act")
	}
	e.Outcome = convert.OutcomeOf(o.Text("outcome"))
	if string(e.Outcome) == o.Text("outcome") {
		o.Take("outcome")
	}
	e.Reason = o.Take("reason")
	e.Time = when(o)
	e.Actor = attestlog.Actor{ID: convert.Take(o, "suid", "suser", "sproc", "spid"), Name: o.Take("suser")}
	if e.Actor.ID == "" {
		e.Actor = attestlog.Actor{ID: convert.Take(o, "duid", "duser"), Name: o.Take("duser")}
	}
	for _, t := range [...]attestlog.Target{
		{Type: "user", ID: convert.Take(o, "duid", "duser"), Name: o.Take("duser")},
		{Type: "file", ID: convert.Take(o, "filePath", "fname")},
		{Type: "host", ID: convert.Take(o, "dhost", "dst")},
	} {
		if t.ID != "" {
			e.Targets = append(e.Targets, t)
		}
	}
	e.Source = attestlog.Source{Host: o.Take("shost"), UserAgent: o.Take("requestClientApplication")}
	for _, name := range [...]string{"src", "c6a2"} { // c6a2: Source IPv6 Address
		if _, err := netip.ParseAddr(o.Text(name)); err == nil && e.Source.IP == "" {
			e.Source.IP = o.Take(name)
		}
	}
	if _, err := netip.ParseAddr(o.Text("src")); err != nil && e.Source.Host == "" {
		e.Source.Host = o.Take("src")
	}
	e.Request = attestlog.Request{Method: o.Take("requestMethod"), Path: o.Take("request")}
	e.Message = o.Take("msg")
	own := map[string]any{}
	for k, v := range map[string]string{
		"version": m.version, "vendor": vendor, "product": product, "device_version": version, "class": class, "name": name, "severity": severity,
		"before": strings.TrimSpace(m.before), "text": m.text,
	} {
		if v != "" && v != e.Action && v != e.Service {
			own[k] = v
		}
	}
	if e.Message == "" && name != e.Action {
		e.Message = name
		delete(own, "name")
	}
	o.Put(Attribute, own)
}

// layouts are those of the standard, "Date Formats", that have a year: without
// one, the record does not say when it was.
var layouts = []string{
	"Jan 02 2006 15:04:05.000 MST", "Jan 02 2006 15:04:05 MST", "Jan 02 2006 15:04:05.000", "Jan 02 2006 15:04:05", time.RFC3339,
}

// when returns the event's time. Milliseconds stay in no attribute, for they say
// no more; any other spelling does, and so does what is not read.
func when(o convert.Object) time.Time {
	for _, name := range [...]string{"start", "rt", "end"} {
		text := o.Text(name)
		if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 {
			o.Take(name)
			return time.UnixMilli(ms).UTC()
		}
		if t, ok := convert.ParseTime(text, layouts...); ok {
			return t
		}
	}
	return time.Time{}
}
