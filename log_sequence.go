package attestlog

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/merkle"
	"github.com/attestlog/attestlog/internal/wake"
)

// A head is how far the log goes, as this process knows.
type head struct {
	// known is the last tree that this process wrote or checked; nil if none.
	known atomic.Pointer[Tree]
	// size is the number of entries that were there last.
	size atomic.Uint64
	// changed fires after each commit and each publication.
	changed wake.Signal
}

// A sequencer stores batches, each in one transaction, and starts the next as
// soon as that commit returns. It is the only one that writes entries. Its
// goroutine is the one that runs run; before that starts, opening the log may
// call commit.
type sequencer struct {
	store    Store
	intake   *intake
	head     *head
	life     *lifecycle
	failures *failures
	counters *counters
	clock    func() time.Time
	logger   *slog.Logger

	// Owned by the goroutine of run.
	edge     *merkle.Edge // nil: must be loaded
	lastWall time.Time    // the clock when it was looked at last
	lastMono time.Time    // the same moment with a monotonic reading
}

// run ends when the queue is closed and empty, or when Close gives up.
func (s *sequencer) run() {
	defer s.life.drained.reach()

	for {
		batch, ok := s.intake.next()
		if !ok {
			return
		}

		stop := s.intake.divertDuring(batch)
		unstored, err := s.commit(batch)
		if err != nil {
			s.counters.retries.Add(1)
			unstored = s.intake.failCalls(unstored, err) // now, not after the pause
		}
		stop()
		if err != nil {
			s.intake.retry(unstored, err)
		}
	}
}

// commit stores a batch in one transaction and answers its callers. Calls that
// conflict are answered with that, and the others stored without them. When the
// store fails, the jobs that remain are returned with the error: whether they
// were stored is then told by their ids.
func (s *sequencer) commit(batch []job) ([]job, error) {
	for {
		done, err := s.write(batch)
		var conflict *conflictError
		switch {
		case errors.As(err, &conflict):
			s.edge = nil
			batch = s.failConflicts(batch, conflict)
			continue
		case err != nil:
			// The edge may have leaves that the store does not, or the other way
			// round: the next batch loads it again.
			s.edge = nil
			return batch, err
		}

		s.counters.appended.Add(uint64(len(done.batch.Entries)))
		s.counters.duplicates.Add(uint64(done.duplicates))
		if len(done.drafts) > 0 {
			s.head.size.Store(done.batch.Tree.Size)
		}
		if len(done.batch.Entries) > 0 {
			s.head.known.Store(&done.batch.Tree)
		}

		// Once a caller has its answer, nothing counts as waiting any more.
		s.intake.stored(batch)
		for i := range batch {
			if c := batch[i].call; c != nil {
				close(c.done)
			}
		}
		s.intake.queue.release(batch)
		s.head.changed.Fire()
		return nil, nil
	}
}

// write runs one transaction, unless a batch has only flushes.
func (s *sequencer) write(batch []job) (*placement, error) {
	p := newPlacement(batch)
	if len(p.drafts) == 0 {
		return p, nil
	}

	ctx, cancel := s.intake.commitContext(batch)
	defer cancel()
	again := false
	err := s.store.Write(ctx, func(tx Tx) error {
		if again {
			s.edge = nil // it may have the leaves of a try that was given up
		}
		again = true
		p.reset()
		return s.place(tx, p)
	})
	return p, err
}

// place gives the new drafts their indexes and time, adds them to the tree, and
// puts the result into tx.
func (s *sequencer) place(tx Tx, p *placement) error {
	tree, err := tx.Tree()
	if err != nil {
		return err
	}
	err = s.catchUp(tree, tx)
	if err != nil {
		return err
	}

	// The leaves are hashed while the store looks for their ids.
	keys := make([]IDKey, len(p.drafts))
	for i, d := range p.drafts {
		keys[i] = d.key
	}
	logged := s.now(tree.LoggedTime)
	wait := p.finish(logged)
	duplicates, err := tx.PutKeys(keys)
	wait()
	if err != nil {
		return err
	}

	full := func(t merkle.Tile) { p.batch.Tiles = append(p.batch.Tiles, Tile(t)) }
	next := 0 // of duplicates, which are in the order of the drafts
	for i, d := range p.drafts {
		if next < len(duplicates) && duplicates[next].Position == i {
			next++
			continue
		}

		index := s.edge.Size()
		s.edge.Push(p.hashes[i], full)
		first := len(p.disclosures)
		p.disclosures = d.disclosures(p.disclosures)
		p.batch.Entries = append(p.batch.Entries, RawEntry{
			Index:       index,
			Leaf:        d.leaf(),
			Disclosures: p.disclosures[first:len(p.disclosures):len(p.disclosures)],
		})
		if r := p.receipts[i]; r != nil {
			*r = Receipt{index, d.id(), p.hashes[i], logged}
		}
	}

	err = p.answerDuplicates(tx, tree.Size, duplicates)
	if err != nil {
		return err
	}
	if len(p.batch.Entries) == 0 {
		p.batch.Tree = tree
		return nil
	}
	p.batch.Tree = treeOf(s.edge, logged)
	return tx.Put(&p.batch)
}

