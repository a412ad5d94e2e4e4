package attestlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/merkle"
)

// A publisher signs checkpoints after the commits, and keeps the newest outside
// the database.
type publisher struct {
	store     Store
	source    func(context.Context) merkle.Source // of the stored tree
	head      *head
	life      *lifecycle
	verifiers []note.Verifier // in addition to those kept with the store
	clock     func() time.Time
	logger    *slog.Logger
	origin    string // set before run

	mu         sync.Mutex  // held while one checkpoint is signed and kept
	signer     note.Signer // by mu, once the log is open
	stored     time.Time   // when a checkpoint was last put into the store; by mu
	storedSize uint64      // of that one; by mu

	newestMu   sync.Mutex
	checkpoint Checkpoint // the newest; by newestMu
	published  time.Time  // when this process signed it; by newestMu

	failing lasting.State
}

// newest returns the newest checkpoint, and when this process signed it.
func (p *publisher) newest() (Checkpoint, time.Time) {
	p.newestMu.Lock()
	defer p.newestMu.Unlock()
	return p.checkpoint, p.published
}

func (p *publisher) setNewest(c Checkpoint, published time.Time) {
	p.newestMu.Lock()
	defer p.newestMu.Unlock()
	p.checkpoint = c
	p.published = published
}

const (
	// publishIdle is how long after the last commit a checkpoint is signed, and
	// publishBusy how often while commits keep coming.
	publishIdle = 50 * time.Millisecond
	publishBusy = time.Second
	// storeInterval is how often a checkpoint is put into the store too.
	storeInterval = time.Minute
)

// run is the publisher's goroutine. It ends when Close has signed the last
// checkpoint.
func (p *publisher) run() {
	for !p.life.published.reached() {
		changed := p.head.changed.Next()
		newest, _ := p.newest()
		if newest.Size >= p.head.size.Load() {
			select {
			case <-changed:
			case <-p.life.published.Done():
			}
			continue
		}

		p.waitForPause()
		err := p.sign(p.life.gaveUp, signOwn)
		p.failing.Note(err, p.logger, slog.LevelError, "attestlog: a checkpoint could not be published",
			"attestlog: checkpoints are published again")
		if err != nil {
			select {
			case <-time.After(publishBusy):
			case <-p.life.published.Done():
			}
		}
	}
}

// waitForPause waits until commits have paused, or have gone on for long enough.
func (p *publisher) waitForPause() {
	deadline := time.After(publishBusy)
	for {
		changed := p.head.changed.Next()
		select {
		case <-changed:
		case <-time.After(publishIdle):
			return
		case <-deadline:
			return
		case <-p.life.published.Done():
			return
		}
	}
}

// Publish signs a checkpoint that covers every entry acknowledged before the
// call, unless there is one already, and returns the newest.
func (l *Log) Publish(ctx context.Context) (Checkpoint, error) {
	if l.readOnly != nil {
		return Checkpoint{}, l.readOnly
	}
	err := l.publisher.sign(ctx, signAll)
	if err != nil {
		return Checkpoint{}, err
	}
	return l.Checkpoint(ctx)
}

// Checkpoint returns the newest signed checkpoint; a new log's is over no
// entries. It is ErrNotFound where the checkpoint was removed or never made.
func (l *Log) Checkpoint(ctx context.Context) (Checkpoint, error) {
	signed, err := l.reader.Home().Checkpoint()
	if err == nil {
		return ParseCheckpoint(signed)
	}
	if !errors.Is(err, ErrNotFound) {
		return Checkpoint{}, err
	}

	// The kept one is gone: the newest that this process knows, or else the last
	// one in the database.
	newest, _ := l.publisher.newest()
	if newest.Note != nil {
		return newest, nil
	}
	err = l.reader.Checkpoints(ctx, func(_ uint64, stored []byte) error {
		signed = bytes.Clone(stored)
		return nil
	})
	if err != nil {
		return Checkpoint{}, err
	}
	if signed == nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", ErrNotFound)
	}
	return ParseCheckpoint(signed)
}

// signing says what has to be signed.
type signing int

const (
	signOwn  signing = iota // what this process wrote will do
	signAll                 // everything that is stored
	signLast                // the same, and the store gets the checkpoint too
)

