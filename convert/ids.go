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
// log together with the event's time. The time comes from the record too, so the
// entries' keys are ordered by time.
//
// IDs keeps 9 to 18 bytes for each distinct record. It is not safe for concurrent
// use.
type IDs struct {
	format, source string
	seen           tally
}

// NewIDs starts a source. An empty source stands for all sources of a format
// whose records carry an identity of their own.
func NewIDs(format, source string) *IDs {
	return &IDs{format: format, source: source, seen: newTally()}
}

// Next returns the id of the source's next record.
func (s *IDs) Next(record []byte) string {
	sum := sha256.Sum256(record)
	return idOf(s.format, s.source, s.seen.add(sum), sum)
}

// ID returns the id of a record to which no other of its source is equal, because
// it carries an identity of its own: that of IDs with the ordinal 0.
func ID(format, source string, record []byte) string {
	return idOf(format, source, 0, sha256.Sum256(record))
}

func idOf(format, source string, ordinal uint64, sum [sha256.Size]byte) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(source)))
	b = append(b, source...)
	b = binary.BigEndian.AppendUint64(b, ordinal)
	b = append(b, sum[:]...)

	id := sha256.Sum256(b)
	return format + ":" + hex.EncodeToString(id[:16])
}

// A tally counts hashes. It knows them by their first 44 bits only, because a
// source may have millions of records. Two records that share those bits count
// as equal, about three times in ten million records, which does no harm: the
// second has a higher ordinal, and its id still differs, because ids hash the
// whole record.
//
// The bits are part of how ids are derived. With more of them those few records
// would have other ids, and importing a source again would add them once more.
type tally struct {
	once  map[tallyKey]struct{}
	again map[tallyKey]uint64 // how often those that came more than once came again
}

// A tallyKey is an array and not a number because the map then aligns its entries
// to one byte, which takes half the memory.
type tallyKey [6]byte

func newTally() tally {
	return tally{once: map[tallyKey]struct{}{}, again: map[tallyKey]uint64{}}
}

// keyOf returns the bits that a hash is known by.
func keyOf(sum [sha256.Size]byte) tallyKey {
	bits := binary.BigEndian.Uint64(sum[:]) >> 20
	if uint32(bits) == 0 {
		bits++ // the ids of earlier builds were derived so
	}

	var whole [8]byte
	binary.BigEndian.PutUint64(whole[:], bits)
	return tallyKey(whole[2:])
}

// add returns how often the hash was added before.
func (t *tally) add(sum [sha256.Size]byte) uint64 {
	key := keyOf(sum)
	if _, seen := t.once[key]; !seen {
		t.once[key] = struct{}{}
		return 0
	}
	t.again[key]++
	return t.again[key]
}

// MixedIDs derives the ids of a source's records if some carry an identity of
// their own. Equal ones of those are the same record, wherever it comes from, so
// their ids leave the source out.
type MixedIDs struct{ own, others *IDs }

// NewMixedIDs starts a source.
func NewMixedIDs(format, source string) *MixedIDs {
	return &MixedIDs{NewIDs(format, ""), NewIDs(format, source)}
}

// Next returns the id of the source's next record. own is whether the record
// carries an identity of its own.
func (s *MixedIDs) Next(record []byte, own bool) string {
	if own {
		return s.own.Next(record)
	}
	return s.others.Next(record)
}
