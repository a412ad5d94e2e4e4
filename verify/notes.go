package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/merkle"
)

// gatherSizes learns at which sizes a root will be wanted.
func (v *verifier) gatherSizes(src Source) error {
	err := v.eachNote(src, func(c attestlog.Checkpoint, _ bool) error {
		if c.Size > 0 {
			v.sizes = append(v.sizes, c.Size)
		}
		return nil
	})
	slices.Sort(v.sizes)
	v.sizes = slices.Compact(v.sizes)
	v.roots = make([]attestlog.Hash, len(v.sizes))
	return err
}

// eachNote calls fn with every checkpoint. given is true for the one that the
// caller brought along.
func (v *verifier) eachNote(src Source, fn func(c attestlog.Checkpoint, given bool) error) error {
	parse := func(signed []byte, given bool) error {
		c, err := attestlog.ParseCheckpoint(signed)
		switch {
		case err != nil && given:
			return fmt.Errorf("%w: the given %v", ErrCannotVerify, err)
		case err != nil:
			return &attestlog.CorruptError{Index: src.Size, Where: "checkpoint", Err: err}
		}
		return fn(c, given)
	}

	if src.Checkpoints != nil {
		err := src.Checkpoints(func(signed []byte) error { return parse(signed, false) })
		if err != nil {
			return err
		}
	}
	if v.opts.Checkpoint != nil {
		return parse(v.opts.Checkpoint, true)
	}
	return nil
}

// checkpoints compares every checkpoint with the root at its size, and checks
// its signature.
func (v *verifier) checkpoints(src Source) error {
	good := uint64(0) // entries of which a checkpoint says that they are as they were
	return v.eachNote(src, func(c attestlog.Checkpoint, given bool) error {
		// One that was stored since gatherSizes has no root to be compared with, and
		// is left to the next verification.
		root, found := v.rootAt(c.Size)
		if !found {
			return nil
		}

		signed, err := v.compareNote(c, root, given, good)
		if err != nil {
			return err
		}
		good = max(good, c.Size)

		if !signed {
			v.report.Unknown++
			return nil
		}
		v.report.Checkpoints++
		v.report.Signed = max(v.report.Signed, c.Size)
		return v.trustAnnounced(c.Size)
	})
}

// compareNote checks one checkpoint, and reports whether a trusted key signed it.
// root is the one at its size, if the log has so many entries. Those before good
// are known to be as they were.
func (v *verifier) compareNote(c attestlog.Checkpoint, root attestlog.Hash, given bool, good uint64) (signed bool, err error) {
	where := fmt.Sprintf("checkpoint %d", c.Size)
	if c.Origin != v.origin {
		if given {
			return false, fmt.Errorf("%w: the given checkpoint is of %q, the log is %q", ErrCannotVerify, c.Origin, v.origin)
		}
		return false, corrupt(good, where, "is of %q, the log is %q", c.Origin, v.origin)
	}

	signed, err = v.signed(c)
	if err != nil {
		return false, &attestlog.CorruptError{Index: good, Where: where, Err: err}
	}
	if !signed && given {
		return false, fmt.Errorf("%w: the given checkpoint is not signed by a trusted key", ErrCannotVerify)
	}

	if c.Size > v.report.Size {
		return false, corrupt(v.report.Size, where, "was signed, but the log holds %d entries: the rest is missing", v.report.Size)
	}
	if root != c.Root {
		return false, corrupt(good, where, "has another root: an entry from %d to %d was changed", good, max(c.Size, 1)-1)
	}
	return signed, nil
}

// rootAt returns the root at a size, and whether gatherSizes has seen that size.
func (v *verifier) rootAt(size uint64) (attestlog.Hash, bool) {
	if size == 0 {
		return merkle.EmptyRoot, true
	}
	i, found := slices.BinarySearch(v.sizes, size)
	if !found {
		return attestlog.Hash{}, false
	}
	return v.roots[i], true
}

// signed reports whether a trusted key signed c. A signature by such a key that
// does not verify is an error.
func (v *verifier) signed(c attestlog.Checkpoint) (bool, error) {
	var own []note.Verifier
	for _, k := range v.trusted {
		if k.Name() == c.Origin {
			own = append(own, k)
		}
	}

	_, err := note.Open(c.Note, note.VerifierList(own...))
	var unverified *note.UnverifiedNoteError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &unverified):
		return false, nil
	}
	return false, err
}

