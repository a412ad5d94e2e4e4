package jsonl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
)

const (
	saveInterval = time.Second // between two times that the position is saved
	flushBytes   = 4 << 20     // of lines that are written at once, about
)

// A Follower writes the entries of a log to a file, one a line. It implements
// attestlog.Follower. It is not safe for concurrent use: a Log calls one method
// at a time.
//
// Its errors wrap those of the operating system. After any error the file is
// opened again by the next Position, which finds out what of the last Take is
// in it.
//
// BUG(jsonl): After an fsync that fails, the kernel may forget pages that it
// could not write. The entries are then in the file as long as the machine
// runs, and a second fsync reports success. A Reader finds the damage; deleting
// the file and its position has it written anew.
//
// BUG(jsonl): When a crash tears the line of an entry within its disclosures,
// and one of them is erased, or OmitDisclosures changed, before the line is
// written again, the torn line is not a prefix of the next and a Reader rejects
// it. The same holds for a torn checkpoint whose position file is lost. The
// follower warns when it happens.
type Follower struct {
	path string // absolute
	cfg  Config

	lock *os.File // nil: not held

	// The current file, and how the follower left it.
	file *os.File    // nil: must be opened
	info fs.FileInfo // when it was opened
	mode fs.FileMode // for new files: the permissions of the file before
	size int64       // bytes
	last lastLine

	written  position  // after the last whole line that was written
	synced   position  // written, as of the last fsync
	syncTime time.Time // of the last fsync
	saveTime time.Time // when synced was last saved
	unsaved  bool      // synced has moved since then

	buf    []byte // scratch for lines
	closed bool
}

var _ attestlog.Follower = (*Follower)(nil)

