package attestlog

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/idkey"
	"github.com/attestlog/attestlog/internal/term"
	"github.com/attestlog/attestlog/query"
)

// TermsVersion changes whenever Terms derives other terms from the same leaf. A
// search index that was filled under another version is rebuilt.
const TermsVersion = 1

// Terms calls emit with every term of an entry, from its leaf's bytes and its
// disclosures; a term may come more than once. value is valid only during the
// call. Stores index what Terms emits, and nothing else. See query.Term.
func Terms(leaf []byte, disclosures []Disclosure, emit func(field string, value []byte)) error {
	t := termWalkers.Get().(*termWalker)
	defer t.free()

	t.Scanner = canon.Scanner{Data: leaf, Trusted: true}
	t.emit = emit
	t.leaf()
	if t.Err != nil {
		return fieldError(t.Err)
	}

	for i := range disclosures {
		err := t.disclosure(&disclosures[i])
		if err != nil {
			return fmt.Errorf("disclosure %s: %v", disclosures[i].Pointer, err)
		}
	}
	return nil
}

// A termWalker reads one leaf.
type termWalker struct {
	canon.Scanner
	emit func(field string, value []byte)
	word []byte // scratch for words
	made []byte // scratch for values that are not as they are in the leaf
}

var termWalkers = sync.Pool{New: func() any { return &termWalker{word: make([]byte, 0, 64)} }}

func (t *termWalker) free() {
	t.Scanner = canon.Scanner{}
	t.emit = nil
	termWalkers.Put(t)
}

func (t *termWalker) leaf() {
	for name := range t.Members() {
		id, ok := field.Event.Find(name)
		if ok {
			t.field(id)
			continue
		}

		// A target's terms need its members together; those of a change and of
		// the single objects stand alone.
		object, ok := field.ObjectNamed(name)
		switch {
		case object == field.Target:
			for range t.Items() {
				t.target()
			}
		case object == field.Change:
			for range t.Items() {
				t.object(field.Change)
			}
		case ok:
			t.object(object)
		case string(name) == "attributes":
			t.attribute("attributes")
		default:
			t.Skip()
		}
	}
}

// object reads the members of an actor, a source, a request, a trace or a
// change.
func (t *termWalker) object(object field.Object) {
	for name := range t.Members() {
		id, ok := object.Find(name)
		if ok {
			t.field(id)
		} else {
			t.Skip()
		}
	}
}

// target emits the parts of a target, and its type and id in one.
func (t *termWalker) target() {
	var id, kind []byte
	for name := range t.Members() {
		which, ok := field.Target.Find(name)
		switch {
		case !ok:
			t.Skip()
		case which == field.TargetID:
			id = t.Text()
			t.value(which, id)
		case which == field.TargetType:
			kind = t.Text()
			t.value(which, kind)
		default:
			t.field(which)
		}
	}

	if t.Err == nil && id != nil && kind != nil {
		t.made = append(t.made[:0], kind...)
		t.made = append(t.made, '/')
		t.made = append(t.made, id...)
		t.emit(field.TargetReference, t.made)
	}
}

// field emits the terms of the field whose value comes next.
func (t *termWalker) field(id field.ID) {
	f := id.Field()
	switch {
	case f.Query == "":
		t.Skip()

	case f.Kind == field.Number:
		n := t.Number()
		if t.Err == nil {
			t.made = strconv.AppendInt(t.made[:0], int64(n), 10)
			t.emit(f.Query, t.made)
		}

	default:
		t.value(id, t.Text())
	}
}

// value emits the terms of a text.
func (t *termWalker) value(id field.ID, value []byte) {
	if t.Err != nil {
		return
	}

	f := id.Field()
	switch {
	case f.WordsOnly:
	case id == field.EventID:
		// A UUIDv7 is the entry's key, and looked up there.
		_, isV7 := idkey.ParseV7(value)
		if !isV7 {
			t.emit(f.Query, value)
		}
	default:
		t.emit(f.Query, value)
	}

	if f.Words {
		t.words(value)
	}
	switch f.Kind {
	case field.Name:
		for i, c := range value {
			if c == '.' {
				t.emit(f.Prefixes(), value[:i])
			}
		}
	case field.Address:
		t.networks(value)
	}
}

// networks emits the networks of an address that have a term of their own.
func (t *termWalker) networks(address []byte) {
	addr, err := netip.ParseAddr(string(address))
	if err != nil {
		t.Fail("source.ip: %v", err)
		return
	}

	for _, bits := range term.NetworkLengths(addr) {
		network, _ := addr.WithZone("").Prefix(bits)
		t.made = network.AppendTo(t.made[:0])
		t.emit(query.TermNet, t.made)
	}
}

// words emits each word of text.
func (t *termWalker) words(text []byte) {
	term.EachWord(text, &t.word, func(word []byte) { t.emit(query.TermWord, word) })
}

// attribute walks a value of the attributes; path is its dotted path. Every
// element of an array is under the array's own path.
func (t *termWalker) attribute(path string) {
	switch t.Peek() {
	case '{':
		for name := range t.Members() {
			t.attribute(path + "." + string(name))
		}

	case '[':
		for range t.Items() {
			t.attribute(path)
		}

	case '"':
		// Any attribute may be text that people search for.
		text := t.Text()
		if t.Err == nil {
			t.emit(path, text)
			t.words(text)
		}

	default:
		v := t.Value()
		if t.Err == nil {
			t.made = appendScalar(t.made[:0], v)
			t.emit(path, t.made)
		}
	}
}

// appendScalar appends the text that a query compares a null, boolean or number
// with.
func appendScalar(dst []byte, v any) []byte {
	out, err := canon.AppendValue(dst, v, "", 0)
	if err != nil {
		return dst
	}
	return out
}

// disclosure emits the terms of a sealed value.
func (t *termWalker) disclosure(d *Disclosure) error {
	t.Scanner = canon.Scanner{Data: d.Value}
	name, ok := attributeName(d.Pointer)
	if ok {
		t.attribute("attributes." + name)
		return fieldError(t.Err)
	}
	if !strings.HasPrefix(d.Pointer, "/") {
		return errors.New("its pointer does not start with a slash")
	}

	// An original is not searched, and need not be read for that.
	id, ok := field.ByPointer(d.Pointer)
	if ok && id.Field().Sealable && id != field.Original {
		t.field(id)
	}
	return fieldError(t.Err)
}
