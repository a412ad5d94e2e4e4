package jsonl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/durable"
	"github.com/attestlog/attestlog/internal/filelock"
)

// A change is what somebody else did to the current file.
type change string

const (
	unchanged  change = ""
	removed    change = "deleted or moved"
	replaced   change = "replaced"
	truncated  change = "truncated"
	altered    change = "changed"
	writtenTo  change = "written to"
	compressed change = "compressed"
)

func (f *Follower) warnOf(c change) {
	f.cfg.Logger.Warn("jsonl: the file was "+string(c)+" by somebody else; carrying on from the follower's own position",
		"file", f.name(), "next", f.written.Next)
}

// ready takes the lock and opens the current file, unless that was done.
func (f *Follower) ready(ctx context.Context) error {
	if f.closed {
		return fmt.Errorf("follower: %w", os.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return err
	}

	if f.lock != nil && !leadsTo(f.path+lockSuffix, f.lock) {
		f.cfg.Logger.Warn("jsonl: the lock file was deleted or replaced by somebody else", "file", f.path+lockSuffix)
		f.closeFile()
		f.unlock()
		f.synced = position{} // somebody else may have saved a position since
	}

	if f.lock == nil {
		lock, err := takeLock(f.path + lockSuffix)
		if err != nil {
			return err
		}
		f.lock = lock

		// Nobody else replaces the position now, so temporary files are a crash's.
		durable.RemoveTemp(f.path + positionSuffix)
	}

	if f.file != nil {
		return nil
	}
	return f.open()
}

// takeLock opens and locks the file name. It returns
// attestlog.ErrFollowerHeld if another process, or another follower of this
// one, has the lock.
func takeLock(name string) (*os.File, error) {
	for {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}

		free, err := filelock.TryLock(file)
		switch {
		case err != nil:
			file.Close()
			return nil, &os.PathError{Op: "lock", Path: name, Err: err}
		case !free:
			file.Close()
			return nil, fmt.Errorf("%s: %w", name, attestlog.ErrFollowerHeld)
		case leadsTo(name, file):
			return file, nil
		}

		// The file was deleted after it was opened: its lock excludes nobody.
		file.Close()
	}
}

// leadsTo reports whether name still leads to file.
func leadsTo(name string, file *os.File) bool {
	there, err := os.Stat(name)
	if err != nil {
		return false
	}
	own, err := file.Stat()
	return err == nil && os.SameFile(there, own)
}

func (f *Follower) unlock() {
	if f.lock != nil {
		f.lock.Close()
		f.lock = nil
	}
}

// closeFile closes the current file. The next call of ready opens it again.
func (f *Follower) closeFile() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// open finds out where to carry on: from the saved position, and from what the
// newest file holds after it.
func (f *Follower) open() error {
	err := f.load()
	if err != nil {
		return err
	}
	files, err := Files(f.path)
	if err != nil {
		return err
	}

	// The position was saved when its file was made. So if no file is as new as that
	// one, somebody has taken it away.
	newest := ""
	if len(files) > 0 {
		newest = files[len(files)-1]
	}
	plain := strings.TrimSuffix(newest, gzipSuffix)
	if newest == "" || f.isAfter(f.written.File, plain) {
		if f.written.File != "" {
			f.warnOf(removed)
		}
		return f.start(f.written.Next)
	}
	if plain != newest {
		return f.startAfter(newest)
	}

	file, err := f.openAppend(newest, 0)
	if err != nil {
		return err
	}
	what, err := f.resume(file)
	if err != nil {
		file.Close()
		return err
	}
	if what != unchanged {
		file.Close()
		f.warnOf(what)
		return f.start(f.written.Next)
	}
	return nil
}

// load reads the saved position, unless the follower knows of more.
func (f *Follower) load() error {
	name := f.path + positionSuffix
	saved, err := readPosition(name)
	var bad *badPosition
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.As(err, &bad):
		f.cfg.Logger.Warn("jsonl: the position cannot be read and is not used", "file", name, "err", err)
		return nil
	case err != nil:
		return err
	}

	if saved.Next > f.written.Next || f.written.File == "" {
		f.written = saved
	}
	return nil
}

func (f *Follower) openAppend(name string, flag int) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND|flag, f.mode)
	if err != nil {
		return nil, err
	}

	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// resume carries on in a file that is there, unless somebody else changed it
