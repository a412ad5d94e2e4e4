package attestlog

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// open decides whether the log may be written: the kept checkpoint is read before
// the database, so that a database can only be ahead of it.
func (l *Log) open(ctx context.Context) error {
	home := l.store.Home()
	signed, tree, err := l.readState(ctx, home)
	if err == nil && signed == nil && tree.Size > 0 {
		// Another process may have begun the log between the two reads.
		signed, tree, err = l.readState(ctx, home)
	}
	if err != nil {
		return err
	}
	l.head.size.Store(tree.Size)

	var kept Checkpoint
	if signed != nil {
		kept, err = ParseCheckpoint(signed)
		if err != nil {
			return fmt.Errorf("kept %w", err)
		}
		l.publisher.checkpoint = kept
	}

	err = l.identify(home, kept, tree)
	if err != nil {
		return err
	}
	if kept.Note != nil && l.publisher.signedByUs(kept) {
		l.reader.trust(kept)
	}
	if l.cfg.ReadOnly {
		l.refuse("it was opened for reading")
	}
	if l.readOnly != nil {
		return nil
	}

	state, why := l.examine(ctx, kept, tree)
	switch {
	case state == stateNew:
		// From here on, entries without a kept checkpoint mean that it was
		// removed.
		l.publisher.checkpoint, err = l.publisher.keep(ctx, tree)
		return err
	case state == stateGood:
		return nil
	case l.cfg.AcceptRestore:
		return l.acceptRestore(ctx, kept, tree)
	}
	l.refuse(why)
	return nil
}

// readState reads the kept checkpoint, nil if there is none, and then the tree.
func (l *Log) readState(ctx context.Context, home Home) ([]byte, Tree, error) {
	signed, err := home.Checkpoint()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, Tree{}, err
	}
	tree, err := l.store.Tree(ctx)
	return signed, tree, err
}

// refuse opens the log for reading only.
func (l *Log) refuse(why string) {
	if l.readOnly == nil {
		l.readOnly = fmt.Errorf("%w: %s", ErrReadOnly, why)
	}
}

// A state is how the database and the kept checkpoint go together.
type state int

const (
	stateNew         state = iota // neither was ever there
	stateGood                     // the database goes on from the checkpoint
	stateKeptMissing              // there are entries and no checkpoint
	stateKeptForeign              // no key of the log signed the checkpoint
	stateDisagrees                // the database is not what it was, or not what it says it is
)

// examine returns the state of the log, and for one that must not be written as
// it is, why and what to do.
func (l *Log) examine(ctx context.Context, kept Checkpoint, tree Tree) (state, string) {
	const accept = "accept the database as it is with `attestlog restore --accept`"
	switch {
	case kept.Note == nil && tree.Size == 0:
		return stateNew, ""
	case kept.Note == nil:
		return stateKeptMissing, "its kept checkpoint is missing; put the file back, or " + accept
	case !l.publisher.signedByUs(kept) && !l.cfg.AcceptRestore:
		// If accepted, it still has to agree with the database.
		return stateKeptForeign, "its kept checkpoint is not signed by a key of the log; put the genuine file back, or " + accept
	}

	edge, err := l.publisher.load(ctx, tree, kept)
	if err != nil {
		return stateDisagrees, err.Error() + "; if the database was restored on purpose, say so with `attestlog restore --accept`"
	}
	l.sequencer.edge = edge
	l.reader.proven.Begin(edge)
	l.head.known.Store(&tree)
	return stateGood, ""
}

