package pipeline

import (
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/internal/kubetest"
)

// racedPod lost the race: its application, which prints no times of its own, is refused before its proxy is ready.
const racedPod = `
apiVersion: v1
kind: Pod
metadata: {name: checkout-1, namespace: shop, labels: {app: checkout}, annotations: {sidecar.istio.io/status: "{}"}}
spec:
  nodeName: node-1
  initContainers:
  - {name: istio-init, image: "proxyv2:1.26", args: [istio-iptables, "-p", "15001", "-z", "15006", "-u", "1337", "-m", REDIRECT, "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"]}
  containers: [{name: app, image: "shop/app:1"}, {name: istio-proxy, image: "proxyv2:1.26"}]
status:
  phase: Running
  podIP: 10.60.1.5
  startTime: "2026-03-02T12:00:00Z"
  conditions: [{type: Ready, status: "True", lastTransitionTime: "2026-03-02T12:00:20Z"}]
  initContainerStatuses:
  - {name: istio-init, image: i, imageID: "", ready: true, restartCount: 0, state: {terminated: {exitCode: 0, reason: Completed, startedAt: "2026-03-02T12:00:01Z", finishedAt: "2026-03-02T12:00:02Z"}}}
  containerStatuses:
  - {name: app, image: a, imageID: "", ready: true, restartCount: 0, state: {running: {startedAt: "2026-03-02T12:00:03Z"}}}
  - {name: istio-proxy, image: p, imageID: "", ready: true, restartCount: 0, state: {running: {startedAt: "2026-03-02T12:00:03Z"}}}
`

// TestKubeStartupRace finds a start-up race in a live cluster, and shows it on one time line: of the pod's status, its events, and
// the logs of both containers.
func TestKubeStartupRace(t *testing.T) {
	const (
		refused = "2026-03-02T12:00:03.600000000Z redis: dial tcp 10.84.12.7:6379: connect: connection refused\n"
		late    = "2026-03-02T12:00:14.600000000Z redis: dial tcp 10.84.12.7:6379: connect: connection refused\n"
		proxy   = "2026-03-02T12:00:04.100000000Z 2026-03-02T12:00:04.099000Z\twarn\tEnvoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected\n" +
			"2026-03-02T12:00:13.500000000Z 2026-03-02T12:00:13.499000Z\tinfo\tEnvoy proxy is ready\n"
	)
	for _, tc := range []struct {
		name, app string
		want      string // of the first cause
	}{
		{"before the proxy was ready", refused, "Container app of pod shop/checkout-1 was refused 10.84.12.7:6379 9.9s before its proxy was ready; its traffic went to the proxy by then."},
		{"after it", late, ""},
		{"not at all", "2026-03-02T12:00:03.600000000Z listening on :8080\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := realKube.Start(t)
			c.Node(t, "node-1", kubetest.Kubelet{Logs: []kubetest.Log{
				{Namespace: "shop", Pod: "checkout-1", Container: "app", Text: tc.app, Timed: true},
				{Namespace: "shop", Pod: "checkout-1", Container: "istio-proxy", Text: proxy, Timed: true},
				{Namespace: "shop", Pod: "checkout-1", Container: "istio-init", Text: ""},
			}})
			c.Apply(t, racedPod)
			at := func(s int) time.Time { return time.Date(2026, 3, 2, 12, 0, s, 0, time.UTC) }
			c.Event(t, kubetest.Event{Namespace: "shop", Kind: "Pod", Name: "checkout-1", Type: "Warning", Reason: "Unhealthy", Component: "kubelet", Count: 4,
				Message: `Readiness probe failed: Get "http://10.60.1.5:15021/healthz/ready": dial tcp 10.60.1.5:15021: connect: connection refused`, First: at(4), Last: at(12)})
			rep, err := liveEngine(t, c).Diagnose(t.Context(), diagnose.Request{Target: diagnose.Target{Namespace: "shop", Pod: "checkout-1"}, Symptom: diagnose.SymptomPodNotStarting}, nil)
			if err != nil {
				t.Fatal(err)
			}
			i := -1
			for j, f := range rep.Causes {
				if f.Check == "startup/proxy-not-ready" {
					i = j
				}
			}
			if tc.want == "" {
				if i >= 0 {
					t.Errorf("found %s", rep.Causes[i].Summary)
				}
				return
			}
			if i != 0 || rep.Causes[0].Summary != tc.want || rep.Causes[0].Confidence != diagnose.Confirmed {
				t.Fatalf("causes: %+v", rep.Causes)
			}
			line := rep.Causes[0].Evidence[0].Excerpt
			t.Log("\n" + line)
			const want = `from 2026-03-02T12:00:00Z:
 +0.0s  the node began with the pod  [pod status]
 +1.0s  istio-init started  [pod status]
 +2.0s  istio-init ended: done; traffic goes to the proxy from here  [pod status]
 +3.0s  app started  [pod status]
 +3.0s  istio-proxy started  [pod status]
 +3.6s  app: connection refused, to 10.84.12.7:6379  [log of app]
 +4.0s  Readiness probe failed: `
			if !strings.HasPrefix(line, want) || !strings.Contains(line, "\n+13.5s  istio-proxy is ready  [log of istio-proxy]") {
				t.Errorf("time line:\n%s", line)
			}
		})
	}
}
