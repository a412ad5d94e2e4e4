package convert

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/field"
)

// A namedField says under which dotted names a field's value is looked for, in
// their order.
type namedField struct {
	*field.Field
	names []string
}

// foreign are the names of ECS, OTel, bunyan, pino, zap, logrus and slog, and
// others that people choose. Fields are in the order in which they take their
// values: some names may be of more than one.
var foreign = []struct {
	id    field.ID
	names []string
}{
	{field.Time, []string{
		"time", "timestamp", "@timestamp", "ts", "datetime", "event_time", "eventTime", "created_at",
		"createdAt", "date", "t",
	}},
	{field.ActorType, []string{"actor.type"}},
	{field.Outcome, []string{"outcome", "event.outcome", "result", "status", "success"}},
	{field.RequestStatus, []string{
		"request.status", "status", "status_code", "statusCode", "http_status", "http.response.status_code",
	}},
	{field.SourceIP, []string{
		"ip", "ip_address", "ipAddress", "source.ip", "source_ip", "src_ip", "client_ip", "clientIp",
		"client.ip", "remote_ip", "remoteIp", "remote_addr", "remoteAddr", "client_address", "client.address",
		"source.address", "network.peer.address",
	}},
	{field.Action, []string{
		"action", "event.action", "event", "event_name", "eventName", "event_type", "eventType", "type",
		"event.type", "msg", "message",
	}},
	{field.ActorID, []string{
		"actor.id", "actor", "actor_id", "user.id", "user_id", "userId", "uid", "user", "username", "user_name",
		"userName", "user.name", "actor.name", "user.email", "email", "principal", "subject", "sub", "account",
		"login",
	}},
	{field.ActorName, []string{
		"actor.name", "user.name", "actor_name", "username", "user_name", "userName", "user.email",
		"actor.email",
	}},
	{field.ActorSession, []string{"actor.session", "session_id", "session.id", "sessionId", "session"}},
	{field.ActorOnBehalfOf, []string{"actor.on_behalf_of", "on_behalf_of", "impersonator"}},
	{field.SourceUserAgent, []string{
		"user_agent", "userAgent", "source.user_agent", "user_agent.original", "http_user_agent", "ua",
	}},
	{field.SourceHost, []string{"source.host", "source.domain", "remote_host", "client_host"}},
	{field.Tenant, []string{
		"tenant", "tenant_id", "tenantId", "tenant.id", "organization.id", "organization", "org_id", "org",
	}},
	{field.Service, []string{
		"service", "service.name", "service_name", "serviceName", "app", "application", "program",
	}},
	{field.Module, []string{"module", "component", "logger", "log.logger"}},
	{field.Operation, []string{"operation"}},
	{field.Reason, []string{"reason", "event.reason", "error", "error.message", "error_message", "err"}},
	{field.Message, []string{"message", "msg"}},
	{field.RequestID, []string{
		"request.id", "request_id", "requestId", "req_id", "reqId", "http.request.id", "correlation_id",
	}},
	{field.RequestMethod, []string{"request.method", "method", "http_method", "http.request.method"}},
	{field.RequestPath, []string{"request.path", "path", "url.path", "uri", "http.target"}},
	{field.RequestRoute, []string{"request.route", "route", "http.route"}},
	{field.TraceID, []string{"trace.trace_id", "trace_id", "traceId", "trace.id"}},
	{field.TraceSpan, []string{"trace.span_id", "span_id", "spanId", "span.id"}},
	{field.TargetID, []string{
		"target.id", "target", "target_id", "targetId", "resource.id", "resource", "resource_id", "resourceId",
		"object.id", "object", "object_id", "objectId",
	}},
	{field.TargetType, []string{
		"target.type", "target_type", "targetType", "resource.type", "resource_type", "resourceType",
		"object.type", "object_type", "objectType",
	}},
	{field.TargetName, []string{
		"target.name", "target_name", "resource.name", "resource_name", "object.name", "object_name",
	}},

	// Not looked for: an id is made by IDs or is the format's own, and programs
	// do not agree on the unit of a duration.
	{field.EventID, nil},
	{field.RequestDuration, nil},
}

// namedFields are the fields of an event and of one target.
var namedFields = allNamed()

// allNamed returns the fields that have foreign names and, after them, the others
// of the table.
func allNamed() []namedField {
	var all []namedField
	var known field.Set
	for _, f := range foreign {
		known.Add(f.id)
		all = append(all, namedField{f.id.Field(), f.names})
	}

	for i := range field.All() {
		f := &field.All()[i]
		canBeFound := f.IsText() || f.Kind == field.Number
		if canBeFound && f.Object != field.Change && !known.Has(f.ID) {
			all = append(all, namedField{f, ownNames(f)})
		}
	}
	return all
}

