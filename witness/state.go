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
	"time"

	"github.com/attestlog/attestlog"
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
	Offset int // where in the file
	Err    error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: byte %d: %v", e.Path, e.Offset, e.Err)
}

// Unwrap returns what is wrong.
func (e *CorruptError) Unwrap() error { return e.Err }

// errHeld is returned when another process keeps the lock for lockWait.
var errHeld = errors.New("another process holds the lock")

// newest has the newest cosigned checkpoint of each log, by its origin.
type newest map[string]attestlog.Checkpoint

// state is the file that survives. Nothing of it is kept in memory, since
// another process may replace it.
type state struct {
	dir string
	sem chan struct{} // held by the request that reads and replaces the file
}

func (s *state) path() string { return filepath.Join(s.dir, "state") }

// openState checks that there is a state that can be read, or makes one.
func openState(dir string, create bool) (*state, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &state{dir, make(chan struct{}, 1)}
	if !create {
		_, err = s.load()
		return s, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	return s, s.locked(context.Background(), func() error {
		_, err := s.load()
		if errors.Is(err, ErrNoState) {
			err = s.replace(nil)
		}
		return err
	})
}

// update calls fn with the state while nobody else reads or replaces it. If fn
// reports true, what it left is durable when update returns without an error.
func (s *state) update(ctx context.Context, fn func(newest) (bool, error)) error {
	return s.locked(ctx, func() error {
		now, err := s.load()
		if err != nil {
			return err
		}
		changed, err := fn(now)
		if err != nil || !changed {
			return err
		}
		return s.replace(now)
	})
}

// locked runs fn with the lock, which it waits for until ctx ends or lockWait
// is over.
func (s *state) locked(ctx context.Context, fn func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockWait, errHeld)
	defer cancel()
	select {
	case s.sem <- struct{}{}:
		defer func() { <-s.sem }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		lock, err := s.lock()
		if err != nil {
			return err
		}
		if lock != nil {
			defer lock.Close()
			return fn()
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lock returns the locked file, or nil if another process has it.
func (s *state) lock() (*os.File, error) {
	f, err := os.OpenFile(s.path()+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ok, err := tryLock(f)
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
	n, offset, err := parseState(string(data))
	if err != nil {
		return nil, &CorruptError{s.path(), offset, err}
	}
	return n, nil
}

// parseState reads what marshal writes; on an error the offset says where.
func parseState(data string) (n newest, offset int, err error) {
	rest, ok := strings.CutPrefix(data, stateHeader)
	if !ok {
		return nil, 0, fmt.Errorf("does not start with %q", strings.TrimSpace(stateHeader))
	}
	at := func() int { return len(data) - len(rest) }
	sum, after, ok := strings.Cut(rest, "\n")
	is := sha256.Sum256([]byte(after))
	if !ok || sum != "sum "+hex.EncodeToString(is[:]) {
		return nil, at(), errors.New("the sum is not that of what follows: the file is torn or was changed")
	}
	rest = after
	n = newest{}
	for rest != "" {
		line, after, _ := strings.Cut(rest, "\n")
		digits, ok := strings.CutPrefix(line, "note ")
		size, err := strconv.Atoi(digits)
		if !ok || err != nil || size < 0 || size > len(after) {
			return nil, at(), fmt.Errorf("%.40q is not the length of a note", line)
		}
		c, err := attestlog.ParseCheckpoint([]byte(after[:size]))
		if err != nil {
			return nil, at(), err
		}
		if _, twice := n[c.Origin]; twice {
			return nil, at(), fmt.Errorf("log %q is there twice", c.Origin)
		}
		n[c.Origin] = c
		rest = after[size:]
	}
	return n, 0, nil
}

func (n newest) marshal() []byte {
	var b bytes.Buffer
	for _, origin := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(&b, "note %d\n%s", len(n[origin].Note), n[origin].Note)
	}
	sum := sha256.Sum256(b.Bytes())
	return append(fmt.Appendf(nil, "%ssum %x\n", stateHeader, sum), b.Bytes()...)
}

// replace makes n the state, durably, or leaves what was there. After an error
// from the folder's sync the new state is there, but may not survive a power
// failure; nothing was promised, and the next replacement syncs it again.
func (s *state) replace(n newest) error {
	tmp, err := os.OpenFile(s.path()+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(n.marshal())
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), s.path())
	}
	if err != nil {
		return err
	}
	return syncDir(s.dir)
}

// syncDir makes the names in a folder durable.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
