package istiod

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/controlplane"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

var area = []diagnose.Check{NotReady, RBACDenied, WrongDiscoveryAddress, ConfigNotReceived, ConfigRejected, UnsyncedProxies, controlplane.StreamErrors}

// diagnosed runs the area's checks over evidence.
func diagnosed(t *testing.T, req diagnose.Request, p put) *diagnose.Report {
	t.Helper()
	var provides []evidence.Name
	for _, c := range area {
		provides = append(provides, c.Needs...)
	}
	slices.Sort(provides)
	e, err := diagnose.New(diagnose.Config{
		Checks: area,
		Collectors: []diagnose.Collector{{
			Name: "test", Provides: slices.Compact(provides),
			Collect: func(_ context.Context, _ diagnose.Request, _ *evidence.View, s *evidence.Set) error {
				p(s)
				return nil
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Diagnose(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTogether runs every check of the area over each scenario, and holds the exact causes.
func TestTogether(t *testing.T) {
	const (
		plane = "Deployment istio-system/istiod"
		proxy = "the proxy of pod shop/checkout-6d5f-x2x9k"
		file  = "the proxy that wrote proxy.log"
	)
	minutes := span(5*time.Minute, time.Second)
	services := live(evidence.ClusterServices, service("istiod", 15010, 15012, 443))
	right := live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15012"))
	up := all(plan(deployment("default"), istiod("default")), services, right, live(evidence.ClusterRoles, role("istiod-clusterrole-istio-system")))
	down := all(plan(deployment("default", noneReady), istiod("default", inState(waits("CrashLoopBackOff", ""), &kube.Terminated{ExitCode: 1}))), services, right)
	pod := live(evidence.Pods, app(proxyStarted(10*time.Minute)))
	waitsNow := said(messages.ProxyNotReady, "", unready12(nothing, 0, 0, 0, 0), liveLog, times(100), minutes)
	rejects := said(messages.ProxyNotReady, "", unready12(rejected, 1, 0, 0, 1), liveLog, times(100), minutes)
	unreached := said(messages.AgentUpstreamFailed, "", "error\txdsproxy\tfailed to connect to upstream istiod.istio-system.svc:15012: context deadline exceeded", liveLog, times(20), minutes)
	forbidden := refusal("istiod", "pods", "", "", liveIstiod, times(40), span(time.Hour, 10*time.Second))
	for _, tc := range []struct {
		name string
		req  diagnose.Request
		put  put
		want []string
	}{
		{"nothing wrong", ofPod, all(up, live(evidence.Pods, app(proxyReady)), logs(said(messages.ProxyReady, "", isReady, liveLog))), nil},
		{"nothing wrong, a while ago not ready", ofPod, all(up, live(evidence.Pods, app(proxyReady)), logs(waitsNow)), nil},
		{"a pod that starts", ofPod, all(up, live(evidence.Pods, app(proxyStarted(20*time.Second))), logs(said(messages.ProxyNotReady, "", unready12(nothing, 0, 0, 0, 0), liveLog, times(8), span(20*time.Second, time.Second)))), nil},

		{"istiod is down", ofPod, all(down, pod, logs()), []string{"not-ready " + plane}},
		{"istiod is down, and the proxy waits", ofPod, all(down, pod, logs(waitsNow, unreached)), []string{"not-ready " + plane + " +controlplane/stream-errors +config-not-received"}},
		{"istiod is down, and a pod of the namespace waits", ofNamespace, all(down, pod, logs(waitsNow)), []string{"not-ready " + plane + " +config-not-received"}},
		{"istiod may not read, and doesn't get ready", ofPod, all(plan(deployment("default", noneReady), istiod("default", inState(runs(), nil))), services, right, pod, logs(forbidden, waitsNow)),
			[]string{"rbac-denied service account istio-system/istiod +config-not-received +not-ready"}},
		{"istiod may not read, and runs", ofPod, all(up, pod, logs(forbidden, waitsNow)), []string{"rbac-denied service account istio-system/istiod +config-not-received"}},
		{"the address is wrong", ofPod, all(plan(deployment("default"), istiod("default")), services, live(evidence.ConfigMaps, mesh("istio", "istiod-old.istio-system.svc:15012")), pod,
			logs(waitsNow, said(messages.AgentUpstreamFailed, "", noHost, liveLog, times(20), minutes))),
			[]string{"wrong-discovery-address ConfigMap istio-system/istio +controlplane/stream-errors +config-not-received"}},
		{"the pod's address is wrong", ofPod, all(up, live(evidence.Pods, app(proxyStarted(10*time.Minute), annotation("proxy.istio.io/config", "discoveryAddress: istiod-old.istio-system.svc:15012"))), logs(waitsNow)),
			[]string{"wrong-discovery-address pod shop/checkout-6d5f-x2x9k +config-not-received"}},
		{"another pod's address is wrong", ofNamespace, all(up, live(evidence.Pods, app(proxyStarted(10*time.Minute)), app(named("cart-1"), func(p *kube.Pod) { p.Owners = nil }, annotation("proxy.istio.io/config", "discoveryAddress: istiod-old.istio-system.svc:15012"))), logs(waitsNow)),
			[]string{"config-not-received " + proxy, "wrong-discovery-address pod shop/cart-1"}},
		{"the way is closed", ofPod, all(up, pod, logs(waitsNow, unreached)), []string{"config-not-received " + proxy + " +controlplane/stream-errors"}},
		{"rejected", ofPod, all(up, pod, logs(rejects)), []string{"config-rejected " + proxy}},
		{"managed", ofPod, all(down, live(evidence.MutatingWebhooks, managedInjector()), pod, logs(waitsNow)), nil},
		{"a revision is down that isn't the pod's", ofPod, all(live(evidence.ControlPlaneWorkloads, deployment("default"), deployment("asm-1260-11", noneReady)), live(evidence.ControlPlanePods, istiod("default")), services, right, pod, logs(waitsNow)),
			[]string{"config-not-received " + proxy, "not-ready Deployment istio-system/istiod-asm-1260-11"}},
		{"proxies out of step", ofFiles, syncs(sync("checkout-1.shop", "SYNCED", "STALE")), []string{"unsynced-proxies proxy checkout-1.shop"}},

		// A log alone.
		{"pasted: nothing came", ofFiles, logs(said(messages.ProxyNotReady, "proxy.log", unready11(0, 0, 0, 0), times(60), minutes)), []string{"config-not-received " + file}},
		{"pasted: no healthy upstream", ofFiles, logs(said(messages.ProxyNotReady, "proxy.log", unready11(0, 0, 0, 0), times(60), minutes), said(messages.StreamClosed, "proxy.log", noUpstream, times(20))),
			[]string{"wrong-discovery-address " + file + " +controlplane/stream-errors +config-not-received"}},
		{"pasted: rejected", ofFiles, logs(said(messages.ProxyNotReady, "proxy.log", unready11(1, 0, 0, 1), times(60), minutes)), []string{"config-rejected " + file}},
		{"pasted: istiod's log", ofFiles, logs(refusal("istiod", "pods", "", "")), []string{"rbac-denied service account istio-system/istiod"}},
		{"pasted: Google's", ofFiles, logs(said(messages.ProxyNotReady, "proxy.log", unready12(nothing, 0, 0, 0, 0), times(60), minutes),
			said(messages.AgentUpstreamFailed, "proxy.log", "error\txdsproxy\tfailed to connect to upstream trafficdirector.googleapis.com:443: context deadline exceeded", times(20), minutes)),
			[]string{"controlplane/stream-errors the proxy that wrote proxy.log"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := diagnosed(t, tc.req, tc.put)
			got := found(r)
			if !slices.Equal(got, tc.want) {
				t.Errorf("found %q, want %q", got, tc.want)
			}
			for _, c := range r.Causes {
				t.Logf("%s [%s %s] %s", c.Check, c.Severity, c.Confidence, c.Summary)
				for _, x := range c.Evidence {
					t.Logf("   %s: %s", x.Fact, x.Excerpt)
				}
				for _, a := range c.Remedy {
					t.Logf("   > %s   %s", a.Text, a.Command)
				}
			}
		})
	}
}
