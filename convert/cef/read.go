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
)

// Format starts the records' ids.
const Format = "cef"

// Attribute holds the header's fields.
const Attribute = "cef"

// Read is a convert.Reader of lines, with or without a syslog header before
// "CEF:". What is not listed stays in the attributes under its own key, the
// header in attributes.cef, and the line's exact bytes are the original.
//
//	time        start, rt or end
//	service     the header's device product, or app where that is attestlog
//	action      the header's event class, or its name where the class is a number
//	operation   act, where it is one that the log knows
//	outcome     outcome; reason
//	actor       suid, suser, spid, sproc, or else duid, duser
//	source      src, or the custom IPv6 address of the source; shost; requestClientApplication
//	targets     duid and duser, fname, dhost
//	request     requestMethod, request
//	message     msg, or the header's name
//
// Ids are those of convert.IDs: without the source where there is an externalId.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	own, ids := convert.NewIDs(Format, ""), convert.NewIDs(Format, source)
	return convert.ByLine(r, source, func(line []byte) (attestlog.Event, bool, error) {
		p, err := parse(string(line))
		if err != nil {
			return attestlog.Event{}, false, err
		}
		e := attestlog.Event{Original: bytes.Clone(line)}
		if p.extension.Text("externalId") != "" {
			e.ID = own.Next(line)
		} else {
			e.ID = ids.Next(line)
		}
		p.event(&e)
		convert.Complete(&e, p.extension)
		return e, false, nil
	})
}

// A message is a parsed line.
type message struct {
	before    string    // a syslog header
	header    [6]string // behind the version
	version   string
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
		end := unescaped(rest, '|')
		if end < 0 {
			return m, errNotCEF
		}
		text := headerEscapes.Replace(rest[:end])
		rest = rest[end+1:]
		if i == 0 {
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
	found := key.FindAllStringSubmatchIndex(s, -1)
	if len(found) == 0 && strings.TrimSpace(s) != "" || len(found) > 0 && strings.TrimSpace(s[:found[0][0]]) != "" {
		return errors.New("the extension does not begin with a key and an equals sign")
	}
	for i, at := range found {
		end := len(s)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		name, v := s[at[2]:at[3]], valueEscapes.Replace(strings.TrimRight(s[at[1]:end], " "))
		switch before := m.extension[name].(type) {
		case nil:
			m.extension[name] = v
		case convert.Repeated:
			m.extension[name] = append(before, v)
		default:
			m.extension[name] = convert.Repeated{before, v}
		}
	}
	return nil
}

// operations are the words of act that say what an event's operation does.
var operations = map[string]bool{
	"create": true, "read": true, "update": true, "delete": true, "login": true, "logout": true, "export": true, "import": true, "execute": true, "approve": true, "deny": true,
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
	if act := strings.ToLower(o.Text("act")); operations[act] {
		e.Operation = act
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
	e.Request = attestlog.Request{Method: o.Take("requestMethod"), Path: o.Take("request")}
	e.Message = o.Take("msg")
	own := map[string]any{}
	for k, v := range map[string]string{
		"version": m.version, "vendor": vendor, "product": product, "device_version": version, "class": class, "name": name, "severity": severity,
		"before": strings.TrimSpace(m.before),
	} {
		if v != "" && v != e.Action && v != e.Service {
			own[k] = v
		}
	}
	if e.Message == "" && name != e.Action {
		e.Message = name
		delete(own, "name")
	}
	o[Attribute] = own
}

// layouts are those of the standard, "Date Formats".
var layouts = []string{
	"Jan 02 2006 15:04:05.000 MST", "Jan 02 2006 15:04:05 MST", "Jan 02 2006 15:04:05.000", "Jan 02 2006 15:04:05", time.RFC3339,
}

// when returns the event's time. Milliseconds stay in no attribute, for they say
// no more; any other spelling does.
func when(o convert.Object) time.Time {
	for _, name := range [...]string{"start", "rt", "end"} {
		text := o.Text(name)
		if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 {
			o.Take(name)
			return time.UnixMilli(ms).UTC()
		}
		for _, layout := range layouts {
			if t, err := time.Parse(layout, text); err == nil {
				return t.UTC()
			}
		}
	}
	return time.Time{}
}
