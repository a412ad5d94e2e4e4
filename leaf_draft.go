package attestlog

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/idkey"
)

// loggedTimeZero is in a leaf until the sequencer writes the time.
const loggedTimeZero = "0000-00-00T00:00:00.000000Z"

// A draft is one event on its way into the log: its leaf except for the logged
// time and the digests of its seals, and what the sequencer must know about it.
type draft struct {
	node         []byte // 0x00 ‖ leaf, which is what is hashed
	loggedPos    int    // of the logged time in the leaf
	sealsPos     int    // of the sealed object's first name
	key          IDKey
	given        string // the caller's id, or ""
	implicitTime bool   // the log chose the time
	sealed       []byte // the disclosures, as Disclosure.appendSealed writes them
	digested     bool   // the leaf has the seals' digests
}

func (d *draft) leaf() []byte { return d.node[1:] }

// size is what the draft counts for in the queue's bytes.
func (d *draft) size() int { return len(d.node) + len(d.sealed) }

// id returns the draft's id: the caller's, or the UUIDv7 that is its key.
func (d *draft) id() string {
	if d.given != "" {
		return d.given
	}
	var text [36]byte
	return string(idkey.AppendUUID(text[:0], d.key))
}

// disclosures appends the draft's disclosures to dst. Their values alias the
// draft.
func (d *draft) disclosures(dst []Disclosure) []Disclosure {
	rest := d.sealed
	for len(rest) > 0 {
		var next Disclosure
		next, rest = cutSealed(rest)
		dst = append(dst, next)
	}
	return dst
}

// finish writes into d's leaf what does not keep its caller waiting: the logged
// time, and the first time that it is called the digests of the seals.
func (d *draft) finish(logged []byte) {
	leaf := d.leaf()
	copy(leaf[d.loggedPos:], logged)
	if d.digested {
		return
	}

	pos := d.sealsPos
	rest := d.sealed
	for len(rest) > 0 {
		_, after := cutSealed(rest)
		digest := sha256.Sum256(rest[:len(rest)-len(after)])
		pos = putDigest(leaf, pos, &digest)
		rest = after
	}
	d.digested = true
}

// event returns the event as its caller gave it, with its id.
func (d *draft) event() (Event, error) {
	// The sequencer may be finishing the draft's own bytes, or a store may have
	// kept them.
	own := *d
	own.node = bytes.Clone(d.node)

	leaf, err := own.decode(time.Unix(0, 0))
	if err != nil {
		return Event{}, err
	}
	e, _, err := leaf.disclosed(d.disclosures(nil))
	return e, err
}

// decode reads the draft's leaf as logged at a time.
func (d *draft) decode(logged time.Time) (Leaf, error) {
	d.finish(canon.AppendTime(nil, logged, loggedDigits))
	return decodeLeaf(d.leaf())
}

// sameContent compares the event as it was submitted with a stored entry:
// without the logged time, without the time unless the submitted event gave one,
// and with erased fields equal to anything.
func (d *draft) sameContent(stored *Leaf, disclosures []Disclosure) (bool, error) {
	was, erased, err := stored.disclosed(disclosures)
	if err != nil {
		return false, err
	}

	// Both are decoded from leaves, so that what writing changes (the form of an
	// address, numbers) is the same on both sides.
	leaf, err := d.decode(stored.LoggedTime)
	if err != nil {
		return false, err
	}
	is, _, err := leaf.disclosed(d.disclosures(nil))
	if err != nil {
		return false, err
	}

	if d.implicitTime {
		is.Time = was.Time
	}
	for _, pointer := range erased {
		is.blank(pointer)
		was.blank(pointer)
	}

	isText, err := is.MarshalJSON()
	if err != nil {
		return false, err
	}
	wasText, err := was.MarshalJSON()
	return bytes.Equal(isText, wasText), err
}

// blank removes the value of a field that can be sealed.
func (e *Event) blank(pointer string) {
	name, ok := attributeName(pointer)
	if ok {
		delete(e.Attributes, name)
		return
	}
	if pointer == "/original" {
		e.Original = nil
		return
	}
	text := e.Text(pointer)
	if text != nil {
		*text = ""
	}
}

// An encoder makes drafts. It is safe for concurrent use.
type encoder struct{ seals sealSet }

