package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
)

// Bytes of tiles never change; a checkpoint does.
const (
	cacheTile       = "max-age=31536000, immutable"
	cacheCheckpoint = "max-age=1, must-revalidate"
)

// tiles serves a log as c2sp.org/tlog-tiles: checkpoint, tile/L/N[.p/W] and
// tile/entries/N[.p/W]. Bundles hold leaves, and so need a token that is not
// limited.
func (s *Server) tiles(log func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.PathValue("tile"), "/")
		bundle := strings.HasPrefix(path, "tile/entries/")
		name := log(r)
		if bundle || !s.cfg.Public || s.logs[name] == nil {
			v, err := s.whole(r.Context(), name, ScopeRead)
			if err == nil && bundle {
				err = s.noteBundles(r.Context(), v)
			}
			if err != nil {
				writeProblem(w, err)
				return
			}
		}
		data, err := s.tile(r, s.logs[name], path)
		if err != nil {
			writeProblem(w, err)
			return
		}
		visible, cache := "public, ", cacheTile
		if bundle || !s.cfg.Public {
			visible = "private, "
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if path == "checkpoint" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			cache = cacheCheckpoint
		}
		w.Header().Set("Cache-Control", visible+cache)
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data)
	}
}

// bundlesAgain is how often it is recorded that somebody fetches bundles. A follower
// fetches one for each new entry, so each record of it would make another.
const bundlesAgain = time.Hour

// noteBundles records that somebody reads entries by the bundle.
func (s *Server) noteBundles(ctx context.Context, v *visit) error {
	now := s.cfg.Clock()
	h := v.log
	h.mu.Lock()
	if h.bundles == nil || len(h.bundles) >= maxKnown {
		h.bundles = map[string]time.Time{}
	}
	last, known := h.bundles[v.actor.ID]
	if known && now.Sub(last) < bundlesAgain {
		h.mu.Unlock()
		return nil
	}
	h.bundles[v.actor.ID] = now
	h.mu.Unlock()
	return s.note(ctx, v, "audit.follow", "export", map[string]any{"hours": int(bundlesAgain.Hours())})
}

func (s *Server) tile(r *http.Request, h *hosted, path string) ([]byte, error) {
	ctx := r.Context()
	if path == "checkpoint" {
		c, err := s.published(ctx, h)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		return c.Note, nil
	}
	level, n, width, err := parseTilePath(path)
	if err != nil {
		return nil, problem(http.StatusNotFound, err.Error())
	}
	var data []byte
	if level < 0 {
		data, err = h.log.EntryBundle(ctx, n, width)
	} else {
		data, err = h.log.HashTile(ctx, level, n, width)
	}
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return data, nil
}

var errTilePath = errors.New("not a path of c2sp.org/tlog-tiles: checkpoint, tile/LEVEL/N, tile/entries/N, with .p/WIDTH for a partial one")

// maxLevel is the highest level of hash tiles (c2sp.org/tlog-tiles).
const maxLevel = 5

// parseTilePath undoes attestlog.TilePath. Level -1 is a bundle of entries.
func parseTilePath(path string) (level int, n uint64, width int, err error) {
	width = attestlog.TileWidth
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok {
		return 0, 0, 0, errTilePath
	}
	first, rest, ok := strings.Cut(rest, "/")
	if level = -1; first != "entries" {
		if level, err = strconv.Atoi(first); err != nil || level < 0 || level > maxLevel {
			return 0, 0, 0, errTilePath
		}
	}
	if full, part, partial := strings.Cut(rest, ".p/"); partial {
		if width, err = strconv.Atoi(part); err != nil || width < 1 || width >= attestlog.TileWidth {
			return 0, 0, 0, errTilePath
		}
		rest = full
	}
	for group := range strings.SplitSeq(rest, "/") { // x001/x234/067
		digits, err := strconv.ParseUint(strings.TrimPrefix(group, "x"), 10, 16)
		if err != nil || n > 1<<40 {
			return 0, 0, 0, errTilePath
		}
		n = n*1000 + digits
	}
	if !ok || attestlog.TilePath(level, n, width) != path {
		return 0, 0, 0, errTilePath
	}
	return level, n, width, nil
}

// add stores the bytes of a body as an event's original and answers with its
// index in decimal, as Tessera's load generator wants it.
func (s *Server) add(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	v, err := s.enter(ctx, s.first.name, ScopeAppend)
	if err != nil {
		writeProblem(w, err)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, attestlog.MaxOriginal))
	if err != nil {
		writeProblem(w, s.unread(err))
		return
	}
	e := attestlog.Event{Action: "leaf.add", Operation: "create", Service: "attestlog", Actor: v.actor, Original: body}
	if v.token.Actor != "" {
		e.Actor = attestlog.Actor{ID: v.token.Actor}
	}
	if err := v.own(&e); err != nil {
		writeProblem(w, err)
		return
	}
	stored, err := v.log.log.Append(ctx, e)
	if err != nil {
		writeProblem(w, s.failed(ctx, err))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%d", stored[0].Index)
}
