package jsonl

import (
	"bytes"
	"io"
	"strconv"

	"github.com/attestlog/attestlog"
)

// A lastLine is what a file's last line lacks. The zero lastLine is that of a
// file that ends with a whole line, or is empty.
type lastLine struct {
	open bool                  // the line has no '\n'
	torn []byte                // the line, if it is the beginning of one
	note *attestlog.Checkpoint // the checkpoint that torn begins; nil: it begins the next entry
}

func (l *lastLine) whole() bool { return !l.open && l.torn == nil }

// A fileEnd says where a file's entries end.
type fileEnd struct {
	next       uint64 // index of the entry after the last entry or checkpoint; 0 if there is none
	checkpoint uint64 // size of the last checkpoint
	size       int64  // of the file
	lines      int64  // size without a last line that is not whole
	last       lastLine
}

// readEnd reads a file from an offset, where a line starts, to its end. It
// looks only at the last entry and the last checkpoint: a Reader checks the
// rest.
func readEnd(r io.Reader, from int64) (fileEnd, error) {
	end := fileEnd{lines: from}
	l := newLines(r)

	// The last of each kind, and the last of all.
	var entry, note, last []byte
	for {
		start := from + l.offset
		line, ended, err := l.next()
		if err == io.EOF {
			break
		}
		if err != nil && err != errLong {
			return end, err
		}

		end.last.open = !ended
		end.lines = start
		last = append(last[:0], line...)
		if _, ok := lineIndex(line); ok {
			entry = append(entry[:0], line...)
		} else if bytes.HasPrefix(line, []byte(checkpointStart)) {
			note = append(note[:0], line...)
		}
	}
	end.size = from + l.offset

	if c, err := parseCheckpoint(note); err == nil {
		end.checkpoint = c.Size
		end.next = c.Size
	}
	if n, ok := lineIndex(entry); ok {
		// An entry that is torn is written again, so it is the next one itself.
		if _, err := attestlog.ParseLine(entry); err == nil {
			n++
		}
		end.next = max(end.next, n)
	}

	if _, _, err := parseLine(last); len(last) > 0 && err != nil {
		end.last.torn = last
	}
	if end.last.whole() {
		end.lines = end.size
	}
	return end, nil
}

// tornNote returns the checkpoint of a note that was about to be written if it
// is the one that was torn, or nil.
func (e *fileEnd) tornNote(note string) *attestlog.Checkpoint {
	c, err := attestlog.ParseCheckpoint([]byte(note))
	if err != nil || e.last.torn == nil || c.Size <= e.checkpoint {
		return nil
	}
	if !bytes.HasPrefix(appendCheckpoint(nil, c.Note), e.last.torn) {
		return nil
	}
	return &c
}

// lineIndex returns the index that an entry's line starts with, whether or not
// the line is whole.
func lineIndex(line []byte) (uint64, bool) {
	const longest = 21 // 20 digits and the comma
	rest, ok := bytes.CutPrefix(line, []byte(entryStart))
	if !ok {
		return 0, false
	}

	digits, _, ok := bytes.Cut(rest[:min(len(rest), longest)], []byte{','})
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits), 10, 63)
	return n, err == nil
}
