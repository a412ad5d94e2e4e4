package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/merkle"
)

// A Source is what a log, an export or a folder of tiles gives to the verifier.
// Scan must be safe for concurrent use; Tile and Tree may be nil.
type Source struct {
	Size uint64
	// Scan calls fn with each entry from ≤ index < to, in order. The bytes are
	// valid only during the call.
	Scan func(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error
	// Tile returns a full tile's 8,192 bytes, or attestlog.ErrNotFound.
	Tile func(level int, n uint64) ([]byte, error)
	Tree *attestlog.Tree // as it is stored
	// Clear says that the source never has disclosures, as tiles have none, so
	// that none is missing.
	Clear bool
	// Checkpoints calls fn with each signed note.
	Checkpoints func(fn func(signed []byte) error) error
}

// Entries verifies entries that come from elsewhere than a Log: an export, the
// file of a follower, or a folder of tiles. It checks what Log does, except for
// what only a store has. origin may be empty if the keys tell.
func Entries(ctx context.Context, src Source, origin string, opts Options) (Report, error) {
	if len(opts.Keys) == 0 {
		return Report{}, fmt.Errorf("%w: no key was given", ErrCannotVerify)
	}
	if origin == "" {
		origin = opts.Keys[0].Name()
	}

	v := newVerifier(opts, origin)
	err := v.run(ctx, src)
	if err != nil {
		return v.report, err
	}
	return v.report, v.conclude()
}

// A verifier holds the state of one verification. It is owned by the goroutine
// that calls run, except for opts and seed, which are never changed.
type verifier struct {
	opts    Options
	origin  string
	trusted []note.Verifier
	report  Report

	edge   merkle.Edge
	logged int64 // the last entry's logged time

	sizes  []uint64         // of the checkpoints, ascending
	roots  []attestlog.Hash // at sizes, the first rooted of which are known
	rooted int

	announced []announcement      // keys that the log announces, not trusted yet
	missing   map[uint64][]string // sealed values without disclosure or erase entry

	// keySum is a hash of the set of entries' keys: a sum, so that the order in
	// which a store lists its keys does not matter.
	keySum uint64
	seed   maphash.Seed
}

// An announcement is an entry that announces a verifier key.
type announcement struct {
	index uint64
	key   string
	note  string // signed by the key before
}

func newVerifier(opts Options, origin string) *verifier {
	v := &verifier{
		opts:    opts,
		origin:  origin,
		trusted: opts.Keys,
		missing: map[uint64][]string{},
		seed:    maphash.MakeSeed(),
	}
	for _, k := range opts.Keys {
		v.report.Keys = append(v.report.Keys, fmt.Sprintf("%s+%08x", k.Name(), k.KeyHash()))
	}
	return v
}

// A chunk is some entries after the work that needs no order.
type chunk struct {
	from          uint64
	hashes        []attestlog.Hash
	first, logged int64 // logged times of the first and the last
	keySum        uint64
	missing       map[uint64][]string
	own           []ownEntry // what the log says about itself
	err           error
}

// An ownEntry is an entry of the log's own.
type ownEntry struct {
	index uint64
	event attestlog.Event
}

// chunkEntries is how many entries are checked at a time.
const chunkEntries = 32 * merkle.TileWidth

// progressInterval is how often Options.Progress is called at most.
const progressInterval = 50 * time.Millisecond

// run verifies entries and checkpoints.
func (v *verifier) run(ctx context.Context, src Source) error {
	err := v.gatherSizes(src)
	if err != nil {
		return err
	}

	// After an error the goroutines are told to end and waited for, because src is
	// the caller's.
	ctx, cancel := context.WithCancel(ctx)
	chunks, wait := v.checkChunks(ctx, src)
	defer wait()
	defer cancel()

	lastProgress := time.Now()
	for slot := range chunks {
		err := v.add(<-slot, src)
		if err != nil {
			return err
		}

		if v.opts.Progress != nil && time.Since(lastProgress) > progressInterval {
			v.opts.Progress(v.edge.Size(), src.Size)
			lastProgress = time.Now()
		}
	}
	err = ctx.Err()
	if err != nil {
		return err
	}
	if v.opts.Progress != nil {
		v.opts.Progress(v.edge.Size(), src.Size)
	}

	v.report.Size = v.edge.Size()
	v.report.Root = v.edge.Root()
	if src.Tree != nil {
		err := v.compareTree(*src.Tree)
		if err != nil {
			return err
		}
	}
	return v.checkpoints(src)
}

// checkChunks checks chunks in goroutines that end with ctx, or with the last
// entry. The slots come in the order of the log, each to be filled with its
// chunk. wait returns when the goroutines have ended.
func (v *verifier) checkChunks(ctx context.Context, src Source) (chunks <-chan chan *chunk, wait func()) {
	workers := runtime.GOMAXPROCS(0)
	slots := make(chan chan *chunk, 2*workers)
	work := make(chan func(), workers)

	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for task := range work {
				task()
			}
		})
	}

	// slots bounds how far the workers may be ahead of the chunk that is added
	// next.
	running.Go(func() {
		defer close(slots)
		defer close(work)
		for from := uint64(0); from < src.Size; from += chunkEntries {
			slot := make(chan *chunk, 1)
			select {
			case slots <- slot:
			case <-ctx.Done():
				return
			}
			work <- func() { slot <- v.check(ctx, src, from, min(src.Size, from+chunkEntries)) }
		}
	})

	return slots, running.Wait
}

