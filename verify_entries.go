package attestlog

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
)

// A VerifySource is what a log, an export or a folder of tiles gives to
// Verify. Scan must be safe for concurrent use; Tile and Tree may be nil.
type VerifySource struct {
	Size uint64
	Scan func(ctx context.Context, from, to uint64, fn func(*RawEntry) error) error
	Tile func(level int, n uint64) ([]byte, error)
	Tree *Tree // as it is stored; may be nil
	// Clear says that the source never has disclosures, as tiles have none, so
	// that none is missing.
	Clear       bool
	Checkpoints func(fn func(signed []byte) error) error
}

// VerifyEntries verifies entries that come from elsewhere than a Log: an
// export, the file of a follower, or a folder of tiles. It checks what Verify
// does, but for what only a store has. origin may be empty if the keys tell.
func VerifyEntries(ctx context.Context, src VerifySource, origin string, opts VerifyOptions) (Report, error) {
	if len(opts.Keys) == 0 {
		return Report{}, fmt.Errorf("%w: no key was given", ErrCannotVerify)
	}
	if origin == "" {
		origin = opts.Keys[0].Name()
	}
	v := newVerifier(opts, origin)
	if err := v.run(ctx, src); err != nil {
		return v.report, err
	}
	return v.report, v.conclude()
}

// A verifier holds the state of one verification. All but what chunks carry
// is owned by the goroutine that calls run.
type verifier struct {
	opts     VerifyOptions
	origin   string
	trusted  []note.Verifier
	report   Report
	edge     edge
	last     int64      // the last entry's logged time
	roots    []Hash     // at sizes, in parallel
	sizes    []uint64   // of the checkpoints, ascending
	newKeys  []keyEntry // announced in the log, not trusted yet
	missing  map[uint64][]string
	keySum   uint64
	hashSeed maphash.Seed
}

type keyEntry struct {
	index uint64
	key   string // of the new verifier
	note  string // that announces it
}

func newVerifier(opts VerifyOptions, origin string) *verifier {
	v := &verifier{opts: opts, origin: origin, trusted: opts.Keys, missing: map[uint64][]string{}, hashSeed: maphash.MakeSeed()}
	for _, k := range opts.Keys {
		v.report.Keys = append(v.report.Keys, fmt.Sprintf("%s+%08x", k.Name(), k.KeyHash()))
	}
	return v
}

// checked is a chunk of entries after the work that needs no order.
type checked struct {
	from        uint64
	hashes      []Hash
	first, last int64 // logged times
	keySum      uint64
	missing     map[uint64][]string
	special     []Leaf // entries of the log's own that matter here
	specialAt   []uint64
	clear       bool // VerifySource.Clear
	err         error
}

const verifyChunk = 32 * TileWidth

