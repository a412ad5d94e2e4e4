package attestlog

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// TermsVersion changes whenever Terms derives other terms from the same leaf.
// A search index that was filled under another version is rebuilt.
const TermsVersion = 1

// A Term is one searchable fact of an entry. Fields are named as in the query
// language; "action.*" holds each dotted prefix of an action, "net" each
// network of an address, "word" each word of the text, in lower case.
type Term struct {
	Field string
	Value string
}

// Networks of these lengths have a term of their own.
var (
	networks4 = []int{8, 16, 24}
	networks6 = []int{32, 48, 64}
)

// Terms calls emit with every term of an entry, from its leaf's bytes and its
// disclosures; a term may come more than once. value is valid only during the
// call. Stores index what Terms emits, and nothing else.
func Terms(leaf []byte, disclosures []Disclosure, emit func(field string, value []byte)) error {
	scratch := scratchPool.Get().(*[]byte)
	defer scratchPool.Put(scratch)
	t := termWalker{scanner: scanner{data: leaf, trusted: true}, emit: emit, scratch: *scratch}
	defer func() { *scratch = t.scratch }()
	t.leaf()
	if t.err != nil {
		return t.err
	}
	for i := range disclosures {
		if err := t.disclosed(&disclosures[i]); err != nil {
			return fmt.Errorf("disclosure %s: %v", disclosures[i].Pointer, err)
		}
	}
	return nil
}

var scratchPool = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

type termWalker struct {
	scanner
	emit    func(field string, value []byte)
	scratch []byte
	net     []byte // scratch for networks
}

func (t *termWalker) leaf() {
	t.enter('{')
	for k, first := t.key(true), false; k != nil; k = t.key(first) {
		switch string(k) {
		case "action":
			t.name("action", "action.*")
		case "service":
			t.name("service", "service.*")
		case "module":
			t.name("module", "module.*")
		case "operation":
			t.exact("operation")
		case "outcome":
			t.exact("outcome")
		case "tenant":
			t.exact("tenant")
		case "id":
			id := t.str()
			if _, v7 := uuidV7(id); !v7 && t.err == nil {
				t.emit("id", id)
			}
		case "message":
			t.words(t.str())
		case "reason":
			t.text("reason")
		case "actor":
			t.members('a')
		case "source":
			t.members('s')
		case "request":
			t.members('r')
		case "trace":
			t.members('t')
		case "targets":
			t.enter('[')
			for first := true; t.item(first); first = false {
				t.target()
			}
		case "changes":
			t.changes()
		case "attributes":
			t.attribute("attributes")
		default:
			t.skip()
		}
	}
}

func (t *termWalker) exact(field string) {
	if v := t.str(); t.err == nil {
		t.emit(field, v)
	}
}

// text is an exact value and its words.
func (t *termWalker) text(field string) {
	v := t.str()
	if t.err == nil {
		t.emit(field, v)
		t.words(v)
	}
}

// name is an exact value and its dotted prefixes.
func (t *termWalker) name(field, prefixField string) {
	v := t.str()
	if t.err != nil {
		return
	}
	t.emit(field, v)
	for i, c := range v {
		if c == '.' {
			t.emit(prefixField, v[:i])
		}
	}
}

// members reads the members of an actor, source, request or trace. It takes a
// letter rather than a method, whose value would move t to the heap.
func (t *termWalker) members(object byte) {
	t.enter('{')
	for k, first := t.key(true), false; k != nil; k = t.key(first) {
		switch object {
		case 'a':
			t.actor(k)
		case 's':
			t.source(k)
		case 'r':
			t.request(k)
		case 't':
			t.trace(k)
		}
	}
}

func (t *termWalker) actor(name []byte) {
	switch string(name) {
	case "id":
		t.exact("actor")
	case "type":
		t.exact("actor.type")
	case "name":
		t.text("actor.name")
	case "session":
		t.exact("actor.session")
	case "on_behalf_of":
		t.exact("actor.on_behalf_of")
	default:
		t.skip()
	}
}

func (t *termWalker) source(name []byte) {
	switch string(name) {
	case "ip":
		t.address()
	case "host":
		t.exact("host")
	case "user_agent":
		t.exact("user_agent")
	default:
		t.skip()
	}
}

func (t *termWalker) request(name []byte) {
	switch string(name) {
	case "id":
		t.exact("request.id")
	case "method":
		t.exact("request.method")
	case "path":
		t.exact("request.path")
	case "route":
		t.exact("request.route")
	case "status":
		t.integer("request.status")
	default:
		t.skip()
	}
}

