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
	"github.com/attestlog/attestlog/internal/halve"
)

type importCmd struct {
	From  string   `help:"The records' format: jsonl, csv, otlp, ocsf, ecs, cef, cloudevents, cloudtrail, kubernetes, opa, syslog, auditlog-sqlite, audit-postgres or audit-jsonl." enum:"jsonl,csv,otlp,ocsf,ecs,cef,cloudevents,cloudtrail,kubernetes,opa,syslog,auditlog-sqlite,audit-postgres,audit-jsonl" required:"" placeholder:"FORMAT"`
	Files []string `arg:"" help:"Files of records, gzip-compressed or not; - for standard input. For auditlog-sqlite, databases with a table audit; for audit-postgres, URLs of databases with a table audit_log." name:"FILE"`
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

func (c *importCmd) Run(a *app) error {
	for _, name := range c.Files {
		if c.From != "audit-postgres" && strings.Contains(name, "://") {
			// The URL is not shown: it may hold a password.
			return hinted{errors.New("a URL was given where a file is wanted"), "--from audit-postgres reads a database"}
		}
	}

	log, err := a.openWriter()
	if err != nil {
		return err
	}
	w := &importer{app: a, log: log, bar: newProgress(a, "import")}
	err = w.readAll(c.From, c.Files)
	w.bar.finish()
	err = errors.Join(err, w.countHere(), a.closeLog(log))
	if err != nil {
		return err
	}

	if w.uncounted {
		fmt.Fprintf(a.stdout, "%d records: %d are in the log now, %d refused\n", w.records, w.stored+w.present, w.refused)
	} else {
		fmt.Fprintf(a.stdout, "%d records: %d stored, %d in the log already, %d refused\n", w.records, w.stored, w.present, w.refused)
	}
	if w.refused > 0 {
		return errNo
	}
	return nil
}

// Bounds of what one transaction stores.
const (
	importBatch = 1000    // records
	importBytes = 8 << 20 // of their originals
)

// fileFormats are the formats that are read from files.
var fileFormats = map[string]convert.Reader{
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

// An importer stores foreign records in batches.
type importer struct {
	app   *app
	log   writer
	batch []attestlog.Event
	bytes int // of the batch's originals

	records uint64
	refused uint64
	stored  uint64
	present uint64 // in the log already
	next    uint64 // the index after all entries that are known
	// uncounted says that stored and present are known only together, because
	// the token may append but not read.
	uncounted bool

	bar   *progress
	read  int64 // bytes of the files, or rows of the table, so far
	total int64
}

func (w *importer) readAll(format string, names []string) error {
	size, err := w.log.Size(w.app.ctx)
	if errors.Is(err, client.ErrDenied) {
		w.uncounted = true
	} else if err != nil {
		return err
	}
	w.next = size

	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			w.total += info.Size()
		}
	}

	for _, name := range names {
		if read := fileFormats[format]; read != nil {
			err = w.readFile(read, name)
		} else {
			err = w.readTable(format, name)
		}
		if err != nil {
			return err
		}
	}
	return w.store()
}

func (w *importer) readFile(read convert.Reader, name string) error {
	in := w.app.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}

	in, err := convert.Gunzip(countedReader{in, &w.read})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for event, err := range read(in, convert.SourceName(name)) {
		if err := w.add(name, event, err); err != nil {
			return err
		}
	}
	return nil
}

// A countedReader counts the bytes read from a file, for the progress bar.
type countedReader struct {
	io.Reader
	n *int64
}

func (c countedReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}

// A table is the audit table of another program.
type table interface {
	Events(ctx context.Context) iter.Seq2[attestlog.Event, error]
	Close() error
}

// openTable opens a table and returns how many rows it has, at most.
func openTable(ctx context.Context, format, name string) (table, int64, error) {
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

// readTable imports the rows that a table has when it is opened.
func (w *importer) readTable(format, name string) error {
	t, rows, err := openTable(w.app.ctx, format, name)
	if err != nil {
		return err
	}
	defer t.Close()
	if format == "audit-postgres" {
		name = "audit_log" // the URL may hold a password
	}

	w.read = 0
	w.total = rows
	for event, err := range t.Events(w.app.ctx) {
		w.read++
		if err := w.add(name, event, err); err != nil {
			return err
		}
	}
	return nil
}

// add adds a record's event to the batch. If err says that the record is bad,
// add reports it and goes on.
func (w *importer) add(name string, event attestlog.Event, err error) error {
	w.records++
	var bad *convert.RecordError
	if errors.As(err, &bad) {
		w.refused++
		fmt.Fprintf(w.app.stderr, "attestlog: %s\n", clean(err.Error()))
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}

	w.batch = append(w.batch, event)
	w.bytes += len(event.Original)
	if len(w.batch) == importBatch || w.bytes > importBytes {
		return w.store()
	}
	return nil
}

// store stores the batch, without the events that the log refuses.
func (w *importer) store() error {
	err := halve.Each(w.batch, w.append, w.app.blamesEvents, w.refuse)
	w.batch = w.batch[:0]
	w.bytes = 0

	w.bar.set(uint64(w.read), uint64(max(w.total, w.read)))
	return err
}

// append stores events in one transaction. It tells new entries from those that
// were in the log already by their indexes: new ones come after all others.
func (w *importer) append(events []attestlog.Event) error {
	receipts, err := w.log.Append(w.app.ctx, events...)
	for _, r := range receipts {
		if r.Index < w.next {
			w.present++
			continue
		}
		w.stored++
		w.next = r.Index + 1
	}
	return err
}

func (w *importer) refuse(event attestlog.Event, err error) error {
	w.refused++
	fmt.Fprintf(w.app.stderr, "attestlog: record %s: %s\n", clean(event.ID), clean(err.Error()))
	return nil
}

// countHere replaces the counts by those of a log that is here, which stay
// right if others write at the same time.
func (w *importer) countHere() error {
	log, ok := w.log.(*attestlog.Log)
	if !ok {
		return nil
	}
	st, err := log.Stats(w.app.ctx)
	w.stored, w.present = st.Appended, st.Duplicates
	return err
}
