package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
)

type proveCmd struct {
	Index  uint64 `arg:"" help:"The entry's index." name:"INDEX"`
	Output string `help:"Write to a file instead of standard output." short:"o" placeholder:"FILE"`
}

func (proveCmd) Help() string {
	return `Writes a c2sp.org/tlog-proof that holds the leaf, the path of hashes and the signed
checkpoint. The sealed values of the entry are not in it.

Examples:
  attestlog prove 7 -o entry7.tlog-proof
  attestlog check --key log.pub entry7.tlog-proof`
}

func (c *proveCmd) Run(a *app) error {
	return a.reading(func(log reader) error {
		proof, err := log.InclusionProof(a.ctx, c.Index)
		if errors.Is(err, attestlog.ErrNotFound) {
			a.say("attestlog: %s", clean(err.Error()))
			return errNo
		}
		if err != nil {
			return err
		}
		text, err := proof.MarshalText()
		if err != nil {
			return err
		}

		if c.Output != "" {
			return os.WriteFile(c.Output, text, 0o644)
		}
		_, err = a.stdout.Write(text)
		return err
	})
}

type checkCmd struct {
	Proof string `arg:"" help:"A proof file." name:"PROOF" type:"existingfile"`
	Key   string `help:"The log's public key. Defaults to the one stored next to the log." placeholder:"FILE" type:"existingfile"`
	Leaf  bool   `help:"Print the proven leaf."`
}

func (checkCmd) Help() string {
	return `Needs no log: the public key is enough.

Examples:
  attestlog check --key log.pub entry7.tlog-proof
  attestlog check --key log.pub --leaf entry7.tlog-proof`
}

func (c *checkCmd) Run(a *app) error {
	path, err := c.keyFile(a)
	if err != nil {
		return err
	}
	keys, err := readKeys(path)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(c.Proof)
	if err != nil {
		return err
	}

	var proof attestlog.InclusionProof
	err = proof.UnmarshalText(text)
	if err == nil {
		_, err = attestlog.CheckProof(proof, keys...)
	}
	if err != nil {
		a.say("attestlog: %s: %s", clean(c.Proof), clean(err.Error()))
		return errNo
	}

	if c.Leaf {
		_, err = fmt.Fprintf(a.stdout, "%s\n", proof.Leaf)
		return err
	}
	fmt.Fprintf(a.stdout, "proven: entry %d is in the log %s, signed over %d entries\n",
		proof.Index, clean(proof.Checkpoint.Origin), proof.Checkpoint.Size)
	fmt.Fprintf(a.stdout, "trusted key file: %s\n", path)
	if c.Key == "" {
		fmt.Fprintln(a.stdout, noteKey)
	}
	return nil
}

// keyFile returns the file of the keys to trust.
func (c *checkCmd) keyFile(a *app) (string, error) {
	if c.Key != "" {
		return c.Key, nil
	}
	base, err := a.homePath()
	if err != nil {
		return "", err
	}
	path := base + ".pub"
	if base == postgres.InSchema || !exists(path) {
		return "", hinted{errNoKey, hintKey}
	}
	return path, nil
}

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