func (t *termWalker) trace(name []byte) {
	switch string(name) {
	case "trace_id":
		t.exact("trace")
	case "span_id":
		t.exact("span")
	default:
		t.skip()
	}
}

func (t *termWalker) integer(field string) {
	if f := t.number(); t.err == nil {
		t.scratch = strconv.AppendInt(t.scratch[:0], int64(f), 10)
		t.emit(field, t.scratch)
	}
}

func (t *termWalker) address() {
	v := t.str()
	if t.err != nil {
		return
	}
	t.emit("ip", v)
	addr, err := netip.ParseAddr(string(v))
	if err != nil {
		t.fail("source.ip: %v", err)
		return
	}
	for _, bits := range networksOf(addr) {
		p, _ := addr.WithZone("").Prefix(bits)
		t.net = p.AppendTo(t.net[:0])
		t.emit("net", t.net)
	}
}

func networksOf(addr netip.Addr) []int {
	if addr.Is4() {
		return networks4
	}
	return networks6
}

func (t *termWalker) target() {
	var id, typ []byte
	t.enter('{')
	for k, first := t.key(true), false; k != nil; k = t.key(first) {
		switch string(k) {
		case "id":
			id = t.str()
		case "type":
			typ = t.str()
		case "name":
			t.text("target.name")
		default:
			t.skip()
		}
	}
	if t.err != nil {
		return
	}
	if id != nil {
		t.emit("target.id", id)
	}
	if typ != nil {
		t.emit("target.type", typ)
	}
	if id != nil && typ != nil {
		t.scratch = append(append(append(t.scratch[:0], typ...), '/'), id...)
		t.emit("target", t.scratch)
	}
}

func (t *termWalker) changes() {
	t.enter('[')
	for first := true; t.item(first); first = false {
		t.enter('{')
		for k, first := t.key(true), false; k != nil; k = t.key(first) {
			if string(k) == "path" {
				t.exact("change")
			} else {
				t.skip()
			}
		}
	}
}

// attribute walks a value below attributes; field is its dotted path. Every
// element of an array stands under the array's own path.
func (t *termWalker) attribute(field string) {
	switch t.peek() {
	case '{':
		t.enter('{')
		for k, first := t.key(true), false; k != nil; k = t.key(first) {
			t.attribute(field + "." + string(k))
		}
	case '[':
		t.enter('[')
		for first := true; t.item(first); first = false {
			t.attribute(field)
		}
	case '"':
		t.text(field)
	default:
		t.scratch = appendScalar(t.scratch[:0], t.value())
		if t.err == nil {
			t.emit(field, t.scratch)
		}
	}
}

// appendScalar appends the text that a query compares a null, boolean or
// number with.
func appendScalar(dst []byte, v any) []byte {
	out, err := appendValue(dst, v, "", 0)
	if err != nil {
		return dst
	}
	return out
}

func (t *termWalker) disclosed(d *Disclosure) error {
	t.scanner = scanner{data: d.Value}
	if name, ok := attributeName(d.Pointer); ok {
		t.attribute("attributes." + name)
		return t.err
	}
	switch d.Pointer {
	case "/original":
	case "/message":
		t.words(t.str())
	case "/reason":
		t.text("reason")
	default:
		path, ok := strings.CutPrefix(d.Pointer, "/")
		if !ok {
			return errors.New("its pointer is none")
		}
		object, name, _ := strings.Cut(path, "/")
		switch object {
		case "actor":
			t.actor([]byte(name))
		case "source":
			t.source([]byte(name))
		case "request":
			t.request([]byte(name))
		}
	}
	return t.err
}

// words emits each word of text: a run of letters, marks and digits.
func (t *termWalker) words(text []byte) {
	if t.err != nil {
		return
	}
	eachWord(text, &t.scratch, func(w []byte) { t.emit("word", w) })
}

// eachWord calls fn with each word of text in lower case, in scratch.
func eachWord[S string | []byte](text S, scratch *[]byte, fn func([]byte)) {
	w := (*scratch)[:0]
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			i++
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
				w = append(w, c)
				continue
			case 'A' <= c && c <= 'Z':
				w = append(w, c+'a'-'A')
				continue
			}
		} else {
			r, n := utf8.DecodeRune([]byte(text[i:min(len(text), i+utf8.UTFMax)]))
			i += n
			if unicode.In(r, unicode.L, unicode.M, unicode.N) {
				w = utf8.AppendRune(w, unicode.ToLower(r))
				continue
			}
		}
		if len(w) > 0 {
			fn(w)
			w = w[:0]
		}
	}
	if len(w) > 0 {
		fn(w)
	}
	*scratch = w[:0]
}
