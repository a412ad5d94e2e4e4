package auditpolicy_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditpolicy"
)

// A printer prints events where a program would have its *attestlog.Log.
type printer struct{}

func (printer) Record(_ context.Context, e attestlog.Event) error {
	fmt.Println(e.Action, e.Attributes)
	return nil
}

func Example() {
	policy, err := auditpolicy.New(printer{}, auditpolicy.Config{
		Rules: []auditpolicy.Rule{
			{Action: "health.*", Effect: auditpolicy.Drop},
			{Action: "user.*", Field: "/attributes/email", Effect: auditpolicy.Redact},
			{Action: "user.export", Effect: auditpolicy.Refuse},
		},
	})
	if err != nil {
		panic(err)
	}

	ctx := context.Background()
	for _, e := range []attestlog.Event{
		{Action: "health.check"},
		{Action: "user.create", Attributes: map[string]any{"email": "alice@example.com", "password": "hunter2", "role": "reader"}},
		{Action: "user.export"},
	} {
		err := policy.Record(ctx, e)
		if errors.Is(err, auditpolicy.ErrRefused) {
			fmt.Println(err)
		}
	}
	fmt.Printf("%+v\n", policy.Stats())
	// Output:
	// user.create map[email:[redacted] password:[redacted] role:reader]
	// the audit policy refuses the event: action user.export, field ""
	// {Dropped:1 Refused:1 Redacted:2 Coalesced:0}
}
