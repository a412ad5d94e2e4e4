package ocsf_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/ocsf"
)

func ExampleRead() {
	file := strings.NewReader(`{"class_uid":6003,"activity_id":2,"activity_name":"Read","time":1772359200123,
		"status_id":2,"status_detail":"denied","actor":{"user":{"uid":"alice","type_id":1}},
		"api":{"operation":"mail.view","service":{"name":"webmail"}},"src_endpoint":{"ip":"192.0.2.7"},
		"resources":[{"uid":"7","type":"mail"}],"metadata":{"uid":"M1"}}`)

	for e, err := range ocsf.Read(file, "events.json") {
		if err != nil {
			fmt.Println(err) // this record was refused; the next one follows
			continue
		}
		fmt.Println(e.Time, e.Service, e.Action, e.Operation, e.Outcome, e.Reason)
		fmt.Println(e.Actor.ID, e.Actor.Type, e.Source.IP, e.Targets)
	}
	// Output:
	// 2026-03-01 10:00:00.123 +0000 UTC webmail mail.view read failure denied
	// alice user 192.0.2.7 [{7 mail }]
}

func ExampleAppend() {
	when := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	line, err := ocsf.Append(nil, &attestlog.Entry{
		Event: attestlog.Event{
			ID: "r-1", Time: when, Service: "webmail", Action: "mail.view", Operation: "read", Outcome: attestlog.Success,
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
	//   "activity_id": 2,
	//   "activity_name": "Read",
	//   "actor": {
	//     "user": {
	//       "type_id": 0,
	//       "uid": "alice"
	//     }
	//   },
	//   "api": {
	//     "operation": "mail.view",
	//     "service": {
	//       "name": "webmail"
	//     }
	//   },
	//   "category_uid": 6,
	//   "class_uid": 6003,
	//   "metadata": {
	//     "event_code": "mail.view",
	//     "logged_time": 1772359200000,
	//     "product": {
	//       "name": "attestlog"
	//     },
	//     "sequence": 7,
	//     "uid": "r-1",
	//     "version": "1.8.0"
	//   },
	//   "resources": [
	//     {
	//       "type": "mail",
	//       "uid": "7"
	//     }
	//   ],
	//   "severity_id": 1,
	//   "src_endpoint": {
	//     "name": "unknown"
	//   },
	//   "status": "Success",
	//   "status_id": 1,
	//   "time": 1772359200000,
	//   "type_uid": 600302,
	//   "unmapped": {
	//     "action": "mail.view",
	//     "leaf_hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	//     "operation": "read",
	//     "service": "webmail",
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
