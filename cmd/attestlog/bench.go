package main

import "github.com/attestlog/attestlog/internal/bench"

type benchCmd struct {
	Events  int    `help:"Events to append in bulk." default:"1000000"`
	Writers int    `help:"Goroutines that append in bulk." default:"2"`
	Batch   int    `help:"Events in one of their calls, at most 10,000." default:"5000"`
	Dir     string `help:"Folder for the temporary log. Defaults to the system's temporary folder." type:"existingdir" placeholder:"DIR"`
	JSON    bool   `help:"Print one JSON object a line." name:"json"`
}

func (benchCmd) Help() string {
	return `Creates a temporary log and removes it again. Each figure is printed next to its floor:
the same leaf bytes through the bare driver in the same run, in the same batch size,
with no index and no tree. Latencies are medians. With --log postgres://… the log
is created in a schema of its own in that database.

Examples:
  attestlog bench
  attestlog bench --events 10000000 --dir /var/lib/audit --json
  attestlog --log postgres://localhost/audit bench`
}

func (c *benchCmd) Run(a *app) error {
	opts := bench.Options{
		Events:  c.Events,
		Writers: c.Writers,
		Batch:   c.Batch,
		Dir:     c.Dir,
		JSON:    c.JSON,
	}
	if isPostgres(a.url) {
		opts.DSN = a.url
	}
	return bench.Run(a.ctx, opts, a.stdout)
}
