package istiod

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// address is a discovery address that somebody set, and where it stands.
type address struct {
	value  string // "istiod.istio-system.svc:15012"
	where  string // "ConfigMap istio-system/istio", "3 pods of Deployment shop/checkout"
	field  string
	key    string
	fact   evidence.Name
	params map[string]string
	source evidence.Source
}

// discoveryLine finds the discovery address in YAML or JSON, outside comments. Of the mesh's whole configuration only ProxyConfig,
// under defaultConfig, has a field of that name.
var discoveryLine = regexp.MustCompile(`(?m)^[^#\n]*?\bdiscoveryAddress["']?[ \t]*:[ \t]*["']?([^\s"',}#]+)`)

func discoveryIn(text string) string {
	if m := discoveryLine.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// addresses gives the discovery addresses that are set: by the ConfigMaps of the mesh, and by the annotations and environment of
// the pods that are asked about. One that a ConfigMap gives isn't told again of pods.
func addresses(req diagnose.Request, v *evidence.View) []address {
	maps, _ := evidence.Get(v, evidence.ConfigMaps)
	var out []address
	seen := map[string]bool{}
	for _, b := range maps {
		for i := range b.Items {
			m := &b.Items[i]
			value := discoveryIn(m.Data["mesh"])
			if value == "" || seen[m.Ref()] || strings.HasPrefix(m.Name, "istio-sidecar-injector") {
				continue
			}
			seen[m.Ref()] = true
			out = append(out, address{
				value: value, where: "ConfigMap " + m.Ref(), field: "mesh: defaultConfig.discoveryAddress", fact: evidence.ConfigMaps.Name(), source: b.Source,
				params: map[string]string{"namespace": m.Namespace, "configmap": m.Name},
			})
		}
	}
	if len(out) > 1 {
		serves := serving(req, v)
		for i := range out {
			rev := strings.TrimPrefix(strings.TrimPrefix(out[i].params["configmap"], "istio"), "-")
			if rev == "" {
				rev = "default"
			}
			if !serves[rev] {
				out[i].key = "configmaps/" + out[i].params["configmap"]
			}
		}
	}
	return append(out, podAddresses(req, v, out)...)
}

// podAddresses gives the addresses that pods or their templates set themselves.
func podAddresses(req diagnose.Request, v *evidence.View, mesh []address) []address {
	pods, _ := cluster.Pods(req, v)
	if len(pods) == 0 {
		pods, _ = cluster.Templates(req, v)
	}
	set := map[string]string{} // by the pod's title
	var own []kube.Pod
	for i := range pods {
		p := &pods[i]
		value := discoveryIn(p.Annotations[kube.AnnotationProxyConfig])
		if value == "" {
			value = environment(p)
		}
		if value == "" || slices.ContainsFunc(mesh, func(a address) bool { return a.value == value }) {
			continue
		}
		set[p.Title()] = value
		own = append(own, *p)
	}
	var out []address
	for _, g := range cluster.ByMaker(own, func(p *kube.Pod) string { return set[p.Title()] }) {
		p := &g.Pods[0]
		a := address{value: set[p.Title()], where: g.Title(), field: "annotation " + kube.AnnotationProxyConfig, key: strings.TrimSuffix(g.Key(req), "/"), fact: evidence.Pods.Name(), params: g.Params()}
		if discoveryIn(p.Annotations[kube.AnnotationProxyConfig]) == "" {
			a.field = "PROXY_CONFIG of container " + kube.ProxyContainer
		}
		if p.TemplateOf != "" {
			a.fact = evidence.Workloads.Name()
		}
		out = append(out, a)
	}
	return out
}

// environment gives the address that the injector put into the proxy's environment.
func environment(p *kube.Pod) string {
	c, _ := p.Sidecar()
	if c == nil {
		return ""
	}
	text, ok := c.EnvValue("PROXY_CONFIG")
	if !ok {
		return ""
	}
	var config struct {
		Discovery string `json:"discoveryAddress"`
	}
	if json.Unmarshal([]byte(text), &config) != nil {
		return discoveryIn(text)
	}
	return config.Discovery
}

// ofGoogle says whether an address is one of Google's control planes.
func ofGoogle(value string) bool {
	host, _ := splitAddress(value)
	return host == "googleapis.com" || strings.HasSuffix(host, ".googleapis.com")
}

// splitAddress takes an address apart; port is 0 where there is none.
func splitAddress(value string) (host string, port int) {
	host = value
	if i := strings.LastIndexByte(value, ':'); i >= 0 && !strings.Contains(value[i:], "]") && (strings.Count(value, ":") == 1 || value[0] == '[') {
		if n, err := strconv.Atoi(value[i+1:]); err == nil {
			host, port = value[:i], n
		}
	}
	return strings.TrimSuffix(host, "."), port
}

// serviceOf gives the Service that a host name stands for: "istiod.istio-system.svc", with or without the cluster's domain, or
// "istiod.istio-system" where that is a known namespace. ok is false for every other name.
func serviceOf(host string, services []evidence.Objects[kube.Service]) (namespace, name string, ok bool) {
	part := strings.Split(host, ".")
	switch {
	case len(part) >= 3 && part[2] == "svc":
	case len(part) == 2 && (part[1] == cluster.RootNamespace || slices.ContainsFunc(evidence.All(services), func(s kube.Service) bool { return s.Namespace == part[1] })):
	default:
		return "", "", false
	}
	return part[1], part[0], part[0] != "" && part[1] != ""
}

// judge says what is wrong with an address: it names no Service, or a port that its Service doesn't have. unknown is why that
// can't be said; both are empty where nothing is wrong.
func (a *address) judge(services []evidence.Objects[kube.Service], servicesErr error) (problem string, unknown error) {
	host, port := splitAddress(a.value)
	namespace, name, ok := serviceOf(host, services)
	if !ok {
		return "", nil // another cluster's, or none of Kubernetes'
	}
	all := evidence.All(services)
	i := slices.IndexFunc(all, func(s kube.Service) bool { return s.Namespace == namespace && s.Name == name })
	switch {
	case i < 0 && !evidence.Covers(services, namespace):
		if servicesErr != nil {
			return "", servicesErr
		}
		return "", diagnose.Skip("the Services of namespace %s aren't known", namespace)
	case i < 0:
		return fmt.Sprintf("Service %s/%s does not exist", namespace, name), nil
	}
	var ports []string
	for _, p := range all[i].Spec.Ports {
		if p.Port == port {
			return "", nil
		}
		ports = append(ports, strconv.Itoa(p.Port))
	}
	if port == 0 || len(ports) == 0 {
		return "", nil
	}
	return fmt.Sprintf("Service %s/%s has no port %d (it has %s)", namespace, name, port, strings.Join(ports, ", ")), nil
}

// istiods lists the Services that proxies can find an istiod at: those with its port for them.
func istiods(services []evidence.Objects[kube.Service]) []string {
	const port = 15012 // xDS over TLS: https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio
	var out []string
	for _, s := range evidence.All(services) {
		if strings.HasPrefix(s.Name, "istiod") && slices.ContainsFunc(s.Spec.Ports, func(p kube.ServicePort) bool { return p.Port == port }) {
			out = append(out, fmt.Sprintf("%s.%s.svc:%d", s.Name, s.Namespace, port))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
