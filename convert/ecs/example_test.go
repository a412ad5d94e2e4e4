package ecs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/ecs"
)

func ExampleRead() {
	file := strings.NewReader(`{"@timestamp":"2026-03-01T10:00:00.123Z","ecs":{"version":"9.0.0"},
		"event":{"action":"user-login","category":["authentication"],"type":["start"],"outcome":"failure"},
		"user":{"id":"alice"},"source":{"ip":"192.0.2.7"},"service":{"name":"sshd"}}`)

	for e, err := range ecs.Read(file, "logs.ndjson") {
		if err != nil {
			fmt.Println(err) // this document was refused; the next one follows
			continue
		}
		fmt.Println(e.Time, e.Service, e.Action, e.Operation, e.Outcome)
		fmt.Println(e.Actor.ID, e.Source.IP)
	}
	// Output:
	// 2026-03-01 10:00:00.123 +0000 UTC sshd user-login login failure
	// alice 192.0.2.7
}

func ExampleAppend() {
	when := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	line, err := ecs.Append(nil, &attestlog.Entry{
		Event: attestlog.Event{
			ID: "r-1", Time: when, Service: "webmail", Action: "mail.view", Operation: "read", Outcome: attestlog.Success,
			Actor: attestlog.Actor{ID: "alice"}, Request: attestlog.Request{Method: "GET", Path: "/mail/7"},
		},
		Index: 7, LoggedTime: when,
	})
	if err != nil {
		panic(err)
	}

	var indented bytes.Buffer
	json.Indent(&indented, line, "", "  ")
	indented.WriteTo(os.Stdout)
	// Output:
	// {
	//   "@timestamp": "2026-03-01T10:00:00.000Z",
	//   "attestlog.index": 7,
	//   "attestlog.leaf_hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	//   "attestlog.operation": "read",
	//   "attestlog.time": "2026-03-01T10:00:00Z",
	//   "ecs.version": "9.0.0",
	//   "event.action": "mail.view",
	//   "event.category": [
	//     "web"
	//   ],
	//   "event.created": "2026-03-01T10:00:00.000Z",
	//   "event.id": "r-1",
	//   "event.kind": "event",
	//   "event.outcome": "success",
	//   "event.provider": "attestlog",
	//   "event.sequence": 7,
	//   "event.type": [
	//     "access"
	//   ],
	//   "http.request.method": "GET",
	//   "related.user": [
	//     "alice"
	//   ],
	//   "service.name": "webmail",
	//   "url.path": "/mail/7",
	//   "user.id": "alice"
	// }
}
