package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/leafrow"
)

// rows are a batch's rows on their way into the tables.
type rows struct {
	s       *Store
	records []attestlog.RawEntry
	keys    []keyRow
}

// insert queues INSERTs.
func (r *rows) insert(b *pgx.Batch) error {
	n := len(r.records)
	idx, keys := make([]int64, n), make([][16]byte, n)
	for i := range r.records {
		idx[i], keys[i] = int64(r.records[i].Index), r.keys[i].key
	}
	for _, p := range partsOf(r.records) {
		var first []int64
		var count []int16
		var leaves [][]byte
		err := leafrow.Pack(r.records[p.from:p.to], func(row leafrow.Row) error {
			first, count, leaves = append(first, int64(row.First)), append(count, int16(row.Count)), append(leaves, bytes.Clone(row.Leaves))
			return nil
		})
		if err != nil {
			return err
		}
		b.Queue(r.s.sql(fmt.Sprintf("INSERT INTO @.entries_%d (idx, n, leaves) SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bytea[])", p.n)), first, count, leaves)
	}
	b.Queue(r.s.sql("INSERT INTO @.keys (key, idx) SELECT * FROM unnest($1::uuid[], $2::bigint[])"), keys, idx)
	for i := range r.records {
		for k := range r.records[i].Disclosures {
			d := &r.records[i].Disclosures[k]
			b.Queue(r.s.sql("INSERT INTO @.disclosures (idx, place, pointer, salt, value) VALUES ($1, $2, $3, $4, $5)"), idx[i], k, d.Pointer, d.Salt[:], d.Value)
		}
	}
	return nil
}

// copy streams the rows by COPY in its binary form (PostgreSQL manual, COPY,
// Binary Format).
func (r *rows) copy(ctx context.Context, conn *pgconn.PgConn) error {
	c := copiers.Get().(*copier)
	defer copiers.Put(c)
	for _, p := range partsOf(r.records) {
		c.reset()
		err := leafrow.Pack(r.records[p.from:p.to], func(row leafrow.Row) error {
			c.row(3)
			c.int8(int64(row.First))
			c.int2(int16(row.Count))
			c.bytes(row.Leaves)
			return nil
		})
		if err == nil {
			err = c.send(ctx, conn, r.s.sql(fmt.Sprintf("COPY @.entries_%d (idx, n, leaves) FROM STDIN BINARY", p.n)))
		}
		if err != nil {
			return err
		}
	}
	c.reset()
	for i := range r.keys {
		c.row(2)
		c.bytes(r.keys[i].key[:])
		c.int8(int64(r.keys[i].idx))
	}
	if err := c.send(ctx, conn, r.s.sql("COPY @.keys (key, idx) FROM STDIN BINARY")); err != nil {
		return err
	}
	return r.copyDisclosures(ctx, conn, c)
}

func (r *rows) copyDisclosures(ctx context.Context, conn *pgconn.PgConn, c *copier) error {
	c.reset()
	any := false
	for i := range r.records {
		for k := range r.records[i].Disclosures {
			d := &r.records[i].Disclosures[k]
			any = true
			c.row(5)
			c.int8(int64(r.records[i].Index))
			c.int2(int16(k))
			c.bytes([]byte(d.Pointer))
			c.bytes(d.Salt[:])
			c.bytes(d.Value)
		}
	}
	if !any {
		return nil
	}
	return c.send(ctx, conn, r.s.sql("COPY @.disclosures (idx, place, pointer, salt, value) FROM STDIN BINARY"))
}

// part is the records [from, to) of a batch, which belong into partition n.
type part struct {
	n        uint64
	from, to int
}

func partsOf(records []attestlog.RawEntry) []part {
	var out []part
	for i := range records {
		n := records[i].Index / partWidth
		if last := len(out) - 1; last >= 0 && out[last].n == n {
			out[last].to = i + 1
		} else {
			out = append(out, part{n, i, i + 1})
		}
	}
	return out
}

var copiers = sync.Pool{New: func() any { return new(copier) }}

// A copier builds what COPY … BINARY reads.
type copier struct{ buf []byte }

func (c *copier) reset() {
	c.buf = append(c.buf[:0], "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
}

func (c *copier) row(fields int) { c.int2raw(int16(fields)) }

func (c *copier) int2raw(v int16) { c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(v)) }
func (c *copier) int4raw(v int32) { c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(v)) }
func (c *copier) int8raw(v int64) { c.buf = binary.BigEndian.AppendUint64(c.buf, uint64(v)) }

func (c *copier) int2(v int16) { c.int4raw(2); c.int2raw(v) }
func (c *copier) int8(v int64) { c.int4raw(8); c.int8raw(v) }

func (c *copier) bytes(v []byte) {
	c.int4raw(int32(len(v)))
	c.buf = append(c.buf, v...)
}

func (c *copier) send(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	c.int2raw(-1)
	_, err := conn.CopyFrom(ctx, bytes.NewReader(c.buf), sql)
	return err
}
