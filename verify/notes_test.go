package verify

import (
	"context"
	"encoding/base64"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/merkle"
)

// Two processes may store their checkpoints in another order than they signed
// them, so that one over fewer entries appears during a verification.
func TestACheckpointThatIsStoredMeanwhileIsLeftForNextTime(t *testing.T) {
	skey, vkey, err := attestlog.GenerateKey("example.com/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}

	var edge merkle.Edge
	var entries []attestlog.RawEntry
	var notes [][]byte
	for i, leaf := range leaves(t)[:2] {
		entries = append(entries, attestlog.RawEntry{Index: uint64(i), Leaf: leaf})
		edge.Push(merkle.LeafHash(leaf), nil)
		root := edge.Root()
		text := fmt.Sprintf("example.com/log\n%d\n%s\n", edge.Size(), base64.StdEncoding.EncodeToString(root[:]))
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			t.Fatal(err)
		}
		notes = append(notes, signed)
	}

	passes := 0
	src := Source{
		Size:  2,
		Clear: true,
		Scan: func(_ context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
			for i := from; i < to; i++ {
				if err := fn(&entries[i]); err != nil {
					return err
				}
			}
			return nil
		},
		Checkpoints: func(fn func([]byte) error) error {
			passes++
			if passes > 1 {
				if err := fn(notes[0]); err != nil {
					return err
				}
			}
			return fn(notes[1])
		},
	}
	r, err := Entries(t.Context(), src, "", Options{Keys: []note.Verifier{key}})
	if err != nil || r.Signed != 2 || r.Checkpoints != 1 {
		t.Errorf("Entries = %+v, %v; want 2 entries that one checkpoint covers", r, err)
	}
}
