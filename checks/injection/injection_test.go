package injection

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

	api    = evidence.Source{Collector: "kube", Detail: "list", Vantage: evidence.FromAPI, Time: noon}
	pasted = evidence.Source{Collector: "file", Detail: "shop.yaml", Vantage: evidence.FromAPI, Time: noon, Pasted: true}

	// What is asked.
	ofPod       = diagnose.Request{Target: diagnose.Target{Namespace: "shop", Pod: "checkout-6d5f-x2x9k"}}
	ofWorkload  = diagnose.Request{Target: diagnose.Target{Namespace: "shop", Workload: "Deployment/checkout"}}
	ofNamespace = diagnose.Request{Target: diagnose.Target{Namespace: "shop"}}
	ofSymptom   = diagnose.Request{Target: diagnose.Target{Namespace: "shop"}, Symptom: diagnose.SymptomNoSidecar}
	ofFiles     = diagnose.Request{}
)

type put = checkstest.Put

func all(list ...put) put { return checkstest.All(list...) }

// live puts all objects of a kind as the API server lists them, file those that a file holds.
func live[T any](k evidence.Key[[]evidence.Objects[T]], items ...T) put {
	return checkstest.Objects(api, k, items...)
}

func file[T any](k evidence.Key[[]evidence.Objects[T]], items ...T) put {
	return checkstest.Objects(pasted, k, items...)
}

func deny(n evidence.Name) put { return checkstest.Deny(api, n) }

func late(n evidence.Name) put { return checkstest.Late(api, n) }

// shop is the namespace shop with labels, given as key, value, ….
func shop(kv ...string) kube.Namespace { return namespace("shop", kv...) }

func namespace(name string, kv ...string) kube.Namespace {
	return kube.Namespace{Meta: kube.Meta{Name: name, Labels: pairs(kv), Created: noon.Add(-100 * time.Hour)}}
}

