// Package jsonl keeps a copy of a log as JSON Lines: a Follower writes it, a
// Reader reads it back, and Verify verifies it.
//
// # Lines
//
// Every line ends with '\n'. It is an entry or a checkpoint.
//
// An entry's line is that of attestlog.AppendLine: its index, its leaf byte for
// byte, and its disclosures unless there are none.
//
// A checkpoint's line is the signed note (c2sp.org/tlog-checkpoint) as a JSON
// string, in which only '"', '\' and the bytes below 0x20 are escaped, as RFC
// 8785, Section 3.2.2.2, does. It comes after the entries that it covers.
//
// These are three lines of a file, which testdata/example.jsonl has unbroken:
//
//	{"index":0,"leaf":{"action":"login","actor":{"id":"alice"},
//	  "id":"01a22ef5-1dcc-73a5-9b36-902786a0d488",
//	  "logged_time":"2026-12-01T00:15:45.612480Z",
//	  "time":"2026-12-01T00:15:45.612230081Z","v":1}}
//
//	{"index":1,"leaf":{"action":"mail.view","actor":{"id":"alice"},
//	  "id":"01a22ef5-1dcd-7ba7-84fe-798710d49dcb",
//	  "logged_time":"2026-12-01T00:15:45.613808Z",
//	  "sealed":{"/source/ip":"ZU7SBATxiLgb0Dc7ANwGIS+NVoHrXB0lDePUx7WFl40="},
//	  "time":"2026-12-01T00:15:45.613752614Z","v":1},
//	  "disclosures":{"/source/ip":
//	    {"salt":"hy59868du7tHGPsXJOPiDw==","value":"192.0.2.7"}}}
//
//	{"checkpoint":"example.com/log\n2\n
//	  0DvJR6q9dIJNBEqwKnghLsL8M9jI88/xD91n4Un450w=\n\n
//	  — example.com/log D/hwNFyWH9UueRmZjlEqtzCoulHUqRnycf5SICc8pKeB/nJS
//	  3xDr95+gYZYdqsCUPRAtULCDi64PGwOE3HiUT3EtSwc=\n"}
//
// # Torn lines
//
// A file is only ever appended to, so that it may carry the append-only
// attribute (chattr +a). A crash or a full disk can leave a last line that is
// not whole. The follower ends it with '\n' and writes the line again, so a
// torn line is a proper prefix of the next whole line. No other line may be
// torn.
//
// # Files
//
// Without rotation everything is in one file, the path given to Open. With
// rotation each file is named by the index of its first entry, in 20 digits. If
// the path is audit.jsonl, they are audit-00000000000000000000.jsonl,
// audit-00000000000000012345.jsonl and so on, and the newest is written to.
// Nothing is renamed, since an append-only file cannot be. Files lists them.
//
// The process that writes the files locks audit.jsonl.lock, which is empty.
//
// # The position file
//
// The file audit.jsonl.position, next to the others, is where the follower was
// when it last saved its position. It is one line of JSON (broken here):
//
//	{"file":"audit.jsonl","inode":9979992,"offset":750,"next":2,
//	  "since":"2026-12-01T00:15:45.612686863Z","checkpoint":2}
//
// The first offset bytes of the file, which was started at the time since and
// has the inode number inode, are whole lines. They hold the entries below next
// and a checkpoint of size checkpoint. The number 0 is left out, except as
// offset and next. A member note is there while the follower writes a
// checkpoint: it is the signed note, without which a torn line could not be
// written again.
//
// What the file holds after the offset counts as well, so a position may be
// old. Without a position the file is read from its start. With it the follower
// knows where to carry on when the file is gone.
package jsonl

import (
	"log/slog"
	"time"
)

// Values of Config.Sync. A duration above zero is an interval.
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
