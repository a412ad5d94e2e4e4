package attestlog

import (
	"time"

	"github.com/attestlog/attestlog/internal/idkey"
)

// An IDKey is what makes an id unique in a log: the UUIDv7 itself, or for any
// other id 48 bits of milliseconds of the event's time followed by the first 10
// bytes of SHA-256(u32be length ‖ tenant ‖ u32be length ‖ service ‖ id). Keys are
// ordered by time wherever their events are, because a unique index on random
// keys is several times slower to fill.
type IDKey [idkey.Size]byte

// KeyOf returns the key of an id. The rest matters only to one that is not a
// UUIDv7.
func KeyOf(id string, when time.Time, tenant, service string) IDKey {
	return idkey.Of(id, when.UnixNano(), tenant, service)
}
