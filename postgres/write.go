package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/merkle"
	"github.com/attestlog/attestlog/internal/retry"
)

// recentHashes is how many hashes of the open tile the tree's row has apart from the
// others, at most: see the schema.
const recentHashes = 16

const (
	retryFirst   = 20 * time.Millisecond
	retryLongest = 500 * time.Millisecond
)

// Write runs fn in a transaction that holds the tree's row, or, in a process that has
// the log to itself, before one that takes it and stores nothing if the tree is not the
// one that fn was shown; then fn runs again. After an error that may pass, fn runs again in another transaction, for as long as Config.Retry.
// It then finds events that were committed although the answer was lost by
// their ids.
func (s *Store) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	if s.cfg.ReadOnly {
		return fmt.Errorf("postgres: %w: it was opened for reading", attestlog.ErrReadOnly)
	}
	if s.index.filler != nil {
		err := s.index.filler.Unindexed.Wait(ctx)
		if err != nil {
			return unavailable(err)
		}
	}

	// The pool may be the caller's, and open.
	if s.closing.given() {
		return unavailable(attestlog.ErrClosed)
	}

	backoff := retry.Backoff{First: retryFirst, Longest: retryLongest}
	began := time.Now()
	for {
		fnErr, err := s.try(ctx, fn)
		if errors.Is(err, errStale) { // the next try reads the tree
			continue
		}
		s.dropBroken(ctx, err)
		if ctx.Err() == nil {
			s.failing.Note(err, s.cfg.Logger, slog.LevelWarn, "attestlog: a transaction failed",
				"attestlog: transactions are committed again", "log", s.cfg.Log)
		}
		if fnErr != nil {
			return fnErr
		}
		if err == nil {
			return nil
		}

		if ctx.Err() != nil {
			return unavailable(err)
		}
		// Once a session that hung was ended, its lock is free for the next try.
		mayPass := passing(err) || s.endHung(ctx, err)
		wait := backoff.Next()
		if !mayPass || time.Since(began)+wait > s.cfg.Retry {
			return unavailable(err)
		}

		// Once Close has begun, there is no next try.
		waiting, cancel := s.closing.with(ctx)
		stopped := retry.Sleep(waiting, wait) != nil
		cancel()
		if stopped {
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

// try runs one transaction. It is given up when a step takes longer than the
// limit: nothing else tells what hangs from what is slow. An answer that is
// lost this way is like any other that is lost. fnErr is fn's own error, with
// which nothing was stored.
func (s *Store) try(ctx context.Context, fn func(attestlog.Tx) error) (fnErr, err error) {
	timer := newStepTimer(ctx, s.stepLimit())
	defer timer.stop()

	fnErr, err = s.transact(timer, fn)
	if err != nil && timer.ctx.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %v: %v", s.stepLimit(), err) // not %w: the caller's context has not ended
	}
	return fnErr, err
}

func (s *Store) transact(timer *stepTimer, fn func(attestlog.Tx) error) (fnErr, err error) {
	ctx := timer.ctx
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release(conn)

	t := &tx{s: s, timer: timer, conn: conn}
	last := s.last.Swap(nil)
	if last != nil && last.likely {
		t.assume(last)
	} else {
		err = t.begin()
		if err != nil {
			return nil, err
		}
	}

	fnErr = fn(t)
	if fnErr != nil && t.assumed {
		return nil, errStale // whatever it is about, the tree was only assumed
	}
	if fnErr != nil {
		t.rollback()
		var own *storeError
		if errors.As(fnErr, &own) {
			return nil, own.err
		}
		return fnErr, nil
	}

	if t.put == nil && !t.assumed {
		timer.next()
		_, err = conn.Exec(ctx, "COMMIT")
		if err != nil {
			return nil, err
		}
	}
	s.keepLast(t.leaves(last))
	if t.put != nil && s.index.filler != nil {
		s.index.filler.Committed(t.put)
	}
	return nil, nil
}

// A storeError is an error of the database in a transaction, as opposed to one
// of the function that runs in it.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// asStoreError marks an error unless it is a finding about the log.
func asStoreError(err error) error {
	var corrupt *attestlog.CorruptError
	if err == nil || errors.As(err, &corrupt) || errors.Is(err, attestlog.ErrNotFound) {
		return err
	}
	return &storeError{err}
}

// A tx is an open write transaction. It belongs to the goroutine that called
// Write.
type tx struct {
	s       *Store
	timer   *stepTimer
	conn    *pgxpool.Conn
	assumed bool             // the transaction has not begun, and tree and maxKey are assumed
	tree    attestlog.Tree   // as stored; its row is locked
	treeErr error            // the *attestlog.CorruptError of a damaged row, or nil
	maxKey  *attestlog.IDKey // the greatest stored, or nil
	keys    []keyRow         // those that PutKeys found to be new
	repeats bool             // PutKeys found others
	put     *attestlog.Batch // what was stored and committed, or nil
}

// A lastTree is the tree as this process committed it.
type lastTree struct {
	tree   attestlog.Tree
	maxKey *attestlog.IDKey

	// likely is set if the next transaction is likely to find the same tree, and to
	// bring new ids: nobody else has committed since the commit before, and the last
	// ids were new.
	likely bool
}

// errStale ends a transaction that assumed another tree than the one that is stored,
// or that an id is new.
var errStale = errors.New("another process has written meanwhile")

// assume takes the tree for what this process left. That saves a small batch all round
// trips but one: Put sends the statements that store it as one transaction, of which
// the first locks the row and fails if the tree is another.
func (t *tx) assume(last *lastTree) {
	t.assumed = true
	t.tree = last.tree
	t.maxKey = last.maxKey
}

// keepLast keeps the newest tree that is known. Transactions may end here in another
// order than they were committed in.
func (s *Store) keepLast(l *lastTree) {
	for {
		kept := s.last.Load()
		if kept != nil && kept.tree.Size > l.tree.Size || s.last.CompareAndSwap(kept, l) {
			return
		}
	}
}

// leaves returns what the transaction has left, for the next one to assume.
func (t *tx) leaves(before *lastTree) *lastTree {
	isAlone := before != nil && before.tree.Size == t.tree.Size && before.tree.Root == t.tree.Root
	out := &lastTree{t.tree, t.maxKey, isAlone && !t.repeats}
	if t.put == nil {
		return out
	}

	out.tree = t.put.Tree
	out.tree.Peaks = slices.Clone(out.tree.Peaks)
	out.tree.OpenTile = slices.Clone(out.tree.OpenTile)
	for i := range t.keys {
		if out.maxKey == nil || bytes.Compare(t.keys[i].key[:], out.maxKey[:]) > 0 {
			out.maxKey = &t.keys[i].key
		}
	}
	return out
}

// begun begins a transaction that has not begun yet, for what takes a connection. It
// fails with errStale if the tree is not what was assumed.
func (t *tx) begun() error {
	if !t.assumed {
		return nil
	}
	assumed := t.tree
	t.assumed = false
	err := t.begin()
	if err == nil && (t.treeErr != nil || t.tree.Size != assumed.Size || t.tree.Root != assumed.Root) {
		err = errStale
	}
	if err != nil {
		return &storeError{err}
	}
	return nil
}

// queueSettings queues the transaction's settings.
func (t *tx) queueSettings(b *pgx.Batch) {
	// Whatever the session's settings are, a client that stalls must not stop
	// the others, a batch takes longer than a query may, and a commit that is
	// acknowledged must be durable.
	b.Queue(`SELECT set_config('lock_timeout', $1, true),
		set_config('idle_in_transaction_session_timeout', $2, true),
		set_config('statement_timeout', $3, true),
		CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
			THEN set_config('synchronous_commit', 'on', true) END`,
		milliseconds(t.s.cfg.LockTimeout), milliseconds(t.s.cfg.Timeout), milliseconds(t.s.stepLimit()))
}

// begin starts the transaction and locks the tree's row, in one round trip.
func (t *tx) begin() error {
	t.timer.next()
	var b pgx.Batch
	b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	t.queueSettings(&b)
	b.Queue(t.s.sql(selectTree + " FOR UPDATE"))

	// A statement of its own, whose snapshot is taken once the row is locked.
	b.Queue(t.s.sql("SELECT (SELECT key FROM @.keys ORDER BY key DESC LIMIT 1)"))

	results := t.conn.SendBatch(t.timer.ctx, &b)
	defer results.Close()
	for range 2 {
		_, err := results.Exec()
		if err != nil {
			return err
		}
	}

	// A damaged row is damaged at the next try too: it is for the function that
	// runs in the transaction.
	var err error
	var corrupt *attestlog.CorruptError
	t.tree, err = scanTree(results.QueryRow())
	if errors.As(err, &corrupt) {
		t.treeErr = err
	} else if err != nil {
		return err
	}

	var key *[16]byte
	err = results.QueryRow().Scan(&key)
	if err != nil {
		return err
	}
	t.maxKey = (*attestlog.IDKey)(key)
	return results.Close()
}

// rollback ends the transaction, or the connection if that does not work.
func (t *tx) rollback() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.timer.ctx), time.Second)
	defer cancel()
	_, err := t.conn.Exec(ctx, "ROLLBACK")
	if err != nil {
		t.conn.Conn().Close(ctx)
	}
}