// ownNames returns the names of a field for which foreign has none: its dotted
// path, its name in the query language, and its bare name.
func ownNames(f *field.Field) []string {
	var names []string
	for _, name := range [...]string{f.Path(), f.Query, f.Name} {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// outcomes are the words that programs use for them.
var outcomes = map[string]attestlog.Outcome{
	"success":    attestlog.Success,
	"succeeded":  attestlog.Success,
	"successful": attestlog.Success,
	"ok":         attestlog.Success,
	"allowed":    attestlog.Success,
	"granted":    attestlog.Success,
	"true":       attestlog.Success,

	"failure":      attestlog.Failure,
	"failed":       attestlog.Failure,
	"fail":         attestlog.Failure,
	"error":        attestlog.Failure,
	"denied":       attestlog.Failure,
	"forbidden":    attestlog.Failure,
	"unauthorized": attestlog.Failure,
	"false":        attestlog.Failure,

	"unknown": attestlog.Unknown,
}

// OutcomeOf returns the outcome that a word stands for, in any letter case, or "".
func OutcomeOf(word string) attestlog.Outcome { return outcomes[strings.ToLower(word)] }

// Operation returns the word in lower case if it is one of a log's operations, or
// else "".
func Operation(word string) string {
	word = strings.ToLower(word)
	switch word {
	case "create", "read", "update", "delete", "login", "logout", "export", "import", "execute", "approve", "deny":
		return word
	}
	return ""
}

// Names yields the dotted names that Named looks for.
func Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, f := range namedFields {
			for _, name := range f.names {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// Named fills the fields that an event lacks from a record whose members have
// names that many programs share: those that Names yields. The rest of the
// record becomes the attributes, under its own names (fit.Foreign). An event that
// still has no time is noted as fit.Undated. Call Finish afterwards.
func Named(e *attestlog.Event, o Object) {
	Fill(e, o)
	e.Attributes = fit.Foreign(o)
	if e.Time.IsZero() {
		fit.Undated(e)
	}
}

// Fill is Named for a part of a record: the rest of the part stays in it, and the
// event may still lack its time.
func Fill(e *attestlog.Event, o Object) {
	var t attestlog.Target
	for _, f := range namedFields {
		switch {
		case f.Kind == field.Instant:
			if e.Time.IsZero() {
				e.Time = findTime(o, f.names)
			}

		case f.Kind == field.Number:
			if e.Number(f.Pointer()) == 0 {
				e.SetNumber(f.Pointer(), findNumber(o, f))
			}

		case f.Object == field.Target:
			*t.Text(f.Name) = Take(o, f.names...)

		default:
			text := e.Text(f.Pointer())
			if *text == "" {
				*text = findText(o, f)
			}
		}
	}

	if t != (attestlog.Target{}) {
		e.Targets = append(e.Targets, t)
	}
}

// SourceOf returns the source with an address: as its IP if it is one, and
// otherwise as its host.
func SourceOf(address string) attestlog.Source {
	if _, err := netip.ParseAddr(address); err == nil {
		return attestlog.Source{IP: address}
	}
	return attestlog.Source{Host: address}
}

func findText(o Object, f namedField) string {
	switch {
	case f.ID == field.Outcome:
		return string(findOutcome(o, f.names))
	case f.Kind == field.Address:
		return findAddress(o, f.names)
	case f.Values != nil:
		return findWord(o, f.names, f.Values)
	}
	return Take(o, f.names...)
}

// findWord takes a text that is one of some words.
func findWord(o Object, names, words []string) string {
	for path := range pathsOf(names...) {
		if slices.Contains(words, o.Text(path...)) {
			return o.Take(path...)
		}
	}
	return ""
}

// findAddress takes an IP address, or one with a port. The port then becomes the
// member "port", unless there is one. Other text stays: it may be anything.
func findAddress(o Object, names []string) string {
	for path := range pathsOf(names...) {
		text := o.Text(path...)
		if _, err := netip.ParseAddr(text); err == nil {
			return o.Take(path...)
		}

		if addr, err := netip.ParseAddrPort(text); err == nil {
			o.Take(path...)
			if _, taken := o["port"]; !taken {
				o["port"] = float64(addr.Port())
			}
			return addr.Addr().String()
		}
	}
	return ""
}

// findOutcome takes a word that is an outcome itself. One that only stands for an
// outcome stays in the object too.
func findOutcome(o Object, names []string) attestlog.Outcome {
	for path := range pathsOf(names...) {
		v, _ := o.At(path...)
		word, _ := v.(string)
		if b, ok := v.(bool); ok {
			word = strconv.FormatBool(b)
		}

		outcome := OutcomeOf(word)
		if outcome == "" {
			continue
		}
		if word == string(outcome) {
			o.Take(path...)
		}
		return outcome
	}
	return ""
}

// findNumber returns a whole number from 0 on, which stays in the object too. An
// HTTP status has three digits.
func findNumber(o Object, f namedField) int64 {
	for path := range pathsOf(f.names...) {
		n, err := strconv.ParseInt(o.Text(path...), 10, 64)
		isStatus := n >= 100 && n <= 599
		if err == nil && n >= 0 && (isStatus || f.ID != field.RequestStatus) {
			return n
		}
	}
	return 0
}
