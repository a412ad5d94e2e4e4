package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/uuid"

	"github.com/attestlog/attestlog"
)

// maxEvents is how many events one call of Append takes, and so how many are
// stored together.
const maxEvents = 10_000

type appendInput struct {
	Log      string `path:"log" doc:"The log's name."`
	Key      string `header:"Idempotency-Key" maxLength:"128" doc:"Makes it harmless to send the same body again if its events have no ids: a UUIDv7, or any text if every event has a time."`
	Type     string `header:"Content-Type"`
	Encoding string `header:"Content-Encoding"`
	RawBody  []byte `contentType:"application/json" doc:"An event, a list of events, or events one a line (application/x-ndjson)."`
}

type receipts struct {
	Receipts []receipt `json:"receipts" doc:"One for each event, in their order."`
}

type receipt struct {
	Index      uint64 `json:"index" doc:"The entry's place in the log, from 0."`
	ID         string `json:"id" doc:"The event's id: the given one, or a new UUIDv7."`
	LeafHash   string `json:"leaf_hash" doc:"RFC 6962 leaf hash, in base64."`
	LoggedTime string `json:"logged_time" format:"date-time" doc:"When the log took the event."`
}

type appendOutput struct {
	Body receipts
}

func receiptOf(r attestlog.Receipt) receipt {
	return receipt{
		Index:      r.Index,
		ID:         r.ID,
		LeafHash:   base64.StdEncoding.EncodeToString(r.LeafHash[:]),
		LoggedTime: r.LoggedTime.UTC().Format("2006-01-02T15:04:05.000000Z"),
	}
}

// append stores the events of a body, all or none.
func (s *Server) append(ctx context.Context, in *appendInput) (*appendOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeAppend)
	if err != nil {
		return nil, err
	}

	body, err := s.inflate(in.Encoding, in.RawBody)
	if err != nil {
		return nil, err
	}
	events, err := parseEvents(body)
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}

	if in.Key != "" {
		err := deriveIDs(events, in.Key)
		if err != nil {
			return nil, err
		}
	}
	for i := range events {
		err := v.confine(&events[i])
		if err != nil {
			return nil, err
		}
	}

	stored, err := v.log.Append(ctx, events...)
	if err != nil {
		return nil, s.problemOf(ctx, v.hideConflict(err))
	}
	out := &appendOutput{Body: receipts{make([]receipt, len(stored))}}
	for i, r := range stored {
		out.Body.Receipts[i] = receiptOf(r)
	}
	return out, nil
}

// parseEvents reads an event, a list of events, or events one after the other.
func parseEvents(body []byte) ([]attestlog.Event, error) {
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) > 0 && body[0] == '[' {
		return parseList(body)
	}

	events, ok := parseLines(body)
	if ok {
		return events, nil
	}
	return parseStream(body)
}

// parseLines reads events one a line, as clients write them, in one pass. ok is
// false if a line is not an event, or if there are too many: parseStream then
// reads the body another way, or says what is wrong with it.
func parseLines(body []byte) (events []attestlog.Event, ok bool) {
	for line := range bytes.Lines(body) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}

		e, err := attestlog.ParseEvent(line)
		if err != nil || len(events) == maxEvents {
			return nil, false
		}
		events = append(events, e)
	}
	return events, len(events) > 0
}

// parseStream reads events one after the other, over any number of lines.
func parseStream(body []byte) ([]attestlog.Event, error) {
	var events []attestlog.Event
	dec := json.NewDecoder(bytes.NewReader(body))

	// Not while dec.More(), which takes a stray closing bracket for the end.
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, notJSON(len(events), err)
		}

		e, err := parseEvent(raw, len(events))
		if err != nil {
			return nil, err
		}
		events = append(events, e)
		if len(events) > maxEvents {
			return nil, tooManyEvents()
		}
	}

	if len(events) == 0 {
		return nil, problem(http.StatusBadRequest, "the body holds no event")
	}
	return events, nil
}

