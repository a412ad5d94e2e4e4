package main

import (
	"errors"
	"fmt"

	"github.com/attestlog/attestlog/postgres"
)

var errNotPostgres = hinted{
	errors.New("the command is for a log in PostgreSQL"),
	"name one with --log postgres://HOST/DATABASE?log=NAME",
}

type migrateCmd struct {
	DryRun bool `help:"Print the SQL instead of running it."`
}

func (migrateCmd) Help() string {
	return `Creates the log's schema, or brings it to the version of this program, as append does
too. With --dry-run nothing is changed, and a DBA can run what is printed.

Examples:
  attestlog --log postgres://owner@db/audit migrate
  attestlog --log postgres://owner@db/audit migrate --dry-run | psql postgres://owner@db/audit`
}

func (c *migrateCmd) Run(a *app) error {
	if !isPostgres(a.url) {
		return errNotPostgres
	}

	if c.DryRun {
		sql, err := postgres.DryRun(a.ctx, a.url)
		if err == nil {
			_, err = fmt.Fprint(a.stdout, sql)
		}
		return err
	}

	store, err := postgres.Open(a.ctx, a.url, postgres.Config{Logger: a.logger, NoIndex: true})
	if err != nil {
		return err
	}
	a.say("attestlog: log %s has the newest schema", clean(store.Log()))
	return store.Close()
}

type grantCmd struct {
	Writer string `help:"The role that services append as." placeholder:"ROLE"`
	Reader string `help:"The role that auditors read and verify as." placeholder:"ROLE"`
	Caller string `help:"The role of applications that only append within their own transactions." placeholder:"ROLE"`
}

func (grantCmd) Help() string {
	return `Roles that are missing are created, without a login. A writer can append, a reader can
read, a caller can insert into the outbox; none of them can change or remove an entry, or
alter, drop or disable what guards the entries. Run it as the log's owner.

Examples:
  attestlog --log postgres://owner@db/audit grant --writer audit_writer --reader audit_reader`
}

func (c *grantCmd) Run(a *app) error {
	if !isPostgres(a.url) {
		return errNotPostgres
	}
	if *c == (grantCmd{}) {
		return hinted{errors.New("no role was given"), "give --writer ROLE, --reader ROLE or --caller ROLE"}
	}

	store, err := postgres.Open(a.ctx, a.url, postgres.Config{MustExist: true, NoIndex: true, Logger: a.logger})
	if err != nil {
		return err
	}
	return errors.Join(store.Grant(a.ctx, postgres.Roles(*c)), store.Close())
}
