package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/durable"
)

type exportCmd struct {
	Dir    string   `arg:"" optional:"" help:"With --format tiles: the folder to write." name:"DIR"`
	Format string   `help:"jsonl, csv or tiles. Defaults to jsonl." enum:"jsonl,csv,tiles" default:"jsonl"`
	Output string   `help:"Write to a file instead of standard output." short:"o" placeholder:"FILE"`
	Query  string   `help:"With csv: only the entries that it selects." placeholder:"QUERY"`
	Fields []string `help:"With csv: the columns." placeholder:"FIELD"`
	Clear  bool     `help:"With jsonl: leave the sealed values out." name:"without-disclosures"`
}

func (exportCmd) Help() string {
	return `jsonl has every entry's exact bytes and the newest checkpoint, and verifies by itself;
tiles is a complete static c2sp.org/tlog-tiles folder, without sealed values.

Examples:
  attestlog export -o audit.jsonl && attestlog verify --jsonl audit.jsonl --key log.pub
  attestlog export --format csv --query 'actor:alice after:2026-01-01' -o alice.csv
  attestlog export --format tiles /srv/log`
}

func (c *exportCmd) Run(a *app) error {
	switch {
	case c.Format == "tiles" && (c.Dir == "" || c.Output != ""):
		return errors.New("export --format tiles needs the folder to write, and nothing else")
	case c.Format != "tiles" && c.Dir != "":
		return fmt.Errorf("export --format %s writes to standard output or to -o FILE, not to a folder", c.Format)
	case c.Format != "csv" && (c.Query != "" || c.Fields != nil):
		return fmt.Errorf("export --format %s has every entry; --query and --fields go with csv", c.Format)
	}

	return a.reading(func(log reader) error {
		var damaged damage
		var write func(io.Writer) error
		switch c.Format {
		case "tiles":
			return exportTiles(a.ctx, log, c.Dir)
		case "csv":
			write = func(out io.Writer) error { return c.exportCSV(a, log, out, &damaged) }
		default:
			write = func(out io.Writer) error { return exportLines(a.ctx, log, out, !c.Clear, &damaged) }
		}

		var err error
		if c.Output != "" {
			err = writeFile(c.Output, write)
		} else {
			out := bufio.NewWriterSize(a.stdout, 1<<20)
			err = errors.Join(write(out), out.Flush())
		}
		if err != nil {
			return err
		}
		return damaged.report(a)
	})
}

// writeFile gives a file a new content, whole and durably, or leaves what was
// there. Only the owner may read the file.
func writeFile(path string, write func(io.Writer) error) error {
	file, err := durable.CreateTemp(path, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it has its own name

	out := bufio.NewWriterSize(file, 1<<20)
	err = errors.Join(write(out), out.Flush(), file.Sync(), file.Close())
	if err != nil {
		return err
	}

	err = os.Rename(file.Name(), path)
	if err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

func (c *exportCmd) exportCSV(a *app, log reader, out io.Writer, damaged *damage) error {
	q, err := parseQuery([]string{c.Query})
	if err != nil {
		return err
	}
	p, err := newPrinter(a, out, log.Origin(), outputFlags{Format: "csv", Fields: c.Fields}, damaged)
	if err != nil {
		return err
	}

	for e, err := range log.Entries(a.ctx, q) {
		if err == nil {
			err = p.print(&e)
		}
		if err != nil {
			return err
		}
	}
	return p.finish()
}

// exportLines writes the entries that the newest checkpoint covers, the
// checkpoint, and then the entries after it.
func exportLines(ctx context.Context, log reader, out io.Writer, disclosures bool, damaged *damage) error {
	c, err := log.Checkpoint(ctx)
	if err != nil && !errors.Is(err, attestlog.ErrNotFound) {
		return err
	}
	size, err := log.Size(ctx)
	if err != nil {
		return err
	}

	var line []byte
	writeEntry := func(r *attestlog.RawEntry) error {
		if !disclosures {
			r.Disclosures = nil
		}
		damaged.note(r.Err)
		line = append(attestlog.AppendLine(line[:0], r), '\n')
		_, err := out.Write(line)
		return err
	}

	signed := min(c.Size, size)
	err = log.Scan(ctx, 0, signed, writeEntry)
	if err != nil {
		return err
	}
	if c.Note != nil {
		_, err = fmt.Fprintf(out, "{\"checkpoint\":%s}\n", quoteJSON(string(c.Note)))
		if err != nil {
			return err
		}
	}
	return log.Scan(ctx, signed, size, writeEntry)
}

// exportTiles writes the log as it was at the newest checkpoint. The
// checkpoint comes last: a folder that has one is complete.
func exportTiles(ctx context.Context, log reader, dir string) error {
	c, err := log.Checkpoint(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "checkpoint")); err == nil {
		return fmt.Errorf("%s already holds an exported log", dir)
	}

	// Bundles and level 0 have one record or hash an entry, and each level above
	// one hash for each full tile below.
	err = exportLevel(dir, bundleLevel, c.Size, func(n uint64, width int) ([]byte, error) {
		return log.EntryBundle(ctx, n, width)
	})
	if err != nil {
		return err
	}
	level := 0
	for hashes := c.Size; hashes > 0; hashes /= attestlog.TileWidth {
		err = exportLevel(dir, level, hashes, func(n uint64, width int) ([]byte, error) {
			return log.HashTile(ctx, level, n, width)
		})
		if err != nil {
			return err
		}
		level++
	}

	return writeBelow(dir, "checkpoint", c.Note)
}

// bundleLevel is the level of entry bundles in [attestlog.TilePath].
const bundleLevel = -1

// exportLevel writes the tiles of a level, which has a number of hashes or
// entries.
func exportLevel(dir string, level int, size uint64, read func(n uint64, width int) ([]byte, error)) error {
	for n := uint64(0); n*attestlog.TileWidth < size; n++ {
		width := int(min(attestlog.TileWidth, size-n*attestlog.TileWidth))
		data, err := read(n, width)
		if err != nil {
			return err
		}
		err = writeBelow(dir, attestlog.TilePath(level, n, width), data)
		if err != nil {
			return err
		}
	}
	return nil
}

// writeBelow writes a file with a slash-separated path in dir.
func writeBelow(dir, path string, data []byte) error {
	full := filepath.Join(dir, filepath.FromSlash(path))
	err := os.MkdirAll(filepath.Dir(full), 0o755)
	if err != nil {
		return err
	}
	return os.WriteFile(full, data, 0o644)
}
