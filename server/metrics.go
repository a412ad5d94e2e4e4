package server

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/attestlog/attestlog"
)

// collectWait bounds how long the logs may take to say their figures.
const collectWait = 5 * time.Second

// metrics are the server's own figures. Those of the logs are read when somebody
// asks for them: see logCollector.
type metrics struct {
	requests        *prometheus.HistogramVec // by method, route and status
	tokensRefused   prometheus.Counter
	tails           prometheus.Gauge
	alarms          *prometheus.CounterVec // by log and alarm
	cosignedSize    *prometheus.GaugeVec   // by log
	witnessFailures *prometheus.CounterVec // by log
	handler         http.Handler
}

func newMetrics(registry *prometheus.Registry) *metrics {
	return &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "attestlog_http_request_duration_seconds",
			Help:    "How long requests took, by route and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"method", "route", "status"}),

		tokensRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestlog_http_tokens_refused_total",
			Help: "Requests with a token that is not valid.",
		}),

		tails: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "attestlog_http_tails",
			Help: "Subscribers that follow a log now.",
		}),

		alarms: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestlog_alarms_total",
			Help: "What an operator had to know at once.",
		}, []string{"log", "alarm"}),

		cosignedSize: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "attestlog_witness_cosigned_size",
			Help: "Entries that the newest checkpoint with enough cosignatures covers.",
		}, []string{"log"}),

		witnessFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestlog_witness_failures_total",
			Help: "Times that a witness did not cosign.",
		}, []string{"log"}),

		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}),
	}
}

// register adds the figures of the server and of its logs to a registry. It
// panics if that has them already.
func (m *metrics) register(registry *prometheus.Registry, logs logCollector) {
	registry.MustRegister(m.requests, m.tokensRefused, m.tails, m.alarms, m.cosignedSize, m.witnessFailures, logs)
}

// observe counts a request under the pattern that it matched and a known method. A
// client chooses the path and may make up a method, and each would be a series of
// its own.
func (m *metrics) observe(r *http.Request, status int, took time.Duration) {
	route := r.Pattern
	if route == "" {
		route = "none"
	}

	method := r.Method
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete,
		http.MethodPatch, http.MethodOptions:
	default:
		method = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}

// figures answers Prometheus, if it shows a token that may see everything.
func (s *Server) figures(w http.ResponseWriter, r *http.Request) {
	_, err := s.enterWhole(r.Context(), s.first.name, ScopeAdmin)
	if err != nil {
		writeProblem(w, err)
		return
	}
	s.metrics.handler.ServeHTTP(w, r)
}

// A logCollector reads the figures of all logs.
type logCollector struct {
	ctx  context.Context // ends with the server
	logs map[string]*hosted
}

// logFigures are taken from attestlog.Stats.
var logFigures = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*attestlog.Stats) float64
}{
	{
		logDesc("entries", "Entries in the log."), prometheus.GaugeValue,
		func(st *attestlog.Stats) float64 { return float64(st.Size) },
	},
	{
		logDesc("events_queued_total", "Events that were accepted."), prometheus.CounterValue,
		func(st *attestlog.Stats) float64 { return float64(st.Queued) },
	},
	{
		logDesc("events_appended_total", "Events that were stored."), prometheus.CounterValue,
		func(st *attestlog.Stats) float64 { return float64(st.Appended) },
	},
	{
		logDesc("events_duplicate_total", "Events that were in the log already."), prometheus.CounterValue,
		func(st *attestlog.Stats) float64 { return float64(st.Duplicates) },
	},
	{
		logDesc("events_failed_total", "Events whose caller got an error, or that could not be stored."), prometheus.CounterValue,
		func(st *attestlog.Stats) float64 { return float64(st.Failed) },
	},
	{
		logDesc("transactions_retried_total", "Transactions that failed and were tried again."), prometheus.CounterValue,
		func(st *attestlog.Stats) float64 { return float64(st.Retries) },
	},
	{
		logDesc("clock_jumps_total", "Steps of the clock of more than five seconds."), prometheus.CounterValue,
		func(st *attestlog.Stats) float64 { return float64(st.ClockJumps) },
	},
	{
		logDesc("events_spooled_total", "Recorded events that went to the spool."), prometheus.CounterValue,
		func(st *attestlog.Stats) float64 { return float64(st.Spooled) },
	},
	{
		logDesc("spool_full_total", "Times that the spool could not take events."), prometheus.CounterValue,
		func(st *attestlog.Stats) float64 { return float64(st.SpoolFull) },
	},
	{
		logDesc("queue_events", "Events that are accepted and not durable yet."), prometheus.GaugeValue,
		func(st *attestlog.Stats) float64 { return float64(st.QueueEvents) },
	},
	{
		logDesc("queue_bytes", "Bytes of them."), prometheus.GaugeValue,
		func(st *attestlog.Stats) float64 { return float64(st.QueueBytes) },
	},
	{
		logDesc("checkpoint_size", "Entries that the newest checkpoint covers."), prometheus.GaugeValue,
		func(st *attestlog.Stats) float64 { return float64(st.CheckpointSize) },
	},
	{
		logDesc("checkpoint_age_seconds", "Time since this server published it."), prometheus.GaugeValue,
		func(st *attestlog.Stats) float64 { return st.CheckpointAge.Seconds() },
	},
	{
		logDesc("store_bytes", "Bytes on disk, with the search index."), prometheus.GaugeValue,
		func(st *attestlog.Stats) float64 { return float64(st.Store.Bytes) },
	},
	{
		logDesc("index_lag_entries", "Entries that the search index has yet to take."), prometheus.GaugeValue,
		func(st *attestlog.Stats) float64 { return float64(st.Store.IndexLag) },
	},
}

var (
	followerLag     = logDesc("follower_lag_entries", "Entries that a follower has yet to take.", "follower")
	followerFailing = logDesc("follower_failures_total", "Attempts of a follower that failed.", "follower")
	outboxWaiting   = logDesc("outbox_events", "Events that wait in an outbox or spool.", "outbox")
)

func logDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("attestlog_"+name, help, append([]string{"log"}, labels...), nil)
}

// Describe implements prometheus.Collector.
func (c logCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range logFigures {
		ch <- f.desc
	}
	ch <- followerLag
	ch <- followerFailing
	ch <- outboxWaiting
}

// Collect implements prometheus.Collector.
func (c logCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(c.ctx, collectWait)
	defer cancel()

	for name, h := range c.logs {
		stats, err := h.log.Stats(ctx)
		if err != nil {
			// The handler leaves this out and answers with the rest: ContinueOnError.
			ch <- prometheus.NewInvalidMetric(logFigures[0].desc, fmt.Errorf("log %s: %w", name, err))
			continue
		}

		for _, f := range logFigures {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&stats), name)
		}
		for _, f := range stats.Followers {
			ch <- prometheus.MustNewConstMetric(followerLag, prometheus.GaugeValue, float64(f.Lag), name, f.Name)
			ch <- prometheus.MustNewConstMetric(followerFailing, prometheus.CounterValue, float64(f.Failures), name, f.Name)
		}
		for _, o := range stats.Outboxes {
			ch <- prometheus.MustNewConstMetric(outboxWaiting, prometheus.GaugeValue, float64(o.Events), name, o.Name)
		}
	}
}
