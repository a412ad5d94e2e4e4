package jsonlines

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// The names of each field, the first that is there first. A dotted name is a
// path of objects, or a name with dots in it. They are those of ECS, OTel,
// bunyan, pino, zap, logrus and slog, and what people choose.
var (
	timeNames      = []string{"time", "timestamp", "@timestamp", "ts", "datetime", "event_time", "eventTime", "created_at", "createdAt", "date", "t"}
	actionNames    = []string{"action", "event.action", "event", "event_name", "eventName", "event_type", "eventType", "type", "event.type", "msg", "message"}
	actorNames     = []string{"actor.id", "actor", "actor_id", "user.id", "user_id", "userId", "uid", "user", "username", "user_name", "userName", "user.name", "actor.name", "user.email", "email", "principal", "subject", "sub", "account", "login"}
	nameNames      = []string{"actor.name", "user.name", "actor_name", "username", "user_name", "userName", "user.email", "actor.email"}
	sessionNames   = []string{"actor.session", "session_id", "session.id", "sessionId", "session"}
	behalfNames    = []string{"actor.on_behalf_of", "on_behalf_of", "impersonator"}
	ipNames        = []string{"ip", "ip_address", "ipAddress", "source.ip", "source_ip", "src_ip", "client_ip", "clientIp", "client.ip", "remote_ip", "remoteIp", "remote_addr", "remoteAddr", "client_address", "source.address"}
	agentNames     = []string{"user_agent", "userAgent", "source.user_agent", "user_agent.original", "http_user_agent", "ua"}
	hostNames      = []string{"source.host", "source.domain", "remote_host", "client_host"}
	tenantNames    = []string{"tenant", "tenant_id", "tenantId", "tenant.id", "organization.id", "organization", "org_id", "org"}
	serviceNames   = []string{"service", "service.name", "service_name", "serviceName", "app", "application", "program"}
	moduleNames    = []string{"module", "component", "logger", "log.logger"}
	operationNames = []string{"operation"}
	reasonNames    = []string{"reason", "event.reason", "error", "error.message", "error_message", "err"}
	messageNames   = []string{"message", "msg"}
	requestNames   = []string{"request.id", "request_id", "requestId", "req_id", "reqId", "http.request.id", "correlation_id"}
	methodNames    = []string{"request.method", "method", "http_method", "http.request.method"}
	pathNames      = []string{"request.path", "path", "url.path", "uri", "http.target"}
	routeNames     = []string{"request.route", "route", "http.route"}
	statusNames    = []string{"request.status", "status", "status_code", "statusCode", "http_status", "http.response.status_code"}
	traceNames     = []string{"trace.trace_id", "trace_id", "traceId", "trace.id"}
	spanNames      = []string{"trace.span_id", "span_id", "spanId", "span.id"}
	targetNames    = []string{"target.id", "target", "target_id", "targetId", "resource.id", "resource", "resource_id", "resourceId", "object.id", "object", "object_id", "objectId"}
	targetTypes    = []string{"target.type", "target_type", "targetType", "resource.type", "resource_type", "resourceType", "object.type", "object_type", "objectType"}
	targetLabels   = []string{"target.name", "target_name", "resource.name", "resource_name", "object.name", "object_name"}
	outcomeNames   = []string{"outcome", "event.outcome", "result", "status", "success"}
)

// outcomes are the words for them that programs use.
var outcomes = map[string]attestlog.Outcome{
	"success": attestlog.Success, "succeeded": attestlog.Success, "successful": attestlog.Success, "ok": attestlog.Success,
	"allowed": attestlog.Success, "granted": attestlog.Success, "true": attestlog.Success,
	"failure": attestlog.Failure, "failed": attestlog.Failure, "fail": attestlog.Failure, "error": attestlog.Failure,
	"denied": attestlog.Failure, "forbidden": attestlog.Failure, "unauthorized": attestlog.Failure, "false": attestlog.Failure,
	"unknown": attestlog.Unknown,
}

// foreign maps a record that is not ours.
func foreign(o convert.Object, line []byte, ids *convert.IDs) attestlog.Event {
	e := attestlog.Event{ID: ids.Next(line), Original: bytes.Clone(line)}
	e.Time = when(o)
	e.Action = take(o, actionNames)
	e.Actor.ID = take(o, actorNames)
	e.Actor.Name = take(o, nameNames)
	if t := o.Text("actor", "type"); t == "user" || t == "service" || t == "system" || t == "anonymous" {
		e.Actor.Type = o.Take("actor", "type")
	}
	e.Outcome = outcome(o)
	e.Request.Status = status(o)
	e.Source.IP = address(o)
	t := attestlog.Target{ID: take(o, targetNames), Type: take(o, targetTypes), Name: take(o, targetLabels)}
	if t != (attestlog.Target{}) {
		e.Targets = []attestlog.Target{t}
	}
	for _, f := range [...]struct {
		to    *string
		names []string
	}{
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
		*f.to = take(o, f.names)
	}
	e.Attributes = convert.Foreign(o)
	if e.Time.IsZero() {
		convert.Undated(&e)
	}
	convert.Bound(&e)
	return e
}

// take takes the first text that there is. A number counts, and stays in the
// attributes as a number.
func take(o convert.Object, names []string) string {
	for _, name := range names {
		for _, path := range paths(name) {
			if text := o.Take(path...); text != "" {
				return text
			}
		}
	}
	return ""
}

func paths(name string) [][]string {
	if !strings.Contains(name, ".") {
		return [][]string{{name}}
	}
	return [][]string{{name}, strings.Split(name, ".")}
}

// address takes an IP address, which may have a port. The port stays in the
// attributes; what is no address is left there, for it may be anything.
func address(o convert.Object) string {
	for _, name := range ipNames {
		for _, path := range paths(name) {
			text := o.Text(path...)
			if _, err := netip.ParseAddr(text); err == nil {
				return o.Take(path...)
			}
			if addr, err := netip.ParseAddrPort(text); err == nil {
				return addr.Addr().String()
			}
		}
	}
	return ""
}

// outcome takes a word that says success, failure or unknown itself; others
// stay in the attributes as well.
func outcome(o convert.Object) attestlog.Outcome {
	for _, name := range outcomeNames {
		for _, path := range paths(name) {
			v, _ := o.At(path...)
			text, _ := v.(string)
			if b, ok := v.(bool); ok {
				text = strconv.FormatBool(b)
			}
			out, ok := outcomes[strings.ToLower(text)]
			if !ok {
				continue
			}
			if text == string(out) {
				o.Take(path...)
			}
			return out
		}
	}
	return ""
}

// status returns an HTTP status, which stays in the attributes too.
func status(o convert.Object) int {
	for _, name := range statusNames {
		for _, path := range paths(name) {
			if n, err := strconv.Atoi(o.Text(path...)); err == nil && n >= 100 && n <= 599 {
				return n
			}
		}
	}
	return 0
}
