// Package ocsf reads events of the Open Cybersecurity Schema Framework, and
// writes entries as such events.
//
// The schema is that of schema.ocsf.io, version 1.8.0, in JSON.
//
//	{"activity_id":2,"activity_name":"Read","actor":{"user":{"type_id":1,"uid":"alice"}},
//	 "api":{"operation":"mail.view","service":{"name":"webmail"}},"category_uid":6,
//	 "class_uid":6003,"metadata":{"logged_time":1767261600000,"product":{"name":"attestlog"},
//	 "sequence":7,"uid":"019a…","version":"1.8.0"},"resources":[{"type":"mail","uid":"7"}],
//	 "severity_id":1,"src_endpoint":{"ip":"192.0.2.7"},"status":"Success","status_id":1,
//	 "time":1767261600000,"type_uid":600302,"unmapped":{…}}
//
// Read takes events of any class, one after the other or in arrays.
//
// # Reading
//
// A record becomes an event as follows.
//
//	time             time_dt, or time in milliseconds
//	tenant           metadata.tenant_uid, or cloud.account.uid
//	service          api.service.name, or metadata.product.name
//	module           metadata.log_name
//	action           api.operation, metadata.event_code, or class_name and activity_name
//	operation        from class_uid and activity_id, or activity_name
//	outcome, reason  status_id or status; status_detail where it is not success
//	actor            actor.user, or user in Authentication; actor.session.uid
//	source           src_endpoint; http_request.user_agent
//	targets          user, if somebody else is the actor; resources
//	request          api.request.uid, http_request, http_response.code, duration
//	message          message
//
// Everything else stays in the attributes under its own name, except raw_data:
// the record's exact bytes are the original, which has it.
//
// # Ids
//
// Ids are those of convert.IDs: without the source if there is a metadata.uid,
// because an equal record is then the same one, delivered again.
//
// # Writing
//
// Append writes an entry as class 3002, Authentication, if its operation is
// login or logout, and as class 6003, API Activity, otherwise. What has no
// attribute there is in unmapped, under its own name: the leaf hash,
// attributes, changes, the finer part of the time, and more. It is a view: the
// leaf is not in it, and it proves nothing.
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

// Version is the schema's.
const Version = "1.8.0"

// Classes and activities (schema.ocsf.io/1.8.0).
const (
	classAuthentication = 3002
	classAPIActivity    = 6003
	activityOther       = 99
)

// Read is a convert.Reader of events of any class.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewMixedIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(event(raw, ids))
	})
}

var errNotRecord = errors.New("not an OCSF event: no class_uid")

