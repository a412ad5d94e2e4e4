package attestlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

// sequence is the sequencer goroutine: it stores whatever is queued as one
// transaction, and starts the next as soon as that commit returns. It ends
// when the queue is closed and empty, or when Close gives up.
func (l *Log) sequence() {
	defer close(l.drained)
	spool := &spooler{log: l}
	var batch []job
	var last bool
	wait := retryFirst
	for {
		held := len(batch) // records that a failed transaction left
		if held == 0 {
			if last && len(spool.stuck) == 0 {
				return
			}
			select {
			case <-l.queue.ready:
			case <-spool.retry():
			case <-l.stop.Done():
				l.abandon(nil, spool)
				return
			}
		}
		batch, last = l.queue.take(batch, batchEvents, batchBytes)
		if batch = spool.divert(batch, false); len(batch) == 0 {
			continue
		}
		var err error
		batch, err = spool.beside(batch, func() ([]job, error) { return l.commit(batch) })
		if err == nil {
			wait = retryFirst
			continue
		}
		l.counters.retries.Add(1)
		batch = spool.divert(batch, true)
		waiting := 0
		for i := range batch {
			waiting += batch[i].events()
		}
		if l.held.Store(int64(waiting)); waiting == 0 {
			continue // the callers know, and decide; the spool has the records
		}
		l.cfg.Logger.Error("attestlog: recorded events could not be stored and are tried again", "err", err, "events", waiting)
		select {
		case <-time.After(wait):
		case <-l.stop.Done():
			l.abandon(batch, spool)
			return
		}
		wait = min(2*wait, retryLongest)
	}
}

// abandon fails everything that is left when Close gives up, and that the spool
// does not take.
func (l *Log) abandon(batch []job, spool *spooler) {
	l.queue.close()
	for last := false; !last; {
		batch, last = l.queue.take(batch, batchEvents, batchBytes)
	}
	batch = append(spool.divert(batch, true), spool.stuck...)
	for i := range batch {
		l.fail(&batch[i], ErrClosed)
	}
	l.releaseJobs(batch)
}

func (l *Log) fail(j *job, err error) {
	if j.call == nil {
		l.recordFailed(&AppendError{[]string{j.draft.id()}, err})
		return
	}
	if !j.call.moved {
		l.counters.failed.Add(uint64(len(j.call.drafts)))
	}
	j.call.receipts, j.call.err = nil, j.call.failure(err)
	close(j.call.done)
}

func (l *Log) releaseJobs(jobs []job) {
	events, bytes := 0, 0
	for i := range jobs {
		events += jobs[i].events()
		bytes += jobs[i].bytes()
	}
	clear(jobs)
	l.queue.release(events, bytes)
}

// commit stores batch in one transaction and answers its callers. When the
// store fails, calls get the error and the recorded events are returned for
// another try: whether they were stored is then settled by their ids.
func (l *Log) commit(batch []job) ([]job, error) {
	for {
		var done *sequenced
		err := l.write(batch, &done)
		var conflict *conflictError
		if errors.As(err, &conflict) {
			l.edge = nil
			batch = l.without(batch, conflict.jobs)
			continue
		}
		if err != nil {
			l.edge = nil
			return l.hold(batch, err), err
		}
		l.counters.appended.Add(uint64(len(done.batch.Entries)))
		l.counters.duplicates.Add(uint64(done.duplicates))
		l.counters.size.Store(done.batch.Tree.Size)
		if len(done.batch.Entries) > 0 {
			l.known.Store(&done.batch.Tree)
		}
		l.held.Store(0)
		for i := range batch {
			if c := batch[i].call; c != nil {
				close(c.done)
			}
		}
		l.releaseJobs(batch)
		l.committed.fire()
		return batch[:0], nil
	}
}

