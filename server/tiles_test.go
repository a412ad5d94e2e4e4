package server_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/server"
)

// tileReader reads tiles over HTTP, as c2sp.org/tlog-tiles names them.
type tileReader struct {
	s      *service
	prefix string
	token  string
}

func (r tileReader) Height() int { return 8 }

func (r tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		path := r.prefix + "/" + attestlog.TilePath(tile.L, uint64(tile.N), tile.W)
		a := r.s.get(path, r.token)
		if a.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("GET %s = %d %s", path, a.StatusCode, a.body)
		}
		out = append(out, a.body)
	}
	return out, nil
}

func (r tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

// A client that knows nothing but the tiles and the key follows the log.
func TestTilesProveEveryEntry(t *testing.T) {
	const size = 70_000
	if raceEnabled {
		t.Skip("appends too much for the race detector")
	}
	s := serve(t)
	token := s.token(server.ScopeRead)
	for from := 0; from < size; from += 10_000 {
		s.append(events(from, 10_000)...)
	}
	s.checkpoint(s.post(api+"/checkpoint", token, ""))
	for _, prefix := range []string{"", "/tiles/default"} {
		c := s.checkpoint(s.get(prefix+"/checkpoint", token))
		reader := tlog.TileHashReader(tlog.Tree{N: int64(c.Size), Hash: c.Root}, tileReader{s, prefix, token})
		for _, n := range []uint64{0, 255, 256, 65_535, 65_536, size/256 - 1, size / 256} {
			first, width := n/256*256, uint64(256)
			if first+width > c.Size {
				width = c.Size - first
			}
			a := s.get(prefix+"/"+attestlog.TilePath(-1, first/256, int(width)), token)
			if a.StatusCode != 200 {
				t.Fatalf("bundle %d = %d %s", first/256, a.StatusCode, a.body)
			}
			var indexes []int64
			var leaves [][]byte
			for rest := a.body; len(rest) > 0; {
				n := binary.BigEndian.Uint16(rest)
				indexes = append(indexes, tlog.StoredHashIndex(0, int64(first)+int64(len(leaves))))
				leaves = append(leaves, rest[2:2+n])
				rest = rest[2+n:]
			}
			hashes, err := reader.ReadHashes(indexes)
			if err != nil || uint64(len(leaves)) != width {
				t.Fatalf("bundle %d holds %d entries, want %d; %v", first/256, len(leaves), width, err)
			}
			for i, leaf := range leaves {
				if hashes[i] != tlog.RecordHash(leaf) {
					t.Errorf("entry %d of a bundle is not that of the tree", first+uint64(i))
				}
			}
		}
	}
}

func TestTilesAreCachedAsTheyMayBe(t *testing.T) {
	for _, public := range []bool{false, true} {
		s := serve(t, func(s *service) { s.config.Public = public })
		token := s.token(server.ScopeRead)
		s.append(events(0, 300)...)
		s.checkpoint(s.post(api+"/checkpoint", token, ""))
		visible := map[bool]string{false: "private", true: "public"}[public]
		for _, test := range []struct {
			path, cache, kind string
			size              int
			open              bool // needs no token where tiles are public
		}{
			{"checkpoint", visible + ", max-age=1, must-revalidate", "text/plain; charset=utf-8", 0, true},
			{"tile/0/000", visible + ", max-age=31536000, immutable", "application/octet-stream", 256 * 32, true},
			{"tile/0/001.p/44", visible + ", max-age=31536000, immutable", "application/octet-stream", 44 * 32, true},
			{"tile/1/000.p/1", visible + ", max-age=31536000, immutable", "application/octet-stream", 32, true},
			{"tile/entries/000", "private, max-age=31536000, immutable", "application/octet-stream", 0, false},
			{"tile/entries/001.p/44", "private, max-age=31536000, immutable", "application/octet-stream", 0, false},
		} {
			for _, prefix := range []string{"/", "/tiles/default/"} {
				a := s.get(prefix+test.path, token)
				if a.StatusCode != 200 || a.Header.Get("Cache-Control") != test.cache || a.Header.Get("Content-Type") != test.kind || test.size > 0 && len(a.body) != test.size {
					t.Errorf("GET %s%s = %d, %d bytes, %v", prefix, test.path, a.StatusCode, len(a.body), a.Header)
				}
				want := http.StatusUnauthorized
				if public && test.open {
					want = http.StatusOK
				}
				if a := s.get(prefix+test.path, ""); a.StatusCode != want {
					t.Errorf("GET %s%s without a token = %d, want %d", prefix, test.path, a.StatusCode, want)
				}
			}
		}
		// What is not there yet may be there soon.
		wantProblem(t, s.get("/tile/0/001", token), http.StatusNotFound, "")
		wantProblem(t, s.get("/tile/0/001.p/99", token), http.StatusNotFound, "")
	}
}

func TestBundlesHoldNoDisclosures(t *testing.T) {
	s := serve(t, func(s *service) { s.sealed = []string{"/message"} })
	s.append(attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "a"}, Source: attestlog.Source{IP: "192.0.2.7"}, Message: "canary", Original: []byte("canary")})
	a := s.get("/tile/entries/000.p/1", s.token(server.ScopeRead))
	if a.StatusCode != 200 || bytes.Contains(a.body, []byte("canary")) || bytes.Contains(a.body, []byte("192.0.2.7")) {
		t.Errorf("the bundle = %d %q", a.StatusCode, a.body)
	}
}

