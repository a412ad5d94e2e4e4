package csv_test

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/csv"
)

func ExampleRead() {
	file := strings.NewReader(`time,user,action,ip,note
2026-03-01T10:00:00Z,alice,mail.view,192.0.2.7,"said ""hi"""
`)

	for e, err := range csv.Read(file, "table.csv") {
		if err != nil {
			fmt.Println(err) // this row was refused; the next one follows
			continue
		}
		fmt.Println(e.Time, e.Actor.ID, e.Action, e.Source.IP, e.Attributes)
	}
	// Output:
	// 2026-03-01 10:00:00 +0000 UTC alice mail.view 192.0.2.7 map[note:said "hi"]
}

func ExampleWriter() {
	w, err := csv.NewWriter(os.Stdout, []string{"index", "time", "actor", "action", "target", "message"})
	if err != nil {
		panic(err)
	}

	err = w.Write(&attestlog.Entry{
		Event: attestlog.Event{
			Time: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC), Actor: attestlog.Actor{ID: "alice"},
			Action: "mail.view", Targets: []attestlog.Target{{ID: "7", Type: "mail"}}, Message: "=1+1",
		},
		Index: 7,
	})
	if err != nil {
		panic(err)
	}
	if err := w.Flush(); err != nil {
		panic(err)
	}
	// Output:
	// index,time,actor,action,target,message
	// 7,2026-03-01T10:00:00.000000000Z,alice,mail.view,mail/7,'=1+1
}
