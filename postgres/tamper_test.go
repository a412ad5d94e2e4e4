package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/storetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/verify"
)

const (
	anyIndex = -1

	// unpack gives each entry a row of its own, which changes nothing.
	unpack = "CREATE TEMP TABLE one AS SELECT * FROM leaves; DELETE FROM entries; INSERT INTO entries SELECT idx, 1, convert_to(leaf, 'UTF8') FROM one ORDER BY idx; "

	rowOf300 = "(SELECT max(idx) FROM entries WHERE idx <= 300)"
)

// tamperings are done by a superuser with the triggers out of the way to a log
// of 600 entries, whose last 88 are in no full tile.
var tamperings = []struct {
	name, sql string
	index     int // that Verify must name
}{
	{"leaf flipped", unpack + "UPDATE entries SET leaves = set_byte(leaves, 40, get_byte(leaves, 40) # 1) WHERE idx = 300", 300},
	{"leaf of the tail flipped", unpack + "UPDATE entries SET leaves = set_byte(leaves, 40, get_byte(leaves, 40) # 1) WHERE idx = 599", 599},
	{"leaf cut", unpack + "UPDATE entries SET leaves = substr(leaves, 1, 100) WHERE idx = 0", 0},
	{"leaves swapped", unpack + "UPDATE entries e SET leaves = o.leaves FROM entries o WHERE (e.idx, o.idx) IN ((10, 20), (20, 10))", 10},
	{"entry deleted", unpack + "DELETE FROM entries WHERE idx = 100", 100},
	{"last entry deleted", unpack + "DELETE FROM entries WHERE idx = 599", 599},
	{"all entries deleted", "TRUNCATE entries", 0},
	{"partition detached", "DROP VIEW leaves; ALTER TABLE entries DETACH PARTITION entries_0; DROP TABLE entries_0", 0},
	{"entry inserted after the last", unpack + "INSERT INTO entries SELECT 600, 1, leaves FROM entries WHERE idx = 599", anyIndex},
	{"entry inserted before the first", unpack + "CREATE TABLE entries_m PARTITION OF entries FOR VALUES FROM (-9) TO (0); INSERT INTO entries SELECT -1, 1, leaves FROM entries WHERE idx = 0", anyIndex},
	{"row's first leaf flipped", "UPDATE entries SET leaves = set_byte(leaves, 40, get_byte(leaves, 40) # 1) WHERE idx = 0", 0},
	{"leaf and the row after it", "UPDATE entries SET leaves = set_byte(leaves, 40, get_byte(leaves, 40) # 1) WHERE idx = 0; DELETE FROM entries WHERE idx = (SELECT min(idx) FROM entries WHERE idx > 0)", 0},
	{"row of no entries after the last", "ALTER TABLE entries DROP CONSTRAINT entries_n_check; INSERT INTO entries VALUES (600, 0, 'x')", 600},
	{"row deleted", "DELETE FROM entries WHERE idx = " + rowOf300, anyIndex},
	{"first row deleted", "DELETE FROM entries WHERE idx = 0", 0},
	{"row within another", "INSERT INTO entries SELECT idx + 1, 1, leaves FROM entries WHERE idx = " + rowOf300, anyIndex},
	{"row of more entries than it has", "UPDATE entries SET n = n + 1 WHERE idx = " + rowOf300, anyIndex},
	{"first row of fewer entries than it has", "UPDATE entries SET n = 1 WHERE idx = 0", 1},
	{"last row of more entries than it has", "UPDATE entries SET n = n + 1 WHERE idx = (SELECT max(idx) FROM entries)", 600},
	{"row's line feed replaced", "UPDATE entries SET leaves = set_byte(leaves, position('\\x0a'::bytea IN leaves) - 1, 32) WHERE idx = 0", 0},
	{"line feed added to a row", "UPDATE entries SET leaves = leaves || '\\x0a' WHERE idx = 0", anyIndex},
	{"row emptied", "UPDATE entries SET leaves = '' WHERE idx = 0", 0},
	{"key changed", "UPDATE keys SET key = gen_random_uuid() WHERE idx = 77", 77},
	{"key deleted", "DELETE FROM keys WHERE idx = 77", 77},
	{"keys swapped", "UPDATE keys SET idx = 110 - idx WHERE idx IN (50, 60)", 50},
	{"key inserted", "INSERT INTO keys VALUES (gen_random_uuid(), 5)", anyIndex},
	{"key inserted beyond the last", "INSERT INTO keys VALUES (gen_random_uuid(), 5000)", anyIndex},
	{"disclosure deleted", "DELETE FROM disclosures WHERE idx = 300 AND pointer = '/source/ip'", 300},
	{"all disclosures deleted", "DELETE FROM disclosures", 0},
	{"disclosed value changed", `UPDATE disclosures SET value = '"192.0.2.8"' WHERE idx = 300 AND pointer = '/source/ip'`, 300},
	{"salt changed", "UPDATE disclosures SET salt = decode(md5('x'), 'hex') WHERE idx = 599 AND pointer = '/actor/name'", 599},
	{"pointer changed", "UPDATE disclosures SET pointer = '/source/host' WHERE idx = 300 AND pointer = '/source/ip'", 300},
	{"disclosure inserted", `INSERT INTO disclosures VALUES (300, 9, '/message', decode(md5('x'), 'hex'), '"x"')`, 300},
	{"disclosure inserted after the last", `INSERT INTO disclosures VALUES (600, 0, '/message', decode(md5('x'), 'hex'), '"x"')`, anyIndex},
	{"tile flipped", "UPDATE tiles SET hashes = set_byte(hashes, 32*7, get_byte(hashes, 32*7) # 1) WHERE level = 0 AND n = 1", 263},
	{"tile deleted", "DELETE FROM tiles WHERE level = 0 AND n = 1", 256},
	{"tile inserted", "INSERT INTO tiles SELECT 0, 2, hashes FROM tiles WHERE n = 1", anyIndex},
	{"root changed", "UPDATE tree SET root = decode(md5('x') || md5('y'), 'hex')", anyIndex},
	{"tail changed", "UPDATE tree SET tail = set_byte(tail, 32*5, get_byte(tail, 32*5) # 1)", anyIndex},
	{"recent changed", "UPDATE tree SET recent = set_byte(recent, 32*5, get_byte(recent, 32*5) # 1)", anyIndex},
	{"tail with a byte more", "ALTER TABLE tree DROP CONSTRAINT tree_check; UPDATE tree SET tail = tail || '\\x00'", anyIndex},
	{"peaks with a byte less", "ALTER TABLE tree DROP CONSTRAINT tree_peaks_check; UPDATE tree SET peaks = substr(peaks, 2)", anyIndex},
	{"tree cut", "UPDATE tree SET size = 599, recent = substr(recent, 1, 7*32)", anyIndex},
	{"tree and entries cut", unpack + "DELETE FROM entries WHERE idx = 599; UPDATE tree SET size = 599, recent = substr(recent, 1, 7*32); DELETE FROM keys WHERE idx = 599; DELETE FROM disclosures WHERE idx = 599", anyIndex},
	{"tree deleted", "DELETE FROM tree", anyIndex},
	{"note changed", "UPDATE checkpoints SET note = set_byte(note, 60, get_byte(note, 60) # 1) WHERE size = 600", anyIndex},
	{"note under another size", "UPDATE checkpoints SET size = 599 WHERE size = 600", anyIndex},
}

