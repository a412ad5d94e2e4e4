package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
)

// The binary form of COPY (PostgreSQL manual, COPY, Binary Format) is a header
// of 19 bytes; for each row the number of its fields in two bytes, and each
// field after its length in four; and -1 in two bytes. All numbers are
// big-endian.
const copyHeader = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// A copyWriter collects rows, and sends them to COPY … FROM STDIN BINARY. It is
// not safe for concurrent use.
type copyWriter struct {
	buf []byte // what COPY reads, without its end
}

var copyWriters = sync.Pool{New: func() any { return new(copyWriter) }}

// reset begins anew, without rows.
func (w *copyWriter) reset() { w.buf = append(w.buf[:0], copyHeader...) }

// row begins a row of so many fields, each of which is added next.
func (w *copyWriter) row(fields int) {
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(fields))
}

func (w *copyWriter) smallint(v int16) {
	w.length(2)
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(v))
}

func (w *copyWriter) bigint(v int64) {
	w.length(8)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(v))
}

// bytes adds a field of type bytea, text or uuid.
func (w *copyWriter) bytes(v []byte) {
	w.length(len(v))
	w.buf = append(w.buf, v...)
}

// length begins a field of n bytes.
func (w *copyWriter) length(n int) {
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(n))
}

// send runs a COPY that reads the rows.
func (w *copyWriter) send(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	w.buf = append(w.buf, 0xff, 0xff)
	_, err := conn.CopyFrom(ctx, bytes.NewReader(w.buf), sql)
	if err != nil {
		w.buf = nil // a COPY that failed may still read it, to no effect
	}
	return err
}

// A keyReader is what COPY keys (key, idx) TO STDOUT (FORMAT binary) writes to.
type keyReader struct {
	fn     func(key attestlog.IDKey, index uint64) error
	fnErr  error
	header bool   // has been read
	rest   []byte // of what was written: the beginning of a row
}

func (r *keyReader) Write(p []byte) (int, error) {
	// A row: the number of its fields, and two lengths and fields.
	const (
		keyAt   = 2 + 4
		indexAt = keyAt + 16 + 4
		rowSize = indexAt + 8
	)
	data := p
	if len(r.rest) > 0 {
		r.rest = append(r.rest, p...)
		data = r.rest
	}

	if !r.header && len(data) >= len(copyHeader) {
		data = data[len(copyHeader):]
		r.header = true
	}
	for r.header && len(data) >= rowSize {
		key := attestlog.IDKey(data[keyAt : keyAt+16])
		index := binary.BigEndian.Uint64(data[indexAt:rowSize])
		r.fnErr = r.fn(key, index)
		if r.fnErr != nil {
			return 0, r.fnErr
		}
		data = data[rowSize:]
	}

	r.rest = append(r.rest[:0], data...)
	return len(p), nil
}
