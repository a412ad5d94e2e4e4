// Package spool keeps events in a file on this machine while a log cannot take
// them: an attestlog.Spool. The file is a bbolt database (go.etcd.io/bbolt)
// with three buckets. In "events", a number of 8 big-endian bytes that counts
// up from 1 leads to the time at which the event was handed over, 8 big-endian
// bytes of nanoseconds since 1970, and the event's JSON. In "refused" it leads
// to the reason's length, 4 big-endian bytes, the reason, and the same. In
// "state", "format" leads to "attestlog spool 1", "bytes" to the sum of the lengths
// of what is in "events", and "refused" to how many events are in "refused".
//
// Every Put and every Move is one transaction, and durable when it returns.
package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/attestlog/attestlog"
)

// Config configures a Spool. The zero Config is useful.
type Config struct {
	// MaxBytes bounds the events that wait, as JSON; those that the log refused
	// come on top. The file is up to twice as large, and does not shrink.
	// Defaults to 256 MiB.
	MaxBytes int64
	// Wait is how long Open waits for another owner of the file to close it.
	// Defaults to 5 s.
	Wait time.Duration
	// Log prepares the events that are recorded into the spool itself; only its
	// Sealed and Clock matter.
	Log attestlog.Config
}

const (
	defaultBytes = 256 << 20
	lockWait     = 5 * time.Second
	timeBytes    = 8
)

var (
	eventsBucket  = []byte("events")
	refusedBucket = []byte("refused")
	stateBucket   = []byte("state")
	bytesName     = []byte("bytes")
	refusedName   = []byte("refused")
	formatName    = []byte("format")
	format        = []byte("attestlog spool 1")
)

// ErrForeign is returned by Open for a database that is no spool, or one of a
// newer version. It is not changed.
var ErrForeign = errors.New("not a spool that this program knows")

// ErrInUse is returned by Open for a file that another process, or another
// Spool of this one, has open.
var ErrInUse = errors.New("spool is in use")

// A Spool is an attestlog.Spool in a file.
type Spool struct {
	path   string
	cfg    Config
	db     *bolt.DB
	moving sync.Mutex // held by Move
}

var _ attestlog.Spool = (*Spool)(nil)

// Open opens or creates the file, with mode 0600. The folder must exist. A file
// belongs to one Spool of one process at a time: Open waits for another for
// Config.Wait and returns ErrInUse. It returns ErrForeign for a database of
// something else.
func Open(path string, cfg Config) (*Spool, error) {
	s, err := open(path, cfg)
	if err != nil {
		return nil, fmt.Errorf("spool: open %s: %w", path, err)
	}
	return s, nil
}

func open(path string, cfg Config) (*Spool, error) {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultBytes
	}
	if cfg.Wait <= 0 {
		cfg.Wait = lockWait
	}
	opts := *bolt.DefaultOptions
	opts.Timeout = cfg.Wait
	db, err := bolt.Open(path, 0o600, &opts)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, err
	}
	err = db.Update(setUp)
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return &Spool{path: path, cfg: cfg, db: db}, nil
}

// setUp makes the buckets of a new spool.
func setUp(tx *bolt.Tx) error {
	if state := tx.Bucket(stateBucket); state != nil && bytes.Equal(state.Get(formatName), format) {
		return nil
	}
	if name, _ := tx.Cursor().First(); name != nil {
		return ErrForeign
	}
	for _, name := range [][]byte{eventsBucket, refusedBucket, stateBucket} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return tx.Bucket(stateBucket).Put(formatName, format)
}

// syncFolder makes the file's name durable.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Name returns the file's path.
func (s *Spool) Name() string { return s.path }

// Record durably puts an event into the spool, for a program that starts while
// its store is down and so has no Log yet. The next Log with this spool takes
// it. Errors are those of Append and attestlog.ErrSpoolFull.
func (s *Spool) Record(ctx context.Context, e attestlog.Event) error {
	p, err := s.cfg.Log.Prepare(e)
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, []attestlog.Prepared{p})
	return err
}

// Put durably adds events behind those that wait. An event that is larger than
// Config.MaxBytes is taken by an empty spool.
func (s *Spool) Put(_ context.Context, events []attestlog.Prepared) (int, error) {
	n := 0
	err := s.db.Update(func(tx *bolt.Tx) error {
		bucket, used := tx.Bucket(eventsBucket), number(tx, bytesName)
		bucket.FillPercent = 1 // keys only grow
		for n = 0; n < len(events); n++ {
			value := encode(&events[n])
			if used > 0 && used+int64(len(value)) > s.cfg.MaxBytes {
				break
			}
			number, err := bucket.NextSequence()
			if err != nil {
				return err
			}
			if err := bucket.Put(binary.BigEndian.AppendUint64(nil, number), value); err != nil {
				return err
			}
			used += int64(len(value))
		}
		return setNumber(tx, bytesName, used)
	})
	if err != nil {
		return 0, fmt.Errorf("spool: put: %w", err)
	}
	if n < len(events) {
		return n, fmt.Errorf("spool: %w: it may hold %d bytes", attestlog.ErrSpoolFull, s.cfg.MaxBytes)
	}
	return n, nil
}

