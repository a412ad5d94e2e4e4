package convert

import (
	"bufio"
	"bytes"
	"io"
	"slices"
)

// An input is a reader that bytes can be given back to.
type input struct {
	r    *bufio.Reader
	back []byte // bytes that were given back
	used int    // how many of them have been read again
	position
}

// A position is that of the next byte.
type position struct {
	offset int64
	line   int // from 1
}

func newInput(r io.Reader) input {
	return input{r: bufio.NewReaderSize(r, 64<<10), position: position{line: 1}}
}

func (in *input) read() (c byte, err error) {
	if in.used < len(in.back) {
		c = in.back[in.used]
		in.used++
	} else {
		in.back = nil
		in.used = 0
		c, err = in.r.ReadByte()
		if err != nil {
			return 0, err
		}
	}

	in.offset++
	if c == '\n' {
		in.line++
	}
	return c, nil
}

// unread gives back c, the last byte that was read.
func (in *input) unread(c byte) {
	if in.back != nil {
		in.used--
	} else {
		in.r.UnreadByte() // cannot fail after ReadByte
	}

	in.offset--
	if c == '\n' {
		in.line--
	}
}

// giveBack gives back b, the last bytes that were read. The first of them was at
// from.
func (in *input) giveBack(b []byte, from position) {
	in.back = slices.Concat(b, in.back[in.used:])
	in.used = 0
	in.position = from
}

// peek returns the next n bytes without reading them, or fewer if there are no
// more.
func (in *input) peek(n int) []byte {
	back := in.back[in.used:]
	if len(back) >= n {
		return back[:n]
	}

	ahead, _ := in.r.Peek(n - len(back))
	if len(back) == 0 {
		return ahead
	}
	return slices.Concat(back, ahead)
}

// skip reads bytes that peek has returned.
func (in *input) skip(b []byte) {
	given := min(len(b), len(in.back)-in.used)
	in.used += given
	in.r.Discard(len(b) - given) // cannot fail after Peek

	in.offset += int64(len(b))
	in.line += bytes.Count(b, []byte{'\n'})
}
