package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/storetest"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

// The log that is tampered with has two full tiles and a partial one, and
// checkpoints at 200 and 600 in the database.
const (
	tamperSigned = 200
	tamperSize   = 600
)

func tamperEvent(n int) attestlog.Event {
	return attestlog.Event{
		ID: fmt.Sprintf("019a9f0c-2f5e-7cc1-9c1e-%012x", n), Time: time.Date(2026, 3, 1, 10, 0, n-n%7*3, 0, time.UTC),
		Action: "mail.view", Tenant: fmt.Sprint("t", n%3), Actor: attestlog.Actor{ID: "alice", Name: "Alice Adams"},
		Source: attestlog.Source{IP: "192.0.2.7"}, Targets: []attestlog.Target{{Type: "mail", ID: fmt.Sprint(n)}},
	}
}

var tamperedLog struct {
	sync.Once
	files map[string][]byte // by what follows the database's name
	early map[string][]byte // the same when the log had tamperSigned entries
	err   error
}

// logCopy makes a copy of the log, and returns its path.
func logCopy(t *testing.T) string {
	t.Helper()
	tamperedLog.Do(func() { tamperedLog.files, tamperedLog.early, tamperedLog.err = makeLog() })
	if tamperedLog.err != nil {
		t.Fatal(tamperedLog.err)
	}
	path := sqlitetest.Path(t)
	for suffix, content := range tamperedLog.files {
		if err := os.WriteFile(path+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func makeLog() (files, early map[string][]byte, err error) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	path := filepath.Join(dir, "log.db")
	from := 0
	for _, to := range []int{tamperSigned, tamperSize} {
		s, err := sqlite.Open(ctx, path, sqlite.Config{})
		if err != nil {
			return nil, nil, err
		}
		l, err := attestlog.New(ctx, s, attestlog.Config{Origin: "example.com/log"})
		if err != nil {
			return nil, nil, err
		}
		var events []attestlog.Event
		for ; from < to; from++ {
			events = append(events, tamperEvent(from))
		}
		if _, err := l.Append(ctx, events...); err != nil {
			return nil, nil, err
		}
		if err := l.Close(ctx); err != nil {
			return nil, nil, err
		}
		early, files = files, map[string][]byte{}
		names, err := filepath.Glob(path + "*")
		if err != nil {
			return nil, nil, err
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				return nil, nil, err
			}
			files[strings.TrimPrefix(name, path)] = content
		}
	}
	return files, early, nil
}

// verifyCopy opens a log for reading and verifies it. What already stands in
// the way of opening it is returned as well.
func verifyCopy(ctx context.Context, path string, opts verify.Options) (verify.Report, error) {
	quiet := slog.New(slog.DiscardHandler)
	s, err := sqlite.Open(ctx, path, sqlite.Config{ReadOnly: true, Logger: quiet})
	if err != nil {
		return verify.Report{}, err
	}
	l, err := attestlog.New(ctx, s, attestlog.Config{ReadOnly: true, Logger: quiet})
	if err != nil {
		return verify.Report{}, errors.Join(err, s.Close())
	}
	defer l.Close(ctx)
	return verify.Log(ctx, l, opts)
}

func TestUntouchedLogVerifies(t *testing.T) {
	for _, script := range []string{"SELECT 1", unpack + "SELECT 1"} {
		path := logCopy(t)
		if err := tamper(path, script); err != nil {
			t.Fatal(err)
		}
		r, err := verifyCopy(t.Context(), path, verify.Options{Index: true})
		if err != nil || r.Size != tamperSize || r.Signed != tamperSize || r.Checkpoints != 3 {
			t.Errorf("%s: Verify = %+v, %v; want %d signed entries and 3 checkpoints", script, r, err, tamperSize)
		}
	}
}

const anyIndex = -1

// A tampering is a script, and the first entry that verify must name.
type tampering struct {
	name   string
	script string
	index  int
}

const (
	// unpack gives each entry a row of its own, which changes nothing.
	unpack = "CREATE TEMP TABLE one AS SELECT idx, leaf FROM leaves; DELETE FROM entries; INSERT INTO entries SELECT idx, 1, CAST(leaf AS BLOB) FROM one ORDER BY idx; "

	rowOf300 = "(SELECT max(idx) FROM entries WHERE idx <= 300)"
)

var databaseTamperings = []tampering{
	{"entry deleted", unpack + "DELETE FROM entries WHERE idx = 100", 100},
	{"first entry deleted", unpack + "DELETE FROM entries WHERE idx = 0", 0},
	{"entry of the partial tile deleted", unpack + "DELETE FROM entries WHERE idx = 512", 512},
	{"last entry deleted", unpack + "DELETE FROM entries WHERE idx = 599", 599},
	{"last entries deleted", unpack + "DELETE FROM entries WHERE idx >= 590", 590},
	{"all entries deleted", "DELETE FROM entries", 0},
	{"entry inserted", unpack + "INSERT INTO entries SELECT 600, 1, leaves FROM entries WHERE idx = 599", 600},
	{"entry inserted far behind", unpack + "INSERT INTO entries SELECT 6000, 1, leaves FROM entries WHERE idx = 599", 600},
	{"entry inserted before the first", unpack + "INSERT INTO entries SELECT -1, 1, leaves FROM entries WHERE idx = 0", anyIndex},
	{"entries swapped", unpack + "UPDATE entries SET idx = 9999 WHERE idx = 10; UPDATE entries SET idx = 10 WHERE idx = 20; UPDATE entries SET idx = 20 WHERE idx = 9999", 10},
	{"entries of the partial tile swapped", unpack + "UPDATE entries SET idx = 9999 WHERE idx = 550; UPDATE entries SET idx = 550 WHERE idx = 551; UPDATE entries SET idx = 551 WHERE idx = 9999", 550},
	{"leaf emptied", unpack + "UPDATE entries SET leaves = x'' WHERE idx = 300", 300},
	{"leaf of another entry", unpack + "UPDATE entries SET leaves = (SELECT leaves FROM entries WHERE idx = 301) WHERE idx = 300", 300},
	{"entry in two rows", unpack + "UPDATE entries SET n = 2, leaves = CAST(leaves || x'0a' || (SELECT leaves FROM entries WHERE idx = 301) AS BLOB) WHERE idx = 300", anyIndex},

	{"first row deleted", "DELETE FROM entries WHERE idx = 0", 0},
	{"row deleted", "DELETE FROM entries WHERE idx = " + rowOf300, anyIndex},
	{"last row deleted", "DELETE FROM entries WHERE idx = (SELECT max(idx) FROM entries)", anyIndex},
	{"row doubled within another", "INSERT INTO entries SELECT idx + 1, 1, substr(leaves, 1, instr(leaves, x'0a') - 1) FROM entries WHERE idx = " + rowOf300, anyIndex},
	{"row of more entries than it has", "UPDATE entries SET n = n + 1 WHERE idx = " + rowOf300, anyIndex},
	{"row of fewer entries than it has", "UPDATE entries SET n = n - 1 WHERE idx = " + rowOf300, anyIndex},
	{"first row of fewer entries than it has", "UPDATE entries SET n = 1 WHERE idx = 0", 1},
	{"last row of more entries than it has", "UPDATE entries SET n = n + 1 WHERE idx = (SELECT max(idx) FROM entries)", tamperSize},
	{"row's leaves in another order", "UPDATE entries SET leaves = CAST(substr(leaves, instr(leaves, x'0a') + 1) || x'0a' || substr(leaves, 1, instr(leaves, x'0a') - 1) AS BLOB) WHERE idx = 0", 0},
	{"row's line feed replaced", "UPDATE entries SET leaves = CAST(replace(CAST(leaves AS TEXT), char(10), ' ') AS BLOB) WHERE idx = 0", 0},
	{"row's line feed doubled", "UPDATE entries SET leaves = CAST(replace(CAST(leaves AS TEXT), char(10), char(10) || char(10)) AS BLOB) WHERE idx = 0", 1},
	{"line feed added to a row", "UPDATE entries SET leaves = CAST(leaves || x'0a' AS BLOB) WHERE idx = 0", anyIndex},
	{"row emptied", "UPDATE entries SET leaves = x'' WHERE idx = 0", 0},
	{"row of no entries behind the last", "PRAGMA ignore_check_constraints = ON; INSERT INTO entries VALUES (600, 0, x'00')", 600},
	{"row of fewer than no entries behind the last", "PRAGMA ignore_check_constraints = ON; INSERT INTO entries VALUES (605, -5, x'00')", 600},

	{"key deleted", "DELETE FROM keys WHERE idx = 77", 77},
	{"keys of the tail deleted", "DELETE FROM keys WHERE idx >= 590", 590},
	{"all keys deleted", "DELETE FROM keys", 0},
	{"key flipped", "UPDATE keys SET key = randomblob(16) WHERE idx = 77", 77},
	{"key shortened", "UPDATE keys SET key = substr(key, 1, 15) WHERE idx = 77", 77},
	{"key pointed elsewhere", "UPDATE keys SET idx = 78 WHERE idx = 77", 77},
	{"keys swapped", "UPDATE keys SET idx = 9999 WHERE idx = 10; UPDATE keys SET idx = 10 WHERE idx = 20; UPDATE keys SET idx = 20 WHERE idx = 9999", 10},
	{"key inserted", "INSERT INTO keys VALUES (randomblob(16), 5)", anyIndex},
	{"key inserted behind the last", "INSERT INTO keys VALUES (randomblob(16), 600)", anyIndex},
	{"key inserted before the first", "INSERT INTO keys VALUES (randomblob(16), -1)", anyIndex},

	{"disclosure deleted", "DELETE FROM disclosures WHERE idx = 300 AND pointer = '/source/ip'", 300},
	{"disclosures of the tail deleted", "DELETE FROM disclosures WHERE idx >= 590", 590},
	{"all disclosures deleted", "DELETE FROM disclosures", 0},
	{"disclosed value flipped", `UPDATE disclosures SET value = CAST('"192.0.2.8"' AS BLOB) WHERE idx = 300 AND pointer = '/source/ip'`, 300},
	{"disclosed value spelled otherwise", `UPDATE disclosures SET value = CAST(' "192.0.2.7"' AS BLOB) WHERE idx = 300 AND pointer = '/source/ip'`, 300},
	{"salt changed", "UPDATE disclosures SET salt = randomblob(16) WHERE idx = 599 AND pointer = '/actor/name'", 599},
	{"pointer changed", "UPDATE disclosures SET pointer = '/source/host' WHERE idx = 300 AND pointer = '/source/ip'", 300},
	{"disclosure inserted", "INSERT INTO disclosures VALUES (300*2048 + 9, '/message', randomblob(16), CAST('\"x\"' AS BLOB))", 300},
	{"disclosure inserted behind the last", "INSERT INTO disclosures VALUES (600*2048, '/message', randomblob(16), CAST('\"x\"' AS BLOB))", anyIndex},
	{"disclosure inserted before the first", "INSERT INTO disclosures VALUES (-1, '/message', randomblob(16), CAST('\"x\"' AS BLOB))", anyIndex},
	{"disclosures swapped", "UPDATE disclosures SET id = id + (9999-10)*2048 WHERE idx = 10; UPDATE disclosures SET id = id - 10*2048 WHERE idx = 20; UPDATE disclosures SET id = id - (9999-20)*2048 WHERE idx = 9999", 10},

	{"hash of a tile flipped", "UPDATE tiles SET hashes = CAST(substr(hashes, 1, 7*32) || randomblob(32) || substr(hashes, 8*32+1) AS BLOB) WHERE id = 1", 263},
	{"last byte of a tile flipped", "UPDATE tiles SET hashes = CAST(substr(hashes, 1, 8191) || CASE substr(hashes, 8192) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB) WHERE id = 0", 255},
	{"first tile deleted", "DELETE FROM tiles WHERE id = 0", 0},
	{"last tile deleted", "DELETE FROM tiles WHERE id = 1", 256},
	{"tiles swapped", "UPDATE tiles SET id = 9 WHERE id = 0; UPDATE tiles SET id = 0 WHERE id = 1; UPDATE tiles SET id = 1 WHERE id = 9", 0},
	{"tile inserted", "INSERT INTO tiles VALUES (2, zeroblob(8192))", anyIndex},
	{"tile of another level inserted", "INSERT INTO tiles SELECT 1 << 52, hashes FROM tiles WHERE id = 0", anyIndex},

	{"tree cut by an entry", "UPDATE tree SET size = 599, tail = substr(tail, 1, 87*32)", anyIndex},
	{"tree cut and entries too", "UPDATE tree SET size = 599, tail = substr(tail, 1, 87*32); DELETE FROM entries WHERE idx = 599; DELETE FROM keys WHERE idx = 599; DELETE FROM disclosures WHERE idx = 599", anyIndex},
	{"tree grown", "UPDATE tree SET size = 601, tail = CAST(tail || randomblob(32) AS BLOB)", anyIndex},
	{"tree emptied", "UPDATE tree SET size = 0, tail = x'', peaks = x'', root = x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', logged_time = 0", anyIndex},
	{"tree row deleted", "DELETE FROM tree", anyIndex},
	{"root flipped", "UPDATE tree SET root = randomblob(32)", anyIndex},
	{"peak flipped", "UPDATE tree SET peaks = CAST(randomblob(32) || substr(peaks, 33) AS BLOB)", anyIndex},
	{"peak removed", "UPDATE tree SET peaks = substr(peaks, 33)", anyIndex},
	{"tail flipped", "UPDATE tree SET tail = CAST(substr(tail, 1, 3*32) || randomblob(32) || substr(tail, 4*32+1) AS BLOB)", 515},
	{"tail lengthened", "PRAGMA ignore_check_constraints = ON; UPDATE tree SET tail = CAST(tail || randomblob(32) AS BLOB)", 600},
	{"tail with a byte more", "PRAGMA ignore_check_constraints = ON; UPDATE tree SET tail = CAST(tail || x'00' AS BLOB)", anyIndex},
	{"logged time moved", "UPDATE tree SET logged_time = logged_time + 1", 599},

	{"checkpoint's root changed", "UPDATE checkpoints SET note = CAST(replace(CAST(note AS TEXT), '=', 'A') AS BLOB) WHERE size = 200", anyIndex},
	{"checkpoint's size changed", "UPDATE checkpoints SET size = 201 WHERE size = 200", anyIndex},
	{"checkpoint's text and size changed", "UPDATE checkpoints SET size = 201, note = CAST(replace(CAST(note AS TEXT), char(10) || '200' || char(10), char(10) || '201' || char(10)) AS BLOB) WHERE size = 200", anyIndex},
	{"checkpoint emptied", "UPDATE checkpoints SET note = x'' WHERE size = 600", anyIndex},
	{"checkpoints swapped", "UPDATE checkpoints SET size = 9 WHERE size = 200; UPDATE checkpoints SET size = 200 WHERE size = 600; UPDATE checkpoints SET size = 600 WHERE size = 9", anyIndex},
	{"checkpoint inserted", "INSERT INTO checkpoints SELECT 9000, time, CAST(replace(CAST(note AS TEXT), char(10) || '600' || char(10), char(10) || '9000' || char(10)) AS BLOB) FROM checkpoints WHERE size = 600", anyIndex},
	{"checkpoint of nothing inserted", "INSERT INTO checkpoints VALUES (700, 0, x'')", anyIndex},

	{"meta row inserted", "INSERT INTO meta VALUES ('x', x'00')", anyIndex},
	{"meta row renamed", "UPDATE meta SET name = 'x'", anyIndex},
	{"meta emptied", "DELETE FROM meta", anyIndex},
}

func TestVerifyFindsTamperingWithTheDatabase(t *testing.T) {
	for _, test := range databaseTamperings {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			path := logCopy(t)
			if err := tamper(path, test.script); err != nil {
				t.Fatal(err)
			}
			r, err := verifyCopy(t.Context(), path, verify.Options{})
			if strings.HasPrefix(test.name, "meta ") && err != nil {
				return // the log cannot even be opened
			}
			wantCorrupt(t, r, err, test.index)
			if r, err := verifyCopy(t.Context(), path, verify.Options{Index: true}); err == nil {
				t.Errorf("Verify with the index = %+v, want an error", r)
			}
		})
	}
}

