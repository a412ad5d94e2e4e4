package jsonl

import (
	"bytes"
	"io"
	"strconv"

	"github.com/attestlog/attestlog"
)

// An ending is the state of a file's last line. The zero ending is a whole line
// or an empty file.
type ending struct {
	open bool                  // it lacks its '\n'
	torn []byte                // the line if it is not whole
	owed *attestlog.Checkpoint // what torn is the beginning of; nil: the next entry
}

func (e *ending) clean() bool { return !e.open && e.torn == nil }

// A state is what readEnd found.
type state struct {
	next       uint64 // follows the last entry or checkpoint; 0 if there is none
	checkpoint uint64 // size of the last checkpoint
	size       int64  // of the file
	whole      int64  // size without a last line that is torn or lacks its end
	open       bool   // the last line lacks its end
	torn       []byte // the last line if it is not whole
}

// readEnd reads a file from an offset to its end to see where the entries stop.
// It takes no line for true but the last entry's: a Reader checks the rest.
func readEnd(r io.Reader, from int64) (state, error) {
	s := state{whole: from}
	l := newLines(r)
	var entry, note, last []byte
	for {
		start := from + l.offset
		line, ended, err := l.next()
		if err == io.EOF {
			break
		}
		if err != nil && err != errLong {
			return s, err
		}
		s.open, s.whole = !ended, start
		last = append(last[:0], line...)
		if _, ok := lineIndex(line); ok {
			entry = append(entry[:0], line...)
		} else if bytes.HasPrefix(line, []byte(checkpointStart)) {
			note = append(note[:0], line...)
		}
	}
	s.size = from + l.offset
	s.settle(entry, note, last)
	return s, nil
}

// settle draws the conclusions from the last entry, checkpoint and line. An
// entry that is torn is the next one, since it is written again.
func (s *state) settle(entry, note, last []byte) {
	if c, err := parseCheckpoint(note); err == nil {
		s.checkpoint, s.next = c.Size, c.Size
	}
	if n, ok := lineIndex(entry); ok {
		if _, err := attestlog.ParseLine(entry); err == nil {
			n++
		}
		s.next = max(s.next, n)
	}
	if _, _, err := parseLine(last); len(last) > 0 && err != nil {
		s.torn = last
	}
	if s.torn == nil && !s.open {
		s.whole = s.size
	}
}

// owed returns the checkpoint of a note that was about to be written, if that
// is what was torn.
func (s *state) owed(note string) *attestlog.Checkpoint {
	c, err := attestlog.ParseCheckpoint([]byte(note))
	if err != nil || s.torn == nil || c.Size <= s.checkpoint || !bytes.HasPrefix(appendCheckpoint(nil, c.Note), s.torn) {
		return nil
	}
	return &c
}

// lineIndex returns the index that an entry's line starts with, whether or not
// the line is whole.
func lineIndex(line []byte) (uint64, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(entryStart))
	if !ok {
		return 0, false
	}
	digits, _, ok := bytes.Cut(rest[:min(len(rest), 21)], []byte{','})
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits), 10, 63)
	return n, err == nil
}
