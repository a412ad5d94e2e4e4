package jsonl

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/attestlog/attestlog"
)

// MaxLine is the length in bytes of the longest line that is read: an original
// of attestlog.MaxOriginal bytes can take six times as many in JSON.
const MaxLine = 8 << 20

const (
	entryStart      = `{"index":`
	checkpointStart = `{"checkpoint":"`
	checkpointEnd   = `"}`
)

var errLong = errors.New("line is longer than 8 MiB")

// lines splits a stream into lines of bounded length.
type lines struct {
	r      *bufio.Reader
	buf    []byte // scratch for a line that does not fit r's buffer
	offset int64  // bytes consumed
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns a line without its '\n', and whether it had one. The bytes are
// valid until the next call. After errLong the line has been passed over.
func (l *lines) next() (line []byte, ended bool, err error) {
	l.buf = l.buf[:0]
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		l.offset += int64(len(part))
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return nil, false, err
		}
		lineBegan := len(part) > 0 || len(l.buf) > 0 || long
		if err == io.EOF && !lineBegan {
			return nil, false, io.EOF
		}

		// The line goes on. One that is too long is read to its end all the same, so
		// that the next call begins with the next line.
		if err == bufio.ErrBufferFull {
			long = long || len(l.buf)+len(part) > MaxLine
			if !long {
				l.buf = append(l.buf, part...)
			}
			continue
		}

		part, ended = bytes.CutSuffix(part, []byte{'\n'})
		if long || len(l.buf)+len(part) > MaxLine {
			return nil, ended, errLong
		}
		if len(l.buf) > 0 {
			l.buf = append(l.buf, part...)
			part = l.buf
		}
		return part, ended, nil
	}
}

// parseLine reads a line of either kind. The checkpoint is nil for an entry.
func parseLine(line []byte) (attestlog.RawEntry, *attestlog.Checkpoint, error) {
	if bytes.HasPrefix(line, []byte(checkpointStart)) {
		c, err := parseCheckpoint(line)
		return attestlog.RawEntry{}, &c, err
	}

	e, err := attestlog.ParseLine(line)
	return e, nil, err
}

// appendCheckpoint appends a checkpoint's line, without the line's end. It
// escapes the note as RFC 8785, Section 3.2.2.2, does.
func appendCheckpoint(dst, note []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, checkpointStart...)
	for _, c := range note {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\f':
			dst = append(dst, '\\', 'f')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, checkpointEnd...)
}

// parseCheckpoint reads what appendCheckpoint writes, and nothing else.
func parseCheckpoint(line []byte) (attestlog.Checkpoint, error) {
	var v struct {
		Note string `json:"checkpoint"`
	}
	err := json.Unmarshal(line, &v)
	if err != nil {
		return attestlog.Checkpoint{}, err
	}

	note := []byte(v.Note)
	if !bytes.Equal(appendCheckpoint(make([]byte, 0, len(line)), note), line) {
		return attestlog.Checkpoint{}, errors.New("checkpoint line is not in the form of docs/format.md")
	}
	return attestlog.ParseCheckpoint(note)
}
