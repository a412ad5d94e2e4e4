package crashtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"
)

// An event is one line of input.
type event struct {
	id   string
	line string // JSON, without a line end
}

// An eventSource makes events that differ from those of every other source.
type eventSource struct {
	rand *rand.Rand
	name string
	ms   int64 // of the last id, since 1970
}

func newEvents(seed uint64, name string) *eventSource {
	const start = 1_795_305_600_000 // 2026-11-22
	return &eventSource{rand.New(rand.NewPCG(seed, 0)), name, start}
}

// id returns a UUIDv7 (RFC 9562, Section 5.7).
func (s *eventSource) id() string {
	s.ms += s.rand.Int64N(20)
	var id uuid.UUID
	for i := range 6 {
		id[i] = byte(s.ms >> (40 - 8*i))
	}
	for i := 6; i < 16; i++ {
		id[i] = byte(s.rand.Uint32())
	}
	id[6] = 0x70 | id[6]&0x0f
	id[8] = 0x80 | id[8]&0x3f
	return id.String()
}

// event returns an event with sealed fields; some have a time of their own,
// and some do not fit a page of the database.
func (s *eventSource) event() event {
	e := map[string]any{
		"id": s.id(), "action": "mail.view", "outcome": "success",
		"actor":   map[string]any{"id": s.name, "name": strings.ToUpper(s.name)},
		"source":  map[string]any{"ip": fmt.Sprintf("10.0.0.%d", s.rand.IntN(256))},
		"targets": []any{map[string]any{"type": "mail", "id": fmt.Sprint(s.rand.IntN(1000))}},
	}
	if s.rand.IntN(2) == 0 {
		e["time"] = "2026-11-21T10:00:00Z"
	}
	if s.rand.IntN(20) == 0 {
		e["message"] = strings.Repeat("words ", s.rand.IntN(4000))
	}
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and maps of them
	}
	return event{e["id"].(string), string(line)}
}

func (s *eventSource) events(n int) []event {
	out := make([]event, n)
	for i := range out {
		out[i] = s.event()
	}
	return out
}

// lines joins events to a file's content.
func lines(events []event) string {
	var b strings.Builder
	for _, e := range events {
		b.WriteString(e.line)
		b.WriteByte('\n')
	}
	return b.String()
}
