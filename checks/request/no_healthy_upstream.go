package request

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// NoHealthyUpstream finds requests for which the proxy had no host that it could use.
var NoHealthyUpstream = diagnose.Check{
	ID:       "request/no-healthy-upstream",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy has no healthy host to send requests to",
		Explanation: "Response flag UH: the cluster has no endpoint, or all of them fail health checks or are ejected by outlier detection. Envoy answers 503 with the body " +
			`"no healthy upstream". A subset of a DestinationRule whose labels no pod has is empty as well.`,
		Quiet: "For BlackHoleCluster, which never has a host (request/egress-blackholed). Where the backends are known, a check of theirs says why, and this is its symptom.",
		Remedy: []diagnose.Step{
			{If: "selector", Text: "Align the Service's selector ({{selector}}) with the labels of the pods", Command: "kubectl get pods -n {{namespace}} --show-labels"},
			{If: "target_port", Text: "Align the Service's targetPort {{target_port}} with a port that the containers name", Command: "kubectl get service {{service}} -n {{namespace}} -o yaml"},
			{If: "unready_pod", Text: "See why the pods are not ready", Command: "kubectl describe pod {{unready_pod}} -n {{namespace}}"},
			{If: "service", Text: "Has the service endpoints, and are their pods ready?", Command: "kubectl get endpointslices -n {{namespace}} -l kubernetes.io/service-name={{service}}"},
			{If: "service", Text: "Do pods carry the labels of the subset, if the cluster has one?", Command: "kubectl get destinationrules -n {{namespace}}"},
			{If: "project", Text: "With the Google Cloud APIs: is the backend service healthy?", Command: "gcloud compute backend-services list --global --project={{project}}"},
			{Text: "What does the proxy itself think of the hosts? (in its pod or on its VM)", Command: "curl -s http://localhost:15000/clusters | grep -E 'health_flags|rq_success'"},
		},
		References: []string{refFlags, "https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier"},
	},
	Needs:    append([]evidence.Name{evidence.AccessLogs.Name(), evidence.EndpointSlices.Name(), evidence.DestinationRules.Name()}, workloadNeeds...),
	Evaluate: noHealthyUpstream,
}

func noHealthyUpstream(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	groups, err := evidence.Get(v, evidence.AccessLogs)
	if err != nil {
		return nil, err
	}
	objects := readWorkloads(req, v)
	objects.slices, _ = evidence.Get(v, evidence.EndpointSlices)
	objects.rules, _ = evidence.Get(v, evidence.DestinationRules)
	list, more := bunches(groups, func(g evidence.AccessGroup) bool {
		return (flagged(g, "UH") || g.Details == "no_healthy_upstream") && !blackholed(g)
	})
	var causes []diagnose.Cause
	for _, b := range list {
		c := b.cause(diagnose.Likely, b.share()+" failed: the proxy had no healthy host for them.")
		if b.groups[0].Cluster == "" {
			c.Confidence = diagnose.Possible // releases of 2021 log no cluster where REGISTRY_ONLY closes a connection
			c.Summary = fmt.Sprintf("%s failed: the proxy had no healthy host. The log names no cluster: REGISTRY_ONLY looks the same.", b.share())
		}
		if e := objects.empty(b); e.said != "" {
			c.Summary = fmt.Sprintf("%s failed: the proxy had no healthy host for them, since %s.", b.share(), e.said)
			c.Confidence = e.confidence
			c.Evidence = append(c.Evidence, e.shown...)
			for k, s := range e.params {
				c.Params[k] = s
			}
		}
		causes = append(causes, c)
	}
	return leftOut(causes, more), nil
}

// emptiness is why a Service has no host.
type emptiness struct {
	said       string // goes on after "since"
	confidence diagnose.Confidence
	params     map[string]string
	shown      []diagnose.Exhibit
}

