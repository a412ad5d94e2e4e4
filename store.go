package attestlog

import (
	"context"
	"errors"
	"time"

	"github.com/attestlog/attestlog/internal/merkle"
	"github.com/attestlog/attestlog/query"
)

// A Recorder takes events: a Log, or a client of a server that has one. Record
// returns once the event is queued, or says why it was not.
type Recorder interface {
	Record(ctx context.Context, e Event) error
}

// A Tree is the state of a log's Merkle tree (RFC 6962, Section 2.1).
type Tree struct {
	Size uint64
	Root Hash
	// Peaks are the roots of the perfect subtrees that the tree consists of,
	// largest first: its compact range. There are as many as Size has bits set.
	Peaks []Hash
	// OpenTile has the leaf hashes of the level-0 tile that is not full yet:
	// those of the last Size modulo 256 entries.
	OpenTile []Hash
	// LoggedTime is the last entry's, zero while the log is empty.
	LoggedTime time.Time
}

// head returns the tree as package merkle has it.
func (t *Tree) head() merkle.Head {
	return merkle.Head{Size: t.Size, Root: t.Root, Peaks: t.Peaks, OpenTile: t.OpenTile}
}

// treeOf returns the tree that an edge is of.
func treeOf(edge *merkle.Edge, logged time.Time) Tree {
	h := edge.Head()
	return Tree{Size: h.Size, Root: h.Root, Peaks: h.Peaks, OpenTile: h.OpenTile, LoggedTime: logged}
}

// TileWidth is the number of hashes in a full tile.
const TileWidth = merkle.TileWidth

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

// A Duplicate is a key that is in the log already, or earlier in the same list.
type Duplicate struct {
	Position int    // in the list of keys
	Index    uint64 // of the entry that has the key
}

// A Tx is one write transaction, alone on the log until it ends.
type Tx interface {
	// Tree returns the stored tree. A store may return the one that it left, if Put
	// stores nothing in case that is not the stored one any more.
	Tree() (Tree, error)
	// PutKeys gives consecutive indexes, from the tree's size on, to those keys
	// that are new, and returns the others. It is called at most once.
	PutKeys(keys []IDKey) ([]Duplicate, error)
	// Entry returns an entry that was stored before the transaction.
	Entry(index uint64) (RawEntry, error)
	// Scan is Reader.Scan over such entries, within the transaction.
	Scan(from, to uint64, fn func(*RawEntry) error) error
	// Tile returns a full tile's 8,192 bytes.
	Tile(level int, n uint64) ([]byte, error)
	// Put stores a batch. The store may keep the entries' bytes.
	Put(*Batch) error
	// PutCheckpoint stores a signed note.
	PutCheckpoint(size uint64, at time.Time, note []byte) error
}

// A Reader reads a log. Its methods are safe for concurrent use. It checks nothing: a
// Log compares each entry that it gives out with its tree.
type Reader interface {
	// Tree returns the stored tree.
	Tree(ctx context.Context) (Tree, error)
	// Scan calls fn with each entry from ≤ index < to, in order, until fn
	// returns an error, which Scan returns. The bytes are valid only during the
	// call. Long scans hold no transaction across chunks.
	Scan(ctx context.Context, from, to uint64, fn func(*RawEntry) error) error
	// Tile returns a full tile's 8,192 bytes, or ErrNotFound.
	Tile(ctx context.Context, level int, n uint64) ([]byte, error)
	// Checkpoints calls fn with each stored note, by size.
	Checkpoints(ctx context.Context, fn func(size uint64, note []byte) error) error
	// Keys calls fn with each key and its index, in any order.
	Keys(ctx context.Context, fn func(key IDKey, index uint64) error) error
	// Lookup returns the index of a key, or ErrNotFound.
	Lookup(ctx context.Context, key IDKey) (uint64, error)

	// CheckRows returns a *CorruptError if the store holds rows that belong to
	// no entry, or does not guard its rows as it was set up to.
	CheckRows(ctx context.Context) error
	// Rows begins a check of the rows that hold the first size entries.
	Rows(size uint64) RowCheck
	// CheckPhysical has the database check the structure of its own files, and
	// returns a *CorruptError about what it finds. It reads all of them.
	CheckPhysical(ctx context.Context) error
	// CheckIndex derives the search index again and returns a *CorruptError if
	// what is stored differs. progress, if not nil, is called now and then.
	CheckIndex(ctx context.Context, progress func(done, total uint64)) error

	// Search calls fn with at least the entries that plan selects below the
	// position, in the plan's order, until fn returns false or an error. The
	// bytes are valid only during the call. It returns how many entries the log
	// had, which with a replica may be fewer than Tree says.
	Search(ctx context.Context, plan query.Plan, below *query.Position, fn func(*RawEntry) (bool, error)) (size uint64, err error)
	// Count returns the number of entries below upto that an exact plan selects,
	// or limit if there are at least as many. A store that cannot count such a
	// plan returns upto 0.
	Count(ctx context.Context, plan query.Plan, limit uint64) (n, upto uint64, err error)

	// Home returns where the log's keys and its newest checkpoint are kept.
	Home() Home
}

