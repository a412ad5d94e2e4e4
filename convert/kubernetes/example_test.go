package kubernetes_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/kubernetes"
)

func ExampleRead() {
	file := strings.NewReader(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"0e45",
		"stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web/exec","verb":"create",
		"user":{"username":"alice"},"sourceIPs":["192.0.2.7"],"userAgent":"kubectl/1.33",
		"objectRef":{"resource":"pods","namespace":"shop","name":"web","apiVersion":"v1","subresource":"exec"},
		"responseStatus":{"metadata":{},"code":101},
		"requestReceivedTimestamp":"2026-03-01T10:00:00.123000Z","stageTimestamp":"2026-03-01T10:00:00.124500Z"}`)

	for e, err := range kubernetes.Read(file, "audit.log") {
		if err != nil {
			fmt.Println(err) // this record was refused; the next one follows
			continue
		}
		fmt.Println(e.Time, e.Action, e.Operation, e.Outcome)
		fmt.Println(e.Actor.ID, e.Source.IP, e.Targets, e.Request.DurationUS)
	}
	// Output:
	// 2026-03-01 10:00:00.123 +0000 UTC pods.exec.create execute success
	// alice 192.0.2.7 [{shop/web pods/exec }] 1500
}

func ExampleAppend() {
	when := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	line, err := kubernetes.Append(nil, &attestlog.Entry{
		Event: attestlog.Event{
			ID: "r-1", Time: when, Action: "mail.view", Operation: "read", Outcome: attestlog.Success,
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
	//   "kind": "Event",
	//   "apiVersion": "audit.k8s.io/v1",
	//   "level": "Metadata",
	//   "auditID": "r-1",
	//   "stage": "ResponseComplete",
	//   "requestURI": "",
	//   "verb": "get",
	//   "user": {
	//     "username": "alice"
	//   },
	//   "objectRef": {
	//     "resource": "mail",
	//     "name": "7"
	//   },
	//   "responseStatus": {
	//     "metadata": {},
	//     "status": "Success",
	//     "code": 200
	//   },
	//   "requestReceivedTimestamp": "2026-03-01T10:00:00.000000Z",
	//   "stageTimestamp": "2026-03-01T10:00:00.000000Z",
	//   "annotations": {
	//     "attestlog/action": "mail.view",
	//     "attestlog/index": "7",
	//     "attestlog/leaf_hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	//     "attestlog/logged_time": "2026-03-01T10:00:00.000000Z",
	//     "attestlog/operation": "read",
	//     "attestlog/outcome": "success",
	//     "attestlog/targets": "[{\"id\":\"7\",\"type\":\"mail\"}]",
	//     "attestlog/time": "2026-03-01T10:00:00Z"
	//   }
	// }
}
