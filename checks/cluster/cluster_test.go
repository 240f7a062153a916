package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

var (
	api    = evidence.Source{Collector: "kube"}
	pasted = evidence.Source{Collector: "file", Pasted: true}
)

func sel(terms ...kube.Requirement) *kube.Selector { return &kube.Selector{MatchExpressions: terms} }

func req(key, op string, values ...string) kube.Requirement {
	return kube.Requirement{Key: key, Operator: op, Values: values}
}

var podsMade = []kube.Rule{{Operations: []string{"CREATE"}, APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}}

// istio is the configuration of a revision, with the two entries of a default one besides.
func istio(rev string, byDefault bool) kube.WebhookConfiguration {
	c := kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration", Meta: kube.Meta{Name: "istio-sidecar-injector-" + rev, Labels: map[string]string{"app": "sidecar-injector", kube.LabelRevision: rev}}}
	entry := func(name string, ns, object *kube.Selector) {
		c.Webhooks = append(c.Webhooks, kube.Webhook{Name: name + "." + injectorSuffix, NamespaceSelector: ns, ObjectSelector: object, Rules: podsMade})
	}
	notOff := req(kube.LabelInject, "NotIn", "false")
	noInj, noRev := req(kube.LabelInjection, "DoesNotExist"), req(kube.LabelRevision, "DoesNotExist")
	entry("rev.namespace", sel(req(kube.LabelRevision, "In", rev), noInj), sel(notOff))
	entry("rev.object", sel(noRev, noInj), sel(notOff, req(kube.LabelRevision, "In", rev)))
	if byDefault {
		entry("namespace", sel(req(kube.LabelInjection, "In", "enabled")), sel(notOff))
		entry("object", sel(noInj, noRev), sel(req(kube.LabelInject, "In", "true"), noRev))
	}
	return c
}

func batch[T any](src evidence.Source, whole bool, items ...T) []evidence.Objects[T] {
	return []evidence.Objects[T]{{Items: items, Whole: whole, Source: src}}
}

func TestInjectors(t *testing.T) {
	off := istio("old", false)
	for i := range off.Webhooks {
		off.Webhooks[i].NamespaceSelector = &kube.Selector{MatchLabels: map[string]string{deactivated: "never-match"}}
	}
	odd := istio("odd", false)
	odd.Webhooks = odd.Webhooks[:1]
	odd.Webhooks[0].NamespaceSelector = sel(req(deactivated, "DoesNotExist")) // matches everything
	validating := istio("v", false)
	validating.Kind = "ValidatingWebhookConfiguration"
	others := kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration", Meta: kube.Meta{Name: "vault"}, Webhooks: []kube.Webhook{{Name: "vault.hashicorp.com"}}}
	list := Injectors(append(batch(api, true, istio("default", true), off, odd, validating, others), batch(pasted, false, istio("default", true), istio("canary", false))...))
	var got []string
	for _, in := range list {
		s := in.Config.Name
		if in.Deactivated {
			s += " off"
		}
		if len(got) == 0 || got[len(got)-1] != s {
			got = append(got, s)
		}
	}
	want := []string{"istio-sidecar-injector-default", "istio-sidecar-injector-old off", "istio-sidecar-injector-odd", "istio-sidecar-injector-canary"}
	if !slices.Equal(got, want) || len(list) != 4+2+1+2 {
		t.Errorf("%d injectors of %q, want %q: what a file tells again counts once", len(list), got, want)
	}
	if served := ServedRevisions(list); !slices.Equal(served, []string{"canary", "default"}) {
		t.Errorf("served are %q", served)
	}
}

func TestServes(t *testing.T) {
	hook := &kube.Webhook{NamespaceSelector: sel(req(kube.LabelRevision, "In", "prod"))}
	tag := Injector{Hook: hook, Config: &kube.WebhookConfiguration{}, Revision: "asm-1234-7", Tag: "prod"}
	if !tag.Serves("prod") || tag.Serves("asm-1234-7") || tag.Serves("") {
		t.Error("a tag's injector serves the tag, which its selectors ask for, and not the revision that it points to")
	}
	plain := Injector{Hook: &kube.Webhook{}, Revision: "x"}
	if !plain.Serves("x") || plain.Serves("y") {
		t.Error("an injector whose selectors ask for no revision serves that of its labels")
	}
}

