// Package verify has the one verifier: it hashes every entry of a log again, and
// compares the result with everything that was kept and signed.
//
// Log verifies an open log; Entries verifies an export, the file of a follower,
// or a folder of tiles. What was changed is an *attestlog.CorruptError that
// names the first entry concerned.
//
// Chunks of entries are checked side by side, as far as that needs no order
// (facts.go), and then added to the tree in the order of the log (entries.go).
// When all are in it, the signed notes are compared with the roots (notes.go).
package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
)

// ErrCannotVerify is returned when there is nothing to verify against: no key,
// or no checkpoint that a trusted key signed. It is not a finding about the log.
var ErrCannotVerify = errors.New("could not verify")

// Options say what to verify against. The zero value is useful.
type Options struct {
	// Keys are the verifier keys to trust. Defaults to those kept with the log,
	// which prove nothing against anyone who can replace them.
	Keys []note.Verifier
	// Checkpoint is a signed note from elsewhere, which the log must contain.
	Checkpoint []byte
	// Index derives the search index of every entry again and compares it, and
	// checks that every leaf is canonical.
	Index bool
	// Physical has the database check the structure of its own files: SQLite's PRAGMA
	// integrity_check, or PostgreSQL's extension amcheck. Where the database cannot do
	// so, the error matches ErrCannotVerify. Only Log has a database; elsewhere
	// the option has no effect.
	Physical bool
	// Progress is called with the number of entries done, now and then, from
	// one goroutine.
	Progress func(done, total uint64)
}

// A Report says what was looked at.
type Report struct {
	Size         uint64         // entries, all of which were hashed again
	Root         attestlog.Hash // of the tree over them
	Signed       uint64         // of them, those that a trusted signature covers
	Checkpoints  int            // notes that a trusted key signed
	Unknown      int            // notes on the same history that no trusted key signed
	Erased       int            // sealed values that were erased, with an entry that says so
	Keys         []string       // the keys that were trusted: name+hash
	KeysFromHome bool           // they are merely those kept with the log, in its Home
	// KeysInDatabase is set if that Home, with the kept checkpoint, is in the log's
	// own database. Who owns the database can sign, and a backup that was put back
	// is not noticed.
	KeysInDatabase bool
	// Physical is how long the database took to check its own files, zero without
	// Options.Physical.
	Physical time.Duration
}

// Log hashes every entry of a log again and compares the result with the tiles,
// the tree, the keys of ids, all kept checkpoints and their signatures, and the
// disclosures with their seals. Each row is read both as a scan finds it and as an
// answer does, by its key. What was changed is an *attestlog.CorruptError that names
// the first entry concerned; a lack of keys or signatures is ErrCannotVerify; any
// other error means that the log could not be read. Entries beyond Report.Signed
// agree with the tree, but no signature covers them yet.
//
// A chunk of entries is read in one snapshot of the store, which is given up before
// the next. The keys and the counts of rows, and with Options.Index the search index,
// are each read in one snapshot.
func Log(ctx context.Context, log *attestlog.Log, opts Options) (Report, error) {
	reader := log.Reader()
	home := reader.Home()
	kept, err := home.Checkpoint()
	if err != nil && !errors.Is(err, attestlog.ErrNotFound) {
		return Report{}, err
	}

	fromHome := opts.Keys == nil
	if fromHome {
		opts.Keys, err = homeKeys(home)
		if err != nil {
			return Report{}, err
		}
	}

	// The checkpoints are read before the tree, which has every entry that they
	// cover.
	lastNote := uint64(0)
	err = reader.Checkpoints(ctx, func(size uint64, _ []byte) error {
		lastNote = size
		return nil
	})
	if err != nil {
		return Report{}, err
	}
	tree, err := reader.Tree(ctx)
	if err != nil {
		return Report{}, err
	}

	v := newVerifier(opts, log.Origin())
	v.report.KeysFromHome = fromHome
	inDatabase, ok := home.(interface{ KeptInDatabase() bool })
	v.report.KeysInDatabase = ok && inDatabase.KeptInDatabase()
	rows := reader.Rows(tree.Size)
	src := Source{
		Size: tree.Size,
		Tree: &tree,
		Scan: rows.Scan,
		Tile: func(level int, n uint64) ([]byte, error) { return reader.Tile(ctx, level, n) },
		Checkpoints: func(fn func([]byte) error) error {
			return storedNotes(ctx, reader, lastNote, kept, fn)
		},
	}

	stored := v.sumKeys(ctx, reader, rows, tree.Size)
	err = v.run(ctx, src)
	keys := <-stored
	if err != nil {
		return v.report, err
	}

	err = v.compareKeys(ctx, reader, keys)
	if err != nil {
		return v.report, err
	}
	err = rows.Compare()
	if err != nil {
		return v.report, err
	}
	err = reader.CheckRows(ctx)
	if err != nil {
		return v.report, err
	}
	if opts.Physical {
		began := time.Now()
		err = reader.CheckPhysical(ctx)
		v.report.Physical = time.Since(began)
		if err != nil {
			return v.report, err
		}
	}
	if opts.Index {
		err = reader.CheckIndex(ctx, opts.Progress)
		if err != nil {
			return v.report, err
		}
	}

	err = v.conclude()
	if err == nil && kept == nil && opts.Checkpoint == nil {
		err = fmt.Errorf("%w: the entries agree with one another, but the newest checkpoint, kept outside the database, is missing: whether the log goes on is unknown", ErrCannotVerify)
	}
	return v.report, err
}

// storedNotes calls fn with the store's notes and the kept one. It leaves out
// those over more than last entries, which were stored since verification began.
func storedNotes(ctx context.Context, reader attestlog.Reader, last uint64, kept []byte, fn func([]byte) error) error {
	err := reader.Checkpoints(ctx, func(size uint64, signed []byte) error {
		if size > last {
			return nil
		}

		c, err := attestlog.ParseCheckpoint(signed)
		if err != nil || c.Size != size {
			return corrupt(size, fmt.Sprintf("checkpoint %d", size), "the stored note is not one over %d entries", size)
		}
		return fn(signed)
	})
	if err != nil || kept == nil {
		return err
	}
	return fn(kept)
}

// homeKeys returns the public keys that are kept with a log.
func homeKeys(home attestlog.Home) ([]note.Verifier, error) {
	keys, err := attestlog.HomeVerifiers(home)
	switch {
	case errors.Is(err, attestlog.ErrNotFound):
		return nil, fmt.Errorf("%w: no key was given, and none is kept with the log", ErrCannotVerify)
	case errors.Is(err, attestlog.ErrBadKey):
		return nil, fmt.Errorf("%w: %v", ErrCannotVerify, err)
	}
	return keys, err
}

// corrupt returns an *attestlog.CorruptError.
func corrupt(index uint64, where, format string, args ...any) error {
	return &attestlog.CorruptError{Index: index, Where: where, Err: fmt.Errorf(format, args...)}
}
