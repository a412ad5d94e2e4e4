package interop

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authnv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	"k8s.io/apiserver/plugin/pkg/audit/webhook"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
)

// newKubernetesWebhook returns the API server's webhook backend, as
// --audit-webhook-config-file configures it. It shows a token over TLS only.
func newKubernetesWebhook(t testing.TB, s *host) audit.Backend {
	t.Helper()
	secure := httptest.NewTLSServer(http.HandlerFunc(s.handle))
	t.Cleanup(secure.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["attestlog"] = &clientcmdapi.Cluster{Server: secure.URL + "/ingest/default/kubernetes", CertificateAuthorityData: authority}
	cfg.AuthInfos["apiserver"] = &clientcmdapi.AuthInfo{Token: s.token}
	cfg.Contexts["webhook"] = &clientcmdapi.Context{Cluster: "attestlog", AuthInfo: "apiserver"}
	cfg.CurrentContext = "webhook"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		t.Fatal(err)
	}
	backend, err := webhook.NewBackend(path, auditv1.SchemeGroupVersion, wait.Backoff{Duration: 10 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 10}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return backend
}

// kubernetesEvents are n requests from number from on, each in two stages.
func kubernetesEvents(from, n int) (out []*auditinternal.Event) {
	for i := from; i < from+n; i++ {
		received := metav1.NewMicroTime(moment.Truncate(time.Microsecond).Add(time.Duration(i) * time.Millisecond))
		e := auditinternal.Event{
			Level: auditinternal.LevelMetadata, AuditID: types.UID(fmt.Sprintf("audit-%d", i)), Stage: auditinternal.StageRequestReceived,
			RequestURI: fmt.Sprintf("/api/v1/namespaces/shop/pods/p%d", i), Verb: "delete", User: userInfo(fmt.Sprintf("user%d", i%7)),
			SourceIPs: []string{"203.0.113.9"}, UserAgent: "kubectl/1.37", ObjectRef: &auditinternal.ObjectReference{Resource: "pods", Namespace: "shop", Name: fmt.Sprintf("p%d", i), APIVersion: "v1"},
			RequestReceivedTimestamp: received, StageTimestamp: received,
			Annotations: map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC <é>", "a": "1", "b": "2"},
		}
		done := e.DeepCopy()
		done.Stage = auditinternal.StageResponseComplete
		done.StageTimestamp = metav1.NewMicroTime(received.Add(1500 * time.Microsecond))
		done.ResponseStatus = &metav1.Status{Code: 200}
		out = append(out, &e, done)
	}
	return out
}

func userInfo(name string) authnv1.UserInfo {
	return authnv1.UserInfo{Username: name, UID: "u", Groups: []string{"system:authenticated", "devs"}, Extra: map[string]authnv1.ExtraValue{"x": {"1"}, "y": {"2"}}}
}

// checkKubernetesEntries wants both stages of each of n requests once.
func checkKubernetesEntries(t testing.TB, entries []attestlog.Entry, n int) {
	t.Helper()
	type facts struct {
		Actor, Action, Target, ID, IP string
		Outcome                       attestlog.Outcome
		Time                          time.Time
	}
	var got, want []facts
	for _, e := range entries {
		got = append(got, facts{e.Actor.ID, e.Action, e.Targets[0].ID, e.Request.ID, e.Source.IP, e.Outcome, e.Time})
	}
	for i := range n {
		f := facts{
			fmt.Sprintf("user%d", i%7), "pods.delete", fmt.Sprintf("shop/p%d", i), fmt.Sprintf("audit-%d", i), "203.0.113.9",
			attestlog.Unknown, moment.Truncate(time.Microsecond).Add(time.Duration(i) * time.Millisecond),
		}
		done := f
		done.Outcome = attestlog.Success
		want = append(want, f, done)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestKubernetesWebhookDeliversOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Config{})
	backend := newKubernetesWebhook(t, s)
	if !backend.ProcessEvents(kubernetesEvents(0, 100)...) {
		t.Fatal("ProcessEvents = false")
	}
	s.checkAnswers(t, 200, 200)
	s.fail(before, after, cut)
	if !backend.ProcessEvents(kubernetesEvents(100, 50)...) {
		t.Fatal("ProcessEvents over faults = false")
	}
	s.checkAnswers(t, 300, 200, 503, 503, 200)
	checkKubernetesEntries(t, s.entries(t), 150)
}

// The API server's default is to send in batches.
func TestKubernetesBatchesDeliverOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Config{})
	backend := buffered.NewBackend(newKubernetesWebhook(t, s), buffered.BatchConfig{BufferSize: 10_000, MaxBatchSize: 40, MaxBatchWait: 10 * time.Millisecond})
	stop := make(chan struct{})
	if err := backend.Run(stop); err != nil {
		t.Fatal(err)
	}
	s.fail(works, after, works, cut, before)
	backend.ProcessEvents(kubernetesEvents(0, 200)...)
	close(stop)
	backend.Shutdown() // waits for the last batch
	checkKubernetesEntries(t, s.entries(t), 200)
}