func pairs(kv []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

// labelledAt notes in managedFields when the label of injection was set.
func labelledAt(ns kube.Namespace, ago time.Duration) kube.Namespace {
	var keys []string
	for k := range ns.Labels {
		keys = append(keys, k)
	}
	ns.Managed = []kube.Managed{{Manager: "kubectl-label", Operation: "Update", Time: noon.Add(-ago), Labels: keys}}
	return ns
}

// pod is a running pod of the Deployment checkout, made an hour ago, without a sidecar.
func pod(change ...func(*kube.Pod)) kube.Pod {
	p := kube.Pod{
		Meta: kube.Meta{
			Name: "checkout-6d5f-x2x9k", Namespace: "shop", UID: "1", Created: noon.Add(-time.Hour), Labels: map[string]string{"app": "checkout", "pod-template-hash": "6d5f"},
			Owners: []kube.Owner{{Kind: "ReplicaSet", Name: "checkout-6d5f", Controller: true}},
		},
		Spec:   kube.PodSpec{Containers: []kube.Container{{Name: "server", Image: "checkout:1"}}},
		Status: kube.PodStatus{Phase: "Running", PodIP: "10.8.0.5", HostIP: "10.128.0.7"},
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

func named(name string) func(*kube.Pod) { return func(p *kube.Pod) { p.Name = name } }

func in(ns string) func(*kube.Pod) { return func(p *kube.Pod) { p.Namespace = ns } }

func label(kv ...string) func(*kube.Pod) {
	return func(p *kube.Pod) {
		for k, v := range pairs(kv) {
			p.Labels[k] = v
		}
	}
}

func annotation(kv ...string) func(*kube.Pod) {
	return func(p *kube.Pod) { p.Annotations = pairs(kv) }
}

func made(ago time.Duration) func(*kube.Pod) {
	return func(p *kube.Pod) { p.Created = noon.Add(-ago) }
}

func of(kind, name string) func(*kube.Pod) {
	return func(p *kube.Pod) {
		delete(p.Labels, "pod-template-hash")
		p.Owners = []kube.Owner{{Kind: kind, Name: name, Controller: true}}
		if kind == "" {
			p.Owners = nil
		}
	}
}

func sidecar(p *kube.Pod) {
	p.Spec.Containers = append(p.Spec.Containers, kube.Container{Name: "istio-proxy", Image: "gcr.io/gke-release/asm/proxyv2:1.26"})
}

func native(p *kube.Pod) {
	p.Spec.InitContainers = append(p.Spec.InitContainers, kube.Container{Name: "istio-proxy", Image: "proxyv2", RestartPolicy: "Always"})
}

func auto(p *kube.Pod) {
	p.Spec.Containers = []kube.Container{{Name: "istio-proxy", Image: "auto"}}
}

func onHostNetwork(p *kube.Pod) { p.Spec.HostNetwork = true }

// manifest makes the pod one that was never applied.
func manifest(p *kube.Pod) {
	p.UID, p.Created, p.Status, p.Owners, p.Origin = "", time.Time{}, kube.PodStatus{}, nil, "shop.yaml, document 2"
	delete(p.Labels, "pod-template-hash")
}

// deployment is the Deployment checkout with the template of a pod.
func deployment(change ...func(*kube.Pod)) kube.Workload {
	p := pod(manifest)
	p.Name, p.Namespace, p.Origin = "", "", ""
	for _, f := range change {
		f(&p)
	}
	return kube.Workload{Kind: "Deployment", Meta: kube.Meta{Name: "checkout", Namespace: "shop"}, Spec: kube.WorkloadSpec{Template: p}}
}

func term(key, op string, values ...string) kube.Requirement {
	return kube.Requirement{Key: key, Operator: op, Values: values}
}

func sel(terms ...kube.Requirement) *kube.Selector { return &kube.Selector{MatchExpressions: terms} }

// injector is the webhook configuration of a revision as Istio's chart makes it: two entries for the revision, and two more where
// it is the default one.
func injector(rev string, change ...func(*kube.WebhookConfiguration)) kube.WebhookConfiguration {
	name := "istio-sidecar-injector"
	if rev != "default" {
		name += "-" + rev
	}
	c := kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration", Meta: kube.Meta{
		Name: name, Labels: map[string]string{"app": "sidecar-injector", "istio.io/rev": rev}, Created: noon.Add(-90 * time.Hour)}}
	c.Webhooks = entries(rev, rev == "default")
	for i := range c.Webhooks {
		service := "istiod"
		if rev != "default" {
			service += "-" + rev
		}
		c.Webhooks[i].Client.Service = &kube.ServiceReference{Namespace: "istio-system", Name: service, Path: "/inject"}
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func entries(rev string, byDefault bool) []kube.Webhook {
	notOff := term("sidecar.istio.io/inject", "NotIn", "false")
	noInj, noRev := term("istio-injection", "DoesNotExist"), term("istio.io/rev", "DoesNotExist")
	entry := func(name string, ns, object *kube.Selector) kube.Webhook {
		return kube.Webhook{
			Name: name + ".sidecar-injector.istio.io", NamespaceSelector: ns, ObjectSelector: object,
			Rules: []kube.Rule{{Operations: []string{"CREATE"}, APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}},
		}
	}
	list := []kube.Webhook{
		entry("rev.namespace", sel(term("istio.io/rev", "In", rev), noInj), sel(notOff)),
		entry("rev.object", sel(noRev, noInj), sel(notOff, term("istio.io/rev", "In", rev))),
	}
	if byDefault {
		list = append(list,
			entry("namespace", sel(term("istio-injection", "In", "enabled")), sel(notOff)),
			entry("object", sel(noInj, noRev), sel(term("sidecar.istio.io/inject", "In", "true"), noRev)))
	}
	return list
}

// tag is the webhook configuration of a revision tag.
func tag(name, rev string) kube.WebhookConfiguration {
	return injector(rev, func(c *kube.WebhookConfiguration) {
		c.Name = "istio-revision-tag-" + name
		c.Labels["istio.io/tag"] = name
		client := c.Webhooks[0].Client
		c.Webhooks = entries(name, name == "default")
		for i := range c.Webhooks {
			c.Webhooks[i].Client = client
		}
	})
}

// byURL makes the injector one of the managed control plane.
func byURL(c *kube.WebhookConfiguration) {
	c.Name = "istiod-asm-managed"
	for i := range c.Webhooks {
		c.Webhooks[i].Client = kube.ClientConfig{URL: "https://meshconfig.googleapis.com/v1alpha1/inject"}
	}
}

func deactivated(c *kube.WebhookConfiguration) {
	for i := range c.Webhooks {
		never := &kube.Selector{MatchLabels: map[string]string{"istio.io/deactivated": "never-match"}}
		c.Webhooks[i].NamespaceSelector, c.Webhooks[i].ObjectSelector = never, never
	}
}

func madeAgo(ago time.Duration) func(*kube.WebhookConfiguration) {
	return func(c *kube.WebhookConfiguration) { c.Created = noon.Add(-ago) }
}

func ignoring(c *kube.WebhookConfiguration) {
	for i := range c.Webhooks {
		c.Webhooks[i].FailurePolicy = "Ignore"
	}
}

func hooks(list ...kube.WebhookConfiguration) put { return live(evidence.MutatingWebhooks, list...) }
func pods(list ...kube.Pod) put                   { return live(evidence.Pods, list...) }
func spaces(list ...kube.Namespace) put           { return live(evidence.Namespaces, list...) }
func workloads(list ...kube.Workload) put         { return live(evidence.Workloads, list...) }

// istiod is a control plane's Deployment.
func istiod(rev string) put {
	return live(evidence.ControlPlaneWorkloads, kube.Workload{Kind: "Deployment", Meta: kube.Meta{Name: "istiod-" + rev, Namespace: "istio-system", Labels: map[string]string{"app": "istiod", "istio.io/rev": rev}}})
}

// fleet is what the fleet says of the cluster.
func fleet(state string, change ...func(*evidence.FleetMembership)) put {
	m := evidence.FleetMembership{
		Membership: "projects/482915067713/locations/europe-west1/memberships/prod", Management: "AUTOMATIC", ControlPlane: state, Implementation: "TRAFFIC_DIRECTOR",
		DataPlane: "ACTIVE", Updated: noon.Add(-10 * time.Minute), Source: api,
	}
	for _, f := range change {
		f(&m)
	}
	return func(s *evidence.Set) {
		evidence.Put(s, evidence.FleetMesh, []evidence.FleetMembership{m}, api)
	}
}

// settings is the injector's ConfigMap.
func settings(rev, policy, values string) put {
	name := "istio-sidecar-injector"
	if rev != "default" {
		name += "-" + rev
	}
	return live(evidence.ConfigMaps, kube.ConfigMap{Meta: kube.Meta{Name: name, Namespace: "istio-system"}, Data: map[string]string{
		"config": "# generated\ndefaultTemplates: [sidecar]\npolicy: " + policy + "\ntemplates:\n  sidecar: |\n    policy: x\n", "values": values,
	}})
}

// every are all checks of the area.
var every = []diagnose.Check{
	AnnotationHasNoEffect, ConflictingLabels, Disabled, HostNetwork, ImageAuto, InjectorFailed, LabelTypo, ManagedControlPlane, MultipleWebhooks,
	NotSelected, PodPredatesInjection, RevisionNotInstalled, SidecarMissing, WebhookMissing,
}

// diagnosed runs every check of the area over the facts, and gives the report.
func diagnosed(t *testing.T, req diagnose.Request, facts put) *diagnose.Report {
	t.Helper()
	names := slices.Concat(needs, []evidence.Name{evidence.LogMessages.Name()})
	e, err := diagnose.New(diagnose.Config{Checks: every, Collectors: []diagnose.Collector{{
		Name: "facts", Provides: names,
		Collect: func(_ context.Context, _ diagnose.Request, _ *evidence.View, s *evidence.Set) error {
			facts(s)
			return nil
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Diagnose(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// message is a line that the scan of logs recognised.
func message(s diagnose.Signature, text string, kv ...string) evidence.LogMessage {
	return evidence.LogMessage{Signature: s.ID, Fields: pairs(kv), File: "events", Line: 1, Text: text, Count: 1, Source: api}
}

func logs(list ...evidence.LogMessage) put {
	return func(s *evidence.Set) { evidence.Put(s, evidence.LogMessages, list, api) }
}

// found gives the causes as "check subject", sorted as reported.
func found(r *diagnose.Report) []string {
	var out []string
	for _, c := range r.Causes {
		s := strings.TrimPrefix(string(c.Check), "injection/") + " " + c.Subject
		for _, x := range c.Symptoms {
			s += " +" + strings.TrimPrefix(string(x), "injection/")
		}
		out = append(out, s)
	}
	return out
}

// unseen are the cases in which what a check rests on isn't known.
func unseen() []checkstest.Case {
	rest := all(hooks(injector("default")), spaces(shop()))
	return []checkstest.Case{
		{Name: "pods denied", Request: ofPod, Put: all(rest, deny(evidence.Pods.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "list pods"},
		{Name: "pods late", Request: ofPod, Put: all(rest, late(evidence.Pods.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: diagnose.Request{Target: diagnose.Target{Project: "mesh-prod-4f2a", Network: "mesh-vpc"}}, Outcome: diagnose.OutcomeSkipped},
		{Name: "no such namespace", Request: ofNamespace, Put: all(hooks(injector("default")), spaces(namespace("other")), pods()), Outcome: diagnose.OutcomeInconclusive, Reason: `no namespace "shop"`},
		{Name: "no such pod", Request: ofPod, Put: all(rest, pods(pod(named("other")))), Outcome: diagnose.OutcomeInconclusive, Reason: "pod/checkout-6d5f-x2x9k isn't in namespace shop"},
	}
}

// unseenWebhooks are those of a check that rests on webhooks and the labels of namespaces too.
func unseenWebhooks() []checkstest.Case {
	return append(unseen(),
		checkstest.Case{Name: "webhooks denied", Request: ofPod, Put: all(spaces(shop()), pods(pod()), deny(evidence.MutatingWebhooks.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "mutating-webhooks"},
		checkstest.Case{Name: "webhooks denied, and some in a file", Request: ofPod, Put: all(spaces(shop()), pods(pod()), deny(evidence.MutatingWebhooks.Name()), file(evidence.MutatingWebhooks, injector("default"))), Outcome: diagnose.OutcomeInconclusive, Reason: "mutating-webhooks"},
		checkstest.Case{Name: "namespaces denied", Request: ofPod, Put: all(hooks(injector("default")), pods(pod()), deny(evidence.Namespaces.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "namespaces"},
		checkstest.Case{Name: "a pod in a file, and no webhooks", Request: ofFiles, Put: file(evidence.Pods, pod()), Outcome: diagnose.OutcomeSkipped},
		checkstest.Case{Name: "files without an injector", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration"}), file(evidence.Namespaces, shop()), file(evidence.Pods, pod())), Outcome: diagnose.OutcomeSkipped, Reason: "files may leave some out"},
		checkstest.Case{Name: "a pod whose namespace is in no file", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Pods, pod())), Outcome: diagnose.OutcomeSkipped, Reason: "labels of namespace shop"},
		checkstest.Case{Name: "a manifest that names no namespace", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Namespaces, shop()), file(evidence.Pods, pod(manifest, in("")))), Outcome: diagnose.OutcomeSkipped},
		checkstest.Case{Name: "a match condition that nobody evaluated", Request: ofPod, Put: all(spaces(shop("istio-injection", "enabled")), pods(pod()), hooks(injector("default", func(c *kube.WebhookConfiguration) {
			for i := range c.Webhooks {
				c.Webhooks[i].MatchConditions = []kube.MatchCondition{{Name: "not-batch", Expression: "object.metadata.name != 'x'"}}
			}
		}))), Outcome: diagnose.OutcomeInconclusive, Reason: "not-batch"},
	)
}
