package attestlog

import (
	"crypto/rand"
	"sync"
)

// A room is where one event at a time is encoded.
type room struct {
	random entropy
	id     [36]byte
	seals  []Seal
	buf    []byte // what the seals are digests of, one behind the other, and then the node
}

// roomBytes is how long a buf a room keeps for its next event.
const roomBytes = 16 << 10

var rooms = sync.Pool{New: func() any { return new(room) }}

func takeRoom() *room { return rooms.Get().(*room) }

// free gives a room back, and with it the draft that was made in it.
func (r *room) free() {
	if cap(r.buf) > roomBytes {
		r.buf = nil
	}
	rooms.Put(r)
}

// beginSeal begins a seal, whose value is to be appended to r.buf. It returns
// where the value begins.
func (r *room) beginSeal(pointer string) int {
	var salt [16]byte
	r.random.Read(salt[:])
	r.buf = append(appendSealHead(r.buf, &salt, pointer), 0, 0, 0, 0) // the value's length
	return len(r.buf)
}

// endSeal ends the seal whose value begins at value. The digest is left for
// draft.finish.
func (r *room) endSeal(pointer string, value int) {
	putLength(r.buf[value-4:], len(r.buf)-value)
	r.seals = append(r.seals, Seal{Pointer: pointer})
}

// An arena keeps drafts beyond the rooms in which they were made. Neighbours
// share allocations.
type arena []byte

// arenaSize is how many bytes share an allocation.
const arenaSize = 64 << 10

// keep moves d's bytes into the arena. more is how many drafts like it may
// follow.
func (a *arena) keep(d *draft, more int) {
	size := d.size()
	if cap(*a)-len(*a) < size {
		*a = make([]byte, 0, max(size, min(arenaSize, size*(1+more))))
	}
	start, n := len(*a), len(d.node)
	*a = append(append(*a, d.node...), d.sealed...)
	kept := (*a)[start:len(*a):len(*a)]
	d.node, d.sealed = kept[:n:n], kept[n:]
}

// entropy buffers crypto/rand, whose system call costs more than the hash it
// feeds. Bytes are used once.
type entropy struct {
	buf  [512]byte
	left int
}

func (r *entropy) Read(p []byte) (int, error) {
	if r.left < len(p) {
		rand.Read(r.buf[:]) // never fails: crypto/rand
		r.left = len(r.buf)
	}
	n := copy(p, r.buf[len(r.buf)-r.left:])
	clear(r.buf[len(r.buf)-r.left:][:n])
	r.left -= n
	return n, nil
}
