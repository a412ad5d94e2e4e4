package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/durable"
	"github.com/attestlog/attestlog/internal/filelock"
	"github.com/attestlog/attestlog/internal/retry"
)

const (
	stateHeader = "attestlog witness state v1\n"
	// lockWait bounds how long a request waits for another process.
	lockWait = 10 * time.Second
	lockPoll = 2 * time.Millisecond
)

// A CorruptError says that the state of a witness is damaged. The witness
// refuses everything until it is whole again; see docs/operations.md.
type CorruptError struct {
	Path   string
	Offset int // in the file, in bytes
	Err    error
}

// Error names the file and the place in it.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: byte %d: %v", e.Path, e.Offset, e.Err)
}

// Unwrap returns what is wrong.
func (e *CorruptError) Unwrap() error { return e.Err }

// errHeld is returned when another process keeps the lock for lockWait.
var errHeld = errors.New("another process holds the lock")

// newest has the newest cosigned checkpoint of each log, by its origin.
type newest map[string]attestlog.Checkpoint

// state is the file that survives. None of it is kept in memory, since another
// process may replace it.
type state struct {
	dir   string
	sem   chan struct{} // has a token while a request reads and replaces the file
	swept sync.Once     // done once this process has removed what a crash left
}

// openState checks that there is a state that can be read. If there is none and
// create is set, it makes an empty one.
func openState(dir string, create bool) (*state, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &state{dir: dir, sem: make(chan struct{}, 1)}
	if !create {
		_, err = s.load()
		return s, err
	}

	err = os.MkdirAll(dir, 0o700)
	if err != nil {
		return nil, err
	}

	// If the folder's name were lost, so would be the state.
	err = durable.SyncDir(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}

	// Another process may be making the state at the same time.
	err = s.locked(context.Background(), func() error {
		_, err := s.load()
		if errors.Is(err, ErrNoState) {
			err = s.replace(nil)
		}
		return err
	})
	return s, err
}

func (s *state) path() string { return filepath.Join(s.dir, "state") }

// update calls fn with the state while nobody else reads or replaces it. What fn
// leaves is durable when update returns nil; an error of fn leaves the state as
// it was.
func (s *state) update(ctx context.Context, fn func(newest) error) error {
	return s.locked(ctx, func() error {
		logs, err := s.load()
		if err != nil {
			return err
		}
		err = fn(logs)
		if err != nil {
			return err
		}
		return s.replace(logs)
	})
}

// locked runs fn with the lock, for which it waits until ctx ends or lockWait is
// over.
func (s *state) locked(ctx context.Context, fn func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockWait, errHeld)
	defer cancel()

	// Requests of this process wait for each other here, so that one at a time
	// polls the file's lock.
	select {
	case s.sem <- struct{}{}:
		defer func() { <-s.sem }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}

	for {
		lock, err := s.tryLock()
		if err != nil {
			return err
		}
		if lock != nil {
			defer lock.Close()
			// Nobody else replaces the file now, so temporary files are a crash's.
			s.swept.Do(func() { durable.RemoveTemp(s.path()) })
			return fn()
		}
		if retry.Sleep(ctx, lockPoll) != nil {
			return context.Cause(ctx)
		}
	}
}

// tryLock returns the locked file, or nil if another process has it. Closing the
// file releases the lock.
func (s *state) tryLock() (*os.File, error) {
	f, err := os.OpenFile(s.path()+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}

	ok, err := filelock.TryLock(f)
	if ok {
		return f, nil
	}
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil, nil
}

// load reads the file, which is always whole: it is only ever replaced.
func (s *state) load() (newest, error) {
	data, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", s.dir, ErrNoState)
	}
	if err != nil {
		return nil, err
	}

	logs, offset, err := parseState(string(data))
	if err != nil {
		return nil, &CorruptError{s.path(), offset, err}
	}
	return logs, nil
}

// replace makes logs the state, durably, or leaves what was there. After an
// error of the folder's sync the new state is there, but may not survive a power
// failure. No cosignature was given then, and the next replacement syncs the
// folder again.
func (s *state) replace(logs newest) error {
	return durable.Replace(s.path(), logs.marshal(), 0o600)
}

// parseState reads what marshal writes; on an error, offset says where.
func parseState(data string) (logs newest, offset int, err error) {
	rest, ok := strings.CutPrefix(data, stateHeader)
	if !ok {
		return nil, 0, fmt.Errorf("does not start with %q", strings.TrimSpace(stateHeader))
	}
	offsetOf := func(rest string) int { return len(data) - len(rest) }

	line, notes, ok := strings.Cut(rest, "\n")
	sum := sha256.Sum256([]byte(notes))
	if !ok || line != "sum "+hex.EncodeToString(sum[:]) {
		return nil, offsetOf(rest), errors.New("the sum is not that of what follows: the file is torn or was changed")
	}

	// The sum is right, so whatever cannot be read below was written that way.
	logs = newest{}
	for rest = notes; rest != ""; {
		line, after, _ := strings.Cut(rest, "\n")
		digits, ok := strings.CutPrefix(line, "note ")
		size, err := strconv.Atoi(digits)
		if !ok || err != nil || size < 0 || size > len(after) {
			return nil, offsetOf(rest), fmt.Errorf("%.40q is not the length of a note", line)
		}

		c, err := attestlog.ParseCheckpoint([]byte(after[:size]))
		if err != nil {
			return nil, offsetOf(rest), err
		}
		if _, twice := logs[c.Origin]; twice {
			return nil, offsetOf(rest), fmt.Errorf("log %q is there twice", c.Origin)
		}
		logs[c.Origin] = c
		rest = after[size:]
	}
	return logs, 0, nil
}

// marshal writes the file; the package comment shows it.
func (n newest) marshal() []byte {
	var notes bytes.Buffer
	for _, origin := range slices.Sorted(maps.Keys(n)) {
		signed := n[origin].Note
		fmt.Fprintf(&notes, "note %d\n%s", len(signed), signed)
	}

	sum := sha256.Sum256(notes.Bytes())
	out := fmt.Appendf(nil, "%ssum %x\n", stateHeader, sum)
	return append(out, notes.Bytes()...)
}