func TestEntriesInRowsOfTheirOwnVerify(t *testing.T) {
	t.Parallel()
	o := filled(t, 600)
	if err := o.tamper(t.Context(), unpack); err != nil {
		t.Fatal(err)
	}
	if r, err := o.verify(t, verify.Options{Index: true}); err != nil || r.Size != 600 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

func TestVerifyFindsTampering(t *testing.T) {
	t.Parallel()
	for _, c := range tamperings {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := filled(t, 600)
			if err := o.tamper(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
			r, err := o.verify(t, verify.Options{})
			var corrupt *attestlog.CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("Verify = %+v, %v; want a *CorruptError", r, err)
			}
			if c.index != anyIndex && corrupt.Index != uint64(c.index) {
				t.Errorf("Verify names entry %d (%v), want %d", corrupt.Index, err, c.index)
			}
		})
	}
}

// Whatever is tampered with, an entry is given out as it was, or not at all.
func TestNoTamperedEntryIsGivenOut(t *testing.T) {
	t.Parallel()
	for _, c := range tamperings {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := filled(t, 600)
			l := o.openLog(t, postgres.Config{})
			was := storetest.AllEntries(t, l)
			testlog.Close(t, l)
			if err := o.tamper(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}

			s, err := o.open(t.Context(), postgres.Config{ReadOnly: true})
			if err != nil {
				return
			}
			l, err = attestlog.New(t.Context(), s, attestlog.Config{ReadOnly: true, Logger: testlog.Quiet})
			if err != nil {
				return
			}
			defer testlog.Close(t, l)
			refused := storetest.GivesOutOnly(t, l, was)
			mustRefuse := strings.HasPrefix(c.name, "leaf ") || c.name == "tile flipped" || c.name == "tile deleted"
			if mustRefuse && refused == 0 {
				t.Error("no answer is a *CorruptError")
			}
		})
	}
}