// write runs one transaction, unless batch has only flushes.
func (l *Log) write(batch []job, done **sequenced) error {
	if len(batch) == 0 {
		*done = &sequenced{}
		(*done).batch.Tree.Size = l.counters.size.Load()
		return nil
	}
	s := newSequenced(batch)
	*done = s
	if len(s.drafts) == 0 {
		s.batch.Tree.Size = l.counters.size.Load()
		return nil
	}
	again := false
	ctx, cancel := l.stop, context.CancelFunc(func() {})
	if l.spoolable(batch) {
		ctx, cancel = context.WithTimeout(ctx, spoolAfter)
	}
	defer cancel()
	return l.store.Write(ctx, func(tx Tx) error {
		if again { // the edge may have the leaves of a try that was given up
			l.edge = nil
		}
		again = true
		s.reset()
		return l.sequenceBatch(tx, s)
	})
}

// hold fails the calls of batch and keeps its records; with a spool, which may
// take those, also the calls of Flush.
func (l *Log) hold(batch []job, err error) []job {
	held := 0
	for i := range batch {
		if batch[i].call == nil || l.cfg.Spool != nil && batch[i].events() == 0 {
			batch[held], batch[i] = batch[i], batch[held]
			// A store that failed may be reading the bytes that the next try
			// finishes.
			new(arena).keep(&batch[held].draft, 0)
			held++
		}
	}
	for i := held; i < len(batch); i++ {
		l.fail(&batch[i], err)
	}
	l.releaseJobs(batch[held:])
	return batch[:held]
}

// sequenced is a batch being given its place.
type sequenced struct {
	drafts      []*draft
	owner       []int      // of each draft: its job
	place       []int      // of each draft: its position in the job
	receipts    []*Receipt // of each draft: where its receipt goes, or nil
	hashes      []Hash     // of each draft: its leaf's
	batch       Batch
	disclosures []Disclosure // of the batch
	duplicates  int
}

func newSequenced(jobs []job) *sequenced {
	s := &sequenced{}
	for i := range jobs {
		j := &jobs[i]
		if j.call == nil {
			s.add(&j.draft, i, 0, nil)
			continue
		}
		j.call.receipts = make([]Receipt, len(j.call.drafts))
		for k := range j.call.drafts {
			s.add(&j.call.drafts[k], i, k, &j.call.receipts[k])
		}
	}
	return s
}

func (s *sequenced) add(d *draft, job, place int, r *Receipt) {
	s.drafts = append(s.drafts, d)
	s.owner = append(s.owner, job)
	s.place = append(s.place, place)
	s.receipts = append(s.receipts, r)
}

func (s *sequenced) reset() {
	s.batch = Batch{Entries: make([]RawEntry, 0, len(s.drafts))}
	s.disclosures, s.duplicates = nil, 0
}

// finishBytes is how much of a batch one goroutine hashes.
const finishBytes = 128 << 10

// finish finishes the leaves and hashes them, in goroutines of their own if
// there is much to hash. It returns a function that waits for that.
func (s *sequenced) finish(logged time.Time) (wait func()) {
	text := appendTime(nil, logged, 6)
	s.hashes = make([]Hash, len(s.drafts))
	part := func(from, to int) {
		for i, d := range s.drafts[from:to] {
			d.finish(text)
			s.hashes[from+i] = sha256.Sum256(d.node)
		}
	}
	var wg sync.WaitGroup
	from, bytes := 0, 0
	for i, d := range s.drafts {
		if bytes += d.size(); bytes >= finishBytes {
			first := from
			wg.Go(func() { part(first, i+1) })
			from, bytes = i+1, 0
		}
	}
	part(from, len(s.drafts))
	return wg.Wait
}

