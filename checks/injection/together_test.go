package injection

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// TestTogether runs every check of the area over each scenario, and holds the exact causes: a pod without a sidecar is put down to
// one root.
func TestTogether(t *testing.T) {
	const one = "pod shop/checkout-6d5f-x2x9k"
	byDefault := hooks(injector("default"))
	byRevision := hooks(injector("asm-1234-7"))
	enabledShop := spaces(labelledAt(shop("istio-injection", "enabled"), 50*time.Hour))
	for _, tc := range []struct {
		name string
		req  diagnose.Request
		put  put
		want []string
	}{
		// Nothing wrong.
		{"injected", ofPod, all(byDefault, enabledShop, pods(pod(sidecar))), nil},
		{"native sidecar", ofPod, all(byDefault, enabledShop, pods(pod(native))), nil},
		{"a manifest that will be injected", ofFiles, all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Namespaces, shop("istio-injection", "enabled")), file(evidence.Pods, pod(manifest))), nil},
		{"a template that will be injected", ofWorkload, all(byDefault, enabledShop, pods(), workloads(deployment())), nil},
		{"not in the mesh, in files", ofFiles, all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Namespaces, shop(), namespace("other")), file(evidence.Pods, pod(manifest), pod(manifest, in("other")))), nil},
		{"switched off, nobody asks", ofNamespace, all(byDefault, enabledShop, pods(pod(label("sidecar.istio.io/inject", "false")))), nil},
		{"on the host, nobody asks", ofNamespace, all(byDefault, enabledShop, pods(pod(onHostNetwork))), nil},
		{"namespace off", ofNamespace, all(byDefault, spaces(shop("istio-injection", "disabled")), pods(pod())), nil},
		{"namespace off with a revision", ofNamespace, all(byDefault, spaces(shop("istio-injection", "disabled", "istio.io/rev", "test")), pods(pod())), nil},
		{"ambient", ofNamespace, all(byDefault, spaces(shop("istio.io/dataplane-mode", "ambient")), pods(pod())), nil},
		{"a part of the namespace is in the mesh by its pods' labels", ofNamespace, all(byDefault, spaces(shop()), pods(pod(), pod(named("cart-1"), of("StatefulSet", "cart"), label("sidecar.istio.io/inject", "true"), sidecar))), nil},
		{"a cluster without a mesh", ofNamespace, all(hooks(), spaces(shop()), pods(pod())), nil},
		{"proxyless", ofNamespace, all(byDefault, spaces(shop()), pods(pod(func(p *kube.Pod) { p.Spec.Containers[0].Env = []kube.EnvVar{{Name: "GRPC_XDS_BOOTSTRAP"}} }))), nil},

		// Not selected.
		{"a pod asked about", ofPod, all(byDefault, spaces(shop()), pods(pod())), []string{"not-selected " + one}},
		{"a namespace asked about", ofNamespace, all(byDefault, spaces(shop()), pods(pod(), pod(named("checkout-6d5f-aaaaa")))), []string{"not-selected namespace shop"}},
		{"a namespace with the symptom", ofSymptom, all(byDefault, spaces(shop()), pods(pod())), []string{"not-selected namespace shop"}},
		{"another pod of the same maker is injected", ofNamespace, all(byDefault, spaces(shop()), pods(pod(), pod(named("checkout-6d5f-aaaaa"), sidecar))), []string{"not-selected " + one}},
		{"label that no default injector serves", ofNamespace, all(byRevision, enabledShop, pods(pod())), []string{"not-selected namespace shop"}},
		{"the same, without a pod", ofNamespace, all(byRevision, enabledShop, pods()), []string{"not-selected namespace shop"}},
		{"the pod asks and the namespace is off", ofNamespace, all(byDefault, spaces(shop("istio-injection", "disabled")), pods(pod(label("sidecar.istio.io/inject", "true")))), []string{"not-selected " + one}},
		{"template asked about", ofWorkload, all(byDefault, spaces(shop()), pods(), workloads(deployment())), []string{"not-selected the template of Deployment shop/checkout"}},
		{"in ambient, asked about", ofPod, all(byDefault, spaces(shop("istio.io/dataplane-mode", "ambient")), pods(pod())), []string{"not-selected " + one}},

		// More particular roots hide it.
		{"typo", ofPod, all(byDefault, spaces(shop("istio-inject", "enabled")), pods(pod())), []string{"label-typo namespace shop"}},
		{"typo, and the annotation", ofPod, all(byDefault, spaces(shop("istio-injection", "enable")), pods(pod(annotation("sidecar.istio.io/inject", "true")))), []string{"label-typo namespace shop"}},
		{"typo of the pod's value", ofPod, all(byDefault, spaces(shop()), pods(pod(label("sidecar.istio.io/inject", "True")))), []string{"label-typo " + one}},
		{"typo, and a gateway", ofPod, all(byDefault, spaces(shop("istio-inject", "enabled")), pods(pod(auto))), []string{"label-typo namespace shop +image-auto"}},
		{"annotation", ofNamespace, all(byDefault, spaces(shop()), pods(pod(annotation("sidecar.istio.io/inject", "true")))), []string{"annotation-has-no-effect " + one}},
		{"two labels, a default", ofNamespace, all(hooks(injector("default"), injector("asm-1234-7")), spaces(labelledAt(shop("istio-injection", "enabled", "istio.io/rev", "asm-1234-7"), 50*time.Hour)), pods(pod(sidecar))), []string{"conflicting-labels namespace shop"}},
		{"two labels, no default", ofPod, all(byRevision, spaces(shop("istio-injection", "enabled", "istio.io/rev", "asm-1234-7")), pods(pod())), []string{"conflicting-labels namespace shop"}},
		{"two labels of the same injector", ofNamespace, all(byDefault, spaces(labelledAt(shop("istio-injection", "enabled", "istio.io/rev", "default"), 50*time.Hour)), pods(pod(sidecar))), nil},
		{"a revision that isn't there", ofPod, all(byRevision, spaces(shop("istio.io/rev", "asm-1234-1")), pods(pod())), []string{"revision-not-installed namespace shop"}},
		{"a revision that isn't there, and a gateway", ofNamespace, all(byRevision, spaces(shop("istio.io/rev", "asm-1234-1")), pods(pod(auto))), []string{"revision-not-installed namespace shop +image-auto"}},
		{"the pod's revision isn't there", ofNamespace, all(byRevision, spaces(shop()), pods(pod(label("istio.io/rev", "asm-1234-1")))), []string{"revision-not-installed " + one}},
		{"a revision whose webhook is gone", ofPod, all(byRevision, istiod("canary"), spaces(shop("istio.io/rev", "canary")), pods(pod())), []string{"webhook-missing the injecting webhook of revision canary"}},
		{"no webhook at all", ofPod, all(hooks(), istiod("default"), spaces(shop("istio-injection", "enabled")), pods(pod())), []string{"webhook-missing the injecting webhooks of the mesh"}},
		{"no webhook at all, of all pods", ofNamespace, all(hooks(), istiod("default"), spaces(shop("istio-injection", "enabled")), pods(pod(), pod(named("a"), of("Job", "a")))), []string{"webhook-missing the injecting webhooks of the mesh"}},
		{"managed, and no webhook yet", ofPod, all(hooks(), fleet("FAILED_PRECONDITION"), spaces(shop("istio-injection", "enabled")), pods(pod())), []string{"managed-control-plane the managed control plane of prod +not-selected"}},
		{"managed, and fine", ofPod, all(hooks(), fleet("ACTIVE"), spaces(shop("istio-injection", "enabled")), pods(pod())), []string{"not-selected namespace shop"}},
		{"managed and stalled, and never labelled", ofPod, all(hooks(injector("default", byURL)), fleet("STALLED"), spaces(shop()), pods(pod())), []string{"managed-control-plane the managed control plane of prod", "not-selected " + one}},
		{"managed and stalled, and selected", ofPod, all(hooks(injector("default", byURL)), fleet("STALLED"), enabledShop, pods(pod())), []string{"managed-control-plane the managed control plane of prod +sidecar-missing"}},
		{"managed, with an error besides", ofPod, all(hooks(injector("default", byURL)), fleet("ACTIVE", condition("ERROR", "QUOTA_EXCEEDED_MESHES", "", "")), enabledShop, pods(pod())), []string{"sidecar-missing " + one, "managed-control-plane the managed control plane of prod"}},
		{"off by its label", ofPod, all(byDefault, enabledShop, pods(pod(label("sidecar.istio.io/inject", "false"), annotation("sidecar.istio.io/inject", "true")))), []string{"disabled " + one}},
		{"off by its annotation, where nothing selects it", ofPod, all(byDefault, spaces(shop()), pods(pod(annotation("sidecar.istio.io/inject", "false")))), []string{"disabled " + one}},
		{"off by the policy", ofNamespace, all(byDefault, settings("default", "disabled", "{}"), enabledShop, pods(pod())), []string{"disabled " + one}},
		{"host, off and misspelt", ofPod, all(byDefault, spaces(shop("istio-inject", "enabled")), pods(pod(onHostNetwork, label("sidecar.istio.io/inject", "false")))), []string{"host-network " + one}},
		{"older than the webhook", ofPod, all(hooks(injector("default", madeAgo(time.Minute))), enabledShop, pods(pod())), []string{"pod-predates-injection " + one}},
		{"older than the label", ofNamespace, all(byDefault, spaces(labelledAt(shop("istio-injection", "enabled"), time.Minute)), pods(pod())), []string{"pod-predates-injection " + one}},
		{"younger than the label", ofNamespace, all(byDefault, enabledShop, pods(pod())), []string{"sidecar-missing " + one}},
		{"a gateway older than the label", ofNamespace, all(byDefault, spaces(labelledAt(shop("istio-injection", "enabled"), time.Minute)), pods(pod(auto))), []string{"image-auto " + one}},
		{"a gateway of a namespace without a label", ofNamespace, all(byDefault, spaces(shop()), pods(pod(auto))), []string{"image-auto " + one}},
		{"two injectors", ofNamespace, all(hooks(injector("default"), tag("default", "asm-1234-7")), enabledShop, pods(pod(sidecar))),
			[]string{"multiple-webhooks the injectors namespace.sidecar-injector.istio.io of istio-sidecar-injector, namespace.sidecar-injector.istio.io of istio-revision-tag-default"}},
		{"two injectors, one deactivated", ofNamespace, all(hooks(injector("default", deactivated), tag("default", "asm-1234-7"), injector("asm-1234-7")), enabledShop, pods(pod(sidecar))), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := diagnosed(t, tc.req, all(tc.put))
			if got := found(r); !slices.Equal(got, tc.want) {
				t.Errorf("found %q, want %q", got, tc.want)
				for _, c := range r.Causes {
					t.Log(c.Summary)
				}
			}
			for _, c := range r.Causes {
				t.Logf("%s [%s %s] %s", c.Check, c.Severity, c.Confidence, c.Summary)
				for _, x := range c.Evidence {
					t.Logf("   %s: %s", x.Fact, x.Excerpt)
				}
				for _, a := range c.Remedy {
					t.Logf("   > %s   %s", a.Text, a.Command)
				}
			}
			for _, res := range r.Results {
				if res.Outcome == diagnose.OutcomeInconclusive {
					t.Errorf("%s is inconclusive: %s", res.Check, res.Reason)
				}
			}
		})
	}
}

// TestManyPods holds that a namespace of thousands of pods gives a small report.
func TestManyPods(t *testing.T) {
	var list []kube.Pod
	for i := range 5000 {
		list = append(list, pod(named(fmt.Sprintf("w%d-6d5f-%d", i%500, i)), of("StatefulSet", fmt.Sprintf("w%d", i%500))))
	}
	r := diagnosed(t, ofNamespace, all(hooks(injector("default"), injector("asm-1234-7"), tag("prod", "asm-1234-7")), spaces(labelledAt(shop("istio-injection", "enabled"), time.Minute)), pods(list...)))
	if want := []string{"pod-predates-injection 5000 pods of 500 workloads of namespace shop"}; !slices.Equal(found(r), want) {
		t.Errorf("found %q, want %q", found(r), want)
	}
	for _, c := range r.Causes {
		if len(c.Evidence) > 10 || len(c.Summary) > 400 {
			t.Errorf("%d exhibits, and a summary of %d letters: %s", len(c.Evidence), len(c.Summary), c.Summary)
		}
	}
}
