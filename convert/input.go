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
	back []byte // given back
	at   int    // of the next byte in back
	position
}

type position struct {
	offset int64
	line   int // from 1
}

func newInput(r io.Reader) input {
	return input{r: bufio.NewReaderSize(r, 64<<10), position: position{line: 1}}
}

func (in *input) read() (c byte, err error) {
	if in.at < len(in.back) {
		c = in.back[in.at]
		in.at++
	} else {
		in.back, in.at = nil, 0
		if c, err = in.r.ReadByte(); err != nil {
			return 0, err
		}
	}
	in.offset++
	if c == '\n' {
		in.line++
	}
	return c, nil
}

// unread gives the last byte back that was read.
func (in *input) unread(c byte) {
	if in.back != nil {
		in.at--
	} else {
		in.r.UnreadByte() // cannot fail after ReadByte
	}
	in.offset--
	if c == '\n' {
		in.line--
	}
}

// giveBack gives the last bytes back, which were read from a position on.
func (in *input) giveBack(b []byte, from position) {
	in.back, in.at, in.position = slices.Concat(b, in.back[in.at:]), 0, from
}

// peek returns the next n bytes, or less if there are no more.
func (in *input) peek(n int) []byte {
	back := in.back[in.at:]
	if len(back) >= n {
		return back[:n]
	}
	ahead, _ := in.r.Peek(n - len(back))
	if len(back) == 0 {
		return ahead
	}
	return slices.Concat(back, ahead)
}

// skip reads n bytes that peek has returned.
func (in *input) skip(b []byte) {
	given := min(len(b), len(in.back)-in.at)
	in.at += given
	in.r.Discard(len(b) - given)
	in.offset += int64(len(b))
	in.line += bytes.Count(b, []byte{'\n'})
}
