package startup

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// InitContainerBlocked finds init containers that need the network while the pod's traffic goes to a proxy that doesn't run yet.
var InitContainerBlocked = diagnose.Check{
	ID:         "startup/init-container-blocked",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   notStarting,
	Needs:      needs,
	Signatures: []diagnose.Signature{messages.ConnectionRefused},
	Doc: diagnose.Doc{
		Title: "An init container is cut off from the network",
		Explanation: "Init containers run one after another, and the proxy starts only after the last of them. One that runs after istio-init needs a proxy that can't be there yet: its connections are refused, " +
			"it never ends, and the pod stays in Init. Istio puts istio-init last, but another injector that comes after Istio's (Vault's agent is the known case) puts its own behind it. With the CNI plugin the " +
			"traffic is sent to the proxy before any container runs, so that every init container is affected, whatever the order.",
		Quiet: "istio-init is last and the CNI plugin isn't used; the proxy is a native sidecar that runs before the init container; the init container runs as user 1337, or what it connects to is excluded; or " +
			"it doesn't fail for a refused connection.",
		Remedy: []diagnose.Step{
			{If: "vault_first", Text: "Let Vault's agent run before istio-init (this restarts the pods)", Command: "kubectl -n {{namespace}} patch {{workload}} --type=merge -p {{vault_first}}"},
			{If: "misplaced", Text: "The exclusion at {{misplaced}} itself has no effect: the injector looks at the pod template"},
			{If: "exclude", Text: "Exclude {{excluded}} from what goes to the proxy, for all of the pod's containers (this restarts the pods)", Command: "kubectl -n {{namespace}} patch {{workload}} --type=merge -p {{exclude}}"},
			{If: "exclude_by_hand", Text: "Exclude {{exclude_by_hand}} from what goes to the proxy: add it to the annotation traffic.sidecar.istio.io/excludeOutboundIPRanges (ranges, in CIDR form) or excludeOutboundPorts (ports) of the pod template, " +
				"spec.template.metadata.annotations, not of the workload itself, and make the pods anew"},
			{If: "in_cluster", Unless: "dns", Text: "For all pods of a mesh whose control plane runs in the cluster, as here, it can be excluded in the installation too: values.global.proxy.excludeIPRanges; restart the workloads afterwards"},
			{If: "dns", Text: "The query of a name is refused, as the proxy answers queries (ISTIO_META_DNS_CAPTURE): an excluded address doesn't help, only one of the next two does"},
			{Text: "Or let the init container {{container}} run as user 1337 (securityContext.runAsUser), which is the proxy's own and passes by the proxy; set it where that container comes from"},
			{Unless: "native", Text: "Or make the proxy a native sidecar, which runs before other init containers: Kubernetes 1.29 and Istio 1.24 or later; the annotation is sidecar.istio.io/nativeSidecar: \"true\" of the pod template"},
			{Text: "See the new pod start", Command: "kubectl -n {{namespace}} get pods --watch"},
		},
		References: []string{refGuide, refCNI, refAnnotations, refSidecars, "https://developer.hashicorp.com/vault/docs/platform/k8s/injector/annotations"},
	},
	Evaluate: initContainerBlocked,
}

// stuckFor is how long an init container may run before it counts as stuck.
const stuckFor = time.Minute

func initContainerBlocked(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var list []found
	suspect := false
	for _, x := range s.starts {
		f, ok, open := s.cutOff(x)
		if ok {
			list = append(list, f)
		}
		suspect = suspect || open
	}
	if len(s.starts) == 0 {
		for _, x := range slices.Concat(s.gone, s.logs) {
			if f, ok := s.vaultAlone(x); ok {
				list = append(list, f)
			}
		}
	}
	if len(list) > 0 {
		return s.causes(list), nil
	}
	return nil, s.openLogs(suspect)
}

