package sqlite_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/mod/sumdb/note"
	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyFindsAnyFlippedByteOfTheCheckpoint flips every byte of the kept
// checkpoint. Where only the name or number of the signing key is hit, the note
// is of a key that nobody knows, and is reported as such.
func TestVerifyFindsAnyFlippedByteOfTheCheckpoint(t *testing.T) {
	path := logCopy(t)
	whole := tamperedLog.files[".checkpoint"]
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		write(t, path+".checkpoint", flipped)
		r, err := verifyCopy(t.Context(), path, verify.Options{})
		if err == nil && r.Unknown == 0 {
			t.Errorf("byte %d (%q) flipped: Verify = %+v, want an error", i, whole[i], r)
		}
	}
}

func TestVerifyFindsOtherKeys(t *testing.T) {
	path := logCopy(t)
	whole := tamperedLog.files[".pub"]
	for i := range whole[:len(whole)-1] {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		write(t, path+".pub", flipped)
		if r, err := verifyCopy(t.Context(), path, verify.Options{}); err == nil {
			t.Errorf("byte %d (%q) flipped: Verify = %+v, want an error", i, whole[i], r)
		}
	}
	_, other, err := attestlog.GenerateKey("example.com/log")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"another key": []byte(other + "\n"), "empty": nil} {
		write(t, path+".pub", content)
		if r, err := verifyCopy(t.Context(), path, verify.Options{}); !errors.Is(err, verify.ErrCannotVerify) {
			t.Errorf("%s: Verify = %+v, %v; want ErrCannotVerify", name, r, err)
		}
	}
	if err := os.Remove(path + ".pub"); err != nil {
		t.Fatal(err)
	}
	if r, err := verifyCopy(t.Context(), path, verify.Options{}); !errors.Is(err, verify.ErrCannotVerify) {
		t.Errorf("missing: Verify = %+v, %v; want ErrCannotVerify", r, err)
	}
}

// TestAMissingCheckpointFileIsNotVerified deletes the kept checkpoint, with
// and without an older database in its place.
func TestAMissingCheckpointFileIsNotVerified(t *testing.T) {
	for _, rolledBack := range []bool{false, true} {
		path := logCopy(t)
		if rolledBack {
			write(t, path, tamperedLog.early[""])
			write(t, path+".index", tamperedLog.early[".index"])
		}
		if err := os.Remove(path + ".checkpoint"); err != nil {
			t.Fatal(err)
		}
		if r, err := verifyCopy(t.Context(), path, verify.Options{}); !errors.Is(err, verify.ErrCannotVerify) {
			t.Errorf("rolled back: %v: Verify without the kept checkpoint = %+v, %v; want ErrCannotVerify", rolledBack, r, err)
		}
		wantReadOnly(t, path)
	}
}

// wantReadOnly opens a log to write it, which must be refused.
func wantReadOnly(t *testing.T, path string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := attestlog.New(t.Context(), s, attestlog.Config{})
	if err != nil {
		s.Close()
		t.Fatal(err)
	}
	defer l.Close(t.Context())
	if _, err := l.Append(t.Context(), tamperEvent(1000)); !errors.Is(err, attestlog.ErrReadOnly) {
		t.Errorf("Append = %v, want ErrReadOnly", err)
	}
}

// TestAnOlderDatabaseIsFound restores an older copy of the database, by itself
// and with its index, under the newer kept checkpoint.
func TestAnOlderDatabaseIsFound(t *testing.T) {
	for _, suffixes := range [][]string{{""}, {"", ".index"}} {
		path := logCopy(t)
		for _, suffix := range suffixes {
			write(t, path+suffix, tamperedLog.early[suffix])
		}
		r, err := verifyCopy(t.Context(), path, verify.Options{})
		wantCorrupt(t, r, err, tamperSigned)
		wantReadOnly(t, path)
	}
}

