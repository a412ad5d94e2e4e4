package canon

import (
	"encoding/binary"
	"math"
)

// Bytes after their length are what digests are made of, so that no two lists
// of texts give the same bytes.

// AppendPrefixed appends s after its length as 32 big-endian bits.
func AppendPrefixed[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, 0, 0, 0, 0)
	PutLength(dst[len(dst)-4:], len(s))
	return append(dst, s...)
}

// PutLength writes a length as 32 big-endian bits.
func PutLength(dst []byte, n int) {
	if uint64(n) > math.MaxUint32 {
		panic("attestlog: string of 4 GiB")
	}
	binary.BigEndian.PutUint32(dst, uint32(n))
}

// CutPrefixed returns what AppendPrefixed appended, and the rest.
func CutPrefixed(b []byte) (s, rest []byte) {
	n := 4 + int(binary.BigEndian.Uint32(b))
	return b[4:n:n], b[n:]
}
