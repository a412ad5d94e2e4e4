// Package opa reads decision logs of the Open Policy Agent as events.
//
// The format is that of openpolicyagent.org, "Decision Logs". The agent uploads
// an array of decisions:
//
//	[{"labels":{"id":"b68b…","version":"1.22.2"},"decision_id":"2925…","path":"shop/authz",
//	 "input":{"user":"bob"},"result":{"allow":false},"requested_by":"192.0.2.7:34100",
//	 "timestamp":"2026-03-01T10:00:00.123Z","metrics":{"timer_server_handler_ns":2118741,…},"req_id":2}]
//
// Read also takes what the agent writes to its console, one decision a line;
// the console's other lines are refused.
//
// # Reading
//
// A decision becomes an event as follows.
//
//	time      timestamp, or else the console's time
//	tenant    from the input
//	service   "opa"
//	action    "opa." and the path with dots; opa.query for a query; opa.decision for neither
//	outcome   what was decided: success for true and failure for false, of
//	          result, result.allow or result.allowed, or of mapped_result; failure
//	          for an error; unknown for any other result, an erased one, or none
//	reason    error.message, or result.reason if it was denied
//	actor     who asks for the permission, from the input; or else the address in
//	          requested_by, of the type service: who asked for the decision
//	source    requested_by; the user agent from the input
//	targets   from the input
//	request   decision_id, metrics.timer_server_handler_ns; method and path from the input
//	trace     trace_id, span_id
//
// The input's members are found by convert.Named, and by the names that Envoy
// and Kubernetes give them. Everything else stays in the attributes under its
// own name, and so does the whole input: it is what was decided on. Anyone who
// erases a person's data must erase it there too. The decision's exact bytes
// are the original.
//
// # Ids
//
// Ids are those of convert.IDs: without the source if there is a decision_id,
// because an equal record is then the same one, uploaded again.
package opa

import (
	"errors"
	"io"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Format starts the records' ids, and is every event's service.
const Format = "opa"

// Read is a convert.Reader of decisions.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewMixedIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(event(raw, ids))
	})
}

var errNotRecord = errors.New("not a decision of the Open Policy Agent: no decision_id, path or query")

// event maps one decision. The event keeps raw.
func event(raw []byte, ids *convert.MixedIDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	hasID := o.Text("decision_id") != ""
	if !hasID && o.Text("path") == "" && o.Text("query") == "" {
		return attestlog.Event{}, errNotRecord
	}

	asked := input(o.Object("input"))
	e := attestlog.Event{
		ID:       ids.Next(raw, hasID),
		Time:     when(o),
		Tenant:   asked.Tenant,
		Service:  Format,
		Action:   action(o),
		Actor:    asked.Actor,
		Source:   source(o),
		Targets:  asked.Targets,
		Trace:    attestlog.Trace{TraceID: o.Take("trace_id"), SpanID: o.Take("span_id")},
		Original: raw,
	}
	e.Outcome, e.Reason = outcome(o)
	e.Request = attestlog.Request{
		ID:         o.Take("decision_id"),
		Method:     asked.Request.Method,
		Path:       asked.Request.Path,
		DurationUS: duration(o),
	}

	// If the input names nobody, the service that asked is the best there is.
	if address := e.Source.IP + e.Source.Host; e.Actor.ID == "" && address != "" {
		e.Actor.ID = address
		e.Actor.Type = "service"
	}
	e.Source.UserAgent = asked.Source.UserAgent

	convert.Complete(&e, o)
	return e, nil
}

func when(o convert.Object) time.Time {
	for _, name := range [...]string{"timestamp", "time"} {
		if t, ok := convert.ParseTime(o.Text(name), time.RFC3339); ok {
			o.Take(name)
			return t
		}
	}
	return time.Time{}
}

// action names the rule. The path stays in the attributes, for it can have dots
// of its own.
func action(o convert.Object) string {
	path := strings.Trim(o.Text("path"), "/")
	switch {
	case path != "":
		return "opa." + strings.ReplaceAll(path, "/", ".")
	case o.Text("query") != "":
		return "opa.query"
	}
	return "opa.decision"
}

func outcome(o convert.Object) (outcome attestlog.Outcome, reason string) {
	if o["error"] != nil {
		return attestlog.Failure, convert.Take(o, "error.message", "error")
	}
	for _, name := range [...]string{"result", "mapped_result"} {
		for _, path := range [...][]string{{name}, {name, "allow"}, {name, "allowed"}} {
			v, _ := o.At(path...)
			switch v {
			case true:
				return attestlog.Success, ""
			case false:
				return attestlog.Failure, o.Take(name, "reason")
			}
		}
	}
	return attestlog.Unknown, ""
}

// subjects name who asks, where convert.Named does not look.
var subjects = []string{
	"subject.id",
	"subject.name",
	"request.userInfo.username",   // an AdmissionReview of Kubernetes
	"attributes.source.principal", // a CheckRequest of Envoy
}

// input returns an event with what the policy's input says. The input stays as
// it is.
func input(given convert.Object) attestlog.Event {
	o := clone(given)
	e := attestlog.Event{
		Actor: attestlog.Actor{ID: convert.Take(o, subjects...)},
		Request: attestlog.Request{
			Method: convert.Take(o, "attributes.request.http.method"),
			Path:   convert.Take(o, "attributes.request.http.path"),
		},
	}
	convert.Fill(&e, o)
	return e
}

// clone copies an object and the objects in it, from which Fill takes.
func clone(o map[string]any) map[string]any {
	out := make(map[string]any, len(o))
	for name, v := range o {
		if inner, ok := v.(map[string]any); ok {
			v = clone(inner)
		}
		out[name] = v
	}
	return out
}

// source returns the address of who asked for the decision. An address with a
// port stays in the attributes too.
func source(o convert.Object) attestlog.Source {
	const name = "requested_by"
	address := o.Text(name)
	if peer, err := netip.ParseAddrPort(address); err == nil {
		return attestlog.Source{IP: peer.Addr().String()}
	}
	return convert.SourceOf(o.Take(name))
}

// duration returns how long the decision took, in microseconds, or 0. The
// metrics stay in the attributes.
func duration(o convert.Object) int64 {
	ns, err := strconv.ParseInt(o.Text("metrics", "timer_server_handler_ns"), 10, 64)
	if err != nil || ns <= 0 {
		return 0
	}
	return ns / 1000
}
