package kubernetes_test

import (
	"math"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/kubernetes"
)

// The API's codecs refuse a responseStatus.code that is no int32.
func TestAppendOfAStatusThatIsNoInt32(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   []string // parts of the view, and after a ! what is no part
	}{
		{0, []string{`"code":200`, `!attestlog/status`}},
		{math.MaxInt32, []string{`"code":2147483647`, `!attestlog/status`}},
		{math.MaxInt32 + 1, []string{`!"code"`, `"attestlog/status":"2147483648"`}},
	} {
		e := attestlog.Entry{Event: attestlog.Event{Outcome: attestlog.Success, Request: attestlog.Request{Status: tt.status}}}
		got, err := kubernetes.Append(nil, &e)
		if err != nil {
			t.Errorf("%d: %v", tt.status, err)
		}
		for _, want := range tt.want {
			part, absent := strings.CutPrefix(want, "!")
			if strings.Contains(string(got), part) == absent {
				t.Errorf("%d: Append = %s, want %s", tt.status, got, want)
			}
		}
	}
}

// A target without a slash is a namespace where the verb acts on all of one.
func TestAppendTellsNamespacesFromNames(t *testing.T) {
	for _, tt := range []struct{ service, action, id, verb, want string }{
		{kubernetes.Format, "pods.list", "shop", "list", `"objectRef":{"resource":"pods","namespace":"shop"}`},
		{kubernetes.Format, "pods.deletecollection", "shop", "deletecollection", `"objectRef":{"resource":"pods","namespace":"shop"}`},
		{kubernetes.Format, "nodes.get", "n1", "get", `"objectRef":{"resource":"pods","name":"n1"}`},
		{kubernetes.Format, "pods.get", "shop/web", "get", `"objectRef":{"resource":"pods","namespace":"shop","name":"web"}`},
		{"webmail", "mail.list", "a/b", "read", `"objectRef":{"resource":"pods","name":"a/b"}`},
	} {
		e := attestlog.Entry{Event: attestlog.Event{Service: tt.service, Action: tt.action, Targets: []attestlog.Target{{Type: "pods", ID: tt.id}}}}
		if tt.service != kubernetes.Format {
			e.Operation, tt.verb = "read", "get"
		}
		got, err := kubernetes.Append(nil, &e)
		if err != nil || !strings.Contains(string(got), tt.want) || !strings.Contains(string(got), `"verb":"`+tt.verb+`"`) {
			t.Errorf("Append = %s, %v, want %s and the verb %s", got, err, tt.want, tt.verb)
		}
	}
}