// Tree returns the tree as it was stored when the transaction began.
func (t *tx) Tree() (attestlog.Tree, error) { return t.tree, t.treeErr }

// PutKeys finds out which keys are new; Put stores them. Nobody else stores
// keys while the tree's row is locked.
func (t *tx) PutKeys(keys []attestlog.IDKey) ([]attestlog.Duplicate, error) {
	if t.treeErr != nil {
		return nil, t.treeErr
	}
	if len(keys) >= copyEntries {
		err := t.begun()
		if err != nil {
			return nil, err
		}
	}
	t.timer.next()
	stored, err := t.storedKeys(keys)
	if err != nil {
		return nil, &storeError{err}
	}

	// Ascending keys are all different.
	var earlier map[attestlog.IDKey]uint64
	if !ascending(keys) {
		earlier = make(map[attestlog.IDKey]uint64, len(keys))
	}

	var dups []attestlog.Duplicate
	next := t.tree.Size
	t.keys = make([]keyRow, 0, len(keys))
	for i, key := range keys {
		index, dup := stored[key]
		if !dup && earlier != nil {
			index, dup = earlier[key]
		}
		if dup {
			dups = append(dups, attestlog.Duplicate{Position: i, Index: index})
			continue
		}

		if earlier != nil {
			earlier[key] = next
		}
		t.keys = append(t.keys, keyRow{key, next})
		next++
	}
	t.repeats = len(dups) > 0
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

// storedKeys returns those of the keys that are stored, with their indexes. It
// asks only for keys up to the greatest that is stored, which those of new
// events mostly are not.
func (t *tx) storedKeys(keys []attestlog.IDKey) (map[attestlog.IDKey]uint64, error) {
	if t.maxKey == nil { // no key is stored
		return nil, nil
	}
	var ask [][16]byte
	for i := range keys {
		if bytes.Compare(keys[i][:], t.maxKey[:]) <= 0 {
			ask = append(ask, keys[i])
		}
	}
	// If nothing is known to be locked yet, storing them finds out: see putAssumed.
	if len(ask) == 0 || t.assumed {
		return nil, nil
	}

	rows, err := t.conn.Query(t.timer.ctx, t.s.sql("SELECT key, idx FROM @.keys WHERE key = ANY($1)"), ask)
	if err != nil {
		return nil, err
	}

	stored := map[attestlog.IDKey]uint64{}
	var key [16]byte
	var index int64
	_, err = pgx.ForEachRow(rows, []any{&key, &index}, func() error {
		stored[key] = uint64(index)
		return nil
	})
	return stored, err
}

// Entry returns an entry that was stored before the transaction.
func (t *tx) Entry(index uint64) (out attestlog.RawEntry, err error) {
	err = t.begun()
	if err != nil {
		return out, err
	}
	t.timer.next()
	found := false
	_, err = t.s.scanChunk(t.timer.ctx, t.conn, index, index+1, func(e *attestlog.RawEntry) error {
		out = e.Clone()
		found = true
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("entry %d: %w", index, attestlog.ErrNotFound)
	}
	return out, asStoreError(err)
}

// Scan is Store.Scan within the transaction.
func (t *tx) Scan(from, to uint64, fn func(*attestlog.RawEntry) error) error {
	err := t.begun()
	if err != nil {
		return err
	}
	err = t.s.scan(t.timer.ctx, t.conn, from, to, func(e *attestlog.RawEntry) error {
		t.timer.next()
		return fn(e)
	})
	return asStoreError(err)
}

// Tile is Store.Tile within the transaction.
func (t *tx) Tile(level int, n uint64) ([]byte, error) {
	err := t.begun()
	if err != nil {
		return nil, err
	}
	t.timer.next()
	hashes, err := t.s.readTile(t.timer.ctx, t.conn, level, n)
	return hashes, asStoreError(err)
}

// PutCheckpoint stores a note, unless a newer one is there.
func (t *tx) PutCheckpoint(size uint64, when time.Time, note []byte) error {
	err := t.begun()
	if err != nil {
		return err
	}
	t.timer.next()
	_, err = t.conn.Exec(t.timer.ctx, t.s.sql(`INSERT INTO @.checkpoints (size, time, note)
		SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM @.checkpoints WHERE size >= $1)`),
		int64(size), when.UnixMicro(), note)
	if err != nil {
		return &storeError{err}
	}
	return nil
}

// Put stores the batch and commits.
func (t *tx) Put(b *attestlog.Batch) error {
	t.timer.next()
	err := t.putBatch(b)
	if err != nil {
		return &storeError{err}
	}
	t.put = b
	return nil
}

func (t *tx) putBatch(b *attestlog.Batch) error {
	if len(t.keys) != len(b.Entries) {
		return fmt.Errorf("%d entries for %d new keys", len(b.Entries), len(t.keys))
	}
	isSmall := len(b.Entries) < copyEntries
	if t.assumed && isSmall && !t.lacksPartitions(b.Tree.Size) {
		return t.putAssumed(b)
	}

	err := t.begun()
	if err != nil {
		return err
	}
	partitions, err := t.makePartitions(b.Tree.Size)
	if err != nil {
		return err
	}

	var out pgx.Batch
	w := batchWriter{t.s, b.Entries, t.keys}
	if isSmall {
		err = w.insert(&out)
	} else {
		err = w.copy(t.timer.ctx, t.conn.Conn().PgConn())
	}
	if err != nil {
		return err
	}
	t.queueTree(&out, b)
	out.Queue("COMMIT")
	err = t.conn.SendBatch(t.timer.ctx, &out).Close()
	if isAnotherTree(err) {
		return errors.New("the tree's row changed while it was locked")
	}
	if err != nil {
		return err
	}

	t.s.partitions.Store(partitions)
	return nil
}

// putAssumed stores a small batch in one round trip. Its statements are one
// transaction, without a BEGIN and a COMMIT (PostgreSQL manual, 55.2.4, pipelining).
func (t *tx) putAssumed(b *attestlog.Batch) error {
	t.assumed = false
	var out pgx.Batch
	t.queueSettings(&out)
	t.queueTree(&out, b)
	w := batchWriter{t.s, b.Entries, t.keys}
	err := w.insert(&out)
	if err != nil {
		return err
	}

	err = t.conn.SendBatch(t.timer.ctx, &out).Close()
	var pg *pgconn.PgError
	isTaken := errors.As(err, &pg) && pg.Code == "23505" // unique_violation: an id
	if isTaken || isAnotherTree(err) {
		return errStale
	}
	return err
}

// isAnotherTree reports whether an error is that of queueTree's first statement for
// another tree than the transaction's.
func isAnotherTree(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "22012" // division_by_zero
}

// queueTree queues the tree's row and the full tiles. A tree that is not the one that
// was locked, or assumed, is a division by zero, which ends the transaction before it
// is committed: an answer would come too late.
func (t *tx) queueTree(out *pgx.Batch, b *attestlog.Batch) {
	whole := len(b.Tree.OpenTile) / recentHashes * recentHashes
	set := "size = $1::bigint / (size = $2 AND root = $3)::int, root = $4, peaks = $5, recent = $6, logged_time = $7"
	args := []any{
		int64(b.Tree.Size), int64(t.tree.Size), t.tree.Root[:], b.Tree.Root[:], merkle.JoinHashes(b.Tree.Peaks),
		merkle.JoinHashes(b.Tree.OpenTile[whole:]), b.Tree.LoggedTime.UnixMicro(),
	}
	if b.Tree.Size/recentHashes != t.tree.Size/recentHashes {
		set += ", tail = $8"
		args = append(args, merkle.JoinHashes(b.Tree.OpenTile[:whole]))
	}
	out.Queue(t.s.sql("UPDATE @.tree SET "+set), args...)
	for i := range b.Tiles {
		tile := &b.Tiles[i]
		out.Queue(t.s.sql("INSERT INTO @.tiles (level, n, hashes) VALUES ($1, $2, $3)"),
			tile.Level, int64(tile.N), tile.Hashes)
	}
}
