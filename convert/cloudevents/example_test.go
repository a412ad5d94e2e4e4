package cloudevents_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cloudevents"
)

func ExampleRead() {
	batch := strings.NewReader(`[{"specversion":"1.0","id":"1","source":"/webmail","type":"mail.viewed",
		"subject":"mail/7","time":"2026-03-01T10:00:00Z","authtype":"user","authid":"alice",
		"datacontenttype":"application/json","data":{"ip":"192.0.2.7","outcome":"success"}}]`)

	for e, err := range cloudevents.Read(batch, "batch.json") {
		if err != nil {
			fmt.Println(err) // this record was refused; the next one follows
			continue
		}
		fmt.Println(e.Time, e.Service, e.Action, e.Outcome)
		fmt.Println(e.Actor.ID, e.Actor.Type, e.Source.IP, e.Targets)
	}
	// Output:
	// 2026-03-01 10:00:00 +0000 UTC /webmail mail.viewed success
	// alice user 192.0.2.7 [{7 mail }]
}

func ExampleAppend() {
	when := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	line, err := cloudevents.Append(nil, "example.com/audit", &attestlog.Entry{
		Event: attestlog.Event{
			ID: "r-1", Time: when, Action: "mail.view", Outcome: attestlog.Success,
			Actor: attestlog.Actor{ID: "alice"}, Targets: []attestlog.Target{{ID: "7", Type: "mail"}},
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
	//   "specversion": "1.0",
	//   "id": "7",
	//   "source": "/example.com/audit",
	//   "type": "mail.view",
	//   "subject": "mail/7",
	//   "time": "2026-03-01T10:00:00Z",
	//   "datacontenttype": "application/json",
	//   "data": {
	//     "index": 7,
	//     "leaf_hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	//     "logged_time": "2026-03-01T10:00:00.000000Z",
	//     "action": "mail.view",
	//     "actor": {
	//       "id": "alice"
	//     },
	//     "id": "r-1",
	//     "outcome": "success",
	//     "targets": [
	//       {
	//         "id": "7",
	//         "type": "mail"
	//       }
	//     ],
	//     "time": "2026-03-01T10:00:00.000000000Z"
	//   }
	// }
}

// What a sender posts in binary mode is read as if it were structured.
func ExampleStructured() {
	header := http.Header{}
	header.Set("Ce-Specversion", "1.0")
	header.Set("Ce-Id", "1")
	header.Set("Ce-Source", "/webmail")
	header.Set("Ce-Type", "mail.viewed")
	header.Set("Content-Type", "application/json")

	event, err := cloudevents.Structured(header, []byte(`{"user": "alice"}`))
	fmt.Println(string(event), err)
	// Output:
	// {"datacontenttype":"application/json","id":"1","source":"/webmail","specversion":"1.0","type":"mail.viewed","data":{"user": "alice"}} <nil>
}
