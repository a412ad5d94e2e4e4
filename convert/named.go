package convert

import (
	"iter"
	"net/netip"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
)

// The dotted names under which a field's value is looked for, in this order. They
// are those of ECS, OTel, bunyan, pino, zap, logrus and slog, and others that
// people choose.
var (
	timeNames = []string{
		"time", "timestamp", "@timestamp", "ts", "datetime", "event_time", "eventTime", "created_at",
		"createdAt", "date", "t",
	}
	actionNames = []string{
		"action", "event.action", "event", "event_name", "eventName", "event_type", "eventType", "type",
		"event.type", "msg", "message",
	}
	actorNames = []string{
		"actor.id", "actor", "actor_id", "user.id", "user_id", "userId", "uid", "user", "username", "user_name",
		"userName", "user.name", "actor.name", "user.email", "email", "principal", "subject", "sub", "account",
		"login",
	}
	nameNames = []string{
		"actor.name", "user.name", "actor_name", "username", "user_name", "userName", "user.email",
		"actor.email",
	}
	sessionNames = []string{"actor.session", "session_id", "session.id", "sessionId", "session"}
	behalfNames  = []string{"actor.on_behalf_of", "on_behalf_of", "impersonator"}
	ipNames      = []string{
		"ip", "ip_address", "ipAddress", "source.ip", "source_ip", "src_ip", "client_ip", "clientIp",
		"client.ip", "remote_ip", "remoteIp", "remote_addr", "remoteAddr", "client_address", "client.address",
		"source.address", "network.peer.address",
	}
	agentNames = []string{
		"user_agent", "userAgent", "source.user_agent", "user_agent.original", "http_user_agent", "ua",
	}
	hostNames   = []string{"source.host", "source.domain", "remote_host", "client_host"}
	tenantNames = []string{
		"tenant", "tenant_id", "tenantId", "tenant.id", "organization.id", "organization", "org_id", "org",
	}
	serviceNames = []string{
		"service", "service.name", "service_name", "serviceName", "app", "application", "program",
	}
	moduleNames    = []string{"module", "component", "logger", "log.logger"}
	operationNames = []string{"operation"}
	reasonNames    = []string{"reason", "event.reason", "error", "error.message", "error_message", "err"}
	messageNames   = []string{"message", "msg"}
	requestNames   = []string{
		"request.id", "request_id", "requestId", "req_id", "reqId", "http.request.id", "correlation_id",
	}
	methodNames = []string{"request.method", "method", "http_method", "http.request.method"}
	pathNames   = []string{"request.path", "path", "url.path", "uri", "http.target"}
	routeNames  = []string{"request.route", "route", "http.route"}
	statusNames = []string{
		"request.status", "status", "status_code", "statusCode", "http_status", "http.response.status_code",
	}
	traceNames  = []string{"trace.trace_id", "trace_id", "traceId", "trace.id"}
	spanNames   = []string{"trace.span_id", "span_id", "spanId", "span.id"}
	targetNames = []string{
		"target.id", "target", "target_id", "targetId", "resource.id", "resource", "resource_id", "resourceId",
		"object.id", "object", "object_id", "objectId",
	}
	targetTypes = []string{
		"target.type", "target_type", "targetType", "resource.type", "resource_type", "resourceType",
		"object.type", "object_type", "objectType",
	}
	targetLabels = []string{
		"target.name", "target_name", "resource.name", "resource_name", "object.name", "object_name",
	}
	outcomeNames = []string{"outcome", "event.outcome", "result", "status", "success"}
)

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
		for _, names := range [...][]string{
			timeNames, actionNames, actorNames, nameNames, sessionNames, behalfNames, ipNames, agentNames, hostNames,
			tenantNames, serviceNames, moduleNames, operationNames, reasonNames, messageNames, requestNames,
			methodNames, pathNames, routeNames, statusNames, traceNames, spanNames, targetNames, targetTypes,
			targetLabels, outcomeNames,
		} {
			for _, name := range names {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// Named fills the fields that an event lacks from a record whose members have
// names that many programs share: those of the tables above. The rest of the
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
	if e.Time.IsZero() {
		e.Time = findTime(o)
	}
	if e.Actor.Type == "" {
		e.Actor.Type = findActorType(o)
	}
	if e.Outcome == "" {
		e.Outcome = findOutcome(o)
	}
	if e.Request.Status == 0 {
		e.Request.Status = findStatus(o)
	}
	if e.Source.IP == "" {
		e.Source.IP = findAddress(o)
	}

	for _, f := range [...]struct {
		to    *string
		names []string
	}{
		{&e.Action, actionNames},
		{&e.Actor.ID, actorNames},
		{&e.Actor.Name, nameNames},
		{&e.Actor.Session, sessionNames},
		{&e.Actor.OnBehalfOf, behalfNames},
		{&e.Source.UserAgent, agentNames},
		{&e.Source.Host, hostNames},
		{&e.Tenant, tenantNames},
		{&e.Service, serviceNames},
		{&e.Module, moduleNames},
		{&e.Operation, operationNames},
		{&e.Reason, reasonNames},
		{&e.Message, messageNames},
		{&e.Request.ID, requestNames},
		{&e.Request.Method, methodNames},
		{&e.Request.Path, pathNames},
		{&e.Request.Route, routeNames},
		{&e.Trace.TraceID, traceNames},
		{&e.Trace.SpanID, spanNames},
	} {
		if *f.to == "" {
			*f.to = Take(o, f.names...)
		}
	}

	var t attestlog.Target
	t.ID = Take(o, targetNames...)
	t.Type = Take(o, targetTypes...)
	t.Name = Take(o, targetLabels...)
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

func findActorType(o Object) string {
	for path := range pathsOf("actor.type") {
		switch o.Text(path...) {
		case "user", "service", "system", "anonymous":
			return o.Take(path...)
		}
	}
	return ""
}

// findAddress takes an IP address, or one with a port. The port then becomes the
// member "port", unless there is one. Other text stays: it may be anything.
func findAddress(o Object) string {
	for path := range pathsOf(ipNames...) {
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
func findOutcome(o Object) attestlog.Outcome {
	for path := range pathsOf(outcomeNames...) {
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

// findStatus returns an HTTP status, which stays in the object too.
func findStatus(o Object) int {
	for path := range pathsOf(statusNames...) {
		if n, err := strconv.Atoi(o.Text(path...)); err == nil && n >= 100 && n <= 599 {
			return n
		}
	}
	return 0
}
