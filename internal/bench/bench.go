// Package bench measures a log on the disk that it is run on. Each figure is
// printed next to its floor, the same work done by the bare driver with no
// index and no tree in the same run, because machines differ.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
)

// Options say what to measure. Zero values mean the defaults.
type Options struct {
	Events  int    // default 1,000,000
	Writers int    // goroutines that append in bulk; default 2
	Batch   int    // events in one of their calls; default 5,000, at most 10,000
	Dir     string // default: the system's temporary folder
	DSN     string // of a PostgreSQL database to measure in; default: SQLite
	JSON    bool   // print each figure as a JSON object
}

// A Figure is one measurement.
type Figure struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Floor   float64 `json:"floor"` // 0: it has none
	Ratio   float64 `json:"ratio"` // of value to floor
	Events  int     `json:"events"`
	Writers int     `json:"writers"`
	Batch   int     `json:"batch"`
	Seals   int     `json:"seals"` // of each event
	Note    string  `json:"note,omitempty"`
}

// bench is one run.
type bench struct {
	ctx  context.Context
	opts Options
	out  io.Writer

	backend backend
}

// Run measures, and prints each figure to out as soon as it is known. It
// removes what it has made.
func Run(ctx context.Context, opts Options, out io.Writer) (err error) {
	if opts.Events <= 0 {
		opts.Events = 1_000_000
	}
	if opts.Writers <= 0 {
		opts.Writers = 2
	}
	if opts.Batch <= 0 {
		opts.Batch = 5_000
	}
	opts.Batch = min(opts.Batch, 10_000)

	dir, err := os.MkdirTemp(opts.Dir, "attestlog-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	b := &bench{ctx: ctx, opts: opts, out: out, backend: sqliteFiles{dir}}
	if opts.DSN != "" {
		b.backend, err = connect(ctx, opts.DSN, dir)
		if err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, b.backend.close()) }()

	for _, part := range []func() error{b.describe, b.plain, b.durable, b.record, b.sealed, b.shared, b.peak} {
		err := part()
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) print(f Figure) {
	if f.Floor > 0 {
		f.Ratio = f.Value / f.Floor
	}

	if b.opts.JSON {
		line, err := json.Marshal(f)
		if err == nil {
			fmt.Fprintf(b.out, "%s\n", line)
		}
		return
	}

	note := ""
	if f.Note != "" {
		note = "; " + f.Note
	}
	fmt.Fprintf(b.out, "%-20s %12s %-9s floor %12s  ratio %6s  %d events, %d writers, batch %d, %d seals%s\n",
		f.Name, number(f.Value), f.Unit, number(f.Floor), number(f.Ratio), f.Events, f.Writers, f.Batch, f.Seals, note)
}

func number(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v < 10:
		return fmt.Sprintf("%.3f", v)
	case v < 1000:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// log opens a log of the run, or creates it.
func (b *bench) log(name string) (*attestlog.Log, attestlog.Store, error) {
	store, err := b.backend.open(b.ctx, name)
	if err != nil {
		return nil, nil, err
	}
	l, err := attestlog.New(b.ctx, store, attestlog.Config{})
	return l, store, err
}

// describe prints the leaves that the figures are about.
func (b *bench) describe() error {
	l, _, err := b.log("sample")
	if err != nil {
		return err
	}

	for _, sealed := range []bool{false, true} {
		receipts, err := l.Append(b.ctx, event(0, sealed))
		if err != nil {
			return err
		}
		e, err := l.Entry(b.ctx, receipts[0].Index)
		if err != nil {
			return err
		}
		if !sealed {
			err = checkLeaf(e.Leaf)
			if err != nil {
				return err
			}
		}
		if !b.opts.JSON {
			fmt.Fprintf(b.out, "leaf of %d bytes, %d seals: %s\n", len(e.Leaf), len(e.Sealed), e.Leaf)
		}
	}
	return l.Close(b.ctx)
}

// peak prints the process's largest resident set, which only Linux tells.
func (b *bench) peak() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			b.print(Figure{Name: "peak_rss", Value: kib / 1024, Unit: "MiB", Events: b.opts.Events})
		}
	}
	return nil
}

// parallel runs n calls of fn at the same time, with 0 to n-1, and waits for
// all of them.
func parallel(n int, fn func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Nanoseconds()) / 1e6 }

// rate returns how many of n there were a second.
func rate(n int, since time.Time) float64 { return float64(n) / time.Since(since).Seconds() }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