func TestExplain(t *testing.T) {
	ns := &kube.Namespace{Meta: kube.Meta{Name: "shop", Labels: map[string]string{kube.LabelInjection: "disabled"}}}
	p := &kube.Pod{Meta: kube.Meta{Name: "a", Namespace: "shop", Labels: map[string]string{kube.LabelInject: "false"}}}
	c := istio("default", true)
	lines := func(p *kube.Pod, ns *kube.Namespace) (out []string) {
		for _, d := range Decide(p, ns, Injectors(batch(api, true, c)), nil) {
			out = append(out, strings.TrimSuffix(strings.Replace(d.Explain(p, ns), "."+injectorSuffix, "", 1), "\n"))
		}
		return out
	}
	want := []string{
		"rev.namespace: namespaceSelector wants istio.io/rev=default and no istio-injection; namespace shop has no istio.io/rev and istio-injection=disabled",
		"rev.object: namespaceSelector wants no istio-injection; namespace shop has istio-injection=disabled",
		"namespace: namespaceSelector wants istio-injection=enabled; namespace shop has istio-injection=disabled",
		"object: namespaceSelector wants no istio-injection; namespace shop has istio-injection=disabled",
	}
	if got := lines(p, ns); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	ns.Labels[kube.LabelInjection] = "enabled"
	if got, want := lines(p, ns)[2], "namespace: objectSelector wants sidecar.istio.io/inject other than false; the pod has sidecar.istio.io/inject=false"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	delete(p.Labels, kube.LabelInject)
	if got, want := lines(p, ns)[2], "namespace: selects it"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := lines(p, nil)[2]; !strings.Contains(got, "can't be told: the labels of namespace shop aren't known") {
		t.Errorf("got %q", got)
	}
	p.Namespace = ""
	if got := lines(p, nil)[2]; !strings.Contains(got, "can't be told") {
		t.Errorf("a manifest that names no namespace: %q", got)
	}
}

func TestFixes(t *testing.T) {
	for _, tc := range []struct {
		name     string
		ns, pod  map[string]string
		hooks    []kube.WebhookConfiguration
		revision string
		onSpace  string // "" for none
		onPod    string
	}{
		{"never labelled", nil, nil, []kube.WebhookConfiguration{istio("default", true)}, "", "istio-injection=enabled", "sidecar.istio.io/inject=true"},
		{"a revision alone", nil, nil, []kube.WebhookConfiguration{istio("asm-1", false)}, "", "istio.io/rev=asm-1", "istio.io/rev=asm-1"},
		{"the revision asked for", nil, nil, []kube.WebhookConfiguration{istio("default", true), istio("asm-1", false)}, "asm-1", "istio.io/rev=asm-1", "istio.io/rev=asm-1"},
		{"the other label is there", map[string]string{kube.LabelInjection: "enabled"}, nil, []kube.WebhookConfiguration{istio("asm-1", false)}, "", "istio.io/rev=asm-1 in the place of istio-injection", ""},
		{"off", map[string]string{kube.LabelInjection: "disabled"}, nil, []kube.WebhookConfiguration{istio("default", true)}, "", "istio-injection=enabled", ""},
		{"a revision that isn't there", map[string]string{kube.LabelRevision: "gone"}, nil, []kube.WebhookConfiguration{istio("default", true)}, "", "istio.io/rev=default", ""},
		{"the pod is off in a namespace that is on", map[string]string{kube.LabelInjection: "enabled"}, map[string]string{kube.LabelInject: "false"}, []kube.WebhookConfiguration{istio("default", true)}, "", "", "no label sidecar.istio.io/inject"},
		{"the pod is off too: no one label helps", nil, map[string]string{kube.LabelInject: "false"}, []kube.WebhookConfiguration{istio("asm-1", false)}, "", "", "istio.io/rev=asm-1 in the place of sidecar.istio.io/inject"},
		{"two would be called", nil, nil, []kube.WebhookConfiguration{istio("default", true), istio("default", true)}, "", "", ""},
		{"no injector", nil, nil, nil, "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if len(tc.hooks) == 2 && tc.hooks[0].Name == tc.hooks[1].Name {
				tc.hooks[1].Name = "copy"
			}
			ns := &kube.Namespace{Meta: kube.Meta{Name: "shop", Labels: tc.ns}}
			p := &kube.Pod{Meta: kube.Meta{Name: "a", Namespace: "shop", Labels: tc.pod}}
			onSpace, onPod := Fixes(p, ns, Injectors(batch(api, true, tc.hooks...)), nil, tc.revision)
			text := func(f *Fix) string {
				if f == nil {
					return ""
				}
				return f.String()
			}
			if text(onSpace) != tc.onSpace || text(onPod) != tc.onPod {
				t.Errorf("on the namespace %q, want %q; on the pod %q, want %q", text(onSpace), tc.onSpace, text(onPod), tc.onPod)
			}
		})
	}
	if a, b := Fixes(&kube.Pod{}, nil, Injectors(batch(api, true, istio("default", true))), nil, ""); a != nil || b != nil {
		t.Error("a namespace that isn't known has a fix")
	}
}