// event maps one record. The event keeps raw.
func event(raw []byte, ids *convert.MixedIDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	if o.Text("class_uid") == "" && o.Text("type_uid") == "" {
		return attestlog.Event{}, errNotRecord
	}
	delete(o, "raw_data") // the record that this one was made of

	e := attestlog.Event{
		ID:        ids.Next(raw, o.Text("metadata", "uid") != ""),
		Time:      when(o),
		Tenant:    convert.Take(o, "metadata.tenant_uid", "cloud.account.uid"),
		Service:   convert.Take(o, "api.service.name", "metadata.product.name"),
		Module:    o.Take("metadata", "log_name"),
		Action:    action(o),
		Operation: operation(o),
		Source:    source(o),
		Request:   request(o),
		Message:   o.Take("message"),
		Original:  raw,
	}
	e.Outcome, e.Reason = outcome(o)
	e.Actor, e.Targets = users(o)
	e.Targets = append(e.Targets, resources(o)...)

	convert.Complete(&e, o)
	return e, nil
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

// action returns the name of the operation or event, or else the class and the
// activity: in words, authentication.logon, or in numbers where there are none.
func action(o convert.Object) string {
	if name := convert.Take(o, "api.operation", "metadata.event_code"); name != "" {
		return name
	}

	word := func(name string) string {
		return strings.ReplaceAll(strings.ToLower(o.Text(name)), " ", "_")
	}
	class := word("class_name")
	if class == "" {
		class = "ocsf." + o.Text("class_uid")
	}
	activity := word("activity_name")
	if activity == "" {
		activity = o.Text("activity_id")
	}
	return strings.TrimSuffix(class+"."+activity, ".")
}

// operations are those of activity_id in API Activity.
var operations = map[string]string{"1": "create", "2": "read", "3": "update", "4": "delete"}

func operation(o convert.Object) string {
	activity := o.Text("activity_id")
	switch o.Text("class_uid") {
	case strconv.Itoa(classAuthentication):
		switch activity {
		case "1":
			return "login"
		case "2":
			return "logout"
		}
	case strconv.Itoa(classAPIActivity):
		if name := operations[activity]; name != "" {
			return name
		}
	}
	return convert.Operation(o.Text("activity_name"))
}

func outcome(o convert.Object) (outcome attestlog.Outcome, reason string) {
	switch o.Text("status_id") {
	case "1":
		outcome = attestlog.Success
	case "2":
		outcome = attestlog.Failure
	case "":
		outcome = convert.OutcomeOf(o.Text("status"))
	default:
		outcome = attestlog.Unknown
	}
	if outcome != attestlog.Success {
		reason = o.Take("status_detail")
	}
	return outcome, reason
}

// users maps who acted, and on whom. In Authentication the actor is who caused
// it, and is often absent: then the user did it.
func users(o convert.Object) (attestlog.Actor, []attestlog.Target) {
	user := o.Object("user")
	path := "actor.user"
	if !hasUser(o.Object("actor").Object("user")) && hasUser(user) {
		path = "user"
	}

	a := attestlog.Actor{Type: userType(o, path)}
	a.ID = convert.Take(o, path+".uid", path+".name", path+".email_addr")
	a.Name = convert.Take(o, path+".name", path+".full_name")
	a.Session = convert.Take(o, "actor.session.uid", "session.uid")
	if a.ID == "" {
		a.ID = convert.Take(o, "actor.app_uid", "actor.app_name", "actor.invoked_by", "actor.process.name")
	}
	if path == "user" || !hasUser(user) {
		return a, nil
	}

	// The user is somebody else, or the actor once more: who logs in acts on
	// nobody else.
	t := attestlog.Target{Type: "user", ID: user.Text("uid"), Name: user.Text("name")}
	if t.ID == "" {
		t.ID = t.Name
		t.Name = ""
	}
	if t.ID == "" {
		t.ID = convert.Take(o, "user.email_addr")
	}
	var targets []attestlog.Target
	switch {
	case t.ID != a.ID:
		targets = []attestlog.Target{t}
	case a.Name == "":
		a.Name = t.Name
	case t.Name != "" && t.Name != a.Name:
		o.Take("user", "uid")
		return a, nil // the other name stays in the attributes
	}
	convert.Take(o, "user.uid")
	convert.Take(o, "user.name")
	return a, targets
}

func hasUser(user convert.Object) bool {
	return user.Text("uid") != "" || user.Text("name") != "" || user.Text("email_addr") != ""
}

// userType returns the actor's type for the type_id of a user.
func userType(o convert.Object, path string) string {
	id, _ := o.Lookup(path + ".type_id")
	switch (convert.Object{"id": id}).Text("id") {
	case "1", "2": // a user, an administrator
		return "user"
	case "3":
		return "system"
	case "4":
		return "service"
	}
	return ""
}

func source(o convert.Object) attestlog.Source {
	return attestlog.Source{
		IP:        o.Take("src_endpoint", "ip"),
		UserAgent: o.Take("http_request", "user_agent"),
		Host:      convert.Take(o, "src_endpoint.hostname", "src_endpoint.name"),
	}
}

// resources returns those that have anything a target can have. If one has
// more, the rest of it stays in the attributes.
func resources(o convert.Object) []attestlog.Target {
	list, isList := o["resources"].([]any)
	complete := isList
	var found []attestlog.Target
	for _, v := range list {
		members, _ := v.(map[string]any)
		r := convert.Object(members)
		t := attestlog.Target{ID: r.Take("uid"), Type: r.Take("type"), Name: r.Take("name")}
		if t != (attestlog.Target{}) {
			found = append(found, t)
		}
		if members == nil || len(members) > 0 {
			complete = false
		}
	}
	if complete {
		delete(o, "resources")
	}
	return found
}

// maxDuration bounds a duration in milliseconds, about 35 years.
const maxDuration = 1 << 40

func request(o convert.Object) attestlog.Request {
	r := attestlog.Request{
		ID:     convert.Take(o, "api.request.uid", "http_request.uid"),
		Method: o.Take("http_request", "http_method"),
		Path:   convert.Take(o, "http_request.url.path", "http_request.url.url_string"),
	}
	r.Status, _ = strconv.Atoi(o.Text("http_response", "code"))
	ms, err := strconv.ParseInt(o.Text("duration"), 10, 64)
	if err == nil && 0 < ms && ms < maxDuration {
		r.DurationUS = ms * 1000
	}
	return r
}
