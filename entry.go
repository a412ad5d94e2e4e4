package attestlog

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/query"
)

// A RawEntry is one entry as it is stored.
type RawEntry struct {
	Index       uint64
	Leaf        []byte
	Disclosures []Disclosure

	// Err is set, to a *CorruptError, if the entry is damaged: missing, unreadable, or
	// not the one that the tree has. It then has no leaf and no disclosures.
	Err error
	// FoundAt is where a search by time has found the entry, in nanoseconds since
	// 1970. A damaged entry has no time of its own.
	FoundAt int64
}

// damaged is what stands in the place of an entry that is not given out.
func (r *RawEntry) damaged(err error) *RawEntry {
	return &RawEntry{Index: r.Index, Err: err, FoundAt: r.FoundAt}
}

// Clone copies an entry whose bytes are about to be reused.
func (r *RawEntry) Clone() RawEntry {
	out := RawEntry{
		Index:       r.Index,
		Leaf:        bytes.Clone(r.Leaf),
		Disclosures: slices.Clone(r.Disclosures),
		Err:         r.Err,
		FoundAt:     r.FoundAt,
	}
	for i := range out.Disclosures {
		out.Disclosures[i].Value = bytes.Clone(out.Disclosures[i].Value)
	}
	return out
}

// size is how many bytes the entry has.
func (r *RawEntry) size() int {
	n := len(r.Leaf)
	for i := range r.Disclosures {
		n += len(r.Disclosures[i].Value)
	}
	return n
}

// Entry decodes an entry that came from a log, such as one that ParseLine read,
// with its disclosures in their places. The entry owns its bytes. What does not
// fit together is a *CorruptError; an entry that is known to be damaged is returned
// with its Err, and without an error.
func (r *RawEntry) Entry() (Entry, error) {
	if r.Err != nil {
		return Entry{Index: r.Index, Err: r.Err, Event: Event{Time: time.Unix(0, r.FoundAt).UTC()}}, nil
	}

	own := r.Clone()
	leaf, err := decodeLeaf(own.Leaf)
	if err != nil {
		return Entry{}, &CorruptError{r.Index, "leaf", err}
	}
	event, erased, err := leaf.disclosed(own.Disclosures)
	if err != nil {
		return Entry{}, &CorruptError{r.Index, "disclosures", err}
	}

	return Entry{
		Event:       event,
		Index:       r.Index,
		LoggedTime:  leaf.LoggedTime,
		LeafHash:    LeafHash(own.Leaf),
		Sealed:      leaf.Sealed,
		Erased:      erased,
		Leaf:        own.Leaf,
		Disclosures: own.Disclosures,
	}, nil
}

// An Entry is an event in its place in the log, with disclosed values in their
// places.
type Entry struct {
	Event
	// Err is set, to a *CorruptError, if the entry is damaged. Lists have such an entry
	// in its place, with its Index and nothing else that means anything.
	Err        error
	Index      uint64
	LoggedTime time.Time // UTC, whole microseconds
	LeafHash   Hash
	Sealed     []Seal   // the fields of which the leaf holds only digests
	Erased     []string // pointers of sealed fields whose values are gone
	Leaf       []byte   // the exact stored bytes
	// Disclosures are the values of Sealed, except for those that are erased.
	Disclosures []Disclosure
}

// Raw returns the entry as it is stored. It shares the entry's bytes.
func (e *Entry) Raw() RawEntry {
	return RawEntry{Index: e.Index, Leaf: e.Leaf, Disclosures: e.Disclosures, Err: e.Err}
}

