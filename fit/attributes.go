package fit

import (
	"encoding/json"
	"maps"
	"strconv"
)

// attributes walks the attributes one by one, and puts the notes among them.
func (b *bounder) attributes() {
	size, before := b.size, b.notes.clone()
	given := b.ownNotes(b.e.Attributes)
	out := b.items(given)
	if _, taken := given[NotesName]; taken && len(b.notes) > 0 && !b.full {
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

// leastMember is the least that a member of an object takes.
const leastMember = len(`"":0,`)

func (b *bounder) items(given map[string]any) map[string]any {
	out := make(map[string]any, min(len(given)+1, maxClear/leastMember))
	room := maxClear - b.size - b.notes.size()
	if b.fold {
		room -= foldRoom
	} else if b.full = leastMember*len(given) > room; b.full {
		return out
	}
	for _, n := range storedNames(given, b.limit > 0) {
		w := b.item(n, given[n.given], n.stored, room)
		if room -= w.size + w.notes.size(); room < 0 || w.over {
			if b.full = !b.fold; b.fold {
				b.note("/attributes", note{items: len(given), sha256: digest(jsonOf(given))})
			}
			return out
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
func (b *bounder) item(n storedName, v any, stored string, room int) walked {
	start := func(most int) walked {
		w := walked{walk: walk{limit: b.limit, most: most, path: []string{"attributes", stored}, notes: notes{}}}
		w.size = jsonLen(stored) + len(`"":`)
		if n.how != "" {
			w.note(func(to *note) { to.name = n.how })
		}
		return w
	}
	most := max(1, room)
	if b.limit > 0 {
		most = 4*b.limit + noteRoom
	}
	w := start(most)
	w.out = w.value(v, 0)
	if b.limit == 0 || !w.over && w.size+w.notes.size() <= most {
		return w
	}
	if _, ok := w.out.(string); ok && !w.over {
		return w
	}
	w = start(0)
	w.out = w.json(string(jsonOf(v)))
	return w
}

// changes keeps the first changes that fit.
func (b *bounder) changes() {
	given := b.e.Changes
	b.e.Changes = nil
	taken, most := 0, b.most()
	for i, c := range given {
		w := walk{limit: b.limit, most: most, path: []string{"changes", strconv.Itoa(i), ""}, notes: notes{}}
		w.size = len(`{"new":,"old":,"op":"","path":""},`)
		c.Op, c.Path = w.member("op", c.Op), w.member("path", c.Path)
		c.New, c.Old = w.change("new", c.New), w.change("old", c.Old)
		if !b.keep(&w, &taken, most) {
			b.note("/changes", note{items: len(given), sha256: b.digestOf(given)})
			return
		}
		b.e.Changes = append(b.e.Changes, c)
	}
}

// member walks a text under a name in the place of the path's last.
func (w *walk) member(name, s string) string {
	w.path[len(w.path)-1] = name
	return w.text(s)
}

// change walks a change's value. nil is an absent one.
func (w *walk) change(name string, v any) any {
	if v == nil {
		return nil
	}
	w.path[len(w.path)-1] = name
	if v = w.value(v, 1); v == nil {
		return json.RawMessage("null")
	}
	return v
}
