package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
)

const (
	// copyRows is how many entries it takes for COPY to be quicker than one
	// pipeline of INSERTs.
	copyRows   = 200
	retryFirst = 20 * time.Millisecond
	retryMost  = 500 * time.Millisecond
	// ahead is how far from the end of a partition the next one is made.
	ahead = partWidth / 8
)

// Write runs fn in a transaction that holds the tree's row. What can be tried
// again is, for Config.Retry: fn then runs anew, and events that were committed
// although the answer was lost are found by their ids.
func (s *Store) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	if s.cfg.ReadOnly {
		return fmt.Errorf("postgres: %w: it was opened for reading", attestlog.ErrReadOnly)
	}
	if f := s.index.filler; f != nil {
		if err := f.Backlog.WaitForRoom(ctx); err != nil {
			return unavailable(err)
		}
	}
	began := time.Now()
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		fnErr, err := s.try(ctx, fn)
		switch {
		case fnErr != nil:
			return fnErr
		case err == nil:
			return nil
		case ctx.Err() != nil || !passing(err) && !s.endHung(ctx, err) || time.Since(began)+wait > s.cfg.Retry:
			return unavailable(err)
		}
		s.cfg.Logger.Warn("attestlog: a transaction is tried again", "log", s.cfg.Log, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return unavailable(err)
		case <-s.stop.Done():
			return unavailable(err)
		}
	}
}

// passing reports whether an error may be gone at the next try: the connection,
// or a state of the server (PostgreSQL manual, appendix A).
func passing(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return true
	}
	switch pg.Code {
	case "57P01", "57P02", "57P03", // shutting down, crashed, starting up
		"25006",          // read-only: a standby that may be promoted
		"40001", "40P01", // serialization failure, deadlock
		"53300",          // too many connections
		"23505",          // a key that another batch took: it is looked up then
		"25P03", "57P05": // idle for too long, in a transaction or without one
		return true
	}
	return pg.Code[:2] == "08" // connection exceptions
}

// write is one try, which calls step before each of its steps. fnErr is fn's own
// error, with which nothing was stored.
func (s *Store) write(ctx context.Context, step func(), fn func(attestlog.Tx) error) (fnErr, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release(conn)
	t := &tx{s: s, ctx: ctx, step: step, conn: conn}
	if err := t.begin(); err != nil {
		return nil, err
	}
	if fnErr = fn(t); fnErr != nil {
		rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if _, err := conn.Exec(rollback, "ROLLBACK"); err != nil {
			conn.Conn().Close(rollback)
		}
		var own *storeError
		if errors.As(fnErr, &own) {
			return nil, own.err
		}
		return fnErr, nil
	}
	if t.committed {
		if s.index.filler != nil {
			s.index.filler.Offer(t.batch)
		}
		return nil, nil
	}
	step()
	_, err = conn.Exec(ctx, "COMMIT")
	return nil, err
}

// storeError marks the database's errors, so that they are told from fn's.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// tx is an open write transaction.
type tx struct {
	s         *Store
	ctx       context.Context
	step      func()
	conn      *pgxpool.Conn
	tree      attestlog.Tree
	maxKey    *attestlog.IDKey // the greatest stored
	keys      []keyRow         // that PutKeys found to be new
	committed bool
	batch     *attestlog.Batch // what was committed
}

type keyRow struct {
	key attestlog.IDKey
	idx uint64
}

// begin starts the transaction and locks the tree's row, in one round trip.
func (t *tx) begin() error {
	t.step()
	var b pgx.Batch
	b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	// A client that stalls must not stop the others, a batch takes longer than
	// a query may, and a commit that is acknowledged must be durable, whatever
	// the session's settings are.
	b.Queue(`SELECT set_config('lock_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true), set_config('statement_timeout', $3, true),
		CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN set_config('synchronous_commit', 'on', true) END`,
		milliseconds(t.s.cfg.LockTimeout), milliseconds(t.s.cfg.Timeout), milliseconds(t.s.limit()))
	b.Queue(t.s.sql("SELECT size, root, peaks, tail, logged_time FROM @.tree FOR UPDATE"))
	// A statement of its own, whose snapshot is taken once the row is locked.
	b.Queue(t.s.sql("SELECT (SELECT key FROM @.keys ORDER BY key DESC LIMIT 1)"))
	results := t.conn.SendBatch(t.ctx, &b)
	defer results.Close()
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	var key *[16]byte
	var err error
	if t.tree, err = scanTree(results.QueryRow()); err == nil {
		err = results.QueryRow().Scan(&key)
	}
	t.maxKey = (*attestlog.IDKey)(key)
	if err == nil {
		err = results.Close()
	}
	return err
}

func (t *tx) Tree() (attestlog.Tree, error) { return t.tree, nil }

// PutKeys finds out which keys are new; Put stores them. Nobody else stores
// keys while the tree's row is locked.
func (t *tx) PutKeys(keys []attestlog.IDKey) ([]attestlog.Duplicate, error) {
	t.step()
	taken, err := t.taken(keys)
	if err != nil {
		return nil, err
	}
	var seen map[attestlog.IDKey]uint64
	if !ascending(keys) {
		seen = make(map[attestlog.IDKey]uint64, len(keys))
	}
	next := t.tree.Size
	t.keys = make([]keyRow, 0, len(keys))
	var dups []attestlog.Duplicate
	for i, key := range keys {
		index, dup := taken[key]
		if !dup && seen != nil {
			index, dup = seen[key]
		}
		if dup {
			dups = append(dups, attestlog.Duplicate{Position: i, Index: index})
			continue
		}
		if seen != nil {
			seen[key] = next
		}
		t.keys = append(t.keys, keyRow{key, next})
		next++
	}
	return dups, nil
}

