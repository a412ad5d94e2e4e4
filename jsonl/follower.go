package jsonl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
)

var _ attestlog.Follower = (*Follower)(nil)

// Position returns how many entries of the log are in the file, or left it by
// somebody else's doing. It takes the lock and opens the file if need be, and
// returns attestlog.ErrFollowerHeld while another process has the lock.
func (f *Follower) Position(ctx context.Context) (uint64, error) {
	if err := f.ready(ctx); err != nil {
		return 0, fmt.Errorf("jsonl: %w", err)
	}
	if err := f.upkeep(); err != nil {
		return 0, fmt.Errorf("jsonl: %w", err)
	}
	return f.at.Next, nil
}

// Take appends the entries, the first of which must be the one at Position. It
// is one write unless they fill more than one file or 4 MiB.
func (f *Follower) Take(ctx context.Context, records []attestlog.RawEntry) error {
	if len(records) == 0 {
		return nil
	}
	if err := f.begin(ctx); err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	for i := range records {
		if want := f.at.Next + uint64(i); records[i].Index != want {
			return fmt.Errorf("jsonl: given entry %d where %d comes next", records[i].Index, want)
		}
	}
	before := f.at
	if err := f.take(records); err != nil {
		f.fail(before)
		return fmt.Errorf("jsonl: %w", err)
	}
	return nil
}

// fail goes back to a mark, and closes the file so that the next Position looks
// at what is in it behind the mark.
func (f *Follower) fail(before mark) {
	if f.at.Next >= before.Next {
		f.at = before
	}
	f.drop()
}

func (f *Follower) take(records []attestlog.RawEntry) error {
	if f.aged() {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	b := f.lead(f.buf[:0])
	for i := range records {
		from := len(b)
		b = f.appendEntry(b, records[i])
		if i == 0 && f.end.owed == nil {
			f.compare(b[from:])
		}
		// A torn line is written again in its own file.
		full := f.cfg.MaxBytes > 0 && f.size+int64(len(b)) > f.cfg.MaxBytes && f.size+int64(from) > 0
		if full && (i > 0 || f.end.clean()) {
			if err := f.write(b[:from], records[i].Index); err != nil {
				return err
			}
			if err := f.rotate(); err != nil {
				return err
			}
			b = b[:copy(b, b[from:])]
		}
		if len(b) >= flushBytes {
			if err := f.write(b, records[i].Index+1); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	f.buf = b[:0]
	if err := f.write(b, records[len(records)-1].Index+1); err != nil {
		return err
	}
	return f.settle()
}

func (f *Follower) appendEntry(b []byte, r attestlog.RawEntry) []byte {
	if f.cfg.OmitDisclosures {
		r.Disclosures = nil
	}
	return append(attestlog.AppendLine(b, &r), '\n')
}

// Checkpoint appends a signed note, unless the file has it already.
func (f *Follower) Checkpoint(ctx context.Context, c attestlog.Checkpoint) error {
	if err := f.begin(ctx); err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	if c.Size <= f.at.Checkpoint {
		return nil
	}
	if c.Size > f.at.Next {
		return fmt.Errorf("jsonl: given a checkpoint over %d entries where there are %d", c.Size, f.at.Next)
	}
	if !utf8.Valid(c.Note) {
		return errors.New("jsonl: given a checkpoint that is not UTF-8")
	}
	if err := f.checkpoint(c); err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	return nil
}

// checkpoint saves the note before it writes it: if the line is torn, nobody
// else can tell how it goes on. So it comes after a note that is owed.
func (f *Follower) checkpoint(c attestlog.Checkpoint) error {
	before := f.at
	if f.end.owed != nil {
		err := f.write(f.lead(nil), f.at.Next)
		if err == nil {
			err = f.sync()
		}
		if err != nil {
			f.fail(before)
			return err
		}
		if c.Size <= f.at.Checkpoint {
			return nil
		}
		before = f.at
	}
	kept := f.kept
	kept.Note, before.Note = string(c.Note), string(c.Note)
	if err := f.save(kept); err != nil {
		return err
	}
	b := f.lead(f.buf[:0])
	from := len(b)
	b = append(appendCheckpoint(b, c.Note), '\n')
	f.compare(b[from:])
	f.buf = b[:0]
	err := f.write(b, f.at.Next)
	if err == nil {
		f.at.Checkpoint = c.Size
		err = f.settle()
	}
	if err != nil {
		f.fail(before)
	}
	return err
}

// begin makes sure that the current file is the follower's own.
func (f *Follower) begin(ctx context.Context) error {
	if err := f.ready(ctx); err != nil {
		return err
	}
	what, err := f.changed()
	if err != nil {
		return err
	}
	if what == "" {
		return nil
	}
	f.alarm(what)
	if err := f.file.Sync(); err != nil {
		f.cfg.Logger.Warn("jsonl: entries in a file that somebody else changed may be lost", "file", f.name(), "err", err)
	}
	f.drop()
	return f.start(f.at.Next)
}

// changed returns what somebody else did to the current file, or "".
func (f *Follower) changed() (string, error) {
	info, err := os.Stat(f.name())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "deleted or moved", nil
	case err != nil:
		return "", err
	case !os.SameFile(info, f.info):
		return "replaced", nil
	case info.Size() < f.size:
		return "truncated", nil
	case info.Size() > f.size:
		return "written to", nil
	}
	return "", nil
}

func (f *Follower) alarm(what string) {
	f.cfg.Logger.Warn("jsonl: the file was "+what+" by somebody else; carrying on from the follower's own position",
		"file", f.name(), "next", f.at.Next)
}

// lead appends what must stand before the next line.
func (f *Follower) lead(b []byte) []byte {
	if f.end.open {
		b = append(b, '\n')
	}
	if f.end.owed != nil {
		b = append(appendCheckpoint(b, f.end.owed.Note), '\n')
	}
	return b
}

// compare warns if line does not begin with the torn line before it.
func (f *Follower) compare(line []byte) {
	if !bytes.HasPrefix(line, f.end.torn) {
		f.cfg.Logger.Warn("jsonl: the torn last line is not the beginning of what follows; a reader will reject it",
			"file", f.name(), "next", f.at.Next)
	}
}

// write appends whole lines, after which entry next comes.
func (f *Follower) write(b []byte, next uint64) error {
	if len(b) == 0 {
		return nil
	}
	n, err := f.file.Write(b)
	f.size += int64(n)
	if err != nil {
		return err
	}
	f.at.Offset, f.at.Next, f.at.Note = f.size, next, ""
	if f.end.owed != nil {
		f.at.Checkpoint = f.end.owed.Size
	}
	f.end = ending{}
	return nil
}

// settle makes what a call wrote durable if Config.Sync says so.
func (f *Follower) settle() error {
	if f.cfg.Sync == SyncAlways {
		if err := f.sync(); err != nil {
			return err
		}
	}
	return f.upkeep()
}

// upkeep does what is due: an fsync, and saving the position.
func (f *Follower) upkeep() error {
	now := f.cfg.Clock()
	if f.cfg.Sync > 0 && f.kept != f.at && !within(f.synced, now, f.cfg.Sync) {
		if err := f.sync(); err != nil {
			f.fail(f.kept)
			return err
		}
	}
	if f.stale && !within(f.saved, now, saveInterval) {
		if err := f.save(f.kept); err != nil {
			f.cfg.Logger.Warn("jsonl: the position could not be saved", "err", err)
			f.saved = now
		}
	}
	return nil
}

func (f *Follower) sync() error {
	if f.kept == f.at {
		return nil
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.kept, f.stale, f.synced = f.at, true, f.cfg.Clock()
	return nil
}
