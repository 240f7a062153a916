package xds

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// filter is an EnvoyFilter of one patch.
func filter(namespace, name, applyTo, context, value string, change ...func(*kube.EnvoyFilter)) kube.EnvoyFilter {
	f := kube.EnvoyFilter{Meta: kube.Meta{Namespace: namespace, Name: name}}
	p := kube.EnvoyPatch{ApplyTo: applyTo}
	p.Match.Context = context
	p.Patch.Operation, p.Patch.Value = "INSERT_BEFORE", json.RawMessage(value)
	f.Spec.Patches = []kube.EnvoyPatch{p}
	for _, x := range change {
		x(&f)
	}
	return f
}

func selecting(kv ...string) func(*kube.EnvoyFilter) {
	return func(f *kube.EnvoyFilter) {
		f.Spec.Selector = &kube.WorkloadSelector{Labels: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			f.Spec.Selector.Labels[kv[i]] = kv[i+1]
		}
	}
}

func objects[T any](k evidence.Key[[]evidence.Objects[T]], items ...T) func(*evidence.Set) {
	return func(s *evidence.Set) {
		evidence.Put(s, k, []evidence.Objects[T]{{Items: items, Whole: true, Source: csds}}, csds)
	}
}

func both(list ...func(*evidence.Set)) func(*evidence.Set) {
	return func(s *evidence.Set) {
		for _, f := range list {
			f(s)
		}
	}
}

