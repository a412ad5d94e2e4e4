package attestlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"golang.org/x/mod/sumdb/note"
)

// gatherSizes learns at which sizes a root will be wanted.
func (v *verifier) gatherSizes(src VerifySource) error {
	err := v.notes(src, func(c Checkpoint, _ bool) error {
		v.sizes = append(v.sizes, c.Size)
		return nil
	})
	slices.Sort(v.sizes)
	v.sizes = slices.Compact(v.sizes)
	v.roots = make([]Hash, len(v.sizes))
	if len(v.sizes) > 0 && v.sizes[0] == 0 {
		v.roots[0] = emptyRoot
		v.sizes, v.roots = v.sizes[1:], v.roots[1:]
	}
	return err
}

// notes calls fn with every checkpoint, given being true for the one that the
// caller brought along.
func (v *verifier) notes(src VerifySource, fn func(c Checkpoint, given bool) error) error {
	each := func(signed []byte, given bool) error {
		c, err := ParseCheckpoint(signed)
		if err != nil && given {
			return fmt.Errorf("%w: the given %v", ErrCannotVerify, err)
		} else if err != nil {
			return &CorruptError{src.Size, "checkpoint", err}
		}
		return fn(c, given)
	}
	if src.Checkpoints != nil {
		if err := src.Checkpoints(func(signed []byte) error { return each(signed, false) }); err != nil {
			return err
		}
	}
	if v.opts.Checkpoint != nil {
		return each(v.opts.Checkpoint, true)
	}
	return nil
}

// checkpoints compares every checkpoint with the root at its size, and checks
// its signature.
func (v *verifier) checkpoints(src VerifySource) error {
	good := uint64(0)
	return v.notes(src, func(c Checkpoint, given bool) error {
		where := fmt.Sprintf("checkpoint %d", c.Size)
		if c.Origin != v.origin {
			if given {
				return fmt.Errorf("%w: the given checkpoint is of %q, the log is %q", ErrCannotVerify, c.Origin, v.origin)
			}
			return &CorruptError{good, where, fmt.Errorf("is of %q, the log is %q", c.Origin, v.origin)}
		}
		signed, err := v.signed(c)
		if err != nil {
			return &CorruptError{good, where, err}
		}
		if !signed && given {
			return fmt.Errorf("%w: the given checkpoint is not signed by a trusted key", ErrCannotVerify)
		}
		if c.Size > v.report.Size {
			return &CorruptError{v.report.Size, where, fmt.Errorf("was signed, but the log holds %d entries: the rest is missing", v.report.Size)}
		}
		if v.rootAt(c.Size) != c.Root {
			return &CorruptError{good, where, fmt.Errorf("has another root: an entry from %d to %d was changed", good, max(c.Size, 1)-1)}
		}
		if c.Size > good {
			good = c.Size
		}
		if !signed {
			v.report.Unknown++
			return nil
		}
		v.report.Checkpoints++
		v.report.Signed = max(v.report.Signed, c.Size)
		return v.trustAnnounced(c.Size)
	})
}

func (v *verifier) rootAt(size uint64) Hash {
	if size == 0 {
		return emptyRoot
	}
	i := sort.Search(len(v.sizes), func(i int) bool { return v.sizes[i] >= size })
	return v.roots[i]
}

// signed reports whether a trusted key signed c. A signature by such a key
// that does not verify is an error.
func (v *verifier) signed(c Checkpoint) (bool, error) {
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
	left := v.newKeys[:0]
	for _, k := range v.newKeys {
		if k.index >= size {
			left = append(left, k)
			continue
		}
		key, err := note.NewVerifier(k.key)
		if err != nil {
			return &CorruptError{k.index, "leaf", fmt.Errorf("announces a key that is none: %v", err)}
		}
		signed, err := note.Open([]byte(k.note), note.VerifierList(v.trusted...))
		if err != nil || signed.Text != keyText(k.key) {
			continue // whoever could write an entry could have written this one
		}
		known := slices.ContainsFunc(v.trusted, func(t note.Verifier) bool {
			return t.Name() == key.Name() && t.KeyHash() == key.KeyHash()
		})
		if !known && key.Name() == v.origin {
			v.trusted = append(slices.Clone(v.trusted), key)
			v.report.Keys = append(v.report.Keys, fmt.Sprintf("%s+%08x (announced by entry %d)", key.Name(), key.KeyHash(), k.index))
		}
	}
	v.newKeys = left
	return nil
}

// compareTree compares the tree's row with what was computed.
func (v *verifier) compareTree(tree Tree) error {
	from := tree.Size - tree.Size%TileWidth
	for i, h := range v.edge.open() {
		if i >= len(tree.Tail) || tree.Tail[i] != h {
			return leafMismatch(from + uint64(i))
		}
	}
	switch {
	case !slices.Equal(tree.Peaks, v.edge.peaks):
		return &CorruptError{from, "tree", errors.New("its peaks do not follow from the entries")}
	case tree.Root != v.edge.root():
		return &CorruptError{from, "tree", errors.New("its root does not follow from the entries")}
	case tree.Size > 0 && tree.LoggedTime.UnixNano() != v.last:
		return &CorruptError{tree.Size - 1, "tree", errors.New("its logged_time is not the last entry's")}
	}
	return nil
}

// keySum is the sum over the keys that a store has.
type keySum struct {
	sum  uint64 // of those that belong to the entries verified
	last uint64 // the greatest index that any points at
	err  error
}

// sumKeys adds up the stored keys of the first size entries, beside the rest
// of the work. The channel gets one value.
func (v *verifier) sumKeys(ctx context.Context, s Store, size uint64) <-chan keySum {
	out := make(chan keySum, 1)
	go func() {
		var k keySum
		k.err = s.Keys(ctx, func(key IDKey, index uint64) error {
			k.last = max(k.last, index)
			if index < size {
				k.sum += v.keyHash(key, index)
			}
			return nil
		})
		out <- k
	}()
	return out
}

// compareKeys compares the keys that the store has with the entries' own.
func (v *verifier) compareKeys(ctx context.Context, s Store, stored keySum) error {
	if stored.err != nil {
		return stored.err
	}
	if stored.sum != v.keySum {
		return v.locateKey(ctx, s)
	}
	// The tree is read after the keys, and has every entry that they had.
	tree, err := s.Tree(ctx)
	if err == nil && stored.last >= max(tree.Size, 1) {
		err = &CorruptError{tree.Size, "key", fmt.Errorf("one points at entry %d of %d", stored.last, tree.Size)}
	}
	return err
}

// locateKey finds the first entry whose key is not what its leaf says, or a
// key that belongs to no entry.
func (v *verifier) locateKey(ctx context.Context, s Store) error {
	var facts leafFacts
	type keyOf struct {
		index uint64
		key   IDKey
	}
	for from := uint64(0); from < v.report.Size; from += scanChunk {
		var chunk []keyOf
		err := s.Scan(ctx, from, min(v.report.Size, from+scanChunk), func(r *RawEntry) error {
			err := facts.read(r.Leaf)
			chunk = append(chunk, keyOf{r.Index, facts.key()})
			return err
		})
		if err != nil {
			return err
		}
		for _, k := range chunk {
			index, err := s.Lookup(ctx, k.key)
			if errors.Is(err, ErrNotFound) {
				return &CorruptError{k.index, "key", errors.New("missing")}
			} else if err != nil {
				return err
			}
			if index != k.index {
				return &CorruptError{k.index, "key", fmt.Errorf("points at entry %d", index)}
			}
		}
	}
	return &CorruptError{v.report.Size, "key", errors.New("belongs to no entry")}
}
