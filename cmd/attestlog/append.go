package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/halve"
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

func (c *appendCmd) Run(a *app) (err error) {
	c.Batch = min(max(c.Batch, 1), 10_000)

	log, err := a.openWriter()
	if err != nil {
		return err
	}
	w := &appender{app: a, cmd: c, log: log, out: bufio.NewWriter(a.stdout)}
	err = w.readFiles()
	err = errors.Join(err, w.flush(), a.closeLog(log))

	if err == nil && w.refused > 0 {
		a.say("attestlog: %d lines refused", w.refused)
		return errNo
	}
	return err
}

// maxLine bounds one line of input, in bytes. An event of the largest leaf and
// the largest original fits in.
const maxLine = 4 << 20

// An appender reads events from files and stores them in batches.
type appender struct {
	app     *app
	cmd     *appendCmd
	log     writer
	out     *bufio.Writer
	batch   []line
	refused int
}

// A line of input has an event.
type line struct {
	place string // FILE:LINE
	event attestlog.Event
}

func (w *appender) readFiles() error {
	files := w.cmd.Files
	if len(files) == 0 {
		files = []string{"-"}
	}

	for _, name := range files {
		if err := w.readFile(name); err != nil {
			return err
		}
	}
	return w.store()
}

func (w *appender) readFile(name string) error {
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
	for number := 1; ; number++ {
		text, err := readLine(r)
		if err == io.EOF {
			return nil
		}
		place := fmt.Sprintf("%s:%d", shown, number)
		if err != nil && !errors.Is(err, errLongLine) {
			return fmt.Errorf("%s: %w", place, err)
		}

		err = w.add(place, text, err)
		if err != nil {
			return err
		}

		// A pipe that pauses is stored as far as it has come.
		paused := name == "-" && r.Buffered() == 0
		if paused || len(w.batch) >= w.cmd.Batch {
			err = w.store()
			if err != nil {
				return err
			}
		}
	}
}

// add parses a line and adds its event to the batch. A line that could not be
// read whole comes with the reason.
func (w *appender) add(place string, text []byte, err error) error {
	if err != nil {
		return w.refuse(place, err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}

	event, err := attestlog.ParseEvent(text)
	if err != nil {
		return w.refuse(place, err)
	}
	w.batch = append(w.batch, line{place, event})
	return nil
}

var errLongLine = fmt.Errorf("line is longer than %d bytes", maxLine)

// readLine returns the next line without its end, or io.EOF. It returns
// errLongLine for a line that is too long, after reading past it.
func readLine(r *bufio.Reader) ([]byte, error) {
	var text []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		long = long || len(text)+len(part) > maxLine
		if !long {
			text = append(text, part...)
		}

		// A last line may have no end.
		empty := len(text) == 0 && !long
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && empty:
			return nil, io.EOF
		case err != nil && err != io.EOF:
			return nil, err
		case long:
			return nil, errLongLine
		}
		return bytes.TrimSuffix(text, []byte("\n")), nil
	}
}

// refuse reports a bad line. Without --continue that ends the command.
func (w *appender) refuse(place string, err error) error {
	err = fmt.Errorf("%s: %w", place, err)
	if !w.cmd.Continue {
		before := len(w.batch)
		w.batch = nil
		hint := "nothing of its batch was stored (%d lines before it); --continue stores the good lines"
		return hinted{err, fmt.Sprintf(hint, before)}
	}

	w.refused++
	fmt.Fprintf(w.app.stderr, "attestlog: %s\n", clean(err.Error()))
	return nil
}

// store stores the batch and prints its receipts.
func (w *appender) store() error {
	if len(w.batch) == 0 {
		return nil
	}

	var err error
	if w.cmd.Continue {
		refuse := func(l line, err error) error { return w.refuse(l.place, err) }
		err = halve.Each(w.batch, w.append, w.app.blamesEvents, refuse)
	} else {
		err = w.append(w.batch)
		if err != nil && w.app.blamesEvents(err) {
			err = w.blame(err)
		}
	}
	if err != nil {
		return err
	}

	w.batch = w.batch[:0]
	return w.flush()
}

// flush prints the receipts so far. They are printed as soon as they are true: a
// program that reads them from a pipe may act on them. If that has gone, the rest
// of the input is not stored, so it is an error like any other.
func (w *appender) flush() error {
	err := w.out.Flush()
	if err != nil {
		return fmt.Errorf("print receipts: %v", err)
	}
	return nil
}

// append stores lines in one transaction and prints their receipts.
func (w *appender) append(lines []line) error {
	events := make([]attestlog.Event, len(lines))
	for i, l := range lines {
		events[i] = l.event
	}

	receipts, err := w.log.Append(w.app.ctx, events...)
	if err != nil {
		return err
	}
	for _, r := range receipts {
		fmt.Fprintf(w.out, "{\"index\":%d,\"id\":%s,\"leaf_hash\":\"%s\",\"logged_time\":\"%s\"}\n",
			r.Index, quoteJSON(r.ID), r.LeafHash, r.LoggedTime.Format("2006-01-02T15:04:05.000000Z"))
	}
	return nil
}

// blame adds to the error of a batch the line that it is about.
func (w *appender) blame(err error) error {
	place := w.batch[0].place + " to " + w.batch[len(w.batch)-1].place
	var field *attestlog.FieldError
	if errors.As(err, &field) && field.Event < len(w.batch) {
		place = w.batch[field.Event].place
	}
	return hinted{
		fmt.Errorf("%s: %w", place, err),
		"nothing of its batch was stored; --continue stores the good lines",
	}
}
