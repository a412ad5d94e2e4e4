package auditslog

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/field"
)

// A tree is the attributes of a marked record as nested objects.
type tree struct {
	mark   string         // Config.Group
	root   map[string]any // all except those in marking groups
	marked map[string]any // those in marking groups together, nil if there is none
	open   map[string]any // the object that attributes are added to
	nested bool           // open is that of a group
}

// openGroup has the attributes that follow added to a group.
func (t *tree) openGroup(name string) {
	if !t.nested && name == t.mark {
		t.open = t.markedGroup()
	} else {
		inner := map[string]any{}
		put(t.open, name, inner)
		t.open = inner
	}
	t.nested = true
}

func (t *tree) add(a slog.Attr) {
	v := a.Value.Resolve()
	if !t.nested && a.Key == t.mark && v.Kind() == slog.KindGroup {
		addAll(t.markedGroup(), v.Group())
		return
	}
	add(t.open, a)
}

func (t *tree) markedGroup() map[string]any {
	if t.marked == nil {
		t.marked = map[string]any{}
	}
	return t.marked
}

func addAll(to map[string]any, attrs []slog.Attr) {
	for _, a := range attrs {
		add(to, a)
	}
}

// add adds an attribute as slog.Handler demands: an empty one is ignored, and the
// members of a group without a name are added in its place.
func add(to map[string]any, a slog.Attr) {
	a.Value = a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case a.Value.Kind() == slog.KindGroup && a.Key == "":
		addAll(to, a.Value.Group())
	case a.Value.Kind() == slog.KindGroup:
		members := a.Value.Group()
		if len(members) > 0 {
			inner := map[string]any{}
			addAll(inner, members)
			put(to, a.Key, inner)
		}
	default:
		put(to, a.Key, valueOf(a.Value))
	}
}

// put sets a member, under the name or, if that is taken, the name with a number.
func put(to map[string]any, name string, v any) {
	free := name
	for n := 2; ; n++ {
		_, taken := to[free]
		if !taken {
			break
		}
		free = name + "#" + strconv.Itoa(n)
	}
	to[free] = v
}

// valueOf returns a value as the fields and the attributes of an event are read
// from.
func valueOf(v slog.Value) any {
	switch v.Kind() {
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)

	case slog.KindAny:
		// These become what the fields are read from. An error stays known as one, so
		// that it can make the outcome a failure.
		switch x := v.Any().(type) {
		case attestlog.Outcome:
			return string(x)
		case attestlog.Actor:
			return membersOf(field.Actor, &attestlog.Event{Actor: x})
		case map[string]any:
			return clone(x, 0) // it is the caller's, and fill takes members out
		case attestlog.Target, []attestlog.Target:
			return x

		case error:
			return errorText(callText(x.Error))
		case fmt.Stringer:
			return callText(x.String)
		}
	}
	return v.Any()
}

// membersOf returns the texts of a part of an event, by their names.
func membersOf(part field.Object, e *attestlog.Event) map[string]any {
	out := map[string]any{}
	for _, f := range part.Fields() {
		if f.IsText() {
			out[f.Name] = *e.Text(f.Pointer())
		}
	}
	return out
}

// clone copies an object and the objects in it as deep as fields are taken out;
// deeper ones are only read.
func clone(m map[string]any, depth int) map[string]any {
	const deepest = 4
	out := maps.Clone(m)
	for name, v := range out {
		inner, ok := v.(map[string]any)
		if ok && depth < deepest {
			out[name] = clone(inner, depth+1)
		}
	}
	return out
}

// callText calls a method that may panic, as on a nil receiver.
func callText(method func() string) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("!PANIC: %v", p)
		}
	}()
	return method()
}

// An errorText is the text of an error among attributes.
type errorText string

// replaceErrors replaces each errorText by a string, in objects that this package
// made.
func replaceErrors(attrs map[string]any) { replaceErrorsWithin(attrs, 0) }

func replaceErrorsWithin(attrs map[string]any, depth int) {
	if depth > attestlog.MaxDepth {
		return
	}

	for name, v := range attrs {
		switch v := v.(type) {
		case errorText:
			attrs[name] = string(v)
		case map[string]any:
			replaceErrorsWithin(v, depth+1)
		}
	}
}