// parseList reads a list, one event after the other: two bytes of the body can be
// an element, so a list of raw ones would take many times its memory.
func parseList(body []byte) ([]attestlog.Event, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	_, err := dec.Token() // the opening bracket
	if err != nil {
		return nil, notJSON(0, err)
	}

	var events []attestlog.Event
	for dec.More() {
		if len(events) == maxEvents {
			return nil, tooManyEvents()
		}

		var raw json.RawMessage
		err := dec.Decode(&raw)
		if err != nil {
			return nil, notJSON(len(events), err)
		}
		e, err := parseEvent(raw, len(events))
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}

	_, err = dec.Token() // the closing bracket
	if err != nil {
		return nil, notJSON(len(events), err)
	}

	// The body has to end here: what came after the list would be lost unnoticed.
	_, err = dec.Token()
	switch err {
	case io.EOF:
		return events, nil
	case nil:
		err = errors.New("there is something after the list")
	}
	return nil, notJSON(len(events), err)
}

// parseEvent reads the event at a place in a body.
func parseEvent(raw []byte, place int) (attestlog.Event, error) {
	e, err := attestlog.ParseEvent(raw)
	if err == nil {
		return e, nil
	}

	var field *attestlog.FieldError
	if errors.As(err, &field) {
		field.Event = place
		return e, err
	}
	return e, problem(http.StatusBadRequest, fmt.Sprintf("event %d: %v", place, err))
}

func notJSON(place int, err error) error {
	return problem(http.StatusBadRequest, fmt.Sprintf("event %d: the body is not JSON: %v", place, err))
}

func tooManyEvents() error {
	return problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("more than %d events; no more are stored together", maxEvents))
}

// deriveIDs makes the ids of those events that lack one from an idempotency key.
func deriveIDs(events []attestlog.Event, key string) error {
	id, err := uuid.Parse(key)
	isV7 := err == nil && id.Version() == 7

	for i := range events {
		e := &events[i]
		switch {
		case e.ID != "":
		case isV7 && i == 0:
			e.ID = id.String()
		case isV7:
			e.ID = siblingOf(id, i).String()
		case e.Time.IsZero():
			// Any other id makes the entry's key together with its time. The time of
			// the request would give a retry another key.
			return problem(http.StatusBadRequest,
				fmt.Sprintf("event %d has neither an id nor a time, so the Idempotency-Key has to be a UUIDv7", i))
		default:
			sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", i, key))
			e.ID = "key:" + hex.EncodeToString(sum[:16])
		}
	}
	return nil
}

// siblingOf returns a UUIDv7 of the same instant as id, which id and n determine.
func siblingOf(id uuid.UUID, n int) uuid.UUID {
	sum := sha256.Sum256(fmt.Appendf(id[:len(id):len(id)], "%d", n))

	// RFC 9562, Section 5.7: six bytes of time, the version, the variant.
	sibling := id
	copy(sibling[6:], sum[:])
	sibling[6] = sibling[6]&0x0f | 0x70
	sibling[8] = sibling[8]&0x3f | 0x80
	return sibling
}

// appendOriginal stores the bytes of a body as an event's original and answers
// with its index in decimal, as Tessera's load generator wants it.
func (s *Server) appendOriginal(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	v, err := s.enter(ctx, s.first.name, ScopeAppend)
	if err != nil {
		writeProblem(w, err)
		return
	}

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, attestlog.MaxOriginal))
	if err != nil {
		writeProblem(w, unreadable(err))
		return
	}

	e := attestlog.Event{Action: "leaf.add", Operation: "create", Service: "attestlog", Actor: v.actor, Original: body}
	if v.token.Actor != "" { // then confine refuses any other actor
		e.Actor = attestlog.Actor{ID: v.token.Actor}
	}
	err = v.confine(&e)
	if err != nil {
		writeProblem(w, err)
		return
	}

	stored, err := v.log.Append(ctx, e)
	if err != nil {
		writeProblem(w, s.problemOf(ctx, err))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%d", stored[0].Index)
}
