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
// them, and opts.Checkpoint. See attestlog.VerifyEntries for its errors. It
// reads the files twice, in memory that grows only with the checkpoints.
func Verify(ctx context.Context, opts verify.Options, paths ...string) (verify.Report, error) {
	var notes [][]byte
	size, err := outline(paths, func(note []byte) { notes = append(notes, note) })
	if err != nil {
		return verify.Report{}, err
	}
	s := &sequential{reader: NewReader(paths...)}
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

// outline counts the entries and hands out the checkpoints.
func outline(paths []string, checkpoint func([]byte)) (uint64, error) {
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
			checkpoint(line.Checkpoint.Note)
			continue
		case size == 0 && line.Record.Index != 0:
			return 0, fmt.Errorf("%w: %s begins with entry %d; give the files from entry 0 on", verify.ErrCannotVerify, line.File, line.Record.Index)
		}
		size = line.Record.Index + 1
	}
}

// sequential lets concurrent scans of adjoining ranges take turns on one
// Reader: each reads its range in its turn and works on it outside the lock.
type sequential struct {
	mu     sync.Mutex
	moved  *sync.Cond
	reader *Reader
	next   uint64
	err    error // of the reader; final
}

func (s *sequential) scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	records, err := s.take(from, to)
	for i := range records {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(&records[i]); err != nil {
			return err
		}
	}
	return err
}

func (s *sequential) take(from, to uint64) ([]attestlog.RawEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && s.next != from {
		s.moved.Wait()
	}
	defer s.moved.Broadcast()
	records := make([]attestlog.RawEntry, 0, to-from)
	for s.err == nil && s.next < to {
		line, err := s.reader.Next()
		if err != nil {
			s.err = err
			break
		}
		if line.Checkpoint != nil {
			continue
		}
		records = append(records, attestlog.RawEntry{
			Index: line.Record.Index, Leaf: append([]byte(nil), line.Record.Leaf...), Disclosures: cloneDisclosures(line.Record.Disclosures),
		})
		s.next = line.Record.Index + 1
	}
	if errors.Is(s.err, io.EOF) {
		return records, errors.New("jsonl: the file became shorter while it was verified")
	}
	return records, s.err
}

func cloneDisclosures(in []attestlog.Disclosure) []attestlog.Disclosure {
	var out []attestlog.Disclosure
	for _, d := range in {
		d.Value = append([]byte(nil), d.Value...)
		out = append(out, d)
	}
	return out
}