// A damaged row of the tree is no reason to try again, as a lost connection is.
func TestWritingToADamagedTreeFailsAtOnce(t *testing.T) {
	t.Parallel()
	o := filled(t, 1)
	if err := o.tamper(t.Context(), "ALTER TABLE tree DROP CONSTRAINT tree_check; UPDATE tree SET tail = tail || '\\x00'"); err != nil {
		t.Fatal(err)
	}
	s, err := o.open(t.Context(), postgres.Config{Retry: time.Hour, NoIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	err = s.Write(t.Context(), func(tx attestlog.Tx) error {
		if _, err := tx.PutKeys(make([]attestlog.IDKey, 1)); err == nil {
			t.Error("PutKeys = nil, want an error")
		}
		_, err := tx.Tree()
		return err
	})
	var corrupt *attestlog.CorruptError
	if !errors.As(err, &corrupt) || errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Write = %v, want a *CorruptError that is not ErrUnavailable", err)
	}
}

func TestVerifyFindsTamperingWithTheIndex(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, sql string }{
		{"row deleted", "DELETE FROM runs WHERE ctid = (SELECT ctid FROM runs WHERE kind = 0 LIMIT 1)"},
		{"time row deleted", "DELETE FROM runs WHERE ctid = (SELECT ctid FROM runs WHERE kind = 1 LIMIT 1)"},
		{"row changed", "UPDATE runs SET data = set_byte(data, 3, get_byte(data, 3) # 1)"},
		{"row cut", "UPDATE runs SET data = substr(data, 1, length(data) - 1)"},
		{"row moved", "UPDATE runs SET a = a + 1 WHERE kind = 1"},
		{"row of later entries", "UPDATE runs SET b = b + 100000 WHERE kind = 1"},
		{"row of no segment", "INSERT INTO runs SELECT -1, kind, a, b, data FROM runs LIMIT 1"},
		{"segment deleted", "DELETE FROM segments"},
		{"segment too long", "UPDATE segments SET hi = hi + 1 WHERE hi = (SELECT max(hi) FROM segments)"},
		{"segment of other times", "UPDATE segments SET earliest = earliest + 1"},
		{"spans changed", "UPDATE segments SET spans = set_byte(spans, 7, get_byte(spans, 7) # 1)"},
		{"segments of other terms", "UPDATE segments SET terms = 99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := filled(t, 600)
			if r, err := o.verify(t, verify.Options{Index: true}); err != nil {
				t.Fatalf("Verify before = %+v, %v", r, err)
			}
			if err := o.tamper(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
			_, err := o.verify(t, verify.Options{Index: true})
			var corrupt *attestlog.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Where != "search index" {
				t.Errorf("Verify = %v, want a *CorruptError about the search index", err)
			}
		})
	}
}
