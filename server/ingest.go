package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"mime"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/cloudevents"
	"github.com/attestlog/attestlog/convert/kubernetes"
	"github.com/attestlog/attestlog/convert/opa"
	"github.com/attestlog/attestlog/internal/halve"
)

const (
	// maxRecords bounds the records of one request: three bytes can be one, and an
	// event takes a thousand times as many.
	maxRecords = 5 * maxEvents

	// maxOriginals bounds the originals of one request's records together, in bytes:
	// each can repeat the parts of the body that belong to all of them.
	maxOriginals = 128 << 20

	// maxRefusalsLogged bounds the records of one request that are logged one by one
	// when they are refused.
	maxRefusalsLogged = 10
)

// sources are the endpoints for the records of other programs, by their paths
// below /ingest/{log}/.
var sources = map[string]source{
	"v1/logs":     {read: readOTLP, answer: answerLogs, fail: failOTLP},
	"v1/audit":    {read: readAudit, answer: answerAudit, fail: failOTLP, whole: true},
	"opa/logs":    {read: reading(opa.Read), answer: answerReceipts}, // OPA adds /logs to the URL that it is given
	"kubernetes":  {read: reading(kubernetes.Read), answer: answerReceipts},
	"cloudevents": {read: readCloudEvents, answer: answerReceipts},
	"json":        {read: readJSON, answer: answerReceipts},
}

// A source is an endpoint that takes the records of other programs.
type source struct {
	// whole stores all records of a request or none: one that is refused refuses
	// the request.
	whole bool
	// read returns the records of a body. A record that cannot be read comes as a
	// *convert.RecordError; any other error refuses the request.
	read func(s *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error)
	// answer answers a request whose records are durable.
	answer func(w http.ResponseWriter, r *http.Request, got ingested)
	// fail answers a request whose records are not stored. Defaults to a problem.
	fail func(w http.ResponseWriter, r *http.Request, status int, detail string)
}

// ingested has the results of one request's records.
type ingested struct {
	receipts []attestlog.Receipt
	refused  []error // of records that could not be read, or that the log never takes
}

// ingest returns the handler of a source. It answers once the records of a
// request are durable. The refused ones are in the answer and in the server's
// log, because some senders do not look at the answer.
func (s *Server) ingest(src source, logOf func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()

		// The token comes before the body, as in enterFirst.
		v, err := s.enter(ctx, logOf(r), ScopeAppend)
		if err != nil {
			src.refuse(w, r, err)
			return
		}
		body, err := s.body(r)
		if err != nil {
			src.refuse(w, r, err)
			return
		}

		records, err := src.read(s, r, body)
		if err != nil {
			src.refuse(w, r, s.problemOf(ctx, err))
			return
		}
		got, err := s.store(ctx, v, src.whole, records)
		if err != nil {
			src.refuse(w, r, err)
			return
		}

		s.logRefused(v, r, got.refused)
		src.answer(w, r, got)
	}
}

// refuse answers a request with an error.
func (src *source) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var status huma.StatusError
	if src.fail == nil || !errors.As(err, &status) {
		writeProblem(w, err)
		return
	}

	var headers huma.HeadersError
	if errors.As(err, &headers) {
		maps.Copy(w.Header(), headers.GetHeaders())
	}
	src.fail(w, r, status.GetStatus(), status.Error())
}

func (s *Server) logRefused(v *visit, r *http.Request, refused []error) {
	for i, err := range refused {
		if i == maxRefusalsLogged {
			s.cfg.Logger.Warn("server: more records were refused", "log", v.hosted.name, "request", v.id, "records", len(refused)-i)
			return
		}
		s.cfg.Logger.Warn("server: a record was refused", "log", v.hosted.name, "request", v.id, "path", r.URL.Path, "err", err)
	}
}

// store stores the records of a body. Records that the log refuses do not keep
// the others out, unless whole is set.
func (s *Server) store(
	ctx context.Context, v *visit, whole bool, records iter.Seq2[attestlog.Event, error],
) (ingested, error) {
	var got ingested
	events, err := s.collect(ctx, v, &got, records)
	if err != nil {
		return got, err
	}

	blames := isRefusal
	if whole {
		err := checkWhole(events, got.refused)
		if err != nil {
			return got, err
		}
		blames = func(error) bool { return false }
	}

	// With whole this is one batch, which checkWhole has made sure of. Without, the
	// batches that were stored stay if a later one fails, so a sender that repeats the
	// request depends on the records' ids.
	for len(events) > 0 {
		batch := events[:min(len(events), maxEvents)]
		events = events[len(batch):]
		err := storeBatch(ctx, v, batch, blames, &got)
		if err != nil {
			return got, s.problemOf(ctx, v.hideConflict(err))
		}
	}
	return got, nil
}

