package attestlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/retry"
)

// A followerWorker drives one follower.
type followerWorker struct {
	follower  Follower
	reader    *reader
	publisher *publisher
	head      *head
	life      *lifecycle
	logger    *slog.Logger

	position atomic.Uint64
	failures atomic.Uint64
	held     atomic.Bool // by another process
	failing  lasting.State

	// Owned by run: the size of the last checkpoint given, and the hash of the key
	// that signed it, 0 if that is unknown.
	noted    uint64
	notedKey uint32
}

// run ends once the follower has caught up after the last checkpoint, or cannot,
// and when Close gives up.
func (w *followerWorker) run() {
	backoff := retry.Backoff{First: retryFirst, Longest: retryLongest}
	for {
		changed := w.head.changed.Next()
		last := w.life.published.reached()
		moved, err := w.step(w.life.gaveUp)
		isHeld := errors.Is(err, ErrFollowerHeld)
		w.held.Store(isHeld)
		if !isHeld {
			w.failing.Note(err, w.logger, slog.LevelWarn, "attestlog: a follower is behind and tries again",
				"attestlog: a follower goes on again", "follower", w.follower.Name())
		}

		pause := pollInterval
		switch {
		case moved:
			backoff.Reset()
			continue
		case err == nil:
			backoff.Reset()
		case isHeld:
			changed = nil // the other process has to be waited for
		default:
			w.failures.Add(1)
			changed = nil
			pause = backoff.Next()
		}
		if last {
			return
		}

		select {
		case <-changed:
		case <-time.After(pause):
		case <-w.life.published.Done():
		case <-w.life.gaveUp.Done():
			return
		}
	}
}

// step gives the follower a chunk of entries, or the newest checkpoint, and
// reports whether there was one to give.
func (w *followerWorker) step(ctx context.Context) (bool, error) {
	// The checkpoint is read before the tree, which has all that it covers.
	newest, _ := w.publisher.newest()
	position, err := w.follower.Position(ctx)
	if err != nil {
		return false, err
	}
	w.position.Store(position)

	tree, err := w.reader.Tree(ctx)
	if err != nil {
		return false, err
	}
	switch {
	case position > tree.Size:
		return false, fmt.Errorf("it has %d entries, the log %d: it belongs to another log, or to a history that this log no longer has", position, tree.Size)
	case position == tree.Size:
		return w.giveCheckpoint(ctx, newest, position)
	}

	end := min(tree.Size, position+readChunk)
	entries := make([]RawEntry, 0, end-position)
	err = w.reader.Scan(ctx, position, end, func(r *RawEntry) error {
		entries = append(entries, r.Clone())
		if r.Err != nil {
			w.logger.Error("attestlog: a follower is given a damaged entry as damaged", "follower", w.follower.Name(), "err", r.Err)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	err = w.follower.Take(ctx, entries)
	if err != nil {
		return false, err
	}
	w.position.Store(end)
	return true, nil
}

// giveCheckpoint gives the follower a checkpoint that it does not have yet, if it
// has all the entries.
func (w *followerWorker) giveCheckpoint(ctx context.Context, newest Checkpoint, position uint64) (bool, error) {
	if newest.Note == nil || newest.Size > position || newest.Size <= w.noted {
		return false, nil
	}

	key := newest.signerHash()
	if key != w.notedKey {
		err := w.giveHandovers(ctx, newest)
		if err != nil {
			return false, err
		}
	}
	err := w.follower.Checkpoint(ctx, newest)
	if err != nil {
		return false, err
	}
	w.noted = newest.Size
	w.notedKey = key
	return true, nil
}

// giveHandovers gives the follower the last checkpoint that each earlier key
// signed: it covers the entry that names the next key, so a copy without it shows
// nobody who trusts the earlier key that the later ones are the log's. A follower
// that was behind when the key was rotated was not given it then. What it has
// already it does not take again.
func (w *followerWorker) giveHandovers(ctx context.Context, newest Checkpoint) error {
	keys, err := w.reader.Home().VerifierKeys()
	if err == nil && len(keys) == 1 { // there never was another
		return nil
	}

	var handovers []Checkpoint
	var last Checkpoint // stored so far
	next := func(c Checkpoint) {
		if last.Note != nil && last.signerHash() != c.signerHash() {
			handovers = append(handovers, last)
		}
		last = c
	}

	err = w.reader.Checkpoints(ctx, func(size uint64, signed []byte) error {
		if size >= newest.Size {
			return nil
		}
		c, err := ParseCheckpoint(bytes.Clone(signed))
		if err == nil { // a damaged one is for a verifier to find
			next(c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	next(newest)

	for _, c := range handovers {
		if c.Size <= w.noted {
			continue
		}
		err := w.follower.Checkpoint(ctx, c)
		if err != nil {
			return err
		}
	}
	return nil
}
