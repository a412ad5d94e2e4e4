package storetest

import (
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/verify"
)

var proofTests = []namedTest{
	{"ACheckpointFollows", aCheckpointFollows},
	{"CloseSignsTheRest", closeSignsTheRest},
	{"PublishCoversWhatIsThere", publishCoversWhatIsThere},
	{"ProofsOfEverySizeHold", proofsOfEverySizeHold},
	{"ProofsOverTwoTileLevelsHold", proofsOverTwoTileLevelsHold},
	{"WhatIsNotSignedIsNotProved", whatIsNotSignedIsNotProved},
}

var keyTests = []namedTest{
	{"ARotatedKeyKeepsOldCheckpointsVerifiable", aRotatedKey},
	{"AStrangersKeyVerifiesNothing", aStrangersKey},
	{"AGivenCheckpointMustBeOnTheHistory", aGivenCheckpoint},
}

func aCheckpointFollows(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	if c, err := l.Checkpoint(t.Context()); err != nil || c.Size != 0 {
		t.Errorf("Checkpoint of an empty log = %+v, %v, want one over no entries", c, err)
	}

	for n := range 3 {
		r := testlog.Append(t, l, testlog.Event(n))
		testwait.Until(t, "a checkpoint over the new entry", func() bool {
			c, err := l.Checkpoint(t.Context())
			return err == nil && c.Size > r[0].Index
		})
	}
}

func closeSignsTheRest(t *testing.T, o Opener) {
	for round := range 3 {
		s := openStore(t, o, Options{})
		l := testlog.New(t, s, attestlog.Config{})
		testlog.Append(t, l, testlog.Events(round*7, (round+1)*7)...)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}

		signed, err := s.Home().Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		if c, err := attestlog.VerifyCheckpoint(signed, verifiers(t, s)...); err != nil || c.Size != uint64(round+1)*7 {
			t.Errorf("kept checkpoint = %d entries, %v; want %d", c.Size, err, (round+1)*7)
		}
	}
}