func TestPodSwitch(t *testing.T) {
	for _, tc := range []struct {
		label, annotation string // "-" for none
		want              Switch
		by                string
	}{
		{"-", "-", SwitchUnset, ""}, {"true", "-", SwitchOn, "label"}, {"False", "-", SwitchOff, "label"}, {"-", "Yes", SwitchOn, "annotation"}, {"-", "no", SwitchOff, "annotation"},
		{"false", "true", SwitchOff, "label"}, {"true", "false", SwitchOn, "label"}, {"enabled", "-", SwitchOff, "label"}, {"", "true", SwitchUnset, ""},
	} {
		m := kube.Meta{Labels: map[string]string{}, Annotations: map[string]string{}}
		if tc.label != "-" {
			m.Labels[kube.LabelInject] = tc.label
		}
		if tc.annotation != "-" {
			m.Annotations[kube.LabelInject] = tc.annotation
		}
		if got, by, _ := PodSwitch(&m); got != tc.want || by != tc.by {
			t.Errorf("label %q, annotation %q: %d by the %s, want %d by the %s", tc.label, tc.annotation, got, by, tc.want, tc.by)
		}
	}
}

func TestSettings(t *testing.T) {
	in := Injector{Hook: &kube.Webhook{Client: kube.ClientConfig{Service: &kube.ServiceReference{Namespace: "istio-system", Name: "istiod"}}}, Revision: "asm-1"}
	maps := batch(api, true, kube.ConfigMap{Meta: kube.Meta{Name: "istio-sidecar-injector", Namespace: "istio-system"}}, kube.ConfigMap{Meta: kube.Meta{Name: "istio-sidecar-injector-asm-1", Namespace: "istio-system"}, Data: map[string]string{
		"config": "templates:\n  x: |\n    policy: enabled\npolicy: \"disabled\"\n", "values": `{"sidecarInjectorWebhook":{"neverInjectSelector":[{},{"matchLabels":{"job":"yes"}}],"alwaysInjectSelector":[{"matchExpressions":[{"key":"web","operator":"Exists"}]}]}}`}})
	s, ok := SettingsOf(in, maps)
	if !ok || s.Policy != "disabled" {
		t.Fatalf("settings %+v, %t", s, ok)
	}
	for _, tc := range []struct {
		labels map[string]string
		why    string
	}{{nil, PolicyWord}, {map[string]string{"job": "yes", "web": ""}, "job=yes"}, {map[string]string{"web": ""}, ""}, {map[string]string{kube.LabelInject: "true"}, ""}} {
		if why, refuses := s.Refuses(&kube.Pod{Meta: kube.Meta{Labels: tc.labels}}); why != tc.why || refuses != (tc.why != "") {
			t.Errorf("%v: refused for %q, want %q", tc.labels, why, tc.why)
		}
	}
	in.Hook = &kube.Webhook{Client: kube.ClientConfig{URL: "https://x"}}
	if _, ok := SettingsOf(in, maps); ok {
		t.Error("a webhook that is a URL reads no ConfigMap of the cluster")
	}
	if s := ReadSettings(&kube.ConfigMap{Data: map[string]string{"values": "{", "config": "{"}}); s.Policy != "" || s.Never != nil {
		t.Errorf("what can't be read: %+v", s)
	}
}

