package crashtest

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/attestlog/attestlog"
)

// calls are the system calls by which the append path changes files. Not every
// architecture has those with a question mark.
var calls = []string{"?open", "openat", "write", "pwrite64", "fsync", "fdatasync", "?rename", "renameat", "?renameat2", "ftruncate", "?unlink", "unlinkat"}

const (
	before   = 300 // entries, so that there is a full tile
	batch    = 5   // events in a transaction
	every    = 4 * batch
	killed   = -1 // in place of an exit code
	whatever = -2 // depends on when the checkpoint or the index is written
)

// A fault is what a system call on one of the log's files does instead, from
// the first time on.
type fault struct {
	name   string
	file   string // suffix; "/" is the folder
	inject string
	// held has a reader keep the log open: the write-ahead log then has its
	// header, and outlives the program as it is.
	held bool

	// What is to be expected of an append of some batches: receipts given, the
	// exit code, and events found in the log by the next who opens it.
	receipts, code, stored int
}

// The faults are grouped by what becomes of the transaction or file that they
// hit: "failed", or "failed but persisted", where whoever looks again finds
// done what was reported as failed, or was not reported.
var faults = map[string][]fault{
	"failed": {
		{"database open", "", "?open,openat:error=EIO", false, 0, 2, 0},
		{"database open, no descriptors", "", "?open,openat:error=EMFILE", false, 0, 2, 0},
		{"log write", "-wal", "pwrite64:error=EIO", false, 0, 2, 0},
		{"log write, disk full", "-wal", "pwrite64:error=ENOSPC", false, 0, 2, 0},
		{"log write, killed", "-wal", "pwrite64:signal=SIGKILL", false, 0, killed, 0},
		{"log header sync", "-wal", "fsync:error=EIO", false, 0, 2, 0},
		{"shared memory", "-shm", "ftruncate:error=ENOSPC", false, 0, 2, 0},
		{"signing key open", ".key", "?open,openat:error=EIO", false, 0, 2, 0},
		{"kept checkpoint open", ".checkpoint", "?open,openat:error=EIO", false, 0, 2, 0},
		{"lock open", ".lock", "openat:error=EIO", false, 0, 2, 0},

		// The entries are there and acknowledged; what failed is said at the end.
		{"checkpoint create", ".checkpoint" + known, "openat:error=ENOSPC", false, every, 2, every},
		{"checkpoint write", ".checkpoint" + known, "write:error=ENOSPC", false, every, 2, every},
		{"checkpoint sync", ".checkpoint" + known, "fsync:error=EIO", false, every, 2, every},
		{"checkpoint rename", ".checkpoint" + known, "?rename,renameat:error=EIO", false, every, 2, every},
		{"checkpoint rename, killed", ".checkpoint" + known, "?rename,renameat:signal=SIGKILL", false, whatever, killed, whatever},

		// The log itself lacks nothing: the write-ahead log stays, and the search
		// index is a copy.
		{"database write", "", "pwrite64:error=EIO", false, every, 0, every},
		{"database write, disk full", "", "pwrite64:error=ENOSPC", false, every, 0, every},
		{"database write, killed", "", "pwrite64:signal=SIGKILL", false, every, killed, every},
		{"database sync", "", "fsync:error=EIO", false, every, 0, every},
		{"index log write", ".index-wal", "pwrite64:error=EIO", false, every, 0, every},
		{"index log write, disk full", ".index-wal", "pwrite64:error=ENOSPC", false, every, 0, every},
		{"index log write, killed", ".index-wal", "pwrite64:signal=SIGKILL", false, whatever, killed, whatever},
		{"index write", ".index", "pwrite64:error=EIO", false, every, 0, every},
		{"index sync", ".index", "fsync:error=EIO", false, every, 0, every},
	},
	"failed but persisted": {
		{"log sync", "-wal", "fsync:error=EIO", true, 0, 2, batch},
		{"log sync, disk full", "-wal", "fsync:error=ENOSPC", true, 0, 2, batch},
		{"log sync, killed", "-wal", "fsync:signal=SIGKILL", true, 0, killed, batch},
		{"receipt", ".receipts", "write:error=EIO", false, 0, 2, batch},
		{"receipt, disk full", ".receipts", "write:error=ENOSPC", false, 0, 2, batch},
		{"receipt, killed", ".receipts", "write:signal=SIGKILL", false, 0, killed, batch},
		{"checkpoint folder sync", "/", "fsync:error=EIO", false, every, 2, every},
	},
}

