package startup

import (
	"context"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// every is the area.
var every = []diagnose.Check{InitContainerBlocked, IstioInitFailed, JobNeverCompletes, ProxyNotReady, ProxyOOM, ProxyReadinessTimeout, ReplicaSetCreateFailed}

// diagnosed asks every check of the area.
func diagnosed(t *testing.T, req diagnose.Request, facts put) *diagnose.Report {
	t.Helper()
	e, err := diagnose.New(diagnose.Config{Checks: every, Collectors: []diagnose.Collector{{
		Name: "facts", Provides: ProxyOOM.Needs,
		Collect: func(_ context.Context, _ diagnose.Request, _ *evidence.View, s *evidence.Set) error {
			facts(s)
			return nil
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := e.Diagnose(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// TestTogether runs every check of the area over each scenario, and holds the exact causes.
func TestTogether(t *testing.T) {
	pods := func(p ...kube.Pod) []kube.Pod { return p }
	crash := restarted(4, terminated(60, 61, 1, "Error"))
	unready := status("istio-proxy", running(3), notReady)
	oom := restarted(3, terminated(3, 400, 137, "OOMKilled"))
	for _, c := range []struct {
		name string
		req  diagnose.Request
		put  put
		want string // checks, with the symptoms folded under each
	}{
		{"all is well", ofPod, inCluster(pods(pod()), []kube.Event{probeFailed(4, 12, 4)}, []evidence.LogMessage{notReadyAt(4, 12), readyAt(13.5)}), ""},
		{"the race", ofPod, inCluster(pods(pod()), nil, []evidence.LogMessage{refusedAt("app", 3.6, 3.6), readyAt(13.5)}), "proxy-not-ready"},
		{"the race, and crashes", ofPod, inCluster(pods(pod(unreadyPod, status("app", waiting("CrashLoopBackOff"), crash))), nil, []evidence.LogMessage{refusedAt("app", 3.6, 3.6), readyAt(13.5)}), "proxy-not-ready"},
		{"the proxy never gets ready", ofPod, inCluster(pods(pod(unreadyPod, unready)), []kube.Event{probeFailed(4, 590, 200)}, []evidence.LogMessage{refusedAt("app", 3.6, 590), notReadyAt(4, 590)}), "proxy-readiness-timeout+proxy-not-ready"},
		{"the hold gives up", ofPod, inCluster(pods(pod(held, unreadyPod, unready)), []kube.Event{event("FailedPostStartHook", "istio-proxy", waitFailed, 63, 63, 1)}, []evidence.LogMessage{refusedAt("app", 64, 64)}), "proxy-readiness-timeout"},
		{"no memory", ofPod, inCluster(pods(pod(unreadyPod, status("istio-proxy", waiting("CrashLoopBackOff"), oom))), nil, nil), "proxy-oom+proxy-readiness-timeout"},
		{"Vault's agent", ofPod, inCluster(pods(pod(withInit("vault-agent-init", false, running(3)))), nil, []evidence.LogMessage{say(messages.ConnectionRefused, logOf("vault-agent-init"), vaultLine, 4, 500, api)}), "init-container-blocked"},
		{"istio-init", ofPod, inCluster(pods(pod(initState(waiting("CrashLoopBackOff"), crash))), nil, nil), "istio-init-failed"},
		{"a Job", ofNamespace, inCluster(pods(pod(ofJob, status("app", terminated(3, 60, 0, "Completed")))), nil, []evidence.LogMessage{readyAt(13.5)}), "job-never-completes"},
		{"a Job that is done and whose file says so", ofFiles, file(evidence.Pods, pod(ofJob, status("app", terminated(3, 60, 0, "Completed")), status("istio-proxy", terminated(3, 61, 0, "Completed")))), ""},
		{"no pods at all", ofWorkload, inCluster(nil, []kube.Event{failedCreate(byWebhook, 580)}, nil), "replicaset-create-failed"},
		{"a quota", ofWorkload, inCluster(nil, []kube.Event{failedCreate(byQuota, 580)}, nil), ""},
		{"an old pod whose Redis is down", ofPod, inCluster(pods(pod(status("app", waiting("CrashLoopBackOff"), crash))), nil, []evidence.LogMessage{refusedAt("app", 300, 400)}), ""},
		{"a pod outside the mesh", ofPod, inCluster(pods(pod(func(p *kube.Pod) {
			p.Spec.InitContainers, p.Status.InitContainers = nil, nil
			p.Spec.Containers, p.Status.Containers = p.Spec.Containers[:1], p.Status.Containers[:1]
		}, status("app", waiting("CrashLoopBackOff"), crash))), nil, []evidence.LogMessage{refusedAt("app", 3.6, 400)}), ""},
		{"nothing", ofFiles, all(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := diagnosed(t, c.req, c.put)
			var got []string
			for _, f := range rep.Causes {
				s := strings.TrimPrefix(string(f.Check), "startup/")
				for _, x := range f.Symptoms {
					s += "+" + strings.TrimPrefix(string(x), "startup/")
				}
				got = append(got, s)
			}
			has(t, "causes", strings.Join(got, " "), c.want)
			for _, f := range rep.Causes {
				t.Logf("%s [%s %s] %s", f.Check, f.Severity, f.Confidence, f.Summary)
				for _, x := range f.Evidence {
					t.Logf("%s:\n%s", x.Fact, x.Excerpt)
				}
				for _, a := range f.Remedy {
					t.Logf("   > %s   %s", a.Text, a.Command)
				}
			}
		})
	}
}
