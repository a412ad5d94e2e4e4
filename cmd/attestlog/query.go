package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// outputFlags say how query and tail print entries.
type outputFlags struct {
	Format string   `help:"table, json, jsonl, csv, otlp, ocsf, ecs, cef, cloudevents, cloudtrail or kubernetes. Defaults to table." enum:"table,json,jsonl,csv,otlp,ocsf,ecs,cef,cloudevents,cloudtrail,kubernetes" default:"table"`
	Fields []string `help:"Fields to show, with commas between them." placeholder:"FIELD"`
}

type queryCmd struct {
	Query []string    `arg:"" optional:"" help:"What to look for. Defaults to everything." name:"QUERY"`
	Print outputFlags `embed:""`

	Limit  int    `help:"Entries on a page." default:"50" short:"n"`
	Cursor string `help:"Show the page that begins where another ended." placeholder:"CURSOR"`
	All    bool   `help:"All entries, not only one page."`
	Count  bool   `help:"Print only how many entries there are."`
}

func (queryCmd) Help() string {
	return `Terms are joined by AND; OR, NOT, a leading minus and parentheses work as expected.
  field:value        exactly that value, letter case included
  field:prefix.*     a prefix
  ip:10.0.0.0/8      a network
  after:2026-01-01   from that instant on; before: up to it, exclusive
  time:2026-01       a day, month, year; index:100..200 a range of entries
  word "free text"   in messages, reasons, names and attributes, in any letter case
  order:time         newest first by the events' time instead of by index
Fields: ` + strings.Join(query.FieldNames(), ", ") + `, attributes.NAME.

Examples:
  attestlog query actor:alice -outcome:failure
  attestlog query 'action:mail.* target:mail/123 after:2026-01-01'
  attestlog query --format jsonl --all '(outcome:failure OR action:role.*) ip:10.0.0.0/8'`
}

func (c *queryCmd) Run(a *app) error {
	q, err := parseQuery(c.Query)
	if err != nil {
		return err
	}
	return a.reading(func(log reader) error {
		if c.Count {
			n, err := log.Count(a.ctx, q, 0)
			if err == nil {
				_, err = fmt.Fprintln(a.stdout, n)
			}
			return err
		}

		out := bufio.NewWriter(a.stdout)
		var damaged damage
		p, err := newPrinter(a, out, log.Origin(), c.Print, &damaged)
		if err != nil {
			return err
		}
		next, err := c.printPages(a.ctx, log, q, p)
		err = errors.Join(err, p.finish(), out.Flush())
		if err != nil {
			return err
		}

		if next != "" {
			a.say("more entries: --all, or --cursor %s", next)
		}
		return damaged.report(a)
	})
}

// printPages prints one page, or all of them, and returns the cursor of the
// next one.
func (c *queryCmd) printPages(ctx context.Context, log reader, q query.Query, p printer) (string, error) {
	opts := attestlog.PageOptions{Limit: c.Limit, Cursor: c.Cursor}
	if c.All {
		opts.Limit = 1000
	}

	for {
		page, err := log.Query(ctx, q, opts)
		if err != nil {
			return "", err
		}
		for i := range page.Entries {
			if err := p.print(&page.Entries[i]); err != nil {
				return "", err
			}
		}
		if !c.All || page.Next == "" {
			return page.Next, nil
		}
		opts.Cursor = page.Next
	}
}

// parseQuery parses the query in a command's arguments. The hint of a syntax
// error points at the column.
func parseQuery(args []string) (query.Query, error) {
	text := strings.Join(args, " ")
	q, err := query.Parse(text)
	var syntax *query.Error
	if errors.As(err, &syntax) {
		return q, hinted{err, "\n  " + clean(text) + "\n  " + strings.Repeat(" ", syntax.Column-1) + "^"}
	}
	return q, err
}

type tailCmd struct {
	Query []string    `arg:"" optional:"" help:"What to look for. Defaults to everything." name:"QUERY"`
	Print outputFlags `embed:""`

	Follow bool `help:"Go on with new entries as they come." short:"f"`
	Limit  int  `help:"Entries to begin with." default:"10" short:"n"`
}

func (tailCmd) Help() string {
	return `Examples:
  attestlog tail
  attestlog tail -f -outcome:success
  attestlog tail -n 100 --format jsonl action:user.*`
}

func (c *tailCmd) Run(a *app) error {
	q, err := parseQuery(c.Query)
	if err != nil {
		return err
	}
	return a.reading(func(log reader) error {
		out := bufio.NewWriter(a.stdout)
		var damaged damage
		p, err := newPrinter(a, out, log.Origin(), c.Print, &damaged)
		if err != nil {
			return err
		}

		// The last entries end, and the new ones begin, at the size of now.
		size, err := log.Size(a.ctx)
		if err != nil {
			return err
		}
		err = c.printLast(a.ctx, log, q, size, p)
		if err != nil {
			return err
		}
		if c.Follow {
			err = errors.Join(p.flush(), out.Flush())
			if err != nil {
				return err
			}
			for e, err := range log.Tail(a.ctx, size, q) {
				if err == nil {
					err = errors.Join(p.print(&e), p.flush(), out.Flush())
				}
				if err != nil {
					return err
				}
			}
		}

		err = errors.Join(p.finish(), out.Flush())
		if err != nil {
			return err
		}
		return damaged.report(a)
	})
}

// printLast prints the last entries before index size, oldest first.
func (c *tailCmd) printLast(ctx context.Context, log reader, q query.Query, size uint64, p printer) error {
	if c.Limit <= 0 {
		return nil
	}

	q = query.And(q, query.Indexes(0, size)).OrderBy(query.ByIndex)
	page, err := log.Query(ctx, q, attestlog.PageOptions{Limit: c.Limit})
	if err != nil {
		return err
	}
	for i := len(page.Entries) - 1; i >= 0; i-- {
		if err := p.print(&page.Entries[i]); err != nil {
			return err
		}
	}
	return nil
}