// redirected gives the init containers of a pod that run while traffic goes to a proxy that doesn't run.
func (x *start) redirected() []kube.Container {
	if x.proxy == nil || strings.EqualFold(x.pod.Annotations["sidecar.istio.io/interceptionMode"], "NONE") {
		return nil
	}
	first := x.initAt() + 1
	if first == 0 && !x.cni() {
		return nil
	}
	all := x.pod.Spec.InitContainers
	last := len(all)
	if x.native {
		last = x.at
	}
	var out []kube.Container
	for i := first; i < last; i++ {
		if c := all[i]; !mesh(c.Name) && !c.Native() && !x.bypasses(&c) {
			out = append(out, c)
		}
	}
	return out
}

// cutOff says whether an init container of a pod fails for that; open says that one fails, and nothing tells why.
func (s *survey) cutOff(x *start) (f found, ok, open bool) {
	for _, c := range x.redirected() {
		st := x.pod.StatusOf(c.Name)
		fails, how := failing(x, st)
		if !fails {
			continue
		}
		var best *refusal
		var shown []line
		passed := false
		for _, l := range x.lines {
			r, is := refused(l)
			if !is || (l.container != c.Name && (l.container != "" || !loosely(x, l))) {
				continue
			}
			way := x.goesTo(refusal{line: line{container: c.Name}, host: r.host, port: r.port, dns: r.dns})
			if way == goesBy {
				passed = true
				continue
			}
			shown = append(shown, l)
			if best == nil {
				best = &r
			}
		}
		switch {
		case best != nil:
			return s.blocked(x, c, how, best, shown), true, false
		case passed:
			continue // what it is refused by isn't the proxy's absence
		case vault(c.Name) && (how != notEnded || !x.excludes()):
			return s.blocked(x, c, how, nil, nil), true, false
		}
		open = true
	}
	return f, false, open
}

// excludes says whether anything is taken from what goes to the proxy. Where nothing is, Vault's agent can't end behind istio-init,
// however short it has been running.
func (x *start) excludes() bool {
	for _, key := range []string{excludeRanges, excludePorts, "traffic.sidecar.istio.io/includeOutboundIPRanges", "traffic.sidecar.istio.io/includeOutboundPorts"} {
		if x.pod.Annotations[key] != "" {
			return true
		}
	}
	c, _ := x.pod.Container(kube.InitContainer)
	if c == nil {
		return true // the CNI plugin's own settings may exclude something
	}
	for i, a := range c.Args {
		switch a {
		case "-x", "-o":
			if i+1 < len(c.Args) && c.Args[i+1] != "" && !strings.HasPrefix(c.Args[i+1], "-") {
				return true
			}
		case "-i":
			if i+1 < len(c.Args) && c.Args[i+1] != "*" {
				return true
			}
		}
	}
	return false
}

// loosely says whether a line of no known container may be of an init container: no other container of the pod has run.
func loosely(x *start, _ line) bool {
	return !slices.ContainsFunc(x.pod.Status.Containers, func(s kube.ContainerStatus) bool { return s.State.Running != nil || ended(&s) != nil })
}

// notEnded is how an init container does that runs, nobody knows how long.
const notEnded = "has not ended"

// failing says whether an init container keeps the pod from starting, and how.
func failing(x *start, st *kube.ContainerStatus) (fails bool, how string) {
	if st == nil {
		return false, ""
	}
	if t := st.State.Terminated; t != nil {
		if t.ExitCode == 0 {
			return false, ""
		}
		return true, fmt.Sprintf("failed with exit code %d", t.ExitCode)
	}
	if t := st.Last.Terminated; t != nil && t.ExitCode != 0 {
		return true, fmt.Sprintf("keeps failing (exit code %d, %d restarts)", t.ExitCode, st.Restarts)
	}
	if r := st.State.Running; r != nil && !r.Started.IsZero() {
		till := x.now
		for _, l := range x.lines {
			if l.container == st.Name && l.Last.After(till) {
				till = l.Last
			}
		}
		if d := till.Sub(r.Started); !till.IsZero() && d >= stuckFor {
			return true, "does not end, " + d.Round(time.Second).String() + " after its start"
		}
		if till.IsZero() {
			return true, notEnded
		}
	}
	return false, ""
}

