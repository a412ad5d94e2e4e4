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
		if c.Format == "tiles" {
			return exportTiles(a.ctx, log, c.Dir)
		}
		write := func(w io.Writer) error { return exportLines(a.ctx, log, w, !c.Clear) }
		if c.Format == "csv" {
			write = func(w io.Writer) error { return c.csv(a, log, w) }
		}
		if c.Output == "" {
			out := bufio.NewWriterSize(a.stdout, 1<<20)
			return errors.Join(write(out), out.Flush())
		}
		return writeFile(c.Output, write)
	})
}

// writeFile writes a file whole or not at all.
func writeFile(path string, write func(io.Writer) error) error {
	tmp := path + ".partial"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	err = errors.Join(write(out), out.Flush(), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

func (c *exportCmd) csv(a *app, log reader, w io.Writer) error {
	q, err := parseQuery([]string{c.Query})
	if err != nil {
		return err
	}
	p, err := newPrinter(a, w, log.Origin(), "csv", c.Fields)
	if err != nil {
		return err
	}
	for e, err := range log.Entries(a.ctx, q) {
		if err == nil {
			err = p.entry(&e)
		}
		if err != nil {
			return err
		}
	}
	return p.end()
}

// exportLines writes the entries that the newest checkpoint covers, the
// checkpoint, and then the entries behind it.
func exportLines(ctx context.Context, log reader, w io.Writer, disclosures bool) error {
	c, err := log.Checkpoint(ctx)
	if err != nil && !errors.Is(err, attestlog.ErrNotFound) {
		return err
	}
	size, err := log.Size(ctx)
	if err != nil {
		return err
	}
	var line []byte
	entry := func(r *attestlog.RawEntry) error {
		if !disclosures {
			r.Disclosures = nil
		}
		line = append(attestlog.AppendLine(line[:0], r), '\n')
		_, err := w.Write(line)
		return err
	}
	signed := min(c.Size, size)
	if err := log.Scan(ctx, 0, signed, entry); err != nil {
		return err
	}
	if c.Note != nil {
		if _, err := fmt.Fprintf(w, "{\"checkpoint\":%s}\n", quoteJSON(string(c.Note))); err != nil {
			return err
		}
	}
	return log.Scan(ctx, signed, size, entry)
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
	for level, have := -1, c.Size; have > 0; {
		for n := uint64(0); n*attestlog.TileWidth < have; n++ {
			width := int(min(attestlog.TileWidth, have-n*attestlog.TileWidth))
			var data []byte
			if level < 0 {
				data, err = log.EntryBundle(ctx, n, width)
			} else {
				data, err = log.HashTile(ctx, level, n, width)
			}
			if err != nil {
				return err
			}
			if err := writeBelow(dir, attestlog.TilePath(level, n, width), data); err != nil {
				return err
			}
		}
		if level++; level > 0 {
			have /= attestlog.TileWidth
		}
	}
	return writeBelow(dir, "checkpoint", c.Note)
}

func writeBelow(dir, path string, data []byte) error {
	full := filepath.Join(dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	return os.WriteFile(full, data, 0o644)
}