// sign publishes the stored tree, and puts the checkpoint into the store too
// every storeInterval.
func (p *publisher) sign(ctx context.Context, what signing) error {
	p.mu.Lock()
	defer p.mu.Unlock()

	newest, _ := p.newest()
	tree, ours, err := p.treeToSign(ctx, newest, what)
	if err != nil {
		return err
	}

	if tree.Size > newest.Size {
		if !ours {
			err := p.checkTree(ctx, tree, newest)
			if err != nil {
				return fmt.Errorf("nothing was signed: %w", err)
			}
		}
		newest, err = p.keep(ctx, tree)
		if err != nil {
			return err
		}
		p.setNewest(newest, p.clock())
		p.head.changed.Fire()
	}

	// The database needs a checkpoint now and then only, so that a verifier finds
	// some without the file next to it.
	now := time.Now()
	isDue := what == signLast || now.Sub(p.stored) >= storeInterval
	if newest.Size > p.storedSize && isDue {
		err := p.store.Write(ctx, func(tx Tx) error { return tx.PutCheckpoint(newest.Size, p.clock(), newest.Note) })
		if err != nil {
			return err
		}
		p.stored = now
		p.storedSize = newest.Size
	}
	return nil
}

// treeToSign returns the tree to sign, and whether this process wrote or checked
// it. Such a tree needs no check: it is as durable as what is stored, and if it
// is not what is stored, the next batch finds out.
func (p *publisher) treeToSign(ctx context.Context, newest Checkpoint, what signing) (tree Tree, ours bool, err error) {
	known := p.head.known.Load()
	if what == signOwn && known != nil && known.Size > newest.Size {
		return *known, true, nil
	}

	tree, err = p.store.Tree(ctx)
	if err != nil {
		return tree, false, err
	}
	known = p.head.known.Load()
	if known != nil && known.Size >= tree.Size {
		return *known, true, nil
	}
	return tree, false, nil
}

// keep signs tree and keeps the note outside the database. A kept checkpoint that
// another process signed meanwhile must lie on the same history, and wins if it
// is ahead.
func (p *publisher) keep(ctx context.Context, tree Tree) (Checkpoint, error) {
	var out Checkpoint
	err := p.store.Home().ReplaceCheckpoint(func(old []byte) ([]byte, error) {
		newest, _ := p.newest()
		if old != nil && !bytes.Equal(old, newest.Note) {
			kept, err := p.reconcile(ctx, old, &tree)
			if err != nil {
				return nil, err
			}
			if kept.Size == tree.Size && p.signedByUs(kept) {
				out = kept
				return nil, nil
			}
		}

		var err error
		out, err = signCheckpoint(p.signer, p.origin, tree.Size, tree.Root)
		return out.Note, err
	})
	return out, err
}

// reconcile checks the checkpoint that another process kept against the tree that
// is to be signed. If the checkpoint is ahead, the tree becomes the one stored
// now.
func (p *publisher) reconcile(ctx context.Context, signed []byte, tree *Tree) (Checkpoint, error) {
	kept, err := ParseCheckpoint(signed)
	if err != nil {
		return kept, err
	}

	if kept.Size > tree.Size {
		*tree, err = p.store.Tree(ctx)
		if err != nil {
			return kept, err
		}
		err = p.checkTree(ctx, *tree, kept)
		if err != nil {
			return kept, err
		}
	}
	return kept, p.checkHistory(ctx, *tree, kept)
}

// signedByUs reports whether one of the log's keys signed a note.
func (p *publisher) signedByUs(c Checkpoint) bool {
	keys := p.verifiers
	kept, err := HomeVerifiers(p.store.Home())
	if err == nil {
		keys = append(kept, keys...)
	}
	_, err = VerifyCheckpoint(c.Note, keys...)
	if err == nil {
		return true
	}

	if p.signer == nil { // a log that is only read needs none
		return false
	}

	// Ed25519 is deterministic: what our signer signed, it signs the same again.
	again, err := signCheckpoint(p.signer, c.Origin, c.Size, c.Root)
	return err == nil && bytes.Equal(again.Note, c.Note)
}

