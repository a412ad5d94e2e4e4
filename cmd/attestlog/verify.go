package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/jsonl"
	"github.com/attestlog/attestlog/verify"
)

type verifyCmd struct {
	JSONL      []string `help:"Verify a JSON Lines file instead of the log." name:"jsonl" placeholder:"FILE" type:"existingfile"`
	Checkpoint string   `help:"Also demand that the log contains this signed checkpoint." placeholder:"FILE" type:"existingfile"`
	Key        string   `help:"Trust the verifier keys in this file." placeholder:"FILE" type:"existingfile"`
	Index      bool     `help:"Also derive the search terms of every entry again and compare them."`
	Physical   bool     `help:"Also have the database check the structure of its files, and say how long that took."`
}

func (verifyCmd) Help() string {
	return `Hashes every entry again and compares the result with the tiles, the tree, the ids,
all kept checkpoints and their signatures, and the sealed values with their digests.

Each row is read both as a scan finds it and by its key, as a query does.

--physical runs SQLite's integrity_check, or PostgreSQL's extension amcheck, which a
superuser adds with CREATE EXTENSION amcheck. It reads every page.

Exit code: 0 verified; 1 tampered, with the first bad index and what differs; 2 it
could not be verified, which says nothing about the log.

Without --key, the keys stored next to the log are trusted, and the output says so:
anyone who can replace the log can replace those too. Keep log.pub elsewhere.

Examples:
  attestlog verify
  attestlog verify --key /safe/place/log.pub --checkpoint /safe/place/last.checkpoint
  attestlog verify --jsonl audit.jsonl --key log.pub`
}

func (c *verifyCmd) Run(a *app) error {
	opts, err := c.options()
	if err != nil {
		return err
	}
	bar := newProgress(a, "verify")
	opts.Progress = bar.set

	isLog := len(c.JSONL) == 0 && !isRemote(a.url)
	if c.Physical && !isLog {
		return hinted{fmt.Errorf("%w: --physical is for a log's own database", verify.ErrCannotVerify),
			"run it where the database is, with --log FILE or --log postgres://…"}
	}
	if len(c.JSONL) > 0 {
		if opts.Keys == nil {
			return hinted{errNoKey, hintKey}
		}
		report, err := jsonl.Verify(a.ctx, opts, c.JSONL...)
		bar.finish()
		return c.report(a, strings.Join(c.JSONL, " "), report, err)
	}

	if isRemote(a.url) && opts.Keys == nil {
		return hinted{errNoKey, "what a server says about itself proves nothing: " + hintKey}
	}
	return a.reading(func(log reader) error {
		report, err := log.Verify(a.ctx, opts)
		bar.finish()
		return c.report(a, redacted(a.url), report, err)
	})
}

var errNoKey = fmt.Errorf("%w: no key was given", verify.ErrCannotVerify)

const (
	hintKey = "give the log's public key with --key FILE"
	// noteKey goes with each verdict that rests on the keys next to the log.
	noteKey = "note: this key is only the one stored next to the log; --key FILE trusts one that was kept elsewhere"
	// noteDatabase goes with a verdict about a log that keeps all it has in one place.
	noteDatabase = "note: key kept in the database, with the newest checkpoint: its owner can sign, and a backup that was put back is not noticed"
)

func (c *verifyCmd) options() (verify.Options, error) {
	opts := verify.Options{Index: c.Index, Physical: c.Physical}
	var err error
	if c.Key != "" {
		opts.Keys, err = readKeys(c.Key)
		if err != nil {
			return opts, err
		}
	}
	if c.Checkpoint != "" {
		opts.Checkpoint, err = os.ReadFile(c.Checkpoint)
	}
	return opts, err
}

// report prints the verdict on what was verified, which is named so.
func (c *verifyCmd) report(a *app, name string, r verify.Report, err error) error {
	var corrupt *attestlog.CorruptError
	switch {
	case errors.As(err, &corrupt):
		fmt.Fprintf(a.stdout, "TAMPERED: %s\nfirst bad index: %d\n", clean(corrupt.Error()), corrupt.Index)
		return errNo
	case errors.Is(err, verify.ErrCannotVerify):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", verify.ErrCannotVerify, err)
	}

	fmt.Fprintf(a.stdout, "verified: %s: %d entries, root %s\n", clean(name), r.Size, r.Root)
	for _, key := range r.Keys {
		fmt.Fprintf(a.stdout, "trusted key: %s\n", clean(key))
	}
	if r.KeysInDatabase {
		fmt.Fprintln(a.stdout, noteDatabase)
	}
	if r.KeysFromHome {
		fmt.Fprintln(a.stdout, noteKey)
	}

	fmt.Fprintf(a.stdout, "signed: %d entries, by %d checkpoints", r.Signed, r.Checkpoints)
	if r.Unknown > 0 {
		fmt.Fprintf(a.stdout, " (%d more by keys that are not trusted)", r.Unknown)
	}
	fmt.Fprintln(a.stdout)
	if r.Signed < r.Size {
		fmt.Fprintf(a.stdout, "note: no signature covers the last %d entries yet, from index %d on\n", r.Size-r.Signed, r.Signed)
	}
	if r.Physical > 0 {
		fmt.Fprintf(a.stdout, "physical: the database found no damage in its files, in %s\n", r.Physical.Round(time.Millisecond))
	}
	if r.Erased > 0 {
		fmt.Fprintf(a.stdout, "erased: %d sealed values, each named by an entry\n", r.Erased)
	}
	return nil
}

// readKeys reads verifier keys, one a line.
func readKeys(path string) ([]note.Verifier, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}

	var keys []note.Verifier
	for line := range strings.FieldsSeq(string(text)) {
		key, err := note.NewVerifier(line)
		if err != nil {
			hint := "a verifier key looks like origin+hash+key; `attestlog key show` prints the log's"
			if strings.HasPrefix(line, "PRIVATE+KEY+") {
				hint = "that is a signing key; the public key is in the file that ends in .pub"
			}
			return nil, hinted{fmt.Errorf("%w: %s: not a verifier key: %v", verify.ErrCannotVerify, path, err), hint}
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: %s has no key", verify.ErrCannotVerify, path)
	}
	return keys, nil
}