// Whatever is tampered with, an entry is given out as it was, or not at all.
func TestNoTamperedEntryIsGivenOut(t *testing.T) {
	l := sqlitetest.LogAt(t, logCopy(t), attestlog.Config{})
	was := storetest.AllEntries(t, l)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, test := range databaseTamperings {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			path := logCopy(t)
			if err := tamper(path, test.script); err != nil {
				t.Fatal(err)
			}
			quiet := slog.New(slog.DiscardHandler)
			s, err := sqlite.Open(t.Context(), path, sqlite.Config{ReadOnly: true, Logger: quiet})
			if err != nil {
				return
			}
			l, err := attestlog.New(t.Context(), s, attestlog.Config{ReadOnly: true, Logger: quiet})
			if err != nil {
				s.Close()
				return
			}
			defer l.Close(context.Background())
			refused := storetest.GivesOutOnly(t, l, was)
			mustRefuse := strings.HasPrefix(test.name, "leaf ") || test.name == "tile flipped" || test.name == "tile deleted"
			if mustRefuse && refused == 0 {
				t.Error("no answer is a *CorruptError")
			}
		})
	}
}

func wantCorrupt(t *testing.T, r verify.Report, err error, index int) {
	t.Helper()
	var corrupt *attestlog.CorruptError
	if !errors.As(err, &corrupt) {
		t.Errorf("Verify = %+v, %v; want a CorruptError", r, err)
	} else if index != anyIndex && corrupt.Index != uint64(index) {
		t.Errorf("Verify = %v; want entry %d", err, index)
	}
}