// Open returns a follower that writes to path, or with rotation to files next
// to it. No file is touched before the first call of Position, which takes the
// lock. New files have permissions 0600 or those of the file before; a file
// that was created beforehand keeps its own.
func Open(path string, cfg Config) (*Follower, error) {
	if path == "" {
		return nil, errors.New("jsonl: no path")
	}
	if cfg.MaxBytes < 0 || cfg.MaxAge < 0 {
		return nil, fmt.Errorf("jsonl: open %q: MaxBytes or MaxAge is negative", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("jsonl: %w", err)
	}

	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Follower{path: path, cfg: cfg, mode: 0o600}, nil
}

// Name returns "jsonl:" and the absolute path.
func (f *Follower) Name() string { return "jsonl:" + f.path }

// name returns the current file's path.
func (f *Follower) name() string { return filepath.Join(filepath.Dir(f.path), f.written.File) }

// Position returns how many entries of the log are in the file, or were before
// somebody else changed it. It takes the lock and opens the file if need be, and
// returns attestlog.ErrFollowerHeld while another process has the lock.
func (f *Follower) Position(ctx context.Context) (uint64, error) {
	err := f.ready(ctx)
	if err == nil {
		err = f.upkeep()
	}
	if err != nil {
		return 0, fmt.Errorf("jsonl: %w", err)
	}
	return f.written.Next, nil
}

// Take appends the entries, the first of which must be the one at Position. It
// is one write unless they fill more than one file or 4 MiB.
func (f *Follower) Take(ctx context.Context, entries []attestlog.RawEntry) error {
	if len(entries) == 0 {
		return nil
	}
	err := f.checkFile(ctx)
	if err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	for i := range entries {
		if want := f.written.Next + uint64(i); entries[i].Index != want {
			return fmt.Errorf("jsonl: given entry %d where %d comes next", entries[i].Index, want)
		}
	}

	before := f.written
	err = f.writeEntries(entries)
	if err != nil {
		f.reopenAt(before)
		return fmt.Errorf("jsonl: %w", err)
	}
	return nil
}

func (f *Follower) writeEntries(entries []attestlog.RawEntry) error {
	if f.mustRotate() {
		err := f.rotate()
		if err != nil {
			return err
		}
	}

	// If the file ends in a torn line, this finishes the checkpoint that it begins;
	// an entry that it begins is the first below.
	b := f.appendUnfinished(f.buf[:0])
	for i := range entries {
		start := len(b)
		b = f.appendEntry(b, entries[i])
		if i == 0 && f.last.note == nil {
			f.checkTorn(b[start:])
		}

		tooLarge := f.cfg.MaxBytes > 0 && f.size+int64(len(b)) > f.cfg.MaxBytes
		isEmpty := f.size+int64(start) == 0
		isTorn := i == 0 && !f.last.whole() // a torn line is written again in its own file
		if tooLarge && !isEmpty && !isTorn {
			err := f.write(b[:start], entries[i].Index)
			if err != nil {
				return err
			}
			err = f.rotate()
			if err != nil {
				return err
			}
			b = b[:copy(b, b[start:])] // this entry is the first of the new file
		}

		if len(b) >= flushBytes {
			err := f.write(b, entries[i].Index+1)
			if err != nil {
				return err
			}
			b = b[:0]
		}
	}

	f.buf = b[:0]
	err := f.write(b, entries[len(entries)-1].Index+1)
	if err != nil {
		return err
	}
	return f.finishCall()
}

func (f *Follower) appendEntry(b []byte, e attestlog.RawEntry) []byte {
	if f.cfg.OmitDisclosures {
		e.Disclosures = nil
	}
	return append(attestlog.AppendLine(b, &e), '\n')
}

// Checkpoint appends a signed note, unless the file has it already.
func (f *Follower) Checkpoint(ctx context.Context, c attestlog.Checkpoint) error {
	err := f.checkFile(ctx)
	if err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	if c.Size <= f.written.Checkpoint {
		return nil
	}
	if c.Size > f.written.Next {
		return fmt.Errorf("jsonl: given a checkpoint over %d entries where there are %d", c.Size, f.written.Next)
	}
	if !utf8.Valid(c.Note) {
		return errors.New("jsonl: given a checkpoint that is not UTF-8")
	}

	err = f.writeCheckpoint(c)
	if err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	return nil
}

// writeCheckpoint saves the note before it writes it: if the line is torn,
// nothing else can tell how it goes on. The position has room for one note, so
// one that was torn is finished first.
func (f *Follower) writeCheckpoint(c attestlog.Checkpoint) error {
	if f.last.note != nil {
		err := f.finishNote()
		if err != nil {
			return err
		}
		if c.Size <= f.written.Checkpoint {
			return nil
		}
	}

	// After an error of the write the note is in the position that the follower goes
	// back to, and after a crash in the one that was saved.
	before := f.written
	before.Note = string(c.Note)
	saved := f.synced
	saved.Note = string(c.Note)
	err := f.save(saved)
	if err != nil {
		return err
	}

	b := f.appendUnfinished(f.buf[:0])
	start := len(b)
	b = append(appendCheckpoint(b, c.Note), '\n')
	f.checkTorn(b[start:])
	f.buf = b[:0]

	err = f.write(b, f.written.Next)
	if err == nil {
		f.written.Checkpoint = c.Size
		err = f.finishCall()
	}
	if err != nil {
		f.reopenAt(before)
	}
	return err
}

// finishNote writes a torn checkpoint again.
func (f *Follower) finishNote() error {
	before := f.written
	err := f.write(f.appendUnfinished(nil), f.written.Next)
	if err == nil {
		err = f.sync()
	}
	if err != nil {
		f.reopenAt(before)
	}
	return err
}

// Close makes what was written durable, whatever Config.Sync is, saves the
// position and releases the lock. Further calls do nothing.
func (f *Follower) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true

	var err error
	if f.file != nil {
		err = f.sync()
	}
	if f.lock != nil && f.synced.File != "" {
		err = errors.Join(err, f.save(f.synced))
	}
	f.closeFile()
	f.unlock()

	if err != nil {
		return fmt.Errorf("jsonl: close: %w", err)
	}
	return nil
}

