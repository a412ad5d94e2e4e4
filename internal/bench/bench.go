// Package bench measures a log on the disk that it is run on. Each figure
// stands next to its floor, the same work done by the bare driver with no
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
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// Options say what to measure. Zero values mean the defaults.
type Options struct {
	Events  int    // default 1,000,000
	Writers int    // goroutines that append in bulk; default 2
	Batch   int    // events in one of their calls; default 5,000
	Dir     string // default: a temporary folder
	DSN     string // of a PostgreSQL database to measure in; default: SQLite
	JSON    bool
}

// A Figure is one measurement.
type Figure struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Floor   float64 `json:"floor"`
	Ratio   float64 `json:"ratio"`
	Events  int     `json:"events"`
	Writers int     `json:"writers"`
	Batch   int     `json:"batch"`
	Seals   int     `json:"seals"`
	Note    string  `json:"note,omitempty"`
}

// bench is one run.
type bench struct {
	ctx  context.Context
	opts Options
	out  io.Writer

	backend backend
}

// Run measures and prints each figure as soon as it is known.
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
		if b.backend, err = connect(ctx, opts.DSN, dir); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, b.backend.close()) }()
	for _, part := range []func() error{b.describe, b.plain, b.durable, b.record, b.sealed, b.shared, b.peak} {
		if err := part(); err != nil {
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
	fmt.Fprintf(b.out, "%-20s %12s %-9s floor %12s  ratio %6s  %d events, %d writers, batch %d, %d seals%s\n",
		f.Name, number(f.Value), f.Unit, number(f.Floor), number(f.Ratio), f.Events, f.Writers, f.Batch, f.Seals, prefix("; ", f.Note))
}

func prefix(p, s string) string {
	if s == "" {
		return ""
	}
	return p + s
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

// log opens a new log in the run's folder.
func (b *bench) log(name string) (*attestlog.Log, attestlog.Store, error) {
	store, err := b.backend.open(b.ctx, name)
	if err != nil {
		return nil, nil, err
	}
	l, err := attestlog.New(b.ctx, store, attestlog.Config{})
	return l, store, err
}

// describe prints the event that the figures are about.
func (b *bench) describe() error {
	l, _, err := b.log("sample")
	if err != nil {
		return err
	}
	for _, sealed := range []bool{false, true} {
		r, err := l.Append(b.ctx, event(0, sealed))
		if err != nil {
			return err
		}
		e, err := l.Entry(b.ctx, r[0].Index)
		if err != nil {
			return err
		}
		if !sealed {
			if err := sample(e.Leaf); err != nil {
				return err
			}
		}
		if !b.opts.JSON {
			fmt.Fprintf(b.out, "leaf of %d bytes, %d seals: %s\n", len(e.Leaf), len(e.Sealed), e.Leaf)
		}
	}
	return l.Close(b.ctx)
}

// fill appends n events in bulk, and waits for the index. It returns the
// seconds until all were durable and indexed.
func (b *bench) fill(l *attestlog.Log, n int, sealed bool) (float64, error) {
	var wg sync.WaitGroup
	errs := make([]error, b.opts.Writers)
	began := time.Now()
	next := make(chan int, b.opts.Writers)
	for w := range b.opts.Writers {
		wg.Go(func() {
			events := make([]attestlog.Event, 0, b.opts.Batch)
			for from := range next {
				events = events[:0]
				for i := from; i < min(n, from+b.opts.Batch); i++ {
					events = append(events, event(i, sealed))
				}
				if _, err := l.Append(b.ctx, events...); err != nil && errs[w] == nil {
					errs[w] = err
				}
			}
		})
	}
	for from := 0; from < n; from += b.opts.Batch {
		next <- from
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	err := b.settle(l)
	return time.Since(began).Seconds(), err
}

// settle waits until the index has caught up.
func (b *bench) settle(l *attestlog.Log) error {
	for {
		st, err := l.Stats(b.ctx)
		if err != nil || st.Store.IndexLag == 0 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// merged waits until the index has merged its segments, as it does while
// nothing is appended.
func (b *bench) merged(l *attestlog.Log) error {
	for {
		st, err := l.Stats(b.ctx)
		if err != nil || !st.Store.IndexMerging {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// plain measures bulk appends, disk use, verification and queries.
func (b *bench) plain() error {
	n := b.opts.Events
	floor, err := b.floorBulk(n, false)
	if err != nil {
		return err
	}
	l, _, err := b.log("plain")
	if err != nil {
		return err
	}
	seconds, err := b.fill(l, n, false)
	if err != nil {
		return err
	}
	b.print(Figure{Name: "append_bulk", Value: float64(n) / seconds, Unit: "events/s", Floor: floor.rate, Events: n, Writers: b.opts.Writers, Batch: b.opts.Batch})
	if err := b.merged(l); err != nil {
		return err
	}
	if err := b.size(l, n, 0, floor.bytes); err != nil {
		return err
	}
	if err := b.queries(l, n); err != nil {
		return err
	}
	if err := l.Close(b.ctx); err != nil {
		return err
	}
	return b.verify("plain", n, 0, floor.scan)
}

// size prints what the log takes beyond its leaves and disclosures.
func (b *bench) size(l *attestlog.Log, n, seals int, floor float64) error {
	if _, err := l.Publish(b.ctx); err != nil {
		return err
	}
	st, err := l.Stats(b.ctx)
	if err != nil {
		return err
	}
	content := int64(0)
	for e, err := range l.Entries(b.ctx, query.Indexes(0, uint64(min(n, 1000)))) {
		if err != nil {
			return err
		}
		content += int64(len(e.Leaf))
		for _, d := range e.Disclosures {
			content += int64(len(d.Pointer) + len(d.Salt) + len(d.Value))
		}
	}
	per := float64(content) / float64(min(n, 1000))
	b.print(Figure{Name: "bytes_per_entry", Value: float64(st.Store.Bytes)/float64(n) - per, Unit: "B", Floor: floor, Events: n, Seals: seals,
		Note: fmt.Sprintf("beyond %.0f B of leaf and disclosures; %.1f B of it the index", per, float64(st.Store.IndexBytes)/float64(n))})
	return nil
}

func (b *bench) verify(name string, n, seals int, floor float64) error {
	l, _, err := b.log(name)
	if err != nil {
		return err
	}
	for _, index := range []bool{false, true} {
		began := time.Now()
		if _, err := verify.Log(b.ctx, l, verify.Options{Index: index}); err != nil {
			return err
		}
		f := Figure{Name: "verify", Value: float64(n) / time.Since(began).Seconds(), Unit: "entries/s", Floor: floor, Events: n, Seals: seals}
		if index {
			f.Name, f.Floor = "verify_index", 0
		}
		b.print(f)
	}
	return l.Close(b.ctx)
}

// queries measures pages of 50 while nothing else runs.
func (b *bench) queries(l *attestlog.Log, n int) error {
	floor, err := b.backend.page(b.ctx, "plain", n)
	if err != nil {
		return err
	}
	first, err := l.Entry(b.ctx, uint64(n/3))
	if err != nil {
		return err
	}
	last, err := l.Entry(b.ctx, uint64(n/3+n/100))
	if err != nil {
		return err
	}
	old := query.Indexes(0, uint64(n/100+1))
	actor := query.Field("actor", "user-000007")
	for _, c := range []struct {
		name string
		q    query.Query
	}{
		{"query_first", actor},
		{"query_deep", query.And(actor, old)},
		{"query_rare", query.Field("actor", "rare-000000")},
		{"query_common", query.Field("operation", "read")},
		{"query_common_deep", query.And(query.Field("operation", "read"), old)},
		{"query_and", query.And(query.Field("tenant", "tenant-0007"), query.Field("action", "role.grant"))},
		{"query_time", query.Between(first.Time, last.Time)},
		{"query_time_term", query.And(actor, query.Between(first.Time, last.Time))},
		{"query_order_time", actor.OrderBy(query.ByTime)},
		{"query_order_common", query.Field("operation", "read").OrderBy(query.ByTime)},
	} {
		times, err := b.pages(l, c.q)
		if err != nil {
			return err
		}
		b.print(Figure{Name: c.name, Value: times[len(times)/2], Unit: "ms", Floor: floor, Events: n,
			Note: fmt.Sprintf("slowest of %d: %.2f ms; %s", len(times), times[len(times)-1], c.q)})
	}
	return nil
}

// pages times the first three pages of a query, several times over.
func (b *bench) pages(l *attestlog.Log, q query.Query) ([]float64, error) {
	var times []float64
	for range 7 {
		cursor := ""
		for range 3 {
			began := time.Now()
			page, err := l.Query(b.ctx, q, attestlog.PageOptions{Cursor: cursor})
			if err != nil {
				return nil, err
			}
			times = append(times, float64(time.Since(began).Microseconds())/1000)
			if cursor = page.Next; cursor == "" {
				break
			}
		}
	}
	slices.Sort(times)
	return times, nil
}

// sealed repeats the bulk figures with the three default seals.
func (b *bench) sealed() error {
	n := max(b.opts.Events/10, min(b.opts.Events, 100_000))
	floor, err := b.floorBulk(n, true)
	if err != nil {
		return err
	}
	l, _, err := b.log("sealed")
	if err != nil {
		return err
	}
	seconds, err := b.fill(l, n, true)
	if err != nil {
		return err
	}
	b.print(Figure{Name: "append_bulk", Value: float64(n) / seconds, Unit: "events/s", Floor: floor.rate, Events: n, Writers: b.opts.Writers, Batch: b.opts.Batch, Seals: eventSeals})
	if err := b.size(l, n, eventSeals, floor.bytes); err != nil {
		return err
	}
	if err := l.Close(b.ctx); err != nil {
		return err
	}
	return b.verify("sealed", n, eventSeals, floor.scan)
}

// peak prints the process's largest resident set.
func (b *bench) peak() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil // only Linux tells
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			b.print(Figure{Name: "peak_rss", Value: kib / 1024, Unit: "MiB", Events: b.opts.Events})
		}
	}
	return nil
}
