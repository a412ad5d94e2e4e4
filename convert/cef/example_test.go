package cef_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cef"
)

func ExampleRead() {
	file := strings.NewReader(`CEF:0|Vendor|Firewall|1.0|100|worm stopped|10|src=192.0.2.7 suser=alice ` +
		`outcome=failure act=blocked dhost=db msg=port 445 start=1772359200123 externalId=E1`)

	for e, err := range cef.Read(file, "fw.log") {
		if err != nil {
			fmt.Println(err) // this line was refused; the next one follows
			continue
		}
		fmt.Println(e.Time, e.Service, e.Action, e.Outcome)
		fmt.Println(e.Actor.ID, e.Source.IP, e.Targets, e.Message)
	}
	// Output:
	// 2026-03-01 10:00:00.123 +0000 UTC Firewall worm stopped failure
	// alice 192.0.2.7 [{db host }] port 445
}

func ExampleAppend() {
	when := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	line, err := cef.Append(nil, &attestlog.Entry{
		Event: attestlog.Event{
			ID: "r-1", Time: when, Service: "webmail", Action: "mail.view", Operation: "read", Outcome: attestlog.Success,
			Actor: attestlog.Actor{ID: "alice"}, Targets: []attestlog.Target{{ID: "7", Type: "mail"}},
		},
		Index: 7, LoggedTime: when,
	})
	fmt.Println(string(line), err)
	// Output:
	// CEF:0|attestlog|attestlog|1|mail.view|mail.view|3|rt=1772359200000 start=1772359200000 externalId=r-1 act=read outcome=success suid=alice app=webmail cn1=7 cn1Label=index cs1=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\= cs1Label=leafHash cs4=mail/7 cs4Label=targets <nil>
}