// MarshalJSON writes the entry as one object: index, leaf_hash and logged_time,
// then the event's fields with disclosed values in their places, and under
// "erased" the pointers of those that are gone. A damaged entry is
// {"index":7,"damaged":"leaf: missing"}.
func (e Entry) MarshalJSON() ([]byte, error) {
	if e.Err != nil {
		return AppendLine(nil, &RawEntry{Index: e.Index, Err: e.Err}), nil
	}

	event, err := e.Event.MarshalJSON()
	if err != nil {
		return nil, err
	}

	b := strconv.AppendUint([]byte(`{"index":`), e.Index, 10)
	b = append(b, `,"leaf_hash":"`...)
	b = base64.StdEncoding.AppendEncode(b, e.LeafHash[:])
	b = append(b, `","logged_time":"`...)
	b = canon.AppendTime(b, e.LoggedTime, loggedDigits)
	b = append(b, '"')

	for i, pointer := range e.Erased {
		if i == 0 {
			b = append(b, `,"erased":[`...)
		} else {
			b = append(b, ',')
		}
		b, _ = canon.AppendString(b, pointer) // the leaf has it, so it is valid UTF-8
	}
	if len(e.Erased) > 0 {
		b = append(b, ']')
	}

	b = append(b, ',')
	return append(b, event[1:]...), nil
}

// Field returns the values that the entry has of a field of the query language,
// or of "index", "time" or "logged_time".
func (e *Entry) Field(name string) ([]string, error) {
	switch {
	case name == "index":
		return []string{strconv.FormatUint(e.Index, 10)}, nil
	case e.Err != nil:
		return nil, nil
	}
	switch name {
	case "time":
		return []string{string(canon.AppendTime(nil, e.Time, timeDigits))}, nil
	case "logged_time":
		return []string{string(canon.AppendTime(nil, e.LoggedTime, loggedDigits))}, nil
	}

	known, err := query.CheckField(name)
	if err != nil {
		return nil, err
	}
	var values []string
	e.EachValue(known, func(v string) { values = append(values, v) })
	return values, nil
}

// Position returns the entry's index and the event's time.
func (e *Entry) Position() query.Position {
	return query.Position{Time: e.Time.UnixNano(), Index: e.Index}
}

// EachValue calls yield with each value that the entry has of a field of the
// query language. An unknown field has none.
func (e *Entry) EachValue(name string, yield func(value string)) {
	if name == field.TargetReference {
		for i := range e.Targets {
			t := &e.Targets[i]
			if t.Type != "" && t.ID != "" {
				yield(t.Type + "/" + t.ID)
			}
		}
		return
	}

	id, ok := field.ByQuery(name)
	if ok {
		e.eachValue(id, yield)
		return
	}
	if strings.HasPrefix(name, "attributes.") {
		eachAttribute(e.Attributes, "attributes", name, yield)
	}
}

func (e *Event) eachValue(id field.ID, yield func(string)) {
	give := func(text *string) {
		if text != nil && *text != "" {
			yield(*text)
		}
	}

	// Fields of lists are found in each element; a field that is no text and no
	// number, such as the original, has no value that is searched for.
	f := id.Field()
	switch {
	case f.Object == field.Target:
		for i := range e.Targets {
			give(e.Targets[i].text(id))
		}
	case f.Object == field.Change:
		for i := range e.Changes {
			give(e.Changes[i].text(id))
		}
	case f.Kind == field.Number:
		n := e.number(id)
		if n != 0 {
			yield(strconv.FormatInt(n, 10))
		}
	default:
		give(e.text(id))
	}
}

// eachAttribute yields the scalars whose dotted path is want. Names may hold
// dots themselves, so every path that reads the same is one.
func eachAttribute(v any, path, want string, yield func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for name, kid := range v {
			p := path + "." + name
			if p == want || strings.HasPrefix(want, p+".") {
				eachAttribute(kid, p, want, yield)
			}
		}
	case []any:
		for _, kid := range v {
			eachAttribute(kid, path, want, yield)
		}
	case string:
		if path == want {
			yield(v)
		}
	default:
		if path == want {
			yield(string(appendScalar(nil, v)))
		}
	}
}

// EachText calls yield with each text that a search for words looks at: those of
// the fields that have words, and the strings of the attributes.
func (e *Entry) EachText(yield func(text string)) {
	for i := range field.All() {
		f := &field.All()[i]
		if f.Words {
			e.eachValue(f.ID, yield)
		}
	}
	eachString(e.Attributes, yield)
}

func eachString(v any, yield func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for _, kid := range v {
			eachString(kid, yield)
		}
	case []any:
		for _, kid := range v {
			eachString(kid, yield)
		}
	case string:
		yield(v)
	}
}
