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
)

// mostEvents is how many events one call of Append takes.
const mostEvents = 10_000

// mostRecords bounds the records of one request: three bytes can be one, and an event
// takes a thousand times as many.
const mostRecords = 5 * mostEvents

// mostOriginals bounds the originals of one request's records in bytes: each can
// repeat what stands around it.
const mostOriginals = 128 << 20

// taken is what became of the records of one request.
type taken struct {
	receipts []attestlog.Receipt
	refused  []error // records that are none, or that the log never takes
}

// take stores the records of a body, in as many transactions as it takes.
// Records that the log refuses do not keep the others out, unless all is set: then
// none is stored if one is refused.
func (s *Server) take(ctx context.Context, v *visit, all bool, records iter.Seq2[attestlog.Event, error]) (taken, error) {
	var out taken
	var events []attestlog.Event
	originals := 0
	for e, err := range records {
		if err == nil {
			err = v.own(&e)
			originals += len(e.Original)
		}
		var refused *convert.RecordError
		switch {
		case err == nil:
			events = append(events, e)
		case errors.As(err, &refused):
			out.refused = append(out.refused, err)
		default:
			return out, s.failed(ctx, err)
		}
		if len(events)+len(out.refused) > mostRecords {
			return taken{}, problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("more than %d records in one request", mostRecords))
		}
		if originals > mostOriginals {
			return taken{}, problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the records of the request have more than %d bytes together; send fewer at a time", mostOriginals))
		}
	}
	if all && len(out.refused) > 0 {
		return out, problem(http.StatusBadRequest, fmt.Sprintf("%d records are refused, and so all are: %v", len(out.refused), out.refused[0]))
	}
	if all && len(events) > mostEvents {
		return out, problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("%d records; %d at most are stored together", len(events), mostEvents))
	}
	for len(events) > 0 {
		batch := events[:min(len(events), mostEvents)]
		events = events[len(batch):]
		stored, err := v.log.log.Append(ctx, batch...)
		if err != nil && !all && isRefusal(err) {
			stored, err = s.halves(ctx, v, batch, &out)
		}
		if err != nil {
			return out, s.failed(ctx, v.told(err))
		}
		out.receipts = append(out.receipts, stored...)
	}
	return out, nil
}

// isRefusal reports whether an event is to blame, and not the store.
func isRefusal(err error) bool {
	var field *attestlog.FieldError
	return errors.As(err, &field) || errors.Is(err, attestlog.ErrConflict) || errors.Is(err, attestlog.ErrTooLarge)
}

// halves stores those of a batch that the log does not refuse: one of them is to
// blame, so each half is tried.
func (s *Server) halves(ctx context.Context, v *visit, batch []attestlog.Event, out *taken) (stored []attestlog.Receipt, err error) {
	for _, part := range [][]attestlog.Event{batch[:len(batch)/2], batch[len(batch)/2:]} {
		if len(part) == 0 {
			continue
		}
		some, err := v.log.log.Append(ctx, part...)
		switch {
		case err == nil:
		case !isRefusal(err):
			return stored, err
		case len(part) == 1:
			out.refused = append(out.refused, fmt.Errorf("record %s: %w", part[0].ID, v.told(err)))
		default:
			if some, err = s.halves(ctx, v, part, out); err != nil {
				return append(stored, some...), err
			}
		}
		stored = append(stored, some...)
	}
	return stored, nil
}

// A source is a way in for what other programs send.
type source struct {
	all  bool // one refused record refuses the request
	read func(s *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error)
	// answer writes the answer of a request whose records are durable.
	answer func(w http.ResponseWriter, r *http.Request, t taken)
	// fail answers a request whose records are not stored. Defaults to a problem.
	fail func(w http.ResponseWriter, r *http.Request, status int, detail string)
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
	detail := status.Error()
	src.fail(w, r, status.GetStatus(), detail)
}

// ingest answers once the records of a request are durable. It tells what of
// them was refused, and logs it: a sender that cannot be told shall not lose them
// unseen.
func (s *Server) ingest(src source, log func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		v, err := s.enter(ctx, log(r), ScopeAppend)
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
			src.refuse(w, r, s.failed(ctx, err))
			return
		}
		t, err := s.take(ctx, v, src.all, records)
		if err != nil {
			src.refuse(w, r, err)
			return
		}
		for i, err := range t.refused {
			if i == 10 {
				s.cfg.Logger.Warn("server: more records were refused", "log", v.log.name, "request", v.id, "records", len(t.refused)-i)
				break
			}
			s.cfg.Logger.Warn("server: a record was refused", "log", v.log.name, "request", v.id, "path", r.URL.Path, "err", err)
		}
		src.answer(w, r, t)
	}
}

