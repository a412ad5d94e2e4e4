package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/csv"
	"github.com/attestlog/attestlog/query"
)

// export streams the entries that a query selects, oldest first: as JSON Lines
// with their leaves' exact bytes (format jsonl), or as a table (csv). A stream
// that broke off is resumed with from, behind the last whole line's index. A
// stream that ends without an error of the connection is whole; its trailer
// Attestlog-Size says how many entries the log had.
//
// An export of everything holds the newest checkpoint behind the entries that it
// covers, and verifies by itself.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	v, err := s.enter(ctx, r.PathValue("log"), ScopeRead)
	if err != nil {
		writeProblem(w, err)
		return
	}
	x, err := s.exportOf(ctx, v, r)
	if err == nil {
		err = s.note(ctx, v, "audit.export", "export", map[string]any{"query": x.text, "format": x.format, "from": x.from})
	}
	if err != nil {
		writeProblem(w, s.failed(ctx, err))
		return
	}
	contentType, extension := "application/x-ndjson", "jsonl"
	if x.format == "csv" {
		contentType, extension = "text/csv; charset=utf-8; header=present", "csv"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", v.log.name+"."+extension))
	w.Header().Set("Trailer", "Attestlog-Size")
	if r.Method == http.MethodHead { // which a pattern of GET matches too
		return
	}
	rc := http.NewResponseController(w)
	rc.Flush() // the first entry may be long in coming
	out := bufio.NewWriterSize(&patient{w: w, rc: rc}, 64<<10)
	err = x.write(ctx, s, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		var corrupt *attestlog.CorruptError
		if errors.As(err, &corrupt) {
			s.raise(v.log, AlarmTampered, err.Error())
		}
		if ctx.Err() == nil {
			s.cfg.Logger.Error("server: an export ended", "log", v.log.name, "request", v.id, "err", err)
		}
		panic(http.ErrAbortHandler) // the client shall not take it for whole
	}
	w.Header().Set("Attestlog-Size", strconv.FormatUint(x.size, 10))
}

// patient gives each write its own time.
type patient struct {
	w  io.Writer
	rc *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	p.rc.SetWriteDeadline(time.Now().Add(writeWait))
	return p.w.Write(b)
}

// An exporting is what one export writes.
type exporting struct {
	v           *visit
	text        string // of the query
	q           query.Query
	format      string
	fields      []string
	disclosures bool
	raw         bool // every entry, as it is stored
	from, size  uint64
	checkpoint  attestlog.Checkpoint // without a Note: none goes into the stream
}

func (s *Server) exportOf(ctx context.Context, v *visit, r *http.Request) (*exporting, error) {
	params := r.URL.Query()
	x := &exporting{v: v, text: params.Get("q"), format: params.Get("format"), disclosures: params.Get("disclosures") != "false"}
	var err error
	if x.q, err = v.query(x.text); err != nil {
		return nil, err
	}
	switch x.format {
	case "":
		x.format = "jsonl"
	case "jsonl", "csv":
	default:
		return nil, problem(http.StatusBadRequest, "format: jsonl or csv")
	}
	if x.fields = csv.Fields; params.Get("fields") != "" {
		x.fields = strings.Split(params.Get("fields"), ",")
	}
	for _, f := range x.fields {
		if _, err := new(attestlog.Entry).Field(f); err != nil {
			return nil, problem(http.StatusBadRequest, "fields: "+err.Error())
		}
	}
	if text := params.Get("from"); text != "" {
		if x.from, err = strconv.ParseUint(text, 10, 62); err != nil {
			return nil, problem(http.StatusBadRequest, "from: the index of an entry")
		}
	}
	if x.raw = query.And(x.q.OrderBy(query.ByIndex)).Equal(query.Query{}) && x.format == "jsonl"; x.raw {
		if c, err := s.published(ctx, v.log); err == nil {
			x.checkpoint = c
		}
	}
	x.size, err = v.log.log.Size(ctx)
	return x, err
}

func (x *exporting) write(ctx context.Context, s *Server, out *bufio.Writer) error {
	if x.raw {
		return x.writeAll(ctx, s, out)
	}
	var line []byte
	var table *csv.Writer
	if x.format == "csv" {
		fields := x.fields
		var err error
		if table, err = csv.NewWriter(out, fields); err != nil {
			return err
		}
	}
	q := query.And(x.q.OrderBy(query.ByIndex), query.Indexes(x.from, x.size)).OrderBy(query.ByIndex)
	n := 0
	for e, err := range x.v.log.log.Entries(ctx, q) {
		if err != nil {
			return err
		}
		if n++; n%1000 == 0 {
			if err := x.goOn(ctx, s); err != nil {
				return err
			}
		}
		if table != nil {
			if err := table.Write(&e); err != nil {
				return err
			}
			continue
		}
		rec := attestlog.RawEntry{Index: e.Index, Leaf: e.Leaf}
		if x.disclosures {
			rec.Disclosures = e.Disclosures
		}
		line = append(attestlog.AppendLine(line[:0], &rec), '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	if table != nil {
		return table.Flush()
	}
	return nil
}

// writeAll writes every entry as it is stored, without reading what it says, and
// the checkpoint behind those that it covers.
func (x *exporting) writeAll(ctx context.Context, s *Server, out *bufio.Writer) error {
	sign := func(index uint64) error {
		if x.checkpoint.Note == nil || index < x.checkpoint.Size || x.from > x.checkpoint.Size {
			return nil
		}
		note, err := json.Marshal(string(x.checkpoint.Note))
		x.checkpoint.Note = nil
		if err == nil {
			_, err = fmt.Fprintf(out, "{\"checkpoint\":%s}\n", note)
		}
		return err
	}
	var line []byte
	n := 0
	err := x.v.log.log.Scan(ctx, x.from, x.size, func(r *attestlog.RawEntry) error {
		if n++; n%1000 == 0 {
			if err := x.goOn(ctx, s); err != nil {
				return err
			}
		}
		if err := sign(r.Index); err != nil {
			return err
		}
		if !x.disclosures {
			r.Disclosures = nil
		}
		line = append(attestlog.AppendLine(line[:0], r), '\n')
		_, err := out.Write(line)
		return err
	})
	if err != nil {
		return err
	}
	return sign(x.size)
}

// goOn returns why a long export has to end, or nil.
func (x *exporting) goOn(ctx context.Context, s *Server) error {
	select {
	case <-s.stopping:
		return errStopping
	default:
		return x.v.still(ctx, s.cfg.Clock())
	}
}
