package attestlog

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
)

// A room is where events are encoded, one at a time. Drafts that are kept stay
// in its chunk, which neighbours share.
type room struct {
	random entropy
	id     [36]byte
	seals  []Seal
	chunk  []byte // up to its length kept drafts
	buf    []byte // what the seals are digests of, one behind the other, and then the node
}

const (
	chunkSize  = 64 << 10
	chunkSpare = 1 << 10 // a chunk that has less left is full
)

var rooms = sync.Pool{New: func() any { return new(room) }}

func takeRoom() *room { return rooms.Get().(*room) }

// free gives a room back, and with it what was encoded in it and not kept.
func (r *room) free() {
	r.buf = nil
	rooms.Put(r)
}

// begin makes way for an event, behind what was kept.
func (r *room) begin() {
	if cap(r.chunk)-len(r.chunk) < chunkSpare {
		r.chunk = make([]byte, 0, chunkSize)
	}
	r.seals, r.buf = r.seals[:0], r.chunk[len(r.chunk):]
}

// keep lets the draft that was encoded last outlive the room's next one. What
// did not fit into the chunk has memory of its own.
func (r *room) keep() {
	if n := len(r.chunk) + len(r.buf); n <= cap(r.chunk) {
		r.chunk = r.chunk[:n]
	}
	r.buf = nil
}

// open begins a seal, whose value is to be appended to r.buf. It returns where
// the value begins.
func (r *room) open(pointer string) int {
	var salt [16]byte
	r.random.Read(salt[:])
	r.buf = append(appendSealHead(r.buf, &salt, pointer), 0, 0, 0, 0) // the value's length
	return len(r.buf)
}

// close ends the seal whose value begins at value. The digest is left for
// draft.finish.
func (r *room) close(pointer string, value int) {
	binary.BigEndian.PutUint32(r.buf[value-4:], uint32(len(r.buf)-value))
	r.seals = append(r.seals, Seal{Pointer: pointer})
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
