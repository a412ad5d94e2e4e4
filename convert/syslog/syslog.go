// Package syslog reads messages of the syslog protocol as events, from files
// and from connections.
//
// The format of a message is that of RFC 5424. Files and connections frame
// messages as RFC 6587 and RFC 5425 say.
//
//	<86>1 2026-03-01T10:00:00.123Z web1 sshd 4711 login [user@32473 uid="alice"] accepted
//
// Read takes a file of messages, one a line or each with its length before it.
// Frames takes a connection apart into messages, and Event maps one of them, or
// a datagram.
//
// # Reading
//
// A message becomes an event as follows.
//
//	time          TIMESTAMP, or else a time in the structured data or the message
//	service       APP-NAME
//	action        MSGID, a member action of the message, or syslog.FACILITY
//	source        HOSTNAME, as ip if it is an address, otherwise as host
//	message       MSG, without its byte order mark
//	actor, …      from the structured data, then from the message
//
// An element of the structured data is an attribute under its SD-ID. A message
// that is a JSON object, with or without the cookie "@cee:" before it, is taken
// apart: its members are attributes, and one named message or msg is the
// message. Parameters and members fill the fields that are still empty, as
// convert.Named does. Facility and severity, by their names of RFC 5427, and
// PROCID are in attributes.syslog. A severity is not an outcome: only a member
// can say that. The message's exact bytes are the original.
//
// Nothing is lost for its form. What RFC 5424 does not allow, such as a message
// of RFC 3164, becomes an event with the action "syslog" and the whole text as
// its message. If an element has a parameter twice, the attributes have the
// last value; the original has both.
//
// # Ids
//
// A message has no identity, and no protocol acknowledges it: what a sender
// sends again after a broken connection cannot be told from what happened
// twice. A duplicate can be seen, a loss cannot, so two equal messages are two
// events. Messages of a file have the ids of convert.IDs, with the source.
// Messages of a connection have none, and the log makes one for each.
package syslog

import (
	"bytes"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	gosyslog "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
)

// Format starts the ids of a file's messages.
const Format = "syslog"

// Attribute is the name of the attribute that holds what the header has and no
// field takes.
const Attribute = "syslog"

// Read is a convert.Reader of messages, one a line, or octet-counted if the
// file starts so (RFC 6587, Section 3.4.1). Among counted messages, one without
// a length ends at the line's end.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		parser := rfc5424.NewParser()
		ids := convert.NewIDs(Format, source)
		complete := func(raw []byte) attestlog.Event {
			e, rest := event(parser, raw)
			e.ID = ids.Next(raw)
			convert.Complete(&e, rest)
			return e
		}

		s := newSplitter(r, 64<<10, convert.MaxRecord)
		if s.startsWithLength() {
			counted(s, source, complete)(yield)
			return
		}
		convert.ByLine(s.r, source, func(line []byte) (attestlog.Event, bool, error) {
			return complete(line), false, nil
		})(yield)
	}
}

// Event returns the event of one message, as Frames yields it or as a datagram
// has it. If the message has no time, received is the event's time; if that is
// zero too, the event has none, and the log's clock sets it. The event has no
// id, and keeps nothing of raw.
func Event(raw []byte, received time.Time) attestlog.Event {
	e, rest := event(rfc5424.NewParser(), raw)
	if e.Time.IsZero() {
		e.Time = received
	}
	e.Attributes = fit.Foreign(rest)
	fit.Event(&e)
	return e
}

// event maps one message, and returns what belongs in its attributes. The event
// has no id, no attributes and no bounds, and may have no time.
func event(parser gosyslog.Machine, raw []byte) (attestlog.Event, convert.Object) {
	e := attestlog.Event{Original: bytes.Clone(raw)}
	raw = bytes.TrimRight(raw, "\r\n\x00") // senders of datagrams leave these at the end
	parsed, err := parser.Parse(raw)
	m, ok := parsed.(*rfc5424.SyslogMessage)
	if err != nil || !ok || m == nil {
		e.Action = Format
		e.Message = string(raw)
		return e, priority(raw)
	}

	body := strings.TrimPrefix(text(m.Message), "\uFEFF")
	members, isObject := object(body)
	if !isObject {
		e.Message = body
	}

	if m.Timestamp != nil {
		e.Time = m.Timestamp.UTC()
	}
	e.Service = text(m.Appname)
	e.Action = action(m, members)
	e.Source = convert.SourceOf(text(m.Hostname))

	// The structured data comes first, for it is meant for programs.
	rest := convert.Object{Attribute: header(m)}
	if m.StructuredData != nil {
		elements(&e, rest, *m.StructuredData)
	}
	convert.Fill(&e, members)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		rest.Put(name, members[name])
	}
	return e, rest
}

// text returns the text of a header's field, or "" for the nil value.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func action(m *rfc5424.SyslogMessage, members convert.Object) string {
	if id := text(m.MsgID); id != "" {
		return id
	}
	if name := convert.Take(members, "action", "event.action"); name != "" {
		return name
	}
	return "syslog." + facilities[*m.Facility]
}

// header returns the attribute for the fields of the header that no field of
// the event takes.
func header(m *rfc5424.SyslogMessage) map[string]any {
	h := map[string]any{
		"facility": facilities[*m.Facility],
		"severity": severities[*m.Severity],
	}
	if m.ProcID != nil {
		h["procid"] = *m.ProcID
	}
	if m.Version != 1 {
		h["version"] = float64(m.Version)
	}
	return h
}

// elements fills fields from the structured data, and puts the rest of it into
// rest.
func elements(e *attestlog.Event, rest convert.Object, data map[string]map[string]string) {
	for _, id := range slices.Sorted(maps.Keys(data)) {
		params := convert.Object{}
		for name, value := range data[id] {
			params[name] = value
		}
		isEmpty := len(params) == 0

		convert.Fill(e, params)
		if len(params) > 0 || isEmpty {
			rest.Put(id, map[string]any(params))
		}
	}
}

// object returns the members of a message that is a JSON object. The cookie is
// that of cee.mitre.org, and rsyslog and syslog-ng write it.
func object(body string) (convert.Object, bool) {
	body = strings.TrimLeft(strings.TrimPrefix(body, "@cee:"), " ")
	if !strings.HasPrefix(body, "{") {
		return nil, false
	}
	o, err := convert.DecodeObject([]byte(body))
	return o, err == nil
}

// priority returns the attributes of what is not a message of RFC 5424: what
// its priority says, if it starts with one.
func priority(raw []byte) convert.Object {
	rest, opened := bytes.CutPrefix(raw, []byte("<"))
	digits, _, closed := bytes.Cut(rest, []byte(">"))
	if !opened || !closed {
		return nil
	}
	n, err := strconv.ParseUint(string(digits), 10, 8)
	if err != nil || n >= uint64(len(facilities)*len(severities)) {
		return nil
	}
	return convert.Object{Attribute: map[string]any{"facility": facilities[n/8], "severity": severities[n%8]}}
}

// The names of RFC 5427, Section 3.
var (
	facilities = [...]string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"ntp", "audit", "console", "cron2", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
	severities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
)
