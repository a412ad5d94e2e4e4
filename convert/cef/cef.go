// Package cef reads lines of the Common Event Format as events, and writes
// entries as such lines.
//
// The format is that of the ArcSight "CEF Implementation Standard", revision
// 26, version 0 of the format. A header of seven fields comes before the
// extension, which has keys and values:
//
//	CEF:0|Vendor|Firewall|1.0|100|worm stopped|10|src=192.0.2.7 suser=alice outcome=failure
//	 act=blocked dhost=db msg=port 445 start=1772359200123 externalId=E1
//
// Read takes one record a line (the sample is one line), with or without a
// syslog header before "CEF:".
//
// # Reading
//
// A line becomes an event as follows.
//
//	time       start, rt or end
//	service    the header's device product, or app if the product is attestlog
//	action     the header's event class, or its name if the class is a number
//	operation  act, if it is one that the log knows
//	outcome    outcome; reason
//	actor      suid, suser, sproc, spid, or else duid, duser
//	source     src, or the custom IPv6 address of the source, as ip; shost, or a src
//	           that is not an address, as host; requestClientApplication
//	targets    duid and duser, filePath or fname, dhost or dst
//	request    requestMethod, request
//	message    msg, or the header's name
//
// Everything else stays in the attributes: the other keys under their own
// names, and the header in attributes.cef, with the text before "CEF:" as
// before and the text before the first key as text. The line's exact bytes are
// the original.
//
// # Ids
//
// Ids are those of convert.IDs: without the source if there is an externalId,
// because an equal line is then the same one, delivered again.
//
// # Writing
//
// Append writes an entry as one line. It is a view: what has no key there is
// left out, the leaf is not in it, and it proves nothing.
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

// Attribute is the name of the attribute that holds the header's fields.
const Attribute = "cef"

// Read is a convert.Reader of lines.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewMixedIDs(Format, source)
	return convert.ByLine(r, source, func(line []byte) (attestlog.Event, bool, error) {
		e, err := event(line, ids)
		return e, false, err
	})
}

// event maps one line. The event keeps nothing of it.
func event(line []byte, ids *convert.MixedIDs) (attestlog.Event, error) {
	r, err := parse(string(line))
	if err != nil {
		return attestlog.Event{}, err
	}
	o := r.extension

	// The actor comes before the targets: both look for the destination user.
	e := attestlog.Event{
		ID:        ids.Next(line, o.Text("externalId") != ""),
		Time:      when(o),
		Service:   service(r),
		Action:    action(r),
		Operation: operation(o),
		Outcome:   outcome(o),
		Reason:    o.Take("reason"),
		Actor:     actor(o),
		Targets:   targets(o),
		Source:    source(o),
		Request:   attestlog.Request{Method: o.Take("requestMethod"), Path: o.Take("request")},
		Message:   o.Take("msg"),
		Original:  bytes.Clone(line),
	}
	attribute := header(r, e)
	if e.Message == "" && r.name != e.Action {
		e.Message = r.name
		delete(attribute, "name")
	}
	o.Put(Attribute, attribute)

	convert.Complete(&e, o)
	return e, nil
}

// A record is a parsed line.
type record struct {
	before string // a syslog header

	// The seven fields of the header.
	version       string
	vendor        string
	product       string
	deviceVersion string
	class         string
	name          string
	severity      string

	text      string // before the first key
	extension convert.Object
}

var errNotRecord = errors.New("not a CEF line: no CEF:version and seven fields with a | between")

func parse(line string) (record, error) {
	r := record{extension: convert.Object{}}
	start := strings.Index(line, "CEF:")
	if start < 0 {
		return r, errNotRecord
	}
	r.before = line[:start]
	rest := line[start+len("CEF:"):]

	for _, field := range [...]*string{&r.version, &r.vendor, &r.product, &r.deviceVersion, &r.class, &r.name} {
		end := unescaped(rest, '|')
		if end < 0 {
			return r, errNotRecord
		}
		*field = unescapeHeader.Replace(rest[:end])
		rest = rest[end+1:]
	}
	if _, err := strconv.Atoi(r.version); err != nil {
		return r, errNotRecord
	}

	// Some leave the last pipe out. Then one that comes later is in a value.
	end := unescaped(rest, '|')
	severity, extension := "", ""
	if end >= 0 && !key.MatchString(rest[:end]) {
		severity, extension = rest[:end], rest[end+1:]
	} else {
		severity, extension, _ = strings.Cut(rest, " ")
	}
	r.severity = unescapeHeader.Replace(severity)
	return r, r.readExtension(extension)
}