func TestFaults(t *testing.T) {
	requireStrace(t)
	origin := filepath.Join(t.TempDir(), "a.db")
	first := seedLog(t, origin, before)
	for what, group := range faults {
		for _, f := range group {
			t.Run(what+"/"+f.name, func(t *testing.T) {
				f.check(t, &ledger{path: copyLog(t, origin), events: slices.Clip(first), acked: entries(t, origin)})
			})
		}
	}
}

func (f *fault) check(t *testing.T, log *ledger) {
	events := newEvents(10, "fault").events(every)
	var reader *attestlog.Log
	if f.held {
		reader = openReading(t, log.path)
		e := newEvents(11, "held").event()
		r := runLog(t, log.path, e.line+"\n", "append")
		log.events = append(log.events, e)
		log.acked = append(log.acked, parseReceipts(t, r.stdout)...)
	}
	tr := traceAppend(t, log.path, events, f.inject+":when=1+", f.file)
	if f.held {
		if err := reader.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !tr.injected() {
		t.Fatalf("the fault did not happen: %v\n%s", tr, tr.log)
	}
	t.Log(tr)
	if f.code != whatever && tr.code != f.code || f.receipts != whatever && len(tr.receipts) != f.receipts {
		t.Errorf("append gave %d receipts and exit %d, want %d and %d: %v", len(tr.receipts), tr.code, f.receipts, f.code, tr)
	}
	log.acked = append(log.acked, tr.receipts...)
	if n := stored(t, log.path, events); f.stored != whatever && n != f.stored || n%batch != 0 || n < len(tr.receipts) {
		t.Errorf("the log holds %d of the events after %d receipts, want %d", n, len(tr.receipts), f.stored)
	}
	log.events = append(log.events, events...)
	log.recover(t, len(events))
}

// TestFaultAtEveryCall lets the N-th call of each kind fail, once, and kills
// the program at it, for a selection of N, with a log that is there and one
// that is being made.
func TestFaultAtEveryCall(t *testing.T) {
	requireStrace(t)
	_, soak := rounds(t)
	origin := filepath.Join(t.TempDir(), "a.db")
	first := seedLog(t, origin, before)
	acked := entries(t, origin)
	starts := map[string]func(*testing.T) *ledger{
		"a log": func(t *testing.T) *ledger {
			return &ledger{path: copyLog(t, origin), events: slices.Clip(first), acked: slices.Clip(acked)}
		},
		"no log": func(t *testing.T) *ledger { return &ledger{path: filepath.Join(t.TempDir(), "a.db")} },
	}
	events := newEvents(12, "sweep").events(every)
	for name, start := range starts {
		t.Run(name, func(t *testing.T) {
			plain := traceAppend(t, start(t).path, events, "", logFiles...)
			if plain.code != 0 || len(plain.receipts) != every {
				t.Fatalf("append without a fault: %v", plain)
			}
			var happened atomic.Int64
			t.Cleanup(func() { // once the parallel tests have ended
				t.Logf("%d faults happened", happened.Load())
				if happened.Load() < 30 {
					t.Error("too few faults happened: the test does not test what it should")
				}
			})
			for call, n := range plain.counts() {
				for _, nth := range selection(n, soak) {
					for _, effect := range []string{"error=EIO", "error=ENOSPC", "signal=SIGKILL"} {
						inject := fmt.Sprintf("%s:%s:when=%d", call, effect, nth)
						t.Run(inject, func(t *testing.T) {
							t.Parallel()
							if faultAt(t, start(t), events, inject) {
								happened.Add(1)
							}
						})
					}
				}
			}
		})
	}
}

// selection returns some of the numbers from 1 to n, or all.
func selection(n int, all bool) []int {
	const most = 4
	var out []int
	for i := range n {
		if all || n <= most || i*(most-1)/(n-1) != (i-1)*(most-1)/(n-1) || i == 0 {
			out = append(out, i+1)
		}
	}
	return out
}

func faultAt(t *testing.T, log *ledger, events []event, inject string) bool {
	isNew := len(log.events) == 0
	tr := traceAppend(t, log.path, events, inject, logFiles...)
	if tr.code == 0 && len(tr.receipts) != len(events) {
		t.Errorf("append gave %d receipts for %d events and no error: %v", len(tr.receipts), len(events), tr)
	}
	if tr.code == 1 {
		t.Errorf("append: %v", tr)
	}
	log.acked = append(log.acked, tr.receipts...)
	if !isNew || len(tr.receipts) > 0 {
		if n := stored(t, log.path, events); n%batch != 0 || n < len(tr.receipts) {
			t.Errorf("the log holds %d of the events after %d receipts: %v", n, len(tr.receipts), tr)
		}
	}
	log.events = append(log.events, events...)
	log.recover(t, len(events))
	if t.Failed() {
		t.Logf("append with the fault: %v\n%s", tr.result, clip(tr.log))
	}
	return tr.injected()
}

// TestProcessOutlivesFaults lets the first calls of each thread fail in a
// process that has a follower and lives on: what it recorded is stored, and
// what it appended is stored when it asks again.
func TestProcessOutlivesFaults(t *testing.T) {
	requireStrace(t)
	for _, f := range []struct{ file, inject string }{
		{"-wal", "pwrite64:error=EIO"},
		{"-wal", "pwrite64:error=ENOSPC"},
		{"-wal", "fsync:error=EIO"},
		{".checkpoint" + known, "?open,openat:error=EIO"},
		{".checkpoint" + known, "write:error=ENOSPC"},
		{".checkpoint" + known, "fsync:error=EIO"},
		{".index-wal", "pwrite64:error=EIO"},
		{"-00000000000000000000.jsonl", "?open,openat:error=EIO"},
		{"-00000000000000000000.jsonl", "write:error=ENOSPC"},
		{"-00000000000000000000.jsonl", "fsync:error=EIO"},
		{".jsonl.position" + known, "?rename,renameat:error=EIO"},
	} {
		t.Run(f.file+" "+f.inject, func(t *testing.T) {
			log := &ledger{path: filepath.Join(t.TempDir(), "a.db")}
			log.events = seedLog(t, log.path, before)
			log.acked = entries(t, log.path)
			events := newEvents(13, "outlive").events(30)
			tr := traced(t, log.path, lines(events), f.inject+":when=1..2", []string{f.file}, knownWriter)
			// An error at the end is told: the checkpoint is signed by the next.
			if tr.code == killed || len(tr.receipts) != 20 || !tr.injected() {
				t.Errorf("a process with faults: %v, %d receipts, want 20\n%s", tr.result, len(tr.receipts), clip(tr.log))
			}
			log.acked = append(log.acked, tr.receipts...)
			if n := stored(t, log.path, events); n != len(events) {
				t.Errorf("the log holds %d of %d events", n, len(events))
			}
			log.events = append(log.events, events...)
			log.recover(t, len(events))
			verifyFollowed(t, log.path, len(log.events))
		})
	}
}

// TestKilledBetweenItsKeys kills the program that makes a new log at each of
// the files that make one. The next program makes the log, or finds it, and
// removes what is left.
func TestKilledBetweenItsKeys(t *testing.T) {
	requireStrace(t)
	events := newEvents(14, "keys").events(every)
	for _, file := range []string{".pub", ".key", ".checkpoint"} {
		for _, call := range []string{"openat", "write", "fsync", "?rename,renameat"} {
			t.Run(file+" "+call, func(t *testing.T) {
				log := &ledger{path: filepath.Join(t.TempDir(), "a.db"), events: events}
				tr := traceAppend(t, log.path, events, call+":signal=SIGKILL:when=1+", file+known)
				if tr.code != killed {
					t.Fatalf("the program was not killed: %v\n%s", tr, tr.log)
				}
				log.acked = tr.receipts
				log.recover(t, len(events))
				if left, err := filepath.Glob(log.path + ".*.new"); err != nil || len(left) > 0 {
					t.Errorf("%q are still there, %v", left, err)
				}
			})
		}
	}
}
