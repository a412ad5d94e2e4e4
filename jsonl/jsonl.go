// Package jsonl keeps a copy of a log as JSON Lines: a Follower writes it, a
// Reader reads it back for verification.
//
// # Lines
//
// Every line ends with '\n' and is an entry, in the form of
// attestlog.AppendLine, or a checkpoint (c2sp.org/tlog-checkpoint): the signed
// note as a JSON string, in which only '"', '\' and the bytes below 0x20 are
// escaped, as RFC 8785, Section 3.2.2.2, does. A checkpoint covers entries that
// stand above it. Three lines of a file (the second and third broken here):
//
//	{"index":0,"leaf":{"action":"login","actor":{"id":"alice"},…,"v":1}}
//	{"index":1,"leaf":{"action":"mail.view","actor":{"id":"alice"},…,"v":1},
//	 "disclosures":{"/source/ip":{"salt":"…","value":"192.0.2.7"}}}
//	{"checkpoint":"example.com/log\n2\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n
//	 \n— example.com/log s4rSqTEekBEwcuL3dg0y/0KDRZ3iDJttPT2Rkyz9ZO3lpEHTS9+mg4HqBzrq/u8mZsbjQeGdQX0XAAyS4PyNyk1WAQM=\n"}
//
// # Torn lines
//
// A file is only ever appended to, so that it may carry the append-only
// attribute (chattr +a). A crash or a full disk can leave a last line that is
// not whole. It is ended with '\n' and the line written again: a torn line is a
// proper prefix of the next whole line. Nothing else in a file may be torn.
//
// # Files
//
// Without rotation everything is in one file, the path given to Open. With
// rotation each file is named by the index of its first entry, in 20 digits:
// audit.jsonl stands for audit-00000000000000000000.jsonl,
// audit-00000000000000012345.jsonl and so on, and the newest is written to.
// Nothing is renamed, since an append-only file cannot be. Files lists them.
//
// Beside them lie audit.jsonl.lock, which the process that holds the follower
// locks, and audit.jsonl.position, where the follower was when it last saved
// it:
//
//	{"file":"audit.jsonl","inode":1835021,"offset":8273,"next":412,
//	 "since":"2026-11-22T10:00:00Z","checkpoint":400}
//
// The position says how much of the file is known; what follows in the file
// decides. Without it the file is read from its start. With it the follower
// knows where to carry on when the file is gone.
package jsonl

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Values of Config.Sync; any duration above zero is an interval.
const (
	SyncAlways time.Duration = 0
	SyncNever  time.Duration = -1
)

// Config configures a Follower. The zero Config is useful.
type Config struct {
	// Sync says when what was written is made durable with fsync: before Take
	// and Checkpoint return (SyncAlways), in the first call after an interval
	// has passed (a Log calls Position at least every 100 ms), or whenever
	// the operating system does (SyncNever). Rotation and Close fsync in any
	// case. Unless it is SyncAlways, a power failure can lose entries that
	// Position counted; they are written again as long as the file itself is
	// there. Defaults to SyncAlways.
	Sync time.Duration
	// OmitDisclosures leaves out the values of sealed fields, most often
	// personal data. The file can be verified all the same. Defaults to
	// writing them: the file is a complete copy.
	OmitDisclosures bool
	// MaxBytes starts a new file before an entry that would make the current
	// one larger. A checkpoint, or a single line that is longer, may exceed
	// it. Defaults to 0, no rotation by size.
	MaxBytes int64
	// MaxAge starts a new file for the first entry that is taken this long
	// after the current one was started. Defaults to 0, no rotation by time.
	MaxAge time.Duration
	// Logger receives warnings: a file that somebody else deleted, replaced
	// or changed, a position that could not be saved. Defaults to
	// slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
}

func (c *Config) rotates() bool { return c.MaxBytes > 0 || c.MaxAge > 0 }

const (
	lockSuffix     = ".lock"
	positionSuffix = ".position"
	saveInterval   = time.Second
	flushBytes     = 4 << 20
)

// A Follower writes the entries of a log to a file, one a line. It implements
// attestlog.Follower: a Log calls one method at a time, and so must others.
//
// Its errors wrap those of the operating system. After any error the file is
// opened anew by the next Position, which finds out what of the last Take is
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

	lock *os.File    // nil: not held
	file *os.File    // the current file; nil: must be opened
	info fs.FileInfo // of file when it was opened
	size int64       // of file as the follower left it
	perm fs.FileMode // for new files: that of the file before
	end  ending      // of file

	at     mark      // what is written
	kept   mark      // what is durable: at, as of the last fsync
	synced time.Time // when the last fsync was
	saved  time.Time // when kept was last saved
	stale  bool      // kept has moved since then

	buf    []byte
	closed bool
}

// Open returns a follower that writes to path, or beside it with rotation. No
// file is touched before the first call of Position, which takes the lock. New
// files have permissions 0600 or those of the file before; a file created
// beforehand keeps its own.
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
	return &Follower{path: path, cfg: cfg, perm: 0o600}, nil
}

// Name returns "jsonl:" and the absolute path.
func (f *Follower) Name() string { return "jsonl:" + f.path }

// Close makes what was written durable whatever Config.Sync is, saves the
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
	if f.lock != nil && f.kept.File != "" {
		err = errors.Join(err, f.save(f.kept))
	}
	f.drop()
	f.unlock()
	if err != nil {
		return fmt.Errorf("jsonl: close: %w", err)
	}
	return nil
}