// summary answers with the records' receipts and refusals.
func summary(w http.ResponseWriter, _ *http.Request, t taken) {
	status := http.StatusOK
	if len(t.receipts) == 0 && len(t.refused) > 0 {
		status = http.StatusUnprocessableEntity
	}
	out := struct {
		Receipts []receipt `json:"receipts"`
		Refused  []string  `json:"refused,omitempty"`
	}{Receipts: []receipt{}}
	for _, r := range t.receipts {
		out.Receipts = append(out.Receipts, receiptOf(r))
	}
	for _, err := range t.refused {
		out.Refused = append(out.Refused, err.Error())
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

// reading makes a source of an importer.
func reading(read convert.Reader) func(*Server, *http.Request, []byte) (iter.Seq2[attestlog.Event, error], error) {
	return func(_ *Server, _ *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
		return read(bytes.NewReader(body), "request"), nil
	}
}

// readCloudEvents tells the content modes of the HTTP binding apart.
func readCloudEvents(_ *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if !strings.HasPrefix(kind, "application/cloudevents") {
		var err error
		if body, err = cloudevents.Structured(r.Header, body); err != nil {
			return nil, problem(http.StatusBadRequest, err.Error())
		}
	}
	return cloudevents.Read(bytes.NewReader(body), "request"), nil
}

// readMapped reads JSON objects of any kind. Parameters map=FIELD:PATH say where
// a field is; the other fields are found by convert.Fill. Objects have no identity
// of their own, so equal ones are events of their own, unless they come with the
// same Idempotency-Key. One without a time has that of the request.
func readMapped(s *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
	fields, err := mappingOf(r.URL.Query()["map"])
	if err != nil {
		return nil, problem(http.StatusBadRequest, err.Error())
	}
	key := r.Header.Get("Idempotency-Key")
	ids := convert.NewIDs("json", key)
	event := func(raw []byte) (attestlog.Event, error) {
		o, err := convert.DecodeObject(raw)
		if err != nil {
			return attestlog.Event{}, err
		}
		e := attestlog.Event{Original: raw}
		for _, f := range fields {
			f.set(&e, o, f.path)
		}
		convert.Fill(&e, o)
		switch {
		case key != "":
			e.ID = ids.Next(raw)
		case e.Time.IsZero():
			e.Time = s.cfg.Clock()
		}
		convert.Complete(&e, o)
		return e, nil
	}
	return convert.Objects(bytes.NewReader(body), "request", "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(event(raw))
	}), nil
}

type mappedField struct {
	path string
	set  func(*attestlog.Event, convert.Object, string)
}

// mappable are the fields that a parameter map can name.
var mappable = map[string]func(*attestlog.Event, convert.Object, string){
	"action":        put(func(e *attestlog.Event) *string { return &e.Action }),
	"actor":         put(func(e *attestlog.Event) *string { return &e.Actor.ID }),
	"actor.name":    put(func(e *attestlog.Event) *string { return &e.Actor.Name }),
	"actor.session": put(func(e *attestlog.Event) *string { return &e.Actor.Session }),
	"host":          put(func(e *attestlog.Event) *string { return &e.Source.Host }),
	"ip":            put(func(e *attestlog.Event) *string { return &e.Source.IP }),
	"message":       put(func(e *attestlog.Event) *string { return &e.Message }),
	"module":        put(func(e *attestlog.Event) *string { return &e.Module }),
	"operation":     put(func(e *attestlog.Event) *string { return &e.Operation }),
	"reason":        put(func(e *attestlog.Event) *string { return &e.Reason }),
	"request.id":    put(func(e *attestlog.Event) *string { return &e.Request.ID }),
	"request.path":  put(func(e *attestlog.Event) *string { return &e.Request.Path }),
	"service":       put(func(e *attestlog.Event) *string { return &e.Service }),
	"tenant":        put(func(e *attestlog.Event) *string { return &e.Tenant }),
	"trace":         put(func(e *attestlog.Event) *string { return &e.Trace.TraceID }),
	"user_agent":    put(func(e *attestlog.Event) *string { return &e.Source.UserAgent }),
	"outcome":       rename("outcome"),
	"target":        setTarget,
	"time":          rename("time"),
}

func put(field func(*attestlog.Event) *string) func(*attestlog.Event, convert.Object, string) {
	return func(e *attestlog.Event, o convert.Object, path string) { *field(e) = convert.Take(o, path) }
}

// rename puts a value where convert.Fill looks for it, which reads it in many
// spellings.
func rename(name string) func(*attestlog.Event, convert.Object, string) {
	return func(_ *attestlog.Event, o convert.Object, path string) {
		v, ok := o.Lookup(path)
		if _, taken := o[name]; ok && (!taken || path == name) {
			convert.Take(o, path)
			o[name] = v
		}
	}
}

func setTarget(e *attestlog.Event, o convert.Object, path string) {
	v := convert.Take(o, path)
	t := attestlog.Target{ID: v}
	if kind, id, ok := strings.Cut(v, "/"); ok {
		t = attestlog.Target{Type: kind, ID: id}
	}
	if v != "" {
		e.Targets = []attestlog.Target{t}
	}
}

func mappingOf(params []string) ([]mappedField, error) {
	var out []mappedField
	for _, text := range params {
		field, path, ok := strings.Cut(text, ":")
		set := mappable[field]
		if !ok || set == nil || path == "" {
			return nil, fmt.Errorf("map=%s: want FIELD:PATH, such as actor:user.login; the fields are action, actor, target, ip, outcome, tenant and others of the documentation", text)
		}
		out = append(out, mappedField{path, set})
	}
	return out, nil
}

// sources are the ways in below /ingest/{log}/.
var sources = map[string]source{
	"v1/logs":     {read: readOTLP, answer: answerLogs, fail: failOTLP},
	"v1/audit":    {read: readAudit, answer: answerAudit, fail: failOTLP, all: true},
	"opa/logs":    {read: reading(opa.Read), answer: summary}, // below the URL that the agent is given
	"kubernetes":  {read: reading(kubernetes.Read), answer: summary},
	"cloudevents": {read: readCloudEvents, answer: summary},
	"json":        {read: readMapped, answer: summary},
}
