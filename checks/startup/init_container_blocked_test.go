package startup

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const vaultLine = `2026-03-02T12:00:04.100Z [ERROR] auth.handler: error authenticating: error="Put \"http://vault.vault.svc:8200/v1/auth/kubernetes/login\": dial tcp 10.84.3.9:8200: connect: connection refused" backoff=1.5`

// withInit adds an init container behind istio-init, or before it, and holds the rest back.
func withInit(name string, first bool, state kube.ContainerState, change ...func(*kube.ContainerStatus)) func(*kube.Pod) {
	return func(p *kube.Pod) {
		s := kube.ContainerStatus{Name: name, State: state}
		for _, f := range change {
			f(&s)
		}
		c := kube.Container{Name: name}
		if first {
			p.Spec.InitContainers = append([]kube.Container{c}, p.Spec.InitContainers...)
			p.Status.InitContainers = append([]kube.ContainerStatus{s}, p.Status.InitContainers...)
		} else {
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
			p.Status.InitContainers = append(p.Status.InitContainers, s)
		}
		p.Status.Phase = "Pending"
		p.Status.Containers = []kube.ContainerStatus{{Name: "app", State: waiting("PodInitializing")}, {Name: "istio-proxy", State: waiting("PodInitializing")}}
		unreadyPod(p)
	}
}

// initArgs are what istio-init was started with.
func initArgs(args ...string) func(*kube.Pod) {
	return func(p *kube.Pod) {
		for i := range p.Spec.InitContainers {
			if p.Spec.InitContainers[i].Name == kube.InitContainer {
				p.Spec.InitContainers[i].Args = args
			}
		}
	}
}

func initRefused(container, address string) evidence.LogMessage {
	return say(messages.ConnectionRefused, logOf(container), "dial tcp "+address+": connect: connection refused", 4, 500, api)
}