// TestAnOlderCheckpointHidesNothing restores an older kept checkpoint: the
// database's own still covers every entry.
func TestAnOlderCheckpointHidesNothing(t *testing.T) {
	path := logCopy(t)
	write(t, path+".checkpoint", tamperedLog.early[".checkpoint"])
	if r, err := verifyCopy(t.Context(), path, verify.Options{}); err != nil || r.Signed != tamperSize {
		t.Errorf("Verify = %+v, %v; want all entries signed", r, err)
	}
}

// TestOlderIndexIsBuiltOn restores an older index, which is no tampering: it
// is filled again.
func TestOlderIndexIsBuiltOn(t *testing.T) {
	path := logCopy(t)
	write(t, path+".index", tamperedLog.early[".index"])
	for _, readOnly := range []bool{true, false} {
		checkAnswers(t, path, sqlite.Config{ReadOnly: readOnly})
	}
	if r, err := verifyCopy(t.Context(), path, verify.Options{Index: true}); err != nil {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

// TestVerifyFindsFlippedBytesOfTheFile flips bytes anywhere in the database
// file. Unless its contents are the same all the same, verify fails.
func TestVerifyFindsFlippedBytesOfTheFile(t *testing.T) {
	path := logCopy(t)
	whole := tamperedLog.files[""]
	want, err := dump(path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	found := 0
	for range 120 {
		at := rng.IntN(len(whole))
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1 << rng.IntN(8)
		for _, suffix := range []string{"-wal", "-shm"} {
			os.Remove(path + suffix)
		}
		write(t, path, flipped)
		r, err := verifyCopy(t.Context(), path, verify.Options{})
		if err != nil {
			found++
			continue
		}
		if got, err := dump(path); err != nil || got != want {
			t.Errorf("byte %d flipped: Verify = %+v, and the contents differ (%v)", at, r, err)
		}
	}
	if found == 0 {
		t.Error("no flipped byte was found")
	}
}

// dump returns the contents of a database, but for what no signature covers.
func dump(path string) (string, error) {
	var b bytes.Buffer
	err := withConn(path, func(conn *zombiezen.Conn) error {
		for _, sql := range []string{
			"SELECT idx, n, hex(leaves) FROM entries ORDER BY idx", "SELECT hex(key), idx FROM keys ORDER BY key",
			"SELECT idx, pointer || hex(salt) || hex(value) FROM disclosures ORDER BY id",
			"SELECT id, hex(hashes) FROM tiles ORDER BY id",
			"SELECT size, hex(root) || hex(peaks) || hex(tail) || logged_time FROM tree",
			"SELECT size, hex(note) FROM checkpoints ORDER BY size",
			"SELECT name, sql FROM sqlite_schema ORDER BY name",
		} {
			err := sqlitex.ExecuteTransient(conn, sql, &sqlitex.ExecOptions{ResultFunc: func(stmt *zombiezen.Stmt) error {
				b.WriteString(stmt.ColumnText(0) + " " + stmt.ColumnText(1) + "\n")
				return nil
			}})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return b.String(), err
}

// Whoever only reads needs no signing key, also if somebody has put another
// checkpoint in the place of the kept one.
func TestALogWithAForeignCheckpointIsRead(t *testing.T) {
	path := logCopy(t)
	signer, _, err := attestlog.GenerateKey("example.com/log")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := note.NewSigner(signer)
	if err != nil {
		t.Fatal(err)
	}
	text := "example.com/log\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	signed, err := note.Sign(&note.Note{Text: text}, foreign)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+".checkpoint", signed)
	if err := os.Remove(path + ".key"); err != nil {
		t.Fatal(err)
	}

	s, err := sqlite.Open(t.Context(), path, sqlite.Config{ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := attestlog.New(t.Context(), s, attestlog.Config{ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(t.Context())
	if e, err := l.Entry(t.Context(), 300); err != nil || e.Index != 300 {
		t.Errorf("Entry = %+v, %v", e, err)
	}
}
