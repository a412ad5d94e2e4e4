package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/attestlog/attestlog"
)

type appendCmd struct {
	Files    []string `arg:"" optional:"" help:"Files of events, one JSON object a line; - or none for standard input." name:"FILE"`
	Continue bool     `help:"Store the good lines, report the others, and exit 1."`
	Batch    int      `help:"Events stored in one transaction." default:"1000"`
}

func (appendCmd) Help() string {
	return `Prints one receipt a line: {"index":…,"id":…,"leaf_hash":…,"logged_time":…}. A line
that is refused is named with its file, line and field, and nothing of its batch
is stored. Giving the same lines again, with their ids, adds nothing.

Examples:
  echo '{"action":"mail.view","actor":{"id":"alice"}}' | attestlog append
  attestlog --log sqlite:audit.db append --continue events.jsonl`
}

// maxLine bounds one line of input: a leaf, an original, and room.
const maxLine = 4 << 20

// appender reads events from files and stores them in batches.
type appender struct {
	app     *app
	cmd     *appendCmd
	log     writer
	out     *bufio.Writer
	events  []attestlog.Event
	places  []string // of events: FILE:LINE
	refused int
}

func (c *appendCmd) Run(a *app) (err error) {
	c.Batch = min(max(c.Batch, 1), 10_000)
	log, err := a.openWriter()
	if err != nil {
		return err
	}
	w := &appender{app: a, cmd: c, log: log, out: bufio.NewWriter(a.stdout)}
	err = w.files()
	err = errors.Join(err, w.out.Flush(), a.closeLog(log))
	if err == nil && w.refused > 0 {
		a.say("attestlog: %d lines refused", w.refused)
		return errNo
	}
	return err
}

func (w *appender) files() error {
	files := w.cmd.Files
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, name := range files {
		if err := w.file(name); err != nil {
			return err
		}
	}
	return w.flush()
}

func (w *appender) file(name string) error {
	in, shown := w.app.stdin, "stdin"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in, shown = f, name
	}
	r := bufio.NewReaderSize(in, 64<<10)
	for line := 1; ; line++ {
		text, err := readLine(r)
		if err == io.EOF {
			return nil
		}
		place := fmt.Sprintf("%s:%d", shown, line)
		if err != nil && !errors.Is(err, errLongLine) {
			return fmt.Errorf("%s: %w", place, err)
		}
		var e attestlog.Event
		if err == nil {
			if len(bytes.TrimSpace(text)) == 0 {
				continue
			}
			e, err = attestlog.ParseEvent(text)
		}
		if err != nil {
			if err := w.refuse(place, err); err != nil {
				return err
			}
			continue
		}
		w.events, w.places = append(w.events, e), append(w.places, place)
		// A pipe that pauses is stored as far as it has come.
		if len(w.events) >= w.cmd.Batch || name == "-" && r.Buffered() == 0 {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
}

var errLongLine = fmt.Errorf("line is longer than %d bytes", maxLine)

// readLine returns the next line without its end, or io.EOF. A line that is
// too long is passed over whole.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; !long {
			line = append(line, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && (err != io.EOF || len(line) == 0 && !long):
			return nil, err
		case long:
			return nil, errLongLine
		}
		return bytes.TrimSuffix(line, []byte("\n")), nil
	}
}

// refuse reports a bad line; without --continue that ends the command.
func (w *appender) refuse(place string, err error) error {
	err = fmt.Errorf("%s: %w", place, err)
	if !w.cmd.Continue {
		n := len(w.events)
		w.events, w.places = nil, nil
		return hinted{err, fmt.Sprintf("nothing of its batch was stored (%d lines before it); --continue stores the good lines", n)}
	}
	w.refused++
	fmt.Fprintf(w.app.stderr, "attestlog: %s\n", clean(err.Error()))
	return nil
}

// flush stores the batch and prints its receipts.
func (w *appender) flush() error {
	if len(w.events) == 0 {
		return nil
	}
	receipts, err := w.log.Append(w.app.ctx, w.events...)
	switch {
	case err == nil:
		for _, r := range receipts {
			w.print(r)
		}
	case errors.Is(err, attestlog.ErrUnavailable) || errors.Is(err, attestlog.ErrReadOnly) || w.app.ctx.Err() != nil:
		return err
	case w.cmd.Continue:
		if err := w.oneByOne(); err != nil {
			return err
		}
	default:
		return w.blame(err)
	}
	w.events, w.places = w.events[:0], w.places[:0]
	// Receipts are given as soon as they are true: whoever reads them from a
	// pipe may act on them.
	return w.out.Flush()
}

// blame names the line of the batch that an error is about.
func (w *appender) blame(err error) error {
	var field *attestlog.FieldError
	if errors.As(err, &field) && field.Event < len(w.places) {
		err = fmt.Errorf("%s: %w", w.places[field.Event], err)
	} else {
		err = fmt.Errorf("%s to %s: %w", w.places[0], w.places[len(w.places)-1], err)
	}
	return hinted{err, "nothing of its batch was stored; --continue stores the good lines"}
}

func (w *appender) oneByOne() error {
	for i, e := range w.events {
		receipts, err := w.log.Append(w.app.ctx, e)
		if err == nil {
			w.print(receipts[0])
			continue
		}
		if errors.Is(err, attestlog.ErrUnavailable) || w.app.ctx.Err() != nil {
			return err
		}
		if err := w.refuse(w.places[i], err); err != nil {
			return err
		}
	}
	return nil
}

func (w *appender) print(r attestlog.Receipt) {
	fmt.Fprintf(w.out, "{\"index\":%d,\"id\":%s,\"leaf_hash\":\"%s\",\"logged_time\":\"%s\"}\n",
		r.Index, quoteJSON(r.ID), r.LeafHash, r.LoggedTime.Format("2006-01-02T15:04:05.000000Z"))
}
