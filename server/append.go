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

type appendInput struct {
	Log      string `path:"log" doc:"The log's name."`
	Key      string `header:"Idempotency-Key" maxLength:"128" doc:"Makes sending the same body again harmless where its events have no ids: a UUIDv7, or any text if every event has a time."`
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
	return receipt{r.Index, r.ID, base64.StdEncoding.EncodeToString(r.LeafHash[:]), r.LoggedTime.UTC().Format("2006-01-02T15:04:05.000000Z")}
}

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
		return nil, s.failed(ctx, err)
	}
	if in.Key != "" {
		if err := keyed(events, in.Key); err != nil {
			return nil, err
		}
	}
	for i := range events {
		if err := v.own(&events[i]); err != nil {
			return nil, err
		}
	}
	stored, err := v.log.log.Append(ctx, events...)
	if err != nil {
		return nil, s.failed(ctx, v.told(err))
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
		return eventList(body)
	}
	if events, ok := eventLines(body); ok {
		return events, nil
	}
	var events []attestlog.Event
	dec := json.NewDecoder(bytes.NewReader(body))
	for { // not while dec.More(), which takes a bracket too many for an end
		var raw json.RawMessage
		if err := dec.Decode(&raw); err == io.EOF {
			break
		} else if err != nil {
			return nil, problem(http.StatusBadRequest, fmt.Sprintf("event %d: the body is not JSON: %v", len(events), err))
		}
		var e attestlog.Event
		if err := parseEvent(&e, raw, len(events)); err != nil {
			return nil, err
		}
		if events = append(events, e); len(events) > mostEvents {
			return nil, tooMany()
		}
	}
	if len(events) == 0 {
		return nil, problem(http.StatusBadRequest, "the body holds no event")
	}
	return events, nil
}

// eventList reads a list, one event after the other: two bytes of it can be an element.
func eventList(body []byte) ([]attestlog.Event, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	_, err := dec.Token() // the bracket
	var events []attestlog.Event
	for err == nil && dec.More() {
		if len(events) == mostEvents {
			return nil, tooMany()
		}
		var raw json.RawMessage
		if err = dec.Decode(&raw); err != nil {
			break
		}
		events = append(events, attestlog.Event{})
		if err := parseEvent(&events[len(events)-1], raw, len(events)-1); err != nil {
			return nil, err
		}
	}
	if err == nil {
		_, err = dec.Token() // the other
	}
	if err == nil {
		if _, err = dec.Token(); err == io.EOF {
			return events, nil
		}
		err = errors.New("something stands behind the list")
	}
	return nil, problem(http.StatusBadRequest, fmt.Sprintf("event %d: the body is not JSON: %v", len(events), err))
}

// eventLines reads events that stand one a line, as clients write them, in one
// pass. ok is false where a line is no event; why, the slower way tells.
func eventLines(body []byte) (events []attestlog.Event, ok bool) {
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		e, err := attestlog.ParseEvent(line)
		if err != nil || len(events) == mostEvents {
			return nil, false
		}
		events = append(events, e)
	}
	return events, len(events) > 0
}

func tooMany() error {
	return problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("more events than %d, which are stored together at most", mostEvents))
}

func parseEvent(e *attestlog.Event, raw []byte, n int) (err error) {
	*e, err = attestlog.ParseEvent(raw)
	var field *attestlog.FieldError
	if errors.As(err, &field) {
		field.Event = n
		return err
	}
	if err != nil {
		return problem(http.StatusBadRequest, fmt.Sprintf("event %d: %v", n, err))
	}
	return nil
}

// keyed gives ids that come from an idempotency key to the events that have
// none. Of a UUIDv7 they are UUIDv7s of the same instant.
func keyed(events []attestlog.Event, key string) error {
	id, err := uuid.Parse(key)
	isV7 := err == nil && id.Version() == 7
	for i := range events {
		e := &events[i]
		switch {
		case e.ID != "":
		case isV7 && i == 0:
			e.ID = id.String()
		case isV7:
			sum := sha256.Sum256(fmt.Appendf(id[:len(id):len(id)], "%d", i))
			more := id
			copy(more[6:], sum[:])
			more[6], more[8] = more[6]&0x0f|0x70, more[8]&0x3f|0x80 // RFC 9562, Section 5.7
			e.ID = more.String()
		case e.Time.IsZero():
			return problem(http.StatusBadRequest, fmt.Sprintf("event %d has neither an id nor a time, so the Idempotency-Key has to be a UUIDv7", i))
		default:
			sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", i, key))
			e.ID = "key:" + hex.EncodeToString(sum[:16])
		}
	}
	return nil
}
