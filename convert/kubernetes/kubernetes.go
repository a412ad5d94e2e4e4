// Package kubernetes reads and writes audit events of the Kubernetes API server
// (audit.k8s.io/v1): kubernetes.io, "Auditing".
//
// What is read is a log file, one event a line, or what the server's webhook
// posts: an EventList. A record becomes an event as follows; what is not listed
// stays in the attributes under its own name, and the record's exact bytes are
// the original.
//
//	time             requestReceivedTimestamp, or else stageTimestamp
//	service          "kubernetes"
//	module           objectRef.apiGroup
//	action           resource[.subresource].verb, or the verb: pods.exec.create
//	operation        from the verb; execute for exec, attach, portforward and proxy
//	outcome          from responseStatus.code or status; unknown before there is one
//	reason           responseStatus.reason and message
//	actor.id         user.username; actor.type from its prefix
//	actor.on_behalf_of  impersonatedUser.username
//	source.ip        the last of sourceIPs: a client can set all others
//	source.user_agent   userAgent
//	targets          objectRef as resource[/subresource], namespace/name
//	request          auditID, requestURI, responseStatus.code, the time to the stage
//
// One request has an event for each of its stages. Ids are those of convert.IDs,
// without the source where there is an auditID: an equal record is the same one,
// delivered again.
package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Format starts the records' ids.
const Format = "kubernetes"

// Read is a convert.Reader of events and lists of them.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewMixedIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		if lists, ok := eventList(raw); ok {
			return items(lists, ids)
		}
		return convert.One(event(raw, ids))
	})
}

// eventList returns the lists of an EventList, of which one has one.
func eventList(raw []byte) (lists [][]byte, ok bool) {
	for m := range loosejson.Members(raw) {
		switch {
		case m.Name == "kind":
			kind, _ := loosejson.Decode(m.Raw)
			ok = kind == "EventList"
		case m.Name == "items" && string(m.Raw) != "null":
			lists = append(lists, m.Raw)
		}
	}
	return lists, ok
}

func items(lists [][]byte, ids *convert.MixedIDs) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		i := 0
		for _, list := range lists {
			for item, err := range loosejson.Items(list) {
				var e attestlog.Event
				if err == nil {
					e, err = event(bytes.Clone(item), ids)
				}
				if err != nil {
					err = fmt.Errorf("item %d: %w", i, err)
				}
				if !yield(e, err) {
					return
				}
				i++
			}
		}
	}
}

// notRecord says why a record is refused.
func notRecord(o convert.Object) error {
	if kind := o.Text("kind"); kind != "" && kind != "Event" {
		return fmt.Errorf("not a Kubernetes audit event, but a %q", kind)
	}
	return errors.New("not a Kubernetes audit event: no auditID, verb or stage")
}

// event maps one record. The event keeps raw.
func event(raw []byte, ids *convert.MixedIDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	if o.Text("auditID") == "" && o.Text("verb") == "" && o.Text("stage") == "" {
		return attestlog.Event{}, notRecord(o)
	}
	e := attestlog.Event{ID: ids.Next(raw, o.Text("auditID") != ""), Service: "kubernetes", Original: raw}
	e.Action, e.Operation = action(o)
	outcome(&e, o)
	e.Actor = actor(o)
	e.Source = attestlog.Source{UserAgent: o.Take("userAgent")}
	from(&e.Source, o)
	e.Request = attestlog.Request{ID: o.Take("auditID"), Path: o.Take("requestURI"), Status: e.Request.Status}
	times(&e, o)
	if t := target(o); t != (attestlog.Target{}) {
		e.Targets = []attestlog.Target{t}
	}
	e.Module = o.Take("objectRef", "apiGroup")
	convert.Complete(&e, o)
	return e, nil
}

const reference = "objectRef"

// operations are the verbs of the API, and those of authorization.
var operations = map[string]string{
	"get": "read", "list": "read", "watch": "read", "head": "read", "create": "create", "post": "create", "update": "update", "put": "update",
	"patch": "update", "delete": "delete", "deletecollection": "delete", "bind": "update", "escalate": "update", "impersonate": "execute", "approve": "approve", "sign": "approve",
}

// executing are the subresources of a pod that run something, whatever the verb.
var executing = map[string]bool{"exec": true, "attach": true, "portforward": true, "proxy": true}

func action(o convert.Object) (action, operation string) {
	verb, resource, sub := o.Text("verb"), o.Text(reference, "resource"), o.Text(reference, "subresource")
	operation = operations[verb]
	if executing[sub] {
		operation = "execute"
	}
	action = verb
	if sub != "" {
		action = sub + "." + action
	}
	if resource != "" {
		action = resource + "." + action
	}
	if verb == "" {
		action = ""
	}
	return action, operation
}

func outcome(e *attestlog.Event, o convert.Object) {
	code, err := strconv.Atoi(o.Text("responseStatus", "code"))
	switch {
	case o.Text("stage") == "Panic":
		e.Outcome = attestlog.Failure
	case err != nil || code <= 0:
		if e.Outcome = convert.OutcomeOf(o.Text("responseStatus", "status")); e.Outcome == "" {
			e.Outcome = attestlog.Unknown
		}
	case code >= 400:
		e.Outcome = attestlog.Failure
	default:
		e.Outcome = attestlog.Success
	}
	if err == nil && code > 0 {
		e.Request.Status = code
	}
	if e.Outcome == attestlog.Failure {
		reason, message := o.Take("responseStatus", "reason"), o.Take("responseStatus", "message")
		e.Reason = strings.TrimSuffix(strings.TrimPrefix(reason+": "+message, ": "), ": ")
	}
}

func actor(o convert.Object) attestlog.Actor {
	a := attestlog.Actor{ID: o.Take("user", "username"), OnBehalfOf: o.Take("impersonatedUser", "username")}
	switch {
	case a.ID == "system:anonymous":
		a.Type = "anonymous"
	case strings.HasPrefix(a.ID, "system:serviceaccount:"):
		a.Type = "service"
	case strings.HasPrefix(a.ID, "system:"):
		a.Type = "system"
	case a.ID != "":
		a.Type = "user"
	}
	return a
}

// from takes the address that the server itself saw.
func from(s *attestlog.Source, o convert.Object) {
	const name = "sourceIPs"
	all, ok := o[name].([]any)
	if !ok || len(all) == 0 {
		return
	}
	last, _ := all[len(all)-1].(string)
	if _, err := netip.ParseAddr(last); err != nil {
		return
	}
	s.IP = last
	if o[name] = all[:len(all)-1]; len(all) == 1 {
		delete(o, name)
	}
}

func times(e *attestlog.Event, o convert.Object) {
	received, ok := convert.ParseTime(o.Text("requestReceivedTimestamp"), time.RFC3339)
	stage, stageOK := convert.ParseTime(o.Text("stageTimestamp"), time.RFC3339)
	switch {
	case ok:
		e.Time = received
		o.Take("requestReceivedTimestamp")
		if stageOK {
			e.Request.DurationUS = max(0, stage.Sub(received).Microseconds())
		}
	case stageOK:
		e.Time = stage
		o.Take("stageTimestamp")
	}
}

func target(o convert.Object) attestlog.Target {
	t := attestlog.Target{Type: o.Take(reference, "resource"), ID: o.Text(reference, "name")}
	if sub := o.Take(reference, "subresource"); sub != "" {
		t.Type += "/" + sub
	}
	namespace := o.Text(reference, "namespace")
	switch {
	case t.ID == "":
		t.ID = namespace
	case namespace != "":
		t.ID = namespace + "/" + t.ID
	}
	o.Take(reference, "name")
	return t
}