// unescaped returns where in s the first c is that has no backslash before it,
// or -1.
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
	unescapeHeader = strings.NewReplacer(`\\`, `\`, `\|`, `|`)
	unescapeValue  = strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\n`, "\n", `\r`, "\r", `\|`, `|`)
	// A key starts the extension, or comes after a space.
	key = regexp.MustCompile(`(?:^|\s)([A-Za-z0-9_.\[\]-]+)=`)
)

// readExtension reads the extension: a value goes on until the next key, spaces
// and all. Many senders do not escape the equals signs of a value; then a word
// before one counts as a key.
func (r *record) readExtension(s string) error {
	// Each has the start and the end of the match, and those of the key in it.
	found := key.FindAllStringSubmatchIndex(s, loosejson.MaxValues+1)
	if len(found) > loosejson.MaxValues {
		return loosejson.ErrTooMany
	}

	first := len(s)
	if len(found) > 0 {
		first = found[0][0]
	}
	r.text = unescapeValue.Replace(strings.TrimSpace(s[:first]))

	for i, match := range found {
		end := len(s)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		name := s[match[2]:match[3]]
		value := strings.TrimRight(s[match[1]:end], " ")
		r.extension.Add(name, unescapeValue.Replace(value))
	}
	return nil
}

// layouts are those of the standard, "Date Formats", that have a year: without
// one, the record does not say when it was.
var layouts = []string{
	"Jan 02 2006 15:04:05.000 MST",
	"Jan 02 2006 15:04:05 MST",
	"Jan 02 2006 15:04:05.000",
	"Jan 02 2006 15:04:05",
	time.RFC3339,
}

// when returns the event's time. A number of milliseconds leaves the
// attributes, for it says no more than the time does; any other spelling stays
// there.
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

// service returns the product. An entry's line has the service as app.
func service(r record) string {
	if app := r.extension.Text("app"); r.product == "attestlog" && app != "" {
		r.extension.Take("app")
		return app
	}
	return r.product
}

func action(r record) string {
	if _, err := strconv.Atoi(r.class); err == nil || r.class == "" {
		return r.name
	}
	return r.class
}

func operation(o convert.Object) string {
	op := convert.Operation(o.Text("act"))
	if op != "" {
		o.Take("act")
	}
	return op
}

func outcome(o convert.Object) attestlog.Outcome {
	out := convert.OutcomeOf(o.Text("outcome"))
	if string(out) == o.Text("outcome") {
		o.Take("outcome")
	}
	return out
}

// actor returns the source user, or else the destination user.
func actor(o convert.Object) attestlog.Actor {
	a := attestlog.Actor{ID: convert.Take(o, "suid", "suser", "sproc", "spid"), Name: o.Take("suser")}
	if a.ID != "" {
		return a
	}
	return attestlog.Actor{ID: convert.Take(o, "duid", "duser"), Name: o.Take("duser")}
}

// targets returns what was acted on. The destination user is one, unless it is
// the actor, who has been taken.
func targets(o convert.Object) []attestlog.Target {
	var targets []attestlog.Target
	for _, t := range [...]attestlog.Target{
		{Type: "user", ID: convert.Take(o, "duid", "duser"), Name: o.Take("duser")},
		{Type: "file", ID: convert.Take(o, "filePath", "fname")},
		{Type: "host", ID: convert.Take(o, "dhost", "dst")},
	} {
		if t.ID != "" {
			targets = append(targets, t)
		}
	}
	return targets
}

func source(o convert.Object) attestlog.Source {
	s := attestlog.Source{Host: o.Take("shost"), UserAgent: o.Take("requestClientApplication")}
	for _, name := range [...]string{"src", sourceIPv6} {
		if _, err := netip.ParseAddr(o.Text(name)); err == nil && s.IP == "" {
			s.IP = o.Take(name)
		}
	}
	if _, err := netip.ParseAddr(o.Text("src")); err != nil && s.Host == "" {
		s.Host = o.Take("src")
	}
	return s
}

// header returns what the line has besides its extension, without what names
// the event's action and service.
func header(r record, e attestlog.Event) map[string]any {
	h := map[string]any{}
	for name, text := range map[string]string{
		"before":         strings.TrimSpace(r.before),
		"version":        r.version,
		"vendor":         r.vendor,
		"product":        r.product,
		"device_version": r.deviceVersion,
		"class":          r.class,
		"name":           r.name,
		"severity":       r.severity,
		"text":           r.text,
	} {
		if text != "" && text != e.Action && text != e.Service {
			h[name] = text
		}
	}
	return h
}