// Move implements attestlog.Outbox.
func (s *Spool) Move(ctx context.Context, fn func([]attestlog.Prepared) ([]error, error)) (int, error) {
	s.moving.Lock()
	defer s.moving.Unlock()
	keys, events, err := s.oldest()
	if err != nil || len(events) == 0 {
		return 0, err
	}
	verdicts, err := fn(events)
	if err != nil {
		return 0, err
	}
	err = s.db.Update(func(tx *bolt.Tx) error {
		bucket, used := tx.Bucket(eventsBucket), number(tx, bytesName)
		for i, key := range keys {
			value := bucket.Get(key)
			used -= int64(len(value))
			if verdicts[i] != nil {
				err := errors.Join(tx.Bucket(refusedBucket).Put(key, refused(verdicts[i], value)), setNumber(tx, refusedName, number(tx, refusedName)+1))
				if err != nil {
					return err
				}
			}
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
		return setNumber(tx, bytesName, used)
	})
	if err != nil {
		return 0, fmt.Errorf("spool: remove what was moved: %w", err)
	}
	return len(events), nil
}

// oldest copies the first events, within the bounds of a Move.
func (s *Spool) oldest() (keys [][]byte, events []attestlog.Prepared, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(eventsBucket).Cursor()
		size := 0
		for key, value := c.First(); key != nil && len(events) < attestlog.MaxMove; key, value = c.Next() {
			if size += len(value); len(events) > 0 && size > attestlog.MaxMoveBytes {
				break
			}
			p, err := decode(value)
			if err != nil {
				return fmt.Errorf("event %d: %w", binary.BigEndian.Uint64(key), err)
			}
			keys, events = append(keys, append([]byte(nil), key...)), append(events, p)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("spool: read: %w", err)
	}
	return keys, events, nil
}

// Backlog implements attestlog.Outbox.
func (s *Spool) Backlog(context.Context) (attestlog.Backlog, error) {
	var b attestlog.Backlog
	err := s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(eventsBucket).Cursor()
		b.Refused = uint64(number(tx, refusedName))
		key, value := c.First()
		if key == nil {
			return nil
		}
		p, err := decode(value)
		if err != nil {
			return err
		}
		b.Since = p.At
		b.First = binary.BigEndian.Uint64(key)
		key, _ = c.Last()
		b.Last = binary.BigEndian.Uint64(key)
		b.Events = b.Last - b.First + 1 // they leave from the front
		return nil
	})
	if err != nil {
		return attestlog.Backlog{}, fmt.Errorf("spool: read: %w", err)
	}
	return b, nil
}

// Close releases the file.
func (s *Spool) Close() error { return s.db.Close() }

// number returns a number in the state, 0 where there is none yet.
func number(tx *bolt.Tx, name []byte) int64 {
	b := tx.Bucket(stateBucket).Get(name)
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

func setNumber(tx *bolt.Tx, name []byte, n int64) error {
	return tx.Bucket(stateBucket).Put(name, binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func encode(p *attestlog.Prepared) []byte {
	out := make([]byte, 0, timeBytes+len(p.Event))
	out = binary.BigEndian.AppendUint64(out, uint64(p.At.UnixNano()))
	return append(out, p.Event...)
}

// decode copies an event, which is valid only within its transaction.
func decode(value []byte) (attestlog.Prepared, error) {
	if len(value) < timeBytes {
		return attestlog.Prepared{}, errors.New("is not whole")
	}
	at := time.Unix(0, int64(binary.BigEndian.Uint64(value))).UTC()
	return attestlog.Prepared{Event: append([]byte(nil), value[timeBytes:]...), At: at}, nil
}

// Refused calls fn with each event that the log did not take, oldest first, and
// the reason, until fn returns an error. Those for which fn returns true are
// removed; the others stay. fn may use the spool.
func (s *Spool) Refused(fn func(reason string, p attestlog.Prepared) (remove bool, err error)) error {
	for after := []byte(nil); ; {
		var key, value []byte
		err := s.db.View(func(tx *bolt.Tx) error {
			c := tx.Bucket(refusedBucket).Cursor()
			k, v := c.First()
			if after != nil {
				if k, v = c.Seek(after); bytes.Equal(k, after) {
					k, v = c.Next()
				}
			}
			key, value = bytes.Clone(k), bytes.Clone(v)
			return nil
		})
		if err != nil || key == nil {
			return err
		}
		after = key
		if len(value) < 4 || uint64(len(value)-4) < uint64(binary.BigEndian.Uint32(value)) {
			return errors.New("spool: a refused event is not whole")
		}
		event := value[4+binary.BigEndian.Uint32(value):]
		p, err := decode(event)
		if err != nil {
			return fmt.Errorf("spool: a refused event %w", err)
		}
		remove, err := fn(string(value[4:len(value)-len(event)]), p)
		if err != nil {
			return err
		}
		if remove {
			if err := s.forget(key); err != nil {
				return err
			}
		}
	}
}

// forget removes a refused event.
func (s *Spool) forget(key []byte) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		if tx.Bucket(refusedBucket).Get(key) == nil {
			return nil
		}
		return errors.Join(tx.Bucket(refusedBucket).Delete(key), setNumber(tx, refusedName, number(tx, refusedName)-1))
	})
}

func refused(reason error, value []byte) []byte {
	text := reason.Error()
	out := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	return append(append(out, text...), value...)
}
