package ocsf_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/ocsf"
)

func TestUsersOfASignIn(t *testing.T) {
	for _, tt := range []struct {
		in      string
		actor   attestlog.Actor
		targets []attestlog.Target
		user    any // what stays
	}{
		{`"actor":{"user":{"uid":"a"}},"user":{"uid":"a","name":"Alice"}`, attestlog.Actor{ID: "a", Name: "Alice"}, nil, nil},
		{`"actor":{"user":{"uid":"a","name":"Alice"}},"user":{"uid":"a","name":"Alice"}`, attestlog.Actor{ID: "a", Name: "Alice"}, nil, nil},
		{`"actor":{"user":{"uid":"a","name":"Al"}},"user":{"uid":"a","name":"Alice"}`, attestlog.Actor{ID: "a", Name: "Al"}, nil, map[string]any{"name": "Alice"}},
		{`"actor":{"user":{"uid":"a"}},"user":{"uid":"b","name":"Bob"}`, attestlog.Actor{ID: "a"}, []attestlog.Target{{Type: "user", ID: "b", Name: "Bob"}}, nil},
		{`"actor":{"user":{"uid":"a"}},"user":{"email_addr":"b@example.com"}`, attestlog.Actor{ID: "a"}, []attestlog.Target{{Type: "user", ID: "b@example.com"}}, nil},
	} {
		for e, err := range ocsf.Read(strings.NewReader(`{"class_uid":3002,"raw_data":"x",`+tt.in+`}`), "f") {
			if diff := cmp.Diff(tt.targets, e.Targets); err != nil || diff != "" || e.Actor != tt.actor {
				t.Errorf("%s: %v, actor %v, targets (-want +got):\n%s", tt.in, err, e.Actor, diff)
			}
			if diff := cmp.Diff(tt.user, e.Attributes["user"]); diff != "" || e.Attributes["raw_data"] != nil {
				t.Errorf("%s: attributes %v (-want +got):\n%s", tt.in, e.Attributes, diff)
			}
		}
	}
}