// check does what needs no order for the entries from ≤ index < to.
func (v *verifier) check(ctx context.Context, src Source, from, to uint64) *chunk {
	c := &chunk{from: from, hashes: make([]attestlog.Hash, 0, to-from)}
	var facts leafFacts
	next := from
	c.err = src.Scan(ctx, from, to, func(r *attestlog.RawEntry) error {
		if r.Index != next {
			return corrupt(next, "leaf", "missing")
		}
		next++
		if r.Err != nil { // a copy has it as damaged
			return r.Err
		}

		c.hashes = append(c.hashes, merkle.LeafHash(r.Leaf))
		err := facts.read(r.Leaf)
		if err != nil {
			return &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: err}
		}
		return v.checkEntry(c, src, r, &facts)
	})
	if c.err == nil && next != to {
		c.err = corrupt(next, "leaf", "missing")
	}
	return c
}

func (v *verifier) checkEntry(c *chunk, src Source, r *attestlog.RawEntry, f *leafFacts) error {
	isFirst := len(c.hashes) == 1
	switch {
	case isFirst:
		c.first = f.logged
	case f.logged < c.logged:
		return corrupt(r.Index, "leaf", "logged_time goes back")
	}
	c.logged = f.logged
	c.keySum += v.keyHash(f.key(), r.Index)

	missing, err := f.missing(r.Disclosures)
	if err != nil {
		return &attestlog.CorruptError{Index: r.Index, Where: "disclosures", Err: err}
	}
	if missing != nil && !src.Clear {
		if c.missing == nil {
			c.missing = map[uint64][]string{}
		}
		c.missing[r.Index] = missing
	}

	// Decoding a leaf costs more than all of the above, and is left out where
	// nothing of it is needed.
	ofTheLog := bytes.HasPrefix(f.action, []byte(attestlog.ReservedPrefix))
	if !ofTheLog && !v.opts.Index {
		return nil
	}
	leaf, err := attestlog.ParseLeaf(r.Leaf)
	if err != nil {
		return &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: err}
	}
	if ofTheLog {
		c.own = append(c.own, ownEntry{r.Index, leaf.Event})
	}
	return nil
}

// keyHash is what an entry's key adds to a sum of keys.
func (v *verifier) keyHash(key attestlog.IDKey, index uint64) uint64 {
	return maphash.Comparable(v.seed, struct {
		key   attestlog.IDKey
		index uint64
	}{key, index})
}

// add adds a chunk to the tree and compares the tiles that it fills. A leaf that
// differs from its tile is reported before what a checked chunk found after it.
func (v *verifier) add(c *chunk, src Source) error {
	var bad error
	full := func(t merkle.Tile) {
		if bad == nil && src.Tile != nil {
			bad = compareTile(t, src)
		}
	}

	for _, h := range c.hashes {
		v.edge.Push(h, full)
		for v.rooted < len(v.sizes) && v.sizes[v.rooted] == v.edge.Size() {
			v.roots[v.rooted] = v.edge.Root()
			v.rooted++
		}
	}
	// A chunk that ended with an error has no full tile at its end, in which an
	// earlier leaf may differ.
	if bad == nil && c.err != nil {
		bad = v.compareOpenTile(src)
	}
	err := earlier(bad, c.err)
	if err != nil {
		return err
	}

	if len(c.hashes) > 0 {
		if c.first < v.logged {
			return corrupt(c.from, "leaf", "logged_time goes back")
		}
		v.logged = c.logged
	}
	v.keySum += c.keySum
	for index, pointers := range c.missing {
		v.missing[index] = pointers
	}
	for i := range c.own {
		v.learn(&c.own[i])
	}
	return nil
}

