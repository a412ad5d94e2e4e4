package jsonl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/attestlog/attestlog"
)

// ErrTorn is returned by a Reader when the last line of the last file is not
// whole: the log is being written at this moment, or its writer crashed and
// has not come back, or the file was cut there. All lines before are good.
var ErrTorn = errors.New("last line is torn")

// A Line is an entry or a checkpoint. Its bytes are valid until the next call
// of Next.
type Line struct {
	File   string // as given to NewReader
	Number int    // from 1
	Entry  attestlog.RawEntry
	// Checkpoint is nil for an entry. Its signatures are not checked.
	Checkpoint *attestlog.Checkpoint
}

// A Reader reads files that a Follower wrote, as one sequence, in memory that
// does not grow with them. It demands that the entries' indexes are contiguous
// and that every checkpoint comes after the entries that it covers. Leaves and
// signatures are for the caller to verify. It is not safe for concurrent use.
type Reader struct {
	paths []string // of the files to come
	next  uint64   // index of the next entry, or the least that it can be
	known bool     // next is exact
	torn  *tornLine
	err   error // final

	// The current file.
	file   io.ReadCloser // nil: the next one must be opened
	name   string
	lines  *lines
	number int // of the line
}

// A tornLine waits for the line that it is the beginning of.
type tornLine struct {
	text  []byte
	where string
	err   error // why it is not whole
}

// NewReader returns a Reader of files, given in their order; those whose names
// end in ".gz" are decompressed. Files finds them.
func NewReader(paths ...string) *Reader { return &Reader{paths: paths} }

// Next returns the next line, or io.EOF after the last. An error is final. It
// names file and line. It is an *attestlog.CorruptError if a line does not
// agree with the rest and the index of the entry is known, which it is after
// the first entry. If a file cannot be read, it wraps the operating system's
// error.
func (r *Reader) Next() (Line, error) {
	if r.err != nil {
		return Line{}, r.err
	}

	line, err := r.readLine()
	if err != nil {
		r.err = err
		return Line{}, err
	}
	return line, nil
}

// Close closes the file that is open.
func (r *Reader) Close() error {
	if r.err == nil {
		r.err = errors.New("jsonl: reader is closed")
	}
	return r.closeFile()
}

func (r *Reader) closeFile() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// readLine returns the next whole line.
func (r *Reader) readLine() (Line, error) {
	for {
		if r.file == nil {
			err := r.openNext()
			if err != nil {
				return Line{}, err
			}
		}

		text, _, err := r.lines.next()
		if err == io.EOF {
			r.closeFile()
			continue
		}
		r.number++
		if err == errLong {
			return Line{}, r.corrupt(r.where(), err)
		}
		if err != nil {
			return Line{}, fmt.Errorf("jsonl: %s: %w", r.where(), err)
		}

		// A line that is not whole waits for the next whole one, which must begin
		// with it.
		entry, checkpoint, err := parseLine(text)
		if err != nil {
			err = r.addTorn(text, err)
			if err != nil {
				return Line{}, err
			}
			continue
		}

		if r.torn != nil && !bytes.HasPrefix(text, r.torn.text) {
			return Line{}, r.notPrefix()
		}
		r.torn = nil

		if checkpoint != nil {
			err = r.checkCheckpoint(checkpoint)
		} else {
			err = r.checkIndex(entry.Index)
		}
		if err != nil {
			return Line{}, err
		}
		return Line{r.name, r.number, entry, checkpoint}, nil
	}
}

// openNext opens the next file. A torn line may be the end of one file and be
// written again in the next, if the first was moved away in between.
func (r *Reader) openNext() error {
	if len(r.paths) == 0 {
		if r.torn != nil {
			return r.corrupt(r.torn.where, fmt.Errorf("%w (%v)", ErrTorn, r.torn.err))
		}
		return io.EOF
	}

	name := r.paths[0]
	file, err := openFile(name)
	if err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	r.paths = r.paths[1:]
	r.file = file
	r.name = name
	r.lines = newLines(file)
	r.number = 0
	return nil
}

// addTorn remembers a line that is not whole until the next that is. If
// several crashes left several, each must begin like the longest.
func (r *Reader) addTorn(text []byte, why error) error {
	if !r.mayBeTorn(text) {
		return r.corrupt(r.where(), why)
	}

	if r.torn != nil {
		if bytes.HasPrefix(r.torn.text, text) {
			return nil
		}
		if !bytes.HasPrefix(text, r.torn.text) {
			return r.notPrefix()
		}
	}
	r.torn = &tornLine{bytes.Clone(text), r.where(), why}
	return nil
}

func (r *Reader) notPrefix() error {
	err := fmt.Errorf("line is neither whole nor the beginning of the next (%v)", r.torn.err)
	return r.corrupt(r.torn.where, err)
}

// mayBeTorn reports whether text is the beginning of a line that may be here,
// and not a whole one.
func (r *Reader) mayBeTorn(text []byte) bool {
	start := entryStart
	if r.known {
		start += strconv.FormatUint(r.next, 10) + `,"leaf":{`
	}
	if !agree(text, start) && !agree(text, checkpointStart) {
		return false
	}

	var v json.RawMessage
	err := json.NewDecoder(bytes.NewReader(text)).Decode(&v)
	return errors.Is(err, io.ErrUnexpectedEOF)
}

// agree reports whether text starts with start, or is the beginning of it.
func agree(text []byte, start string) bool {
	n := min(len(text), len(start))
	return string(text[:n]) == start[:n]
}

// checkCheckpoint checks that a checkpoint comes after its entries.
func (r *Reader) checkCheckpoint(c *attestlog.Checkpoint) error {
	if r.known && c.Size > r.next {
		return r.corrupt(r.where(), fmt.Errorf("checkpoint over %d entries comes before entry %d", c.Size, r.next))
	}
	r.next = max(r.next, c.Size)
	return nil
}

// checkIndex checks that an entry is the next one.
func (r *Reader) checkIndex(index uint64) error {
	want := r.next
	switch {
	case index < want:
		r.next = index // what the error is about
		r.known = true
		return r.corrupt(r.where(), fmt.Errorf("index %d where %d was expected: it repeats or was moved", index, want))
	case r.known && index > want:
		return r.corrupt(r.where(), fmt.Errorf("index %d where %d was expected: entries are missing or were moved", index, want))
	}

	r.next = index + 1
	r.known = true
	return nil
}

func (r *Reader) where() string { return fmt.Sprintf("%s line %d", r.name, r.number) }

func (r *Reader) corrupt(where string, err error) error {
	if !r.known {
		return fmt.Errorf("jsonl: %s: %w", where, err)
	}
	return fmt.Errorf("jsonl: %w", &attestlog.CorruptError{Index: r.next, Where: where, Err: err})
}
