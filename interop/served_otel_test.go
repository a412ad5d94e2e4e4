package interop

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
)

// An otelService is a program that logs by OpenTelemetry's SDK.
type otelService struct {
	otellog.Logger
	provider *sdklog.LoggerProvider
}

// newOTelService exports to a URL, by an exporter that wrap may wrap.
func newOTelService(t testing.TB, url, token string, wrap func(sdklog.Exporter) sdklog.Exporter, options ...otlploghttp.Option) otelService {
	t.Helper()
	exporter, err := otlploghttp.New(context.Background(), append([]otlploghttp.Option{
		otlploghttp.WithEndpointURL(url), otlploghttp.WithHeaders(map[string]string{"Authorization": "Bearer " + token}),
		otlploghttp.WithRetry(otlploghttp.RetryConfig{Enabled: true, InitialInterval: time.Millisecond, MaxInterval: 10 * time.Millisecond, MaxElapsedTime: time.Minute}),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	var out sdklog.Exporter = exporter
	if wrap != nil {
		out = wrap(out)
	}
	provider := sdklog.NewLoggerProvider(
		sdklog.WithResource(resource.NewSchemaless(attribute.String("service.name", "webmail"))),
		sdklog.WithProcessor(sdklog.NewBatchProcessor(out, sdklog.WithExportInterval(time.Hour))),
	)
	t.Cleanup(func() { provider.Shutdown(context.Background()) })
	return otelService{provider.Logger("interop"), provider}
}

// log emits n records from number from on, and exports them.
func (o otelService) log(from, n int) error {
	for i := from; i < from+n; i++ {
		var r otellog.Record
		r.SetTimestamp(moment.Add(time.Duration(i)))
		r.SetEventName("mail.view")
		r.SetSeverity(otellog.SeverityInfo)
		r.SetBody(attribute.StringValue(fmt.Sprintf("é %d\n", i)))
		r.AddAttributes(attribute.String("enduser.id", fmt.Sprintf("user%d", i%7)), attribute.String("audit.outcome", "success"), attribute.Int("size", i))
		ctx := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: 1}, SpanID: trace.SpanID{7: 2}}))
		o.Emit(ctx, r)
	}
	return o.provider.ForceFlush(context.Background())
}

// checkOTelEntries wants each of n records once.
func checkOTelEntries(t testing.TB, entries []attestlog.Entry, n int) {
	t.Helper()
	type facts struct {
		Actor, Action, Service, Message, Trace, Span string
		Outcome                                      attestlog.Outcome
		Time                                         time.Time
		Size                                         any
	}
	var got, want []facts
	for _, e := range entries {
		got = append(got, facts{e.Actor.ID, e.Action, e.Service, e.Message, e.Trace.TraceID, e.Trace.SpanID, e.Outcome, e.Time, e.Attributes["size"]})
	}
	for i := range n {
		want = append(want, facts{
			fmt.Sprintf("user%d", i%7), "mail.view", "webmail", fmt.Sprintf("é %d\n", i), strings.Repeat("0", 31) + "1", strings.Repeat("0", 15) + "2",
			attestlog.Success, moment.Add(time.Duration(i)), float64(i),
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestOTelExporterDeliversOnce(t *testing.T) {
	for name, compression := range map[string]otlploghttp.Compression{"gzip": otlploghttp.GzipCompression, "plain": otlploghttp.NoCompression} {
		for _, path := range []string{"/v1/logs", "/ingest/default/v1/logs"} {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				s := serve(t, server.Config{})
				service := newOTelService(t, s.URL+path, s.token, nil, otlploghttp.WithCompression(compression))
				if err := service.log(0, 300); err != nil {
					t.Fatal(err)
				}
				s.checkAnswers(t, 300, 200)
				s.fail(before, after)
				if err := service.log(300, 200); err != nil {
					t.Fatal(err)
				}
				s.checkAnswers(t, 500, 200, 503, 503, 200)
				checkOTelEntries(t, s.entries(t), 500)
			})
		}
	}
}

// The exporter gives up when the connection breaks. Who exports the records again
// adds nothing.
func TestOTelExportAgainAddsNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Config{})
	service := newOTelService(t, s.URL+"/v1/logs", s.token, func(e sdklog.Exporter) sdklog.Exporter { return persistent{e} })
	s.fail(cut)
	if err := service.log(0, 10); err != nil {
		t.Fatal(err)
	}
	s.checkAnswers(t, 10, 200)
	checkOTelEntries(t, s.entries(t), 10)
}

// persistent exports again what was not accepted.
type persistent struct{ sdklog.Exporter }

func (p persistent) Export(ctx context.Context, records []sdklog.Record) error {
	for {
		err := p.Exporter.Export(ctx, records)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Of two records with one identity the second is another: the log refuses it, and
// the exporter learns how many were refused, and why.
func TestOTelExporterHearsOfRefusedRecords(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Config{})
	service := newOTelService(t, s.URL+"/v1/logs", s.token, nil)
	emit := func(id, body string) {
		var r otellog.Record
		r.SetTimestamp(moment)
		r.SetEventName("mail.view")
		r.SetBody(attribute.StringValue(body))
		r.AddAttributes(attribute.String("audit.record.id", id))
		service.Emit(context.Background(), r)
	}
	emit("a", "1")
	if err := service.provider.ForceFlush(context.Background()); err != nil {
		t.Fatal(err)
	}
	emit("b", "1")
	emit("a", "2")
	emit("a", "3")
	emit("c", "1")
	err := service.provider.ForceFlush(context.Background())
	if err == nil || !strings.Contains(err.Error(), "2 logs rejected") {
		t.Errorf("ForceFlush = %v, want 2 logs rejected", err)
	}
	s.checkAnswers(t, 3, 200, 200)
	var got []string
	for _, e := range s.entries(t) {
		got = append(got, e.ID+e.Message)
	}
	if diff := cmp.Diff([]string{"a1", "b1", "c1"}, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// One worker alone: the records of two are equal when their clocks are, for
// telemetrygen names no instance, and an equal record is the same one to the log.
func TestTelemetrygenDeliversOnce(t *testing.T) {
	t.Parallel()
	telemetrygen := program(t, "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen@v0.161.0")
	s := serve(t, server.Config{})
	began := time.Now()
	out, err := exec.Command(telemetrygen, "logs", "--otlp-http", "--otlp-insecure", "--otlp-endpoint", strings.TrimPrefix(s.URL, "http://"),
		"--otlp-http-url-path", "/ingest/default/v1/logs", "--otlp-header", `Authorization="Bearer `+s.token+`"`, "--otlp-attributes", `service.name="webmail"`,
		"--telemetry-attributes", `enduser.id="alice"`, "--body", "hello", "--workers", "1", "--logs", "1000", "--rate", "0").CombinedOutput()
	if err != nil {
		t.Fatalf("telemetrygen: %v\n%s", err, out)
	}
	entries := s.entries(t)
	if len(entries) != 1000 {
		t.Errorf("%d entries, want 1000:\n%s", len(entries), out)
	}
	for _, e := range entries {
		if e.Actor.ID != "alice" || e.Service != "webmail" || e.Message != "hello" || e.Time.Before(began) || e.Time.After(time.Now()) {
			t.Fatalf("entry %d = %+v", e.Index, e.Event)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.answered {
		if a.status != http.StatusOK {
			t.Errorf("an answer was %d", a.status)
		}
	}
}
