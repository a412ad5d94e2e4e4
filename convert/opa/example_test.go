package opa_test

import (
	"fmt"
	"strings"

	"github.com/attestlog/attestlog/convert/opa"
)

func ExampleRead() {
	upload := strings.NewReader(`[{"labels":{"id":"b68b","version":"1.22.2"},"decision_id":"2925","path":"shop/authz",
		"input":{"user":"bob"},"result":{"allow":false},"requested_by":"192.0.2.7:34100",
		"timestamp":"2026-03-01T10:00:00.123Z","metrics":{"timer_server_handler_ns":2118741},"req_id":2}]`)

	for e, err := range opa.Read(upload, "decisions.json") {
		if err != nil {
			fmt.Println(err) // this decision was refused; the next one follows
			continue
		}
		fmt.Println(e.Time, e.Actor.ID, e.Action, e.Outcome, e.Source.IP)
	}
	// Output:
	// 2026-03-01 10:00:00.123 +0000 UTC bob opa.shop.authz failure 192.0.2.7
}
