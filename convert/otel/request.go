package otel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// A request is being read. Its methods report whether to go on.
type request struct {
	ids   *convert.IDs
	bytes int // of the documents so far
	yield func(attestlog.Event, error) bool
}

// maxDocuments bounds the documents of one request's records together, in
// bytes: each has the resource and the scope, which the request has once.
const maxDocuments = 256 << 20

var errDocuments = fmt.Errorf("the request's records, each with its resource and scope, have more than %d bytes", maxDocuments)

// A level is that of an object around records.
type level struct {
	list  string   // the member that lists the objects, or the records, inside
	other []string // names of that list in drafts and in protobuf's own spelling
	about string   // the member that describes what is inside
}

// levels are those of a request, the outermost first.
var levels = [3]level{
	{"resourceLogs", []string{"resource_logs"}, ""},
	{"scopeLogs", []string{"scope_logs", "instrumentationLibraryLogs", "instrumentation_library_logs"}, "resource"},
	{"logRecords", []string{"log_records", "logs"}, "scope"},
}

// A document is what surrounds a record, as text and as attributes of its
// event.
type document struct {
	text            [len(levels)]surrounding
	resource, scope *part
}

// A surrounding is an object's members before and after one of its lists, each
// with a comma.
type surrounding struct{ before, after string }

// size returns the length of the document's text, without a record.
func (d *document) size() (n int) {
	for i, s := range d.text {
		n += len(`{"":[]}`) + len(s.before) + len(levels[i].list) + len(s.after)
	}
	return n
}

// around returns the record's text in a request of its own.
func (d *document) around(record []byte) []byte {
	out := make([]byte, 0, d.size()+len(record))
	for i, s := range d.text {
		out = append(out, '{')
		out = append(out, s.before...)
		out = append(out, '"')
		out = append(out, levels[i].list...)
		out = append(out, `":[`...)
	}
	out = append(out, record...)
	for _, s := range slices.Backward(d.text[:]) {
		out = append(out, ']')
		out = append(out, s.after...)
		out = append(out, '}')
	}
	return out
}

// refuse yields an error for what is at a place in the request.
func (q *request) refuse(where string, err error) bool {
	if where != "" {
		err = fmt.Errorf("%s: %w", where, err)
	}
	return q.yield(attestlog.Event{}, err)
}

// object reads an object around records, and the objects or records inside it.
// Of document d, the levels above depth are known.
func (q *request) object(raw []byte, depth int, where string, d document) bool {
	level := levels[depth]
	var members []loosejson.Member
	hasList := false
	for m, err := range loosejson.Members(raw) {
		if err == nil && slices.Contains(level.other, m.Name) {
			err = fmt.Errorf("not read: %s", m.Name)
		}
		if err != nil {
			if !q.refuse(where, err) {
				return false
			}
			hasList = true // or what could be one, and has been refused
			continue
		}
		if m.Name == level.list {
			hasList = true
		}
		members = append(members, m)
	}

	if !hasList {
		// ProtoJSON leaves an empty list out; anything else here could be a
		// list under a new name.
		isEmpty := depth > 0 && !slices.ContainsFunc(members, func(m loosejson.Member) bool {
			return m.Name != level.about && m.Name != "schemaUrl"
		})
		if isEmpty {
			return true
		}
		return q.refuse(where, fmt.Errorf("not an export request of logs: no %s", level.list))
	}

	switch level.about {
	case "resource":
		d.resource = newPart("resource", members)
	case "scope":
		d.scope = newPart("scope", members)
	}

	// A list is surrounded by all members except lists. Both texts have a comma
	// for each member, so they can be cut at the same offset.
	var before, after strings.Builder
	for _, m := range members {
		if m.Name != level.list {
			fmt.Fprintf(&before, "%s,", m.Text)
			fmt.Fprintf(&after, ",%s", m.Text)
		}
	}

	offset := 0
	for _, m := range members {
		if m.Name != level.list {
			offset += len(m.Text) + len(",")
			continue
		}
		d.text[depth] = surrounding{before.String()[:offset], after.String()[offset:]}
		if !q.list(m, depth, where, d) {
			return false
		}
	}
	return true
}

// list reads the list of an object around records.
func (q *request) list(m loosejson.Member, depth int, where string, d document) bool {
	if string(m.Raw) == "null" { // which counts as absent (ProtoJSON)
		return true
	}
	if where != "" {
		where += "."
	}
	where += m.Name

	i := 0
	for item, err := range loosejson.Items(m.Raw) {
		here := fmt.Sprintf("%s[%d]", where, i)
		i++

		goOn := false
		switch {
		case err != nil:
			goOn = q.refuse(where, err)
		case depth+1 < len(levels):
			goOn = q.object(item, depth+1, here, d)
		default:
			goOn = q.record(item, here, d)
		}
		if !goOn {
			return false
		}
	}
	return true
}

// record yields the event of a record.
func (q *request) record(raw []byte, where string, d document) bool {
	e, err := q.event(raw, d)
	if err != nil {
		return q.refuse(where, err)
	}
	return q.yield(e, nil)
}

// event maps one record.
func (q *request) event(raw []byte, d document) (attestlog.Event, error) {
	size := d.size() + len(raw)
	if q.bytes+size > maxDocuments {
		return attestlog.Event{}, errDocuments
	}

	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	for _, p := range [...]*part{d.resource, d.scope} {
		if p.err != nil {
			return attestlog.Event{}, p.err
		}
	}
	e, err := mapRecord(o, d)
	if err != nil {
		return attestlog.Event{}, err
	}
	q.bytes += size // only of records that become events

	e.Original = d.around(raw)
	if e.ID == "" {
		e.ID = q.ids.Next(e.Original)
	}
	convert.Finish(&e)
	return e, nil
}

// A part describes what is around records: the resource or the scope, and the
// schema of its attributes.
type part struct {
	name    string
	members convert.Object // of the event's attribute of that name
	service string         // the resource's service.name
	err     error          // of every record inside
}

// newPart reads the part of that name from the members of the object around it.
// If the object has it more than once, the last one counts.
func newPart(name string, members []loosejson.Member) *part {
	p := &part{name: name, members: convert.Object{}}
	var schema any
	for _, m := range members {
		if m.Name != name && m.Name != "schemaUrl" {
			continue
		}
		v, err := loosejson.Decode(m.Raw)
		if err != nil {
			p.err = fmt.Errorf("%s: %w", m.Name, err)
			return p
		}

		object, isObject := v.(map[string]any)
		switch {
		case v == nil: // counts as absent (ProtoJSON)
		case m.Name == "schemaUrl":
			schema = v
		case isObject:
			p.members = object
		default:
			p.err = fmt.Errorf("%s: not an object", name)
			return p
		}
	}

	attributes, err := keyValues(p.members["attributes"])
	if err != nil {
		p.err = fmt.Errorf("%s: attributes: %w", name, err)
		return p
	}
	delete(p.members, "attributes")
	if name == "resource" {
		p.service = attributes.Take("service.name")
	}
	if len(attributes) > 0 {
		p.members["attributes"] = map[string]any(attributes)
	}
	if schema != nil && schema != "" {
		p.members.Put("schemaUrl", schema)
	}
	return p
}