func TestControlPlane(t *testing.T) {
	managed, inCluster := istio("asm-managed", false), istio("default", true)
	for i := range managed.Webhooks {
		managed.Webhooks[i].Client.URL = "https://meshconfig.googleapis.com/x"
	}
	for i := range inCluster.Webhooks {
		inCluster.Webhooks[i].Client.Service = &kube.ServiceReference{Namespace: "istio-system", Name: "istiod"}
	}
	for _, tc := range []struct {
		name    string
		put     func(*evidence.Set)
		want    Plane
		managed bool
	}{
		{"nothing", func(*evidence.Set) {}, PlaneUnknown, false},
		{"the fleet", func(s *evidence.Set) {
			evidence.Put(s, evidence.FleetMesh, []evidence.FleetMembership{{ControlPlane: "ACTIVE", Implementation: "TRAFFIC_DIRECTOR"}}, api)
		}, TrafficDirector, true},
		{"the fleet's istiod", func(s *evidence.Set) {
			evidence.Put(s, evidence.FleetMesh, []evidence.FleetMembership{{ControlPlane: "DEGRADED", Implementation: "ISTIOD"}}, api)
		}, ManagedIstiod, true},
		{"a fleet that manages nothing", func(s *evidence.Set) {
			evidence.Put(s, evidence.FleetMesh, []evidence.FleetMembership{{ControlPlane: "DISABLED"}}, api)
			evidence.Put(s, evidence.MutatingWebhooks, batch(api, true, inCluster), api)
		}, InCluster, false},
		{"a URL", func(s *evidence.Set) {
			evidence.Put(s, evidence.MutatingWebhooks, batch(api, true, managed), api)
		}, managedUncertain, true},
		{"a ControlPlaneRevision", func(s *evidence.Set) {
			evidence.Put(s, evidence.ControlPlaneRevisions, batch(api, true, kube.ControlPlaneRevision{}), api)
		}, managedUncertain, true},
		{"a Deployment", func(s *evidence.Set) {
			evidence.Put(s, evidence.ControlPlaneWorkloads, batch(api, true, kube.Workload{Kind: "Deployment", Meta: kube.Meta{Name: "istiod-asm-1"}}), api)
		}, InCluster, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := evidence.NewSet()
			tc.put(s)
			if got, why := ControlPlane(evidence.NewView(s)); got != tc.want || got.Managed() != tc.managed || why == "" {
				t.Errorf("%d (%s), want %d", got, why, tc.want)
			}
		})
	}
}

func owned(name, kind, owner, hash string) kube.Pod {
	p := kube.Pod{Meta: kube.Meta{Name: name, Namespace: "shop", Labels: map[string]string{}, Owners: []kube.Owner{{Kind: kind, Name: owner, Controller: true}}}}
	if hash != "" {
		p.Labels["pod-template-hash"] = hash
	}
	return p
}

