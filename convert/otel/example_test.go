package otel_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/otel"
)

func ExampleRead() {
	request := strings.NewReader(`{"resourceLogs":[{
		"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"webmail"}}]},
		"scopeLogs":[{"logRecords":[{"timeUnixNano":"1767261600000000000","eventName":"user.login.success",
		"attributes":[{"key":"audit.actor.id","value":{"stringValue":"alice"}},
			{"key":"audit.action","value":{"stringValue":"LOGIN"}},
			{"key":"audit.outcome","value":{"stringValue":"success"}}]}]}]}]}`)

	for e, err := range otel.Read(request, "export.json") {
		if err != nil {
			fmt.Println(err) // this record was refused; the next one follows
			continue
		}
		fmt.Println(e.Time, e.Service, e.Action, e.Operation, e.Outcome, e.Actor.ID)
	}
	// Output:
	// 2026-01-01 10:00:00 +0000 UTC webmail user.login.success login success alice
}

func ExampleAppend() {
	when := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	line, err := otel.Append(nil, &attestlog.Entry{
		Event: attestlog.Event{
			ID: "r-1", Time: when, Action: "mail.view", Operation: "read", Outcome: attestlog.Success,
			Actor: attestlog.Actor{ID: "alice"},
		},
		Index: 7, LoggedTime: when,
	})
	if err != nil {
		panic(err)
	}

	// One attribute a line, to be read more easily.
	fmt.Println(strings.ReplaceAll(string(line), `{"key":`, "\n"+`{"key":`))
	// Output:
	// {"resourceLogs":[{"resource":{"attributes":[]},"scopeLogs":[{"logRecords":[{"attributes":[
	// {"key":"attestlog.index","value":{"intValue":"7"}},
	// {"key":"attestlog.leaf_hash","value":{"stringValue":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
	// {"key":"attestlog.logged_time","value":{"stringValue":"1772359200000000000"}},
	// {"key":"attestlog.operation","value":{"stringValue":"read"}},
	// {"key":"audit.action","value":{"stringValue":"READ"}},
	// {"key":"audit.actor.id","value":{"stringValue":"alice"}},
	// {"key":"audit.actor.type","value":{"stringValue":"user"}},
	// {"key":"audit.outcome","value":{"stringValue":"success"}},
	// {"key":"audit.record.id","value":{"stringValue":"r-1"}},
	// {"key":"audit.schema.version","value":{"stringValue":"1.0.0"}}],"eventName":"mail.view","observedTimeUnixNano":"1772359200000000000","timeUnixNano":"1772359200000000000"}],"scope":{}}]}]}
}