// trustAnnounced trusts the keys that the first size entries, which a trusted
// key signed, announce in a note that a trusted key signed as well.
func (v *verifier) trustAnnounced(size uint64) error {
	var later []announcement
	for _, a := range v.announced {
		if a.index >= size {
			later = append(later, a)
			continue
		}

		key, err := note.NewVerifier(a.key)
		if err != nil {
			return corrupt(a.index, "leaf", "announces what is not a verifier key: %v", err)
		}
		signed, err := note.Open([]byte(a.note), note.VerifierList(v.trusted...))
		if err != nil || signed.Text != attestlog.KeyNote(a.key) {
			continue // anyone who can write an entry could have written this one
		}

		known := slices.ContainsFunc(v.trusted, func(t note.Verifier) bool {
			return t.Name() == key.Name() && t.KeyHash() == key.KeyHash()
		})
		if !known && key.Name() == v.origin {
			v.trusted = append(slices.Clone(v.trusted), key)
			v.report.Keys = append(v.report.Keys, fmt.Sprintf("%s+%08x (announced by entry %d)", key.Name(), key.KeyHash(), a.index))
		}
	}
	v.announced = later
	return nil
}

// compareTree compares the tree's row with what was computed.
func (v *verifier) compareTree(tree attestlog.Tree) error {
	firstOpen := tree.Size - tree.Size%merkle.TileWidth
	open := v.edge.OpenTile()
	for i, h := range open {
		if i >= len(tree.OpenTile) || tree.OpenTile[i] != h {
			return leafMismatch(firstOpen + uint64(i))
		}
	}

	switch {
	case len(tree.OpenTile) > len(open):
		return corrupt(tree.Size, "tree", "its open tile has more hashes than there are entries")
	case !slices.Equal(tree.Peaks, v.edge.Peaks()):
		return corrupt(firstOpen, "tree", "its peaks do not follow from the entries")
	case tree.Root != v.edge.Root():
		return corrupt(firstOpen, "tree", "its root does not follow from the entries")
	case tree.Size > 0 && tree.LoggedTime.UnixNano() != v.logged:
		return corrupt(tree.Size-1, "tree", "its logged_time is not the last entry's")
	}
	return nil
}

// storedKeys is what a store says of its keys.
type storedKeys struct {
	sum  uint64 // over those of the entries that are verified
	last uint64 // the greatest index that any points at
	err  error
	// tables is what the check of the tables found. What the keys themselves tell is
	// reported before it, since that names the entry.
	tables error
}

// sumKeys adds up the stored keys of the first size entries, and then checks the
// tables, while the entries are verified. The channel gets one value.
func (v *verifier) sumKeys(
	ctx context.Context, reader attestlog.Reader, rows attestlog.RowCheck, size uint64,
) <-chan storedKeys {
	out := make(chan storedKeys, 1)
	go func() {
		var k storedKeys
		k.err = reader.Keys(ctx, func(key attestlog.IDKey, index uint64) error {
			k.last = max(k.last, index)
			if index < size {
				k.sum += v.keyHash(key, index)
			}
			return nil
		})
		if k.err == nil {
			k.tables = rows.Tables(ctx)
		}
		out <- k
	}()
	return out
}

// compareKeys compares the keys that the store has with the entries' own.
func (v *verifier) compareKeys(ctx context.Context, reader attestlog.Reader, stored storedKeys) error {
	if stored.err != nil {
		return stored.err
	}
	if stored.sum != v.keySum {
		return v.locateKey(ctx, reader)
	}

	// The tree is read after the keys, and has every entry that they had.
	tree, err := reader.Tree(ctx)
	if err != nil {
		return err
	}
	if stored.last >= max(tree.Size, 1) {
		return corrupt(tree.Size, "key", "one points at entry %d of %d", stored.last, tree.Size)
	}
	return stored.tables
}

// keyChunk is how many entries' keys are looked up at a time.
const keyChunk = 1_000

// locateKey finds the first entry whose key is not what its leaf says, or a key
// that belongs to no entry.
func (v *verifier) locateKey(ctx context.Context, reader attestlog.Reader) error {
	var facts leafFacts
	for from := uint64(0); from < v.report.Size; from += keyChunk {
		var keys []attestlog.IDKey // of the entries from from on
		err := reader.Scan(ctx, from, min(v.report.Size, from+keyChunk), func(r *attestlog.RawEntry) error {
			err := facts.read(r.Leaf)
			keys = append(keys, facts.key())
			return err
		})
		if err != nil {
			return err
		}

		for i, key := range keys {
			index, err := reader.Lookup(ctx, key)
			switch {
			case errors.Is(err, attestlog.ErrNotFound):
				return corrupt(from+uint64(i), "key", "missing")
			case err != nil:
				return err
			case index != from+uint64(i):
				return corrupt(from+uint64(i), "key", "points at entry %d", index)
			}
		}
	}
	return corrupt(v.report.Size, "key", "belongs to no entry")
}