// earlier returns the error that is about the earlier entry.
func earlier(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}

	var inA, inB *attestlog.CorruptError
	if errors.As(a, &inA) && errors.As(b, &inB) && inB.Index < inA.Index {
		return b
	}
	return a
}

// compareTile compares a tile that follows from the entries with the stored one.
func compareTile(t merkle.Tile, src Source) error {
	first := merkle.FirstLeaf(t.Level, t.N)
	where := merkle.Where(t.Level, t.N)
	stored, err := src.Tile(t.Level, t.N)
	switch {
	case errors.Is(err, attestlog.ErrNotFound):
		return corrupt(first, where, "missing")
	case err != nil:
		return err
	case bytes.Equal(stored, t.Hashes):
		return nil
	case len(stored) != len(t.Hashes):
		return corrupt(first, where, "has %d bytes", len(stored))
	}

	differs := 0
	for stored[differs] == t.Hashes[differs] {
		differs++
	}
	n := differs / len(attestlog.Hash{}) // the hash
	if t.Level == 0 {
		return leafMismatch(first + uint64(n))
	}
	below := first + uint64(n)<<(merkle.TileHeight*t.Level)
	return corrupt(below, where, "hash %d does not follow from the tile below it", n)
}

// compareOpenTile compares the hashes of the level-0 tile that is not full yet
// with what is stored for them.
func (v *verifier) compareOpenTile(src Source) error {
	n := v.edge.Size() / merkle.TileWidth
	var stored []attestlog.Hash
	if src.Tile != nil {
		data, err := src.Tile(0, n)
		if err == nil {
			stored, err = merkle.SplitTile(data)
		}
		if err != nil && data != nil {
			return nil // reported when the tile is full
		}
	}
	if stored == nil && src.Tree != nil && n == src.Tree.Size/merkle.TileWidth {
		stored = src.Tree.OpenTile
	}

	for i, h := range v.edge.OpenTile() {
		if i < len(stored) && stored[i] != h {
			return leafMismatch(n*merkle.TileWidth + uint64(i))
		}
	}
	return nil
}

// leafMismatch is the error of a leaf that is not the one in the tree.
func leafMismatch(index uint64) error { return located(merkle.LeafMismatch(index)) }

// located returns an error of package merkle as an *attestlog.CorruptError.
func located(err error) error {
	var in *merkle.Error
	if errors.As(err, &in) {
		return &attestlog.CorruptError{Index: in.Index, Where: in.Where, Err: in.Err}
	}
	return err
}

// learn takes in what the log says about itself.
func (v *verifier) learn(own *ownEntry) {
	switch own.event.Action {
	case attestlog.KeyAction:
		key, _ := own.event.Attributes["new"].(string)
		signed, _ := own.event.Attributes["note"].(string)
		v.announced = append(v.announced, announcement{own.index, key, signed})
	case attestlog.EraseAction:
		v.explain(own.event.Attributes["erased"])
	}
}

// explain takes the values that an erase entry names from those that are
// missing. The list has {"index", "pointers"} for each entry.
func (v *verifier) explain(erased any) {
	list, _ := erased.([]any)
	for _, item := range list {
		of, _ := item.(map[string]any)
		index, _ := of["index"].(float64)
		pointers, _ := of["pointers"].([]any)
		for _, pointer := range pointers {
			if v.forget(uint64(index), pointer) {
				v.report.Erased++
			}
		}
	}
}

// forget removes one pointer from those that are missing, and reports whether
// it was there.
func (v *verifier) forget(index uint64, pointer any) bool {
	missing := v.missing[index]
	for i, have := range missing {
		if have != pointer {
			continue
		}
		v.missing[index] = append(missing[:i], missing[i+1:]...)
		if len(v.missing[index]) == 0 {
			delete(v.missing, index)
		}
		return true
	}
	return false
}

// conclude reports what is missing, and whether anything was signed at all.
func (v *verifier) conclude() error {
	first, found := uint64(0), false
	for index := range v.missing {
		if !found || index < first {
			first, found = index, true
		}
	}
	if found {
		return corrupt(first, "disclosure "+v.missing[first][0], "is missing, and no entry says that it was erased")
	}

	if v.report.Checkpoints == 0 && v.report.Size > 0 {
		return fmt.Errorf("%w: the entries agree with one another, but no checkpoint is signed by a trusted key", ErrCannotVerify)
	}
	return nil
}
