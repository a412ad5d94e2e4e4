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

// exportCheckEvery is how many entries are written between two looks at whether
// the export may go on.
const exportCheckEvery = 1000

// export streams the entries that a query selects, oldest first: as JSON Lines
// with their leaves' exact bytes (format jsonl), or as a table (csv). A stream
// that broke off is resumed with from, the index after the last whole line's. A
// stream that ends without an error of the connection is whole; its trailer
// Attestlog-Size says how many entries the log had, and Attestlog-Damaged how many of
// those written are damaged, which stand in their places as such.
//
// An export of everything has the newest checkpoint after the entries that it
// covers, and can be verified by itself.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	v, err := s.enter(ctx, r.PathValue("log"), ScopeRead)
	if err != nil {
		writeProblem(w, err)
		return
	}
	x, err := s.newExport(ctx, v, r)
	if err != nil {
		writeProblem(w, s.problemOf(ctx, err))
		return
	}
	err = s.recordLook(ctx, v, "audit.export", "export", map[string]any{"query": x.text, "format": x.format, "from": x.from})
	if err != nil {
		writeProblem(w, err)
		return
	}

	x.setHeaders(w.Header())
	if r.Method == http.MethodHead { // which a pattern of GET matches too
		return
	}
	rc := http.NewResponseController(w)
	rc.Flush() // the first entry may take long to find

	out := bufio.NewWriterSize(&patientWriter{w, rc}, 64<<10)
	err = x.write(ctx, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		s.abortExport(ctx, v, err) // which panics
	}
	w.Header().Set("Attestlog-Size", strconv.FormatUint(x.size, 10))
	w.Header().Set("Attestlog-Damaged", strconv.FormatUint(x.damaged, 10))
}

// abortExport closes the connection of an export that failed, so that the client
// does not take the entries that it got for all. It panics.
func (s *Server) abortExport(ctx context.Context, v *visit, err error) {
	var corrupt *attestlog.CorruptError
	if errors.As(err, &corrupt) {
		v.hosted.alarms.set(AlarmTampered, err)
	}
	if ctx.Err() == nil {
		s.cfg.Logger.Error("server: an export ended", "log", v.hosted.name, "request", v.id, "err", err)
	}
	panic(http.ErrAbortHandler)
}

// A patientWriter gives each write its own time.
type patientWriter struct {
	w  io.Writer
	rc *http.ResponseController
}

func (p *patientWriter) Write(b []byte) (int, error) {
	p.rc.SetWriteDeadline(time.Now().Add(writeWait))
	return p.w.Write(b)
}

// An export is what one request exports.
type export struct {
	visit *visit
	life  *lifecycle
	clock func() time.Time

	text        string // of the query
	q           query.Query
	format      string   // jsonl or csv
	fields      []string // the columns of csv
	disclosures bool
	whole       bool                 // every entry, as it is stored
	from, size  uint64               // the range of indexes
	damaged     uint64               // entries that were written as damaged
	checkpoint  attestlog.Checkpoint // that a whole export has; without a Note it has none
}

// newExport reads the parameters of a request.
func (s *Server) newExport(ctx context.Context, v *visit, r *http.Request) (*export, error) {
	params := r.URL.Query()
	x := &export{
		visit:       v,
		life:        s.life,
		clock:       s.cfg.Clock,
		text:        params.Get("q"),
		format:      params.Get("format"),
		disclosures: params.Get("disclosures") != "false",
	}
	var err error
	x.q, err = v.parseQuery(x.text)
	if err != nil {
		return nil, err
	}

	switch x.format {
	case "":
		x.format = "jsonl"
	case "jsonl", "csv":
	default:
		return nil, problem(http.StatusBadRequest, "format: jsonl or csv")
	}
	x.fields, err = exportFields(params.Get("fields"))
	if err != nil {
		return nil, problem(http.StatusBadRequest, "fields: "+err.Error())
	}
	if params.Get("from") != "" {
		x.from, err = strconv.ParseUint(params.Get("from"), 10, 62)
		if err != nil {
			return nil, problem(http.StatusBadRequest, "from: the index of an entry")
		}
	}

	// The checkpoint is read before the size, so that the export has every entry that
	// it covers. Without one, the export still has all entries.
	selectsAll := x.q.OrderBy(query.ByIndex).Equal(query.Query{})
	x.whole = selectsAll && x.format == "jsonl"
	if x.whole {
		c, err := v.hosted.publisher.newest(ctx)
		if err == nil {
			x.checkpoint = c
		}
	}
	x.size, err = v.log.Size(ctx)
	return x, err
}