// collect returns the records as events. It appends the errors of those that
// cannot be read to got.refused.
func (s *Server) collect(
	ctx context.Context, v *visit, got *ingested, records iter.Seq2[attestlog.Event, error],
) ([]attestlog.Event, error) {
	var events []attestlog.Event
	originals := 0
	for e, err := range records {
		if err == nil {
			err = v.confine(&e)
			originals += len(e.Original)
		}

		var refused *convert.RecordError
		switch {
		case err == nil:
			events = append(events, e)
		case errors.As(err, &refused):
			got.refused = append(got.refused, err)
		default:
			// The rest cannot be read, or the token may not write this record.
			return nil, s.problemOf(ctx, err)
		}

		if len(events)+len(got.refused) > maxRecords {
			return nil, problem(http.StatusRequestEntityTooLarge,
				fmt.Sprintf("more than %d records in one request", maxRecords))
		}
		if originals > maxOriginals {
			return nil, problem(http.StatusRequestEntityTooLarge,
				fmt.Sprintf("the records of the request have more than %d bytes together; send fewer at a time", maxOriginals))
		}
	}
	return events, nil
}

// checkWhole returns a problem unless the events of a request can be stored
// together, and are all of its records.
func checkWhole(events []attestlog.Event, refused []error) error {
	if len(refused) > 0 {
		return problem(http.StatusBadRequest,
			fmt.Sprintf("%d records are refused, and so all are: %v", len(refused), refused[0]))
	}
	if len(events) > maxEvents {
		return problem(http.StatusRequestEntityTooLarge,
			fmt.Sprintf("%d records; %d at most are stored together", len(events), maxEvents))
	}
	return nil
}

// storeBatch stores the events of a batch that the log does not refuse, and
// appends the results to got. An error for which blames is false ends it.
func storeBatch(ctx context.Context, v *visit, batch []attestlog.Event, blames func(error) bool, got *ingested) error {
	appendPart := func(part []attestlog.Event) error {
		stored, err := v.log.Append(ctx, part...)
		got.receipts = append(got.receipts, stored...)
		return err
	}
	refuse := func(e attestlog.Event, err error) error {
		got.refused = append(got.refused, fmt.Errorf("record %s: %w", e.ID, v.hideConflict(err)))
		return nil
	}
	return halve.Each(batch, appendPart, blames, refuse)
}

// isRefusal reports whether an event is to blame for an error of Append, and not
// the store.
func isRefusal(err error) bool {
	var field *attestlog.FieldError
	return errors.As(err, &field) || errors.Is(err, attestlog.ErrConflict) || errors.Is(err, attestlog.ErrTooLarge)
}

// answerReceipts answers with the records' receipts and refusals.
func answerReceipts(w http.ResponseWriter, _ *http.Request, got ingested) {
	out := struct {
		Receipts []receipt `json:"receipts"`
		Refused  []string  `json:"refused,omitempty"`
	}{Receipts: []receipt{}}
	for _, r := range got.receipts {
		out.Receipts = append(out.Receipts, receiptOf(r))
	}
	for _, err := range got.refused {
		out.Refused = append(out.Refused, err.Error())
	}

	status := http.StatusOK
	if len(out.Receipts) == 0 && len(out.Refused) > 0 {
		status = http.StatusUnprocessableEntity
	}
	writeJSON(w, status, out)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		writeProblem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body)
}

// reading returns the read function of a format that needs nothing but the body.
func reading(read convert.Reader) func(*Server, *http.Request, []byte) (iter.Seq2[attestlog.Event, error], error) {
	return func(_ *Server, _ *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
		return read(bytes.NewReader(body), "request"), nil
	}
}

// readCloudEvents reads CloudEvents in any content mode: structured and batched
// ones say so in their type, the rest is binary (CloudEvents HTTP binding 1.0.2,
// Section 3).
func readCloudEvents(_ *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if !strings.HasPrefix(kind, "application/cloudevents") {
		var err error
		body, err = cloudevents.Structured(r.Header, body)
		if err != nil {
			return nil, problem(http.StatusBadRequest, err.Error())
		}
	}
	return cloudevents.Read(bytes.NewReader(body), "request"), nil
}