// A RowCheck reads the rows of a log for a verifier. A database finds a row in two
// ways: it goes through a table, or it looks a key up. Files that were changed
// without the database can answer the two differently, so a RowCheck compares
// them. It is used once. What differs is a *CorruptError.
type RowCheck interface {
	// Scan is Reader.Scan, and looks up each row that it reads. It also checks, in
	// the snapshot of each chunk, that the tables are those that were installed. It
	// must be called for each entry once, and may be called concurrently.
	Scan(ctx context.Context, from, to uint64, fn func(*RawEntry) error) error
	// Tables looks each key of an entry up, and counts the rows of the tables. It may
	// run while Scan does.
	Tables(ctx context.Context) error
	// Compare compares the rows that Scan has read with those that Tables has
	// counted. It is called when both have ended.
	Compare() error
}

// A Store keeps one log. Its methods are safe for concurrent use. Packages
// sqlite and postgres have one each.
type Store interface {
	Reader

	// Write runs fn in a transaction and commits it: when Write returns nil,
	// what fn put is durable. When it returns an error of fn, nothing was
	// stored; any other error matches ErrUnavailable or ErrReadOnly, and the
	// transaction may be durable all the same.
	Write(ctx context.Context, fn func(Tx) error) error
	// Stats returns the store's own figures.
	Stats(ctx context.Context) (StoreStats, error)
	// Outbox returns the store's own outbox, which is emptied into every log
	// that is written through the store, or nil.
	Outbox() Outbox
	// Close releases the store. A Log closes its store.
	Close() error
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

// A Home keeps what belongs to a log but must not be in its database. Its
// methods are safe for use by several processes.
type Home interface {
	// Checkpoint returns the newest kept checkpoint, or ErrNotFound.
	Checkpoint() ([]byte, error)
	// ReplaceCheckpoint calls update with the kept checkpoint, nil if there is
	// none, under a lock, and durably keeps what it returns unless that is nil.
	ReplaceCheckpoint(update func(old []byte) ([]byte, error)) error
	// Key returns the signing key (golang.org/x/mod/sumdb/note), or ErrNotFound.
	Key() (string, error)
	// CreateKeys durably keeps a new log's signing and verifier keys. It fails
	// if there are any.
	CreateKeys(signer, verifier string) error
	// RotateKey replaces the signing key and adds a verifier key.
	RotateKey(signer, verifier string) error
	// VerifierKeys returns the public keys, oldest first, or ErrNotFound.
	VerifierKeys() ([]string, error)
}

// Bounds of what an Outbox hands out at a time.
const (
	MaxMove      = 1_000   // events
	MaxMoveBytes = 8 << 20 // of their JSON, except for a single event
)

// ErrOutboxHeld is returned by an Outbox that another process is moving.
var ErrOutboxHeld = errors.New("outbox is being moved by another process")

// A Prepared event is checked and has its id, and waits to be appended.
type Prepared struct {
	Event []byte    // canonical JSON, with an id; without a time unless the caller gave one
	At    time.Time // when the caller handed it over, which is the time of one without
}

// An Outbox holds events that became durable outside the log. A Log moves them
// into itself in their order, each once, and tries again until the outbox is
// empty. Its methods are safe for concurrent use.
type Outbox interface {
	// Name tells outboxes apart in statistics and messages.
	Name() string
	// Move calls fn with the oldest events, at most MaxMove and MaxMoveBytes,
	// unless there are none. fn returns, for each event, nil once it is in the
	// log, and otherwise why the log never takes it: Move sets that event aside.
	// When fn fails, everything stays where it is. Move returns how many events
	// left. While another process moves them, it may return ErrOutboxHeld.
	Move(ctx context.Context, fn func([]Prepared) ([]error, error)) (int, error)
	// Backlog returns what waits.
	Backlog(ctx context.Context) (Backlog, error)
	// Close releases the outbox, not what is in it.
	Close() error
}

// A Backlog is what waits in an Outbox.
type Backlog struct {
	Events      uint64    // without those set aside
	First, Last uint64    // positions of the first and the last; later events have greater ones
	Since       time.Time // when the first was put there; zero if none waits
	Refused     uint64    // events that were set aside
}

// ErrSpoolFull is returned by a Spool without room, and by Record, together with
// ErrQueueFull, when the queue is full because of that.
var ErrSpoolFull = errors.New("spool is full")

// A Spool is an Outbox on this machine, where recorded events are kept while the
// store cannot take them. Package spool has one.
type Spool interface {
	Outbox
	// Put durably adds events after those that wait, and returns how many it
	// took, from the first on. If those are not all, the error is not nil; it
	// matches ErrSpoolFull for want of room.
	Put(ctx context.Context, events []Prepared) (int, error)
}

// ErrFollowerHeld is returned by a Follower whose position another process
// holds.
var ErrFollowerHeld = errors.New("follower is held by another process")

// A Follower reads the log from a position of its own on, after the commits, and
// never holds up an append. A Log calls one method at a time.
type Follower interface {
	// Name tells followers apart in statistics and messages.
	Name() string
	// Position returns how many entries the follower durably has. While another
	// process holds the follower, it returns ErrFollowerHeld.
	Position(ctx context.Context) (uint64, error)
	// Take is given the entries from Position on, in order, a damaged one with its
	// Err. After an error the log waits, asks for the Position and tries again from
	// there. The entries are valid only during the call.
	Take(ctx context.Context, entries []RawEntry) error
	// Checkpoint is given a signed note once the follower has all the entries
	// that the note covers.
	Checkpoint(ctx context.Context, c Checkpoint) error
	// Close makes everything taken durable and releases the follower.
	Close() error
}
