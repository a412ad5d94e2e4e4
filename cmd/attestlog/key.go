package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
)

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
	keys, base, err := a.publicKeys()
	if errors.Is(err, attestlog.ErrNotFound) {
		err = fmt.Errorf("there is no key at %s.pub", base)
		return hinted{err, "append, import and key create make a log with its keys"}
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
	_, base, err := a.publicKeys()
	if err == nil || base != postgres.InSchema && exists(base) {
		err = fmt.Errorf("%s: %w", base, fs.ErrExist)
		return hinted{err, "an existing log keeps its origin; `attestlog key rotate` replaces its key"}
	}

	log, _, err := a.open(openOptions{create: true, write: true, config: attestlog.Config{Origin: c.Origin}})
	if err != nil {
		return err
	}
	err = a.closeLog(log)
	if err != nil {
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
	err = errors.Join(err, a.closeLog(log))
	if err != nil {
		return err
	}

	_, err = fmt.Fprintln(a.stdout, key)
	return err
}
