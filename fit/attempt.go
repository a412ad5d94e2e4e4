package fit

import (
	"encoding/json"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/field"
)

// maxClear bounds an event's JSON without its original, in bytes. The rest of a
// leaf is for the time and the seals that the log adds.
const maxClear = attestlog.MaxLeaf - 4096

// limits are those of the attempts at an event, which are made in turn until one
// fits. A limit is the longest string, and a quarter of the longest container
// with its notes, in bytes. 0 is no limit.
var limits = [...]int{0, 16 << 10, 4 << 10, 1 << 10, 256, 64}

// An attempt fits an event with one of the limits.
type attempt struct {
	event  attestlog.Event
	limit  int
	last   bool // attributes that do not fit are left out
	failed bool // the event cannot fit: the rest of the work is skipped
	notes  notes
	size   int // bounds the event's JSON in bytes, without notes and original
}

// declaredSize bounds the names of all declared fields, and the times.
const declaredSize = 1024

func (a *attempt) run() {
	a.size = declaredSize

	for _, step := range [...]func(){
		a.required, a.time, a.allowed, a.address, a.texts, a.targets, a.changes, a.original, a.attributes,
	} {
		step()
		if a.failed {
			return
		}
	}
}

// fits reports whether the event, which has been run, fits a leaf.
func (a *attempt) fits() bool {
	return !a.failed && a.size+a.notes.size() <= maxClear
}

// required sets reserved values where a required one is missing.
func (a *attempt) required() {
	e := &a.event
	switch {
	case e.Action == "":
		e.Action = UnknownAction
		a.notes.add("/action", note{as: "empty"})
	case strings.HasPrefix(e.Action, attestlog.ReservedPrefix):
		e.Action = ForeignPrefix + e.Action
		a.notes.add("/action", note{as: "reserved"})
	}

	if e.Actor.ID == "" {
		e.Actor.ID = UnknownActor
		a.notes.add("/actor/id", note{as: "empty"})
	}
}

// A log keeps times as signed 64-bit nanoseconds since 1970. These years lie
// within them as a whole.
const minYear, maxYear = 1678, 2261

// refusedTime is the form of a time in a note's "was".
const refusedTime = "2006-01-02T15:04:05.999999999Z07:00"

func (a *attempt) time() {
	e := &a.event
	year := e.Time.UTC().Year()
	switch {
	case e.Time.IsZero() && (e.ID == "" || isUUIDv7(e.ID)):
		return // the log needs no time
	case e.Time.IsZero():
		a.notes.add("/time", note{as: "unknown"})
	case year < minYear || year > maxYear:
		a.notes.add("/time", note{as: "was", was: e.Time.UTC().Format(refusedTime)})
	default:
		return
	}
	e.Time = epoch
}

// isUUIDv7 reports whether the log derives an entry's key from the id alone.
func isUUIDv7(id string) bool {
	return attestlog.KeyOf(id, time.Unix(0, 0), "", "") == attestlog.KeyOf(id, time.Unix(1, 0), "", "")
}

// maxNumber bounds the magnitude of the numbers that a log accepts.
const maxNumber = 1 << 53

// allowed moves values that are not allowed in their field to notes.
func (a *attempt) allowed() {
	for _, id := range field.Limited() {
		f := id.Field()
		if f.Kind == field.Number {
			n := a.event.Number(f.Pointer())
			if n < 0 || n >= maxNumber {
				a.refuse(f.Pointer(), strconv.FormatInt(n, 10))
				a.event.SetNumber(f.Pointer(), 0)
			}
			continue
		}

		text := a.event.Text(f.Pointer())
		if f.Values == nil || *text == "" || slices.Contains(f.Values, *text) {
			continue
		}
		a.refuse(f.Pointer(), *text)
		*text = ""
		if id == field.Outcome {
			*text = string(attestlog.Unknown)
		}
	}
}

// maxRefused is the longest refused value in bytes that a note has whole.
const maxRefused = 4 << 10

// refuse notes a value that a field may not have. The note's own text is escaped
// and cut like any other.
func (a *attempt) refuse(pointer, value string) {
	limit := maxRefused
	if a.limit > 0 {
		limit = min(limit, a.limit)
	}

	w := walker{limit: limit, notes: notes{}}
	text := w.text(value)

	n := w.notes[here]
	n.as = strings.TrimSpace("was " + n.as)
	n.was = text
	a.notes.add(pointer, n)
}

// maxIP bounds an address with its zone in bytes. A zone is the name of a
// network interface, and far shorter.
const maxIP = 128

