package attestlog

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/query"
)

const howToAddAField = `
A field of an event is in three files:
  internal/field/field.go  an ID after the others of its object, and a line of the table
  event.go                 the struct's field, and a case of Event.text or of its object's
                           text (for a number of Event.number and Event.setNumber); if the
                           table has a limit for it, a case of Event.check
  leaf_write.go            a line in the method that writes its object, in the order of
                           the members' names
docs/format.md, the vectors and the verifier in Python have to follow.`

// Everything else follows the table: reading, searching, sealing, exports, the
// API. The stages build on one another, so the first that fails is the last.
func TestAFieldIsInAllThreeFiles(t *testing.T) {
	for _, stage := range []struct {
		name  string
		check func(*testing.T)
	}{
		{"the table has the structs' fields", theTableHasTheStructsFields},
		{"the event finds the fields of the table", theEventFindsTheFieldsOfTheTable},
		{"the writer writes them", theWriterWritesThem},
		{"the reader reads them", theReaderReadsThem},
		{"their limits are checked", theirLimitsAreChecked},
		{"they are sealed", theyAreSealed},
		{"they are searched", theyAreSearched},
	} {
		if !t.Run(stage.name, stage.check) {
			t.Fatal(howToAddAField)
		}
	}
}

// A member is a field of one of the structs that make up an event.
type member struct {
	goName string // "Actor.OnBehalfOf"
	object field.Object
	name   string // in JSON: "on_behalf_of"
	value  reflect.Value
}

// membersOf returns the members of e, which gets one target and one change. It
// fails if a struct is not one of the table's objects.
func membersOf(t *testing.T, e *Event) []member {
	t.Helper()
	e.Targets = []Target{{}}
	e.Changes = []Change{{}}

	var members []member
	var walk func(path string, object field.Object, v reflect.Value)
	walk = func(path string, object field.Object, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			m := member{path + f.Name, object, jsonName(f.Name), v.Field(i)}
			if m.goName == "Attributes" {
				continue
			}

			inner := m.value
			if inner.Kind() == reflect.Slice && inner.Type() != reflect.TypeFor[[]byte]() {
				inner = inner.Index(0)
			}
			if inner.Kind() != reflect.Struct || inner.Type() == reflect.TypeFor[time.Time]() {
				members = append(members, m)
				continue
			}
			part, ok := field.ObjectNamed([]byte(m.name))
			if !ok {
				t.Errorf("internal/field/field.go: the table has no object %q, the JSON name of Event.%s", m.name, m.goName)
				continue
			}
			walk(m.goName+".", part, inner)
		}
	}
	walk("", field.Event, reflect.ValueOf(e).Elem())
	return members
}

