package otel

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Format starts the ids of records that have none.
const Format = "otlp"

// Read is a convert.Reader of export requests, one after the other.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return func(yield func(attestlog.Event, error) bool) {
			q := request{ids: ids, yield: yield}
			q.objects(raw, levels, "", document{})
		}
	})
}

// A request is being read. Its methods report whether to go on.
type request struct {
	ids   *convert.IDs
	bytes int // of the documents so far
	yield func(attestlog.Event, error) bool
}

// maxDocuments bounds the documents of one request's records together, in bytes:
// each has the resource and the scope, which the request has once.
const maxDocuments = 256 << 20

var errDocuments = fmt.Errorf("the documents of the request's records, each with its resource and scope, have more than %d bytes", maxDocuments)

// A level is that of an object around records.
type level struct {
	list  string   // the member that lists the objects, or the records, inside
	other []string // names of such lists in drafts and in protobuf's own spelling
	about string   // the member that describes what is inside
}

var levels = []level{
	{"resourceLogs", []string{"resource_logs"}, ""},
	{"scopeLogs", []string{"scope_logs", "instrumentationLibraryLogs", "instrumentation_library_logs"}, "resource"},
	{"logRecords", []string{"log_records", "logs"}, "scope"},
}

// A document is what stands around a record, as text and as attributes of its
// event.
type document struct {
	text            [3]surrounding // the outermost first
	resource, scope *part
}

// A surrounding is an object's text before and behind what a list has.
type surrounding struct{ before, list, after string }

func (d *document) size() (n int) {
	for _, s := range d.text {
		n += len(`{"":[]}`) + len(s.before) + len(s.list) + len(s.after)
	}
	return n
}

// around returns the record's text in a request of its own.
func (d *document) around(record []byte) []byte {
	out := make([]byte, 0, d.size()+len(record))
	for _, s := range d.text {
		out = append(append(append(append(append(out, '{'), s.before...), '"'), s.list...), `":[`...)
	}
	out = append(out, record...)
	for _, s := range slices.Backward(d.text[:]) {
		out = append(append(append(out, ']'), s.after...), '}')
	}
	return out
}

func (q *request) refuse(where string, err error) bool {
	if where != "" {
		err = fmt.Errorf("%s: %w", where, err)
	}
	return q.yield(attestlog.Event{}, err)
}

// objects reads an object around records, and those inside it.
func (q *request) objects(raw []byte, at []level, where string, d document) bool {
	var members []loosejson.Member
	found := false
	for m, err := range loosejson.Members(raw) {
		switch {
		case err != nil:
			if !q.refuse(where, err) {
				return false
			}
			found = true // what is wrong has been said
			continue
		case slices.Contains(at[0].other, m.Name):
			if !q.refuse(where, fmt.Errorf("not read: %s", m.Name)) {
				return false
			}
			found = true
		case m.Name == at[0].list:
			found = true
		}
		members = append(members, m)
	}
	switch {
	case found:
	case where != "" && !slices.ContainsFunc(members, func(m loosejson.Member) bool { return m.Name != at[0].about && m.Name != "schemaUrl" }):
		return true // an empty list is absent (ProtoJSON), and there is nothing that could be one
	default:
		return q.refuse(where, fmt.Errorf("not an export request of logs: no %s", at[0].list))
	}
	switch at[0].about {
	case "resource":
		d.resource = newPart("resource", members)
	case "scope":
		d.scope = newPart("scope", members)
	}
	var before, after strings.Builder // all members but lists, with a comma behind or before each
	for _, m := range members {
		if m.Name != at[0].list && !slices.Contains(at[0].other, m.Name) {
			fmt.Fprintf(&before, "%s,", m.Text)
			fmt.Fprintf(&after, ",%s", m.Text)
		}
	}
	passed := 0
	for _, m := range members {
		if slices.Contains(at[0].other, m.Name) {
			continue
		}
		if m.Name != at[0].list {
			passed += len(m.Text) + 1
			continue
		}
		d.text[len(levels)-len(at)] = surrounding{before.String()[:passed], m.Name, after.String()[passed:]}
		if !q.list(m, at, where, d) {
			return false
		}
	}
	return true
}

// list reads the list of an object around records.
func (q *request) list(m loosejson.Member, at []level, where string, d document) bool {
	if string(m.Raw) == "null" { // which is absent (ProtoJSON)
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
		switch {
		case err != nil:
			if !q.refuse(where, err) {
				return false
			}
		case len(at) > 1:
			if !q.objects(item, at[1:], here, d) {
				return false
			}
		default:
			e, err := q.record(item, d)
			if err != nil {
				err = fmt.Errorf("%s: %w", here, err)
			}
			if !q.yield(e, err) {
				return false
			}
		}
	}
	return true
}

func (q *request) record(raw []byte, d document) (attestlog.Event, error) {
	size := d.size() + len(raw)
	if q.bytes+size > maxDocuments {
		return attestlog.Event{}, errDocuments
	}
	rec, err := convert.DecodeObject(raw)
	for _, p := range [...]*part{d.resource, d.scope} {
		if err == nil {
			err = p.err
		}
	}
	var e attestlog.Event
	if err == nil {
		err = event(&e, rec, d)
	}
	if err != nil {
		return attestlog.Event{}, err
	}
	q.bytes += size
	if e.Original = d.around(raw); e.ID == "" {
		e.ID = q.ids.Next(e.Original)
	}
	convert.Finish(&e)
	return e, nil
}

// A part describes what is around records: the resource or the scope, and the
// schema of their attributes. The last of several counts.
type part struct {
	members convert.Object // of the attributes' attribute
	service string         // the resource's service.name
	err     error
}

func newPart(name string, members []loosejson.Member) *part {
	p := &part{members: convert.Object{}}
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
		switch of, isObject := v.(map[string]any); {
		case v == nil: // absent (ProtoJSON)
		case m.Name == "schemaUrl":
			schema = v
		case !isObject:
			p.err = fmt.Errorf("%s: not an object", name)
			return p
		default:
			p.members = of
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