// sequenceBatch gives the new drafts their indexes and time, adds them to the
// tree, and puts the result into tx.
func (l *Log) sequenceBatch(tx Tx, s *sequenced) error {
	tree, err := tx.Tree()
	if err != nil {
		return err
	}
	if err := l.catchUp(tree, tx); err != nil {
		return err
	}
	keys := make([]IDKey, len(s.drafts))
	for i, d := range s.drafts {
		keys[i] = d.key
	}
	logged := l.now(tree.LoggedTime)
	wait := s.finish(logged)
	dups, err := tx.PutKeys(keys)
	wait()
	if err != nil {
		return err
	}
	next := 0
	for i, d := range s.drafts {
		if next < len(dups) && dups[next].Position == i {
			next++
			continue
		}
		h := s.hashes[i]
		index := l.edge.size
		l.edge.push(h, func(t Tile) { s.batch.Tiles = append(s.batch.Tiles, t) })
		first := len(s.disclosures)
		s.disclosures = d.disclosures(s.disclosures)
		s.batch.Entries = append(s.batch.Entries, RawEntry{index, d.leaf(), s.disclosures[first:len(s.disclosures):len(s.disclosures)]})
		if r := s.receipts[i]; r != nil {
			*r = Receipt{index, d.id(), h, logged}
		}
	}
	if err := s.answerDuplicates(tx, tree.Size, dups); err != nil {
		return err
	}
	if len(s.batch.Entries) == 0 {
		s.batch.Tree = tree
		return nil
	}
	s.batch.Tree = l.edge.tree(logged)
	return tx.Put(&s.batch)
}

// catchUp brings the edge to the stored tree, which another process may have
// moved on.
func (l *Log) catchUp(tree Tree, tx Tx) error {
	if l.edge != nil && l.edge.size == tree.Size {
		if l.edge.root() == tree.Root {
			return nil
		}
		return &CorruptError{tree.Size, "tree", errors.New("the stored root is not the one that this process wrote")}
	}
	if l.edge != nil && l.edge.size < tree.Size && tree.Size-l.edge.size <= followMost {
		follows, err := l.edge.follow(tree, tx)
		if err != nil || follows {
			return err
		}
		l.edge = nil // what is wrong is found out below
	}
	if known := l.known.Load(); known != nil {
		if err := extends(tree, *known, txSource(tx)); err != nil {
			return err
		}
	}
	e, err := loadEdge(tree, txSource(tx))
	l.edge = e
	return err
}

// follow adds the leaves that another process stored since, and reports whether
// that leads to the stored tree. If not, the edge is of no more use.
func (e *edge) follow(tree Tree, tx Tx) (bool, error) {
	err := tx.Scan(e.size, tree.Size, func(r *RawEntry) error {
		e.push(LeafHash(r.Leaf), func(Tile) {})
		return nil
	})
	return e.size == tree.Size && e.root() == tree.Root, err
}

// extends checks that a tree holds what this process knows to be in the log:
// a database that was put back while it was open is not written.
func extends(tree, known Tree, src tileSource) error {
	if tree.Size < known.Size {
		return &CorruptError{tree.Size, "tree", fmt.Errorf("has %d entries, this process wrote %d", tree.Size, known.Size)}
	}
	root, err := rootAt(tree, known.Size, src)
	if err == nil && root != known.Root {
		err = &CorruptError{known.Size, "tree", errors.New("is not on the history that this process wrote")}
	}
	return err
}

// now returns the time that the next entries are logged at: the clock's,
// unless that went back behind the last entry's.
func (l *Log) now(last time.Time) time.Time {
	wall := l.cfg.Clock()
	mono := time.Now()
	if !l.lastMono.IsZero() {
		if jump := wall.Round(0).Sub(l.lastWall) - mono.Sub(l.lastMono); jump > clockJump || jump < -clockJump {
			l.counters.clockJumps.Add(1)
			l.cfg.Logger.Warn("attestlog: the clock jumped", "by", jump)
		}
	} else if ahead := last.Sub(wall); ahead > clockJump {
		l.counters.clockJumps.Add(1)
		l.cfg.Logger.Warn("attestlog: the clock is behind the last entry; entries keep its time until the clock has caught up", "behind", ahead)
	}
	l.lastWall, l.lastMono = wall.Round(0), mono
	logged := wall.UTC().Truncate(time.Microsecond)
	if logged.Before(last) {
		return last
	}
	return logged
}

// system appends an entry of the log's own.
func (l *Log) system(ctx context.Context, e Event) (Receipt, error) {
	e.Actor = Actor{ID: "attestlog", Type: "system"}
	e.Outcome = Success
	receipts, err := l.append(ctx, []Event{e})
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}
