package pipeline

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/lab"
)

const (
	// latency is what each answer of the control plane and of the APIs takes.
	latency = 50 * time.Millisecond
	// rate is how many diagnoses a second are begun in the loaded run.
	rate = 50
	// loaded is how long that run is.
	loaded = 6 * time.Second
)

// BenchmarkDiagnose measures what a warm diagnosis takes beyond its slowest dependency: the longest chain of collectors of the
// same run, each of whose answers takes 50 ms. The lab runs in this same process, on the same cores.
func BenchmarkDiagnose(b *testing.B) {
	p, req := benchWorld(b)
	over := make([]time.Duration, 0, b.N)
	for b.Loop() {
		over = append(over, overhead(b, p, req))
	}
	slices.Sort(over)
	b.ReportMetric(float64(over[len(over)/2].Microseconds())/1000, "ms-over-p50")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDiagnoseLoaded begins 50 diagnoses a second, whether those before have ended or not.
func BenchmarkDiagnoseLoaded(b *testing.B) {
	p, req := benchWorld(b)
	n := int(loaded.Seconds() * rate)
	for b.Loop() {
		over := make([]time.Duration, n)
		var wg sync.WaitGroup
		tick := time.NewTicker(time.Second / rate)
		for i := range n {
			<-tick.C
			wg.Go(func() { over[i] = overhead(b, p, req) })
		}
		tick.Stop()
		wg.Wait()
		slices.Sort(over)
		b.ReportMetric(float64(over[n/2].Microseconds())/1000, "ms-over-p50")
		b.ReportMetric(float64(over[n*99/100].Microseconds())/1000, "ms-over-p99")
	}
	b.ReportMetric(0, "ns/op")
}

// benchWorld starts the lab with its latency, and a pipeline that has asked it before: connections and tokens are there.
func benchWorld(b *testing.B) (*Pipeline, diagnose.Request) {
	b.Helper()
	s, err := lab.ScenarioByName("healthy")
	if err != nil {
		b.Fatal(err)
	}
	w, err := lab.Start(b.Context(), s, lab.Options{Latency: latency})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = w.Close() })
	c := w.Connection()
	p, err := New(Config{Connection: Connection{
		TrafficDirectorEndpoint: c.TrafficDirectorEndpoint, GCPEndpoint: c.GCPEndpoint, DNSServer: c.DNSServer, CAFile: c.CAFile,
		CredentialsFile: c.CredentialsFile, Ranges: []netip.Prefix{netip.MustParsePrefix(c.ControlPlaneRanges[0])},
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	t := w.Target()
	req := diagnose.Request{Target: diagnose.Target{Project: t.Project, Network: t.Network, Mesh: t.Mesh}}
	overhead(b, p, req)
	return p, req
}

// overhead runs one diagnosis, which must be HEALTHY, and gives what it took beyond its longest chain of collectors.
func overhead(b *testing.B, p *Pipeline, req diagnose.Request) time.Duration {
	start := time.Now()
	r, err := p.Engine.Diagnose(context.Background(), req, nil)
	took := time.Since(start)
	if err != nil || r.Verdict != diagnose.Healthy {
		b.Errorf("%v: %+v", err, r)
		return 0
	}
	return took - longestChain(p, req, r)
}

// longestChain adds up the collectors' own times along the longest chain of needs.
func longestChain(p *Pipeline, req diagnose.Request, r *diagnose.Report) time.Duration {
	took := map[string]time.Duration{}
	for _, t := range r.Timing.Collectors {
		took[t.Name] = t.Took
	}
	chain := map[string]time.Duration{}
	var of func(c diagnose.Collector) time.Duration
	of = func(c diagnose.Collector) time.Duration {
		if d, ok := chain[c.Name]; ok {
			return d
		}
		needs := c.Needs
		if c.Await != nil {
			needs = c.Await(req)
		}
		var before time.Duration
		for _, other := range p.collectors {
			if other.Name != c.Name && slices.ContainsFunc(other.Provides, func(n evidence.Name) bool { return slices.Contains(needs, n) }) {
				before = max(before, of(other))
			}
		}
		chain[c.Name] = before + took[c.Name]
		return chain[c.Name]
	}
	var longest time.Duration
	for _, c := range p.collectors {
		longest = max(longest, of(c))
	}
	return longest
}