// exportFields returns the columns that text names, or those of csv.Fields.
func exportFields(text string) ([]string, error) {
	if text == "" {
		return csv.Fields, nil
	}

	fields := strings.Split(text, ",")
	for _, f := range fields {
		_, err := new(attestlog.Entry).Field(f)
		if err != nil {
			return nil, err
		}
	}
	return fields, nil
}

func (x *export) setHeaders(h http.Header) {
	contentType := "application/x-ndjson"
	if x.format == "csv" {
		contentType = "text/csv; charset=utf-8; header=present"
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", x.visit.hosted.name+"."+x.format))
	h.Set("Trailer", "Attestlog-Size, Attestlog-Damaged")
}

// noteDamage counts an entry if it is damaged.
func (x *export) noteDamage(e *attestlog.Entry) {
	if e.Err != nil {
		x.damaged++
		x.visit.noteDamage(e)
	}
}

func (x *export) write(ctx context.Context, out *bufio.Writer) error {
	switch {
	case x.whole:
		return x.writeWhole(ctx, out)
	case x.format == "csv":
		return x.writeTable(ctx, out)
	}
	return x.writeLines(ctx, out)
}

// writeLines writes the entries that the query selects, one a line.
func (x *export) writeLines(ctx context.Context, out *bufio.Writer) error {
	var line []byte
	return x.eachEntry(ctx, func(e *attestlog.Entry) error {
		raw := e.Raw()
		if !x.disclosures {
			raw.Disclosures = nil
		}
		line = attestlog.AppendLine(line[:0], &raw)
		line = append(line, '\n')
		_, err := out.Write(line)
		return err
	})
}

// writeTable writes the entries that the query selects as CSV.
func (x *export) writeTable(ctx context.Context, out *bufio.Writer) error {
	table, err := csv.NewWriter(out, x.fields)
	if err != nil {
		return err
	}
	err = x.eachEntry(ctx, table.Write)
	if err != nil {
		return err
	}
	return table.Flush()
}

// eachEntry calls fn with the entries that the query selects, oldest first.
func (x *export) eachEntry(ctx context.Context, fn func(*attestlog.Entry) error) error {
	q := query.And(x.q, query.Indexes(x.from, x.size)).OrderBy(query.ByIndex)
	n := 0
	var entry attestlog.Entry // one for all, because fn's argument is allocated
	for e, err := range x.visit.log.Entries(ctx, q) {
		if err != nil {
			return err
		}

		n++
		if n%exportCheckEvery == 0 {
			err := x.mayGoOn(ctx)
			if err != nil {
				return err
			}
		}

		x.noteDamage(&e)
		entry = e
		err := fn(&entry)
		if err != nil {
			return err
		}
	}
	return nil
}

// writeWhole writes every entry as it is stored, without parsing it, and the
// checkpoint after those that it covers.
func (x *export) writeWhole(ctx context.Context, out *bufio.Writer) error {
	var line []byte
	n := 0
	err := x.visit.log.Scan(ctx, x.from, x.size, func(r *attestlog.RawEntry) error {
		n++
		if n%exportCheckEvery == 0 {
			err := x.mayGoOn(ctx)
			if err != nil {
				return err
			}
		}

		err := x.writeCheckpoint(out, r.Index)
		if err != nil {
			return err
		}
		x.noteDamage(&attestlog.Entry{Index: r.Index, Err: r.Err})

		if !x.disclosures {
			r.Disclosures = nil
		}
		line = attestlog.AppendLine(line[:0], r)
		line = append(line, '\n')
		_, err = out.Write(line)
		return err
	})
	if err != nil {
		return err
	}

	// A checkpoint over all of the entries comes after the last one.
	return x.writeCheckpoint(out, x.size)
}

// writeCheckpoint writes the checkpoint before the entry with index next, if that
// is the first entry that it does not cover. It is left out of an export that
// begins later.
func (x *export) writeCheckpoint(out *bufio.Writer, next uint64) error {
	c := &x.checkpoint
	if c.Note == nil || next < c.Size || x.from > c.Size {
		return nil
	}

	note, err := json.Marshal(string(c.Note))
	if err != nil {
		return err
	}
	c.Note = nil
	_, err = fmt.Fprintf(out, "{\"checkpoint\":%s}\n", note)
	return err
}

// mayGoOn returns why a long export has to end, or nil.
func (x *export) mayGoOn(ctx context.Context) error {
	if x.life.stopping() {
		return errStopping
	}
	return x.visit.stillValid(ctx, x.clock())
}
