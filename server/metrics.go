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

// metrics are the server's own figures. The logs' are read when they are asked
// for.
type metrics struct {
	requests *prometheus.HistogramVec
	refused  prometheus.Counter
	tails    prometheus.Gauge
	alarms   *prometheus.CounterVec
	cosigned *prometheus.GaugeVec
	unsigned *prometheus.CounterVec
	handler  http.Handler
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "attestlog_http_request_duration_seconds", Help: "How long requests took, by route and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"method", "route", "status"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "attestlog_http_tokens_refused_total", Help: "Requests with a token that is not valid."}),
		tails:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "attestlog_http_tails", Help: "Subscribers that follow a log now."}),
		alarms:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "attestlog_alarms_total", Help: "What an operator had to know at once."}, []string{"log", "alarm"}),
	}
	m.cosigned = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "attestlog_witness_cosigned_size", Help: "Entries that the newest checkpoint with enough cosignatures covers."}, []string{"log"})
	m.unsigned = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "attestlog_witness_failures_total", Help: "Times that a witness did not cosign."}, []string{"log"})
	s.cfg.Registry.MustRegister(m.requests, m.refused, m.tails, m.alarms, m.cosigned, m.unsigned, logCollector{s})
	m.handler = promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return m
}

// observe counts a request under the pattern that it matched, never under its
// path, which a client chooses.
func (m *metrics) observe(r *http.Request, status int, took time.Duration) {
	route := r.Pattern
	if route == "" {
		route = "none"
	}
	method := r.Method
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions:
	default:
		method = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}

// logCollector reads the figures of all logs.
type logCollector struct{ s *Server }

func (c logCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range logFigures {
		ch <- f.desc
	}
	for _, d := range []*prometheus.Desc{followerLag, followerFailing, outboxWaiting} {
		ch <- d
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("attestlog_"+name, help, append([]string{"log"}, labels...), nil)
}

// logFigures are taken from attestlog.Stats.
var logFigures = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*attestlog.Stats) float64
}{
	{desc("entries", "Entries in the log."), prometheus.GaugeValue, func(st *attestlog.Stats) float64 { return float64(st.Size) }},
	{desc("events_queued_total", "Events that were accepted."), prometheus.CounterValue, func(st *attestlog.Stats) float64 { return float64(st.Queued) }},
	{desc("events_appended_total", "Events that were stored."), prometheus.CounterValue, func(st *attestlog.Stats) float64 { return float64(st.Appended) }},
	{desc("events_duplicate_total", "Events that were in the log already."), prometheus.CounterValue, func(st *attestlog.Stats) float64 { return float64(st.Duplicates) }},
	{desc("events_failed_total", "Events whose caller got an error, or that could not be stored."), prometheus.CounterValue, func(st *attestlog.Stats) float64 { return float64(st.Failed) }},
	{desc("transactions_retried_total", "Transactions that failed and were tried again."), prometheus.CounterValue, func(st *attestlog.Stats) float64 { return float64(st.Retries) }},
	{desc("clock_jumps_total", "Steps of the clock of more than five seconds."), prometheus.CounterValue, func(st *attestlog.Stats) float64 { return float64(st.ClockJumps) }},
	{desc("events_spooled_total", "Recorded events that went to the spool."), prometheus.CounterValue, func(st *attestlog.Stats) float64 { return float64(st.Spooled) }},
	{desc("spool_full_total", "Times that the spool could not take events."), prometheus.CounterValue, func(st *attestlog.Stats) float64 { return float64(st.SpoolFull) }},
	{desc("queue_events", "Events that are accepted and not durable yet."), prometheus.GaugeValue, func(st *attestlog.Stats) float64 { return float64(st.QueueEvents) }},
	{desc("queue_bytes", "Bytes of them."), prometheus.GaugeValue, func(st *attestlog.Stats) float64 { return float64(st.QueueBytes) }},
	{desc("checkpoint_size", "Entries that the newest checkpoint covers."), prometheus.GaugeValue, func(st *attestlog.Stats) float64 { return float64(st.CheckpointSize) }},
	{desc("checkpoint_age_seconds", "Time since this server published it."), prometheus.GaugeValue, func(st *attestlog.Stats) float64 { return st.CheckpointAge.Seconds() }},
	{desc("store_bytes", "Bytes on disk, with the search index."), prometheus.GaugeValue, func(st *attestlog.Stats) float64 { return float64(st.Store.Bytes) }},
	{desc("index_lag_entries", "Entries that the search index has yet to take."), prometheus.GaugeValue, func(st *attestlog.Stats) float64 { return float64(st.Store.IndexLag) }},
}

var (
	followerLag     = desc("follower_lag_entries", "Entries that a follower has yet to take.", "follower")
	followerFailing = desc("follower_failures_total", "Attempts of a follower that failed.", "follower")
	outboxWaiting   = desc("outbox_events", "Events that wait in an outbox or spool.", "outbox")
)

func (c logCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(c.s.ctx, 5*time.Second)
	defer cancel()
	for name, h := range c.s.logs {
		st, err := h.log.Stats(ctx)
		if err != nil {
			ch <- prometheus.NewInvalidMetric(logFigures[0].desc, fmt.Errorf("log %s: %w", name, err))
			continue
		}
		for _, f := range logFigures {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&st), name)
		}
		for _, f := range st.Followers {
			ch <- prometheus.MustNewConstMetric(followerLag, prometheus.GaugeValue, float64(f.Lag), name, f.Name)
			ch <- prometheus.MustNewConstMetric(followerFailing, prometheus.CounterValue, float64(f.Failures), name, f.Name)
		}
		for _, o := range st.Outboxes {
			ch <- prometheus.MustNewConstMetric(outboxWaiting, prometheus.GaugeValue, float64(o.Events), name, o.Name)
		}
	}
}
