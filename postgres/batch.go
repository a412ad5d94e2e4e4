package postgres

import (
	"bytes"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/leafrow"
)

// copyEntries is how many entries a batch must have for COPY to be quicker than
// one pipeline of INSERTs.
const copyEntries = 200

// A batchWriter writes the rows of a batch's entries: their leaves, keys and
// disclosures.
type batchWriter struct {
	s       *Store
	entries []attestlog.RawEntry
	keys    []keyRow // of entries
}

// A keyRow is a row of the table keys.
type keyRow struct {
	key   attestlog.IDKey
	index uint64
}

// insert queues INSERTs. Values are arrays, so that a statement has the same text for
// any number of rows.
func (w *batchWriter) insert(b *pgx.Batch) error {
	for _, p := range splitBatch(w.entries) {
		var firsts []int64
		var counts []int16
		var leaves [][]byte
		err := leafrow.Pack(p.entries, func(row leafrow.Row) error {
			firsts = append(firsts, int64(row.First))
			counts = append(counts, int16(row.Count))
			leaves = append(leaves, bytes.Clone(row.Leaves)) // sent after the call, until which they are valid
			return nil
		})
		if err != nil {
			return err
		}

		sql := fmt.Sprintf(`INSERT INTO @.entries_%d (idx, n, leaves)
			SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bytea[])`, p.partition)
		b.Queue(w.s.sql(sql), firsts, counts, leaves)
	}

	indexes := make([]int64, len(w.keys))
	keys := make([][16]byte, len(w.keys))
	for i, k := range w.keys {
		indexes[i] = int64(k.index)
		keys[i] = k.key
	}
	b.Queue(w.s.sql("INSERT INTO @.keys (key, idx) SELECT * FROM unnest($1::uuid[], $2::bigint[])"), keys, indexes)

	w.insertDisclosures(b)
	return nil
}

func (w *batchWriter) insertDisclosures(b *pgx.Batch) {
	var indexes []int64
	var places []int16
	var pointers []string
	var salts, values [][]byte
	for i := range w.entries {
		e := &w.entries[i]
		for place := range e.Disclosures {
			d := &e.Disclosures[place]
			indexes = append(indexes, int64(e.Index))
			places = append(places, int16(place))
			pointers = append(pointers, d.Pointer)
			salts = append(salts, d.Salt[:])
			values = append(values, d.Value)
		}
	}
	if len(indexes) == 0 {
		return
	}
	b.Queue(w.s.sql(`INSERT INTO @.disclosures (idx, place, pointer, salt, value)
		SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::bytea[], $5::bytea[])`),
		indexes, places, pointers, salts, values)
}

// copy streams the rows by COPY.
func (w *batchWriter) copy(ctx context.Context, conn *pgconn.PgConn) error {
	// One buffer for all of the COPYs, and for later batches: it may be megabytes
	// long.
	rows := copyWriters.Get().(*copyWriter)
	defer copyWriters.Put(rows)

	for _, p := range splitBatch(w.entries) {
		rows.reset()
		err := leafrow.Pack(p.entries, func(row leafrow.Row) error {
			rows.row(3)
			rows.bigint(int64(row.First))
			rows.smallint(int16(row.Count))
			rows.bytes(row.Leaves)
			return nil
		})
		if err != nil {
			return err
		}

		sql := fmt.Sprintf("COPY @.entries_%d (idx, n, leaves) FROM STDIN BINARY", p.partition)
		err = rows.send(ctx, conn, w.s.sql(sql))
		if err != nil {
			return err
		}
	}

	rows.reset()
	for i := range w.keys {
		rows.row(2)
		rows.bytes(w.keys[i].key[:])
		rows.bigint(int64(w.keys[i].index))
	}
	err := rows.send(ctx, conn, w.s.sql("COPY @.keys (key, idx) FROM STDIN BINARY"))
	if err != nil {
		return err
	}

	return w.copyDisclosures(ctx, conn, rows)
}

func (w *batchWriter) copyDisclosures(ctx context.Context, conn *pgconn.PgConn, rows *copyWriter) error {
	rows.reset()
	n := 0
	for i := range w.entries {
		e := &w.entries[i]
		for place := range e.Disclosures {
			d := &e.Disclosures[place]
			rows.row(5)
			rows.bigint(int64(e.Index))
			rows.smallint(int16(place))
			rows.bytes([]byte(d.Pointer))
			rows.bytes(d.Salt[:])
			rows.bytes(d.Value)
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return rows.send(ctx, conn, w.s.sql("COPY @.disclosures (idx, place, pointer, salt, value) FROM STDIN BINARY"))
}
