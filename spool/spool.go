// Package spool keeps events in a file on this machine while a log cannot take
// them: an attestlog.Spool.
//
// The file is a bbolt database (go.etcd.io/bbolt) with three buckets. All
// integers are big-endian.
//
//	events   number → time, event
//	refused  number → length of the reason, reason, time, event
//	state    "format"  → "attestlog spool 1"
//	         "bytes"   → sum of the lengths of the values in events
//	         "refused" → how many events are in refused
//
// A number has 8 bytes and counts up from 1; an event keeps its number when it
// is refused. The time is when the event was handed over, in 8 bytes of
// nanoseconds since 1970. The event is JSON. The length of a reason has 4 bytes,
// and the numbers in state have 8.
//
// Every Put and every Move is one transaction, and durable when it returns.
package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/durable"
)

// Config configures a Spool. The zero Config is useful.
type Config struct {
	// MaxBytes bounds the events that wait, as JSON. Those that the log refused
	// do not count. The file is up to twice as large, and does not shrink.
	// Defaults to 256 MiB.
	MaxBytes int64
	// Wait is how long Open waits for another owner of the file to close it.
	// Defaults to 5 s.
	Wait time.Duration
	// Log prepares the events that Spool.Record is given. Only its Sealed and
	// Clock matter.
	Log attestlog.Config
}

const (
	defaultBytes = 256 << 20
	defaultWait  = 5 * time.Second

	timeSize   = 8
	lengthSize = 4
)

var (
	eventsBucket  = []byte("events")
	refusedBucket = []byte("refused")
	stateBucket   = []byte("state")

	// The names in the state.
	formatName  = []byte("format")
	bytesName   = []byte("bytes")
	refusedName = []byte("refused")

	format = []byte("attestlog spool 1")
)

var (
	// ErrForeign is returned by Open for a database that is not a spool, or that
	// a newer version of this package made. Open does not change it.
	ErrForeign = errors.New("not a spool that this program knows")

	// ErrInUse is returned by Open for a file that another process, or another
	// Spool of this process, has open.
	ErrInUse = errors.New("spool is in use")
)

// A Spool is an attestlog.Spool in a file. Its methods are safe for concurrent
// use.
type Spool struct {
	path   string
	cfg    Config
	db     *bolt.DB
	moving sync.Mutex // held by Move
}

var _ attestlog.Spool = (*Spool)(nil)

// Open opens or creates the file, with mode 0600. The folder must exist. A file
// belongs to one Spool of one process at a time: Open waits for Config.Wait for
// another to close it, and then returns ErrInUse. It returns ErrForeign for a
// database of something else.
func Open(path string, cfg Config) (*Spool, error) {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultBytes
	}
	if cfg.Wait <= 0 {
		cfg.Wait = defaultWait
	}

	db, err := open(path, cfg.Wait)
	if err != nil {
		return nil, fmt.Errorf("spool: open %s: %w", path, err)
	}
	return &Spool{path: path, cfg: cfg, db: db}, nil
}

func open(path string, wait time.Duration) (*bolt.DB, error) {
	opts := *bolt.DefaultOptions
	opts.Timeout = wait
	db, err := bolt.Open(path, 0o600, &opts)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, err
	}

	// bbolt makes the file's content durable, but not its name.
	err = db.Update(setUp)
	if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// setUp makes the buckets of a new spool.
func setUp(tx *bolt.Tx) error {
	state := tx.Bucket(stateBucket)
	if state != nil && bytes.Equal(state.Get(formatName), format) {
		return nil
	}
	first, _ := tx.Cursor().First()
	if first != nil { // only a database without anything becomes a spool
		return ErrForeign
	}

	for _, name := range [][]byte{eventsBucket, refusedBucket, stateBucket} {
		_, err := tx.CreateBucket(name)
		if err != nil {
			return err
		}
	}
	return tx.Bucket(stateBucket).Put(formatName, format)
}

// Name returns the file's path.
func (s *Spool) Name() string { return s.path }

// Record durably puts an event into the spool. It is for a program that starts
// while its store is down and so has no Log yet; the next Log with this spool
// stores the event. Errors are those of Append and attestlog.ErrSpoolFull.
func (s *Spool) Record(ctx context.Context, e attestlog.Event) error {
	p, err := s.cfg.Log.Prepare(e)
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, []attestlog.Prepared{p})
	return err
}

// Put durably adds events after those that wait, and returns how many it took.
// An event that is larger than Config.MaxBytes is taken by an empty spool.
func (s *Spool) Put(_ context.Context, events []attestlog.Prepared) (int, error) {
	n := 0
	err := s.db.Update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(eventsBucket)
		bucket.FillPercent = 1 // keys only grow, so full pages are never split
		used := getNumber(tx, bytesName)

		for _, e := range events {
			value := encode(e)
			if used > 0 && used+int64(len(value)) > s.cfg.MaxBytes {
				break
			}

			number, err := bucket.NextSequence()
			if err != nil {
				return err
			}
			err = bucket.Put(binary.BigEndian.AppendUint64(nil, number), value)
			if err != nil {
				return err
			}
			used += int64(len(value))
			n++
		}
		return putNumber(tx, bytesName, used)
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
func (s *Spool) Move(_ context.Context, fn func([]attestlog.Prepared) ([]error, error)) (int, error) {
	s.moving.Lock()
	defer s.moving.Unlock()

	keys, events, err := s.oldest()
	if err != nil || len(events) == 0 {
		return 0, err
	}

	// No transaction is open while fn runs, which may take long: Put goes on.
	verdicts, err := fn(events)
	if err != nil {
		return 0, err
	}

	err = s.remove(keys, verdicts)
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
			size += len(value)
			if len(events) > 0 && size > attestlog.MaxMoveBytes {
				break
			}

			p, err := decode(value)
			if err != nil {
				return fmt.Errorf("event %d: %w", binary.BigEndian.Uint64(key), err)
			}
			keys = append(keys, bytes.Clone(key))
			events = append(events, p)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("spool: read: %w", err)
	}
	return keys, events, nil
}

