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

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/otel"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/otlp"
	"google.golang.org/protobuf/encoding/protowire"
)

// OTLP over HTTP (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP"): answers are in
// the encoding of the request.
const (
	otlpProtobuf = "application/x-protobuf"
	otlpJSON     = "application/json"
)

func isJSON(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == otlpJSON
}

func readOTLP(s *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
	if !isJSON(r) {
		var err error
		if body, err = otlp.JSON(body); errors.Is(err, otlp.ErrTooLarge) {
			return nil, problem(http.StatusRequestEntityTooLarge, err.Error())
		} else if err != nil {
			return nil, problem(http.StatusBadRequest, err.Error())
		}
	}
	return func(yield func(attestlog.Event, error) bool) {
		for e, err := range otel.Read(bytes.NewReader(body), "request") {
			// Equal records at one instant are one that was sent again; those without
			// any time are not known to be.
			if err == nil && e.Time.Equal(time.Unix(0, 0)) && strings.HasPrefix(e.ID, otel.Format+":") {
				e.ID, e.Time = "", s.cfg.Clock()
			}
			if !yield(e, err) {
				return
			}
		}
	}, nil
}

// maxTold bounds what an answer says of records that were refused.
const maxTold = 4096

// told says how many records were refused, and why the first ones were.
func told(refused []error) string {
	if len(refused) == 0 {
		return ""
	}
	var b strings.Builder
	for i, err := range refused {
		if i > 0 {
			b.WriteString("; ")
		}
		if b.WriteString(err.Error()); b.Len() > maxTold {
			break
		}
	}
	return cutText(b.String(), maxTold)
}

// answerLogs answers an export of logs. What the log refuses is no reason to send
// it again: that is OTLP's partial success.
func answerLogs(w http.ResponseWriter, r *http.Request, t taken) {
	kind := otlpProtobuf
	if isJSON(r) {
		kind = otlpJSON
	}
	w.Header().Set("Content-Type", kind)
	w.Write(otlp.Response(int64(len(t.refused)), told(t.refused), isJSON(r)))
}

// failOTLP answers with a google.rpc.Status, of which exporters read the message.
func failOTLP(w http.ResponseWriter, r *http.Request, status int, detail string) {
	if isJSON(r) {
		writeJSON(w, status, map[string]string{"message": detail})
		return
	}
	w.Header().Set("Content-Type", otlpProtobuf)
	w.WriteHeader(status)
	const message = 2 // google.rpc.Status
	w.Write(protowire.AppendString(protowire.AppendTag(nil, message, protowire.BytesType), strings.ToValidUTF8(detail, "\uFFFD")))
}

// readAudit is readOTLP for the audit signal, whose records have to be whole.
func readAudit(s *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
	records, err := readOTLP(s, r, body)
	if err != nil {
		return nil, err
	}
	return func(yield func(attestlog.Event, error) bool) {
		n := 0
		for e, err := range records {
			if n++; err == nil {
				if missing := missingAudit(&e); missing != "" {
					err = &convert.RecordError{Source: "request", Record: n, Err: fmt.Errorf("an audit record needs %s", missing)}
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}, nil
}

// missingAudit names a mandatory attribute that a record lacks (OTEP 0267, data
// model, "Mandatory Attributes").
func missingAudit(e *attestlog.Event) string {
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
func answerAudit(w http.ResponseWriter, _ *http.Request, t taken) {
	type status struct {
		RecordID      string `json:"record_id"`
		Status        string `json:"status"`
		IntegrityHash string `json:"integrity_hash"`
		SinkTimestamp string `json:"sink_timestamp"`
		VerifyStatus  string `json:"verify_status"`
		Index         uint64 `json:"index"`
	}
	const delivered = "delivered_all_sinks"
	out := struct {
		Status  string            `json:"status"`
		Records map[string]status `json:"record_status_map"`
	}{delivered, map[string]status{}}
	for _, r := range t.receipts {
		out.Records[r.ID] = status{
			r.ID, delivered, base64.StdEncoding.EncodeToString(r.LeafHash[:]), strconv.FormatInt(r.LoggedTime.UnixNano(), 10), "deferred", r.Index,
		}
	}
	writeJSON(w, http.StatusOK, out)
}
