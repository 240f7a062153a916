package injection

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// maxEdits is how far a word may be from a known one to pass for it.
const maxEdits = 2

// neighbours are labels of the mesh and of Kubernetes that look like those of injection and mean something else.
var neighbours = []string{
	"istio.io/tag", "istio.io/dataplane-mode", "istio.io/use-waypoint", "istio.io/gateway-name", "istio.io/config", "istio-operator-managed",
	"istio-env", "istio-discovery", "istio.io/inject-exclude", "istio-locality",
}

// alike are keys that people write for those of injection, and that are too far off to be found by letters. istio-inject is what
// an edition of a guide prints.
var alike = map[string]string{
	"istio-inject": kube.LabelInjection, "istio-injected": kube.LabelInjection, "istio.io/injection": kube.LabelInjection, "istio/injection": kube.LabelInjection,
	"istio-sidecar-injection": kube.LabelInjection, "istio.io/revision": kube.LabelRevision, "istio-rev": kube.LabelRevision, "istio/rev": kube.LabelRevision,
	"istio.io/inject": kube.LabelInject, "sidecar.istio.io/injection": kube.LabelInject, "sidecar-injector.istio.io/inject": kube.LabelInject,
}

// yesWords are values that people write for "enabled".
var yesWords = []string{"true", "on", "yes", "y", "1", "enable", "active"}

// meantKey gives the key that an unknown one was meant to be, "" for none.
func meantKey(key string, known ...string) string {
	if slices.Contains(known, key) || slices.Contains(neighbours, key) {
		return ""
	}
	if k := alike[strings.ToLower(key)]; k != "" && slices.Contains(known, k) {
		return k
	}
	for _, k := range known {
		if evidence.Edits(strings.ToLower(key), k) <= maxEdits {
			return k
		}
	}
	return ""
}

// meantValue gives the value of istio-injection that another was meant to be, "" where that isn't "enabled".
func meantValue(v string) string {
	l := strings.ToLower(strings.TrimSpace(v))
	switch {
	case l == disabled || evidence.Edits(l, disabled) <= maxEdits || l == "false" || l == "no" || l == "off":
		return ""
	case slices.Contains(yesWords, l) || evidence.Edits(l, enabled) <= maxEdits:
		return enabled
	}
	return ""
}

// spaceTypo finds a label of a namespace that is nearly one of injection. Where the injectors are known, the right label was
// tried, and one selects the namespace's pods with it.
func (s *survey) spaceTypo(sp *space) fault {
	for _, key := range slices.Sorted(maps.Keys(sp.ns.Labels)) {
		value := sp.ns.Labels[key]
		right, want := "", value
		switch k := meantKey(key, kube.LabelInjection, kube.LabelRevision); {
		case s.asksFor(key, true) && key != kube.LabelInjection:
			continue // some injector looks at it
		case key == kube.LabelInjection:
			right, want = key, meantValue(value)
			if value == enabled || value == disabled {
				want = ""
			}
		case key == kube.LabelInject: // of pods
			if sw, _, _ := cluster.PodSwitch(&kube.Meta{Labels: sp.ns.Labels}); sw == cluster.SwitchOn {
				right, want = kube.LabelInjection, enabled
			}
		case k == kube.LabelInjection:
			right, want = k, meantValue(value)
			if value == enabled {
				want = enabled
			}
		case k == kube.LabelRevision:
			right = k
		}
		if right == "" || want == "" {
			continue
		}
		remove := key
		if right == key {
			remove = ""
		}
		f := fault{
			check: idTypo, severity: diagnose.Blocking, confidence: s.sure(),
			word:    fmt.Sprintf("namespace %s is labelled %s=%s, which no injector looks at; the label is %s=%s", sp.name, key, value, right, want),
			params:  map[string]string{"ns_label": right + "=" + want, "ns_remove": remove},
			excerpt: fmt.Sprintf("label of namespace %s: %s=%s", sp.name, key, value),
		}
		if s.hooksErr != nil {
			f.confidence = diagnose.Likely
			return f
		}
		if s.labelled(sp, right, want, remove) {
			return f
		}
	}
	return fault{}
}

// asksFor says whether some injector looks at a key of namespaces' labels, or of pods', with one of the operators (none: any).
func (s *survey) asksFor(key string, ofNamespace bool, operators ...string) bool {
	return slices.ContainsFunc(s.injectors, func(in cluster.Injector) bool {
		sel := in.Hook.ObjectSelector
		if ofNamespace {
			sel = in.Hook.NamespaceSelector
		}
		return slices.ContainsFunc(sel.Requirements(), func(r kube.Requirement) bool {
			return r.Key == key && !in.Deactivated && (len(operators) == 0 || slices.Contains(operators, r.Operator))
		})
	})
}

// podTypo finds a label of a pod that is nearly one of injection, or a label of namespaces on a pod. With the right one, an
// injector selects the pod: that was tried.
func (s *survey) podTypo(x *subject) fault {
	for _, key := range slices.Sorted(maps.Keys(x.pod.Labels)) {
		value := x.pod.Labels[key]
		right, want := "", value
		switch k := meantKey(key, kube.LabelInject, kube.LabelRevision); {
		case key == kube.LabelInject:
			if l := strings.ToLower(value); value != "true" && (slices.Contains(yesWords, l) || l == enabled || evidence.Edits(l, "true") == 1) {
				right, want = key, "true"
			}
		case s.asksFor(key, false):
			continue
		case key == kube.LabelInjection: // of namespaces
			if value == enabled || meantValue(value) == enabled {
				right, want = kube.LabelInject, "true"
			}
		case k == kube.LabelInject:
			if l := strings.ToLower(value); slices.Contains(yesWords, l) || l == enabled {
				right, want = k, "true"
			}
		case k == kube.LabelRevision:
			right = k
		}
		if right == "" {
			continue
		}
		remove := key
		if right == key {
			remove = ""
		}
		pod := *x.pod
		pod.Labels = cluster.Relabelled(pod.Labels, right, want, remove)
		if yes, _ := cluster.Called(cluster.Decide(&pod, x.space.ns, s.injectors, s.results)); len(yes) == 0 {
			continue
		}
		word := fmt.Sprintf("no injector looks at the label %s=%s of the pod; the label is %s=%s", key, value, right, want)
		if right == key {
			word = fmt.Sprintf("no injector takes %q as the value of the label %s; it is written %s: %q", value, key, right, want)
		}
		return fault{
			check: idTypo, severity: diagnose.Blocking, confidence: s.sure(), word: word,
			params:  map[string]string{"pod_key": right, "pod_value": want, "pod_remove": remove},
			excerpt: fmt.Sprintf("label of %s: %s=%s", x.pod.Title(), key, value),
		}
	}
	return fault{}
}

// nearest gives the word of a list that is likest to another; "" where all are far off.
func nearest(word string, list []string) string {
	best, at := "", max(maxEdits, len(word)/4)+1
	for _, w := range list {
		if d := evidence.Edits(word, w); d < at {
			best, at = w, d
		}
	}
	return best
}
