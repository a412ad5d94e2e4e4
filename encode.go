package attestlog

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// A Key is what makes an id unique in a log: the UUIDv7 itself, or for any
// other id 48 bits of milliseconds of the event's time followed by the first
// 10 bytes of SHA-256(u32be length ‖ tenant ‖ u32be length ‖ service ‖ id).
// Keys are ordered by time wherever their events are, because a unique index
// on random keys is several times slower to fill.
type IDKey [16]byte

// loggedTimeZero stands in a leaf until the sequencer writes the time.
const loggedTimeZero = "0000-00-00T00:00:00.000000Z"

// A draft is one event on its way into the log: its leaf but for the logged
// time and its seals' digests, and what the sequencer must know about it.
type draft struct {
	node         []byte // 0x00 ‖ leaf, which is what is hashed
	loggedAt     int    // offset of the logged time in the leaf
	sealedAt     int    // offset of the sealed object's first name
	key          IDKey
	given        string // the caller's id, or ""
	implicitTime bool   // the log chose the time
	policy       Policy // of a recorded event
	sealed       []byte // the disclosures, as Disclosure.appendSealed writes them
	digested     bool   // the leaf has the seals' digests
}

func (d *draft) leaf() []byte { return d.node[1:] }

// size is what the draft counts for in the queue's bytes.
func (d *draft) size() int { return len(d.node) + len(d.sealed) }

// disclosures appends the draft's disclosures to dst. Their values are the
// draft's bytes.
func (d *draft) disclosures(dst []Disclosure) []Disclosure {
	for rest := d.sealed; len(rest) > 0; {
		var next Disclosure
		next, rest = cutSealed(rest)
		dst = append(dst, next)
	}
	return dst
}

// finish writes into d's leaf what does not keep its caller waiting: the logged
// time, and at first the seals' digests.
func (d *draft) finish(logged []byte) {
	leaf := d.leaf()
	copy(leaf[d.loggedAt:], logged)
	if d.digested {
		return
	}
	at := d.sealedAt
	for sealed := d.sealed; len(sealed) > 0; {
		one, rest := cutSealed(sealed)
		digest := sha256.Sum256(sealed[:len(sealed)-len(rest)])
		member := appendSeal(leaf[:at], one.Pointer)
		putDigest(member, &digest)
		at = len(member) + len(",")
		sealed = rest
	}
	d.digested = true
}

// An encoder makes drafts. It is safe for concurrent use.
type encoder struct{ seals sealSet }

// encode makes the draft of e, in r: it is valid until r is used again or freed,
// unless an arena keeps it. now is the time of the call.
func (enc *encoder) encode(r *room, e *Event, now time.Time) (draft, error) {
	r.seals, r.buf = r.seals[:0], r.buf[:0]
	if err := e.check(); err != nil {
		return draft{}, err
	}
	d := draft{given: e.ID, implicitTime: e.Time.IsZero()}
	var id []byte
	if e.ID == "" {
		u, err := uuid.NewV7FromReader(&r.random)
		if err != nil {
			return draft{}, err
		}
		d.key = IDKey(u)
		id = appendUUID(r.id[:0], u)
	} else if key, ok := uuidV7(e.ID); ok {
		d.key = key
	} else if d.implicitTime {
		return draft{}, &FieldError{Field: "time", Rule: "required with an id that is not a UUIDv7"}
	} else {
		d.key = hashKey(e)
	}
	if d.implicitTime {
		if e.Time = now; now.Before(minTime) || now.After(maxTime) {
			return draft{}, &FieldError{Field: "time", Rule: "outside the years 1678 to 2261"}
		}
	}
	if err := enc.seals.seal(r, e); err != nil {
		return draft{}, err
	}
	node := len(r.buf)
	w := leafWriter{buf: append(r.buf, 0), seals: &enc.seals, sealed: r.seals, id: id}
	w.leaf(e, loggedTimeZero)
	r.buf = w.buf
	if w.err != nil {
		return draft{}, w.err
	}
	d.sealed, d.node = r.buf[:node:node], r.buf[node:len(r.buf):len(r.buf)]
	if n := len(d.leaf()); n > MaxLeaf {
		return draft{}, &leafSizeError{n}
	}
	d.loggedAt, d.sealedAt = w.loggedAt-node-1, w.sealedAt-node-1
	return d, nil
}

// check returns the error that encode would.
func (enc *encoder) check(e Event, now time.Time) error {
	r := takeRoom()
	defer r.free()
	_, err := enc.encode(r, &e, now)
	return err
}

type leafSizeError struct{ size int }

func (e *leafSizeError) Error() string {
	return "leaf of " + strconv.Itoa(e.size) + " bytes is over the limit of 65535: " + ErrTooLarge.Error()
}

func (e *leafSizeError) Unwrap() error { return ErrTooLarge }

// uuidV7 returns the key of an id that is a UUIDv7 in its canonical form (RFC
// 9562, Section 4).
func uuidV7[S string | []byte](id S) (k IDKey, ok bool) {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' {
		return IDKey{}, false
	}
	at := 0
	for i := range k {
		if at == 8 || at == 13 || at == 18 || at == 23 {
			at++
		}
		hi, lo := hexValue[id[at]], hexValue[id[at+1]]
		if hi > 15 || lo > 15 {
			return IDKey{}, false
		}
		k[i] = hi<<4 | lo
		at += 2
	}
	return k, k[6]>>4 == 7 && k[8]>>6 == 2
}

// hexValue maps the lower-case hexadecimal digits to their values, and every
// other byte to 16.
var hexValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 16
	}
	for i := range hexDigits {
		t[hexDigits[i]] = byte(i)
	}
	return t
}()

func appendUUID(dst []byte, u uuid.UUID) []byte {
	for i, b := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[b>>4], hexDigits[b&15])
	}
	return dst
}

func hashKey(e *Event) IDKey { return hashedKey(e.ID, e.Time.UnixNano(), e.Tenant, e.Service) }

func hashedKey[S string | []byte](id S, nanos int64, tenant, service S) IDKey {
	var room [512]byte
	b := appendLength(room[:0], tenant)
	b = appendLength(b, service)
	b = append(b, id...)
	sum := sha256.Sum256(b)
	ms := floorDiv(nanos, int64(time.Millisecond))
	var k IDKey
	binary.BigEndian.PutUint16(k[:], uint16(ms>>32))
	binary.BigEndian.PutUint32(k[2:], uint32(ms))
	copy(k[6:], sum[:])
	return k
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// appendLength appends s behind its length as 32 big-endian bits.
func appendLength[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, 0, 0, 0, 0)
	putLength(dst[len(dst)-4:], len(s))
	return append(dst, s...)
}

func putLength(dst []byte, n int) {
	if uint64(n) > math.MaxUint32 {
		panic("attestlog: string of 4 GiB")
	}
	binary.BigEndian.PutUint32(dst, uint32(n))
}

// cutLength returns what appendLength appended, and what stands behind it.
func cutLength(b []byte) (s, rest []byte) {
	n := 4 + int(binary.BigEndian.Uint32(b))
	return b[4:n:n], b[n:]
}

// KeyOf returns the key of an id, given the rest of what it depends on.
func KeyOf(id string, at time.Time, tenant, service string) IDKey {
	if key, ok := uuidV7(id); ok {
		return key
	}
	return hashKey(&Event{ID: id, Time: at, Tenant: tenant, Service: service})
}
