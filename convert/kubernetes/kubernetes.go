// Package kubernetes reads audit events of the Kubernetes API server as events,
// and writes entries as such audit events.
//
// The format is audit.k8s.io/v1: kubernetes.io, "Auditing" and "kube-apiserver
// Audit Configuration (v1)". A log file has one event a line:
//
//	{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"0e45…",
//	 "stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web/exec",
//	 "verb":"create","user":{"username":"alice"},"sourceIPs":["192.0.2.7"],
//	 "userAgent":"kubectl/1.33","objectRef":{"resource":"pods","namespace":"shop",
//	 "name":"web","apiVersion":"v1","subresource":"exec"},
//	 "responseStatus":{"metadata":{},"code":101},
//	 "requestReceivedTimestamp":"2026-03-01T10:00:00.123000Z",
//	 "stageTimestamp":"2026-03-01T10:00:00.124500Z"}
//
// Read also takes what the server's webhook posts: an EventList.
//
// # Reading
//
// A record becomes an event as follows.
//
//	time                requestReceivedTimestamp, or else stageTimestamp
//	service             "kubernetes"
//	module              objectRef.apiGroup
//	action              resource[.subresource].verb, or the verb: pods.exec.create
//	operation           from the verb; execute for exec, attach, portforward and proxy
//	outcome             from responseStatus.code or status; unknown before there is one
//	reason              responseStatus.reason and message, of a failure
//	actor.id            user.username; actor.type from its prefix
//	actor.on_behalf_of  impersonatedUser.username
//	source.ip           the last of sourceIPs: a client can set all others
//	source.user_agent   userAgent
//	targets             objectRef as resource[/subresource], namespace/name
//	request             auditID, requestURI, responseStatus.code, the time to the stage
//
// Everything else stays in the attributes under its own name. The record's
// exact bytes are the original. One request has an event for each of its
// stages.
//
// # Ids
//
// Ids are those of convert.IDs: without the source if there is an auditID,
// because an equal record is then the same one, delivered again.
//
// # Writing
//
// Append writes an entry as an audit event of the level Metadata and the stage
// ResponseComplete. What has no field there is an annotation whose name starts
// with "attestlog/". It is a view: the leaf is not in it, and it proves
// nothing.
package kubernetes

import (
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

// Format starts the records' ids, and is every event's service.
const Format = "kubernetes"

// Read is a convert.Reader of events and lists of them.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewMixedIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		if lists, ok := eventList(raw); ok {
			return convert.Items(lists, "items", func(item []byte) (attestlog.Event, error) {
				return event(item, ids)
			})
		}
		return convert.One(event(raw, ids))
	})
}

// eventList reports whether raw is an EventList, and returns its lists of
// items, of which it should have one.
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

// event maps one record. The event keeps raw.
func event(raw []byte, ids *convert.MixedIDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	if err := check(o); err != nil {
		return attestlog.Event{}, err
	}

	// The action and the operation come before the targets, which take
	// objectRef.
	e := attestlog.Event{
		ID:        ids.Next(raw, o.Text("auditID") != ""),
		Service:   Format,
		Action:    action(o),
		Operation: operation(o),
		Actor:     actor(o),
		Source:    source(o),
		Targets:   targets(o),
		Module:    o.Take("objectRef", "apiGroup"),
		Original:  raw,
	}
	e.Outcome, e.Reason = outcome(o)
	e.Request = attestlog.Request{ID: o.Take("auditID"), Path: o.Take("requestURI"), Status: status(o)}
	e.Time, e.Request.DurationUS = when(o)

	convert.Complete(&e, o)
	return e, nil
}

var errNotRecord = errors.New("not a Kubernetes audit event: no auditID, verb or stage")

// check says why o is not an audit event.
func check(o convert.Object) error {
	if o.Text("auditID") != "" || o.Text("verb") != "" || o.Text("stage") != "" {
		return nil
	}
	if kind := o.Text("kind"); kind != "" && kind != "Event" {
		return fmt.Errorf("not a Kubernetes audit event, but a %q", kind)
	}
	return errNotRecord
}