// checkTree checks a tree before it is signed, unless this process wrote it: it
// must follow from the entries since the newest checkpoint, and contain that.
func (p *publisher) checkTree(ctx context.Context, tree Tree, newest Checkpoint) error {
	known := p.head.known.Load()
	if known != nil && known.Size == tree.Size && known.Root == tree.Root && newest.Size <= known.Size {
		return nil
	}

	_, err := p.load(ctx, tree, newest)
	return err
}

// load checks a tree that somebody else wrote, and returns its edge: a checkpoint
// must lie on its history, and what has been stored since must follow from the
// leaves, because nothing has signed it yet.
func (p *publisher) load(ctx context.Context, tree Tree, newest Checkpoint) (*merkle.Edge, error) {
	if newest.Note != nil {
		err := p.checkHistory(ctx, tree, newest)
		if err != nil {
			return nil, err
		}
	}

	edge, err := loadEdge(tree, p.source(ctx))
	if err != nil {
		return nil, err
	}
	return edge, p.checkTiles(ctx, tree, newest.Size)
}

// checkHistory checks that a checkpoint describes an earlier state of tree.
func (p *publisher) checkHistory(ctx context.Context, tree Tree, c Checkpoint) error {
	if c.Size > tree.Size {
		return fmt.Errorf("the database holds %d entries, but a checkpoint was signed over %d", tree.Size, c.Size)
	}

	root, err := rootAt(tree, c.Size, p.source(ctx))
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("the database's first %d entries are not those of the checkpoint signed over them", c.Size)
	}
	return nil
}

// checkTiles compares the level-0 tiles from an entry on with their leaves.
func (p *publisher) checkTiles(ctx context.Context, tree Tree, from uint64) error {
	src := p.source(ctx)
	for n := from / TileWidth; (n+1)*TileWidth <= tree.Size; n++ {
		fromLeaves, err := src.Hashes(0, n, TileWidth, false)
		if err != nil {
			return corruptError(err)
		}
		stored, err := src.Hashes(0, n, TileWidth, true)
		if err != nil {
			return corruptError(err)
		}

		for i := range fromLeaves {
			if fromLeaves[i] != stored[i] {
				return corruptError(merkle.LeafMismatch(n*TileWidth + uint64(i)))
			}
		}
	}
	return nil
}

// RotateKey replaces the signing key by a new one of the same origin. An entry,
// covered by a checkpoint that the old key signs, names the new key, so that
// anyone who trusts the old key can come to trust the new one; the old verifier
// key is kept, and so old checkpoints stay verifiable. It returns the new
// verifier key. Logs that were given a Signer rotate it themselves.
func (l *Log) RotateKey(ctx context.Context) (string, error) {
	if l.readOnly != nil {
		return "", l.readOnly
	}
	if l.cfg.Signer != nil {
		return "", errors.New("attestlog: the signing key was given by the program, which has to replace it")
	}

	old, err := VerifierKey(l.reader.Home())
	if err != nil {
		return "", err
	}
	signer, verifier, err := GenerateKey(l.origin)
	if err != nil {
		return "", err
	}
	announcement, err := l.publisher.announce(verifier)
	if err != nil {
		return "", err
	}

	// The entry must be covered by a checkpoint of the old key before the old key
	// is gone: nobody could sign for the new one afterwards.
	err = l.appender.appendOwn(ctx, Event{
		Action:     KeyAction,
		Attributes: map[string]any{"old": old, "new": verifier, "note": string(announcement)},
	})
	if err != nil {
		return "", err
	}
	err = l.publisher.sign(ctx, signLast)
	if err != nil {
		return "", err
	}
	err = l.publisher.rotate(signer, verifier)
	if err != nil {
		return "", err
	}
	return verifier, nil
}

// announce signs the announcement of a new verifier key.
func (p *publisher) announce(verifier string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return note.Sign(&note.Note{Text: KeyNote(verifier)}, p.signer)
}

// rotate signs with another key from now on.
func (p *publisher) rotate(signer, verifier string) error {
	s, err := note.NewSigner(signer)
	if err != nil {
		return err
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	err = p.store.Home().RotateKey(signer, verifier)
	if err != nil {
		return err
	}
	p.signer = s
	return nil
}