func TestScope(t *testing.T) {
	ended := owned("job-1", "Job", "nightly-1", "")
	ended.Status.Phase = "Succeeded"
	other := owned("x", "ReplicaSet", "x-1", "1")
	other.Namespace = "other"
	system := owned("dns", "DaemonSet", "dns", "")
	system.Namespace = "kube-system"
	unnamed := owned("manifest", "", "", "")
	unnamed.Namespace, unnamed.Owners = "", nil
	workload := func(kind, name string, owner ...kube.Owner) kube.Workload {
		return kube.Workload{Kind: kind, Meta: kube.Meta{Name: name, Namespace: "shop", Owners: owner}}
	}
	s := evidence.NewSet()
	evidence.Put(s, evidence.Pods, batch(api, true, owned("checkout-6d5f-a", "ReplicaSet", "checkout-6d5f", "6d5f"), owned("cart-0", "StatefulSet", "cart", ""), ended, other, system), api)
	evidence.Put(s, evidence.Pods, batch(pasted, false, owned("cart-0", "StatefulSet", "cart", ""), unnamed), pasted)
	evidence.Put(s, evidence.Workloads, batch(api, true, workload("Deployment", "checkout"), workload("ReplicaSet", "checkout-6d5f", kube.Owner{Kind: "Deployment", Name: "checkout", Controller: true}), workload("StatefulSet", "cart")), api)
	for _, tc := range []struct {
		target          diagnose.Target
		pods, templates string
	}{
		{diagnose.Target{Namespace: "shop"}, "checkout-6d5f-a cart-0 manifest", "Deployment shop/checkout, StatefulSet shop/cart"},
		{diagnose.Target{Namespace: "shop", Pod: "job-1"}, "job-1", ""},
		{diagnose.Target{Namespace: "shop", Pod: "cart-0"}, "cart-0", "StatefulSet shop/cart"},
		{diagnose.Target{Namespace: "shop", Pod: "checkout-6d5f-a"}, "checkout-6d5f-a", "Deployment shop/checkout"},
		{diagnose.Target{Namespace: "shop", Workload: "Deployment/checkout"}, "checkout-6d5f-a", "Deployment shop/checkout"},
		{diagnose.Target{Namespace: "kube-system"}, "dns manifest", ""},
		{diagnose.Target{}, "checkout-6d5f-a cart-0 x manifest", "Deployment shop/checkout, StatefulSet shop/cart"},
	} {
		request := diagnose.Request{Target: tc.target}
		pods, err := Pods(request, evidence.NewView(s))
		if err != nil {
			t.Fatal(err)
		}
		var names, of []string
		for _, p := range pods {
			names = append(names, p.Name)
			if tc.target.Namespace != "" && p.Namespace != tc.target.Namespace {
				t.Errorf("%s is in namespace %q", p.Name, p.Namespace)
			}
		}
		templates, err := Templates(request, evidence.NewView(s))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range templates {
			of = append(of, p.TemplateOf)
		}
		if got := strings.Join(names, " "); got != tc.pods {
			t.Errorf("%s: pods %q, want %q", tc.target, got, tc.pods)
		}
		if got := strings.Join(of, ", "); got != tc.templates {
			t.Errorf("%s: templates of %q, want %q", tc.target, got, tc.templates)
		}
	}
	if _, err := Pods(diagnose.Request{}, evidence.NewView(evidence.NewSet())); err == nil {
		t.Error("pods that nobody was asked for are known")
	}
}

func TestGroups(t *testing.T) {
	template := kube.Workload{Kind: "Deployment", Meta: kube.Meta{Name: "web", Namespace: "shop"}}
	bare := owned("alone", "", "", "")
	bare.Owners = nil
	list := []kube.Pod{owned("cart-1", "StatefulSet", "cart", ""), owned("checkout-6d5f-b", "ReplicaSet", "checkout-6d5f", "6d5f"), owned("checkout-6d5f-a", "ReplicaSet", "checkout-6d5f", "6d5f"), bare, template.Pod()}
	request := diagnose.Request{Target: diagnose.Target{Namespace: "shop", Workload: "Deployment/checkout"}}
	want := []string{
		"pod shop/alone|pods/alone||alone",
		"2 pods of Deployment shop/checkout||deployment/checkout|checkout-6d5f-a",
		"the template of Deployment shop/web|workloads/Deployment/web|deployment/web|",
		"pod shop/cart-1|workloads/StatefulSet/cart|statefulset/cart|cart-1",
	}
	var got []string
	for _, g := range ByMaker(list, nil) {
		p := g.Params()
		got = append(got, strings.Join([]string{g.Title(), g.Key(request), p["workload"], p["pod"]}, "|"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if k := (Group{Namespace: "shop", Maker: "Job/a", Pods: list[:1]}).Key(diagnose.Request{}); k != "namespaces/shop/workloads/Job/a" {
		t.Errorf("key %q where nothing is asked about", k)
	}
	apart := ByMaker(list, func(p *kube.Pod) string { return p.Name })
	if len(apart) != len(list) {
		t.Errorf("%d groups by name, want %d", len(apart), len(list))
	}
}
