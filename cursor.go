package attestlog

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
)

// A cursor is base64url of: version, order, 32 bits of hash of the query, and
// the position.
func encodeCursor(q Query, p Position) string {
	b := []byte{1, byte(q.order)}
	b = binary.BigEndian.AppendUint32(b, queryHash(q))
	b = binary.BigEndian.AppendUint64(b, p.Index)
	if q.order == ByTime {
		b = binary.BigEndian.AppendUint64(b, uint64(p.Time))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(s string, q Query) (*Position, error) {
	if s == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	want := 14
	if q.order == ByTime {
		want = 22
	}
	if err != nil || len(b) != want || b[0] != 1 || b[1] != byte(q.order) || binary.BigEndian.Uint32(b[2:]) != queryHash(q) {
		return nil, ErrCursor
	}
	p := &Position{Index: binary.BigEndian.Uint64(b[6:])}
	if q.order == ByTime {
		p.Time = int64(binary.BigEndian.Uint64(b[14:]))
	}
	return p, nil
}

func queryHash(q Query) uint32 {
	h := fnv.New32a()
	h.Write([]byte(q.String()))
	return h.Sum32()
}
