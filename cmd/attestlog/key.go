package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/attestlog/attestlog"
)

type checkpointCmd struct{}

func (checkpointCmd) Help() string {
	return `Keep what it prints somewhere else: verify --checkpoint later shows that nothing
before it was changed or removed.

Examples:
  attestlog checkpoint > /safe/place/2026-11-22.checkpoint`
}

func (checkpointCmd) Run(a *app) error {
	return a.reading(func(log reader) error {
		c, err := log.Checkpoint(a.ctx)
		if errors.Is(err, attestlog.ErrNotFound) {
			a.say("attestlog: the log has no checkpoint yet")
			return errNo
		}
		if err == nil {
			_, err = a.stdout.Write(c.Note)
		}
		return err
	})
}

type keyCmd struct {
	Show   keyShowCmd   `cmd:"" default:"withargs" help:"Print the log's public keys, oldest first."`
	Create keyCreateCmd `cmd:"" help:"Create a new log with a signing key of its own."`
	Rotate keyRotateCmd `cmd:"" help:"Replace the signing key; the log announces the new one."`
}

func (keyCmd) Help() string {
	return `Examples:
  attestlog key show > log.pub
  attestlog key create --origin example.com/audit
  attestlog key rotate`
}

type keyShowCmd struct{}

func (keyShowCmd) Run(a *app) error {
	home, path, err := a.home()
	if err != nil {
		return err
	}
	keys, err := home.VerifierKeys()
	if errors.Is(err, attestlog.ErrNotFound) {
		return hinted{fmt.Errorf("there is no key at %s.pub", path), "append, import and key create make a log with its keys"}
	}
	if err == nil {
		_, err = fmt.Fprintln(a.stdout, strings.Join(keys, "\n"))
	}
	return err
}

type keyCreateCmd struct {
	Origin string `help:"The new log's name in its checkpoints. Defaults to a random one." placeholder:"NAME"`
}

func (c *keyCreateCmd) Run(a *app) error {
	home, path, err := a.home()
	if err != nil {
		return err
	}
	if _, err := home.VerifierKeys(); err == nil || exists(path) {
		return hinted{fmt.Errorf("%s: %w", path, fs.ErrExist), "an existing log keeps its origin; `attestlog key rotate` replaces its key"}
	}
	log, _, err := a.open(openOptions{create: true, write: true, config: attestlog.Config{Origin: c.Origin}})
	if err != nil {
		return err
	}
	if err := a.closeLog(log); err != nil {
		return err
	}
	return keyShowCmd{}.Run(a)
}

type keyRotateCmd struct{}

func (keyRotateCmd) Run(a *app) error {
	log, _, err := a.open(openOptions{write: true})
	if err != nil {
		return err
	}
	key, err := log.RotateKey(a.ctx)
	if err = errors.Join(err, a.closeLog(log)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, key)
	return err
}

type restoreCmd struct {
	Accept bool `help:"Say that the database was put back on purpose." required:""`
}

func (restoreCmd) Help() string {
	return `A database that is behind its kept checkpoint, or of another history, is opened for
reading only: somebody may have rolled it back. If you restored a backup on purpose,
this appends an entry that says so and names the checkpoint that was given up, and
signs the log as it is now. Whoever kept a later checkpoint will still see that the
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
	if err = errors.Join(err, a.closeLog(log)); err != nil {
		return err
	}
	_, err = a.stdout.Write(signed.Note)
	return err
}

type backupCmd struct {
	File string `arg:"" help:"The copy, which must not exist yet." name:"FILE"`
}

func (backupCmd) Help() string {
	return `The copy is consistent although the log is in use, and verifies by itself: the public
keys and a checkpoint are copied beside it. The signing key is not.

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
			return hinted{errors.New("backup copies a log in a file"), "back a log in PostgreSQL up with pg_dump or a base backup, and its public key with `attestlog key show`"}
		}
		if err := file.Backup(a.ctx, c.File); err != nil {
			return err
		}
		info, err := os.Stat(c.File)
		if err == nil {
			_, err = fmt.Fprintf(a.stdout, "%s: %d bytes\n", c.File, info.Size())
		}
		return err
	})
}

type reindexCmd struct{}

func (reindexCmd) Help() string {
	return `The index is a copy of what the entries say; nothing is lost with it.

Examples:
  attestlog reindex`
}

func (reindexCmd) Run(a *app) error {
	log, store, err := a.open(openOptions{write: true})
	if err != nil {
		return err
	}
	bar := newProgress(a, "reindex")
	err = store.(interface {
		Reindex(ctx context.Context, progress func(done, total uint64)) error
	}).Reindex(a.ctx, bar.set)
	bar.end()
	size, sizeErr := log.Size(a.ctx)
	if err = errors.Join(err, sizeErr, a.closeLog(log)); err == nil {
		_, err = fmt.Fprintf(a.stdout, "indexed %d entries\n", size)
	}
	return err
}
