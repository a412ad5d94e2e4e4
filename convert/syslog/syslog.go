// Package syslog reads messages of the syslog protocol (RFC 5424), from files
// and from connections (RFC 6587, RFC 5425).
//
//	<86>1 2026-03-01T10:00:00.123Z web1 sshd 4711 login [user@32473 uid="alice"] accepted
//
// A message becomes an event as follows, and its exact bytes are the original.
//
//	time          TIMESTAMP, or else a time in the structured data or the message
//	service       APP-NAME
//	action        MSGID, a member action of the message, or syslog.FACILITY
//	source        HOSTNAME, as ip if it is one
//	actor, …      from the structured data, then from the message
//	message       MSG, without its byte order mark
//
// An element of the structured data is an attribute under its SD-ID. A message
// that is a JSON object, with or without the cookie "@cee:" before it, is taken
// apart: its members are attributes, and one named message or msg is the message.
// Parameters and members find the fields that are empty yet by convert.Named.
// Facility and severity, by their names of RFC 5427, and PROCID stand in
// attributes.syslog. A severity is no outcome: that comes from a member alone.
//
// Nothing is lost for its form. What RFC 5424 does not allow, such as a message
// of RFC 3164, becomes an event with the action "syslog" and the whole text as
// its message. Of a parameter that an element has twice, the attributes hold the
// last; the original has both.
//
// # Ids
//
// A message has no identity, and no protocol acknowledges it: what a sender
// sends again after a broken connection cannot be told from what happened twice.
// A duplicate can be seen, a loss cannot, so two equal messages are two events.
// Those of a file have the ids of convert.IDs, with the source; those of a
// connection have none, and the log makes one for each.
package syslog

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog/fit"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	gosyslog "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc5424"
)

// Format starts the ids of a file's messages.
const Format = "syslog"

// Attribute holds what the header has and no field takes.
const Attribute = "syslog"

// Event returns the event of one message, as Frames yields it or as a datagram
// has it. received stands for the time that a message lacks; if it is zero, the
// log's clock does. The event has no id, and keeps nothing of raw.
func Event(raw []byte, received time.Time) attestlog.Event {
	e, rest := event(rfc5424.NewParser(), raw)
	if e.Time.IsZero() {
		e.Time = received
	}
	e.Attributes = fit.Foreign(rest)
	fit.Event(&e)
	return e
}

// event maps a message but for what stays in the attributes. The event is not
// bounded, and may lack its time.
func event(p gosyslog.Machine, raw []byte) (attestlog.Event, convert.Object) {
	e := attestlog.Event{Original: bytes.Clone(raw)}
	raw = bytes.TrimRight(raw, "\r\n\x00") // what senders of datagrams leave at the end
	parsed, err := p.Parse(raw)
	m, ok := parsed.(*rfc5424.SyslogMessage)
	if err != nil || !ok || m == nil {
		return e, other(&e, raw)
	}
	if m.Timestamp != nil {
		e.Time = m.Timestamp.UTC()
	}
	e.Service, e.Action = text(m.Appname), text(m.MsgID)
	if name := text(m.Hostname); name != "" {
		if _, err := netip.ParseAddr(name); err == nil {
			e.Source.IP = name
		} else {
			e.Source.Host = name
		}
	}
	body := strings.TrimPrefix(text(m.Message), "\uFEFF")
	members, ok := object(body)
	if !ok {
		e.Message = body
	}
	if e.Action == "" {
		e.Action = convert.Take(members, "action", "event.action")
	}
	if e.Action == "" {
		e.Action = "syslog." + facilities[*m.Facility]
	}
	header := map[string]any{"facility": facilities[*m.Facility], "severity": severities[*m.Severity]}
	if m.ProcID != nil {
		header["procid"] = *m.ProcID
	}
	if m.Version != 1 {
		header["version"] = float64(m.Version)
	}
	rest := convert.Object{Attribute: header}
	if m.StructuredData != nil {
		elements(&e, rest, *m.StructuredData)
	}
	convert.Fill(&e, members)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		put(rest, name, members[name])
	}
	return e, rest
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// elements fills fields from structured data, and keeps what is left of it.
func elements(e *attestlog.Event, rest convert.Object, data map[string]map[string]string) {
	for _, id := range slices.Sorted(maps.Keys(data)) {
		params := convert.Object{}
		for name, value := range data[id] {
			params[name] = value
		}
		if convert.Fill(e, params); len(params) > 0 || len(data[id]) == 0 {
			put(rest, id, map[string]any(params))
		}
	}
}

// object takes a message apart that is a JSON object. cee.mitre.org has the
// cookie, which rsyslog and syslog-ng write.
func object(body string) (convert.Object, bool) {
	body = strings.TrimLeft(strings.TrimPrefix(body, "@cee:"), " ")
	if !strings.HasPrefix(body, "{") {
		return nil, false
	}
	o, err := convert.DecodeObject([]byte(body))
	return o, err == nil
}

// put adds a member under a name that is free.
func put(o convert.Object, name string, v any) {
	for {
		if _, taken := o[name]; !taken {
			o[name] = v
			return
		}
		name += "_"
	}
}

// other maps what is no message of RFC 5424, and keeps the priority that there
// may be.
func other(e *attestlog.Event, raw []byte) convert.Object {
	e.Action, e.Message = Format, string(raw)
	rest, ok := bytes.CutPrefix(raw, []byte("<"))
	digits, _, closed := bytes.Cut(rest, []byte(">"))
	n, err := strconv.ParseUint(string(digits), 10, 8)
	if !ok || !closed || err != nil || n >= uint64(len(facilities)*len(severities)) {
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
