package request

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// objects are what a cluster tells of the way of a request, each kind as far as it is known: none of them is needed.
type objects struct {
	req      diagnose.Request
	services []evidence.Objects[kube.Service]
	pods     []evidence.Objects[kube.Pod]
	slices   []evidence.Objects[kube.EndpointSlice]
	peers    []evidence.Objects[kube.PeerAuthentication]
	rules    []evidence.Objects[kube.DestinationRule]
	policies []evidence.Objects[kube.AuthorizationPolicy]
}

// workloadNeeds are the facts that tell what is behind a Service.
var workloadNeeds = []evidence.Name{evidence.ClusterServices.Name(), evidence.Pods.Name()}

// readWorkloads reads the Services and the pods.
func readWorkloads(req diagnose.Request, v *evidence.View) objects {
	o := objects{req: req}
	o.services, _ = evidence.Get(v, evidence.ClusterServices)
	o.pods, _ = evidence.Get(v, evidence.Pods)
	return o
}

// service gives a Service by name, nil where it isn't known.
func (o *objects) service(namespace, name string) *kube.Service {
	for _, b := range o.services {
		for i := range b.Items {
			if s := &b.Items[i]; s.Namespace == namespace && s.Name == name {
				return s
			}
		}
	}
	return nil
}

// running gives the pods of a namespace that haven't ended, each once.
func (o *objects) running(namespace string) (out []*kube.Pod) {
	seen := map[string]bool{}
	for _, b := range o.pods {
		for i := range b.Items {
			if p := &b.Items[i]; p.Namespace == namespace && !seen[p.Name] && !p.Ended() && p.Deleted.IsZero() {
				seen[p.Name] = true
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, func(a, b *kube.Pod) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// behind gives the pods that a Service selects; none for one without a selector.
func (o *objects) behind(s *kube.Service) (out []*kube.Pod) {
	if s == nil || len(s.Spec.Selector) == 0 {
		return nil
	}
	for _, p := range o.running(s.Namespace) {
		if has(p.Labels, s.Spec.Selector) {
			out = append(out, p)
		}
	}
	return out
}

// has says whether labels hold all of want.
func has(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// destination is where the requests of a bunch go, as the cluster's objects know it.
type destination struct {
	service *kube.Service // nil where none is known
	port    *kube.ServicePort
	subset  string
	number  int // the port that the proxy dials on the pod; 0 where it isn't known
	pods    []*kube.Pod
	inbound bool // it is the server's own proxy that says so
}

// destination finds it: by the name of an outbound cluster, by the address that an inbound one dials, or by the pod asked about.
func (o *objects) destination(b bunch) (d destination) {
	part := strings.Split(b.place, "|")
	if name, namespace, ok := kubernetesService(b.place); ok && strings.HasPrefix(b.place, "outbound") {
		d.subset = part[2]
		d.service = o.service(namespace, name)
		d.pods = o.behind(d.service)
		if n, err := strconv.Atoi(part[1]); err == nil && d.service != nil {
			for i := range d.service.Spec.Ports {
				if p := &d.service.Spec.Ports[i]; p.Port == n {
					d.port = p
					d.number = d.dialled()
				}
			}
		}
		return d
	}
	d.inbound = true
	if len(part) == 4 && part[0] == "inbound" {
		d.number, _ = strconv.Atoi(part[1])
	}
	address, port := b.upstream()
	if d.number == 0 {
		d.number, _ = strconv.Atoi(port)
	}
	host := ""
	if a, err := netip.ParseAddrPort(address); err == nil {
		host = a.Addr().String()
	}
	t := o.req.Target
	for _, batch := range o.pods {
		for i := range batch.Items {
			p := &batch.Items[i]
			if host != "" && p.Status.PodIP == host && !p.Spec.HostNetwork || t.Pod != "" && p.Name == t.Pod && p.Namespace == t.Namespace && !strings.HasPrefix(b.place, "outbound") {
				if len(d.pods) == 0 {
					d.pods = append(d.pods, p)
				}
			}
		}
	}
	if len(d.pods) == 0 || d.number == 0 {
		return d
	}
	for _, s := range evidence.All(o.services) {
		if s.Namespace != d.pods[0].Namespace || len(s.Spec.Selector) == 0 || !has(d.pods[0].Labels, s.Spec.Selector) {
			continue
		}
		for i, p := range s.Spec.Ports {
			if cmp.Or(string(p.TargetPort), strconv.Itoa(p.Port)) == strconv.Itoa(d.number) && d.service == nil {
				d.service, d.port = o.service(s.Namespace, s.Name), &s.Spec.Ports[i]
			}
		}
	}
	return d
}

// named finds the destination that a request names: NAME, NAME.NAMESPACE and so on, or a Service's address, each with a port or
// without one where there is but one.
func (o *objects) named(text string) (d destination, host string) {
	host, port := text, 0
	if i := strings.LastIndexByte(text, ':'); i > 0 {
		if n, err := strconv.Atoi(text[i+1:]); err == nil {
			host, port = text[:i], n
		}
	}
	part := strings.Split(host, ".")
	for _, s := range evidence.All(o.services) {
		byName := part[0] == s.Name && (len(part) == 1 && s.Namespace == o.req.Target.Namespace || len(part) > 1 && part[1] == s.Namespace && (len(part) == 2 || part[2] == "svc"))
		if host == "" || !byName && s.Spec.ClusterIP != host {
			continue
		}
		d.service = o.service(s.Namespace, s.Name)
		d.pods = o.behind(d.service)
		for i := range d.service.Spec.Ports {
			if p := &d.service.Spec.Ports[i]; p.Port == port || port == 0 && len(d.service.Spec.Ports) == 1 {
				d.port = p
				d.number = d.dialled()
			}
		}
		return d, host
	}
	return d, host
}

// dialled gives the number of the port that a Service leads to; 0 where no container has the name that it gives.
func (d *destination) dialled() int {
	target := cmp.Or(string(d.port.TargetPort), strconv.Itoa(d.port.Port))
	if n, err := strconv.Atoi(target); err == nil {
		return n
	}
	for _, p := range d.pods {
		for _, c := range p.Spec.Containers {
			for _, x := range c.Ports {
				if x.Name == target {
					return x.Port
				}
			}
		}
	}
	return 0
}

// undeclared says that the port which a Service leads to is none that the application's containers declare. A declaration does
// nothing by itself, so that containers which declare none tell nothing.
func (d *destination) undeclared() (said string, shown []diagnose.Exhibit) {
	if len(d.pods) == 0 {
		return "", nil
	}
	target := ""
	if d.port != nil {
		target = cmp.Or(string(d.port.TargetPort), strconv.Itoa(d.port.Port))
	} else if d.inbound && d.number > 0 {
		target = strconv.Itoa(d.number)
	}
	if target == "" {
		return "", nil
	}
	var declared []string
	for _, p := range d.pods {
		any := false
		for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
			for _, x := range c.Ports {
				if c.Name == kube.ProxyContainer {
					continue
				}
				any = true
				n := strconv.Itoa(x.Port)
				if n == target || x.Name == target && x.Name != "" {
					return "", nil
				}
				declared = append(declared, strings.TrimSpace(n+" "+x.Name))
			}
		}
		if !any {
			return "", nil
		}
	}
	slices.Sort(declared)
	declared = slices.Compact(declared)
	list := strings.Join(declared[:min(len(declared), 2*maxHosts)], ", ")
	whose := "pod " + d.pods[0].Ref()
	if len(d.pods) > 1 {
		whose = fmt.Sprintf("the %d pods behind it", len(d.pods))
	}
	shown = append(shown, diagnose.Exhibit{Fact: evidence.Pods.Name(), Excerpt: fmt.Sprintf("containers of %s declare %s", whose, list)})
	if d.port == nil {
		return fmt.Sprintf("no container of %s declares port %s (they declare %s)", whose, target, list), shown
	}
	shown = append(shown, diagnose.Exhibit{Fact: evidence.ClusterServices.Name(), Excerpt: fmt.Sprintf("Service %s: port %d, targetPort %s", d.service.Ref(), d.port.Port, target)})
	return fmt.Sprintf("targetPort %s of Service %s is none that the containers of %s declare (%s)", target, d.service.Ref(), whose, list), shown
}

// params are what remedies take from it.
func (d *destination) params(p map[string]string) {
	if d.service != nil {
		p["service"], p["namespace"] = d.service.Name, d.service.Namespace
	} else if len(d.pods) > 0 && p["namespace"] == "" {
		p["namespace"] = d.pods[0].Namespace
	}
	if len(d.pods) > 0 {
		p["server_pod"] = d.pods[0].Name
	}
}

// peerMode is the mutual TLS that a pod asks for on a port, and the object that says so.
type peerMode struct {
	mode   string // STRICT, PERMISSIVE, DISABLE
	by     string // "PeerAuthentication shop/default"; "" where none says anything
	source evidence.Source
	// whole says that every policy that could say otherwise is known.
	whole bool
}

// peerMode finds the mode as Istio does: that of the port goes before the workload's, the namespace's and the mesh's; UNSET takes
// the next, and of two at one level the older one counts.
// https://istio.io/latest/docs/reference/config/security/peer_authentication/
func (o *objects) peerMode(p *kube.Pod, port int) peerMode {
	out := peerMode{mode: "PERMISSIVE", whole: evidence.Covers(o.peers, cluster.RootNamespace) && evidence.Covers(o.peers, p.Namespace)}
	type candidate struct {
		*kube.PeerAuthentication
		level  int
		source evidence.Source
	}
	var list []candidate
	for _, b := range o.peers {
		for i := range b.Items {
			x := &b.Items[i]
			chosen := x.Spec.Selector != nil && len(x.Spec.Selector.MatchLabels) > 0
			switch {
			case x.Namespace == p.Namespace && chosen && x.Spec.Selector.Selects(p.Labels):
				list = append(list, candidate{x, 0, b.Source})
			case chosen:
			case x.Namespace == p.Namespace:
				list = append(list, candidate{x, 1, b.Source})
			case x.Namespace == cluster.RootNamespace:
				list = append(list, candidate{x, 2, b.Source})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.level, b.level), a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	level := -1
	for _, c := range list {
		if c.level == level {
			continue // an older one of this level was asked
		}
		level = c.level
		mode := ""
		if m := c.Spec.Ports[strconv.Itoa(port)]; c.level == 0 && m != nil {
			mode = m.Mode
		}
		if (mode == "" || mode == "UNSET") && c.Spec.MTLS != nil {
			mode = c.Spec.MTLS.Mode
		}
		if mode != "" && mode != "UNSET" {
			out.mode, out.by, out.source = mode, "PeerAuthentication "+c.Ref(), c.source
			return out
		}
	}
	return out
}

// clientMode is the TLS that a DestinationRule tells clients of a Service to speak.
type clientMode struct {
	mode   string // DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL
	by     string // "DestinationRule shop/cart"
	source evidence.Source
}

// clientMode finds the DestinationRule for a Service that says something of TLS: in the namespace asked about (the client's, as a
// rule), then the Service's own, then the mesh's; of a port before the rest, and of the subset before the host's own.
func (o *objects) clientMode(namespace, name string, port int, subset string) (clientMode, bool) {
	for _, ns := range distinct(o.req.Target.Namespace, namespace, cluster.RootNamespace) {
		for _, b := range o.rules {
			for i := range b.Items {
				r := &b.Items[i]
				if r.Namespace != ns || !matchesHost(r, namespace, name) {
					continue
				}
				policies := []*kube.TrafficPolicy{r.Spec.TrafficPolicy}
				for _, s := range r.Spec.Subsets {
					if s.Name == subset && subset != "" {
						policies = []*kube.TrafficPolicy{s.TrafficPolicy, r.Spec.TrafficPolicy}
					}
				}
				for _, p := range policies {
					if mode := tlsMode(p, port); mode != "" {
						return clientMode{mode, "DestinationRule " + r.Ref(), b.Source}, true
					}
				}
			}
		}
	}
	return clientMode{}, false
}

func distinct(names ...string) (out []string) {
	for _, n := range names {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func tlsMode(p *kube.TrafficPolicy, port int) string {
	if p == nil {
		return ""
	}
	for _, x := range p.Ports {
		if x.Port.Number == port {
			if x.TLS == nil {
				return "" // settings of a port replace all of the rest
			}
			return x.TLS.Mode
		}
	}
	if p.TLS == nil {
		return ""
	}
	return p.TLS.Mode
}

// matchesHost says whether a DestinationRule is for a Service: a short host is of the rule's own namespace, and a wildcard takes in
// all that end so.
func matchesHost(r *kube.DestinationRule, namespace, name string) bool {
	full := name + "." + namespace + ".svc.cluster.local"
	switch h := r.Spec.Host; {
	case h == full, h == name+"."+namespace, h == name+"."+namespace+".svc":
		return true
	case h == name:
		return r.Namespace == namespace
	case h == "*":
		return true
	case strings.HasPrefix(h, "*."):
		return strings.HasSuffix(full, h[1:])
	}
	return false
}

// labelText writes labels as selectors do.
func labelText(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ",")
}
