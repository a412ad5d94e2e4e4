// Package interop checks logs with programs and libraries that are not ours.
package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
)

// filledLog returns a log of n entries, all signed, and its folder.
func filledLog(t *testing.T, n int) (*attestlog.Log, string) {
	t.Helper()
	dir := t.TempDir()
	log := openLog(t, dir)
	testlog.Append(t, log, testlog.Events(0, n)...)
	if _, err := log.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	return log, dir
}

// sizes are around the places where a tree changes its shape.
var sizes = []int{1, 2, 3, 255, 256, 257, 511, 1000, 65_537}

func TestInclusionProofsConvinceOtherLibraries(t *testing.T) {
	ctx := context.Background()
	for _, size := range sizes {
		log, _ := filledLog(t, size)
		for _, index := range []int{0, 1, size / 2, size - 2, size - 1} {
			if index < 0 || index >= size {
				continue
			}
			p, err := log.InclusionProof(ctx, uint64(index))
			if err != nil {
				t.Fatalf("size %d: InclusionProof(%d): %v", size, index, err)
			}
			hash := tlog.RecordHash(p.Leaf)
			if err := tlog.CheckRecord(p.Hashes, int64(size), p.Checkpoint.Root, int64(index), hash); err != nil {
				t.Errorf("size %d: tlog.CheckRecord(%d): %v", size, index, err)
			}
			err = proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), hash[:], raw(p.Hashes), p.Checkpoint.Root[:])
			if err != nil {
				t.Errorf("size %d: merkle VerifyInclusion(%d): %v", size, index, err)
			}
		}
		if err := log.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func raw(hashes []attestlog.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

func TestConsistencyProofsConvinceOtherLibraries(t *testing.T) {
	ctx := context.Background()
	log, _ := filledLog(t, 3000)
	defer log.Close(ctx)
	c, err := log.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	roots := map[uint64]tlog.Hash{}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			out[i] = stored[at]
		}
		return out, nil
	})
	for e, err := range log.Entries(ctx, query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		hashes, err := tlog.StoredHashes(int64(e.Index), e.Leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		if roots[e.Index+1], err = tlog.TreeHash(int64(e.Index+1), reader); err != nil {
			t.Fatal(err)
		}
	}
	if roots[c.Size] != c.Root {
		t.Fatalf("tlog.TreeHash(%d) = %v, the checkpoint says %v", c.Size, roots[c.Size], c.Root)
	}
	for _, from := range []uint64{1, 2, 255, 256, 257, 1024, 2999, 3000} {
		p, err := log.ConsistencyProof(ctx, from, c.Size)
		if err != nil {
			t.Fatalf("ConsistencyProof(%d, %d): %v", from, c.Size, err)
		}
		if err := tlog.CheckTree(p, int64(c.Size), c.Root, int64(from), roots[from]); err != nil {
			t.Errorf("tlog.CheckTree(%d): %v", from, err)
		}
		was, is := roots[from], c.Root
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, from, c.Size, raw(p), was[:], is[:]); err != nil {
			t.Errorf("merkle VerifyConsistency(%d): %v", from, err)
		}
	}
}

func TestTesseraFsckAcceptsAnExport(t *testing.T) {
	ctx := context.Background()
	log, dir := filledLog(t, 70_000)
	if err := log.Close(ctx); err != nil {
		t.Fatal(err)
	}
	tiles := filepath.Join(dir, "tiles")
	program := filepath.Join(dir, "attestlog")
	run(t, "go", "build", "-C", "..", "-o", program, "./cmd/attestlog")
	run(t, program, "--log", "sqlite:"+filepath.Join(dir, "audit.db"), "export", "--format", "tiles", tiles)
	key := filepath.Join(dir, "audit.db.pub")
	fsck, err := exec.Command("go", "tool", "-n", "fsck").Output()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-storage_url=file://" + tiles + "/", "-public_key=" + key, "-N=2", "-ui=false"}
	accepted := func(limit time.Duration) (bool, string) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		out, err := exec.CommandContext(ctx, strings.TrimSpace(string(fsck)), args...).CombinedOutput()
		return err == nil, string(out)
	}
	began := time.Now()
	if ok, out := accepted(testwait.Patience()); !ok {
		t.Fatalf("fsck refuses the export:\n%s", out)
	}
	took := time.Since(began)

	bundle := filepath.Join(tiles, "tile", "entries", "001")
	data, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	data[100] ^= 1
	if err := os.WriteFile(bundle, data, 0o644); err != nil {
		t.Fatal(err)
	}
	// fsck v1.0.4 says nothing and never ends once it has met a bundle that does
	// not fit.
	if ok, out := accepted(max(5*took, 20*time.Second)); ok {
		t.Errorf("fsck accepts a changed entry:\n%s", out)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
