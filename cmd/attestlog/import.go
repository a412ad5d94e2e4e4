package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/client"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/convert/auditlog"
	"github.com/attestlog/attestlog/convert/cef"
	"github.com/attestlog/attestlog/convert/cloudevents"
	"github.com/attestlog/attestlog/convert/cloudtrail"
	"github.com/attestlog/attestlog/convert/csv"
	"github.com/attestlog/attestlog/convert/ecs"
	"github.com/attestlog/attestlog/convert/jsonlines"
	"github.com/attestlog/attestlog/convert/kubernetes"
	"github.com/attestlog/attestlog/convert/ocsf"
	"github.com/attestlog/attestlog/convert/opa"
	"github.com/attestlog/attestlog/convert/otel"
	"github.com/attestlog/attestlog/convert/syslog"
)

type importCmd struct {
	From  string   `help:"The records' format: jsonl, csv, otlp, ocsf, ecs, cef, cloudevents, cloudtrail, kubernetes, opa, syslog, auditlog-sqlite, audit-postgres or audit-jsonl." enum:"jsonl,csv,otlp,ocsf,ecs,cef,cloudevents,cloudtrail,kubernetes,opa,syslog,auditlog-sqlite,audit-postgres,audit-jsonl" required:""`
	Files []string `arg:"" help:"Files of records, gzip-compressed or not; - for standard input. For auditlog-sqlite, databases with a table audit; for audit-postgres, the URLs of such with a table audit_log." name:"FILE"`
}

func (importCmd) Help() string {
	return `Every record is kept verbatim in the entry's original, a sealed field. Importing the
same files again adds nothing, and identical records in one file all survive.
A record that cannot be read is named and passed over, and the exit code is 1.

Examples:
  attestlog import --from cloudtrail logs/*.json.gz
  attestlog import --from jsonl old-audit.jsonl
  attestlog import --from auditlog-sqlite /var/lib/app/audit.db
  attestlog import --from audit-postgres postgres://app@db/app`
}

// importBatch is how many records one transaction holds.
const importBatch = 1000

var readers = map[string]convert.Reader{
	"jsonl":       jsonlines.Read,
	"csv":         csv.Read,
	"otlp":        otel.Read,
	"ocsf":        ocsf.Read,
	"ecs":         ecs.Read,
	"cef":         cef.Read,
	"cloudevents": cloudevents.Read,
	"cloudtrail":  cloudtrail.Read,
	"kubernetes":  kubernetes.Read,
	"opa":         opa.Read,
	"syslog":      syslog.Read,
	"audit-jsonl": audit.Read,
}

// A rowReader reads an old log's table.
type rowReader interface {
	Events(ctx context.Context) iter.Seq2[attestlog.Event, error]
	Close() error
}

// openTable opens a table and returns how many rows it has.
func openTable(ctx context.Context, format, name string) (rowReader, int64, error) {
	if format == "audit-postgres" {
		t, err := audit.Open(ctx, name)
		if err != nil {
			return nil, 0, err
		}
		return t, t.Rows, nil
	}
	t, err := auditlog.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return t, t.Rows, nil
}

// importer stores foreign records in batches.
type importer struct {
	app     *app
	log     writer
	events  []attestlog.Event
	bytes   int
	records uint64
	refused uint64
	stored  uint64
	present uint64 // in the log already
	blind   bool   // which of them, is not known
	next    uint64 // behind every entry that was there or that a receipt named
	bar     *progress
	read    int64 // bytes of all files so far
	total   int64
}

