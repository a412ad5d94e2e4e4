package cloudtrail_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cloudtrail"
)

func ExampleRead() {
	file := strings.NewReader(`{"Records":[{"eventVersion":"1.08",
		"userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/alice","userName":"alice"},
		"eventTime":"2026-01-02T03:04:05Z","eventSource":"ec2.amazonaws.com","eventName":"TerminateInstances",
		"sourceIPAddress":"192.0.2.7","requestParameters":{"instanceId":"i-0abc"},
		"eventID":"9d07","recipientAccountId":"111122223333"}]}`)

	for e, err := range cloudtrail.Read(file, "trail.json") {
		if err != nil {
			fmt.Println(err) // this record was refused; the next one follows
			continue
		}
		fmt.Println(e.Time, e.Tenant, e.Action, e.Operation, e.Outcome)
		fmt.Println(e.Actor.ID, e.Source.IP, e.Targets)
	}
	// Output:
	// 2026-01-02 03:04:05 +0000 UTC 111122223333 ec2.TerminateInstances delete success
	// arn:aws:iam::111122223333:user/alice 192.0.2.7 [{i-0abc AWS::EC2::Instance }]
}

func ExampleAppend() {
	when := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	line, err := cloudtrail.Append(nil, &attestlog.Entry{
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
	//   "additionalEventData": {
	//     "index": 7,
	//     "leaf_hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	//     "logged_time": "2026-03-01T10:00:00Z",
	//     "operation": "read",
	//     "outcome": "success",
	//     "targets": [
	//       {
	//         "id": "7",
	//         "type": "mail"
	//       }
	//     ],
	//     "time": "2026-03-01T10:00:00Z"
	//   },
	//   "eventCategory": "ActivityAuditLog",
	//   "eventID": "r-1",
	//   "eventName": "mail.view",
	//   "eventSource": "webmail",
	//   "eventTime": "2026-03-01T10:00:00Z",
	//   "eventType": "ActivityLog",
	//   "eventVersion": "1.11",
	//   "readOnly": true,
	//   "requestParameters": null,
	//   "resources": [
	//     {
	//       "ARN": "7",
	//       "type": "mail"
	//     }
	//   ],
	//   "responseElements": null,
	//   "userIdentity": {
	//     "principalId": "alice",
	//     "type": "Unknown"
	//   }
	// }
}
