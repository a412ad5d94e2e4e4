// Package opa reads decision logs of the Open Policy Agent
// (openpolicyagent.org, "Decision Logs").
//
//	[{"labels":{"id":"b68b…","version":"1.22.2"},"decision_id":"2925…","path":"shop/authz",
//	 "input":{"user":"bob"},"result":{"allow":false},"requested_by":"192.0.2.7:34100",
//	 "timestamp":"2026-03-01T10:00:00.123Z","metrics":{"timer_server_handler_ns":2118741,…},"req_id":2}]
//
// What is read is what the agent uploads, an array of decisions, or what it writes
// to its console, one decision a line; the console's other lines are refused. A
// decision becomes an event as follows; what is not listed stays in the
// attributes under its own name, and the record's exact bytes are the original.
//
//	time      timestamp, or else the console's time
//	service   "opa"
//	action    path, dotted, behind "opa."; opa.query for a query; opa.decision for neither
//	outcome   what was decided: success for true and failure for false, of
//	          result, result.allow or result.allowed, or of mapped_result; failure
//	          for an error; unknown for any other result, an erased one, or none
//	reason    error.message, or result.reason where it was denied
//	actor     who asks for the permission, from the input; else the address in
//	          requested_by, of type service: who asked for the decision
//	source    requested_by
//	tenant, targets, request.method, request.path, source.user_agent   from the input
//	request   decision_id, metrics.timer_server_handler_ns
//	trace     trace_id, span_id
//
// The input's members are found by convert.Named, and by the names that Envoy and
// Kubernetes give them. The input itself stays whole in the attributes: it is
// what was decided upon, so who erases a person's data must erase it too.
//
// Ids are those of convert.IDs, without the source where there is a decision_id:
// an equal record is the same one, uploaded again.
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

// Format starts the records' ids.
const Format = "opa"

// Read is a convert.Reader of decisions.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	own, ids := convert.NewIDs(Format, ""), convert.NewIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		o, err := convert.DecodeObject(raw)
		if err != nil {
			return convert.One(attestlog.Event{}, err)
		}
		if o.Text("decision_id") == "" && o.Text("path") == "" && o.Text("query") == "" {
			return convert.One(attestlog.Event{}, errNotDecision)
		}
		e := attestlog.Event{Service: "opa", Original: raw}
		if o.Text("decision_id") != "" {
			e.ID = own.Next(raw)
		} else {
			e.ID = ids.Next(raw)
		}
		read(&e, o)
		convert.Complete(&e, o)
		return convert.One(e, nil)
	})
}

var errNotDecision = errors.New("not a decision of the Open Policy Agent: no decision_id, path or query")

func read(e *attestlog.Event, o convert.Object) {
	e.Action = action(o)
	for _, name := range [...]string{"timestamp", "time"} {
		if at, err := time.Parse(time.RFC3339, o.Text(name)); err == nil && !at.IsZero() {
			e.Time = at.UTC()
			o.Take(name)
			break
		}
	}
	e.Outcome, e.Reason = outcome(o)
	input(e, o.Object("input"))
	requestedBy(e, o)
	e.Request.ID = o.Take("decision_id")
	if ns, err := strconv.ParseInt(o.Text("metrics", "timer_server_handler_ns"), 10, 64); err == nil && ns > 0 {
		e.Request.DurationUS = ns / 1000
	}
	e.Trace = attestlog.Trace{TraceID: o.Take("trace_id"), SpanID: o.Take("span_id")}
}

// action names the rule. The path stays in the attributes, for it may have dots
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

func outcome(o convert.Object) (attestlog.Outcome, string) {
	if v := o["error"]; v != nil {
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

// subjects are where others than convert.Named's put who asks.
var subjects = []string{
	"subject.id", "subject.name",
	"request.userInfo.username",   // an AdmissionReview of Kubernetes
	"attributes.source.principal", // a CheckRequest of Envoy
}

// input fills fields from the policy's input, which stays as it is.
func input(e *attestlog.Event, given convert.Object) {
	o := copied(given)
	found := attestlog.Event{Actor: attestlog.Actor{ID: convert.Take(o, subjects...)}}
	found.Request = attestlog.Request{Method: convert.Take(o, "attributes.request.http.method"), Path: convert.Take(o, "attributes.request.http.path")}
	convert.Fill(&found, o)
	e.Actor, e.Tenant, e.Targets = found.Actor, found.Tenant, found.Targets
	e.Source.UserAgent = found.Source.UserAgent
	e.Request.Method, e.Request.Path = found.Request.Method, found.Request.Path
}

// copied copies objects inside objects: what Fill takes from.
func copied(o map[string]any) map[string]any {
	out := make(map[string]any, len(o))
	for name, v := range o {
		if kid, ok := v.(map[string]any); ok {
			v = copied(kid)
		}
		out[name] = v
	}
	return out
}

// requestedBy takes the address of who asked. A port stays in the attributes.
func requestedBy(e *attestlog.Event, o convert.Object) {
	const name = "requested_by"
	from := o.Text(name)
	if peer, err := netip.ParseAddrPort(from); err == nil {
		e.Source.IP = peer.Addr().String()
	} else if _, err := netip.ParseAddr(from); err == nil {
		e.Source.IP = o.Take(name)
	} else {
		e.Source.Host = o.Take(name)
	}
	if e.Actor.ID == "" && from != "" {
		e.Actor.ID, e.Actor.Type = e.Source.IP+e.Source.Host, "service"
	}
}