// TestVerifyFindsAnyFlippedLeafByte flips a bit of each entry in turn, at
// another place of the leaf each time.
func TestVerifyFindsAnyFlippedLeafByte(t *testing.T) {
	path := logCopy(t)
	place := 0
	for index := 0; index < tamperSize; index += 1 + index%5 {
		if index < 500 && index%3 > 0 {
			continue
		}
		place += 7
		first, leaves := 0, []byte(nil)
		flip := func(conn *zombiezen.Conn) error {
			err := sqlitex.Execute(conn, "SELECT idx, leaves FROM entries WHERE idx <= ? ORDER BY idx DESC LIMIT 1", &sqlitex.ExecOptions{Args: []any{index}, ResultFunc: func(stmt *zombiezen.Stmt) error {
				first, leaves = stmt.ColumnInt(0), make([]byte, stmt.ColumnLen(1))
				stmt.ColumnBytes(1, leaves)
				return nil
			}})
			if err != nil {
				return err
			}
			changed := bytes.Clone(leaves)
			leaf := bytes.Split(changed, []byte("\n"))[index-first] // aliases changed
			leaf[place%len(leaf)] ^= 1 << (place % 8)
			return sqlitex.Execute(conn, "UPDATE entries SET leaves = ? WHERE idx = ?", &sqlitex.ExecOptions{Args: []any{changed, first}})
		}
		back := func(conn *zombiezen.Conn) error {
			return sqlitex.Execute(conn, "UPDATE entries SET leaves = ? WHERE idx = ?", &sqlitex.ExecOptions{Args: []any{leaves, first}})
		}
		if err := tamperWith(path, flip); err != nil {
			t.Fatal(err)
		}
		r, err := verifyCopy(t.Context(), path, verify.Options{})
		wantCorrupt(t, r, err, index)
		if err := tamperWith(path, back); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := verifyCopy(t.Context(), path, verify.Options{Index: true}); err != nil {
		t.Errorf("Verify after all was put back = %+v, %v", r, err)
	}
}

// TestLostCheckpointsLeaveTheLogVerifiable documents what is not found: the
// database's checkpoints are not chained to one another, so an older one can
// be removed while a newer is there, and its time of day is not signed.
func TestLostCheckpointsLeaveTheLogVerifiable(t *testing.T) {
	for _, script := range []string{
		"DELETE FROM checkpoints WHERE size = 200",
		"DELETE FROM checkpoints",
		"UPDATE checkpoints SET time = 0",
	} {
		path := logCopy(t)
		if err := tamper(path, script); err != nil {
			t.Fatal(err)
		}
		if r, err := verifyCopy(t.Context(), path, verify.Options{}); err != nil || r.Signed != tamperSize {
			t.Errorf("%s: Verify = %+v, %v; want all entries signed by the kept checkpoint", script, r, err)
		}
	}
}