// jsonName returns the name in JSON of a struct's field: "on_behalf_of" of
// OnBehalfOf, "trace_id" of TraceID.
func jsonName(goName string) string {
	var b strings.Builder
	wasUpper := true
	for _, r := range goName {
		isUpper := unicode.IsUpper(r)
		if isUpper && !wasUpper {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		wasUpper = isUpper
	}
	return b.String()
}

func theTableHasTheStructsFields(t *testing.T) {
	var e Event
	members := membersOf(t, &e)
	var found field.Set
	for _, m := range members {
		id, ok := m.object.Find([]byte(m.name))
		if !ok {
			t.Errorf("internal/field/field.go: the table lacks the field %q of the object %q, which is Event.%s",
				m.name, m.object.Name(), m.goName)
			continue
		}
		found.Add(id)

		f := id.Field()
		kinds := map[reflect.Kind]bool{
			reflect.String:    f.IsText(),
			reflect.Int:       f.Kind == field.Number,
			reflect.Int64:     f.Kind == field.Number,
			reflect.Struct:    f.Kind == field.Instant,
			reflect.Slice:     f.Kind == field.Bytes,
			reflect.Interface: f.Kind == field.Value,
		}
		if !kinds[m.value.Kind()] {
			t.Errorf("internal/field/field.go: the table has another kind for %s than Event.%s, a %s",
				f.Path(), m.goName, m.value.Type())
		}
	}

	for _, f := range field.All() {
		if !found.Has(f.ID) {
			t.Errorf("event.go: the table has %s, and the struct has no such field", f.Path())
		}
	}
}

func theEventFindsTheFieldsOfTheTable(t *testing.T) {
	var e Event
	for _, m := range membersOf(t, &e) {
		id, _ := m.object.Find([]byte(m.name))
		f := id.Field()
		switch {
		case f.IsText():
			text := textOf(&e, f)
			if text == nil {
				t.Errorf("event.go: the method text of %s has no case for %s", ownerOf(f), f.Path())
			} else if reflect.ValueOf(text).Pointer() != m.value.Addr().Pointer() {
				t.Errorf("event.go: the method text of %s returns another field for %s", ownerOf(f), f.Path())
			}

		case f.Kind == field.Number:
			e.setNumber(id, 7)
			if m.value.Int() != 7 {
				t.Errorf("event.go: Event.setNumber does not set %s", f.Path())
			}
			if e.number(id) != 7 {
				t.Errorf("event.go: Event.number does not return %s", f.Path())
			}
			m.value.SetInt(0)
		}
	}
}

// ownerOf returns the Go name of the type whose method finds a field.
func ownerOf(f *field.Field) string {
	switch f.Object {
	case field.Target:
		return "Target"
	case field.Change:
		return "Change"
	}
	return "Event"
}

// textOf returns where e, which has one target and one change, has a text.
func textOf(e *Event, f *field.Field) *string {
	switch f.Object {
	case field.Target:
		return e.Targets[0].text(f.ID)
	case field.Change:
		return e.Changes[0].text(f.ID)
	}
	return e.text(f.ID)
}

// fullEvent returns an event in which every field has a value of its own, and
// the values as an entry's Field gives them.
func fullEvent(t *testing.T) (e Event, values map[field.ID]string) {
	t.Helper()
	values = map[field.ID]string{}
	for _, m := range membersOf(t, &e) {
		id, _ := m.object.Find([]byte(m.name))
		f := id.Field()
		text := "the-" + strings.ReplaceAll(f.Path(), "_", "-")
		switch {
		case f.Values != nil:
			text = f.Values[0]
		case f.Kind == field.Address:
			text = "192.0.2.7"
		case f.Kind == field.Number:
			text = strconv.Itoa(1000 + int(id))
		}
		values[id] = text

		switch {
		case f.IsText():
			m.value.SetString(text)
		case f.Kind == field.Number:
			m.value.SetInt(int64(1000 + int(id)))
		case f.Kind == field.Instant:
			m.value.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)))
			values[id] = "2026-01-02T03:04:05.000000006Z"
		case f.Kind == field.Bytes:
			m.value.SetBytes([]byte(text))
		case f.Kind == field.Value:
			m.value.Set(reflect.ValueOf(text))
		}
	}
	return e, values
}

func theWriterWritesThem(t *testing.T) {
	e, values := fullEvent(t)
	text, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var written map[string]any
	err = json.Unmarshal(text, &written)
	if err != nil {
		t.Fatalf("MarshalJSON wrote %s: %v", text, err)
	}

	for i := range field.All() {
		f := &field.All()[i]
		object, _ := written[f.Object.Name()].(map[string]any)
		if f.Object == field.Event {
			object = written
		} else if list, ok := written[f.Object.Name()].([]any); ok {
			object, _ = list[0].(map[string]any)
		}

		got := object[f.Name]
		if n, ok := got.(float64); ok {
			got = strconv.FormatFloat(n, 'f', -1, 64)
		}
		switch got {
		case values[f.ID]:
		case nil:
			t.Errorf("leaf_write.go: no line writes %s", f.Path())
		default:
			t.Errorf("leaf_write.go: %s is written as %v, want %s", f.Path(), got, values[f.ID])
		}
	}

	// Names and values of this event sort by their bytes as they do by RFC 8785.
	sorted, err := json.Marshal(written)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(sorted), string(text)); diff != "" {
		t.Errorf("leaf_write.go: members are not in the order of their names, or written twice (-want +got):\n%s", diff)
	}
}

