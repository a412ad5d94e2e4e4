package attestlog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// RestoreAction is the action of the entry that says that a log's database was
// put back to an earlier state on purpose. Its attributes name the checkpoint
// that was given up.
const RestoreAction = ReservedPrefix + "restore"

// KeyAction is the action of the entry that announces a new signing key. Its
// attributes "old" and "new" are verifier keys, "note" is the announcement that
// the old one signed.
const KeyAction = ReservedPrefix + "key"

// open decides whether the log may be written: the kept checkpoint is read
// before the database, so that a database can only be ahead of it.
func (l *Log) open(ctx context.Context) error {
	l.pub.ended = make(chan struct{})
	home := l.store.Home()
	kept, tree, err := l.readBoth(ctx, home)
	if err == nil && kept == nil && tree.Size > 0 {
		// Another process may have begun the log between the two reads.
		kept, tree, err = l.readBoth(ctx, home)
	}
	if err != nil {
		return err
	}
	l.counters.size.Store(tree.Size)
	var was Checkpoint
	if kept != nil {
		if was, err = ParseCheckpoint(kept); err != nil {
			return fmt.Errorf("kept %w", err)
		}
		l.pub.newest = was
	}
	if err := l.identify(home, tree, kept == nil); err != nil {
		return err
	}
	if l.cfg.ReadOnly {
		l.refuse("it was opened for reading")
	}
	if l.readOnly != nil {
		return nil
	}
	if tree.Size == 0 && kept == nil {
		// From here on, entries without a kept checkpoint mean that it was
		// removed.
		c, err := l.keepCheckpoint(ctx, tree)
		l.pub.newest = c
		return err
	}
	if tree.Size > 0 && kept == nil && !l.cfg.AcceptRestore {
		l.refuse("its kept checkpoint is missing; put the file back, or accept the database as it is with `attestlog restore --accept`")
		return nil
	}
	if kept != nil && !l.signedByUs(was) && !l.cfg.AcceptRestore {
		l.refuse("its kept checkpoint is not signed by a key of the log; put the genuine file back, or accept the database as it is with `attestlog restore --accept`")
		return nil
	}
	if why := l.disagreement(ctx, tree, was); why != nil {
		if !l.cfg.AcceptRestore {
			l.refuse(why.Error() + "; if the database was restored on purpose, say so with `attestlog restore --accept`")
			return nil
		}
		return l.acceptRestore(ctx, tree, was)
	}
	if tree.Size > 0 && kept == nil {
		return l.acceptRestore(ctx, tree, was)
	}
	return nil
}

// readBoth reads the kept checkpoint, nil if there is none, and then the tree.
func (l *Log) readBoth(ctx context.Context, home Home) ([]byte, Tree, error) {
	kept, err := home.Checkpoint()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, Tree{}, err
	}
	tree, err := l.store.Tree(ctx)
	return kept, tree, err
}

func (l *Log) refuse(why string) {
	if l.readOnly == nil {
		l.readOnly = fmt.Errorf("%w: %s", ErrReadOnly, why)
	}
}

// identify finds the log's origin and signer, or makes them for a new log.
func (l *Log) identify(home Home, tree Tree, noCheckpoint bool) error {
	l.pub.signer = l.cfg.Signer
	if l.pub.signer == nil {
		if err := l.loadSigner(home, tree.Size == 0 && noCheckpoint); err != nil {
			return err
		}
	}
	verifiers, err := home.VerifierKeys()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if len(verifiers) > 0 {
		v, err := note.NewVerifier(verifiers[len(verifiers)-1])
		if err != nil {
			return fmt.Errorf("verifier key: %v", err)
		}
		l.origin = v.Name()
	} else if l.pub.newest.Origin != "" {
		l.origin = l.pub.newest.Origin
	}
	if s := l.pub.signer; s != nil {
		if l.origin == "" {
			l.origin = s.Name()
		}
		if s.Name() != l.origin {
			return fmt.Errorf("the signing key is for origin %q, the log is %q; a log's origin never changes", s.Name(), l.origin)
		}
	}
	if l.cfg.Origin != "" && l.origin != "" && l.cfg.Origin != l.origin {
		return fmt.Errorf("the log's origin is %q, not %q; a log's origin never changes", l.origin, l.cfg.Origin)
	}
	if was := l.pub.newest.Origin; was != "" && was != l.origin {
		return fmt.Errorf("the kept checkpoint is of %q, the log is %q", was, l.origin)
	}
	return nil
}

func (l *Log) loadSigner(home Home, create bool) error {
	key, err := home.Key()
	if errors.Is(err, ErrNotFound) && create && !l.cfg.ReadOnly {
		key, err = createKeys(home, l.cfg.Origin)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		l.refuse("its signing key is missing; put the key file back, or give a Signer")
		return nil
	case err != nil && l.cfg.ReadOnly:
		return nil // reading needs no signing key
	case err != nil:
		return err
	}
	l.pub.signer, err = note.NewSigner(key)
	if err != nil {
		return fmt.Errorf("signing key: %v", err)
	}
	return nil
}

// GenerateKey returns a new Ed25519 signing key and its verifier key, in the
// text form of golang.org/x/mod/sumdb/note. An empty origin becomes
// "attestlog/" and 16 random hex digits.
func GenerateKey(origin string) (signer, verifier string, err error) {
	if origin == "" {
		var id [8]byte
		rand.Read(id[:]) // never fails: crypto/rand
		origin = "attestlog/" + hex.EncodeToString(id[:])
	}
	if strings.ContainsFunc(origin, func(r rune) bool { return r <= ' ' || r == '+' || r == 0x7f || r == 0xfffd }) {
		return "", "", fmt.Errorf("origin %q: spaces, plus signs and control characters cannot stand in it", origin)
	}
	return note.GenerateKey(rand.Reader, origin)
}

