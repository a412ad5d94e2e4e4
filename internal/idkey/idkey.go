// Package idkey derives the 16 bytes that make an id unique in a log
// (docs/format.md, Section 4): of a UUIDv7 the UUID itself, and of
// any other id 48 bits of milliseconds of the event's time, followed by the
// first 10 bytes of
//
//	SHA-256(u32be length ‖ tenant ‖ u32be length ‖ service ‖ id)
//
// Keys are ordered by time wherever their events are, because a unique index on
// random keys is several times slower to fill. Only those of events before 1970
// come after all others, as the milliseconds of their times are negative.
package idkey

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/attestlog/attestlog/internal/canon"
)

// Size is the length of a key in bytes.
const Size = 16

// Of returns the key of an id. nanos is the event's time in nanoseconds since
// 1970; it, the tenant and the service do not matter to a UUIDv7.
func Of[S string | []byte](id S, nanos int64, tenant, service S) [Size]byte {
	key, ok := ParseV7(id)
	if ok {
		return key
	}
	return Hashed(id, nanos, tenant, service)
}

// Hashed is Of for an id that is known not to be a UUIDv7.
func Hashed[S string | []byte](id S, nanos int64, tenant, service S) (key [Size]byte) {
	var buf [512]byte
	hashed := canon.AppendPrefixed(buf[:0], tenant)
	hashed = canon.AppendPrefixed(hashed, service)
	hashed = append(hashed, id...)
	sum := sha256.Sum256(hashed)

	ms := floorDiv(nanos, int64(time.Millisecond))
	binary.BigEndian.PutUint16(key[:], uint16(ms>>32))
	binary.BigEndian.PutUint32(key[2:], uint32(ms))
	copy(key[6:], sum[:])
	return key
}

func floorDiv(a, b int64) int64 {
	quotient := a / b
	if a%b < 0 {
		quotient--
	}
	return quotient
}

// ParseV7 returns the UUIDv7 that an id is in its canonical form (RFC 9562,
// Section 4), in lower case.
func ParseV7[S string | []byte](id S) (uuid [Size]byte, ok bool) {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' {
		return [Size]byte{}, false
	}

	pos := 0
	for i := range uuid {
		if pos == 8 || pos == 13 || pos == 18 || pos == 23 {
			pos++
		}
		high, low := hexValue[id[pos]], hexValue[id[pos+1]]
		if high > 15 || low > 15 {
			return [Size]byte{}, false
		}
		uuid[i] = high<<4 | low
		pos += 2
	}

	version, variant := uuid[6]>>4, uuid[8]>>6
	return uuid, version == 7 && variant == 2
}

// hexValue maps the lower-case hexadecimal digits to their values, and every
// other byte to 16.
var hexValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 16
	}
	for i := range canon.HexDigits {
		t[canon.HexDigits[i]] = byte(i)
	}
	return t
}()

// AppendUUID appends a UUID in its canonical form.
func AppendUUID(dst []byte, uuid [Size]byte) []byte {
	for i, b := range uuid {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, canon.HexDigits[b>>4], canon.HexDigits[b&15])
	}
	return dst
}