// maxFollowed is how many entries of other processes are hashed to follow them,
// before the edge is loaded from the tiles instead.
const maxFollowed = 20_000

// catchUp brings the edge to the stored tree, which another process may have
// moved on.
func (s *sequencer) catchUp(tree Tree, tx Tx) error {
	if s.edge != nil && s.edge.Size() == tree.Size {
		if s.edge.Root() == tree.Root {
			return nil
		}
		return &CorruptError{tree.Size, "tree", errors.New("the stored root is not the one that this process wrote")}
	}

	if s.edge != nil && s.edge.Size() < tree.Size && tree.Size-s.edge.Size() <= maxFollowed {
		follows, err := s.follow(tree, tx)
		if err != nil || follows {
			return err
		}
		s.edge = nil // what is wrong is found out below
	}

	known := s.head.known.Load()
	if known != nil {
		err := checkExtends(tree, *known, txSource(tx))
		if err != nil {
			return err
		}
	}
	edge, err := loadEdge(tree, txSource(tx))
	s.edge = edge
	return err
}

// follow adds the leaves that another process stored since, and reports whether
// that leads to the stored tree. If not, the edge is of no more use.
func (s *sequencer) follow(tree Tree, tx Tx) (bool, error) {
	err := tx.Scan(s.edge.Size(), tree.Size, func(r *RawEntry) error {
		s.edge.Push(LeafHash(r.Leaf), func(merkle.Tile) {})
		return nil
	})
	return s.edge.Size() == tree.Size && s.edge.Root() == tree.Root, err
}

// checkExtends checks that a tree holds what this process knows to be in the
// log: a database that was put back while it was open is not written.
func checkExtends(tree, known Tree, src merkle.Source) error {
	if tree.Size < known.Size {
		return &CorruptError{tree.Size, "tree", fmt.Errorf("has %d entries, this process wrote %d", tree.Size, known.Size)}
	}

	root, err := rootAt(tree, known.Size, src)
	if err == nil && root != known.Root {
		err = &CorruptError{known.Size, "tree", errors.New("is not on the history that this process wrote")}
	}
	return err
}

// clockJump is the step of the clock from which on it is reported.
const clockJump = 5 * time.Second

// now returns the time at which the next entries are logged: the clock's, unless
// that went back to before the last entry's.
func (s *sequencer) now(last time.Time) time.Time {
	wall := s.clock()
	mono := time.Now()
	if s.lastMono.IsZero() {
		ahead := last.Sub(wall)
		if ahead > clockJump {
			s.counters.clockJumps.Add(1)
			s.logger.Warn("attestlog: the clock is before the last entry; entries keep its time until the clock has caught up", "behind", ahead)
		}
	} else {
		jump := wall.Round(0).Sub(s.lastWall) - mono.Sub(s.lastMono)
		if jump.Abs() > clockJump {
			s.counters.clockJumps.Add(1)
			s.logger.Warn("attestlog: the clock jumped", "by", jump)
		}
	}
	s.lastWall = wall.Round(0)
	s.lastMono = mono

	logged := wall.UTC().Truncate(time.Microsecond)
	if logged.Before(last) {
		return last
	}
	return logged
}

// failConflicts fails the jobs of a batch that conflict, and returns the others.
func (s *sequencer) failConflicts(batch []job, conflict *conflictError) []job {
	var kept, failed []job
	for i := range batch {
		drafts := conflict.jobs[i]
		if drafts == nil {
			kept = append(kept, batch[i])
			continue
		}

		if c := batch[i].call; c != nil {
			c.conflicts = drafts
		}
		first := slices.Min(slices.Collect(maps.Keys(drafts)))
		s.failures.fail(&batch[i], drafts[first])
		failed = append(failed, batch[i])
	}
	s.intake.queue.release(failed)
	return kept
}

// A placement is a batch being given its place.
type placement struct {
	drafts   []*draft
	origins  []origin   // of each draft
	receipts []*Receipt // of each draft: where its receipt goes, or nil
	hashes   []Hash     // of each draft: its leaf's

	batch       Batch
	disclosures []Disclosure // of the batch
	duplicates  int
}

// An origin is where a draft comes from.
type origin struct {
	job      int // of the batch
	position int // in the job
}

func newPlacement(batch []job) *placement {
	n := 0
	for i := range batch {
		n += batch[i].events()
	}
	p := &placement{
		drafts:   make([]*draft, 0, n),
		origins:  make([]origin, 0, n),
		receipts: make([]*Receipt, 0, n),
	}

	for i := range batch {
		j := &batch[i]
		if j.call == nil {
			p.add(&j.draft, origin{i, 0}, nil)
			continue
		}

		j.call.receipts = make([]Receipt, len(j.call.drafts))
		for k := range j.call.drafts {
			p.add(&j.call.drafts[k], origin{i, k}, &j.call.receipts[k])
		}
	}
	return p
}

