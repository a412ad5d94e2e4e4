// Package field has the one table of an event's fields. The reader of JSON, the
// search terms, the query language, sealing, exports, the API's description and
// the readers of foreign records follow it.
//
// To add a field, add
//
//   - an ID after the others of its object, and a line of the table, here;
//   - the struct's field and a case of the method that finds it, in event.go of
//     package attestlog, and a case of check if the table has a limit for it;
//   - a line in leaf_write.go there, which writes the fields in the order of
//     RFC 8785 without looking anything up.
//
// Tests fail until all three agree, and say what is missing. docs/format.md, the
// vectors and the verifier in Python have to follow, because a leaf that holds the
// field is of another format.
//
// Everything else follows: the field is searched, sealed, shown, exported and
// described by the API, and readers and views of foreign formats know it by names
// that follow from its own. Where other programs have a name for it, that goes to
// package convert or to the package of the format.
package field

import (
	"cmp"
	"slices"
)

// An ID numbers a field.
type ID uint8

// The fields. One of a Target or a Change is in each target or change.
const (
	EventID ID = iota
	Time
	Tenant
	Service
	Module
	Action
	Operation
	Outcome
	Reason
	ActorID
	ActorType
	ActorName
	ActorSession
	ActorOnBehalfOf
	SourceIP
	SourceHost
	SourceUserAgent
	TargetID
	TargetType
	TargetName
	RequestID
	RequestMethod
	RequestPath
	RequestRoute
	RequestStatus
	RequestDuration
	TraceID
	TraceSpan
	ChangePath
	ChangeOp
	ChangeOld
	ChangeNew
	Message
	Original
	count
)

// A Kind says what a field's value is.
type Kind uint8

// The kinds of a field.
const (
	Text    Kind = iota
	Name         // text with dots, each prefix of which can be searched for
	Address      // text that is an IP address, whose networks can be searched for
	Instant      // an RFC 3339 time, nine fractional digits
	Number       // a whole number from 0 on; 0 is absent
	Value        // any JSON value
	Bytes        // text, or base64 if it is not UTF-8
)

// An Object is the part of an event to which a field belongs.
type Object uint8

// The objects of an event.
const (
	Event   Object = iota // the event itself
	Actor                 // "actor"
	Source                // "source"
	Target                // each of "targets"
	Request               // "request"
	Trace                 // "trace"
	Change                // each of "changes"
	objects
)

// A Field is one line of the table.
type Field struct {
	ID     ID
	Object Object
	Name   string // in its object's JSON
	Kind   Kind

	// Query is the field's name in the query language, and Aliases are others
	// that mean the same. A field without one cannot be searched.
	Query   string
	Aliases []string
	// Words says that a search for free text looks at the field. WordsOnly says
	// that it has no term for the whole value, because that is long.
	Words     bool
	WordsOnly bool

	// Sealable says that the value can be kept outside the leaf.
	Sealable bool

	// Max bounds a text in bytes, or is 0 if only the leaf does.
	Max int
	// Values are the only ones allowed, if there are any.
	Values []string

	// Detail says that a table of entries has no column for the field unless
	// somebody asks for it.
	Detail bool
	// About describes the field in the API.
	About string
}

// The bounds of texts, in bytes, which are those of package attestlog.
const (
	maxID       = 128
	maxAction   = 255
	maxOriginal = 1 << 20
)