func (c *importCmd) Run(a *app) error {
	for _, name := range c.Files {
		if c.From != "audit-postgres" && strings.Contains(name, "://") {
			return hinted{errors.New("a URL was given where a file is wanted"), "--from audit-postgres reads a database"} // without what it holds
		}
	}
	log, err := a.openWriter()
	if err != nil {
		return err
	}
	w := &importer{app: a, log: log, bar: newProgress(a, "import")}
	if w.next, err = log.Size(a.ctx); errors.Is(err, client.ErrDenied) {
		w.blind = true // a token that may only append
	} else if err != nil {
		return errors.Join(err, a.closeLog(log))
	}
	for _, name := range c.Files {
		if info, err := os.Stat(name); err == nil {
			w.total += info.Size()
		}
	}
	for _, name := range c.Files {
		if read := readers[c.From]; read != nil {
			err = w.file(read, name)
		} else {
			err = w.table(c.From, name)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = w.flush()
	}
	w.bar.end()
	if here, ok := log.(*attestlog.Log); ok { // which knows better, also beside other writers
		st, statsErr := here.Stats(a.ctx)
		w.stored, w.present = st.Appended, st.Duplicates
		err = errors.Join(err, statsErr)
	}
	if err = errors.Join(err, a.closeLog(log)); err != nil {
		return err
	}
	if w.blind {
		fmt.Fprintf(a.stdout, "%d records: %d are in the log now, %d refused\n", w.records, w.stored+w.present, w.refused)
	} else {
		fmt.Fprintf(a.stdout, "%d records: %d stored, %d in the log already, %d refused\n", w.records, w.stored, w.present, w.refused)
	}
	if w.refused > 0 {
		return errNo
	}
	return nil
}

// counted counts what is read from a file, for the progress bar.
type counted struct {
	io.Reader
	n *int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}

func (w *importer) file(read convert.Reader, name string) error {
	in := io.Reader(w.app.stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	in, err := convert.Gunzip(counted{in, &w.read})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for event, err := range read(in, convert.SourceName(name)) {
		if err := w.take(name, event, err); err != nil {
			return err
		}
	}
	return nil
}

// table imports the audit table of a database, and checks that every row was
// read.
func (w *importer) table(format, name string) error {
	t, rows, err := openTable(w.app.ctx, format, name)
	if err != nil {
		return err
	}
	defer t.Close()
	if format == "audit-postgres" {
		name = "audit_log" // the URL may hold a password
	}
	began := w.records
	w.read, w.total = 0, rows // the bar counts rows
	for event, err := range t.Events(w.app.ctx) {
		w.read++
		if err := w.take(name, event, err); err != nil {
			return err
		}
	}
	if read := w.records - began; read < uint64(rows) { // more may have come since
		return fmt.Errorf("%s: the table has %d rows, %d were read", name, rows, read)
	}
	return nil
}

// take adds an event to the batch, or tells of a record that is none.
func (w *importer) take(name string, event attestlog.Event, err error) error {
	w.records++
	var refused *convert.RecordError
	if errors.As(err, &refused) {
		w.refused++
		fmt.Fprintf(w.app.stderr, "attestlog: %s\n", clean(err.Error()))
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.events = append(w.events, event)
	w.bytes += len(event.Original)
	const mostBytes = 8 << 20
	if len(w.events) == importBatch || w.bytes > mostBytes {
		return w.flush()
	}
	return nil
}

func (w *importer) flush() error {
	if len(w.events) == 0 {
		return nil
	}
	receipts, err := w.log.Append(w.app.ctx, w.events...)
	w.count(receipts)
	if err != nil && !errors.Is(err, attestlog.ErrUnavailable) && w.app.ctx.Err() == nil {
		err = w.oneByOne()
	}
	w.events, w.bytes = w.events[:0], 0
	w.bar.set(uint64(w.read), uint64(max(w.total, w.read)))
	return err
}

// count tells new entries from those that were in the log: new ones come behind
// all others.
func (w *importer) count(receipts []attestlog.Receipt) {
	for _, r := range receipts {
		if r.Index < w.next {
			w.present++
			continue
		}
		w.stored++
		w.next = r.Index + 1
	}
}

// oneByOne stores a batch that was refused, but for the records that are.
func (w *importer) oneByOne() error {
	for _, e := range w.events {
		receipts, err := w.log.Append(w.app.ctx, e)
		w.count(receipts)
		switch {
		case err == nil:
		case errors.Is(err, attestlog.ErrUnavailable) || w.app.ctx.Err() != nil:
			return err
		default:
			w.refused++
			fmt.Fprintf(w.app.stderr, "attestlog: record %s: %s\n", clean(e.ID), clean(err.Error()))
		}
	}
	return nil
}