// verifiers returns the verifier keys that are kept next to the log.
func verifiers(t *testing.T, s attestlog.Store) []note.Verifier {
	t.Helper()
	texts, err := s.Home().VerifierKeys()
	if err != nil {
		t.Fatal(err)
	}

	var keys []note.Verifier
	for _, text := range texts {
		k, err := note.NewVerifier(text)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

func publishCoversWhatIsThere(t *testing.T, o Opener) {
	s := openStore(t, o, Options{})
	l := testlog.New(t, s, attestlog.Config{Origin: "example.com/log"})

	for n := range 5 {
		r := testlog.Append(t, l, testlog.Event(n))
		c, err := l.Publish(t.Context())
		if err != nil || c.Size != r[0].Index+1 || c.Origin != "example.com/log" {
			t.Fatalf("Publish = %+v, %v; want %d entries of example.com/log", c, err, r[0].Index+1)
		}
		if _, err := attestlog.VerifyCheckpoint(c.Note, verifiers(t, s)...); err != nil {
			t.Error(err)
		}

		again, err := l.Publish(t.Context())
		if err != nil || string(again.Note) != string(c.Note) {
			t.Errorf("Publish with nothing new = %v, %v; want the same note", again, err)
		}
	}
}

// proofsOfEverySizeHold grows a log through sizes around powers of two and
// tile borders, and checks its proofs with x/mod's tlog over hashes of the
// leaves.
func proofsOfEverySizeHold(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	var leaves []attestlog.Hash
	var heads []attestlog.Checkpoint
	for _, size := range []int{1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 255, 256, 257, 258, 500, 511, 512, 513, 600, 767, 768, 1025} {
		for _, r := range testlog.Append(t, l, testlog.Events(len(leaves), size)...) {
			leaves = append(leaves, r.LeafHash)
		}

		c, err := l.Publish(t.Context())
		if err != nil || c.Size != uint64(size) {
			t.Fatalf("Publish = %d entries, %v; want %d", c.Size, err, size)
		}

		for i := 0; i < size; i += 1 + size/24 {
			p, err := l.InclusionProof(t.Context(), uint64(i))
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckRecord(p.Hashes, int64(size), c.Root, int64(i), leaves[i]); err != nil {
				t.Errorf("inclusion of %d in %d: %v", i, size, err)
			}
			if p.Index != uint64(i) || tlog.RecordHash(p.Leaf) != leaves[i] {
				t.Errorf("inclusion proof of %d is of %d", i, p.Index)
			}
		}

		for _, old := range heads {
			p, err := l.ConsistencyProof(t.Context(), old.Size, c.Size)
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckTree(p, int64(c.Size), c.Root, int64(old.Size), old.Root); err != nil {
				t.Errorf("consistency of %d and %d: %v", old.Size, c.Size, err)
			}
		}

		heads = append(heads, c)
	}
}

func proofsOverTwoTileLevelsHold(t *testing.T, o Opener) {
	if testing.Short() || raceEnabled {
		t.Skip("65,836 entries")
	}

	s := openStore(t, o, Options{NoIndex: true})
	l := testlog.New(t, s, attestlog.Config{Sealed: []string{}})

	const first, size = 65_536, 65_836
	testlog.Append(t, l, testlog.Events(0, first)...)
	old, err := l.Publish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	testlog.Append(t, l, testlog.Events(first, size)...)
	c, err := l.Publish(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	for _, i := range []uint64{0, 255, 256, 30_000, 65_535, 65_536, 65_791, 65_792, 65_835} {
		p, err := l.InclusionProof(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(p.Hashes, size, c.Root, int64(i), tlog.RecordHash(p.Leaf)); err != nil {
			t.Errorf("inclusion of %d: %v", i, err)
		}
	}

	for _, from := range []uint64{1, 256, 65_535, 65_536} {
		p, err := l.ConsistencyProof(t.Context(), from, size)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(p, size, c.Root, int64(from), old.Root); (err == nil) != (from == old.Size) {
			t.Errorf("consistency of %d and %d against the root at %d: %v", from, size, old.Size, err)
		}
	}

	if _, err := s.Tile(t.Context(), 1, 0); err != nil {
		t.Errorf("Tile(1, 0) = %v", err)
	}
	if _, err := s.Tile(t.Context(), 1, 1); !errors.Is(err, attestlog.ErrNotFound) {
		t.Errorf("Tile(1, 1) = %v, want ErrNotFound", err)
	}

	testlog.Verify(t, l)
}

func whatIsNotSignedIsNotProved(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	testlog.Append(t, l, testlog.Events(0, 3)...)
	if _, err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}

	for _, index := range []uint64{3, 1 << 40} {
		if _, err := l.InclusionProof(t.Context(), index); !errors.Is(err, attestlog.ErrNotFound) {
			t.Errorf("InclusionProof(%d) = %v, want ErrNotFound", index, err)
		}
	}

	for _, sizes := range [][2]uint64{{2, 4}, {3, 2}} {
		if _, err := l.ConsistencyProof(t.Context(), sizes[0], sizes[1]); !errors.Is(err, attestlog.ErrNotFound) {
			t.Errorf("ConsistencyProof(%d, %d) = %v, want ErrNotFound", sizes[0], sizes[1], err)
		}
	}
}

func aRotatedKey(t *testing.T, o Opener) {
	s := openStore(t, o, Options{})
	l := testlog.New(t, s, attestlog.Config{})
	testlog.Append(t, l, testlog.Events(0, 10)...)
	before, err := l.Publish(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	text, err := l.RotateKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	testlog.Append(t, l, testlog.Events(10, 20)...)

	after, err := l.Publish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	s = openStore(t, o, Options{})
	l = testlog.New(t, s, attestlog.Config{})
	keys := verifiers(t, s)
	fresh, err := note.NewVerifier(text)
	if err != nil || len(keys) != 2 || keys[1].KeyHash() != fresh.KeyHash() {
		t.Fatalf("%d verifier keys are kept, the new one is %v, %v; want 2, the new one last", len(keys), fresh, err)
	}

	old := keys[:1]
	if _, err := attestlog.VerifyCheckpoint(before.Note, old...); err != nil {
		t.Errorf("checkpoint before the rotation: %v", err)
	}
	if _, err := attestlog.VerifyCheckpoint(after.Note, fresh); err != nil {
		t.Errorf("checkpoint after the rotation: %v", err)
	}
	if _, err := attestlog.VerifyCheckpoint(after.Note, old...); err == nil {
		t.Error("the old key verifies a checkpoint after the rotation")
	}

	for _, test := range []struct {
		name   string
		keys   []note.Verifier
		beside bool
	}{{"old", old, false}, {"new", []note.Verifier{fresh}, false}, {"beside", nil, true}, {"both", keys, false}} {
		r, err := verify.Log(t.Context(), l, verify.Options{Keys: test.keys})
		if err != nil || r.Size != 21 || r.Signed != 21 || r.KeysFromHome != test.beside || r.Checkpoints == 0 {
			t.Errorf("Verify with the %s key = %+v, %v; want 21 entries, all signed", test.name, r, err)
		}
		r, err = verify.Log(t.Context(), l, verify.Options{Keys: test.keys, Checkpoint: before.Note})
		if test.name == "new" {
			if !errors.Is(err, verify.ErrCannotVerify) {
				t.Errorf("Verify of the old checkpoint with the new key = %+v, %v; want ErrCannotVerify", r, err)
			}
		} else if err != nil {
			t.Errorf("Verify of the old checkpoint with the %s key = %+v, %v", test.name, r, err)
		}
	}

	testlog.Append(t, l, testlog.Events(20, 25)...)
	if r := testlog.Verify(t, l); r.Signed != 26 {
		t.Errorf("Verify after reopening = %+v, want 26 signed", r)
	}
}

func aStrangersKey(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	testlog.Append(t, l, testlog.Events(0, 3)...)
	testlog.Verify(t, l)

	for _, origin := range []string{l.Origin(), "example.com/other"} {
		_, text, err := attestlog.GenerateKey(origin)
		if err != nil {
			t.Fatal(err)
		}
		k, err := note.NewVerifier(text)
		if err != nil {
			t.Fatal(err)
		}
		r, err := verify.Log(t.Context(), l, verify.Options{Keys: []note.Verifier{k}})
		if !errors.Is(err, verify.ErrCannotVerify) || r.Signed != 0 {
			t.Errorf("Verify with a stranger's key for %s = %+v, %v; want ErrCannotVerify", origin, r, err)
		}
	}
}

func aGivenCheckpoint(t *testing.T, o Opener) {
	s := openStore(t, o, Options{})
	l := testlog.New(t, s, attestlog.Config{})
	testlog.Append(t, l, testlog.Events(0, 3)...)
	testlog.Verify(t, l)

	key, err := s.Home().Key()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}

	for _, text := range []string{
		l.Origin() + "\n4\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		l.Origin() + "\n2\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		l.Origin() + "\n0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
	} {
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			t.Fatal(err)
		}
		var corrupt *attestlog.CorruptError
		if r, err := verify.Log(t.Context(), l, verify.Options{Checkpoint: signed}); !errors.As(err, &corrupt) {
			t.Errorf("Verify with a checkpoint of another history = %+v, %v; want a CorruptError", r, err)
		}
	}

	if r, err := verify.Log(t.Context(), l, verify.Options{Checkpoint: []byte("hello")}); !errors.Is(err, verify.ErrCannotVerify) {
		t.Errorf("Verify with a text that is not a checkpoint = %+v, %v; want ErrCannotVerify", r, err)
	}
}
