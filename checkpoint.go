package attestlog

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A Checkpoint is a signed tree head (c2sp.org/tlog-checkpoint).
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
	Note   []byte // the signed note
}

// checkpointText is what is signed: origin, size and root, a line each.
func checkpointText(origin string, size uint64, root Hash) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
}

// ParseCheckpoint reads a signed note without looking at its signatures.
func ParseCheckpoint(signed []byte) (Checkpoint, error) {
	text, signatures, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return Checkpoint{}, errors.New("checkpoint: not a signed note")
	}
	for line := range strings.Lines(signatures) {
		// Package note does not mind stray bits at the end of a signature.
		sig := strings.TrimSuffix(line[strings.LastIndexByte(line, ' ')+1:], "\n")
		if _, err := base64.StdEncoding.Strict().DecodeString(sig); err != nil {
			return Checkpoint{}, fmt.Errorf("checkpoint: signature %q is not canonical base64", sig)
		}
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 3 || lines[0] == "" {
		return Checkpoint{}, errors.New("checkpoint: not an origin, a size and a root on three lines")
	}
	size, err := strconv.ParseUint(lines[1], 10, 62)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("checkpoint: size %q is not a decimal number", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(Hash{}) {
		return Checkpoint{}, fmt.Errorf("checkpoint: root %q is not 32 bytes in base64", lines[2])
	}
	return Checkpoint{lines[0], size, Hash(root), signed}, nil
}

// VerifyCheckpoint reads a signed note and demands a signature by one of keys,
// made for the checkpoint's own origin.
func VerifyCheckpoint(signed []byte, keys ...note.Verifier) (Checkpoint, error) {
	c, err := ParseCheckpoint(signed)
	if err != nil {
		return c, err
	}
	var own []note.Verifier
	for _, k := range keys {
		if k.Name() == c.Origin {
			own = append(own, k)
		}
	}
	if len(own) == 0 {
		return c, fmt.Errorf("checkpoint: no key for origin %q", c.Origin)
	}
	if _, err := note.Open(signed, note.VerifierList(own...)); err != nil {
		return c, fmt.Errorf("checkpoint: %v", err)
	}
	return c, nil
}

// A publisher signs checkpoints behind the commit.
type publisher struct {
	mu      sync.Mutex // held while one checkpoint is signed and kept
	signer  note.Signer
	stateMu sync.Mutex
	newest  Checkpoint // guarded by stateMu
	at      time.Time  // when newest was published; guarded by stateMu
	stored  time.Time  // when one was last put into the store; guarded by mu
	last    uint64     // size of that one; guarded by mu
	ended   chan struct{}
	endOnce sync.Once
}

func (p *publisher) finish() { p.endOnce.Do(func() { close(p.ended) }) }

func (p *publisher) current() (Checkpoint, time.Time) {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	return p.newest, p.at
}

// publish is the publisher goroutine: it signs within publishIdle of the last
// commit, and every publishBusy while commits keep coming.
func (l *Log) publish() {
	for {
		changed := l.committed.wait()
		if newest, _ := l.pub.current(); newest.Size >= l.counters.size.Load() {
			select {
			case <-changed:
				continue
			case <-l.pub.ended:
				return
			}
		}
		l.settle()
		if err := l.sign(l.stop, signBehind); err != nil {
			l.cfg.Logger.Error("attestlog: a checkpoint could not be published", "err", err)
			select {
			case <-time.After(publishBusy):
			case <-l.pub.ended:
				return
			}
		}
		select {
		case <-l.pub.ended:
			return
		default:
		}
	}
}

// settle waits until commits have paused, or have gone on for long enough.
func (l *Log) settle() {
	deadline := time.After(publishBusy)
	for {
		changed := l.committed.wait()
		select {
		case <-changed:
		case <-time.After(publishIdle):
			return
		case <-deadline:
			return
		case <-l.pub.ended:
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
	if err := l.sign(ctx, signAll); err != nil {
		return Checkpoint{}, err
	}
	return l.Checkpoint(ctx)
}

// publishLast signs what is left when the log closes, and stores it.
func (l *Log) publishLast(ctx context.Context) error {
	// After its deadline Close still signs, but waits for nobody.
	grace, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(l.stop, func() { time.AfterFunc(lastGrace, cancel) })()
	if err := l.sign(grace, signLast); err != nil {
		return fmt.Errorf("last checkpoint: %w", err)
	}
	return nil
}

// Checkpoint returns the newest signed checkpoint; a new log's is over no
// entries. It is ErrNotFound where the checkpoint was removed or never made.
func (l *Log) Checkpoint(ctx context.Context) (Checkpoint, error) {
	signed, err := l.store.Home().Checkpoint()
	if errors.Is(err, ErrNotFound) {
		if newest, _ := l.pub.current(); newest.Note != nil {
			return newest, nil
		}
		err = l.store.Checkpoints(ctx, func(_ uint64, n []byte) error {
			signed = append([]byte(nil), n...)
			return nil
		})
		if err == nil && signed == nil {
			return Checkpoint{}, fmt.Errorf("checkpoint: %w", ErrNotFound)
		}
	}
	if err != nil {
		return Checkpoint{}, err
	}
	return ParseCheckpoint(signed)
}

// signing says what sign is called for.
type signing int

const (
	signBehind signing = iota // the commits: what this process wrote will do
	signAll                   // that is stored
	signLast                  // all, and put the checkpoint into the store
)

// sign publishes the stored tree, and puts the checkpoint into the store too
// once a minute.
func (l *Log) sign(ctx context.Context, why signing) error {
	p := &l.pub
	p.mu.Lock()
	defer p.mu.Unlock()
	newest, _ := p.current()
	tree, ours, err := l.treeToSign(ctx, newest, why)
	if err != nil {
		return err
	}
	if tree.Size > newest.Size {
		if !ours {
			if err := l.checkTree(ctx, tree, newest); err != nil {
				return fmt.Errorf("nothing was signed: %w", err)
			}
		}
		c, err := l.keepCheckpoint(ctx, tree)
		if err != nil {
			return err
		}
		p.stateMu.Lock()
		p.newest, p.at = c, l.cfg.Clock()
		p.stateMu.Unlock()
		newest = c
		l.committed.fire()
	}
	now := time.Now()
	if newest.Size > p.last && (why == signLast || now.Sub(p.stored) >= keepInterval) {
		if err := l.storeCheckpoint(ctx, newest); err != nil {
			return err
		}
		p.stored, p.last = now, newest.Size
	}
	return nil
}

// treeToSign returns the tree to sign, and whether this process wrote or checked
// it. Such a tree needs no check: it is as durable as what is stored, and if it
// is not what is stored, the next batch finds out.
func (l *Log) treeToSign(ctx context.Context, newest Checkpoint, why signing) (tree Tree, ours bool, err error) {
	if known := l.known.Load(); why == signBehind && known != nil && known.Size > newest.Size {
		return *known, true, nil
	}
	if tree, err = l.store.Tree(ctx); err != nil {
		return tree, false, err
	}
	if known := l.known.Load(); known != nil && known.Size >= tree.Size {
		return *known, true, nil
	}
	return tree, false, nil
}

// checkTree checks a tree before it is signed, unless this process wrote it: it
// must follow from the entries since the newest checkpoint, and contain that.
func (l *Log) checkTree(ctx context.Context, tree Tree, newest Checkpoint) error {
	known := l.known.Load()
	if known != nil && known.Size == tree.Size && known.Root == tree.Root && newest.Size <= known.Size {
		return nil
	}
	if newest.Note != nil {
		if err := l.onHistory(ctx, tree, newest); err != nil {
			return err
		}
	}
	if _, err := loadEdge(tree, storeSource(ctx, l.store)); err != nil {
		return err
	}
	return l.checkTail(ctx, tree, newest.Size)
}

// signedByUs reports whether one of the log's keys signed a note.
func (l *Log) signedByUs(c Checkpoint) bool {
	keys := l.cfg.Verifiers
	if kept, err := homeKeys(l.store.Home()); err == nil {
		keys = append(kept, keys...)
	}
	if _, err := VerifyCheckpoint(c.Note, keys...); err == nil {
		return true
	}
	// Ed25519 is deterministic: what our signer signed, it signs the same again.
	again, err := note.Sign(&note.Note{Text: checkpointText(c.Origin, c.Size, c.Root)}, l.pub.signer)
	return err == nil && string(again) == string(c.Note)
}

func (l *Log) storeCheckpoint(ctx context.Context, c Checkpoint) error {
	return l.store.Write(ctx, func(tx Tx) error {
		return tx.PutCheckpoint(c.Size, l.cfg.Clock(), c.Note)
	})
}

// keepCheckpoint signs tree and keeps the note outside the database. A kept
// checkpoint that another process signed meanwhile must lie on the same
// history, and wins if it is ahead.
func (l *Log) keepCheckpoint(ctx context.Context, tree Tree) (Checkpoint, error) {
	var out Checkpoint
	err := l.store.Home().ReplaceCheckpoint(func(old []byte) ([]byte, error) {
		newest, _ := l.pub.current()
		if old != nil && string(old) != string(newest.Note) {
			kept, err := ParseCheckpoint(old)
			if err != nil {
				return nil, err
			}
			if kept.Size > tree.Size {
				if tree, err = l.store.Tree(ctx); err != nil {
					return nil, err
				}
				if err := l.checkTree(ctx, tree, kept); err != nil {
					return nil, err
				}
			}
			if err := l.onHistory(ctx, tree, kept); err != nil {
				return nil, err
			}
			if kept.Size == tree.Size && l.signedByUs(kept) {
				out = kept
				return nil, nil
			}
		}
		signed, err := note.Sign(&note.Note{Text: checkpointText(l.origin, tree.Size, tree.Root)}, l.pub.signer)
		if err != nil {
			return nil, err
		}
		out = Checkpoint{l.origin, tree.Size, tree.Root, signed}
		return signed, nil
	})
	return out, err
}

// onHistory checks that a checkpoint describes an earlier state of tree.
func (l *Log) onHistory(ctx context.Context, tree Tree, c Checkpoint) error {
	if c.Size > tree.Size {
		return fmt.Errorf("the database holds %d entries, but a checkpoint was signed over %d", tree.Size, c.Size)
	}
	root, err := rootAt(tree, c.Size, storeSource(ctx, l.store))
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("the database's first %d entries are not those of the checkpoint signed over them", c.Size)
	}
	return nil
}
