package syslog_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/attestlog/attestlog/convert/syslog"
)

func ExampleRead() {
	file := strings.NewReader(`<86>1 2026-03-01T10:00:00.123Z web1 sshd 4711 login [user@32473 uid="alice"] accepted
<34>Oct 11 22:14:15 mymachine su: 'su root' failed`)

	for e, err := range syslog.Read(file, "auth.log") {
		if err != nil {
			fmt.Println(err) // this message was refused; the next one follows
			continue
		}
		fmt.Printf("%s by %s: %s\n", e.Action, e.Actor.ID, e.Message)
	}
	// Output:
	// login by alice: accepted
	// syslog by unknown.actor: <34>Oct 11 22:14:15 mymachine su: 'su root' failed
}

// A connection's messages are stored as they come.
func ExampleFrames() {
	conn := strings.NewReader("27 <86>1 - web1 sshd - login -<86>1 - web1 sshd - logout -\n")

	for frame, err := range syslog.Frames(conn, 8192) {
		if err != nil {
			fmt.Println(err) // the connection is of no more use
			return
		}
		e := syslog.Event(frame, time.Now())
		fmt.Println(e.Service, e.Action)
	}
	// Output:
	// sshd login
	// sshd logout
}