// run verifies entries and checkpoints.
func (v *verifier) run(ctx context.Context, src VerifySource) error {
	if err := v.gatherSizes(src); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	// order holds a slot for each chunk under way, in the order of the log.
	order := make(chan chan *checked, 2*workers)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	work := make(chan func(), workers)
	for range workers {
		wg.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	wg.Go(func() {
		defer close(order)
		defer close(work)
		for from := uint64(0); from < src.Size; from += verifyChunk {
			slot := make(chan *checked, 1)
			select {
			case order <- slot:
			case <-ctx.Done():
				return
			}
			work <- func() { slot <- v.check(ctx, src, from, min(src.Size, from+verifyChunk)) }
		}
	})
	next := 0
	lastProgress := time.Now()
	for slot := range order {
		c := <-slot
		if err := v.take(c, src, &next); err != nil {
			return err
		}
		if v.opts.Progress != nil && time.Since(lastProgress) > 50*time.Millisecond {
			v.opts.Progress(v.edge.size, src.Size)
			lastProgress = time.Now()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if v.opts.Progress != nil {
		v.opts.Progress(v.edge.size, src.Size)
	}
	v.report.Size, v.report.Root = v.edge.size, v.edge.root()
	if src.Tree != nil {
		if err := v.compareTree(*src.Tree); err != nil {
			return err
		}
	}
	return v.checkpoints(src)
}

// check does what needs no order for the entries in [from, to).
func (v *verifier) check(ctx context.Context, src VerifySource, from, to uint64) *checked {
	c := &checked{from: from, clear: src.Clear, hashes: make([]Hash, 0, to-from)}
	var facts leafFacts
	next := from
	err := src.Scan(ctx, from, to, func(r *RawEntry) error {
		if r.Index != next {
			return &CorruptError{next, "leaf", errors.New("missing")}
		}
		next++
		c.hashes = append(c.hashes, LeafHash(r.Leaf))
		if err := facts.read(r.Leaf); err != nil {
			return &CorruptError{r.Index, "leaf", err}
		}
		return v.checkEntry(c, r, &facts)
	})
	if err == nil && next != to {
		err = &CorruptError{next, "leaf", errors.New("missing")}
	}
	c.err = err
	return c
}

func (v *verifier) checkEntry(c *checked, r *RawEntry, f *leafFacts) error {
	if len(c.hashes) == 1 {
		c.first = f.logged
	} else if f.logged < c.last {
		return &CorruptError{r.Index, "leaf", errors.New("logged_time goes back")}
	}
	c.last = f.logged
	c.keySum += v.keyHash(f.key(), r.Index)
	missing, err := f.missing(r.Disclosures)
	if err != nil {
		return &CorruptError{r.Index, "disclosures", err}
	}
	if missing != nil && !c.clear {
		if c.missing == nil {
			c.missing = map[uint64][]string{}
		}
		c.missing[r.Index] = missing
	}
	if v.opts.Index {
		if _, err := ParseLeaf(r.Leaf); err != nil {
			return &CorruptError{r.Index, "leaf", err}
		}
	}
	if bytes.HasPrefix(f.action, []byte(ReservedPrefix)) {
		leaf, err := decodeLeaf(bytes.Clone(r.Leaf))
		if err != nil {
			return &CorruptError{r.Index, "leaf", err}
		}
		c.special = append(c.special, leaf)
		c.specialAt = append(c.specialAt, r.Index)
	}
	return nil
}

func (v *verifier) keyHash(key IDKey, index uint64) uint64 {
	return maphash.Comparable(v.hashSeed, struct {
		Key   IDKey
		Index uint64
	}{key, index})
}

// take adds a chunk to the tree and compares the tiles that it fills. A leaf
// that differs from its tile is reported before what a checked chunk found
// behind it.
func (v *verifier) take(c *checked, src VerifySource, next *int) error {
	var bad error
	for _, h := range c.hashes {
		v.edge.push(h, func(t Tile) {
			if bad == nil && src.Tile != nil {
				bad = compareTile(t, src)
			}
		})
		for *next < len(v.sizes) && v.sizes[*next] == v.edge.size {
			v.roots[*next] = v.edge.root()
			*next++
		}
	}
	if bad == nil && c.err != nil {
		bad = v.compareOpenTile(src)
	}
	if located := earlier(bad, c.err); located != nil {
		return located
	}
	if len(c.hashes) > 0 {
		if c.first < v.last {
			return &CorruptError{c.from, "leaf", errors.New("logged_time goes back")}
		}
		v.last = c.last
	}
	v.keySum += c.keySum
	for index, pointers := range c.missing {
		v.missing[index] = pointers
	}
	for i := range c.special {
		v.special(c.specialAt[i], &c.special[i].Event)
	}
	return nil
}

// compareOpenTile compares the hashes of the level-0 tile that is not full yet
// with what is stored for them.
func (v *verifier) compareOpenTile(src VerifySource) error {
	n := v.edge.size / TileWidth
	var stored []Hash
	if src.Tile != nil {
		if data, err := src.Tile(0, n); err == nil {
			if stored, err = splitHashes(data); err != nil {
				return nil // reported when the tile is full
			}
		}
	}
	if stored == nil && src.Tree != nil && n == src.Tree.Size/TileWidth {
		stored = src.Tree.Tail
	}
	for i, h := range v.edge.open() {
		if i < len(stored) && stored[i] != h {
			return leafMismatch(n*TileWidth + uint64(i))
		}
	}
	return nil
}

// earlier returns the error that is about the earlier entry.
func earlier(a, b error) error {
	var ca, cb *CorruptError
	switch {
	case a == nil:
		return b
	case b == nil || !errors.As(b, &cb) || !errors.As(a, &ca) || ca.Index <= cb.Index:
		return a
	}
	return b
}

func compareTile(t Tile, src VerifySource) error {
	first := t.N << (tileHeight * (t.Level + 1))
	where := fmt.Sprintf("tile %d/%d", t.Level, t.N)
	stored, err := src.Tile(t.Level, t.N)
	if errors.Is(err, ErrNotFound) {
		return &CorruptError{first, where, errors.New("missing")}
	} else if err != nil {
		return err
	}
	if bytes.Equal(stored, t.Hashes) {
		return nil
	}
	if len(stored) != len(t.Hashes) {
		return &CorruptError{first, where, fmt.Errorf("has %d bytes", len(stored))}
	}
	i := 0
	for stored[i] == t.Hashes[i] {
		i++
	}
	i /= len(Hash{})
	if t.Level == 0 {
		return leafMismatch(first + uint64(i))
	}
	return &CorruptError{first + uint64(i)<<(tileHeight*t.Level), where, fmt.Errorf("hash %d does not follow from the tile below it", i)}
}

// special takes in what the log says about itself.
func (v *verifier) special(index uint64, e *Event) {
	switch e.Action {
	case KeyAction:
		key, _ := e.Attributes["new"].(string)
		signed, _ := e.Attributes["note"].(string)
		v.newKeys = append(v.newKeys, keyEntry{index, key, signed})
	case EraseAction:
		v.erased(e)
	}
}

// EraseAction is the action of the entry that says which sealed values were
// erased: its attribute "erased" is a list of {"index", "pointers"}.
const EraseAction = ReservedPrefix + "erase"

func (v *verifier) erased(e *Event) {
	list, _ := e.Attributes["erased"].([]any)
	for _, item := range list {
		m, _ := item.(map[string]any)
		at, _ := m["index"].(float64)
		index := uint64(at)
		pointers, _ := m["pointers"].([]any)
		for _, p := range pointers {
			v.report.Erased += removeString(v.missing, index, p)
		}
	}
}

func removeString(m map[uint64][]string, index uint64, p any) int {
	for i, have := range m[index] {
		if have == p {
			m[index] = append(m[index][:i], m[index][i+1:]...)
			if len(m[index]) == 0 {
				delete(m, index)
			}
			return 1
		}
	}
	return 0
}
