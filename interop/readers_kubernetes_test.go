package interop

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authnv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/kubernetes"
)

var (
	received = metav1.NewMicroTime(time.Date(2026, 3, 1, 10, 0, 0, 123_456_000, time.UTC))
	staged   = metav1.NewMicroTime(received.Add(1500 * time.Microsecond))
)

// auditEvents are with and without all that is optional, each with what is read:
// the event, and the paths whose values have found their fields.
var auditEvents = []struct {
	record auditv1.Event
	want   attestlog.Event
	taken  string
}{
	{
		auditv1.Event{AuditID: "A0", Level: auditv1.LevelMetadata, Stage: auditv1.StageRequestReceived, RequestURI: "/healthz", Verb: "get", RequestReceivedTimestamp: received, StageTimestamp: received},
		attestlog.Event{Time: received.Time, Action: "get", Operation: "read", Outcome: attestlog.Unknown, Request: attestlog.Request{ID: "A0", Path: "/healthz"}},
		"auditID requestURI requestReceivedTimestamp",
	},
	{
		auditv1.Event{
			Level: auditv1.LevelRequestResponse, AuditID: types.UID("A1"), Stage: auditv1.StageResponseComplete, RequestURI: "/apis/apps/v1/namespaces/shop/deployments/web/scale?x=%20y", Verb: "patch",
			User:                   authnv1.UserInfo{Username: "system:serviceaccount:shop:ci", UID: "u1", Groups: []string{"system:serviceaccounts", "é"}, Extra: map[string]authnv1.ExtraValue{"example.com/pod": {"p1", ""}}},
			ImpersonatedUser:       &authnv1.UserInfo{Username: "alice", Groups: []string{"devs"}},
			AuthenticationMetadata: &auditv1.AuthenticationMetadata{ImpersonationConstraint: "impersonate-on-node"},
			SourceIPs:              []string{"203.0.113.9", "2001:db8::7"}, UserAgent: "kubectl/1.33 <&>",
			ObjectRef:      &auditv1.ObjectReference{Resource: "deployments", Namespace: "shop", Name: "web", UID: "u2", APIGroup: "apps", APIVersion: "v1", ResourceVersion: "9007199254740993", Subresource: "scale"},
			ResponseStatus: &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonConflict, Message: "the object has been modified", Code: 409, Details: &metav1.StatusDetails{Name: "web", RetryAfterSeconds: 1, Causes: []metav1.StatusCause{{Type: "X", Message: "m"}}}},
			RequestObject:  &runtime.Unknown{Raw: []byte(`{"spec":{"replicas":9007199254740993,"f":1.5,"n":null,"l":[]}}`), ContentType: runtime.ContentTypeJSON},
			ResponseObject: &runtime.Unknown{Raw: []byte(`{"kind":"Status"}`), ContentType: runtime.ContentTypeJSON}, RequestReceivedTimestamp: received, StageTimestamp: staged,
			Annotations: map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
		},
		attestlog.Event{
			Time: received.Time, Module: "apps", Action: "deployments.scale.patch", Operation: "update", Outcome: attestlog.Failure, Reason: "Conflict: the object has been modified",
			Actor: attestlog.Actor{ID: "system:serviceaccount:shop:ci", Type: "service", OnBehalfOf: "alice"}, Source: attestlog.Source{IP: "2001:db8::7", UserAgent: "kubectl/1.33 <&>"},
			Targets: []attestlog.Target{{Type: "deployments/scale", ID: "shop/web"}},
			Request: attestlog.Request{ID: "A1", Path: "/apis/apps/v1/namespaces/shop/deployments/web/scale?x=%20y", Status: 409, DurationUS: 1500},
		},
		"auditID requestURI requestReceivedTimestamp user/username impersonatedUser/username userAgent objectRef/resource objectRef/subresource objectRef/name objectRef/apiGroup responseStatus/reason responseStatus/message",
	},
	{
		auditv1.Event{
			Level: auditv1.LevelRequest, AuditID: "A2", Stage: auditv1.StagePanic, RequestURI: "/api/v1/pods", Verb: "list", User: authnv1.UserInfo{Username: "system:anonymous"},
			SourceIPs: []string{"192.0.2.7"}, ObjectRef: &auditv1.ObjectReference{Resource: "pods", APIVersion: "v1"}, StageTimestamp: staged,
		},
		attestlog.Event{
			Time: staged.Time, Action: "pods.list", Operation: "read", Outcome: attestlog.Failure, Actor: attestlog.Actor{ID: "system:anonymous", Type: "anonymous"}, Source: attestlog.Source{IP: "192.0.2.7"},
			Targets: []attestlog.Target{{Type: "pods"}}, Request: attestlog.Request{ID: "A2", Path: "/api/v1/pods"},
		},
		"auditID requestURI stageTimestamp user/username sourceIPs objectRef/resource",
	},
}

func TestKubernetesListIsRead(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := auditv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	codec := serializer.NewCodecFactory(scheme).EncoderForVersion(auditCodec(), auditv1.SchemeGroupVersion)
	var list auditv1.EventList
	var lines []byte
	for _, tt := range auditEvents {
		list.Items = append(list.Items, tt.record)
		line, err := runtime.Encode(codec, tt.record.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line...)
	}
	text, err := runtime.Encode(codec, &list)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"webhook": text, "log file": lines} {
		got, err := readAll(kubernetes.Read, text)
		if err != nil || len(got) != len(auditEvents) {
			t.Fatalf("%s: Read = %d events, %v, want %d", name, len(got), err, len(auditEvents))
		}
		for i, tt := range auditEvents {
			e := got[i]
			var record auditv1.Event
			if err := json.Unmarshal(e.Original, &record); err != nil {
				t.Errorf("%s: original: %v", name, err)
			}
			if record.TypeMeta = (metav1.TypeMeta{}); name == "log file" {
				record.TypeMeta = tt.record.TypeMeta
			}
			if diff := cmp.Diff(tt.record, record); diff != "" {
				t.Errorf("%s: the original of %s (-want +got):\n%s", name, tt.record.AuditID, diff)
			}
			rest := without(plainJSON(t, e.Original).(map[string]any), strings.Fields(tt.taken)...)
			if ips, ok := rest["sourceIPs"].([]any); ok {
				rest["sourceIPs"] = ips[:len(ips)-1] // the last is the source
			}
			if diff := cmp.Diff(any(rest), plain(e.Attributes)); diff != "" {
				t.Errorf("%s: attributes of %s (-want +got):\n%s", name, tt.record.AuditID, diff)
			}
			e.ID, e.Service, e.Original, e.Attributes = "", "", nil, nil
			if diff := cmp.Diff(tt.want, e); diff != "" {
				t.Errorf("%s: the event of %s (-want +got):\n%s", name, tt.record.AuditID, diff)
			}
		}
	}
}