func (p *placement) add(d *draft, from origin, r *Receipt) {
	p.drafts = append(p.drafts, d)
	p.origins = append(p.origins, from)
	p.receipts = append(p.receipts, r)
}

// reset forgets what a try that was given up made.
func (p *placement) reset() {
	p.batch = Batch{Entries: make([]RawEntry, 0, len(p.drafts))}
	p.disclosures = nil
	p.duplicates = 0
}

// finishBytes is how much of a batch one goroutine hashes.
const finishBytes = 128 << 10

// finish finishes the leaves and hashes them, in goroutines of their own if there
// is much to hash. It returns a function that waits for these.
func (p *placement) finish(logged time.Time) (wait func()) {
	text := canon.AppendTime(nil, logged, loggedDigits)
	p.hashes = make([]Hash, len(p.drafts))
	hash := func(from, to int) {
		for i := from; i < to; i++ {
			p.drafts[i].finish(text)
			p.hashes[i] = sha256.Sum256(p.drafts[i].node)
		}
	}

	var running sync.WaitGroup
	from, bytes := 0, 0
	for i, d := range p.drafts {
		bytes += d.size()
		if bytes >= finishBytes {
			first := from
			running.Go(func() { hash(first, i+1) })
			from, bytes = i+1, 0
		}
	}
	hash(from, len(p.drafts))
	return running.Wait
}

// answerDuplicates answers the drafts whose keys are taken. Conflicts with what
// is stored are reported all at once; those with earlier drafts only when there
// is no other, and of one job, because those drafts may themselves be given up.
func (p *placement) answerDuplicates(tx Tx, size uint64, duplicates []Duplicate) error {
	stored, within := &conflictError{}, &conflictError{}
	for _, dup := range duplicates {
		same, err := p.answerDuplicate(tx, size, dup)
		if err != nil {
			return err
		}
		if same {
			continue
		}

		// A draft that conflicts with one of its own batch may be free once that
		// one is given up for another reason.
		from := p.origins[dup.Position]
		err = fmt.Errorf("id %s is entry %d: %w", p.drafts[dup.Position].id(), dup.Index, ErrConflict)
		switch {
		case dup.Index < size:
			stored.add(from, err)
		case len(within.jobs) == 0 || within.jobs[from.job] != nil:
			within.add(from, err)
		}
	}

	switch {
	case len(stored.jobs) > 0:
		return stored
	case len(within.jobs) > 0:
		return within
	}
	return nil
}

// answerDuplicate answers a draft whose key is taken with the receipt of the
// entry that has it, and reports whether that has the same content.
func (p *placement) answerDuplicate(tx Tx, size uint64, dup Duplicate) (bool, error) {
	// The entry is stored already, or is an earlier draft of this batch.
	d := p.drafts[dup.Position]
	var stored RawEntry
	if dup.Index >= size {
		stored = p.batch.Entries[dup.Index-size]
	} else {
		var err error
		stored, err = tx.Entry(dup.Index)
		if err != nil {
			return false, err
		}
	}

	leaf, err := decodeLeaf(stored.Leaf)
	if err != nil {
		return false, &CorruptError{dup.Index, "leaf", err}
	}
	same, err := d.sameContent(&leaf, stored.Disclosures)
	if err != nil {
		return false, &CorruptError{dup.Index, "disclosures", err}
	}
	if !same {
		return false, nil
	}

	p.duplicates++
	if r := p.receipts[dup.Position]; r != nil {
		*r = Receipt{dup.Index, leaf.Event.ID, LeafHash(stored.Leaf), leaf.LoggedTime}
	}
	return true, nil
}

// A conflictError names the jobs whose ids are taken, so that the rest of the
// batch can go on without them, and of each job the drafts.
type conflictError struct {
	jobs map[int]map[int]error
}

func (e *conflictError) add(from origin, err error) {
	if e.jobs == nil {
		e.jobs = map[int]map[int]error{}
	}
	if e.jobs[from.job] == nil {
		e.jobs[from.job] = map[int]error{}
	}
	e.jobs[from.job][from.position] = err
}

func (e *conflictError) Error() string {
	return fmt.Sprintf("%d calls with ids that are taken", len(e.jobs))
}

// What package merkle says of a tree, as a *CorruptError.

func loadEdge(tree Tree, src merkle.Source) (*merkle.Edge, error) {
	edge, err := merkle.LoadEdge(tree.head(), src)
	return edge, corruptError(err)
}

func rootAt(tree Tree, size uint64, src merkle.Source) (Hash, error) {
	root, err := merkle.RootAt(tree.head(), size, src)
	return root, corruptError(err)
}

func corruptError(err error) error {
	var in *merkle.Error
	if errors.As(err, &in) {
		return &CorruptError{in.Index, in.Where, in.Err}
	}
	return err
}

// txSource reads hashes within a transaction.
func txSource(tx Tx) merkle.Source {
	return merkle.Source{
		Tile: tx.Tile,
		Leaves: func(from, to uint64, fn func(uint64, []byte) error) error {
			return tx.Scan(from, to, func(r *RawEntry) error { return fn(r.Index, r.Leaf) })
		},
	}
}
