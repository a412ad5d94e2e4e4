package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
)

func mailViewed(t testing.TB, from, n int) (out []ce.Event) {
	for i := from; i < from+n; i++ {
		e := ce.NewEvent()
		e.SetID(fmt.Sprintf("é %d", i))
		e.SetSource("/webmail")
		e.SetType("mail.viewed")
		e.SetSubject(fmt.Sprintf("mail/%d", i))
		e.SetTime(moment.Add(time.Duration(i)))
		for name, v := range map[string]any{"authid": fmt.Sprintf("user%d", i%7), "authtype": "user", "b": int32(1), "a": true, "c": "“x”", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"} {
			e.SetExtension(name, v)
		}
		if err := e.SetData("application/json", map[string]any{"size": i, "client_ip": "192.0.2.7", "z": "<é>", "y": nil}); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// checkCloudEvents wants each of n events once.
func checkCloudEvents(t testing.TB, entries []attestlog.Entry, n int) {
	t.Helper()
	type facts struct {
		Actor    attestlog.Actor
		Action   string
		Service  string
		Target   attestlog.Target
		IP, ID   string
		Time     time.Time
		Size, Z  any
		Trace    attestlog.Trace
		Original bool
	}
	var got, want []facts
	for _, e := range entries {
		context, _ := e.Attributes["cloudevent"].(map[string]any)
		id, _ := context["id"].(string)
		got = append(got, facts{
			e.Actor, e.Action, e.Service, e.Targets[0], e.Source.IP, id, e.Time, e.Attributes["size"], e.Attributes["z"], e.Trace, json.Valid(e.Original),
		})
	}
	for i := range n {
		want = append(want, facts{
			attestlog.Actor{ID: fmt.Sprintf("user%d", i%7), Type: "user"}, "mail.viewed", "/webmail", attestlog.Target{Type: "mail", ID: fmt.Sprint(i)}, "192.0.2.7",
			fmt.Sprintf("é %d", i), moment.Add(time.Duration(i)), float64(i), "<é>", attestlog.Trace{TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "00f067aa0ba902b7"}, true,
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func newCloudEventsClient(t testing.TB, url, token string) ce.Client {
	t.Helper()
	client, err := ce.NewClientHTTP(ce.WithTarget(url+"/ingest/default/cloudevents"), cehttp.WithHeader("Authorization", "Bearer "+token))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestCloudEventsClientDeliversOnce(t *testing.T) {
	for name, mode := range map[string]func(context.Context) context.Context{"binary": binding.WithForceBinary, "structured": binding.WithForceStructured} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, server.Config{})
			client := newCloudEventsClient(t, s.URL, s.token)
			ctx := ce.ContextWithRetriesConstantBackoff(mode(context.Background()), time.Millisecond, 10)
			s.fail(works, before, after)
			for i, e := range mailViewed(t, 0, 20) {
				if err := client.Send(ctx, e); !ce.IsACK(err) {
					t.Fatalf("Send(%d) = %v", i, err)
				}
			}
			want := []int{200, 503, 503}
			for range 19 {
				want = append(want, 200)
			}
			s.checkAnswers(t, 20, want...)
			// A producer that does not know whether an event arrived sends it again.
			s.fail(cut)
			last := mailViewed(t, 20, 1)[0]
			if err := client.Send(mode(context.Background()), last); ce.IsACK(err) {
				t.Fatalf("Send = %v over a connection that ends", err)
			}
			if err := client.Send(ctx, last); !ce.IsACK(err) {
				t.Fatalf("Send again = %v", err)
			}
			checkCloudEvents(t, s.entries(t), 21)
		})
	}
}

func TestCloudEventsBatchesDeliverOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Config{})
	s.fail(before, after)
	for _, status := range []int{503, 503, 200} {
		r, err := cehttp.NewHTTPRequestFromEvents(t.Context(), s.URL+"/ingest/default/cloudevents", mailViewed(t, 0, 300))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Fatalf("status %d, want %d", resp.StatusCode, status)
		}
	}
	s.checkAnswers(t, 300, 503, 503, 200)
	checkCloudEvents(t, s.entries(t), 300)
}
