package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/auditview"
	"github.com/attestlog/attestlog/postgres"
)

type viewCmd struct {
	Create viewCreateCmd `cmd:"" help:"Put a view of the log in the place of an old table."`
	Drop   viewDropCmd   `cmd:"" help:"Put the old table back."`
}

func (viewCmd) Help() string {
	return `For reports that read the table audit_log by SQL, once package compat/audit keeps its
entries in a log. The view has the table's name, columns and readers. Programs that use
the package add new entries to it within about a second.

Examples:
  attestlog --log postgres://owner@db/app view create audit_log
  attestlog --log postgres://owner@db/app view drop audit_log`
}

// An oldTable is the name of a table that a view can replace.
type oldTable struct {
	Table string `arg:"" enum:"audit_log" help:"The table's name: audit_log." name:"TABLE"`
}

type viewCreateCmd struct {
	oldTable
	Quiet time.Duration `help:"How long no program with the old log must have been seen. 0 if you know that none runs." default:"24h"`
}

func (viewCreateCmd) Help() string {
	return `A program with the old log cannot write while the view is there. So the command changes
nothing if a row was added to the table in the last day, or if a row is not in the log yet.
The table stays, as audit_log_before_attestlog. Run it as the owner of the table and of
the log.

Example:
  attestlog --log postgres://owner@db/app view create audit_log`
}

func (c *viewCreateCmd) Run(a *app) error {
	if c.Quiet < 0 {
		return fmt.Errorf("--quiet %v is less than 0", c.Quiet)
	}
	return a.withView(func(v *auditview.View) error {
		err := v.Create(a.ctx, c.Quiet)
		switch {
		case errors.Is(err, auditview.ErrThere):
			a.say("attestlog: %v", err)
			return nil
		case errors.Is(err, auditview.ErrOldWriter):
			return hinted{err, "wait, or give --quiet 0 if none runs: it could not write any more"}
		case errors.Is(err, auditview.ErrNotMoved):
			return hinted{err, "a program that uses package compat/audit takes them over; so does " +
				"attestlog import --from audit-postgres URL"}
		case err != nil:
			return err
		}
		a.say("attestlog: audit_log shows the log; the table is audit_log_before_attestlog now")
		return nil
	})
}

type viewDropCmd struct{ oldTable }

func (viewDropCmd) Help() string {
	return `Removes the view, and gives the table its name again. A program with the old log can
write then. What was logged while the view was there is in the log, and not in the table.

Example:
  attestlog --log postgres://owner@db/app view drop audit_log`
}

func (c *viewDropCmd) Run(a *app) error {
	return a.withView(func(v *auditview.View) error {
		kept, err := v.Drop(a.ctx)
		switch {
		case errors.Is(err, auditview.ErrNone):
			a.say("attestlog: %v", err)
			return errNo
		case err != nil:
			return err
		case !kept:
			a.say("attestlog: the view audit_log was dropped; there was no table to put back")
			return nil
		}
		a.say("attestlog: audit_log is the table again")
		return nil
	})
}

// withView runs fn with the view of a log that is here.
func (a *app) withView(fn func(*auditview.View) error) error {
	if !isPostgres(a.url) {
		return errNotPostgres
	}
	var cfg postgres.Config
	dsn, err := postgres.SplitDSN(a.url, &cfg)
	if err != nil {
		return err
	}

	return a.readingHere(func(log *attestlog.Log, store attestlog.Store) error {
		conn, err := pgx.Connect(a.ctx, dsn)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(a.ctx))
		return fn(auditview.Of(conn, log, store.(*postgres.Store).Log()))
	})
}
