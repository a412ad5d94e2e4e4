package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
)

// rows are a batch's rows on their way into the tables.
type rows struct {
	s       *Store
	records []attestlog.Record
	keys    []keyRow
	search  []searchRow // derived from records
}

type searchRow struct {
	idx   uint64
	time  int64
	terms []int64
}

func rowsOf(s *Store, records []attestlog.Record, keys []keyRow) *rows {
	return &rows{s: s, records: records, keys: keys}
}

// derive works out the rows of the search index.
func (r *rows) derive() error {
	d := r.s.tokens.deriver()
	r.search = make([]searchRow, len(r.records))
	for i := range r.records {
		row, err := d.row(&r.records[i])
		if err != nil {
			return err
		}
		r.search[i] = row
	}
	return nil
}

// insert queues INSERTs.
func (r *rows) insert(b *pgx.Batch, index bool) {
	n := len(r.records)
	idx, leaves := make([]int64, n), make([][]byte, n)
	keys := make([][16]byte, n)
	for i := range r.records {
		idx[i], leaves[i], keys[i] = int64(r.records[i].Index), r.records[i].Leaf, r.keys[i].key
	}
	for _, p := range partsOf(r.records) {
		b.Queue(r.s.sql(fmt.Sprintf("INSERT INTO @.entries_%d (idx, leaf) SELECT * FROM unnest($1::bigint[], $2::bytea[])", p.n)), idx[p.from:p.to], leaves[p.from:p.to])
		if !index {
			continue
		}
		sql := r.s.sql(fmt.Sprintf("INSERT INTO @.search_%d (idx, time, terms) VALUES ($1, $2, $3)", p.n))
		for i := p.from; i < p.to; i++ {
			b.Queue(sql, idx[i], r.search[i].time, r.search[i].terms)
		}
	}
	b.Queue(r.s.sql("INSERT INTO @.keys (key, idx) SELECT * FROM unnest($1::uuid[], $2::bigint[])"), keys, idx)
	for i := range r.records {
		for k := range r.records[i].Disclosures {
			d := &r.records[i].Disclosures[k]
			b.Queue(r.s.sql("INSERT INTO @.disclosures (idx, place, pointer, salt, value) VALUES ($1, $2, $3, $4, $5)"), idx[i], k, d.Pointer, d.Salt[:], d.Value)
		}
	}
}

// copy streams the rows by COPY in its binary form (PostgreSQL manual, COPY,
// Binary Format).
func (r *rows) copy(ctx context.Context, conn *pgconn.PgConn, index bool) error {
	var c copier
	for _, p := range partsOf(r.records) {
		c.reset()
		for i := p.from; i < p.to; i++ {
			c.row(2)
			c.int8(int64(r.records[i].Index))
			c.bytes(r.records[i].Leaf)
		}
		if err := c.send(ctx, conn, r.s.sql(fmt.Sprintf("COPY @.entries_%d (idx, leaf) FROM STDIN BINARY", p.n))); err != nil {
			return err
		}
		if !index {
			continue
		}
		if err := c.search(ctx, conn, r.s, p.n, r.search[p.from:p.to]); err != nil {
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
	return r.copyDisclosures(ctx, conn, &c)
}

// search copies rows of the search index into a partition.
func (c *copier) search(ctx context.Context, conn *pgconn.PgConn, s *Store, part uint64, rows []searchRow) error {
	c.reset()
	for i := range rows {
		c.row(3)
		c.int8(int64(rows[i].idx))
		c.int8(rows[i].time)
		c.int8s(rows[i].terms)
	}
	return c.send(ctx, conn, s.sql(fmt.Sprintf("COPY @.search_%d (idx, time, terms) FROM STDIN BINARY", part)))
}

// queueBlocks adds the blocks that are full since the index held from entries.
func (s *Store) queueBlocks(b *pgx.Batch, from, to uint64) {
	for n := from / blockWidth; (n+1)*blockWidth <= to; n++ {
		b.Queue(s.sql(fmt.Sprintf("INSERT INTO @.blocks (n, lo, hi) SELECT $1, min(time), max(time) FROM @.search_%d WHERE idx >= $2 AND idx < $3", n*blockWidth/partWidth)),
			int64(n), int64(n*blockWidth), int64((n+1)*blockWidth))
	}
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

func partsOf(records []attestlog.Record) []part {
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

// int8s appends an array of one dimension.
func (c *copier) int8s(v []int64) {
	const int8OID = 20
	if len(v) == 0 {
		c.int4raw(12)
		c.int4raw(0)
		c.int4raw(0)
		c.int4raw(int8OID)
		return
	}
	c.int4raw(int32(20 + 12*len(v)))
	for _, n := range [...]int32{1, 0, int8OID, int32(len(v)), 1} {
		c.int4raw(n)
	}
	for _, n := range v {
		c.int8(n)
	}
}

func (c *copier) send(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	c.int2raw(-1)
	_, err := conn.CopyFrom(ctx, bytes.NewReader(c.buf), sql)
	return err
}

// A deriver works out rows of the search index.
type deriver struct {
	tokens *tokens
	terms  []int64
	all    []int64 // of the rows, in few allocations
	term   []byte
	emit   func(field string, value []byte)
}

func (t *tokens) deriver() *deriver {
	d := &deriver{tokens: t}
	d.emit = func(field string, value []byte) {
		var token int64
		token, d.term = t.token(d.term, field, value)
		d.terms = append(d.terms, token)
	}
	return d
}

func (d *deriver) row(r *attestlog.Record) (searchRow, error) {
	d.terms = d.terms[:0]
	if err := attestlog.Terms(r.Leaf, r.Disclosures, d.emit); err != nil {
		return searchRow{}, &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: err}
	}
	at, ok := attestlog.LeafTime(r.Leaf)
	if !ok {
		return searchRow{}, &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: errors.New("has no time")}
	}
	slices.Sort(d.terms)
	d.terms = slices.Compact(d.terms)
	if cap(d.all)-len(d.all) < len(d.terms) {
		d.all = make([]int64, 0, max(4096, len(d.terms)))
	}
	at0 := len(d.all)
	d.all = append(d.all, d.terms...)
	return searchRow{r.Index, at, d.all[at0:len(d.all):len(d.all)]}, nil
}
