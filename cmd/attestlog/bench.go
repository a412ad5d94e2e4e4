package main

import "github.com/attestlog/attestlog/internal/bench"

type benchCmd struct {
	Events  int    `help:"Events to append in bulk." default:"1000000"`
	Writers int    `help:"Goroutines that append in bulk." default:"2"`
	Batch   int    `help:"Events in one of their calls, at most 10,000." default:"5000"`
	Dir     string `help:"Where to make the temporary log. Defaults to the system's folder for such." type:"existingdir" placeholder:"DIR"`
	JSON    bool   `help:"Print one JSON object a line." name:"json"`
}

func (benchCmd) Help() string {
	return `Makes a temporary log and removes it again. Each figure stands next to its floor: the
same leaf bytes through the bare SQLite driver in the same run, in the same batch
size, with no index and no tree. Latencies are medians.

Examples:
  attestlog bench
  attestlog bench --events 10000000 --dir /var/lib/audit --json`
}

func (c *benchCmd) Run(a *app) error {
	return bench.Run(a.ctx, bench.Options{Events: c.Events, Writers: c.Writers, Batch: c.Batch, Dir: c.Dir, JSON: c.JSON}, a.stdout)
}
