package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/attestlog/attestlog"
)

type backupCmd struct {
	File string `arg:"" help:"The copy, which must not exist yet." name:"FILE"`
}

func (backupCmd) Help() string {
	return `The copy is consistent although the log is in use, and verifies by itself: the public
keys and a checkpoint are copied next to it. The signing key is not copied.

Examples:
  attestlog backup /backup/audit-2026-11-22.db
  attestlog --log sqlite:/backup/audit-2026-11-22.db verify`
}

func (c *backupCmd) Run(a *app) error {
	return a.readingHere(func(_ *attestlog.Log, store attestlog.Store) error {
		file, ok := store.(interface {
			Backup(ctx context.Context, path string) error
		})
		if !ok {
			return hinted{
				errors.New("backup copies a log in a file"),
				"back a log in PostgreSQL up with pg_dump or a base backup, and its public key with `attestlog key show`",
			}
		}

		err := file.Backup(a.ctx, c.File)
		if err != nil {
			return err
		}
		info, err := os.Stat(c.File)
		if err == nil {
			_, err = fmt.Fprintf(a.stdout, "%s: %d bytes\n", c.File, info.Size())
		}
		return err
	})
}

type restoreCmd struct {
	Accept bool `help:"Say that the database was put back on purpose." required:""`
}

func (restoreCmd) Help() string {
	return `A database that is behind its kept checkpoint, or of another history, is opened for
reading only: somebody may have rolled it back. If you restored a backup on purpose,
this appends an entry that says so and names the checkpoint that was given up, and
signs the log as it is now. Anyone who kept a later checkpoint will still see that the
log went back.

Examples:
  attestlog restore --accept`
}

func (c *restoreCmd) Run(a *app) error {
	log, _, err := a.open(openOptions{write: true, config: attestlog.Config{AcceptRestore: true}})
	if err != nil {
		return err
	}
	signed, err := log.Publish(a.ctx)
	err = errors.Join(err, a.closeLog(log))
	if err != nil {
		return err
	}

	_, err = a.stdout.Write(signed.Note)
	return err
}