// remove removes events, and sets those with a verdict aside.
func (s *Spool) remove(keys [][]byte, verdicts []error) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(eventsBucket)
		used := getNumber(tx, bytesName)
		refused := getNumber(tx, refusedName)

		for i, key := range keys {
			value := bucket.Get(key)
			used -= int64(len(value))
			if verdicts[i] != nil {
				refused++
				err := tx.Bucket(refusedBucket).Put(key, encodeRefused(verdicts[i].Error(), value))
				if err != nil {
					return err
				}
			}

			err := bucket.Delete(key)
			if err != nil {
				return err
			}
		}
		return errors.Join(putNumber(tx, bytesName, used), putNumber(tx, refusedName, refused))
	})
}

// Backlog implements attestlog.Outbox.
func (s *Spool) Backlog(context.Context) (attestlog.Backlog, error) {
	var b attestlog.Backlog
	err := s.db.View(func(tx *bolt.Tx) error {
		b.Refused = uint64(getNumber(tx, refusedName))

		c := tx.Bucket(eventsBucket).Cursor()
		first, value := c.First()
		if first == nil {
			return nil
		}
		oldest, err := decode(value)
		if err != nil {
			return err
		}
		last, _ := c.Last()

		b.Since = oldest.At
		b.First = binary.BigEndian.Uint64(first)
		b.Last = binary.BigEndian.Uint64(last)
		b.Events = b.Last - b.First + 1 // events leave only from the front
		return nil
	})
	if err != nil {
		return attestlog.Backlog{}, fmt.Errorf("spool: read: %w", err)
	}
	return b, nil
}

// Refused calls fn with each event that the log did not take, oldest first, and
// the reason, until fn returns an error, which Refused returns. It removes those
// for which fn returns true. fn may use the spool.
func (s *Spool) Refused(fn func(reason string, p attestlog.Prepared) (remove bool, err error)) error {
	var last []byte // the key of the last event, nil before the first
	for {
		key, value, err := s.refusedAfter(last)
		if err != nil || key == nil {
			return err
		}
		last = key

		reason, p, err := decodeRefused(value)
		if err != nil {
			return fmt.Errorf("spool: a refused event %w", err)
		}
		remove, err := fn(reason, p)
		if err != nil {
			return err
		}
		if remove {
			err = s.removeRefused(key)
			if err != nil {
				return err
			}
		}
	}
}

// refusedAfter copies the first refused event after a key, or the first of all
// if that is nil. It returns a nil key if there is none.
func (s *Spool) refusedAfter(last []byte) (key, value []byte, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(refusedBucket).Cursor()
		k, v := c.First()
		if last != nil {
			k, v = c.Seek(last)
			if bytes.Equal(k, last) {
				k, v = c.Next()
			}
		}

		key = bytes.Clone(k)
		value = bytes.Clone(v)
		return nil
	})
	return key, value, err
}

func (s *Spool) removeRefused(key []byte) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(refusedBucket)
		if bucket.Get(key) == nil {
			return nil // another call removed it
		}
		return errors.Join(bucket.Delete(key), putNumber(tx, refusedName, getNumber(tx, refusedName)-1))
	})
}

// Close releases the file.
func (s *Spool) Close() error { return s.db.Close() }

// getNumber returns a number of the state, 0 if it was never put.
func getNumber(tx *bolt.Tx, name []byte) int64 {
	b := tx.Bucket(stateBucket).Get(name)
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

func putNumber(tx *bolt.Tx, name []byte, n int64) error {
	return tx.Bucket(stateBucket).Put(name, binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func encode(p attestlog.Prepared) []byte {
	out := make([]byte, 0, timeSize+len(p.Event))
	out = binary.BigEndian.AppendUint64(out, uint64(p.At.UnixNano()))
	return append(out, p.Event...)
}

// decode copies an event, since value is valid only within its transaction.
func decode(value []byte) (attestlog.Prepared, error) {
	if len(value) < timeSize {
		return attestlog.Prepared{}, errors.New("is not whole")
	}
	nanoseconds := int64(binary.BigEndian.Uint64(value))
	return attestlog.Prepared{Event: bytes.Clone(value[timeSize:]), At: time.Unix(0, nanoseconds).UTC()}, nil
}

func encodeRefused(reason string, value []byte) []byte {
	out := make([]byte, 0, lengthSize+len(reason)+len(value))
	out = binary.BigEndian.AppendUint32(out, uint32(len(reason)))
	out = append(out, reason...)
	return append(out, value...)
}

func decodeRefused(value []byte) (reason string, p attestlog.Prepared, err error) {
	if len(value) < lengthSize {
		return "", p, errors.New("is not whole")
	}
	length := uint64(binary.BigEndian.Uint32(value))
	value = value[lengthSize:]
	if uint64(len(value)) < length {
		return "", p, errors.New("is not whole")
	}

	p, err = decode(value[length:])
	return string(value[:length]), p, err
}
