package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

type statsCmd struct {
	JSON bool   `help:"Print one JSON object." name:"json"`
	Top  int    `help:"Actors and actions to list." default:"5"`
	Last uint64 `help:"Count actors and actions in this many of the newest entries; 0 is all." default:"100000"`
}

func (statsCmd) Help() string {
	return `Examples:
  attestlog stats
  attestlog stats --last 0 --top 20
  attestlog stats --json`
}

func (c *statsCmd) Run(a *app) error {
	return a.reading(func(log reader) error {
		f, err := c.gather(a.ctx, log)
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(a.stdout).Encode(f)
		}
		f.print(a.stdout)
		return nil
	})
}

// figures is what stats prints.
type figures struct {
	Entries        uint64     `json:"entries"`
	Bytes          int64      `json:"bytes"`
	IndexBytes     int64      `json:"index_bytes"`
	IndexLag       uint64     `json:"index_lag"`
	Origin         string     `json:"origin"`
	CheckpointSize uint64     `json:"checkpoint_size"`
	CheckpointTime *time.Time `json:"checkpoint_time,omitempty"`
	First          *time.Time `json:"first_logged,omitempty"`
	LastLogged     *time.Time `json:"last_logged,omitempty"`
	PerSecond      float64    `json:"entries_per_second"`
	Outboxes       []outbox   `json:"outboxes,omitempty"`
	Counted        uint64     `json:"counted"`
	Damaged        uint64     `json:"damaged,omitempty"` // of those counted
	Actors         []tally    `json:"top_actors"`
	Actions        []tally    `json:"top_actions"`
}

type outbox struct {
	Name    string     `json:"name"`
	Events  uint64     `json:"events"`
	Since   *time.Time `json:"since,omitempty"`
	Refused uint64     `json:"refused"`
}

type tally struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

func (c *statsCmd) gather(ctx context.Context, log reader) (figures, error) {
	st, err := statsOf(ctx, log)
	if err != nil {
		return figures{}, err
	}
	f := figures{
		Entries:        st.Size,
		Bytes:          st.Store.Bytes,
		IndexBytes:     st.Store.IndexBytes,
		IndexLag:       st.Store.IndexLag,
		Origin:         log.Origin(),
		CheckpointSize: st.CheckpointSize,
	}
	for _, box := range st.Outboxes {
		o := outbox{Name: box.Name, Events: box.Events, Refused: box.Refused}
		if box.Events > 0 {
			o.Since = &box.Since
		}
		f.Outboxes = append(f.Outboxes, o)
	}
	if f.Entries == 0 {
		return f, nil
	}

	err = f.readTimes(ctx, log)
	if err != nil {
		return f, err
	}
	err = c.count(ctx, log, &f)
	return f, err
}

// statsOf returns a log's figures. A server's log does not tell all of them.
func statsOf(ctx context.Context, log reader) (attestlog.Stats, error) {
	if here, ok := log.(local); ok {
		return here.Stats(ctx)
	}

	size, err := log.Size(ctx)
	if err != nil {
		return attestlog.Stats{}, err
	}
	c, err := log.Checkpoint(ctx)
	return attestlog.Stats{Size: size, CheckpointSize: c.Size}, err
}

// readTimes reads when the first, the last and the last signed entry were
// logged.
func (f *figures) readTimes(ctx context.Context, log reader) error {
	if f.CheckpointSize > 0 && f.CheckpointSize <= f.Entries {
		e, err := log.Entry(ctx, f.CheckpointSize-1)
		if err != nil {
			return err
		}
		f.CheckpointTime = &e.LoggedTime
	}

	first, err := log.Entry(ctx, 0)
	if err != nil {
		return err
	}
	last, err := log.Entry(ctx, f.Entries-1)
	if err != nil {
		return err
	}
	f.First = &first.LoggedTime
	f.LastLogged = &last.LoggedTime
	if span := last.LoggedTime.Sub(first.LoggedTime).Seconds(); span > 0 {
		f.PerSecond = float64(f.Entries-1) / span
	}
	return nil
}

// count counts the actors and actions of the newest entries.
func (c *statsCmd) count(ctx context.Context, log reader, f *figures) error {
	from := uint64(0)
	if c.Last > 0 && f.Entries > c.Last {
		from = f.Entries - c.Last
	}
	f.Counted = f.Entries - from

	actors := map[string]uint64{}
	actions := map[string]uint64{}
	for e, err := range log.Entries(ctx, query.Indexes(from, f.Entries)) {
		if err != nil {
			return err
		}
		if e.Err != nil {
			f.Damaged++
			continue
		}
		actors[e.Actor.ID]++
		actions[e.Action]++
	}

	f.Actors = most(actors, c.Top)
	f.Actions = most(actions, c.Top)
	return nil
}

// most returns the n names with the highest counts.
func most(counts map[string]uint64, n int) []tally {
	all := make([]tally, 0, len(counts))
	for name, count := range counts {
		all = append(all, tally{name, count})
	}
	slices.SortFunc(all, func(a, b tally) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return all[:min(max(n, 0), len(all))]
}

func (f *figures) print(out io.Writer) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-14s "+format+"\n", append([]any{name}, args...)...)
	}

	line("entries", "%d", f.Entries)
	if f.Bytes > 0 {
		perEntry := 0.0
		if f.Entries > 0 {
			perEntry = float64(f.Bytes) / float64(f.Entries)
		}
		line("size on disk", "%s (%s of it search index; %.0f bytes an entry)",
			bytesText(f.Bytes), bytesText(f.IndexBytes), perEntry)
	}
	line("origin", "%s", clean(f.Origin))
	for _, o := range f.Outboxes {
		age := ""
		if o.Since != nil {
			age = ", the first for " + time.Since(*o.Since).Round(time.Millisecond).String()
		}
		line("outbox", "%d events wait%s; %d were refused", o.Events, age, o.Refused)
	}
	if f.Entries == 0 {
		return
	}

	line("first logged", "%s", f.First.Format(time.RFC3339))
	line("last logged", "%s", f.LastLogged.Format(time.RFC3339))
	line("rate", "%.3g entries/s", f.PerSecond)
	line("checkpoint", "over %d entries", f.CheckpointSize)
	if f.CheckpointTime != nil {
		line("", "the last of them was logged %s ago", time.Since(*f.CheckpointTime).Round(time.Second))
	}
	line("index lag", "%d entries", f.IndexLag)
	if f.Damaged > 0 {
		line("damaged", "%d of the last %d entries; attestlog verify names the first", f.Damaged, f.Counted)
	}

	f.printTallies(out, "top actors", f.Actors)
	f.printTallies(out, "top actions", f.Actions)
}

func (f *figures) printTallies(out io.Writer, title string, tallies []tally) {
	fmt.Fprintf(out, "%s of the last %d entries\n", title, f.Counted)
	for _, t := range tallies {
		fmt.Fprintf(out, "  %9d  %s\n", t.Count, cleanLine(t.Name))
	}
}

// bytesText returns a size with a unit that suits it.
func bytesText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}

	units := []string{"KiB", "MiB", "GiB", "TiB"}
	size := float64(n) / 1024
	for size >= 1024 && len(units) > 1 {
		size /= 1024
		units = units[1:]
	}
	return fmt.Sprintf("%.1f %s", size, units[0])
}