// since the position was saved.
func (f *Follower) resume(file *os.File) (change, error) {
	from, what, err := f.compare(file)
	if err != nil {
		return unchanged, err
	}
	_, err = file.Seek(from, io.SeekStart)
	if err != nil {
		return unchanged, err
	}
	end, err := readEnd(file, from)
	if err != nil {
		return unchanged, err
	}

	// Of the position, the file's lines and its name, the one that knows most.
	next := max(f.written.Next, end.next)
	if first, ok := f.firstIndex(file.Name()); ok {
		next = max(next, first)
	}
	if what != unchanged {
		f.written.Next = next
		return what, nil
	}

	if f.written.File == "" && end.size > 0 {
		f.cfg.Logger.Warn("jsonl: there is no position; the file itself says where it ends",
			"file", file.Name(), "next", next)
	}
	since := f.written.Since
	if f.written.File != filepath.Base(file.Name()) {
		since = f.cfg.Clock()
	}
	if from > 0 {
		end.checkpoint = max(end.checkpoint, f.written.Checkpoint)
	}
	return unchanged, f.adopt(file, end, next, since)
}

// compare returns the offset from which the file is unknown to the follower,
// and what somebody else did to it since the position was saved.
func (f *Follower) compare(file *os.File) (from int64, what change, err error) {
	saved := &f.written
	if filepath.Base(file.Name()) != saved.File {
		return 0, unchanged, nil
	}
	info, err := file.Stat()
	if err != nil {
		return 0, unchanged, err
	}

	n := inode(info)
	switch {
	case n != saved.Inode && n != 0 && saved.Inode != 0:
		return 0, replaced, nil
	case info.Size() < saved.Offset:
		return 0, truncated, nil
	case saved.Offset == 0:
		return 0, unchanged, nil
	}

	// A line ends at the offset.
	var last [1]byte
	_, err = file.ReadAt(last[:], saved.Offset-1)
	if err != nil {
		return 0, unchanged, err
	}
	if last[0] != '\n' {
		return 0, altered, nil
	}
	return saved.Offset, unchanged, nil
}

// startAfter opens a new file after a newest one that somebody compressed.
func (f *Follower) startAfter(newest string) error {
	r, err := openFile(newest)
	if err != nil {
		return err
	}
	defer r.Close()
	end, err := readEnd(r, 0)
	if err != nil {
		return err
	}

	if f.written.File+gzipSuffix == filepath.Base(newest) {
		f.warnOf(compressed)
	}
	return f.start(max(f.written.Next, end.next))
}

// start opens a new file for the entries from next on. If there is a file of
// that name, it is appended to.
func (f *Follower) start(next uint64) error {
	name := f.path
	if _, rotated := f.firstIndex(f.written.File); rotated || f.cfg.rotates() {
		name = f.rotatedName(next)
	}
	file, err := f.openAppend(name, os.O_CREATE)
	if err != nil {
		return err
	}

	err = f.startIn(file, next)
	if err != nil {
		file.Close()
	}
	return err
}

// startIn makes a file that was opened the current one, for the entries from next
// on.
func (f *Follower) startIn(file *os.File, next uint64) error {
	// The name must be durable before a position leads to it.
	err := durable.SyncDir(filepath.Dir(file.Name()))
	if err != nil {
		return err
	}
	end, err := readEnd(file, 0)
	if err != nil {
		return err
	}
	return f.adopt(file, end, next, f.cfg.Clock())
}

// adopt makes file, which ends like that, the current one. It saves the
// position before anything is written. So if a position leads to another file
// than the one last written to, somebody else has changed the files.
func (f *Follower) adopt(file *os.File, end fileEnd, next uint64, since time.Time) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}

	// The position counts all that is in the file, also what was written before a
	// crash and not synced.
	err = file.Sync()
	if err != nil {
		return err
	}

	pos := position{
		File:       filepath.Base(file.Name()),
		Inode:      inode(info),
		Offset:     end.lines,
		Next:       next,
		Since:      since.UTC(),
		Checkpoint: end.checkpoint,
	}

	// The note is needed until its line is whole: there may be another crash.
	end.last.note = end.tornNote(f.written.Note)
	if end.last.note != nil {
		pos.Note = f.written.Note
	}
	err = f.save(pos)
	if err != nil {
		return err
	}

	f.file = file
	f.info = info
	f.mode = info.Mode().Perm()
	f.size = end.size
	f.last = end.last

	f.written = pos
	f.synced = pos
	f.syncTime = f.cfg.Clock()
	return nil
}

// mustRotate reports whether the next entry belongs in a new file, whatever the
// size of the current one.
func (f *Follower) mustRotate() bool {
	// A torn line is written again in its own file.
	if !f.cfg.rotates() || !f.last.whole() {
		return false
	}

	if _, rotated := f.firstIndex(f.written.File); !rotated {
		return true
	}
	tooOld := f.cfg.MaxAge > 0 && !within(f.written.Since, f.cfg.Clock(), f.cfg.MaxAge)
	return tooOld && f.size > 0
}

// rotate ends the current file and starts the next.
func (f *Follower) rotate() error {
	err := f.sync()
	if err != nil {
		return err
	}
	f.closeFile()
	return f.start(f.written.Next)
}

// within reports whether less than d has passed. If the clock was set back, it
// counts as passed.
func within(from, now time.Time, d time.Duration) bool {
	passed := now.Sub(from)
	return passed >= 0 && passed < d
}