func theReaderReadsThem(t *testing.T) {
	e, _ := fullEvent(t)
	text, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseEvent(text)
	if err != nil {
		t.Fatalf("ParseEvent(%s): %v", text, err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("event_parse.go: ParseEvent of what MarshalJSON wrote (-want +got):\n%s", diff)
	}
}

func theirLimitsAreChecked(t *testing.T) {
	for _, id := range field.Limited() {
		f := id.Field()
		allowed, refused := limitsOf(f)
		for _, set := range allowed {
			e, _ := fullEvent(t)
			set(&e)
			err := e.check()
			if err != nil {
				t.Errorf("event.go: Event.check refuses an allowed value of %s: %v", f.Path(), err)
			}
		}
		for _, set := range refused {
			e, _ := fullEvent(t)
			set(&e)
			err, ok := e.check().(*FieldError)
			if !ok || err.Field != f.Path() {
				t.Errorf("event.go: Event.check does not refuse a value of %s that the table does not allow: %v", f.Path(), err)
			}
		}
	}
}

// limitsOf returns functions that set a limited field to values that are allowed,
// and to others.
func limitsOf(f *field.Field) (allowed, refused []func(*Event)) {
	number := func(n int64) func(*Event) { return func(e *Event) { e.setNumber(f.ID, n) } }
	original := func(n int) func(*Event) { return func(e *Event) { e.Original = make([]byte, n) } }
	text := func(s string) func(*Event) { return func(e *Event) { *e.text(f.ID) = s } }

	switch {
	case f.Kind == field.Number:
		return []func(*Event){number(0), number(1<<53 - 1)}, []func(*Event){number(-1), number(1 << 53)}
	case f.Kind == field.Bytes:
		return []func(*Event){original(f.Max)}, []func(*Event){original(f.Max + 1)}
	case f.Values == nil:
		return []func(*Event){text(strings.Repeat("x", f.Max))}, []func(*Event){text(strings.Repeat("x", f.Max+1))}
	}

	allowed = append(allowed, text(""))
	for _, value := range f.Values {
		allowed = append(allowed, text(value))
		refused = append(refused, text(value+"x"))
	}
	return allowed, refused
}

func theyAreSealed(t *testing.T) {
	for _, id := range field.Sealable() {
		f := id.Field()
		e, values := fullEvent(t)
		set, err := newSealSet([]string{f.Pointer()})
		if err != nil {
			t.Fatal(err)
		}
		d, err := (&encoder{set}).encode(new(scratch), &e, e.Time)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := d.decode(e.Time)
		if err != nil {
			t.Fatalf("%s is sealed: %v", f.Path(), err)
		}

		// The original is always sealed.
		disclosures := d.disclosures(nil)
		sealed := map[string]string{"/original": strconv.Quote(values[field.Original])}
		sealed[f.Pointer()] = strconv.Quote(values[id])
		disclosed := map[string]string{}
		for _, one := range disclosures {
			disclosed[one.Pointer] = string(one.Value)
		}
		if diff := cmp.Diff(sealed, disclosed); diff != "" {
			t.Errorf("%s is sealed: disclosures (-want +got):\n%s", f.Path(), diff)
		}

		clear := e
		clear.blank("/original")
		clear.blank(f.Pointer())
		if diff := cmp.Diff(clear, leaf.Event); diff != "" {
			t.Errorf("leaf_write.go: %s is sealed: the leaf's event (-want +got):\n%s", f.Path(), diff)
		}

		again, missing, err := leaf.disclosed(disclosures)
		if diff := cmp.Diff(e, again); err != nil || missing != nil || diff != "" {
			t.Errorf("%s is sealed: disclosed: missing %q, %v (-want +got):\n%s", f.Path(), missing, err, diff)
		}
	}
}

func theyAreSearched(t *testing.T) {
	e, values := fullEvent(t)
	d, err := new(encoder).encode(new(scratch), &e, e.Time)
	if err != nil {
		t.Fatal(err)
	}
	d.finish([]byte("2026-01-02T03:04:05.000006Z"))
	terms := map[query.Term]bool{}
	err = Terms(d.leaf(), nil, func(name string, value []byte) { terms[query.Term{Field: name, Value: string(value)}] = true })
	if err != nil {
		t.Fatal(err)
	}

	entry := Entry{Event: e}
	for i := range field.All() {
		f := &field.All()[i]
		if f.Query == "" {
			continue
		}
		got, err := entry.Field(f.Query)
		if err != nil || len(got) != 1 || got[0] != values[f.ID] {
			t.Errorf("Field(%q) = %q, %v, want %s", f.Query, got, err, values[f.ID])
		}

		q, err := query.Parse(f.Query + ":" + values[f.ID])
		if err != nil || !q.Match(&entry) {
			t.Errorf("the query %s:%s does not select the event: %v", f.Query, values[f.ID], err)
		}
		if !f.WordsOnly && !terms[query.Term{Field: f.Query, Value: values[f.ID]}] {
			t.Errorf("Terms does not have %s:%s", f.Query, values[f.ID])
		}
	}
}

// The bounds in the documentation of this package are those of the table.
func TestTheBoundsAreThoseOfTheTable(t *testing.T) {
	for id, want := range map[field.ID]int{
		field.EventID:  MaxID,
		field.Action:   MaxAction,
		field.Original: MaxOriginal,
	} {
		if got := id.Field().Max; got != want {
			t.Errorf("the table bounds %s at %d bytes, want %d", id.Field().Path(), got, want)
		}
	}
}
