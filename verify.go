package attestlog

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// ErrCannotVerify is returned by Verify when there is nothing to verify
// against: no key, or no checkpoint that a trusted key signed. It is not a
// finding about the log.
var ErrCannotVerify = errors.New("could not verify")

// VerifyOptions say what to verify against. The zero value is useful.
type VerifyOptions struct {
	// Keys are the verifier keys to trust. Defaults to those kept beside the
	// log, which prove nothing against whoever can replace them.
	Keys []note.Verifier
	// Checkpoint is a signed note from elsewhere, which the log must contain.
	Checkpoint []byte
	// Index derives the search index of every entry again and compares it,
	// and checks that every leaf is canonical.
	Index bool
	// Progress is called with the number of entries done, now and then, from
	// one goroutine.
	Progress func(done, total uint64)
}

// A Report says what Verify looked at.
type Report struct {
	Size        uint64   // entries, all of which were hashed again
	Root        Hash     // of the tree over them
	Signed      uint64   // of them, those that a trusted signature covers
	Checkpoints int      // notes that a trusted key signed
	Unknown     int      // notes on the same history that no trusted key signed
	Erased      int      // sealed values that were erased, with an entry that says so
	Keys        []string // the keys that were trusted: name+hash
	KeysBeside  bool     // they are merely those kept beside the log
}

// Verify hashes every entry again and compares the result with the tiles, the
// tree, the keys, all kept checkpoints and their signatures, and the
// disclosures with their seals. What was changed is a *CorruptError that names
// the first entry concerned; a lack of keys or signatures is ErrCannotVerify;
// any other error means that the log could not be read. Entries beyond
// Report.Signed agree with the tree, but no signature covers them yet.
func (l *Log) Verify(ctx context.Context, opts VerifyOptions) (Report, error) {
	home := l.store.Home()
	kept, err := home.Checkpoint()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Report{}, err
	}
	beside := opts.Keys == nil
	if beside {
		if opts.Keys, err = homeKeys(home); err != nil {
			return Report{}, err
		}
	}
	last := uint64(0) // the largest stored checkpoint, read before the tree
	if err := l.store.Checkpoints(ctx, func(at uint64, _ []byte) error { last = at; return nil }); err != nil {
		return Report{}, err
	}
	tree, err := l.store.Tree(ctx)
	if err != nil {
		return Report{}, err
	}
	v := newVerifier(opts, l.origin)
	v.report.KeysBeside = beside
	src := VerifySource{
		Size: tree.Size,
		Tree: &tree,
		Scan: func(ctx context.Context, from, to uint64, fn func(*RawEntry) error) error {
			return l.store.Scan(ctx, from, to, fn)
		},
		Tile:        func(level int, n uint64) ([]byte, error) { return l.store.Tile(ctx, level, n) },
		Checkpoints: func(fn func([]byte) error) error { return l.storedCheckpoints(ctx, last, kept, fn) },
	}
	keys := v.sumKeys(ctx, l.store, tree.Size)
	err = v.run(ctx, src)
	stored := <-keys
	if err != nil {
		return v.report, err
	}
	if err := v.compareKeys(ctx, l.store, stored); err != nil {
		return v.report, err
	}
	if err := l.store.CheckRows(ctx); err != nil {
		return v.report, err
	}
	if opts.Index {
		if err := l.store.CheckIndex(ctx, opts.Progress); err != nil {
			return v.report, err
		}
	}
	if err := v.conclude(); err != nil {
		return v.report, err
	}
	if kept == nil && opts.Checkpoint == nil {
		return v.report, fmt.Errorf("%w: the entries agree with one another, but the newest checkpoint, kept outside the database, is missing: whether the log goes on is unknown", ErrCannotVerify)
	}
	return v.report, nil
}

// storedCheckpoints calls fn with the store's notes, but for those over more
// than last entries, which were stored since verification began, and with the
// kept one.
func (l *Log) storedCheckpoints(ctx context.Context, last uint64, kept []byte, fn func([]byte) error) error {
	err := l.store.Checkpoints(ctx, func(at uint64, signed []byte) error {
		if at > last {
			return nil
		}
		if c, err := ParseCheckpoint(signed); err != nil || c.Size != at {
			return &CorruptError{at, fmt.Sprintf("checkpoint %d", at), fmt.Errorf("the stored note is not one over %d entries", at)}
		}
		return fn(signed)
	})
	if err != nil || kept == nil {
		return err
	}
	return fn(kept)
}

func homeKeys(home Home) ([]note.Verifier, error) {
	texts, err := home.VerifierKeys()
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: no key was given, and none is kept beside the log", ErrCannotVerify)
	} else if err != nil {
		return nil, err
	}
	var keys []note.Verifier
	for _, text := range texts {
		k, err := note.NewVerifier(text)
		if err != nil {
			return nil, fmt.Errorf("%w: verifier key %q: %v", ErrCannotVerify, text, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
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
		return &CorruptError{first, "disclosure " + v.missing[first][0], errors.New("is missing, and no entry says that it was erased")}
	}
	if v.report.Checkpoints == 0 && v.report.Size > 0 {
		return fmt.Errorf("%w: the entries agree with one another, but no checkpoint is signed by a trusted key", ErrCannotVerify)
	}
	return nil
}