var table = [count]Field{
	EventID: {
		Name: "id", Query: "id", Max: maxID,
		About: "The caller's idempotency key, at most 128 bytes. One that is no UUIDv7 needs a time.",
	},
	Time:    {Name: "time", Kind: Instant, About: "When it happened, RFC 3339. Defaults to now."},
	Tenant:  {Name: "tenant", Query: "tenant", About: "Whose event it is."},
	Service: {Name: "service", Kind: Name, Query: "service", About: "Which program reports it."},
	Module:  {Name: "module", Kind: Name, Query: "module", About: "Which part of the program."},
	Action: {
		Name: "action", Kind: Name, Query: "action", Max: maxAction,
		About: "What was done: by convention a dotted name such as mail.view.",
	},
	Operation: {
		Name: "operation", Query: "operation",
		About: "The kind of action: create, read, update, delete, login, …",
	},
	Outcome: {
		Name: "outcome", Query: "outcome", Values: []string{"success", "failure", "unknown"},
		About: "How it ended.",
	},
	Reason: {
		Name: "reason", Query: "reason", Words: true, Sealable: true,
		About: "Why, where the outcome is not success.",
	},

	ActorID: {Object: Actor, Name: "id", Query: "actor", Sealable: true},
	ActorType: {
		Object: Actor, Name: "type", Query: "actor.type",
		Values: []string{"user", "service", "system", "anonymous"},
	},
	ActorName: {Object: Actor, Name: "name", Query: "actor.name", Words: true, Sealable: true},
	ActorSession: {
		Object: Actor, Name: "session", Query: "actor.session", Aliases: []string{"session"},
		Sealable: true, Detail: true,
	},
	ActorOnBehalfOf: {
		Object: Actor, Name: "on_behalf_of", Query: "actor.on_behalf_of", Sealable: true, Detail: true,
		About: "The principal that the actor acted for.",
	},

	SourceIP:        {Object: Source, Name: "ip", Kind: Address, Query: "ip", Sealable: true},
	SourceHost:      {Object: Source, Name: "host", Query: "host", Sealable: true},
	SourceUserAgent: {Object: Source, Name: "user_agent", Query: "user_agent", Sealable: true},

	TargetID:   {Object: Target, Name: "id", Query: "target.id", Detail: true},
	TargetType: {Object: Target, Name: "type", Query: "target.type", Detail: true},
	TargetName: {Object: Target, Name: "name", Query: "target.name", Words: true, Detail: true},

	RequestID:     {Object: Request, Name: "id", Query: "request.id", Detail: true},
	RequestMethod: {Object: Request, Name: "method", Query: "request.method", Aliases: []string{"method"}},
	RequestPath: {
		Object: Request, Name: "path", Query: "request.path", Aliases: []string{"path"}, Sealable: true,
	},
	RequestRoute: {
		Object: Request, Name: "route", Query: "request.route", Aliases: []string{"route"}, Detail: true,
	},
	RequestStatus: {
		Object: Request, Name: "status", Kind: Number, Query: "request.status", Aliases: []string{"status"},
	},
	RequestDuration: {Object: Request, Name: "duration_us", Kind: Number, About: "Microseconds."},

	TraceID:   {Object: Trace, Name: "trace_id", Query: "trace", Aliases: []string{"trace_id"}, Detail: true},
	TraceSpan: {Object: Trace, Name: "span_id", Query: "span", Aliases: []string{"span_id"}, Detail: true},

	ChangePath: {Object: Change, Name: "path", Query: "change", Detail: true},
	ChangeOp:   {Object: Change, Name: "op"},
	ChangeOld:  {Object: Change, Name: "old", Kind: Value},
	ChangeNew:  {Object: Change, Name: "new", Kind: Value},

	Message: {Name: "message", Query: "message", Words: true, WordsOnly: true, Sealable: true, About: "Free text."},
	Original: {
		Name: "original", Kind: Bytes, Sealable: true, Max: maxOriginal,
		About: "A foreign record's exact bytes: text, or data:;base64,… where they are not UTF-8.",
	},
}

// TargetReference is the query name of each target's type and id, with a slash
// between.
const TargetReference = "target"

// objectTable has the names of the objects in an event's JSON, and what the API
// says about them.
var objectTable = [objects]struct{ name, about string }{
	Actor:   {"actor", "Who did it."},
	Source:  {"source", "From where."},
	Target:  {"targets", "What it was done to."},
	Request: {"request", "The HTTP or RPC request."},
	Trace:   {"trace", "W3C trace context."},
	Change:  {"changes", "What became different."},
}

// Name returns the object's name in an event's JSON, "" for the event itself.
func (o Object) Name() string { return objectTable[o].name }

// About returns what the API says about the object.
func (o Object) About() string { return objectTable[o].about }

// List reports whether an event has a list of such objects.
func (o Object) List() bool { return o == Target || o == Change }

// Fields returns the object's fields, in the order of the table.
func (o Object) Fields() []*Field { return derived.fields[o] }

// Parts returns the objects that an event has, without the event itself.
func Parts() []Object { return derived.parts }

// Field returns a field's line of the table, which must not be changed.
func (id ID) Field() *Field { return &table[id] }

// All returns the table, in the order in which people read an event.
func All() []Field { return table[:] }

// Pointer returns the RFC 6901 pointer of the field, with a star for the index
// of a list: "/actor/name", "/targets/*/id".
func (f *Field) Pointer() string { return derived.pointers[f.ID] }

// SealedPointer returns Pointer of a field that can be sealed, and "" of another.
func (f *Field) SealedPointer() string {
	if f.Sealable {
		return f.Pointer()
	}
	return ""
}

// Path returns the field's dotted name: "actor.name", "targets.id".
func (f *Field) Path() string { return derived.paths[f.ID] }

