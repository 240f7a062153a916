package request_test

import (
	"encoding/json"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

var (
	api   = evidence.Source{Collector: "kube", Detail: "list", Vantage: evidence.FromAPI, Time: noon}
	ofPod = diagnose.Request{Target: diagnose.Target{Namespace: "shop", Pod: "cart-1"}}
)

// live puts all objects of a kind as the API server lists them, partly some as a file holds them.
func live[T any](k evidence.Key[[]evidence.Objects[T]], items ...T) checkstest.Put {
	return checkstest.Objects(api, k, items...)
}

func partly[T any](k evidence.Key[[]evidence.Objects[T]], items ...T) checkstest.Put {
	return checkstest.Objects(file, k, items...)
}

func services(list ...kube.Service) func(*evidence.Set) {
	return live(evidence.ClusterServices, list...)
}

func pods(list ...kube.Pod) func(*evidence.Set) { return live(evidence.Pods, list...) }

func peers(list ...kube.PeerAuthentication) func(*evidence.Set) {
	return live(evidence.PeerAuthentications, list...)
}

func destinationRules(list ...kube.DestinationRule) func(*evidence.Set) {
	return live(evidence.DestinationRules, list...)
}

func policies(list ...kube.AuthorizationPolicy) func(*evidence.Set) {
	return live(evidence.AuthorizationPolicies, list...)
}

// service is a Service of namespace shop that selects the pods of its name.
func service(name string, port int, target string) kube.Service {
	s := kube.Service{Meta: kube.Meta{Namespace: "shop", Name: name}}
	s.Spec.Selector = map[string]string{"app": name}
	s.Spec.Ports = []kube.ServicePort{{Name: "http", Port: port, TargetPort: kube.Text(target)}}
	return s
}

// pod is a pod of cart; the rest are the ports that it declares, all named http, and changes.
func pod(name, ip string, more ...any) kube.Pod {
	p := kube.Pod{
		Meta:   kube.Meta{Namespace: "shop", Name: name, Labels: map[string]string{"app": "cart", "version": "v1"}},
		Spec:   kube.PodSpec{Containers: []kube.Container{{Name: "server"}}},
		Status: kube.PodStatus{Phase: "Running", PodIP: ip},
	}
	for _, m := range more {
		switch m := m.(type) {
		case int:
			p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, kube.ContainerPort{Name: "http", Port: m})
		case func(*kube.Pod):
			m(&p)
		}
	}
	return p
}

func app(name string) func(*kube.Pod) { return func(p *kube.Pod) { p.Labels["app"] = name } }

func proxied(p *kube.Pod) {
	p.Spec.Containers = append(p.Spec.Containers, kube.Container{Name: "istio-proxy", Ports: []kube.ContainerPort{{Name: "http-envoy-prom", Port: 15090}}})
}

func endpoints(service string, ready ...bool) func(*evidence.Set) {
	x := kube.EndpointSlice{Meta: kube.Meta{Namespace: "shop", Name: service + "-x", Labels: map[string]string{"kubernetes.io/service-name": service}}}
	for i := range ready {
		e := kube.Endpoint{}
		e.Conditions.Ready = &ready[i]
		x.Endpoints = append(x.Endpoints, e)
	}
	return live(evidence.EndpointSlices, x)
}

func peer(namespace, name, mode string) kube.PeerAuthentication {
	p := kube.PeerAuthentication{Meta: kube.Meta{Namespace: namespace, Name: name}}
	p.Spec.MTLS = &kube.MutualTLS{Mode: mode}
	return p
}

// byPort tells the mode of one port of cart's pods.
func byPort(port, mode string) kube.PeerAuthentication {
	p := peer("shop", "ports", "UNSET")
	p.Spec.Selector = &kube.WorkloadSelector{MatchLabels: map[string]string{"app": "cart"}}
	p.Spec.Ports = map[string]*kube.MutualTLS{port: {Mode: mode}}
	return p
}

// tlsRule tells clients of cart which TLS to speak.
func tlsRule(mode string) kube.DestinationRule {
	r := kube.DestinationRule{Meta: kube.Meta{Namespace: "shop", Name: "cart"}}
	r.Spec.Host = "cart"
	r.Spec.TrafficPolicy = &kube.TrafficPolicy{TLS: &kube.ClientTLS{Mode: mode}}
	return r
}

func subsetRule(version string) kube.DestinationRule {
	r := tlsRule("ISTIO_MUTUAL")
	r.Spec.Subsets = append(r.Spec.Subsets, struct {
		Name          string              `json:"name"`
		Labels        map[string]string   `json:"labels,omitempty"`
		TrafficPolicy *kube.TrafficPolicy `json:"trafficPolicy,omitempty"`
	}{Name: version, Labels: map[string]string{"version": version}})
	return r
}

func policy(namespace, name, action string, rules ...string) kube.AuthorizationPolicy {
	p := kube.AuthorizationPolicy{Meta: kube.Meta{Namespace: namespace, Name: name}}
	p.Spec.Action = action
	for _, r := range rules {
		p.Spec.Rules = append(p.Spec.Rules, json.RawMessage(r))
	}
	return p
}
