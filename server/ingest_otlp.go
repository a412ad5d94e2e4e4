package server

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/otel"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/otlp"
)

// OTLP over HTTP (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP"): answers are in
// the encoding of the request.
const (
	otlpProtobuf = "application/x-protobuf"
	otlpJSON     = "application/json"
)

// maxRefusalText bounds the text about refused records in an answer, in bytes.
const maxRefusalText = 4096

func isJSON(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == otlpJSON
}

// readOTLP reads an export of logs.
func readOTLP(s *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
	if !isJSON(r) {
		var err error
		body, err = otlp.JSON(body)
		if errors.Is(err, otlp.ErrTooLarge) {
			return nil, problem(http.StatusRequestEntityTooLarge, err.Error())
		}
		if err != nil {
			return nil, problem(http.StatusBadRequest, err.Error())
		}
	}

	return func(yield func(attestlog.Event, error) bool) {
		for e, err := range otel.Read(bytes.NewReader(body), "request") {
			// An id made from the record says that equal records at one instant are one
			// that was sent twice. That is not known of records without any time.
			hasMadeID := strings.HasPrefix(e.ID, otel.Format+":")
			if err == nil && hasMadeID && e.Time.Equal(time.Unix(0, 0)) {
				e.ID = ""
				e.Time = s.cfg.Clock()
			}

			if !yield(e, err) {
				return
			}
		}
	}, nil
}

// refusalText says why records were refused, or why the first ones were.
func refusalText(refused []error) string {
	var b strings.Builder
	for i, err := range refused {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
		if b.Len() > maxRefusalText {
			break
		}
	}
	return cutText(b.String(), maxRefusalText)
}

// answerLogs answers an export of logs. Refused records are a partial success in
// OTLP's words, which tells the sender not to send them again.
func answerLogs(w http.ResponseWriter, r *http.Request, got ingested) {
	kind := otlpProtobuf
	if isJSON(r) {
		kind = otlpJSON
	}
	w.Header().Set("Content-Type", kind)
	w.Write(otlp.Response(int64(len(got.refused)), refusalText(got.refused), isJSON(r)))
}

// failOTLP answers with a google.rpc.Status, of which exporters read the message.
func failOTLP(w http.ResponseWriter, r *http.Request, status int, detail string) {
	if isJSON(r) {
		writeJSON(w, status, map[string]string{"message": detail})
		return
	}

	const message = 2 // the field's number
	body := protowire.AppendTag(nil, message, protowire.BytesType)
	body = protowire.AppendString(body, strings.ToValidUTF8(detail, "\uFFFD"))

	w.Header().Set("Content-Type", otlpProtobuf)
	w.WriteHeader(status)
	w.Write(body)
}

// readAudit is readOTLP for the audit signal, whose records have mandatory
// attributes.
func readAudit(s *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
	records, err := readOTLP(s, r, body)
	if err != nil {
		return nil, err
	}

	return func(yield func(attestlog.Event, error) bool) {
		n := 0
		for e, err := range records {
			n++
			if err == nil {
				err = checkAudit(&e, n)
			}
			if !yield(e, err) {
				return
			}
		}
	}, nil
}

// checkAudit returns an error about the nth record if it lacks a mandatory
// attribute.
func checkAudit(e *attestlog.Event, n int) error {
	missing := missingAttribute(e)
	if missing == "" {
		return nil
	}
	return &convert.RecordError{Source: "request", Record: n, Err: fmt.Errorf("an audit record needs %s", missing)}
}

// missingAttribute names a mandatory attribute that a record lacks (OTEP 0267,
// data model, "Mandatory Attributes").
func missingAttribute(e *attestlog.Event) string {
	switch {
	case e.ID == "" || strings.HasPrefix(e.ID, otel.Format+":"):
		return "audit.record.id"
	case e.Actor.ID == fit.UnknownActor:
		return "audit.actor.id"
	case e.Actor.Type == "":
		return "audit.actor.type: user, service or system"
	case e.Operation == "":
		return "audit.action"
	case e.Outcome == "":
		return "audit.outcome: success, failure or unknown"
	}
	return ""
}

// answerAudit answers with a receipt for each record (OTEP 0267, collector,
// "Batch Response Fields"). The hash is the entry's RFC 6962 leaf hash.
func answerAudit(w http.ResponseWriter, _ *http.Request, got ingested) {
	type status struct {
		RecordID      string `json:"record_id"`
		Status        string `json:"status"`
		IntegrityHash string `json:"integrity_hash"`
		SinkTimestamp string `json:"sink_timestamp"`
		VerifyStatus  string `json:"verify_status"`
		Index         uint64 `json:"index"`
	}
	const delivered = "delivered_all_sinks"

	// The source stores all records or none, so here each of them is delivered.
	out := struct {
		Status  string            `json:"status"`
		Records map[string]status `json:"record_status_map"`
	}{delivered, map[string]status{}}
	for _, r := range got.receipts {
		out.Records[r.ID] = status{
			RecordID:      r.ID,
			Status:        delivered,
			IntegrityHash: base64.StdEncoding.EncodeToString(r.LeafHash[:]),
			SinkTimestamp: strconv.FormatInt(r.LoggedTime.UnixNano(), 10),
			VerifyStatus:  "deferred",
			Index:         r.Index,
		}
	}
	writeJSON(w, http.StatusOK, out)
}
