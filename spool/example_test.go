package spool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/spool"
)

func Example() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	s, err := spool.Open(filepath.Join(dir, "events.spool"), spool.Config{})
	if err != nil {
		panic(err)
	}
	defer s.Close()

	// A log moves events into itself once its Config.Spool is s. Here, the log
	// has no place for logins.
	ctx := context.Background()
	for _, action := range []string{"mail.view", "login", "mail.delete"} {
		err := s.Record(ctx, attestlog.Event{Action: action, Actor: attestlog.Actor{ID: "alice"}})
		if err != nil {
			panic(err)
		}
	}
	n, err := s.Move(ctx, func(events []attestlog.Prepared) ([]error, error) {
		refusals := make([]error, len(events))
		for i, p := range events {
			e, err := attestlog.ParseEvent(p.Event)
			if err != nil {
				return nil, err
			}
			if e.Action == "login" {
				refusals[i] = errors.New("no place for it")
			}
		}
		return refusals, nil
	})
	fmt.Println(n, "events left", err)

	// What the log refused stays until somebody has looked at it.
	err = s.Refused(func(reason string, p attestlog.Prepared) (remove bool, err error) {
		e, err := attestlog.ParseEvent(p.Event)
		fmt.Println(e.Action, "was refused:", reason)
		return true, err
	})
	fmt.Println(err)
	// Output:
	// 3 events left <nil>
	// login was refused: no place for it
	// <nil>
}
