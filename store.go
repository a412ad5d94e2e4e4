package attestlog

import (
	"bytes"
	"context"
	"time"
)

// A Tree is the state of a log's Merkle tree (RFC 6962, Section 2.1).
type Tree struct {
	Size uint64
	Root Hash
	// Peaks are the roots of the perfect subtrees that the tree consists of,
	// largest first: its compact range. There are as many as Size has bits set.
	Peaks []Hash
	// Tail are the leaf hashes of the level-0 tile that is not full yet: the
	// last Size modulo 256 entries'.
	Tail []Hash
	// LoggedTime is the last entry's, zero while the log is empty.
	LoggedTime time.Time
}

// A RawEntry is one entry as it is stored.
type RawEntry struct {
	Index       uint64
	Leaf        []byte
	Disclosures []Disclosure
}

// Clone copies a record whose bytes are about to be reused.
func (r *RawEntry) Clone() RawEntry {
	out := RawEntry{Index: r.Index, Leaf: bytes.Clone(r.Leaf)}
	for _, d := range r.Disclosures {
		d.Value = bytes.Clone(d.Value)
		out.Disclosures = append(out.Disclosures, d)
	}
	return out
}

// A Tile is a full tile of 256 hashes, 8,192 bytes (c2sp.org/tlog-tiles).
type Tile struct {
	Level  int
	N      uint64
	Hashes []byte
}

// A Batch is what one transaction adds to a log.
type Batch struct {
	Entries []RawEntry // contiguous, the first at the stored tree's size
	Tiles   []Tile     // those that became full
	Tree    Tree       // the tree afterwards
}

// A Duplicate is a key that is in the log already, or earlier in the same
// list.
type Duplicate struct {
	Position int    // in the list of keys
	Index    uint64 // of the entry that has the key
}

// A Tx is one write transaction, alone on the log until it ends.
type Tx interface {
	// Tree returns the stored tree.
	Tree() (Tree, error)
	// PutKeys gives consecutive indexes, from the tree's size on, to those
	// keys that are new, and returns the others. It is called at most once.
	PutKeys(keys []IDKey) ([]Duplicate, error)
	// Record returns an entry that was stored before the transaction.
	Entry(index uint64) (RawEntry, error)
	// Scan is Store.Scan over such entries, within the transaction.
	Scan(from, to uint64, fn func(*RawEntry) error) error
	// Tile returns a full tile's 8,192 bytes.
	Tile(level int, n uint64) ([]byte, error)
	// Put stores a batch. The store may keep the records' bytes.
	Put(*Batch) error
	// PutCheckpoint stores a signed note.
	PutCheckpoint(size uint64, at time.Time, note []byte) error
}

// A Store keeps one log. Its methods are safe for concurrent use. Packages
// sqlite and postgres have one each.
type Store interface {
	// Write runs fn in a transaction and commits it: when Write returns nil,
	// what fn put is durable. When it returns an error of fn, nothing was
	// stored; any other error matches ErrUnavailable or ErrReadOnly, and the
	// transaction may be durable all the same.
	Write(ctx context.Context, fn func(Tx) error) error

	// Tree returns the stored tree.
	Tree(ctx context.Context) (Tree, error)
	// Scan calls fn with each entry from ≤ index < to, in order, until fn
	// returns an error, which Scan returns. The bytes are valid only during
	// the call. Long scans hold no transaction across chunks.
	Scan(ctx context.Context, from, to uint64, fn func(*RawEntry) error) error
	// Tile returns a full tile's 8,192 bytes, or ErrNotFound.
	Tile(ctx context.Context, level int, n uint64) ([]byte, error)
	// Checkpoints calls fn with each stored note, by size.
	Checkpoints(ctx context.Context, fn func(size uint64, note []byte) error) error
	// Keys calls fn with each key and its index, in any order.
	Keys(ctx context.Context, fn func(key IDKey, index uint64) error) error
	// CheckRows returns a *CorruptError if the store holds rows that belong
	// to no entry, or does not guard its rows as it was set up to.
	CheckRows(ctx context.Context) error
	// CheckIndex derives the search index again and returns a *CorruptError
	// if what is stored differs. progress, if not nil, is called now and then.
	CheckIndex(ctx context.Context, progress func(done, total uint64)) error
	// Lookup returns the index of a key, or ErrNotFound.
	Lookup(ctx context.Context, key IDKey) (uint64, error)

	// Search calls fn with at least the entries that plan selects below the
	// position, in the plan's order, until fn returns false or an error. The
	// bytes are valid only during the call. It returns how many entries the log
	// had, which with a replica may be fewer than Tree says.
	Search(ctx context.Context, plan Plan, below *Position, fn func(*RawEntry) (bool, error)) (size uint64, err error)
	// Count returns the number of entries below upto that an exact plan
	// selects, or limit if there are at least as many. A store that cannot
	// count such a plan returns upto 0.
	Count(ctx context.Context, plan Plan, limit uint64) (n, upto uint64, err error)

	// Stats returns the store's own figures.
	Stats(ctx context.Context) (StoreStats, error)
	// Outbox returns the store's own outbox, which is emptied into every log
	// that is written through the store, or nil.
	Outbox() Outbox
	// Home returns where the log's keys and its newest checkpoint are kept.
	Home() Home
	// Close releases the store. A Log closes its store.
	Close() error
}

// A Position is an entry's place in an order: the index, and with ByTime the
// time in nanoseconds since 1970.
type Position struct {
	Time  int64
	Index uint64
}

// StoreStats are a store's own figures.
type StoreStats struct {
	Bytes      int64  // on disk, with its index
	IndexLag   uint64 // entries that the search index has yet to take
	IndexBytes int64  // on disk, of Bytes
	// IndexMerging is set while the index has segments to merge, which a store
	// may leave until nothing is appended. Searching is quicker afterwards.
	IndexMerging bool
}

// A Home keeps what belongs to a log but must not lie in its database. Its
// methods are safe for use by several processes.
type Home interface {
	// Checkpoint returns the newest kept checkpoint, or ErrNotFound.
	Checkpoint() ([]byte, error)
	// ReplaceCheckpoint calls update with the kept checkpoint, nil if there
	// is none, under a lock, and durably keeps what it returns unless that is
	// nil.
	ReplaceCheckpoint(update func(old []byte) ([]byte, error)) error
	// Key returns the signing key (golang.org/x/mod/sumdb/note), or
	// ErrNotFound.
	Key() (string, error)
	// CreateKeys durably keeps a new log's signing and verifier keys. It
	// fails if there are any.
	CreateKeys(signer, verifier string) error
	// RotateKey replaces the signing key and adds a verifier key.
	RotateKey(signer, verifier string) error
	// VerifierKeys returns the public keys, oldest first, or ErrNotFound.
	VerifierKeys() ([]string, error)
}

// A Recorder takes events: a Log, or a client of a server that has one. Record
// returns once the event is queued, or says why it was not.
type Recorder interface {
	Record(ctx context.Context, e Event) error
}
