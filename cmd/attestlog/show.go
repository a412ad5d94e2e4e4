package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/field"
)

type showCmd struct {
	Entry  string `arg:"" help:"The entry's index or id." name:"INDEX|ID"`
	Format string `help:"text, json, or leaf for the exact stored bytes. Defaults to text." enum:"text,json,leaf" default:"text"`
}

func (showCmd) Help() string {
	return `Examples:
  attestlog show 7
  attestlog show 019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d
  attestlog show --format leaf 7 | sha256sum`
}

func (c *showCmd) Run(a *app) error {
	return a.reading(func(log reader) error {
		e, err := c.find(a, log)
		if errors.Is(err, attestlog.ErrNotFound) {
			a.say("attestlog: %s", clean(err.Error()))
			return errNo
		}
		if err != nil {
			return err
		}

		switch c.Format {
		case "leaf":
			_, err = a.stdout.Write(e.Leaf)
			return err
		case "json":
			text, err := e.MarshalJSON()
			if err == nil {
				_, err = fmt.Fprintf(a.stdout, "%s\n", text)
			}
			return err
		}
		_, err = a.stdout.Write(append(describe(&e), describeProof(a, log, &e)...))
		return err
	})
}

func (c *showCmd) find(a *app, log reader) (attestlog.Entry, error) {
	index, err := strconv.ParseUint(c.Entry, 10, 62)
	if err == nil {
		return log.Entry(a.ctx, index)
	}
	return log.EntryByID(a.ctx, c.Entry)
}

// describe writes an entry as text, a field a line.
func describe(e *attestlog.Entry) []byte {
	var b bytes.Buffer
	line := func(name, value string) {
		if value != "" {
			value = strings.ReplaceAll(clean(value), "\n", "\n"+strings.Repeat(" ", 17))
			fmt.Fprintf(&b, "%-16s %s\n", name, value)
		}
	}

	line("index", fieldText(e, "index"))
	for i := range field.All() {
		f := &field.All()[i]
		switch f.ID {
		case field.Time:
			line("time", fieldText(e, "time"))
			line("logged_time", fieldText(e, "logged_time"))
		case field.TargetID:
			for _, t := range e.Targets {
				line("target", strings.TrimSpace(strings.Trim(t.Type+"/"+t.ID, "/")+" "+t.Name))
			}
		case field.TargetType, field.TargetName, field.ChangePath: // in the line of a target or a change
		default:
			line(f.Query, fieldText(e, f.Query)) // nothing for a field that cannot be searched for
		}
	}
	if e.Request.DurationUS != 0 {
		line("request.duration", fmt.Sprintf("%d µs", e.Request.DurationUS))
	}

	for _, ch := range e.Changes {
		line("change", strings.TrimSpace(ch.Op+" "+ch.Path))
		if ch.Old != nil {
			fmt.Fprintf(&b, "%-16s - %s\n", "", cleanLine(jsonText(ch.Old)))
		}
		if ch.New != nil {
			fmt.Fprintf(&b, "%-16s + %s\n", "", cleanLine(jsonText(ch.New)))
		}
	}
	if len(e.Attributes) > 0 {
		text, err := json.MarshalIndent(e.Attributes, "", "  ")
		if err == nil {
			line("attributes", string(text))
		}
	}

	line("original", string(e.Original))
	line("erased", strings.Join(e.Erased, " "))
	line("leaf hash", e.LeafHash.String())
	return b.Bytes()
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// describeProof checks the entry's inclusion proof and says which checkpoint
// covers the entry.
func describeProof(a *app, log reader, e *attestlog.Entry) string {
	proof, err := log.InclusionProof(a.ctx, e.Index)
	switch {
	case errors.Is(err, attestlog.ErrNotFound):
		return fmt.Sprintf("%-16s no signed checkpoint covers it yet\n", "proof")
	case err != nil:
		return fmt.Sprintf("%-16s FAILED: %s\n", "proof", cleanLine(err.Error()))
	}
	return fmt.Sprintf("%-16s included in the checkpoint of %s over %d entries (%d hashes)\n", "proof",
		clean(proof.Checkpoint.Origin), proof.Checkpoint.Size, len(proof.Hashes))
}
