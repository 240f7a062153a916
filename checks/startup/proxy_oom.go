package startup

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// ProxyOOM finds proxies that were killed for want of memory.
var ProxyOOM = diagnose.Check{
	ID:       "startup/proxy-oom",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerCluster,
	Symptoms: []diagnose.Symptom{diagnose.SymptomPodNotStarting, diagnose.SymptomRequestsFail},
	Needs:    append([]evidence.Name{evidence.EnvoyDumps.Name(), evidence.EnvoyStats.Name()}, needs...),
	Explains: []diagnose.CheckID{idTimeout, idNotReady},
	Doc: diagnose.Doc{
		Title: "The proxy ran out of memory",
		Explanation: "The kernel killed istio-proxy at its memory limit (OOMKilled). While it starts again the pod has no network, and it will reach the limit again: what a proxy needs grows with the size of its " +
			"configuration, which by default holds every service of the mesh, and with its connections.",
		Quiet: "Another container ran out of memory; or the proxy was ended otherwise, for example by a liveness probe or with its node.",
		Remedy: []diagnose.Step{
			{If: "limit_patch", Text: "Give the proxy more memory; {{limit}} is its limit now, so this doubles it (this restarts the pods)", Command: "kubectl -n {{namespace}} patch {{workload}} --type=merge -p {{limit_patch}}"},
			{Unless: "limit_patch", Text: "Give the proxy more memory: the annotation sidecar.istio.io/proxyMemoryLimit of the pod template, with proxyMemory, proxyCPU and proxyCPULimit beside it, as one of them leaves the installation's defaults for the others out"},
			{Text: "Make its configuration smaller: a Sidecar resource limits what the proxies of a namespace are told of to the hosts that they call. Which are there?", Command: "kubectl get sidecars.networking.istio.io -A"},
			{Text: "See what the proxies of the namespace use", Command: "kubectl -n {{namespace}} top pods --containers"},
		},
		References: []string{"https://istio.io/latest/docs/reference/config/networking/sidecar/", "https://docs.cloud.google.com/service-mesh/v1.22/docs/troubleshooting/troubleshoot-resources", refAnnotations},
	},
	Evaluate: proxyOOM,
}

func proxyOOM(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	dumps, _ := evidence.Get(v, evidence.EnvoyDumps)
	stats, _ := evidence.Get(v, evidence.EnvoyStats)
	var list []found
	for _, x := range s.starts {
		st := x.pod.StatusOf(kube.ProxyContainer)
		t := ended(st)
		if t == nil || t.Reason != "OOMKilled" {
			continue
		}
		f := found{x: x, confidence: diagnose.Confirmed, severity: diagnose.Degrading, params: map[string]string{}}
		now := "it runs again"
		if st.State.Running == nil {
			f.severity, now = diagnose.Blocking, "it does not run"
		}
		limit := ""
		if x.proxy != nil {
			limit = string(x.proxy.Resources.Limits["memory"])
		}
		at := "without a limit of its own, so at its node's"
		if limit != "" {
			at = "at its limit of " + limit
			f.params["limit"] = limit
			if more := double(limit); more != "" {
				f.params["limit_patch"] = limitPatch(x, more)
			}
		}
		f.word = now
		f.summary = fmt.Sprintf("The proxy of %s was killed for want of memory, %s; %s, after %s.", x.title(), at, now, times(st.Restarts, "restart"))
		f.text = fmt.Sprintf("istio-proxy: OOMKilled, exit code %d, %s", t.ExitCode, times(st.Restarts, "restart"))
		if size := size(dumps, stats, x.pod.Name, len(s.starts) == 1); size != "" {
			f.text += "\n" + size
		}
		list = append(list, f)
	}
	if len(list) > 0 {
		return s.causes(list), nil
	}
	// Files without pods have nothing to say of this.
	return nil, s.podsErr
}

func times(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size says how large the proxy's configuration is, as far as a dump or counters of it are there; only says that there is no other
// proxy that they can be of.
func size(dumps []evidence.EnvoyDump, stats []evidence.EnvoyCounters, pod string, only bool) string {
	for _, d := range dumps {
		if d.Baseline || d.Dump == nil || !strings.Contains(d.Dump.NodeID, "~"+pod+".") && !(only && d.Dump.NodeID == "") {
			continue
		}
		if d.Dump.Knows(envoy.ListenerSection) && d.Dump.Knows(envoy.ClusterSection) {
			return fmt.Sprintf("its configuration: %s, %s", times(len(d.Dump.Clusters), "cluster"), times(len(d.Dump.Listeners), "listener"))
		}
	}
	if len(stats) == 1 && only {
		n, ok := stats[0].Stats["cluster_manager.active_clusters"]
		m, also := stats[0].Stats["listener_manager.total_listeners_active"]
		if ok && also {
			return fmt.Sprintf("its configuration: %s, %s", times(int(n), "cluster"), times(int(m), "listener"))
		}
	}
	return ""
}

// double doubles a quantity of memory: "512Mi" gives "1024Mi". "" for one that it can't read.
func double(quantity string) string {
	n, i := 0, 0
	for i < len(quantity) && quantity[i] >= '0' && quantity[i] <= '9' && n < 1<<40 {
		n = n*10 + int(quantity[i]-'0')
		i++
	}
	if i == 0 || n == 0 || strings.ContainsAny(quantity[i:], ".0123456789") {
		return ""
	}
	return fmt.Sprintf("%d%s", 2*n, quantity[i:])
}

// limitPatch sets the limit. Where one of the annotations of resources is set, the injector leaves the installation's defaults out,
// so that the others are set to what the proxy has.
func limitPatch(x *start, limit string) string {
	a := map[string]string{"sidecar.istio.io/proxyMemoryLimit": limit}
	for annotation, value := range map[string]kube.Text{
		"sidecar.istio.io/proxyCPULimit": x.proxy.Resources.Limits["cpu"],
		"sidecar.istio.io/proxyCPU":      x.proxy.Resources.Requests["cpu"],
		"sidecar.istio.io/proxyMemory":   x.proxy.Resources.Requests["memory"],
	} {
		if value != "" {
			a[annotation] = string(value)
		}
	}
	return patch(cluster.Maker(x.pod), a)
}