func vault(container string) bool { return strings.HasPrefix(container, "vault-agent") }

// blocked describes it. Without a refused connection it's a guess, for Vault's agent alone, which can't do without the network.
func (s *survey) blocked(x *start, c kube.Container, how string, r *refusal, shown []line) found {
	f := found{x: x, word: c.Name, confidence: diagnose.Likely, lines: shown, params: map[string]string{"container": c.Name}}
	if x.native {
		f.params["native"] = "true"
	}
	why := "it comes after istio-init, which sends traffic to a proxy that does not run yet"
	if x.cni() {
		why = "the CNI plugin sends all traffic to the proxy, which does not run yet"
	}
	target := ""
	if r == nil {
		f.summary = fmt.Sprintf("Init container %s of %s %s: %s.", c.Name, x.title(), how, why)
		f.confidence = diagnose.Possible
	} else {
		f.summary = fmt.Sprintf("Init container %s of %s %s, refused %s: %s.", c.Name, x.title(), how, r.toward(), why)
		if r.container == c.Name && r.sure && x.goesTo(*r) == goesThere {
			f.confidence = diagnose.Confirmed
		}
		target = r.target()
	}
	f.text = initOrder(x)
	s.exclusion(x, r, target, f.params)
	maker := cluster.Maker(x.pod)
	if vault(c.Name) && !x.cni() {
		f.params["vault_first"] = patch(maker, one("vault.hashicorp.com/agent-init-first", "true"))
	}
	return f
}

// exclusion fills in how what the init container connects to is taken from what goes to the proxy.
func (s *survey) exclusion(x *start, r *refusal, target string, p map[string]string) {
	maker := cluster.Maker(x.pod)
	key, value := "", ""
	switch {
	case r != nil && r.dns:
		p["dns"] = "true"
		return
	case r == nil:
		p["exclude_by_hand"] = "the address that it connects to"
		return
	default:
		if ip, err := netip.ParseAddr(r.host); err == nil {
			key, value = excludeRanges, netip.PrefixFrom(ip, ip.BitLen()).String()
		} else if r.port != "" {
			key, value = excludePorts, r.port
		}
	}
	if key == "" {
		p["exclude_by_hand"] = cmp.Or(target, "the address that it connects to")
		return
	}
	old, own := s.annotation(x, key)
	if slices.Contains(list(own), value) && !slices.Contains(list(old), value) {
		p["misplaced"] = maker
	}
	if !slices.Contains(list(old), value) {
		old = strings.Join(append(list(old), value), ",")
	}
	p["exclude"], p["excluded"] = patch(maker, one(key, old)), value
	if key == excludePorts {
		p["excluded"] = "port " + value
	}
	if p["exclude"] == "" {
		p["exclude_by_hand"] = p["excluded"]
	}
}

// initOrder shows the init containers in their order.
func initOrder(x *start) string {
	names := make([]string, len(x.pod.Spec.InitContainers))
	for i, c := range x.pod.Spec.InitContainers {
		names[i] = c.Name
	}
	return "init containers, in their order: " + strings.Join(names, ", ")
}

// vaultAlone looks at a log alone: Vault's agent that is refused where it logs in. It may be another fault of Vault's.
func (s *survey) vaultAlone(x *start) (found, bool) {
	if ready := x.readiness().ready; !ready.IsZero() {
		return found{}, false // the proxy came, so that the init containers had ended
	}
	for _, l := range x.lines {
		r, ok := refused(l)
		if !ok || !strings.Contains(l.Fields["url"], "/v1/auth/") || l.container != "" && !strings.HasPrefix(l.container, "vault-agent-init") {
			continue
		}
		f := found{x: x, confidence: diagnose.Possible, lines: []line{l}, params: map[string]string{"container": cmp.Or(l.container, "vault-agent-init")}}
		f.summary = fmt.Sprintf("Vault's agent is refused %s where it logs in; as an init container it is wherever it runs after istio-init, or with the CNI plugin.", r.toward())
		s.exclusion(x, &r, r.target(), f.params)
		return f, true
	}
	return found{}, false
}
