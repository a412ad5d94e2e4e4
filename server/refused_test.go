package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/attestlog/attestlog/server"
)

// An exporter is told how many records could not be read, not how many requests.
func TestLogsCountRefusedRecords(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	var stored uint64
	for _, tt := range []struct {
		records string
		good    uint64
		refused string
	}{
		{`{"eventName":"a"}`, 1, ""},
		{`{"eventName":"b"},{"attributes":7},{"eventName":"c"}`, 2, "1"},
		{`{"attributes":7},{"body":7},{"eventName":"d"},{"attributes":[7]}`, 1, "3"},
		{strings.TrimSuffix(strings.Repeat(`{"body":7},`, 49_999), ","), 0, "49999"},
	} {
		var got struct {
			PartialSuccess struct {
				Rejected json.Number `json:"rejectedLogRecords"`
			} `json:"partialSuccess"`
		}
		body := fmt.Sprintf(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[%s]}]}]}`, tt.records)
		s.post("/v1/logs", token, body, "Content-Type", "application/json").into(t, http.StatusOK, &got)
		if stored += tt.good; got.PartialSuccess.Rejected.String() != tt.refused || s.size() != stored {
			t.Errorf("records %.100s: %q rejected, %d stored in all, want %q and %d", tt.records, got.PartialSuccess.Rejected, s.size(), tt.refused, stored)
		}
	}
}
