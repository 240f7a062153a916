package xds

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// sidecarProxy is a proxy of Istio's, as far as it is known whose it is.
type sidecarProxy struct {
	kind      string // "sidecar", "router" (a gateway or waypoint); "" where it isn't known
	namespace string
	pod       string
	labels    map[string]string
	labelled  bool // the labels are known
}

// logOfPod finds the pod in the name of a log that was read from a cluster.
var logOfPod = regexp.MustCompile(`\b[Pp]od ([a-z0-9-]+)/([a-z0-9][a-z0-9.-]*)`)

// istioProxy tells whose proxy a client is: by its node id (TYPE~IP~POD.NAMESPACE~DOMAIN), by the log's name, or by what the
// request asks about. ok is false for clients of another mesh.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/ and pkg/model/proxy.go in Istio
func istioProxy(req diagnose.Request, client, file string, statuses []evidence.ClientStatus, pods []kube.Pod) (p sidecarProxy, ok bool) {
	if part := strings.Split(client, "~"); len(part) == 4 {
		p.kind = part[0]
		p.pod, p.namespace, _ = strings.Cut(part[2], ".")
	} else if client != "" {
		return p, false
	} else if g := logOfPod.FindStringSubmatch(file); g != nil {
		p.namespace, p.pod = g[1], g[2]
	} else if req.Target.Kubernetes() {
		p.namespace, p.pod = req.Target.Namespace, req.Target.Pod
	}
	for i := range pods {
		if pods[i].Namespace == p.namespace && pods[i].Name == p.pod && p.pod != "" {
			p.labels, p.labelled = pods[i].Labels, true
			return p, true
		}
	}
	for _, s := range statuses {
		if text := s.Client.Metadata["LABELS"]; client != "" && s.Client.NodeID == client && text != "" {
			p.labelled = json.Unmarshal([]byte(text), &p.labels) == nil
		}
	}
	return p, true
}

// rootNamespace is where what holds for all namespaces stands, unless the mesh's configuration says otherwise.
const rootNamespace = "istio-system"

// patched are the parts of the configuration that are in a type of resource. Inbound routes are in their listener.
// https://istio.io/latest/docs/reference/config/networking/envoy-filter/#EnvoyFilter-ApplyTo
var patched = map[string][]string{
	"Listener":             {"LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "LISTENER_FILTER"},
	"RouteConfiguration":   {"ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"},
	"Cluster":              {"CLUSTER"},
	"TypedExtensionConfig": {"EXTENSION_CONFIG"},
}

// verdict says whether a filter applies to a proxy.
type verdict int

const (
	not verdict = iota
	maybe
	surely
)

// applies says whether an EnvoyFilter patches resources of a type for a proxy: by its namespace, its workload selector or target
// references, and the contexts of its patches.
func applies(f *kube.EnvoyFilter, p sidecarProxy, typ string) verdict {
	out := surely
	switch {
	case f.Namespace == rootNamespace:
	case p.namespace == "":
		out = maybe
	case f.Namespace != p.namespace:
		return not
	}
	if len(f.Spec.TargetRefs) > 0 {
		// They name Gateways, and the Services of waypoints: no sidecar is one.
		if p.kind == "sidecar" {
			return not
		}
		gateway := p.labels["gateway.networking.k8s.io/gateway-name"]
		if p.labelled && !slices.ContainsFunc(f.Spec.TargetRefs, func(r kube.Ref) bool { return r.Kind != "Gateway" || r.Name == gateway }) {
			return not
		}
		out = maybe
	} else if s := f.Spec.Selector; s != nil && len(s.Labels)+len(s.MatchLabels) > 0 {
		switch {
		case !p.labelled:
			out = maybe
		case !s.Selects(p.labels):
			return not
		}
	}
	if !slices.ContainsFunc(f.Spec.Patches, func(x kube.EnvoyPatch) bool { return touches(x, p, typ) }) {
		return not
	}
	return out
}

// touches says whether a patch changes resources of a type, in a proxy of this kind.
func touches(x kube.EnvoyPatch, p sidecarProxy, typ string) bool {
	context := x.Match.Context
	switch context {
	case "GATEWAY":
		if p.kind == "sidecar" {
			return false
		}
	case "SIDECAR_INBOUND", "SIDECAR_OUTBOUND":
		if p.kind == "router" {
			return false
		}
	}
	if slices.Contains(patched[typ], x.ApplyTo) {
		return true
	}
	return typ == "Listener" && context != "SIDECAR_OUTBOUND" && context != "GATEWAY" && slices.Contains(patched["RouteConfiguration"], x.ApplyTo)
}

// mentioned says whether a reason has a word of a filter's patches in it: a filter's or cluster's name, or a type.
func mentioned(f *kube.EnvoyFilter, reason string) bool {
	for _, x := range f.Spec.Patches {
		var value any
		if json.Unmarshal(x.Patch.Value, &value) == nil && slices.ContainsFunc(words(value, nil), func(w string) bool { return strings.Contains(reason, w) }) {
			return true
		}
	}
	return false
}

// words gives the names and types in a patch, of those that are long enough to tell anything.
func words(value any, out []string) []string {
	const tells = 6
	switch v := value.(type) {
	case map[string]any:
		for k, x := range v {
			s, is := x.(string)
			if is && k == "@type" {
				s = s[strings.LastIndexAny(s, "./")+1:]
			}
			if is && (k == "name" || k == "@type" || k == "type_url") && len(s) >= tells {
				out = append(out, s)
			}
			if len(k) >= tells && strings.Contains(k, "_") && k != "typed_config" && k != "type_url" {
				out = append(out, k)
			}
			out = words(x, out)
		}
	case []any:
		for _, x := range v {
			out = words(x, out)
		}
	}
	return out
}
