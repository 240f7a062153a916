package kube

import (
	"encoding/json"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestTimed(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"2026-05-04T11:00:03.600000001Z panic: dial tcp\n", "2026-05-04T11:00:03.600000001Z panic: dial tcp\n"},
		{"2026-05-04T11:00:03.6Z {\"level\":\"warn\"}\nlast", "{\"timestamp\":\"2026-05-04T11:00:03.6Z\",\"level\":\"warn\"}\nlast"},
		{"2026-05-04T11:00:03.6Z {}\n", "2026-05-04T11:00:03.6Z {}\n"},
		{"{\"level\":\"warn\"}\n", "{\"level\":\"warn\"}\n"},
		{"today {\"a\":1}\n", "today {\"a\":1}\n"},
		{"", ""},
	} {
		if got := string(timed([]byte(c.in))); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

// What is read of each container's log.
func TestStartOf(t *testing.T) {
	for _, c := range []struct {
		status string
		want   part
	}{
		{`{"name":"app","state":{"running":{}}}`, begin},
		{`{"name":"app","restartCount":2,"state":{"running":{}}}`, both},
		{`{"name":"app","restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}`, both},
		{`{"name":"app","state":{"waiting":{"reason":"PodInitializing"}}}`, none},
		{`{"name":"app","state":{"terminated":{"exitCode":0}}}`, none},
		{`{"name":"app","state":{"terminated":{"exitCode":1}}}`, end},
		{`{"name":"istio-proxy","state":{"running":{}}}`, both},
		{`{"name":"istio-init","state":{"terminated":{"exitCode":0}}}`, end},
		{`{"name":"istio-validation","state":{"waiting":{}}}`, end},
		{`{"name":"vault-agent-init","state":{"running":{}}}`, begin},
	} {
		var s kube.ContainerStatus
		if err := json.Unmarshal([]byte(c.status), &s); err != nil {
			t.Fatal(err)
		}
		if got := startOf(s); got != c.want {
			t.Errorf("%s: %d, want %d", c.status, got, c.want)
		}
	}
}

// A long log is read at its end, and, of the proxy, at its beginning too.
func TestLongLogs(t *testing.T) {
	s := shopWorld(t)
	v, _ := run(t, s.api(t, withScanner(t)), shop, evidence.LogMessages.Name())
	if _, err := evidence.Whole(v, evidence.LogMessages); err != nil {
		t.Fatal(err)
	}
	asked := func() (end, begin int) {
		for _, r := range s.requests() {
			if r.resource == "pods/log" && r.name == "checkout-7d9-aaaaa" && r.query.Get("container") == "istio-proxy" && r.query.Get("previous") == "" {
				if r.query.Get("tailLines") != "" {
					end++
				} else {
					begin++
				}
			}
		}
		return end, begin
	}
	if end, begin := asked(); end != 1 || begin != 0 {
		t.Errorf("a short log is asked for %d times at its end, %d at its beginning", end, begin)
	}
	log := []byte("a line\n")
	for len(log) < logLines*7 {
		log = append(log, log...)
	}
	s.logs["shop/checkout-7d9-aaaaa/istio-proxy"] = string(log)
	run(t, s.api(t, withScanner(t)), shop, evidence.LogMessages.Name())
	if end, begin := asked(); end != 1 || begin != 1 {
		t.Errorf("a long log is asked for %d times at its end, %d at its beginning", end, begin)
	}
}
