package audit_test

import (
	"fmt"
	"strings"

	"github.com/attestlog/attestlog/convert/audit"
)

func ExampleRead() {
	const file = `{"timestamp":"2026-03-01T10:00:00Z","event_type":"login","username":"alice","ip_address":"192.0.2.7","success":true}`

	for e, err := range audit.Read(strings.NewReader(file), "audit.jsonl") {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(e.Actor.ID, e.Action, e.Outcome, e.Source.IP)

		line, err := audit.LineOf(e)
		fmt.Println(string(line) == file, err)
	}
	// Output:
	// alice login success 192.0.2.7
	// true <nil>
}
