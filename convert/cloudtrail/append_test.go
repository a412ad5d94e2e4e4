package cloudtrail_test

import (
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cloudtrail"
)

// A record names a service and an actor, resources have ARNs, and only what
// failed has an error.
func TestAppendKeepsToTheFieldsOfARecord(t *testing.T) {
	for _, tt := range []struct {
		name  string
		event attestlog.Event
		want  []string // parts of the view, and after a ! what is no part
	}{
		{"neither service nor actor", attestlog.Event{}, []string{`"eventSource":"unknown"`, `"principalId":"unknown"`}},
		{"both", attestlog.Event{Service: "webmail", Actor: attestlog.Actor{ID: "alice"}}, []string{`"eventSource":"webmail"`, `"principalId":"alice"`}},
		{"targets", attestlog.Event{Targets: []attestlog.Target{{ID: "7", Type: "mail"}, {Name: "Inbox"}}}, []string{`"resources":[{"ARN":"7","type":"mail"}]`, `"name":"Inbox"`}},
		{"a target without an id", attestlog.Event{Targets: []attestlog.Target{{Name: "Inbox"}}}, []string{`!"resources"`, `"targets":[{"name":"Inbox"}]`}},
		{"a failure", attestlog.Event{Outcome: attestlog.Failure, Reason: "no"}, []string{`"errorCode":"Failure"`, `"errorMessage":"no"`, `!"reason"`}},
		{"a reason of a success", attestlog.Event{Outcome: attestlog.Success, Reason: "yes"}, []string{`!"errorMessage"`, `"reason":"yes"`}},
	} {
		got, err := cloudtrail.Append(nil, &attestlog.Entry{Event: tt.event})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		for _, want := range tt.want {
			part, absent := strings.CutPrefix(want, "!")
			if strings.Contains(string(got), part) == absent {
				t.Errorf("%s: Append = %s, want %s", tt.name, got, want)
			}
		}
	}
}
