package startup

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func lineOf(t *testing.T, m evidence.LogMessage) line {
	t.Helper()
	l, ok := place(m)
	if !ok {
		t.Fatalf("%+v is an event's", m)
	}
	return l
}

func TestTimeline(t *testing.T) {
	p := pod(unreadyPod, status("app", waiting("CrashLoopBackOff"), restarted(1, terminated(3, 5, 1, "Error"))))
	events := []kube.Event{
		event("Pulled", "app", "Container image already present on machine", 2.5, 2.5, 1),
		event("Started", "app", "Started container app", 3, 3, 1), // the status tells it
		probeFailed(4, 12, 5),
		event("BackOff", "app", "Back-off restarting failed container app in pod "+podName, 6, 11, 3),
	}
	lines := []line{lineOf(t, refusedAt("app", 3.6, 3.6)), lineOf(t, notReadyAt(4, 12)), lineOf(t, readyAt(13.5)), lineOf(t, refusedAt("istio-proxy", 3, 3))}
	has(t, "time line", show(timeline(&p, events, lines)), strings.TrimSpace(`
from 2026-03-02T12:00:00Z:
 +0.0s  the node began with the pod  [pod status]
 +2.0s  istio-init ended: done; traffic goes to the proxy from here  [pod status]
 +3.0s  app started  [pod status]
 +3.0s  istio-proxy started  [pod status]
 +3.6s  app: connection refused, to 10.84.12.7:6379  [log of app]
 +4.0s  istio-proxy NOT ready: no configuration yet (5× in 8.0s)  [log of istio-proxy]
 +4.0s  istio-proxy: Readiness probe failed: status code 503 (5× in 8.0s)  [event]
 +5.0s  app ended: exit code 1  [pod status]
 +6.0s  Back-off restarting failed container app in pod checkout-6d… (3× in 5.0s)  [event]
+13.5s  istio-proxy is ready  [log of istio-proxy]
        and 2 more`))
	if got := show(timeline(&kube.Pod{}, nil, nil)); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

// A time line is bounded whatever goes into it, keeps what the cause rests on, and is the same whatever order it is told in.
func TestTimelineIsBounded(t *testing.T) {
	p := pod()
	var events []kube.Event
	var lines []line
	for i := range 200 {
		events = append(events, event("Pulled", "app", strings.Repeat("x", 300)+"\n\x1b[31m", float64(i), float64(i), 1), event("BackOff", "app", fmt.Sprint("Back-off ", i), float64(i), float64(i), 1))
	}
	lines = append(lines, lineOf(t, readyAt(5000)), lineOf(t, refusedAt("app", 3.6, 3.6)))
	got := show(timeline(&p, events, lines))
	for _, l := range strings.Split(got, "\n") {
		if n := utf8.RuneCountInString(l); n > timelineColumns {
			t.Errorf("%d columns: %s", n, l)
		}
	}
	if n := strings.Count(got, "\n") + 1; n > timelineLines {
		t.Errorf("%d lines:\n%s", n, got)
	}
	for _, want := range []string{"connection refused", "istio-proxy is ready", "istio-init ended", "+1h23m20s"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
		events[i], events[j] = events[j], events[i]
	}
	lines[0], lines[1] = lines[1], lines[0]
	has(t, "in another order", show(timeline(&p, events, lines)), got)
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		file, detail string
		pasted       bool
		want         string // namespace/name/container, "-" for an event
	}{
		{"log of container app of pod shop/checkout-1", "", false, "shop/checkout-1/app"},
		{"log of the container before, app of pod shop/checkout-1", "", false, "shop/checkout-1/app before"},
		{"shop/checkout-1/istio-proxy", "", false, "shop/checkout-1/istio-proxy"},
		{"shop/checkout-1/istio-proxy", "shop/checkout-1/istio-proxy", true, "//istio-proxy"},
		{"Pod shop/checkout-1, container app", "", false, "shop/checkout-1/app"},
		{"pods.yaml", "pods.yaml (Pod shop/checkout-1, container app)", true, "shop/checkout-1/app"},
		{"pods.yaml", "pods.yaml (Pod checkout-1, condition Ready)", true, "/checkout-1/"},
		{"event Unhealthy of Pod shop/checkout-1", "event Unhealthy of Pod shop/checkout-1", false, "-"},
		{"describe.txt", "describe.txt (event FailedCreate of ReplicaSet shop/checkout-1)", true, "-"},
		{"app.log", "app.log", true, "//"},
		{"checkout-1-istio-init.log", "x", true, "//istio-init"},
	} {
		l, ok := place(evidence.LogMessage{File: c.file, Source: evidence.Source{Detail: c.detail, Pasted: c.pasted}})
		got := l.namespace + "/" + l.name + "/" + l.container
		if l.previous {
			got += " before"
		}
		if !ok {
			got = "-"
		}
		has(t, c.file+", "+c.detail, got, c.want)
	}
}

func TestWithHold(t *testing.T) {
	for _, c := range []struct {
		config, want string
		ok           bool
	}{
		{"", `{"holdApplicationUntilProxyStarts":true}`, true},
		{`{"concurrency": 2}`, `{"concurrency":2,"holdApplicationUntilProxyStarts":true}`, true},
		{`{"holdApplicationUntilProxyStarts": false}`, `{"holdApplicationUntilProxyStarts":true}`, true},
		{"concurrency: 2\n", "concurrency: 2\nholdApplicationUntilProxyStarts: true", true},
		{"holdApplicationUntilProxyStarts: false", "", false},
		{"{concurrency: 2}", "", false},
	} {
		got, ok := withHold(c.config)
		if ok != c.ok {
			t.Errorf("%q: %v", c.config, ok)
		}
		has(t, c.config, got, c.want)
	}
}

func TestCompare(t *testing.T) {
	ready := readiness{started: at(3), ready: at(13.5)}
	for _, c := range []struct {
		name  string
		r     readiness
		at    float64
		bound bool
		want  order
	}{
		{"before the container started", ready, 2, false, before},
		{"before it was ready", ready, 13, false, before},
		{"when it was ready", ready, 13.5, false, after},
		{"after", ready, 60, false, after},
		{"a run that ended after: it may have been earlier", ready, 60, true, unknown},
		{"a run that ended before", ready, 4, true, before},
		{"ready after hours, and nothing between", readiness{started: at(3), ready: at(9000)}, 60, false, unknown},
		{"ready after hours, not ready till then", readiness{started: at(3), ready: at(9000), not: []time.Time{at(4), at(70)}}, 60, false, before},
		{"a probe failed after it", readiness{started: at(3), not: []time.Time{at(4), at(70)}}, 60, false, likely},
		{"a probe failed hours after it", readiness{started: at(3), not: []time.Time{at(9000)}}, 60, false, unknown},
		{"probes fail, the proxy is old", readiness{started: at(-9000), not: []time.Time{at(4), at(70)}}, 60, false, unknown},
		{"probes failed before it", readiness{started: at(3), not: []time.Time{at(4), at(12)}}, 60, false, unknown},
		{"nothing known", readiness{}, 60, false, unknown},
	} {
		if got, _ := c.r.compare(newStart(&kube.Pod{}), at(c.at), c.bound); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