func TestInitContainerBlocked(t *testing.T) {
	pods := func(p ...kube.Pod) []kube.Pod { return p }
	said := func(m ...evidence.LogMessage) []evidence.LogMessage { return m }
	wants := func(w ...checkstest.Want) []checkstest.Want { return w }
	const vault = "vault-agent-init"
	crash := restarted(4, terminated(60, 61, 1, "Error"))
	stuck := pod(withInit(vault, false, running(3)))
	checkstest.Run(t, InitContainerBlocked, []checkstest.Case{
		{Name: "Vault's agent, after istio-init", Request: ofPod, Put: inCluster(pods(stuck), nil, said(say(messages.ConnectionRefused, logOf(vault), vaultLine, 4, 500, api))), Want: wants(checkstest.Want{
			Subject: "pod shop/" + podName, Confidence: diagnose.Confirmed, Severity: diagnose.Blocking,
			Summary: "Init container vault-agent-init of pod shop/" + podName + " does not end, 9m57s after its start, refused 10.84.3.9:8200: it comes after istio-init, which sends traffic to a proxy that does not run yet.",
			Params: map[string]string{
				"vault_first": `{"spec":{"template":{"metadata":{"annotations":{"vault.hashicorp.com/agent-init-first":"true"}}}}}`,
				"exclude":     `{"spec":{"template":{"metadata":{"annotations":{"traffic.sidecar.istio.io/excludeOutboundIPRanges":"10.84.3.9/32"}}}}}`,
			},
			Excerpt: "init containers, in their order: istio-init, vault-agent-init",
		})},
		{Name: "a migration that fails again and again", Request: ofNamespace, Put: inCluster(pods(pod(withInit("migrate", false, waiting("CrashLoopBackOff"), crash))), nil, said(initRefused("migrate", "10.84.9.9:5432"))),
			Want: wants(checkstest.Want{Summary: "keeps failing (exit code 1, 4 restarts), refused 10.84.9.9:5432", Confidence: diagnose.Confirmed, Params: map[string]string{"vault_first": ""}})},
		{Name: "its termination message", Request: ofPod, Put: inCluster(pods(pod(withInit("migrate", false, waiting("CrashLoopBackOff"), crash))), nil,
			said(say(messages.ConnectionRefused, "Pod shop/"+podName+", container migrate", "dial tcp 10.84.9.9:5432: connect: connection refused", 61, 61, api))), Want: wants(checkstest.Want{Confidence: diagnose.Confirmed})},
		{Name: "CNI, whatever the order", Request: ofPod, Put: inCluster(pods(pod(withCNI, withInit("migrate", true, waiting("CrashLoopBackOff"), crash))), nil, said(initRefused("migrate", "10.84.9.9:5432"))),
			Want: wants(checkstest.Want{Summary: "the CNI plugin sends all traffic to the proxy"})},
		{Name: "CNI and Vault: its being first doesn't help", Request: ofPod, Put: inCluster(pods(pod(withCNI, withInit(vault, true, running(3)))), nil, said(initRefused(vault, vaultAt))), Want: wants(checkstest.Want{Params: map[string]string{"vault_first": ""}})},
		{Name: "what is excluded already is kept", Request: ofPod, Put: inCluster(pods(pod(annotated(excludeRanges, "10.1.0.0/16"), withInit("migrate", false, waiting("CrashLoopBackOff"), crash))), nil, said(initRefused("migrate", "10.84.9.9:5432"))),
			Want: wants(checkstest.Want{Params: map[string]string{"exclude": `{"spec":{"template":{"metadata":{"annotations":{"traffic.sidecar.istio.io/excludeOutboundIPRanges":"10.1.0.0/16,10.84.9.9/32"}}}}}`}})},
		{Name: "excluded at the Deployment itself", Request: ofPod, Put: all(live(evidence.Pods, stuck), logged(initRefused(vault, vaultAt)), live(evidence.Workloads, deployment(func(w *kube.Workload) { w.Annotations = map[string]string{excludeRanges: "10.84.3.9/32"} }))),
			Want: wants(checkstest.Want{Params: map[string]string{"misplaced": "Deployment/checkout"}})},
		{Name: "a host's name is excluded by its port", Request: ofPod, Put: inCluster(pods(pod(withInit("wait", false, waiting("CrashLoopBackOff"), crash))), nil,
			said(say(messages.ConnectionRefused, logOf("wait"), "curl: (7) Failed to connect to vault.vault port 8200 after 2 ms: Connection refused", 4, 4, api))),
			Want: wants(checkstest.Want{Params: map[string]string{"exclude": `{"spec":{"template":{"metadata":{"annotations":{"traffic.sidecar.istio.io/excludeOutboundPorts":"8200"}}}}}`, "excluded": "port 8200"}})},
		{Name: "a native sidecar that comes too late, with the CNI plugin", Request: ofPod, Put: inCluster(pods(pod(withCNI, withInit("migrate", true, waiting("CrashLoopBackOff"), crash), func(p *kube.Pod) {
			p.Spec.InitContainers = append(p.Spec.InitContainers, kube.Container{Name: "istio-proxy", RestartPolicy: "Always"})
			p.Spec.Containers = p.Spec.Containers[:1]
		})), nil, said(initRefused("migrate", "10.84.9.9:5432"))), Want: wants(checkstest.Want{Params: map[string]string{"native": "true"}})},
		{Name: "Vault's agent is stuck, and its log isn't there", Request: ofPod, Put: inCluster(pods(stuck), nil, nil), Want: wants(checkstest.Want{Confidence: diagnose.Possible})},
		{Name: "Vault's agent in a described pod, nothing excluded", Request: ofFiles, Put: file(evidence.Pods, pod(withInit(vault, false, running(3)), initArgs("-i", "*", "-x", "", "-b", "*", "-d", "15090"))), Want: wants(checkstest.Want{Summary: "has not ended: it comes after istio-init", Confidence: diagnose.Possible})},
		{Name: "a described pod and a log", Request: ofFiles, Put: all(file(evidence.Pods, stuck), logged(say(messages.ConnectionRefused, "init.log", vaultLine, 4, 500, pasted))), Want: wants(checkstest.Want{Summary: "has not ended, refused 10.84.3.9:8200", Confidence: diagnose.Likely})},
		{Name: "managed: nothing mesh-wide", Request: ofPod, Put: all(byGoogle, inCluster(pods(stuck), nil, said(initRefused(vault, vaultAt)))), Want: wants(checkstest.Want{Params: map[string]string{"in_cluster": ""}})},
		{Name: "in the cluster", Request: ofPod, Put: all(byIstiod, inCluster(pods(stuck), nil, said(initRefused(vault, vaultAt)))), Want: wants(checkstest.Want{Params: map[string]string{"in_cluster": "the cluster has the Deployment istio-system/istiod"}})},
		{Name: "queries of names", Request: ofPod, Put: inCluster(pods(pod(withInit("migrate", false, waiting("CrashLoopBackOff"), crash), func(p *kube.Pod) {
			p.Spec.Containers[1].Env = []kube.EnvVar{{Name: "ISTIO_META_DNS_CAPTURE", Value: "true"}}
		})), nil, said(say(messages.ConnectionRefused, logOf("migrate"), "dial tcp: lookup db on 10.64.0.10:53: read udp 10.60.1.5:4000->10.64.0.10:53: read: connection refused", 4, 4, api))),
			Want: wants(checkstest.Want{Summary: "refused the query of db", Params: map[string]string{"dns": "true", "exclude": ""}})},
		{Name: "the line alone", Request: ofFiles, Put: logged(say(messages.ConnectionRefused, "text", vaultLine, 4, 4, pasted)), Want: wants(checkstest.Want{Summary: "Vault's agent is refused 10.84.3.9:8200", Confidence: diagnose.Possible}), Unfilled: []string{"namespace"}},

		// It is not that.
		{Name: "istio-init is last", Request: ofPod, Put: inCluster(pods(pod(withInit("migrate", true, waiting("CrashLoopBackOff"), crash))), nil, said(initRefused("migrate", "10.84.9.9:5432")))},
		{Name: "it is there and does its work", Request: ofPod, Put: inCluster(pods(pod(withInit("migrate", false, terminated(3, 4, 0, "Completed")))), nil, nil)},
		{Name: "a described pod, its annotation excludes something", Request: ofFiles, Put: file(evidence.Pods, pod(annotated(excludePorts, "8200"), withInit(vault, false, running(3)))), Outcome: diagnose.OutcomeSkipped},
		{Name: "a described pod, the installation excludes something", Request: ofFiles, Put: file(evidence.Pods, pod(withInit(vault, false, running(3)), initArgs("-i", "*", "-x", "10.84.0.0/16", "-b", "*"))), Outcome: diagnose.OutcomeSkipped},
		{Name: "a described pod, the CNI plugin", Request: ofFiles, Put: file(evidence.Pods, pod(withCNI, withInit(vault, false, running(3)))), Outcome: diagnose.OutcomeSkipped},
		{Name: "it runs since a moment", Request: ofPod, Put: inCluster(pods(pod(withInit(vault, false, running(590)))), nil, nil)},
		{Name: "it fails for something else", Request: ofPod, Put: inCluster(pods(pod(withInit("migrate", false, waiting("CrashLoopBackOff"), crash))), nil, nil)},
		{Name: "another container was refused", Request: ofPod, Put: inCluster(pods(pod(withInit("migrate", false, waiting("CrashLoopBackOff"), crash))), nil, said(refusedAt("app", 4, 4)))},
		{Name: "native sidecar before it", Request: ofPod, Put: inCluster(pods(pod(native(true), withInit("migrate", false, waiting("CrashLoopBackOff"), crash))), nil, said(initRefused("migrate", "10.84.9.9:5432")))},
		{Name: "runs as 1337", Request: ofPod, Put: inCluster(pods(pod(withInit("migrate", false, waiting("CrashLoopBackOff"), crash), func(p *kube.Pod) {
			p.Spec.InitContainers[1].SecurityContext = &kube.SecurityContext{RunAsUser: new(int64(1337))}
		})), nil, said(initRefused("migrate", "10.84.9.9:5432")))},
		{Name: "the address is excluded", Request: ofPod, Put: inCluster(pods(pod(annotated(excludeRanges, "10.84.3.9/32"), withInit(vault, false, running(3)))), nil, said(initRefused(vault, vaultAt)))},
		{Name: "the port is excluded", Request: ofPod, Put: inCluster(pods(pod(annotated(excludePorts, "8200"), withInit(vault, false, running(3)))), nil, said(initRefused(vault, vaultAt)))},
		{Name: "no sidecar", Request: ofPod, Put: inCluster(pods(pod(withInit(vault, false, running(3)), func(p *kube.Pod) { p.Spec.Containers = p.Spec.Containers[:1] })), nil, said(initRefused(vault, vaultAt)))},
		{Name: "a manifest alone", Request: ofFiles, Put: file(evidence.Pods, pod(withInit(vault, false, kube.ContainerState{}), func(p *kube.Pod) { p.Status = kube.PodStatus{} }))},
		{Name: "Vault refuses while the proxy is ready", Request: ofFiles, Put: logged(say(messages.ConnectionRefused, "text", vaultLine, 4, 4, pasted), say(messages.ProxyReady, "text", "Envoy proxy is ready", 2, 2, pasted))},
		{Name: "another program's refusal alone", Request: ofFiles, Put: logged(say(messages.ConnectionRefused, "text", "dial tcp 10.0.0.1:80: connect: connection refused", 4, 4, pasted))},

		// It isn't known.
		{Name: "nothing was asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "pods denied", Request: ofPod, Put: all(deny(evidence.Pods.Name()), logged()), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed"},
		{Name: "logs denied of one that fails", Request: ofPod, Put: all(live(evidence.Pods, pod(withInit("migrate", false, waiting("CrashLoopBackOff"), crash))), deny(evidence.LogMessages.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed"},
		{Name: "pods late", Request: ofPod, Put: all(late(evidence.Pods.Name()), live(evidence.ClusterEvents, []kube.Event{}...)), Outcome: diagnose.OutcomeInconclusive},
	})
}