// address writes the source's address in its canonical form, and moves what is
// not an address to the host or a note.
func (a *attempt) address() {
	s := &a.event.Source
	if s.IP == "" {
		return
	}

	addr, err := netip.ParseAddr(s.IP)
	switch {
	case err == nil && len(s.IP) <= maxIP && utf8.ValidString(s.IP):
		s.IP = addr.String()
	case s.Host == "":
		s.Host = s.IP
		s.IP = ""
		a.notes.add("/source/ip", note{as: "was"})
	default:
		a.refuse("/source/ip", s.IP)
		s.IP = ""
	}
}

func (a *attempt) texts() {
	for f := range texts() {
		text := a.event.Text(f.Pointer())
		if *text == "" {
			continue
		}

		w := walker{limit: a.limit, max: f.Max, notes: notes{}}
		*text = w.text(*text)
		a.size += w.size

		// An earlier step may have noted something about the same field.
		n, noted := w.notes[here]
		if noted {
			before := a.notes[f.Pointer()]
			n.as = strings.TrimSpace(before.as + " " + n.as)
			n.was = before.was
			a.notes.add(f.Pointer(), n)
		}
	}
}

// texts yields the fields that hold text, except those of targets and changes.
func texts() iter.Seq[*field.Field] {
	return func(yield func(*field.Field) bool) {
		for i := range field.All() {
			f := &field.All()[i]
			if f.IsText() && !f.Object.List() && !yield(f) {
				return
			}
		}
	}
}

// budget returns how many bytes the targets, the changes or one attribute may
// take with their notes. Without a limit they may take all that the event has
// left; if they take more, the event cannot fit.
func (a *attempt) budget() int {
	if a.limit > 0 {
		return 4*a.limit + maxNote
	}
	return max(1, maxClear-a.size-a.notes.size())
}

// add counts a part of the event that has been walked.
func (a *attempt) add(w *walker) {
	a.size += w.size
	a.notes.addAll(w.notes)
}

// leaveOut notes that the rest of a list or an object of some items does not
// fit.
func (a *attempt) leaveOut(pointer string, items int, given any) {
	a.notes.add(pointer, note{items: items, sha256: digest(jsonOf(given))})
}

// targetSize and changeSize bound the names of a target's and a change's fields,
// in bytes.
var (
	targetSize = sizeOf(field.Target)
	changeSize = sizeOf(field.Change)
)

// sizeOf returns the length of an object whose values are empty, and of the comma
// after it.
func sizeOf(object field.Object) int {
	size := len("{}")
	for _, f := range object.Fields() {
		size += len(f.Name) + len(`"":,`)
		if f.IsText() {
			size += len(`""`)
		}
	}
	return size
}

// targets keeps the first targets that fit. Those without any field have no
// place in a leaf.
func (a *attempt) targets() {
	given := slices.DeleteFunc(slices.Clone(a.event.Targets), func(t attestlog.Target) bool {
		return t == attestlog.Target{}
	})
	a.event.Targets = nil

	budget := a.budget()
	for i, t := range given {
		w := walker{limit: a.limit, path: []string{"targets", strconv.Itoa(i), ""}, notes: notes{}}
		w.size = targetSize
		for _, f := range field.Target.Fields() {
			w.member(f.Name, t.Text(f.Name))
		}

		budget -= w.size + w.notes.size()
		if budget < 0 {
			a.endList("/targets", len(given), given)
			return
		}
		a.add(&w)
		a.event.Targets = append(a.event.Targets, t)
	}
}

// changes keeps the first changes that fit.
func (a *attempt) changes() {
	given := a.event.Changes
	a.event.Changes = nil

	all := a.budget()
	budget := all
	for i, c := range given {
		w := walker{limit: a.limit, budget: all, path: []string{"changes", strconv.Itoa(i), ""}, notes: notes{}}
		w.size = changeSize
		for _, f := range field.Change.Fields() {
			if f.IsText() {
				w.member(f.Name, c.Text(f.Name))
			}
		}
		c.New = w.change("new", c.New)
		c.Old = w.change("old", c.Old)

		budget -= w.size + w.notes.size()
		if w.exceeded || budget < 0 {
			a.endList("/changes", len(given), given)
			return
		}
		a.add(&w)
		a.event.Changes = append(a.event.Changes, c)
	}
}

// endList leaves the rest of the targets or changes out. Without a limit they had
// all the bytes that are left, so the attempt has failed.
func (a *attempt) endList(pointer string, items int, given any) {
	if a.limit == 0 {
		a.failed = true
		return
	}
	a.leaveOut(pointer, items, given)
}