func TestOnlyPathsOfTilesAreTiles(t *testing.T) {
	s := serve(t, func(s *service) { s.config.Public = true })
	token := s.token(server.ScopeRead)
	s.append(events(0, 300)...)
	for _, path := range []string{
		"/tile/", "/tile/0", "/tile/0/", "/tile/00/000", "/tile/+0/000", "/tile/-1/000", "/tile/6/000", "/tile/0/0", "/tile/0/0000", "/tile/0/+00", "/tile/0/x000/000",
		"/tile/0/000.p/0", "/tile/0/000.p/256", "/tile/0/000.p/044", "/tile/0/000.p/+1", "/tile/0/000.p/1.p/1", "/tile/0/001.p/44/", "/tile/0/000.p/", "/tile/entries/", "/tile/entries",
		"/tile/entries/000%2F", "/tile/0/%30%30%30%00", "/tile/0/000%20", "/tile/0/999999999999999999999", "/tile/0/" + strings.Repeat("x999/", 1000) + "999",
		"/tile/%2e%2e/%2e%2e/etc/passwd", "/tile/..%2f..%2flog.db", "/tile/0/..%2f..%2f..%2fcheckpoint", "/tiles/default/tile/..%2fcheckpoint", "/tiles/..%2fdefault/checkpoint",
		"/tiles/default/..%5c..%5clog.db", "/tile/%65ntries/000.p/1%00", "/tile/0/\u0660\u0660\u0660",
	} {
		a := s.get(path, token)
		if a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusUnauthorized || len(a.body) > 2000 {
			t.Errorf("GET %s = %d, %d bytes; want 404", path, a.StatusCode, len(a.body))
		}
	}
	// Another spelling of a bundle's path is no way around its token.
	for _, path := range []string{"/tile/entries/000", "/tile/%65ntries/000", "/tile/entries%2F000", "/tile//entries/000", "/tile/./entries/000", "/tile/0/../entries/000", "/tiles/default/tile/entr%69es/000"} {
		if a := s.get(path, ""); a.StatusCode == http.StatusOK || bytes.Contains(a.body, []byte("user-")) {
			t.Errorf("GET %s without a token = %d %.100q", path, a.StatusCode, a.body)
		}
	}
}

func TestFetchingBundlesIsRecordedOnceAnHour(t *testing.T) {
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	s := serve(t, func(s *service) { s.config.Clock = func() time.Time { return time.Unix(0, clock.Load()) } })
	token := s.token(server.ScopeRead)
	s.append(events(0, 300)...)
	s.checkpoint(s.get(api+"/checkpoint", token))
	recorded := func() uint64 {
		t.Helper()
		if err := s.log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		n, err := s.log.Count(t.Context(), query.Field("action", "audit.follow"), 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for hour := range uint64(3) {
		for range 5 {
			if a := s.get("/tile/entries/000", token); a.StatusCode != 200 {
				t.Fatalf("a bundle: %d %s", a.StatusCode, a.body)
			}
			s.get("/tile/0/000", token)
		}
		if got := recorded(); got != hour+1 {
			t.Errorf("after %d hours %d entries say so, want %d", hour, got, hour+1)
		}
		clock.Add(int64(61 * time.Minute))
	}
}