// checkFile makes sure that the current file is the one that the follower left,
// or starts a new one.
func (f *Follower) checkFile(ctx context.Context) error {
	err := f.ready(ctx)
	if err != nil {
		return err
	}
	what, err := f.changed()
	if err != nil || what == unchanged {
		return err
	}

	// What is in a file that was moved away counts as written, so it must be durable.
	f.warnOf(what)
	err = f.file.Sync()
	if err != nil {
		f.cfg.Logger.Warn("jsonl: entries in a file that somebody else changed may be lost", "file", f.name(), "err", err)
	}
	f.closeFile()
	return f.start(f.written.Next)
}

// changed returns what somebody else did to the current file.
func (f *Follower) changed() (change, error) {
	info, err := os.Stat(f.name())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return removed, nil
	case err != nil:
		return unchanged, err
	case !os.SameFile(info, f.info):
		return replaced, nil
	case info.Size() < f.size:
		return truncated, nil
	case info.Size() > f.size:
		return writtenTo, nil
	}
	return unchanged, nil
}

// appendUnfinished appends what the last line lacks: its '\n', and the
// checkpoint that it is the beginning of.
func (f *Follower) appendUnfinished(b []byte) []byte {
	if f.last.open {
		b = append(b, '\n')
	}
	if f.last.note != nil {
		b = append(appendCheckpoint(b, f.last.note.Note), '\n')
	}
	return b
}

// checkTorn warns if the next line does not begin with the torn one before it.
func (f *Follower) checkTorn(next []byte) {
	if !bytes.HasPrefix(next, f.last.torn) {
		f.cfg.Logger.Warn("jsonl: the torn last line is not the beginning of what follows; a reader will reject it",
			"file", f.name(), "next", f.written.Next)
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

	f.written.Offset = f.size
	f.written.Next = next
	f.written.Note = ""
	if f.last.note != nil {
		f.written.Checkpoint = f.last.note.Size
	}
	f.last = lastLine{}
	return nil
}

// reopenAt closes the file after an error, and goes back to where it was
// before, so that the next Position looks at what the file holds from there on.
func (f *Follower) reopenAt(before position) {
	// An fsync that failed within the call has gone back further already.
	if f.written.Next >= before.Next {
		f.written = before
	}
	f.closeFile()
}

// finishCall makes what a call wrote durable if Config.Sync says so.
func (f *Follower) finishCall() error {
	if f.cfg.Sync == SyncAlways {
		err := f.sync()
		if err != nil {
			return err
		}
	}
	return f.upkeep()
}

// upkeep does what is due: an fsync, and saving the position.
func (f *Follower) upkeep() error {
	now := f.cfg.Clock()
	if f.cfg.Sync > 0 && !within(f.syncTime, now, f.cfg.Sync) {
		err := f.sync()
		if err != nil {
			f.reopenAt(f.synced)
			return err
		}
	}

	if f.unsaved && !within(f.saveTime, now, saveInterval) {
		err := f.save(f.synced)
		if err != nil {
			f.cfg.Logger.Warn("jsonl: the position could not be saved", "err", err)
			f.saveTime = now // the next try is after the interval
		}
	}
	return nil
}

// sync makes what was written durable.
func (f *Follower) sync() error {
	if f.synced == f.written {
		return nil
	}
	err := f.file.Sync()
	if err != nil {
		return err
	}

	f.synced = f.written
	f.syncTime = f.cfg.Clock()
	f.unsaved = true
	return nil
}

// save replaces the position file.
func (f *Follower) save(p position) error {
	err := p.write(f.path+positionSuffix, f.cfg.Sync != SyncNever)
	if err != nil {
		return err
	}
	f.saveTime = f.cfg.Clock()
	f.unsaved = false
	return nil
}