// encode makes the draft of e, in s: it is valid until s is used again or freed,
// unless an arena keeps it. now is the time of the call.
func (enc *encoder) encode(s *scratch, e *Event, now time.Time) (draft, error) {
	s.seals = s.seals[:0]
	s.buf = s.buf[:0]
	err := e.check()
	if err != nil {
		return draft{}, err
	}

	d := draft{given: e.ID, implicitTime: e.Time.IsZero()}
	key, isV7 := idkey.ParseV7(e.ID)
	if d.implicitTime {
		if e.ID != "" && !isV7 {
			return draft{}, &FieldError{Field: "time", Rule: "required with an id that is not a UUIDv7"}
		}
		if outsideTimes(now) {
			return draft{}, timeError()
		}
		e.Time = now
	}

	var id []byte // of an event that has none
	switch {
	case e.ID == "":
		random, err := uuid.NewV7FromReader(&s.random)
		if err != nil {
			return draft{}, err
		}
		d.key = IDKey(random)
		id = idkey.AppendUUID(s.id[:0], d.key)
	case isV7:
		d.key = key
	default:
		d.key = idkey.Hashed(e.ID, e.Time.UnixNano(), e.Tenant, e.Service)
	}

	err = enc.seals.seal(s, e)
	if err != nil {
		return draft{}, err
	}

	start := len(s.buf) // of the node
	w := leafWriter{buf: append(s.buf, 0), seals: &enc.seals, sealed: s.seals, id: id}
	w.leaf(e, loggedTimeZero)
	s.buf = w.buf
	if w.err != nil {
		return draft{}, w.err
	}

	d.sealed = s.buf[:start:start]
	d.node = s.buf[start:len(s.buf):len(s.buf)]
	d.loggedPos = w.loggedPos - start - 1
	d.sealsPos = w.sealsPos - start - 1
	n := len(d.leaf())
	if n > MaxLeaf {
		return draft{}, &leafSizeError{n}
	}
	return d, nil
}

// check returns the error that encode would.
func (enc *encoder) check(e Event, now time.Time) error {
	s := takeScratch()
	defer s.free()
	_, err := enc.encode(s, &e, now)
	return err
}

type leafSizeError struct{ size int }

func (e *leafSizeError) Error() string {
	return "leaf of " + strconv.Itoa(e.size) + " bytes is over the limit of 65535: " + ErrTooLarge.Error()
}

func (e *leafSizeError) Unwrap() error { return ErrTooLarge }

// A scratch is the memory in which one event at a time is encoded.
type scratch struct {
	random entropy
	id     [36]byte
	seals  []Seal
	buf    []byte // the bytes of which seals are digests, one after the other, and then the node
}

// scratchBytes is how long a buf a scratch keeps for its next event.
const scratchBytes = 16 << 10

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func takeScratch() *scratch { return scratches.Get().(*scratch) }

// free gives a scratch back, and with it the draft that was made in it.
func (s *scratch) free() {
	if cap(s.buf) > scratchBytes {
		s.buf = nil
	}
	scratches.Put(s)
}

// beginSeal begins a seal, whose value is to be appended to s.buf. It returns
// where the value begins.
func (s *scratch) beginSeal(pointer string) int {
	var salt [16]byte
	s.random.Read(salt[:])
	s.buf = appendSealHead(s.buf, &salt, pointer)
	s.buf = append(s.buf, 0, 0, 0, 0) // the value's length
	return len(s.buf)
}

// endSeal ends the seal whose value begins at start. The digest is left for
// draft.finish.
func (s *scratch) endSeal(pointer string, start int) {
	canon.PutLength(s.buf[start-4:], len(s.buf)-start)
	s.seals = append(s.seals, Seal{Pointer: pointer})
}

// An arena keeps drafts for longer than the scratches in which they were made.
// Neighbours share allocations.
type arena []byte

// arenaBytes is how many bytes share an allocation.
const arenaBytes = 64 << 10

// copy moves d's bytes into the arena. more is how many drafts like it may
// follow.
func (a *arena) copy(d *draft, more int) {
	size := d.size()
	if cap(*a)-len(*a) < size {
		*a = make([]byte, 0, max(size, min(arenaBytes, size*(1+more))))
	}

	start, n := len(*a), len(d.node)
	*a = append(*a, d.node...)
	*a = append(*a, d.sealed...)
	own := (*a)[start:len(*a):len(*a)]
	d.node = own[:n:n]
	d.sealed = own[n:]
}

// entropy buffers crypto/rand, whose system call costs more than the hash that
// it feeds. Bytes are used once.
type entropy struct {
	buf  [512]byte
	left int // unused bytes, at the end of buf
}

func (r *entropy) Read(p []byte) (int, error) {
	if r.left < len(p) {
		rand.Read(r.buf[:]) // never fails: crypto/rand
		r.left = len(r.buf)
	}

	unused := r.buf[len(r.buf)-r.left:]
	n := copy(p, unused)
	clear(unused[:n])
	r.left -= n
	return n, nil
}