// identify finds the log's origin and signer, or makes them for a new log.
func (l *Log) identify(home Home, kept Checkpoint, tree Tree) error {
	isNew := kept.Note == nil && tree.Size == 0
	signer, err := l.loadSigner(home, isNew)
	if err != nil {
		return err
	}
	verifiers, err := home.VerifierKeys()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}

	// Verifier keys outlive signing keys, and are therefore asked first.
	switch {
	case len(verifiers) > 0:
		newest, err := note.NewVerifier(verifiers[len(verifiers)-1])
		if err != nil {
			return fmt.Errorf("verifier key: %v", err)
		}
		l.origin = newest.Name()
	case kept.Note != nil:
		l.origin = kept.Origin
	case signer != nil:
		l.origin = signer.Name()
	}

	switch {
	case signer != nil && signer.Name() != l.origin:
		return fmt.Errorf("the signing key is for origin %q, the log is %q; a log's origin never changes", signer.Name(), l.origin)
	case l.cfg.Origin != "" && l.origin != "" && l.cfg.Origin != l.origin:
		return fmt.Errorf("the log's origin is %q, not %q; a log's origin never changes", l.origin, l.cfg.Origin)
	case kept.Note != nil && kept.Origin != l.origin:
		return fmt.Errorf("the kept checkpoint is of %q, the log is %q", kept.Origin, l.origin)
	}

	l.publisher.origin = l.origin
	l.publisher.signer = signer
	return nil
}

// loadSigner returns the configured signer, or the one kept with the store, which
// it makes for a new log. Without one, the log is open for reading only.
func (l *Log) loadSigner(home Home, isNew bool) (note.Signer, error) {
	if l.cfg.Signer != nil {
		return l.cfg.Signer, nil
	}

	key, err := home.Key()
	if errors.Is(err, ErrNotFound) && isNew && !l.cfg.ReadOnly {
		key, err = createKeys(home, l.cfg.Origin)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		l.refuse("its signing key is missing; put the key file back, or give a Signer")
		return nil, nil
	case err != nil && l.cfg.ReadOnly:
		return nil, nil // reading needs no signing key
	case err != nil:
		return nil, err
	}

	signer, err := note.NewSigner(key)
	if err != nil {
		return nil, fmt.Errorf("signing key: %v", err)
	}
	return signer, nil
}

func createKeys(home Home, origin string) (string, error) {
	signer, verifier, err := GenerateKey(origin)
	if err != nil {
		return "", err
	}

	err = home.CreateKeys(signer, verifier)
	if err != nil {
		// Another process may have been first.
		key, again := home.Key()
		if again == nil {
			return key, nil
		}
		return "", err
	}
	return signer, nil
}

// acceptRestore appends the entry that tells of a restore, and gives up the kept
// checkpoint for one over the database as it is now.
func (l *Log) acceptRestore(ctx context.Context, given Checkpoint, tree Tree) error {
	_, err := l.publisher.load(ctx, tree, Checkpoint{})
	if err != nil {
		return fmt.Errorf("the database does not agree with itself, and cannot be accepted: %w", err)
	}

	now := l.cfg.Clock()
	c, err := l.appender.encodeCall([]Event{{
		Action:     RestoreAction,
		Actor:      Actor{ID: "attestlog", Type: "system"},
		Outcome:    Success,
		Attributes: map[string]any{"size": tree.Size, "root": tree.Root.String(), "given_up": string(given.Note)},
	}}, constant(now))
	if err != nil {
		return err
	}
	err = l.queue.put(ctx, c)
	if err != nil {
		return err
	}

	// The sequencer's goroutine does not run yet.
	batch, _ := l.queue.take(nil, 1, 1)
	_, err = l.sequencer.commit(batch)
	if err != nil || c.err != nil {
		return errors.Join(err, c.err)
	}

	tree, err = l.store.Tree(ctx)
	if err != nil {
		return err
	}
	l.reader.trust(Checkpoint{Size: tree.Size, Root: tree.Root})
	err = l.store.Home().ReplaceCheckpoint(func([]byte) ([]byte, error) {
		var err error
		l.publisher.checkpoint, err = signCheckpoint(l.publisher.signer, l.origin, tree.Size, tree.Root)
		return l.publisher.checkpoint.Note, err
	})
	return err
}
