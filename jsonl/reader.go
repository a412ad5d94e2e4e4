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
	Record attestlog.RawEntry
	// Checkpoint is nil for an entry. Its signatures are not checked.
	Checkpoint *attestlog.Checkpoint
}

// A Reader reads files that a Follower wrote, as one sequence, in memory that
// does not grow with them. It demands that the entries' indexes are contiguous
// and that every checkpoint stands below the entries it covers; leaves and
// signatures are for the caller to verify. It is not safe for concurrent use.
type Reader struct {
	paths []string
	next  uint64 // index of the next entry, or the least it can be
	known bool   // next is exact

	file   io.ReadCloser
	lines  *lines
	name   string
	number int
	torn   *tornLine
	err    error
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
// names file and line; what does not agree with the rest is an
// *attestlog.CorruptError if the index of the entry concerned is known, which
// it is behind the first entry. A file that cannot be read wraps the operating
// system's error.
func (r *Reader) Next() (Line, error) {
	if r.err != nil {
		return Line{}, r.err
	}
	line, err := r.read()
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
	return r.leave()
}

func (r *Reader) leave() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

func (r *Reader) read() (Line, error) {
	for {
		if r.file == nil {
			if err := r.enter(); err != nil {
				return Line{}, err
			}
		}
		text, _, err := r.lines.next()
		if err == io.EOF {
			r.leave()
			continue
		}
		r.number++
		if err == errLong {
			return Line{}, r.corrupt(r.where(), err)
		}
		if err != nil {
			return Line{}, fmt.Errorf("jsonl: %s: %w", r.where(), err)
		}
		record, checkpoint, err := parseLine(text)
		if err != nil {
			if err := r.hold(text, err); err != nil {
				return Line{}, err
			}
			continue
		}
		if err := r.follow(text); err != nil {
			return Line{}, err
		}
		if err := r.order(record.Index, checkpoint); err != nil {
			return Line{}, err
		}
		return Line{r.name, r.number, record, checkpoint}, nil
	}
}

// enter opens the next file. A torn line may be the end of one file and be
// written again in the next, if the first was moved away meanwhile.
func (r *Reader) enter() error {
	if len(r.paths) == 0 {
		if r.torn != nil {
			return r.corrupt(r.torn.where, fmt.Errorf("%w (%v)", ErrTorn, r.torn.err))
		}
		return io.EOF
	}
	file, err := openFile(r.paths[0])
	if err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	r.file, r.lines = file, newLines(file)
	r.name, r.number, r.paths = r.paths[0], 0, r.paths[1:]
	return nil
}

// hold keeps a line that is not whole until the next. Of several, which crash
// upon crash leaves, the longest speaks for all.
func (r *Reader) hold(text []byte, why error) error {
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

// follow checks a whole line against the torn one before it, whose equal it
// cannot be.
func (r *Reader) follow(text []byte) error {
	if r.torn != nil && !bytes.HasPrefix(text, r.torn.text) {
		return r.notPrefix()
	}
	r.torn = nil
	return nil
}

func (r *Reader) notPrefix() error {
	return r.corrupt(r.torn.where, fmt.Errorf("line is neither whole nor the beginning of the next (%v)", r.torn.err))
}

// mayBeTorn reports whether text is the beginning of a line that may stand
// here, and no more than that.
func (r *Reader) mayBeTorn(text []byte) bool {
	start := entryStart
	if r.known {
		start += strconv.FormatUint(r.next, 10) + `,"leaf":{`
	}
	n := len(text)
	if string(text) != start[:min(n, len(start))] && !bytes.HasPrefix(text, []byte(start)) &&
		string(text) != checkpointStart[:min(n, len(checkpointStart))] && !bytes.HasPrefix(text, []byte(checkpointStart)) {
		return false
	}
	var v json.RawMessage
	return errors.Is(json.NewDecoder(bytes.NewReader(text)).Decode(&v), io.ErrUnexpectedEOF)
}

// order checks that a line stands where it must.
func (r *Reader) order(index uint64, c *attestlog.Checkpoint) error {
	if c != nil {
		if r.known && c.Size > r.next {
			return r.corrupt(r.where(), fmt.Errorf("checkpoint over %d entries stands before entry %d", c.Size, r.next))
		}
		r.next = max(r.next, c.Size)
		return nil
	}
	switch {
	case index < r.next:
		want := r.next
		r.next, r.known = index, true
		return r.corrupt(r.where(), fmt.Errorf("index %d where %d was expected: it repeats or was moved", index, want))
	case r.known && index > r.next:
		return r.corrupt(r.where(), fmt.Errorf("index %d where %d was expected: entries are missing or were moved", index, r.next))
	}
	r.next, r.known = index+1, true
	return nil
}

func (r *Reader) where() string { return fmt.Sprintf("%s line %d", r.name, r.number) }

func (r *Reader) corrupt(where string, err error) error {
	if !r.known {
		return fmt.Errorf("jsonl: %s: %w", where, err)
	}
	return fmt.Errorf("jsonl: %w", &attestlog.CorruptError{Index: r.next, Where: where, Err: err})
}
