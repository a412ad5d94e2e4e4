package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

type statsCmd struct {
	JSON bool   `help:"Print one JSON object." name:"json"`
	Top  int    `help:"Actors and actions to list." default:"5"`
	Last uint64 `help:"Entries, from the newest on, that actors and actions are counted in; 0 is all." default:"100000"`
}

func (statsCmd) Help() string {
	return `Examples:
  attestlog stats
  attestlog stats --last 0 --top 20
  attestlog stats --json`
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

func (c *statsCmd) Run(a *app) error {
	return a.reading(func(log reader) error {
		f, err := c.gather(a, log)
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(a.stdout).Encode(f)
		}
		f.print(a)
		return nil
	})
}

// statsOf returns a log's figures, of a server's log those that it tells.
func statsOf(ctx context.Context, log reader) (st attestlog.Stats, err error) {
	if here, ok := log.(*attestlog.Log); ok {
		return here.Stats(ctx)
	}
	if st.Size, err = log.Size(ctx); err != nil {
		return st, err
	}
	c, err := log.Checkpoint(ctx)
	st.CheckpointSize = c.Size
	return st, err
}

func (c *statsCmd) gather(a *app, log reader) (figures, error) {
	st, err := statsOf(a.ctx, log)
	if err != nil {
		return figures{}, err
	}
	f := figures{
		Entries: st.Size, Bytes: st.Store.Bytes, IndexBytes: st.Store.IndexBytes, IndexLag: st.Store.IndexLag,
		Origin: log.Origin(), CheckpointSize: st.CheckpointSize,
	}
	for _, box := range st.Outboxes {
		o := outbox{Name: box.Name, Events: box.Events, Refused: box.Refused}
		if box.Events > 0 {
			o.Since = &box.Since
		}
		f.Outboxes = append(f.Outboxes, o)
	}
	if st.Size == 0 {
		return f, nil
	}
	if f.CheckpointSize > 0 && f.CheckpointSize <= st.Size {
		e, err := log.Entry(a.ctx, f.CheckpointSize-1)
		if err != nil {
			return f, err
		}
		f.CheckpointTime = &e.LoggedTime
	}
	first, err := log.Entry(a.ctx, 0)
	if err != nil {
		return f, err
	}
	last, err := log.Entry(a.ctx, st.Size-1)
	if err != nil {
		return f, err
	}
	f.First, f.LastLogged = &first.LoggedTime, &last.LoggedTime
	if span := last.LoggedTime.Sub(first.LoggedTime).Seconds(); span > 0 {
		f.PerSecond = float64(st.Size-1) / span
	}
	return f, c.count(a, log, &f)
}

// count tallies actors and actions among the newest entries.
func (c *statsCmd) count(a *app, log reader, f *figures) error {
	from := uint64(0)
	if c.Last > 0 && f.Entries > c.Last {
		from = f.Entries - c.Last
	}
	f.Counted = f.Entries - from
	actors, actions := map[string]uint64{}, map[string]uint64{}
	for e, err := range log.Entries(a.ctx, query.Indexes(from, f.Entries)) {
		if err != nil {
			return err
		}
		actors[e.Actor.ID]++
		actions[e.Action]++
	}
	f.Actors, f.Actions = top(actors, c.Top), top(actions, c.Top)
	return nil
}

func top(counts map[string]uint64, n int) []tally {
	all := make([]tally, 0, len(counts))
	for name, count := range counts {
		all = append(all, tally{name, count})
	}
	slices.SortFunc(all, func(a, b tally) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return all[:min(max(n, 0), len(all))]
}

func (f *figures) print(a *app) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-14s "+format+"\n", append([]any{name}, args...)...)
	}
	line("entries", "%d", f.Entries)
	perEntry := 0.0
	if f.Entries > 0 {
		perEntry = float64(f.Bytes) / float64(f.Entries)
	}
	if f.Bytes > 0 {
		line("size on disk", "%s (%s of it search index; %.0f bytes an entry)", bytesText(f.Bytes), bytesText(f.IndexBytes), perEntry)
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
		line("", "whose last was logged %s ago", time.Since(*f.CheckpointTime).Round(time.Second))
	}
	line("index lag", "%d entries", f.IndexLag)
	for _, list := range []struct {
		name  string
		items []tally
	}{{"top actors", f.Actors}, {"top actions", f.Actions}} {
		fmt.Fprintf(a.stdout, "%s of the last %d entries\n", list.name, f.Counted)
		for _, t := range list.items {
			fmt.Fprintf(a.stdout, "  %9d  %s\n", t.Count, cleanLine(t.Name))
		}
	}
}

func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