// original cuts an original that is too long, between two characters if it is
// UTF-8.
func (a *attempt) original() {
	const max = attestlog.MaxOriginal
	text := a.event.Original
	if len(text) <= max {
		return
	}
	a.notes.add("/original", note{bytes: len(text), sha256: digest(text)})

	end := max
	for end > max-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	a.event.Original = text[:end:end]
}

// attributes walks the attributes one by one, and puts the notes among them.
func (a *attempt) attributes() {
	given := a.takeNotes(a.event.Attributes)
	size, before := a.size, a.notes.clone()
	out := a.members(given)

	// The event came with an attribute of the notes' name, which an earlier call
	// of Event or a foreign program wrote. It is renamed, but only if there are
	// notes to write: an event that needs none stays as it is.
	_, taken := given[NotesName]
	if taken && len(a.notes) > 0 && !a.failed {
		a.size = size
		a.notes = before
		out = a.members(a.takeNotes(Foreign(given)))
	}

	if len(a.notes) > 0 {
		out[NotesName] = a.notes.value()
	}
	if len(out) == 0 {
		out = nil
	}
	a.event.Attributes = out
}

// takeNotes returns the attributes without the notes that Foreign and Undated
// left among them, and makes those the attempt's.
func (a *attempt) takeNotes(given map[string]any) map[string]any {
	left, ok := given[NotesName].(notes)
	if !ok {
		return given
	}

	for pointer, n := range left {
		if _, taken := a.notes[pointer]; !taken {
			a.notes[pointer] = n
		}
	}

	given = maps.Clone(given)
	delete(given, NotesName)
	return given
}

// leastMember is the fewest bytes that a member of an object takes.
const leastMember = len(`"":0,`)

// maxAttributesNote bounds the note of attributes that were left out, in bytes.
const maxAttributesNote = 512

// members returns the attributes that fit, in the order of their names.
func (a *attempt) members(given map[string]any) map[string]any {
	out := make(map[string]any, min(len(given)+1, maxClear/leastMember))
	budget := maxClear - a.size - a.notes.size()
	if a.last {
		budget -= maxAttributesNote
	} else if leastMember*len(given) > budget {
		a.failed = true // not even the shortest values would fit
		return out
	}

	for _, name := range storedNames(given, a.limit > 0) {
		value, w := a.attribute(name, given[name.given], budget)
		budget -= w.size + w.notes.size()
		if w.exceeded || budget < 0 {
			// After any other attempt comes one that cuts more, and may keep them all.
			if a.last {
				a.leaveOut("/attributes", len(given), given)
			} else {
				a.failed = true
			}
			return out
		}

		out[name.stored] = value
		a.add(&w)
	}
	return out
}

// attribute walks one attribute. With a limit, a container that is too long
// becomes the beginning of its JSON text; without, it may take as many bytes as
// the budget of all attributes has left.
func (a *attempt) attribute(name storedName, v any, budget int) (value any, w walker) {
	budget = max(1, budget)
	if a.limit > 0 {
		budget = a.budget()
	}

	w = a.attributeWalker(name)
	w.budget = budget
	value = w.value(v, 0)
	if a.limit == 0 {
		return value, w
	}

	if !w.exceeded {
		_, isText := value.(string) // which has been cut already
		if isText || w.size+w.notes.size() <= budget {
			return value, w
		}
	}

	// Walked again without the notes of what is inside, whose pointers would name
	// nothing in a text.
	w = a.attributeWalker(name)
	value = w.json(string(jsonOf(v)))
	return value, w
}

// attributeWalker returns a walker at an attribute, whose name it has counted.
func (a *attempt) attributeWalker(name storedName) walker {
	w := walker{limit: a.limit, path: []string{"attributes", name.stored}, notes: notes{}}
	w.size = jsonLen(name.stored) + len(`"":`)
	if name.how != "" {
		w.note(func(n *note) { n.name = name.how })
	}
	return w
}

// member walks a text under a name, which takes the place of the path's last.
func (w *walker) member(name string, text *string) {
	w.path[len(w.path)-1] = name
	*text = w.text(*text)
}

// change walks a change's old or new value. A nil one is absent; null is a value.
func (w *walker) change(name string, v any) any {
	if v == nil {
		return nil
	}

	w.path[len(w.path)-1] = name
	v = w.value(v, 1)
	if v == nil {
		return json.RawMessage("null")
	}
	return v
}