func TestInvalidEnvoyFilter(t *testing.T) {
	const (
		lua     = `{"name": "envoy.filters.http.lua2", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua2", "inline_codes": "x"}}`
		unknown = "Error adding/updating listener(s) virtualInbound: Didn't find a registered implementation for 'envoy.filters.http.lua2' with type URL: ''"
		other   = "Error adding/updating listener(s) virtualInbound: Proto constraint validation failed (x)"
		node    = "sidecar~10.8.0.5~checkout-6d5f-x2x9k.shop~shop.svc.cluster.local"
		gateway = "router~10.8.0.9~istio-ingressgateway-1.istio-system~istio-system.svc.cluster.local"
	)
	pod := kube.Pod{Meta: kube.Meta{Namespace: "shop", Name: "checkout-6d5f-x2x9k", Labels: map[string]string{"app": "checkout"}}}
	rejected := func(node, reason string) func(*evidence.Set) {
		return seenStatus(status(node, because(client(ldsURL, "virtualInbound", evidence.Nacked), reason)))
	}
	http := func(namespace, name string, change ...func(*kube.EnvoyFilter)) kube.EnvoyFilter {
		return filter(namespace, name, "HTTP_FILTER", "SIDECAR_INBOUND", lua, change...)
	}
	pods := objects(evidence.Pods, pod)
	filters := func(list ...kube.EnvoyFilter) func(*evidence.Set) { return objects(evidence.EnvoyFilters, list...) }
	ofPod := diagnose.Request{Target: diagnose.Target{Namespace: "shop", Pod: "checkout-6d5f-x2x9k"}}
	checkstest.Run(t, InvalidEnvoyFilter, []checkstest.Case{
		{
			Name: "the reason names it", Request: ofPod, Put: both(rejected(node, unknown), pods, filters(http("shop", "lua", selecting("app", "checkout")), filter("shop", "headers", "HTTP_FILTER", "", `{"name":"envoy.filters.http.header_to_metadata"}`))),
			Want: []checkstest.Want{{Subject: node, Confidence: diagnose.Likely, Severity: diagnose.Blocking,
				Summary: "The client rejected Listener virtualInbound: Didn't find a registered implementation for 'envoy.filters.http.lua2' with type URL: ''. EnvoyFilter shop/lua patches its listeners.",
				Params:  map[string]string{"filter": "lua", "filter_namespace": "shop"}, Excerpt: "workloadSelector app=checkout"}},
		},
		{
			Name: "the reason doesn't", Request: ofPod, Put: both(rejected(node, other), pods, filters(http("shop", "a"), http("istio-system", "b"))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "EnvoyFilter istio-system/b and shop/a patch its listeners.", Params: map[string]string{"filter": "b", "others": "shop/a"}}},
		},
		{
			Name: "nobody told the reason", Request: ofPod, Put: both(rejected(node, ""), pods, filters(http("shop", "a"))),
			Want: []checkstest.Want{{Confidence: diagnose.Possible}},
		},
		{
			Name: "labels not known", Request: ofPod, Put: both(rejected(node, other), filters(http("shop", "a", selecting("app", "checkout")))),
			Want: []checkstest.Want{{Confidence: diagnose.Possible, Summary: "EnvoyFilter shop/a may patch its listeners."}},
		},
		{
			Name: "labels of the node's metadata", Request: files, Put: both(func(s *evidence.Set) {
				x := status(node, because(client(ldsURL, "virtualInbound", evidence.Nacked), other))
				x.Client.Metadata = map[string]string{"LABELS": `{"app":"checkout"}`}
				seenStatus(x)(s)
			}, filters(http("shop", "a", selecting("app", "checkout")))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely}},
		},
		{
			Name: "a log", Request: ofPod, Put: both(logged("[warning][config] gRPC config for "+ldsURL+" rejected: "+unknown), pods, filters(http("shop", "lua"))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "EnvoyFilter shop/lua patches its listeners."}},
		},
		{
			Name: "a log that nothing says whose it is of", Request: files, Put: both(logged("[warning][config] gRPC config for "+ldsURL+" rejected: "+other), filters(http("shop", "lua"))),
			Want: []checkstest.Want{{Confidence: diagnose.Possible, Summary: "EnvoyFilter shop/lua may patch its listeners."}},
		},
		{
			Name: "a gateway", Request: files, Put: both(rejected(gateway, other), filters(filter("istio-system", "gw", "NETWORK_FILTER", "GATEWAY", `{}`))),
			Want: []checkstest.Want{{Subject: gateway, Confidence: diagnose.Likely}},
		},
		{
			Name: "clusters", Request: files, Put: both(seenStatus(status(node, because(client(cdsURL, "outbound|80||cart.shop.svc.cluster.local", evidence.Nacked), "bad"))), filters(filter("shop", "timeouts", "CLUSTER", "SIDECAR_OUTBOUND", `{"connect_timeout":"x"}`))),
			Want: []checkstest.Want{{Summary: "EnvoyFilter shop/timeouts patches its clusters."}},
		},

		{Name: "none applies: another namespace", Request: ofPod, Put: both(rejected(node, unknown), pods, filters(http("other", "lua")))},
		{Name: "none applies: other labels", Request: ofPod, Put: both(rejected(node, unknown), pods, filters(http("shop", "lua", selecting("app", "cart"))))},
		{Name: "none applies: another type", Request: ofPod, Put: both(rejected(node, other), pods, filters(filter("shop", "timeouts", "CLUSTER", "", `{}`)))},
		{Name: "none applies: gateways'", Request: ofPod, Put: both(rejected(node, other), pods, filters(filter("istio-system", "gw", "HTTP_FILTER", "GATEWAY", lua)))},
		{Name: "none applies: a gateway, sidecars'", Request: files, Put: both(rejected(gateway, other), filters(http("istio-system", "lua")))},
		{Name: "none applies: a waypoint's", Request: ofPod, Put: both(rejected(node, other), pods, filters(filter("shop", "w", "HTTP_FILTER", "", lua, func(f *kube.EnvoyFilter) { f.Spec.TargetRefs = []kube.Ref{{Kind: "Gateway", Name: "waypoint"}} })))},
		{Name: "no filter", Request: ofPod, Put: both(rejected(node, other), pods, filters())},
		{Name: "another mesh's client", Request: target, Put: both(rejected(nodeA, other), filters(http("istio-system", "lua")))},
		{Name: "a reason of its own", Request: ofPod, Put: both(rejected(node, denied), pods, filters(http("shop", "lua")))},
		{Name: "nothing rejected", Request: ofPod, Put: both(seenStatus(status(node, client(ldsURL, "virtualInbound", evidence.Acked))), pods, filters(http("shop", "lua")))},
		{Name: "nothing rejected, filters denied", Request: ofPod, Put: both(seenStatus(status(node, client(ldsURL, "virtualInbound", evidence.Acked))), refuseFilters), Outcome: diagnose.OutcomeSkipped, Reason: "nothing was rejected"},
		{Name: "filters denied", Request: ofPod, Put: both(rejected(node, other), refuseFilters), Outcome: diagnose.OutcomeInconclusive, Reason: "EnvoyFilters"},
		{Name: "filters not asked", Request: ofPod, Put: rejected(node, other), Outcome: diagnose.OutcomeSkipped},
		{Name: "statuses denied", Request: target, Put: both(refuse, filters()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: both(late, filters()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}

func refuseFilters(s *evidence.Set) {
	s.Fail(evidence.EnvoyFilters.Name(), csds, &evidence.Denied{What: "the EnvoyFilters", Permission: "list envoyfilters", Err: errors.New("403")})
}

// The rejection itself is told as the symptom of the filter.
func TestInvalidEnvoyFilterFoldsTheRejection(t *testing.T) {
	const node = "sidecar~10.8.0.5~checkout-6d5f-x2x9k.shop~shop.svc.cluster.local"
	e, err := diagnose.New(diagnose.Config{
		Checks: []diagnose.Check{ConfigRejected, InvalidEnvoyFilter, PrivilegedPort},
		Collectors: []diagnose.Collector{{Name: "test", Provides: InvalidEnvoyFilter.Needs, Collect: collect(both(
			seenStatus(
				status(node, because(client(ldsURL, "virtualInbound", evidence.Nacked), "no such filter")),
				status(nodeB, because(client(ldsURL, "web", evidence.Nacked), "cannot bind '0.0.0.0:80': Permission denied")),
			),
			objects(evidence.EnvoyFilters, filter("shop", "lua", "HTTP_FILTER", "", `{}`)),
		))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Diagnose(t.Context(), files, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []diagnose.CheckID
	for _, c := range r.Causes {
		got = append(got, c.Check)
	}
	slices.Sort(got)
	if want := []diagnose.CheckID{InvalidEnvoyFilter.ID, PrivilegedPort.ID}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
