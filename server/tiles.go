package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
)

// A tile's bytes never change; a checkpoint's do.
const (
	cacheTile       = "max-age=31536000, immutable"
	cacheCheckpoint = "max-age=1, must-revalidate"
)

const (
	checkpointPath = "checkpoint"
	bundlePrefix   = "tile/entries/"
	bundleLevel    = -1 // in place of a hash tile's level
	maxTileLevel   = 5  // of hash tiles (c2sp.org/tlog-tiles)
)

// tiles returns the handler that serves a log as c2sp.org/tlog-tiles: checkpoint,
// tile/L/N[.p/W] and tile/entries/N[.p/W], which are the path's value "tile".
// Bundles hold leaves, and so need a token that is not limited.
func (s *Server) tiles(logOf func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		name := logOf(r)
		path := strings.TrimPrefix(r.PathValue("tile"), "/")
		isBundle := strings.HasPrefix(path, bundlePrefix)

		// Even where tiles are public, enter refuses a log that does not exist, so that
		// nobody finds out the names of logs.
		isPublic := s.cfg.Public && !isBundle
		if !isPublic || s.logs[name] == nil {
			err := s.enterTiles(ctx, name, isBundle)
			if err != nil {
				writeProblem(w, err)
				return
			}
		}

		data, err := s.tile(ctx, s.logs[name], path)
		if err != nil {
			writeProblem(w, err)
			return
		}

		contentType := "application/octet-stream"
		cache := cacheTile
		if path == checkpointPath {
			contentType = "text/plain; charset=utf-8"
			cache = cacheCheckpoint
		}
		visibility := "private, " // what needs a token may not stay in a shared cache
		if isPublic {
			visibility = "public, "
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", visibility+cache)
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data)
	}
}

// enterTiles lets a request read tiles, and records it if they are bundles.
func (s *Server) enterTiles(ctx context.Context, name string, bundle bool) error {
	v, err := s.enterWhole(ctx, name, ScopeRead)
	if err != nil || !bundle {
		return err
	}
	return s.recordBundles(ctx, v)
}

// tile returns the bytes at a path of a log, or a problem.
func (s *Server) tile(ctx context.Context, h *hosted, path string) ([]byte, error) {
	if path == checkpointPath {
		c, err := h.publisher.newest(ctx)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return c.Note, nil
	}

	level, n, width, err := parseTilePath(path)
	if err != nil {
		return nil, problem(http.StatusNotFound, err.Error())
	}
	var data []byte
	if level == bundleLevel {
		data, err = h.log.EntryBundle(ctx, n, width)
	} else {
		data, err = h.log.HashTile(ctx, level, n, width)
	}
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}
	return data, nil
}

var errTilePath = errors.New("not a path of c2sp.org/tlog-tiles: " +
	"checkpoint, tile/LEVEL/N, tile/entries/N, with .p/WIDTH for a partial one")

// parseTilePath undoes attestlog.TilePath. The level of a bundle of entries is
// bundleLevel.
func parseTilePath(path string) (level int, n uint64, width int, err error) {
	rest, isTile := strings.CutPrefix(path, "tile/")
	levelText, rest, hasNumber := strings.Cut(rest, "/")
	if !isTile || !hasNumber {
		return 0, 0, 0, errTilePath
	}
	level, err = parseTileLevel(levelText)
	if err != nil {
		return 0, 0, 0, err
	}

	number, widthText, partial := strings.Cut(rest, ".p/")
	width = attestlog.TileWidth
	if partial {
		width, err = strconv.Atoi(widthText)
		if err != nil || width < 1 || width >= attestlog.TileWidth {
			return 0, 0, 0, errTilePath
		}
	}
	n, err = parseTileNumber(number)
	if err != nil {
		return 0, 0, 0, err
	}

	// Only one spelling of each path is one.
	if attestlog.TilePath(level, n, width) != path {
		return 0, 0, 0, errTilePath
	}
	return level, n, width, nil
}

func parseTileLevel(text string) (int, error) {
	if text == "entries" {
		return bundleLevel, nil
	}
	level, err := strconv.Atoi(text)
	if err != nil || level < 0 || level > maxTileLevel {
		return 0, errTilePath
	}
	return level, nil
}

// parseTileNumber reads a number in groups of three digits, x001/x234/067.
func parseTileNumber(text string) (uint64, error) {
	const most = 1 << 40 // so that n*1000 does not overflow

	n := uint64(0)
	for group := range strings.SplitSeq(text, "/") {
		digits, err := strconv.ParseUint(strings.TrimPrefix(group, "x"), 10, 16)
		if err != nil || n > most {
			return 0, errTilePath
		}
		n = n*1000 + digits
	}
	return n, nil
}
