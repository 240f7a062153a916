package service

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/codes"

	"github.com/meshdiag/meshdiag/diagnose"
)

// metrics counts what the service does. Labels hold names of this program alone (methods, checks, collectors), never a
// project, network or node id: those have no bound, and metrics are read by more people than reports.
type metrics struct {
	requests   *prometheus.CounterVec   // method, code
	durations  *prometheus.HistogramVec // method
	refusals   *prometheus.CounterVec   // reason
	running    prometheus.Gauge
	verdicts   *prometheus.CounterVec   // verdict
	outcomes   *prometheus.CounterVec   // check, outcome
	errors     *prometheus.CounterVec   // collector, kind
	collecting *prometheus.HistogramVec // collector
	build      *prometheus.GaugeVec     // version
}

// buckets reach from a text explained to MaxTimeout.
var buckets = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &metrics{
		requests:   counter("meshdiag_requests_total", "RPCs ended, by method and gRPC code; REST requests count as the RPC they call.", "method", "code"),
		durations:  histogram("meshdiag_request_duration_seconds", "How long RPCs took.", "method"),
		refusals:   counter("meshdiag_http_refusals_total", "REST requests refused before they became an RPC.", "reason"),
		running:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "meshdiag_diagnoses_running", Help: "Diagnoses and client look-ups under way."}),
		verdicts:   counter("meshdiag_verdicts_total", "Reports, by verdict.", "verdict"),
		outcomes:   counter("meshdiag_check_outcomes_total", "How checks ended.", "check", "outcome"),
		errors:     counter("meshdiag_collector_errors_total", "Collectors that failed, or didn't end before the deadline.", "collector", "kind"),
		collecting: histogram("meshdiag_collector_duration_seconds", "How long collectors took.", "collector"),
		build:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "meshdiag_build_info", Help: "Always 1; the version is the label."}, []string{"version"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.durations, m.refusals, m.running, m.verdicts, m.outcomes, m.errors, m.collecting, m.build} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		var already prometheus.AlreadyRegisteredError // a registry that the caller uses for more than this service
		if err := r.Register(c); err != nil && !errors.As(err, &already) {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) request(method string, code codes.Code, took time.Duration) {
	m.requests.WithLabelValues(method, codeName(code)).Inc()
	m.durations.WithLabelValues(method).Observe(took.Seconds())
}

func (m *metrics) report(rep *diagnose.Report) {
	m.verdicts.WithLabelValues(string(rep.Verdict)).Inc()
	for _, r := range rep.Results {
		m.outcomes.WithLabelValues(string(r.Check), string(r.Outcome)).Inc()
	}
	for _, c := range rep.Timing.Collectors {
		m.collecting.WithLabelValues(c.Name).Observe(c.Took.Seconds())
		switch {
		case c.Late:
			m.errors.WithLabelValues(c.Name, "late").Inc()
		case c.Err != "":
			m.errors.WithLabelValues(c.Name, "failed").Inc()
		}
	}
}
