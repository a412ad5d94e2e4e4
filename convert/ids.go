package convert

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// IDs derives the ids of one source's records:
//
//	format ":" hex of the first 16 bytes of
//	SHA-256(u32be length ‖ source ‖ u64be ordinal ‖ SHA-256(record))
//
// The ordinal counts the equal records before it, from 0. An id is unique in a
// log together with the event's time, which comes from the record too: so keys
// are ordered by time.
//
// IDs keeps 5 to 8 bytes a distinct record. It is not safe for concurrent use.
type IDs struct {
	format, source string
	seen           tally
}

// NewIDs starts a source. An empty source stands for all sources of a format
// whose records carry an identity of their own.
func NewIDs(format, source string) *IDs {
	return &IDs{format: format, source: source}
}

// Next returns the id of the source's next record.
func (s *IDs) Next(record []byte) string {
	sum := sha256.Sum256(record)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(s.source)))
	b = append(b, s.source...)
	b = binary.BigEndian.AppendUint64(b, s.seen.add(binary.BigEndian.Uint64(sum[:])))
	b = append(b, sum[:]...)
	id := sha256.Sum256(b)
	return s.format + ":" + hex.EncodeToString(id[:16])
}

// A tally counts hashes by 44 of their bits, in tables that grow one at a time:
// a source of ten million records must not take hundreds of megabytes. Two
// records that share those bits count as equal, which only gives the second a
// higher ordinal: ids hash the whole record.
type tally struct {
	tables [4096]tallyTable
	again  map[uint64]uint64 // of what came more than once
}

type tallyTable struct {
	slots []uint32 // open addressing; 0 is free
	used  int
}

// add returns how often the hash was added before.
func (t *tally) add(hash uint64) uint64 {
	bits := uint32(hash >> 20)
	if bits == 0 {
		bits = 1
	}
	table := hash >> 52
	if t.tables[table].insert(bits) {
		return 0
	}
	if t.again == nil {
		t.again = map[uint64]uint64{}
	}
	key := table<<32 | uint64(bits)
	t.again[key]++
	return t.again[key]
}

// insert reports whether bits are new.
func (t *tallyTable) insert(bits uint32) bool {
	if t.used*4 >= len(t.slots)*3 {
		old := t.slots
		t.slots = make([]uint32, max(8, len(old)*3/2))
		for _, b := range old {
			if b != 0 {
				*t.slot(b) = b
			}
		}
	}
	s := t.slot(bits)
	if *s == bits {
		return false
	}
	*s = bits
	t.used++
	return true
}

// slot returns where bits are, or the free slot where they belong. The bits
// are those of a cryptographic hash, so their order spreads them evenly.
func (t *tallyTable) slot(bits uint32) *uint32 {
	i := int(uint64(bits) * uint64(len(t.slots)) >> 32)
	for t.slots[i] != 0 && t.slots[i] != bits {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	return &t.slots[i]
}

// MixedIDs derives the ids of a source's records where some carry an identity of
// their own: an equal one of those is the same one, wherever it comes from, so
// their ids leave the source out.
type MixedIDs struct{ own, others *IDs }

// NewMixedIDs starts a source.
func NewMixedIDs(format, source string) *MixedIDs {
	return &MixedIDs{NewIDs(format, ""), NewIDs(format, source)}
}

// Next returns the id of the source's next record.
func (s *MixedIDs) Next(record []byte, own bool) string {
	if own {
		return s.own.Next(record)
	}
	return s.others.Next(record)
}
