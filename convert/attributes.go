package convert

import (
	"encoding/json"
	"maps"
	"strconv"

	"github.com/attestlog/attestlog"
)

// attributes walks the attributes one by one, and puts the notes among them.
func (b *bounder) attributes() {
	size, before := b.size, b.notes.clone()
	given := b.ownNotes(b.e.Attributes)
	out := b.items(given)
	if _, taken := given[NotesName]; taken && len(b.notes) > 0 {
		// Another Bound's, or a foreign record's.
		b.size, b.notes = size, before
		out = b.items(b.ownNotes(Foreign(given)))
	}
	if len(b.notes) > 0 {
		out[NotesName] = b.notes.value()
	}
	b.e.Attributes = out
	if len(out) == 0 {
		b.e.Attributes = nil
	}
}

// ownNotes takes over the notes that Foreign and Undated left.
func (b *bounder) ownNotes(given map[string]any) map[string]any {
	ours, ok := given[NotesName].(notes)
	if !ok {
		return given
	}
	given = maps.Clone(given)
	delete(given, NotesName)
	for pointer, n := range ours {
		if _, taken := b.notes[pointer]; !taken {
			b.notes[pointer] = n
		}
	}
	return given
}

func (b *bounder) items(given map[string]any) map[string]any {
	out := make(map[string]any, len(given)+1)
	room := maxClear - b.size - b.notes.size() - foldRoom
	for _, n := range storedNames(given, b.limit > 0) {
		w := b.item(n, given[n.given], n.stored)
		if b.fold {
			if room -= w.size + w.notes.size(); room < 0 {
				b.note("/attributes", note{items: len(given), sha256: digest(jsonOf(given))})
				return out
			}
		}
		out[n.stored] = w.out
		b.size += w.size
		b.notes.addAll(w.notes)
	}
	return out
}

// foldRoom is for the note of attributes that were left out.
const foldRoom = 512

type walked struct {
	walk
	out any
}

// item walks one attribute. A container that is too long as a whole becomes
// the beginning of its JSON text.
func (b *bounder) item(n storedName, v any, stored string) walked {
	start := func() walked {
		w := walked{walk: walk{limit: b.limit, path: []string{"attributes", stored}, notes: notes{}}}
		w.size = jsonLen(stored) + len(`"":`)
		if n.how != "" {
			w.note(func(to *note) { to.name = n.how })
		}
		return w
	}
	w := start()
	w.out = w.value(v, 0)
	if b.limit == 0 || w.size+w.notes.size() <= 4*b.limit+noteRoom {
		return w
	}
	if _, ok := w.out.(string); ok {
		return w
	}
	w = start()
	w.out = w.json(string(jsonOf(v)))
	return w
}

// changes keeps the first changes that fit.
func (b *bounder) changes() {
	given := b.e.Changes
	var kept []attestlog.Change
	from := b.size + b.notes.size()
	for i, c := range given {
		before, mark := b.size, b.notes.clone()
		b.change(&c, strconv.Itoa(i))
		if b.limit > 0 && b.size+b.notes.size()-from > 4*b.limit+noteRoom {
			b.size, b.notes = before, mark
			b.note("/changes", note{items: len(given), sha256: digest(jsonOf(given))})
			break
		}
		kept = append(kept, c)
	}
	b.e.Changes = kept
}

func (b *bounder) change(c *attestlog.Change, index string) {
	b.size += len(`{"new":,"old":,"op":"","path":""},`)
	for _, f := range [...]struct {
		name string
		text *string
	}{{"op", &c.Op}, {"path", &c.Path}} {
		w := walk{limit: b.limit, notes: notes{}}
		*f.text = w.text(*f.text)
		b.take(&w, "/changes/"+index+"/"+f.name)
	}
	for _, f := range [...]struct {
		name  string
		value *any
	}{{"new", &c.New}, {"old", &c.Old}} {
		if *f.value == nil {
			continue
		}
		w := walk{limit: b.limit, path: []string{"changes", index, f.name}, notes: notes{}}
		if *f.value = w.value(*f.value, 1); *f.value == nil {
			*f.value = json.RawMessage("null") // nil is an absent value
		}
		b.size += w.size
		b.notes.addAll(w.notes)
	}
}