// empty says why the Service that requests go to has no host, as far as the cluster's objects tell.
func (o *objects) empty(b bunch) (e emptiness) {
	name, namespace, ok := kubernetesService(b.place)
	if !ok {
		return e
	}
	d := o.destination(b)
	e.confidence, e.params = diagnose.Confirmed, map[string]string{}
	show := func(fact evidence.Name, format string, a ...any) {
		e.shown = append(e.shown, diagnose.Exhibit{Fact: fact, Excerpt: fmt.Sprintf(format, a...)})
	}
	s := d.service
	if s == nil {
		if evidence.Covers(o.services, namespace) {
			e.said = fmt.Sprintf("Service %s/%s does not exist", namespace, name)
			show(evidence.ClusterServices.Name(), "no Service %s in namespace %s", name, namespace)
		}
		return e
	}
	allPods := evidence.Covers(o.pods, namespace)
	selector := labelText(s.Spec.Selector)
	switch {
	case selector == "":
		return e // its endpoints are made by hand
	case len(d.pods) == 0 && allPods:
		e.said = fmt.Sprintf("no pod has the labels that Service %s selects (%s)", s.Ref(), selector)
		e.params["selector"] = selector
		show(evidence.ClusterServices.Name(), "Service %s: selector %s", s.Ref(), selector)
		return e
	case len(d.pods) == 0:
		return e
	}
	if labels, by := o.subset(d, namespace, name); labels != nil && allPods && !slices.ContainsFunc(d.pods, func(p *kube.Pod) bool { return has(p.Labels, labels) }) {
		e.said = fmt.Sprintf("no pod of Service %s has the labels of subset %s (%s) of %s", s.Ref(), d.subset, labelText(labels), by)
		show(evidence.DestinationRules.Name(), "%s: subset %s: %s", by, d.subset, labelText(labels))
		return e
	}
	if what := d.unnamed(); what != "" {
		e.said = what
		e.params["target_port"] = string(d.port.TargetPort)
		show(evidence.ClusterServices.Name(), "Service %s: port %d, targetPort %s", s.Ref(), d.port.Port, d.port.TargetPort)
		return e
	}
	ready, not := o.endpoints(s)
	if ready == 0 && not > 0 {
		e.said = fmt.Sprintf("none of the %d endpoints of Service %s is ready", not, s.Ref())
		if not == 1 {
			e.said = fmt.Sprintf("the one endpoint of Service %s is not ready", s.Ref())
		}
		if !evidence.Covers(o.slices, namespace) {
			e.confidence = diagnose.Likely // a file may leave out others of its slices
		}
		show(evidence.EndpointSlices.Name(), "EndpointSlices of Service %s: 0 ready, %d not ready", s.Ref(), not)
		e.params["unready_pod"] = d.pods[0].Name
	}
	return e
}

// endpoints counts the endpoints of a Service.
func (o *objects) endpoints(s *kube.Service) (ready, not int) {
	for _, x := range evidence.All(o.slices) {
		if x.Namespace != s.Namespace || x.Service() != s.Name {
			continue
		}
		for i := range x.Endpoints {
			if x.Endpoints[i].IsReady() {
				ready++
			} else {
				not++
			}
		}
	}
	return ready, not
}

// subset gives the labels of the subset that requests ask for, and whose it is; nil where none is known.
func (o *objects) subset(d destination, namespace, name string) (map[string]string, string) {
	for _, r := range evidence.All(o.rules) {
		if d.subset == "" || !matchesHost(&r, namespace, name) {
			continue
		}
		for _, s := range r.Spec.Subsets {
			if s.Name == d.subset && len(s.Labels) > 0 {
				return s.Labels, "DestinationRule " + r.Ref()
			}
		}
	}
	return nil, ""
}

// unnamed says that the port which a Service leads to by name is named by no container: then it has no endpoint for that port.
func (d *destination) unnamed() string {
	if d.port == nil || d.port.TargetPort == "" {
		return ""
	}
	name := string(d.port.TargetPort)
	if _, err := strconv.Atoi(name); err == nil {
		return ""
	}
	for _, p := range d.pods {
		for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
			if slices.ContainsFunc(c.Ports, func(x kube.ContainerPort) bool { return x.Name == name }) {
				return ""
			}
		}
	}
	return fmt.Sprintf("targetPort %s of Service %s is a name that no port of its pods has", name, d.service.Ref())
}
