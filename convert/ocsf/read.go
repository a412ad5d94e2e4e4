package ocsf

import (
	"errors"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Format starts the records' ids.
const Format = "ocsf"

// Read is a convert.Reader of events of any class, one after the other or in
// arrays. What is not listed stays in the attributes under its own name, and the
// record's exact bytes are the original.
//
//	time                 time_dt, or time in milliseconds
//	tenant               metadata.tenant_uid, or cloud.account.uid
//	service              api.service.name, or metadata.product.name
//	module               metadata.log_name
//	action               api.operation, metadata.event_code, or class_name and activity_name
//	operation            from class_uid and activity_id
//	outcome, reason      status_id or status; status_detail
//	actor                actor.user, or user in Authentication; actor.session.uid
//	source               src_endpoint; http_request.user_agent
//	targets              resources, and user where somebody else is the actor
//	request              api.request.uid, http_request, http_response.code, duration
//	message              message
//
// Ids are those of convert.IDs: without the source where there is a metadata.uid.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewMixedIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(record(raw, ids))
	})
}

// rawData is the attribute for the record that an event was made of. The original
// has it.
const rawData = "raw_data"

func record(raw []byte, ids *convert.MixedIDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	if o.Text("class_uid") == "" && o.Text("type_uid") == "" {
		return attestlog.Event{}, errors.New("not an OCSF event: no class_uid")
	}
	e := attestlog.Event{ID: ids.Next(raw, o.Text("metadata", "uid") != ""), Original: raw}
	delete(o, rawData)
	read(&e, o)
	convert.Complete(&e, o)
	return e, nil
}

func read(e *attestlog.Event, o convert.Object) {
	e.Time = when(o)
	e.Tenant = convert.Take(o, "metadata.tenant_uid", "cloud.account.uid")
	e.Service = convert.Take(o, "api.service.name", "metadata.product.name")
	e.Module = o.Take("metadata", "log_name")
	e.Operation = operation(o)
	e.Action = convert.Take(o, "api.operation", "metadata.event_code")
	if e.Action == "" {
		e.Action = className(o)
	}
	readOutcome(e, o)
	e.Source = attestlog.Source{UserAgent: o.Take("http_request", "user_agent"), Host: convert.Take(o, "src_endpoint.hostname", "src_endpoint.name")}
	e.Source.IP = o.Take("src_endpoint", "ip")
	e.Request = attestlog.Request{
		ID:     convert.Take(o, "api.request.uid", "http_request.uid"),
		Method: o.Take("http_request", "http_method"), Path: convert.Take(o, "http_request.url.path", "http_request.url.url_string"),
	}
	e.Request.Status, _ = strconv.Atoi(o.Text("http_response", "code"))
	if ms, err := strconv.ParseInt(o.Text("duration"), 10, 64); err == nil && ms > 0 && ms < 1<<40 {
		e.Request.DurationUS = ms * 1000
	}
	readUsers(e, o)
	e.Targets = append(e.Targets, resources(o)...)
	e.Message = o.Take("message")
}

func when(o convert.Object) time.Time {
	if t, ok := convert.ParseTime(o.Text("time_dt"), time.RFC3339); ok {
		o.Take("time_dt")
		return t
	}
	ms, err := strconv.ParseInt(o.Text("time"), 10, 64)
	if err != nil || ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// operations are those of activity_id in API Activity, which other classes of
// its category share.
var operations = map[string]string{"1": "create", "2": "read", "3": "update", "4": "delete"}

func operation(o convert.Object) string {
	class, activity := o.Text("class_uid"), o.Text("activity_id")
	switch {
	case class == strconv.Itoa(classAuthentication) && activity == "1":
		return "login"
	case class == strconv.Itoa(classAuthentication) && activity == "2":
		return "logout"
	case class == strconv.Itoa(classAPIActivity) && operations[activity] != "":
		return operations[activity]
	}
	return convert.Operation(o.Text("activity_name"))
}

// className is an action in words: authentication.logon, or in numbers where the
// event has none.
func className(o convert.Object) string {
	word := func(name string) string { return strings.ReplaceAll(strings.ToLower(o.Text(name)), " ", "_") }
	class, activity := word("class_name"), word("activity_name")
	if class == "" {
		class = "ocsf." + o.Text("class_uid")
	}
	if activity == "" {
		activity = o.Text("activity_id")
	}
	return strings.TrimSuffix(class+"."+activity, ".")
}

func readOutcome(e *attestlog.Event, o convert.Object) {
	switch o.Text("status_id") {
	case "1":
		e.Outcome = attestlog.Success
	case "2":
		e.Outcome = attestlog.Failure
	case "":
		e.Outcome = convert.OutcomeOf(o.Text("status"))
	default:
		e.Outcome = attestlog.Unknown
	}
	if e.Outcome != attestlog.Success {
		e.Reason = o.Take("status_detail")
	}
}

// readUsers maps who acted. In Authentication the actor is who caused it, and is
// often absent: then the user did it.
func readUsers(e *attestlog.Event, o convert.Object) {
	at := "actor.user"
	if !hasUser(o.Object("actor").Object("user")) && hasUser(o.Object("user")) {
		at = "user"
	}
	kind, _ := o.Lookup(at + ".type_id")
	switch (convert.Object{"kind": kind}).Text("kind") {
	case "1", "2":
		e.Actor.Type = "user"
	case "3":
		e.Actor.Type = "system"
	case "4":
		e.Actor.Type = "service"
	}
	e.Actor.ID = convert.Take(o, at+".uid", at+".name", at+".email_addr")
	e.Actor.Name = convert.Take(o, at+".name", at+".full_name")
	e.Actor.Session = convert.Take(o, "actor.session.uid", "session.uid")
	if e.Actor.ID == "" {
		e.Actor.ID = convert.Take(o, "actor.app_uid", "actor.app_name", "actor.invoked_by", "actor.process.name")
	}
	user := o.Object("user")
	if at == "user" || !hasUser(user) {
		return
	}
	t := attestlog.Target{Type: "user", ID: user.Text("uid"), Name: user.Text("name")}
	if t.ID == "" {
		t.ID, t.Name = t.Name, ""
	}
	if t.ID == "" {
		t.ID = convert.Take(o, "user.email_addr")
	}
	switch {
	case t.ID != e.Actor.ID:
		e.Targets = append(e.Targets, t)
	case e.Actor.Name == "": // who logs in acts upon nobody else
		e.Actor.Name = t.Name
	case t.Name != "" && t.Name != e.Actor.Name:
		o.Take("user", "uid")
		return // the other name stays
	}
	convert.Take(o, "user.uid")
	convert.Take(o, "user.name")
}

func hasUser(u convert.Object) bool {
	return u.Text("uid") != "" || u.Text("name") != "" || u.Text("email_addr") != ""
}

// resources are targets. What else a resource has keeps it in the attributes.
func resources(o convert.Object) (found []attestlog.Target) {
	list, ok := o["resources"].([]any)
	all := ok
	for _, v := range list {
		m, _ := v.(map[string]any)
		r := convert.Object(m)
		t := attestlog.Target{ID: r.Take("uid"), Type: r.Take("type"), Name: r.Take("name")}
		if t != (attestlog.Target{}) {
			found = append(found, t)
		}
		all = all && m != nil && len(m) == 0
	}
	if all {
		delete(o, "resources")
	}
	return found
}
