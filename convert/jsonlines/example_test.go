package jsonlines_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/attestlog/attestlog/convert/jsonlines"
)

func ExampleRead() {
	file := strings.NewReader(`{"ts":"2026-01-02T03:04:05Z","event":"login","user":"alice","ip":"192.0.2.7","shard":3}
{"ts":"2026-01-02T03:04:06Z","event":"log
{"action":"mail.view","actor":{"id":"alice"},"id":"019b7cbf-6bb8-7000-8000-000000000000"}
`)

	for e, err := range jsonlines.Read(file, "app.log") {
		if err != nil {
			fmt.Println(err) // this record was refused; the next one follows
			continue
		}
		fmt.Println(e.Time.Format(time.RFC3339), e.Actor.ID, e.Action, e.Source.IP, e.Attributes)
	}
	// Output:
	// 2026-01-02T03:04:05Z alice login 192.0.2.7 map[shard:3]
	// app.log: record 2 (line 2, byte 88): not JSON: unexpected end at byte 41
	// 2026-01-02T03:27:58Z alice mail.view  map[]
}
