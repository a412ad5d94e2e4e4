package jsonl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/verify"
)

// Verify verifies files that a Follower or an export wrote, given in their
// order and beginning with entry 0: every entry, every checkpoint between
// them, and opts.Checkpoint. See verify.Entries for its errors. It
// reads the files twice, in memory that grows only with the checkpoints.
func Verify(ctx context.Context, opts verify.Options, paths ...string) (verify.Report, error) {
	var notes [][]byte
	size, err := outline(paths, func(note []byte) { notes = append(notes, note) })
	if err != nil {
		return verify.Report{}, err
	}

	s := &sequentialScan{reader: NewReader(paths...)}
	s.moved = sync.NewCond(&s.mu)
	defer s.reader.Close()

	return verify.Entries(ctx, verify.Source{
		Size: size,
		Scan: s.scan,
		Checkpoints: func(fn func([]byte) error) error {
			for _, note := range notes {
				if err := fn(note); err != nil {
					return err
				}
			}
			return nil
		},
	}, "", opts)
}

// outline counts the entries, and calls fn with each checkpoint's note.
func outline(paths []string, fn func(note []byte)) (uint64, error) {
	r := NewReader(paths...)
	defer r.Close()

	size := uint64(0)
	for {
		line, err := r.Next()
		switch {
		case err == io.EOF:
			return size, nil
		case err != nil:
			return 0, err
		case line.Checkpoint != nil:
			fn(line.Checkpoint.Note)
			continue
		case size == 0 && line.Entry.Index != 0:
			return 0, fmt.Errorf("%w: %s begins with entry %d; give the files from entry 0 on",
				verify.ErrCannotVerify, line.File, line.Entry.Index)
		}
		size = line.Entry.Index + 1
	}
}

// A sequentialScan lets concurrent scans of adjoining ranges take turns on one
// Reader: each reads its range in its turn, and works on it without the lock.
type sequentialScan struct {
	mu     sync.Mutex
	moved  *sync.Cond // next or err has changed
	reader *Reader
	next   uint64
	err    error // of the reader; final
}

func (s *sequentialScan) scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	// After an error, the entries before it are still verified.
	entries, readErr := s.read(from, to)
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(&entries[i]); err != nil {
			return err
		}
	}
	return readErr
}

// read returns a range once those before it were read.
func (s *sequentialScan) read(from, to uint64) ([]attestlog.RawEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	// After an error of the reader no turn comes any more.
	for s.err == nil && s.next != from {
		s.moved.Wait()
	}
	defer s.moved.Broadcast()

	entries := make([]attestlog.RawEntry, 0, to-from)
	for s.err == nil && s.next < to {
		line, err := s.reader.Next()
		if err != nil {
			s.err = err
			break
		}
		if line.Checkpoint != nil {
			continue
		}
		entries = append(entries, line.Entry.Clone())
		s.next = line.Entry.Index + 1
	}

	// outline has read as many entries as all ranges have together.
	if errors.Is(s.err, io.EOF) {
		return entries, errors.New("jsonl: the file became shorter while it was verified")
	}
	return entries, s.err
}