func createKeys(home Home, origin string) (string, error) {
	signer, verifier, err := GenerateKey(origin)
	if err != nil {
		return "", err
	}
	if err := home.CreateKeys(signer, verifier); err != nil {
		// Another process was first.
		if key, again := home.Key(); again == nil {
			return key, nil
		}
		return "", err
	}
	return signer, nil
}

// disagreement says why the database is not what the kept checkpoint and the
// rest of the database say it is, or returns nil.
func (l *Log) disagreement(ctx context.Context, tree Tree, kept Checkpoint) error {
	if kept.Note != nil {
		if err := l.onHistory(ctx, tree, kept); err != nil {
			return err
		}
	}
	// The tail that nothing has signed yet is hashed again from its leaves
	// before anything is signed over it.
	e, err := loadEdge(tree, storeSource(ctx, l.store))
	if err != nil {
		return err
	}
	if err := l.checkTail(ctx, tree, kept.Size); err != nil {
		return err
	}
	l.edge = e
	l.known.Store(&tree)
	return nil
}

// checkTail compares the level-0 tiles from a size on with their leaves.
func (l *Log) checkTail(ctx context.Context, tree Tree, from uint64) error {
	src := storeSource(ctx, l.store)
	for n := from / TileWidth; (n+1)*TileWidth <= tree.Size; n++ {
		want, err := src.partial(0, n, TileWidth, false)
		if err != nil {
			return err
		}
		got, err := src.partial(0, n, TileWidth, true)
		if err != nil {
			return err
		}
		for i := range want {
			if want[i] != got[i] {
				return leafMismatch(n*TileWidth + uint64(i))
			}
		}
	}
	return nil
}

// acceptRestore appends the entry that tells of a restore, and gives up the
// kept checkpoint for one over the database as it is now.
func (l *Log) acceptRestore(ctx context.Context, tree Tree, given Checkpoint) error {
	if _, err := loadEdge(tree, storeSource(ctx, l.store)); err != nil {
		return fmt.Errorf("the database does not agree with itself, and cannot be accepted: %w", err)
	}
	if err := l.checkTail(ctx, tree, 0); err != nil {
		return fmt.Errorf("the database does not agree with itself, and cannot be accepted: %w", err)
	}
	event := Event{
		Action:  RestoreAction,
		Actor:   Actor{ID: "attestlog", Type: "system"},
		Outcome: Success,
		Attributes: map[string]any{
			"size": tree.Size, "root": tree.Root.String(), "given_up": string(given.Note),
		},
	}
	now := l.cfg.Clock()
	c, err := l.encodeCall([]Event{event}, func(int) time.Time { return now })
	if err != nil {
		return err
	}
	if err := l.queue.put(ctx, c); err != nil {
		return err
	}
	batch, _ := l.queue.take(nil, 1, 1)
	if _, err := l.commit(batch); err != nil || c.err != nil {
		return errors.Join(err, c.err)
	}
	if tree, err = l.store.Tree(ctx); err != nil {
		return err
	}
	err = l.store.Home().ReplaceCheckpoint(func([]byte) ([]byte, error) {
		return note.Sign(&note.Note{Text: checkpointText(l.origin, tree.Size, tree.Root)}, l.pub.signer)
	})
	if err != nil {
		return err
	}
	kept, err := l.store.Home().Checkpoint()
	if err != nil {
		return err
	}
	l.pub.newest, err = ParseCheckpoint(kept)
	return err
}

// RotateKey replaces the signing key by a new one of the same origin. An
// entry, covered by a checkpoint that the old key signs, names the new key, so
// that whoever trusts the old key can come to trust the new one; the old
// verifier key is kept, and so old checkpoints stay verifiable. It returns the
// new verifier key. Logs that were given a Signer rotate it themselves.
func (l *Log) RotateKey(ctx context.Context) (string, error) {
	if l.readOnly != nil {
		return "", l.readOnly
	}
	if l.cfg.Signer != nil {
		return "", errors.New("attestlog: the signing key was given by the program, which has to replace it")
	}
	old, err := VerifierKey(l.store.Home())
	if err != nil {
		return "", err
	}
	signer, verifier, err := GenerateKey(l.origin)
	if err != nil {
		return "", err
	}
	s, err := note.NewSigner(signer)
	if err != nil {
		return "", err
	}
	l.pub.mu.Lock()
	announcement, err := note.Sign(&note.Note{Text: keyText(verifier)}, l.pub.signer)
	l.pub.mu.Unlock()
	if err != nil {
		return "", err
	}
	event := Event{Action: KeyAction, Attributes: map[string]any{"old": old, "new": verifier, "note": string(announcement)}}
	if _, err := l.system(ctx, event); err != nil {
		return "", err
	}
	if err := l.sign(ctx, signLast); err != nil {
		return "", err
	}
	l.pub.mu.Lock()
	defer l.pub.mu.Unlock()
	if err := l.store.Home().RotateKey(signer, verifier); err != nil {
		return "", err
	}
	l.pub.signer = s
	return verifier, nil
}

// keyText is what the old key signs to announce a new one.
func keyText(verifier string) string { return "attestlog/v1/key\n" + verifier + "\n" }

// VerifierKey returns the newest public key that home keeps.
func VerifierKey(home Home) (string, error) {
	keys, err := home.VerifierKeys()
	if err != nil {
		return "", err
	}
	return keys[len(keys)-1], nil
}
