package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/verify"
)

// grow appends n entries, some at a time.
func (s *host) grow(t testing.TB, n int) {
	t.Helper()
	for from := 0; from < n; from += 500 {
		var events []attestlog.Event
		for i := from; i < min(n, from+500); i++ {
			events = append(events, attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}, Message: fmt.Sprintf("entry %d", i)})
		}
		if _, err := s.log.Append(context.Background(), events...); err != nil {
			t.Error(err)
			return
		}
	}
}

// growing appends until it is told to end.
func (s *host) growing(t testing.TB) (end func()) {
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.grow(t, 37)
			}
		}
	})
	return sync.OnceFunc(func() { close(stop); writer.Wait() })
}

func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.Command("go", "tool", "-n", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(path))
}

func TestTesseraFsckAcceptsARunningServer(t *testing.T) {
	fsck := tool(t, "fsck")
	for _, tt := range []struct {
		name, path string
		public     bool
	}{{"default log", "/", false}, {"by name, public", "/tiles/default/", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, server.Config{Public: tt.public})
			s.grow(t, 20_000)
			end := s.growing(t)
			defer end()
			check := func(token string) ([]byte, error) {
				ctx := testwait.Context(t) // fsck v1.0.4 may never end after an error
				return exec.CommandContext(ctx, fsck, "-storage_url="+s.URL+tt.path, "-public_key="+s.key, "-N=2", "-ui=false", "-bearer_token="+token).CombinedOutput()
			}
			for range 5 {
				before := testlog.Size(t, s.log)
				testwait.Until(t, "the log grows", func() bool { return testlog.Size(t, s.log) > before })
				if out, err := check(s.token); err != nil {
					t.Fatalf("fsck: %v\n%s", err, out)
				}
			}
			end()
			if _, err := s.log.Publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			if out, err := check(s.token); err != nil {
				t.Fatalf("fsck: %v\n%s", err, out)
			}
		})
	}
}

func TestTesseraHammerEndsWithoutErrors(t *testing.T) {
	hammer := tool(t, "hammer")
	s := serve(t, server.Config{})
	s.quick = true
	s.grow(t, 300)
	first := 300
	key, err := os.ReadFile(s.key)
	if err != nil {
		t.Fatal(err)
	}
	const goal = 30_000
	began := time.Now()
	out, err := exec.Command(hammer, "-log_public_key="+strings.TrimSpace(string(key)), "-log_url="+s.URL+"/", "-bearer_token="+s.token, "-num_writers=256", "-max_write_ops=50000",
		fmt.Sprintf("-leaf_write_goal=%d", goal), "-max_runtime="+testwait.Patience().String(), "-show_ui=false", "-dup_chance=0.1", "-leaf_min_size=300", "-num_readers_full=1", "-num_readers_random=1").CombinedOutput()
	took := time.Since(began)
	if err != nil || regexp.MustCompile(`(?m)^E|(?i)\berror`).Match(out) {
		t.Errorf("hammer: %v\n%.4000s", err, out)
	}
	size, err := s.log.Size(t.Context())
	if err != nil || size < goal {
		t.Fatalf("%d entries, %v", size, err)
	}
	t.Logf("hammer wrote %d leaves in %v: %.0f/s", size-uint64(first), took.Round(time.Millisecond), float64(size-uint64(first))/took.Seconds())
	looks := 0 // that it reads bundles
	for _, e := range s.entries(t)[first:] {
		if e.Action == "audit.follow" {
			looks++
			continue
		}
		if e.Action != "leaf.add" || !strings.HasPrefix(e.Actor.ID, "token/") || len(e.Original) < 300 {
			t.Fatalf("entry %d = %+v", e.Index, e.Event)
		}
	}
	if looks != 1 {
		t.Errorf("%d entries say that bundles were read, want 1", looks)
	}
	if r, err := verify.Log(t.Context(), s.log, verify.Options{}); err != nil {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

// tileReader is a C2SP client's way to a log, by x/mod.
type tileReader struct {
	s    *host
	base string
}

func (*tileReader) Height() int { return 8 }

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		// tlog's paths begin with the height, C2SP's do not.
		data, err := r.get(strings.Replace(tile.Path(), "tile/8/", "tile/", 1), false)
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

// SaveTiles keeps nothing: every tile is read again.
func (*tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

// get reads a path. Hash tiles and checkpoints are public, bundles need a token.
func (r *tileReader) get(path string, authorized bool) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, r.base+path, nil)
	if err != nil {
		return nil, err
	}
	if authorized {
		req.Header.Set("Authorization", "Bearer "+r.s.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, data)
	}
	return data, err
}

// checkpoint reads and verifies the newest checkpoint.
func (r *tileReader) checkpoint() (tlog.Tree, error) {
	key, err := os.ReadFile(r.s.key)
	if err != nil {
		return tlog.Tree{}, err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		return tlog.Tree{}, err
	}
	text, err := r.get("checkpoint", false)
	if err != nil {
		return tlog.Tree{}, err
	}
	n, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	origin, rest, _ := strings.Cut(n.Text, "\n")
	if origin != verifier.Name() {
		return tlog.Tree{}, errors.New("a checkpoint of " + origin)
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + rest)) // the same but for its first line
}

// A client that knows nothing of ours follows a log that grows: each tree is the
// beginning of the next, and each entry of a bundle is in the tree.
func TestC2SPClientFollowsARunningServer(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Config{Public: true})
	s.grow(t, 700)
	end := s.growing(t)
	defer end()
	r := &tileReader{s: s, base: s.URL + "/"}
	var last tlog.Tree
	for round := 0; round < 6; {
		tree, err := r.checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		if tree.N == last.N {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		round++
		hashes := tlog.TileHashReader(tree, r)
		if last.N > 0 {
			p, err := tlog.ProveTree(tree.N, last.N, hashes)
			if err != nil {
				t.Fatalf("ProveTree(%d, %d): %v", tree.N, last.N, err)
			}
			if err := tlog.CheckTree(p, tree.N, tree.Hash, last.N, last.Hash); err != nil {
				t.Errorf("CheckTree(%d, %d): %v", tree.N, last.N, err)
			}
		}
		for _, bundle := range []int64{0, tree.N / 256} {
			width := min(256, tree.N-bundle*256)
			if width == 0 {
				continue
			}
			path := tlog.Tile{H: 8, L: -1, N: bundle, W: int(width)}.Path()
			data, err := r.get(strings.Replace(path, "tile/8/data/", "tile/entries/", 1), true)
			if err != nil {
				t.Fatal(err)
			}
			for i := range width {
				if len(data) < 2 || len(data) < 2+int(data[0])<<8+int(data[1]) {
					t.Fatalf("bundle %d ends in entry %d", bundle, i)
				}
				leaf := data[2 : 2+int(data[0])<<8+int(data[1])]
				data = data[2+len(leaf):]
				if i%50 != 0 && i != width-1 {
					continue
				}
				index := bundle*256 + i
				p, err := tlog.ProveRecord(tree.N, index, hashes)
				if err != nil {
					t.Fatalf("ProveRecord(%d, %d): %v", tree.N, index, err)
				}
				if err := tlog.CheckRecord(p, tree.N, tree.Hash, index, tlog.RecordHash(leaf)); err != nil {
					t.Errorf("CheckRecord(%d, %d): %v", tree.N, index, err)
				}
			}
			if len(data) > 0 {
				t.Errorf("bundle %d goes on", bundle)
			}
		}
		last = tree
	}
	if _, err := r.get("tile/entries/000", false); err == nil {
		t.Error("a bundle can be read without a token")
	}
}
