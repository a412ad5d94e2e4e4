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

type queryCmd struct {
	Query  []string `arg:"" optional:"" help:"What to look for; everything without." name:"QUERY"`
	Format string   `help:"table, json, jsonl, csv, otlp, ocsf, ecs, cef, cloudevents, cloudtrail or kubernetes. Defaults to table." enum:"table,json,jsonl,csv,otlp,ocsf,ecs,cef,cloudevents,cloudtrail,kubernetes" default:"table"`
	Limit  int      `help:"Entries on a page." default:"50" short:"n"`
	Cursor string   `help:"Show the page that begins where another ended."`
	All    bool     `help:"All entries, not only one page."`
	Count  bool     `help:"Print only how many entries there are."`
	Fields []string `help:"Fields to show, with commas between them." placeholder:"FIELD"`
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
		p, err := newPrinter(a, out, log.Origin(), c.Format, c.Fields)
		if err != nil {
			return err
		}
		next, err := c.pages(a.ctx, log, q, p)
		if err = errors.Join(err, p.end(), out.Flush()); err != nil {
			return err
		}
		if next != "" {
			a.say("more entries: --all, or --cursor %s", next)
		}
		return nil
	})
}

// pages prints one page, or all of them, and returns the next one's cursor.
func (c *queryCmd) pages(ctx context.Context, log reader, q query.Query, p printer) (string, error) {
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
			if err := p.entry(&page.Entries[i]); err != nil {
				return "", err
			}
		}
		if opts.Cursor = page.Next; !c.All || page.Next == "" {
			return page.Next, nil
		}
	}
}

// parseQuery reads a query from the command's arguments. A syntax error shows
// where it is.
func parseQuery(args []string) (query.Query, error) {
	text := strings.Join(args, " ")
	q, err := query.Parse(text)
	var at *query.Error
	if errors.As(err, &at) {
		return q, hinted{err, "\n  " + clean(text) + "\n  " + strings.Repeat(" ", at.Column-1) + "^"}
	}
	return q, err
}

type tailCmd struct {
	Query  []string `arg:"" optional:"" help:"What to look for; everything without." name:"QUERY"`
	Follow bool     `help:"Go on with new entries as they come." short:"f"`
	Limit  int      `help:"Entries to begin with." default:"10" short:"n"`
	Format string   `help:"table, json, jsonl, csv, otlp, ocsf, ecs, cef, cloudevents, cloudtrail or kubernetes. Defaults to table." enum:"table,json,jsonl,csv,otlp,ocsf,ecs,cef,cloudevents,cloudtrail,kubernetes" default:"table"`
	Fields []string `help:"Fields to show, with commas between them." placeholder:"FIELD"`
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
		p, err := newPrinter(a, out, log.Origin(), c.Format, c.Fields)
		if err != nil {
			return err
		}
		from, err := log.Size(a.ctx)
		if err != nil {
			return err
		}
		if c.Limit > 0 {
			page, err := log.Query(a.ctx, query.And(q.OrderBy(query.ByIndex), query.Indexes(0, from)).OrderBy(query.ByIndex), attestlog.PageOptions{Limit: c.Limit})
			if err != nil {
				return err
			}
			for i := len(page.Entries) - 1; i >= 0; i-- {
				if err := p.entry(&page.Entries[i]); err != nil {
					return err
				}
			}
		}
		if !c.Follow {
			return errors.Join(p.end(), out.Flush())
		}
		if err := errors.Join(p.flush(), out.Flush()); err != nil {
			return err
		}
		for e, err := range log.Tail(a.ctx, from, q) {
			if err == nil {
				err = errors.Join(p.entry(&e), p.flush(), out.Flush())
			}
			if err != nil {
				return err
			}
		}
		return errors.Join(p.end(), out.Flush())
	})
}