func ascending(keys []attestlog.IDKey) bool {
	for i := 1; i < len(keys); i++ {
		if bytes.Compare(keys[i-1][:], keys[i][:]) >= 0 {
			return false
		}
	}
	return true
}

// taken looks up the keys that may be stored: those that are not beyond all
// that are, as the keys of new events mostly are.
func (t *tx) taken(keys []attestlog.IDKey) (map[attestlog.IDKey]uint64, error) {
	if t.maxKey == nil {
		return nil, nil
	}
	var ask [][16]byte
	for i := range keys {
		if bytes.Compare(keys[i][:], t.maxKey[:]) <= 0 {
			ask = append(ask, keys[i])
		}
	}
	if len(ask) == 0 {
		return nil, nil
	}
	rows, err := t.conn.Query(t.ctx, t.s.sql("SELECT key, idx FROM @.keys WHERE key = ANY($1)"), ask)
	if err != nil {
		return nil, &storeError{err}
	}
	taken := map[attestlog.IDKey]uint64{}
	var key [16]byte
	var index int64
	_, err = pgx.ForEachRow(rows, []any{&key, &index}, func() error {
		taken[key] = uint64(index)
		return nil
	})
	if err != nil {
		return nil, &storeError{err}
	}
	return taken, nil
}

func (t *tx) Entry(index uint64) (out attestlog.RawEntry, err error) {
	t.step()
	found := false
	_, err = t.s.scanChunk(t.ctx, t.conn, index, index+1, func(r *attestlog.RawEntry) error {
		out, found = r.Clone(), true
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("entry %d: %w", index, attestlog.ErrNotFound)
	}
	return out, mark(err)
}

func (t *tx) Scan(from, to uint64, fn func(*attestlog.RawEntry) error) error {
	return mark(t.s.scan(t.ctx, t.conn, from, to, func(r *attestlog.RawEntry) error {
		t.step()
		return fn(r)
	}))
}

func (t *tx) Tile(level int, n uint64) ([]byte, error) {
	t.step()
	hashes, err := t.s.readTile(t.ctx, t.conn, level, n)
	return hashes, mark(err)
}

// mark marks what is not a finding about the log.
func mark(err error) error {
	var corrupt *attestlog.CorruptError
	if err == nil || errors.As(err, &corrupt) || errors.Is(err, attestlog.ErrNotFound) {
		return err
	}
	return &storeError{err}
}

// PutCheckpoint stores a note, unless a newer one is there.
func (t *tx) PutCheckpoint(size uint64, at time.Time, note []byte) error {
	t.step()
	_, err := t.conn.Exec(t.ctx, t.s.sql(`INSERT INTO @.checkpoints (size, time, note)
		SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM @.checkpoints WHERE size >= $1)`), int64(size), at.UnixMicro(), note)
	if err != nil {
		return &storeError{err}
	}
	return nil
}

// Put stores the batch and commits.
func (t *tx) Put(b *attestlog.Batch) error {
	t.step()
	if err := t.put(b); err != nil {
		return &storeError{err}
	}
	t.committed, t.batch = true, b
	return nil
}

func (t *tx) put(b *attestlog.Batch) error {
	if len(t.keys) != len(b.Entries) {
		return fmt.Errorf("%d records for %d new keys", len(b.Entries), len(t.keys))
	}
	r := rows{t.s, b.Entries, t.keys}
	parts, err := t.makePartitions(b.Tree.Size)
	if err != nil {
		return err
	}
	var out pgx.Batch
	if len(b.Entries) < copyRows {
		err = r.insert(&out)
	} else {
		err = r.copy(t.ctx, t.conn.Conn().PgConn())
	}
	if err != nil {
		return err
	}
	for i := range b.Tiles {
		tile := &b.Tiles[i]
		out.Queue(t.s.sql("INSERT INTO @.tiles (level, n, hashes) VALUES ($1, $2, $3)"), tile.Level, int64(tile.N), tile.Hashes)
	}
	// Another size than the one that was locked breaks the table's CHECK, which
	// ends the transaction before its COMMIT: an answer would come too late.
	out.Queue(t.s.sql("UPDATE @.tree SET size = CASE size WHEN $6 THEN $1 ELSE -1 END, root = $2, peaks = $3, tail = $4, logged_time = $5"),
		int64(b.Tree.Size), b.Tree.Root[:], joinHashes(b.Tree.Peaks), joinHashes(b.Tree.OpenTile), b.Tree.LoggedTime.UnixMicro(), int64(t.tree.Size))
	out.Queue("COMMIT")
	if err := t.conn.SendBatch(t.ctx, &out).Close(); err != nil {
		return err
	}
	t.s.parts.Store(parts)
	return nil
}

// makePartitions sees to it that the partitions for size entries, and soon the
// next, are there. It returns how many those are.
func (t *tx) makePartitions(size uint64) (uint64, error) {
	parts := max(t.s.parts.Load(), t.tree.Size/partWidth)
	for ; parts <= (size+ahead)/partWidth; parts++ {
		if _, err := t.conn.Exec(t.ctx, t.s.sql("SELECT @.make_partition($1)"), int64(parts)); err != nil {
			return 0, fmt.Errorf("make partition %d: %w", parts, err)
		}
	}
	return parts, nil
}

func joinHashes(hashes []attestlog.Hash) []byte {
	out := make([]byte, 0, len(hashes)*len(attestlog.Hash{}))
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out
}