// fill makes an event of attributes. It takes the fields out of attrs, and makes
// the rest the event's attributes.
func fill(e *attestlog.Event, attrs map[string]any, message string) {
	o := object(attrs)
	o.fields(field.Event, e)
	o.outcome(e) // after the reason, which an error gives only if there is none

	for _, part := range field.Parts() {
		if !part.List() {
			o.part(part, e)
		}
	}
	o.targets(e)

	switch {
	case e.Action == "":
		e.Action = message
	case e.Message == "":
		e.Message = message
	case message != "" && message != e.Message:
		put(attrs, "msg", message) // the attributes had both
	}
	if len(attrs) > 0 {
		e.Attributes = attrs
	}
}

// An object has attributes. Its methods move those that they understand out of it
// and into fields.
type object map[string]any

func (o object) text(name string, to *string) {
	s, ok := o[name].(string)
	if ok {
		*to = s
		delete(o, name)
	}
}

// number returns a whole number, which stays in the object.
func (o object) number(name string) (n int64, ok bool) {
	switch n := o[name].(type) {
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	}
	return 0, false
}

// fields moves the texts and the numbers of an event, or of a part of it, except
// for the outcome, which has rules of its own.
func (o object) fields(part field.Object, e *attestlog.Event) {
	for _, f := range part.Fields() {
		switch {
		case f.ID == field.Outcome:

		case f.Kind == field.Number:
			n, ok := o.number(f.Name)
			if ok {
				e.SetNumber(f.Pointer(), n)
				delete(o, f.Name)
			}

		case f.IsText():
			o.text(f.Name, e.Text(f.Pointer()))
		}
	}
}

// part moves the members of a group. A text in the place of the group is moved to
// the field that stands for it.
func (o object) part(part field.Object, e *attestlog.Event) {
	switch v := o[part.Name()].(type) {
	case string:
		switch part {
		case field.Actor:
			o.text(part.Name(), &e.Actor.ID)
		case field.Source:
			o.text(part.Name(), &e.Source.IP)
		}

	case map[string]any:
		object(v).fields(part, e)
		if len(v) == 0 {
			delete(o, part.Name())
		}
	}
}

// outcome moves the outcome, or else an error.
func (o object) outcome(e *attestlog.Event) {
	s, _ := o["outcome"].(string)
	switch outcome := attestlog.Outcome(s); outcome {
	case attestlog.Success, attestlog.Failure, attestlog.Unknown:
		e.Outcome = outcome
		delete(o, "outcome")
		return
	}

	for _, name := range []string{"err", "error"} {
		text, ok := o[name].(errorText)
		if !ok {
			continue
		}
		e.Outcome = attestlog.Failure
		if e.Reason == "" {
			e.Reason = string(text)
			delete(o, name)
		}
		return
	}
}

// targets moves the targets, unless one of them is not understood.
func (o object) targets(e *attestlog.Event) {
	t, ok := targetOf(o["target"])
	if ok {
		e.Targets = append(e.Targets, t)
		delete(o, "target")
	}

	var all []any
	switch list := o["targets"].(type) {
	case []string:
		for _, s := range list {
			all = append(all, s)
		}
	case []any:
		all = list
	case []attestlog.Target:
		for _, t := range list {
			all = append(all, t)
		}
	}

	var targets []attestlog.Target
	for _, v := range all {
		t, ok := targetOf(v)
		if !ok {
			return
		}
		targets = append(targets, t)
	}
	if len(targets) > 0 {
		e.Targets = append(e.Targets, targets...)
		delete(o, "targets")
	}
}

// targetOf reads a target from a text "type/id", or from an object that has
// nothing else.
func targetOf(v any) (t attestlog.Target, ok bool) {
	switch v := v.(type) {
	case attestlog.Target:
		return v, true
	case string:
		if typ, id, found := strings.Cut(v, "/"); found {
			return attestlog.Target{Type: typ, ID: id}, true
		}
		return attestlog.Target{ID: v}, v != ""
	case map[string]any:
		o := object(maps.Clone(v)) // v stays if there is something else in it
		for _, f := range field.Target.Fields() {
			o.text(f.Name, t.Text(f.Name))
		}
		return t, len(o) == 0
	}
	return t, false
}

// merge adds the members of b to a, in the order of their names.
func merge(a, b map[string]any) map[string]any {
	for _, name := range slices.Sorted(maps.Keys(b)) {
		put(a, name, b[name])
	}
	if len(a) == 0 {
		return nil
	}
	return a
}
