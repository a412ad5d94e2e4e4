package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

const (
	// tailSilence is how long a tail may send nothing, not even a sign of life.
	tailSilence = time.Minute
	// exportSilence is how long an export may take to find the next entry that
	// the query selects.
	exportSilence = 15 * time.Minute

	streamBuffer = 64 << 10

	// maxLine bounds a line of a stream, in bytes. An entry of the largest leaf
	// and the largest original fits in.
	maxLine = 8 << 20
)

// Entries returns the entries that q selects, oldest first, in constant memory.
// A stream that breaks off is continued where it ended.
func (c *Client) Entries(ctx context.Context, q query.Query) iter.Seq2[attestlog.Entry, error] {
	return func(yield func(attestlog.Entry, error) bool) {
		if err := q.Err(); err != nil {
			yield(attestlog.Entry{}, err)
			return
		}

		next := uint64(0) // the first index that was not yielded
		backoff := newBackoff()
		for {
			begin := next
			size, stopped, err := c.export(ctx, q, begin, func(e attestlog.Entry) bool {
				next = e.Index + 1
				return yield(e, nil)
			})
			if stopped || err == nil && size >= next {
				return
			}

			if err == nil { // a smaller log than the one that the entries are from
				err = unavailable(io.ErrUnexpectedEOF)
			}
			if next > begin {
				backoff.Reset()
			}
			if !errors.Is(err, attestlog.ErrUnavailable) || backoff.Wait(ctx) != nil {
				yield(attestlog.Entry{}, err)
				return
			}
		}
	}
}

// Scan calls fn with each entry from ≤ index < to that the token may see, as it
// is stored, in order, until fn returns an error, which Scan returns.
func (c *Client) Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	if from >= to {
		return nil
	}

	for e, err := range c.Entries(ctx, query.Indexes(from, to)) {
		if err != nil {
			return err
		}
		raw := e.Raw()
		err = fn(&raw)
		if err != nil {
			return err
		}
	}
	return nil
}

// export reads one stream of entries, until fn returns false (stopped). A stream
// is whole if it ends with the log's size, which export returns.
func (c *Client) export(
	ctx context.Context, q query.Query, from uint64, fn func(attestlog.Entry) bool,
) (size uint64, stopped bool, err error) {
	ctx, watchdog, stop := withWatchdog(ctx, exportSilence)
	defer stop()

	params := url.Values{"q": {q.String()}, "from": {strconv.FormatUint(from, 10)}}
	resp, err := c.request(ctx, http.MethodGet, c.api+"/export", params, nil, nil)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()

	r := bufio.NewReaderSize(resp.Body, streamBuffer)
	for {
		line, err := readLine(r)
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil {
			return 0, false, streamError(err)
		}

		if bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
			watchdog.Reset(exportSilence)
			continue
		}
		e, err := parseLine(line)
		if err != nil {
			return 0, false, err
		}

		watchdog.Stop() // fn may take as long as it likes
		if !fn(e) {
			return 0, true, nil
		}
		watchdog.Reset(exportSilence)
	}

	size, err = strconv.ParseUint(resp.Trailer.Get("Attestlog-Size"), 10, 64)
	if err != nil {
		return 0, false, unavailable(io.ErrUnexpectedEOF)
	}
	return size, false, nil
}

// Tail returns the entries from an index on that q selects, oldest first, and
// then each new one soon after it is durable. It reconnects by itself, and ends
// without an error when ctx does.
func (c *Client) Tail(ctx context.Context, from uint64, q query.Query) iter.Seq2[attestlog.Entry, error] {
	return func(yield func(attestlog.Entry, error) bool) {
		if err := q.Err(); err != nil {
			yield(attestlog.Entry{}, err)
			return
		}

		next := from
		backoff := newBackoff()
		for {
			begin := next
			stopped, err := c.follow(ctx, q, begin, func(e attestlog.Entry) bool {
				next = e.Index + 1
				return yield(e, nil)
			})
			if stopped || ctx.Err() != nil {
				return
			}

			// A connection that ends is ErrUnavailable. Any other error would come
			// again.
			if !errors.Is(err, attestlog.ErrUnavailable) {
				yield(attestlog.Entry{}, err)
				return
			}
			if next > begin {
				backoff.Reset()
			}
			if backoff.Wait(ctx) != nil {
				return
			}
		}
	}
}

// follow reads one connection's entries until fn returns false (stopped), or the
// connection ends, which is an error.
func (c *Client) follow(
	ctx context.Context, q query.Query, from uint64, fn func(attestlog.Entry) bool,
) (stopped bool, err error) {
	ctx, watchdog, stop := withWatchdog(ctx, tailSilence)
	defer stop()

	params := url.Values{"q": {q.String()}, "lines": {"true"}, "from": {strconv.FormatUint(from, 10)}}
	accept := http.Header{"Accept": {"text/event-stream"}}
	resp, err := c.request(ctx, http.MethodGet, c.api+"/tail", params, nil, accept)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()

	r := bufio.NewReaderSize(resp.Body, streamBuffer)
	for {
		line, err := readLine(r)
		if err != nil {
			return false, streamError(err)
		}
		watchdog.Reset(tailSilence)

		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue // an id, a comment or the empty line after an event
		}
		e, err := parseLine(data)
		if err != nil {
			return false, err
		}

		watchdog.Stop() // fn may take as long as it likes
		if !fn(e) {
			return true, nil
		}
		watchdog.Reset(tailSilence)
	}
}

// readLine returns the next line with its end, as bufio.Reader.ReadBytes does, or
// errBadAnswer if it is too long.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, fmt.Errorf("%w: a line has more than %d bytes", errBadAnswer, maxLine)
		}
		line = append(line, part...)
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// streamError turns an error of readLine into one of a stream: anything but a bad
// answer is a connection that ended, and is tried again.
func streamError(err error) error {
	if errors.Is(err, errBadAnswer) {
		return err
	}
	return unavailable(err)
}

// withWatchdog returns a context that ends as if the server were away when its
// timer has not been reset for a while. The function releases both.
func withWatchdog(ctx context.Context, silence time.Duration) (context.Context, *time.Timer, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	watchdog := time.AfterFunc(silence, func() {
		cancel(unavailable(fmt.Errorf("nothing for %s", silence)))
	})

	return ctx, watchdog, func() {
		watchdog.Stop()
		cancel(nil)
	}
}