// when returns when the request was received, and how many microseconds later
// its stage was reached.
func when(o convert.Object) (t time.Time, durationUS int64) {
	received, ok := convert.ParseTime(o.Text("requestReceivedTimestamp"), time.RFC3339)
	stage, hasStage := convert.ParseTime(o.Text("stageTimestamp"), time.RFC3339)
	switch {
	case ok:
		o.Take("requestReceivedTimestamp")
		if hasStage {
			durationUS = max(0, stage.Sub(received).Microseconds())
		}
		return received, durationUS
	case hasStage:
		o.Take("stageTimestamp")
		return stage, 0
	}
	return time.Time{}, 0
}

// action returns the verb, after what it was done to.
func action(o convert.Object) string {
	name := o.Text("verb")
	if name == "" {
		return ""
	}
	if sub := o.Text("objectRef", "subresource"); sub != "" {
		name = sub + "." + name
	}
	if resource := o.Text("objectRef", "resource"); resource != "" {
		name = resource + "." + name
	}
	return name
}

// operations map the verbs of the API, and those of authorization.
var operations = map[string]string{
	"get":   "read",
	"list":  "read",
	"watch": "read",
	"head":  "read",

	"create":           "create",
	"post":             "create",
	"update":           "update",
	"put":              "update",
	"patch":            "update",
	"delete":           "delete",
	"deletecollection": "delete",

	"bind":        "update",
	"escalate":    "update",
	"impersonate": "execute",
	"approve":     "approve",
	"sign":        "approve",
}

// executing are the subresources of a pod that run something, whatever the
// verb.
var executing = map[string]bool{"exec": true, "attach": true, "portforward": true, "proxy": true}

func operation(o convert.Object) string {
	if executing[o.Text("objectRef", "subresource")] {
		return "execute"
	}
	return operations[o.Text("verb")]
}

// status returns the code of the response, or 0. It stays in the attributes
// too.
func status(o convert.Object) int {
	code, err := strconv.Atoi(o.Text("responseStatus", "code"))
	if err != nil || code < 0 {
		return 0
	}
	return code
}

func outcome(o convert.Object) (outcome attestlog.Outcome, reason string) {
	code := status(o)
	switch {
	case o.Text("stage") == "Panic":
		outcome = attestlog.Failure
	case code >= 400:
		outcome = attestlog.Failure
	case code > 0:
		outcome = attestlog.Success
	default:
		outcome = convert.OutcomeOf(o.Text("responseStatus", "status"))
		if outcome == "" {
			outcome = attestlog.Unknown
		}
	}

	if outcome == attestlog.Failure {
		reason = o.Take("responseStatus", "reason") + ": " + o.Take("responseStatus", "message")
		reason = strings.TrimSuffix(strings.TrimPrefix(reason, ": "), ": ")
	}
	return outcome, reason
}

func actor(o convert.Object) attestlog.Actor {
	a := attestlog.Actor{
		ID:         o.Take("user", "username"),
		OnBehalfOf: o.Take("impersonatedUser", "username"),
	}
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

// source returns the address that the server itself saw; the others stay in the
// attributes.
func source(o convert.Object) attestlog.Source {
	const name = "sourceIPs"
	s := attestlog.Source{UserAgent: o.Take("userAgent")}
	all, _ := o[name].([]any)
	if len(all) == 0 {
		return s
	}
	last, _ := all[len(all)-1].(string)
	if _, err := netip.ParseAddr(last); err != nil {
		return s
	}

	s.IP = last
	if len(all) == 1 {
		delete(o, name)
	} else {
		o[name] = all[:len(all)-1]
	}
	return s
}

// targets returns what objectRef names. The namespace stays in the attributes.
func targets(o convert.Object) []attestlog.Target {
	t := attestlog.Target{Type: o.Take("objectRef", "resource")}
	if sub := o.Take("objectRef", "subresource"); sub != "" {
		t.Type += "/" + sub
	}

	namespace := o.Text("objectRef", "namespace")
	name := o.Text("objectRef", "name")
	o.Take("objectRef", "name")
	t.ID = name
	switch {
	case name == "":
		t.ID = namespace
	case namespace != "":
		t.ID = namespace + "/" + name
	}

	if t == (attestlog.Target{}) {
		return nil
	}
	return []attestlog.Target{t}
}