// Prefixes returns the field of the terms of a name's dotted prefixes, or "".
func (f *Field) Prefixes() string { return derived.prefixes[f.ID] }

// IsText reports whether the value is a string in Go.
func (f *Field) IsText() bool { return f.Kind == Text || f.Kind == Name || f.Kind == Address }

// derived is what follows from the table.
var derived = derive()

type tables struct {
	paths      [count]string
	prefixes   [count]string
	pointers   [count]string
	byName     [objects][buckets][]ID
	objects    [buckets][]Object
	fields     [objects][]*Field
	parts      []Object
	byPointer  map[string]ID
	byQuery    map[string]ID
	queryNames []string // sorted
	sealable   []ID     // in the order of their pointers
	limited    []ID
}

func derive() *tables {
	t := &tables{byPointer: map[string]ID{}, byQuery: map[string]ID{}}
	for i := range table {
		f := &table[i]
		f.ID = ID(i)
		t.fields[f.Object] = append(t.fields[f.Object], f)
		bucket := &t.byName[f.Object][bucketOf([]byte(f.Name))]
		*bucket = append(*bucket, f.ID)

		t.paths[i] = f.Name
		t.pointers[i] = "/" + f.Name
		if f.Object != Event {
			t.paths[i] = f.Object.Name() + "." + f.Name
			t.pointers[i] = "/" + f.Object.Name() + "/" + f.Name
		}
		if f.Object.List() {
			t.pointers[i] = "/" + f.Object.Name() + "/*/" + f.Name
		}
		t.byPointer[t.pointers[i]] = f.ID

		if f.Query != "" {
			t.queryNames = append(t.queryNames, f.Query)
			t.byQuery[f.Query] = f.ID
			for _, alias := range f.Aliases {
				t.byQuery[alias] = f.ID
			}
			if f.Object != Target {
				t.byQuery[t.paths[i]] = f.ID
			}
		}

		if f.Kind == Name {
			t.prefixes[i] = f.Query + ".*"
		}
		if f.Sealable {
			t.sealable = append(t.sealable, f.ID)
		}
		isLimited := f.Max > 0 || f.Values != nil || f.Kind == Number
		if isLimited && !f.Object.List() {
			t.limited = append(t.limited, f.ID)
		}
	}

	for o := Event + 1; o < objects; o++ {
		t.parts = append(t.parts, o)
		bucket := &t.objects[bucketOf([]byte(o.Name()))]
		*bucket = append(*bucket, o)
	}

	t.queryNames = append(t.queryNames, TargetReference)
	slices.Sort(t.queryNames)

	// Pointers are ASCII, so this is also the order of RFC 8785.
	slices.SortFunc(t.sealable, func(a, b ID) int { return cmp.Compare(t.pointers[a], t.pointers[b]) })

	return t
}

// buckets is a power of two.
const buckets = 32

// bucketOf spreads names over buckets by their length and first letter, so that
// looking one up compares it with hardly more than one field.
func bucketOf(name []byte) int {
	if len(name) == 0 {
		return 0
	}
	return (len(name) ^ int(name[0])) % buckets
}

// Find returns the field of a name in an object.
func (o Object) Find(name []byte) (ID, bool) {
	for _, id := range derived.byName[o][bucketOf(name)] {
		if table[id].Name == string(name) {
			return id, true
		}
	}
	return 0, false
}

// ObjectNamed returns the object, or the list of objects, of a name in an
// event's JSON.
func ObjectNamed(name []byte) (Object, bool) {
	for _, o := range derived.objects[bucketOf(name)] {
		if objectTable[o].name == string(name) {
			return o, true
		}
	}
	return 0, false
}

// ByPointer returns the field of a pointer as Pointer writes it.
func ByPointer(pointer string) (ID, bool) {
	id, ok := derived.byPointer[pointer]
	return id, ok
}

// ByQuery returns the field that the query language calls name.
func ByQuery(name string) (ID, bool) {
	id, ok := derived.byQuery[name]
	return id, ok
}

// QueryNames returns the names in the query language, sorted, without aliases.
func QueryNames() []string { return derived.queryNames }

// Sealable returns the fields that can be sealed, in the order of their
// pointers, which is that of a leaf's sealed object.
func Sealable() []ID { return derived.sealable }

// Limited returns the fields of an event, not those of its lists, whose values
// have a limit of their own: a Max, Values, or that of a number.
func Limited() []ID { return derived.limited }

// A Set is a set of fields.
type Set uint64

// Add adds a field.
func (s *Set) Add(id ID) { *s |= 1 << id }

// Has reports whether a field is in the set.
func (s Set) Has(id ID) bool { return s&(1<<id) != 0 }
