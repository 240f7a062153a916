package injection

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// The values of istio-injection, and of istio.io/dataplane-mode.
const (
	enabled  = "enabled"
	disabled = "disabled"
	ambient  = "ambient"
)

// inAmbient says whether the namespace's pods are in the mesh without sidecars.
func (sp *space) inAmbient() bool {
	return sp.ns != nil && sp.ns.Labels[kube.LabelDataplaneMode] == ambient
}

// hasLabel says whether the namespace has one of the two labels of injection: then labels of its pods choose no injector.
func (sp *space) hasLabel() bool {
	if sp.ns == nil {
		return false
	}
	_, inj := sp.ns.Labels[kube.LabelInjection]
	_, rev := sp.ns.Labels[kube.LabelRevision]
	return inj || rev
}

// judgeSpaces finds what is wrong with namespaces themselves, by what injectors say of a pod without labels in them.
func (s *survey) judgeSpaces() {
	for _, sp := range s.spaces {
		if sp.ns == nil {
			continue
		}
		if s.hooksErr == nil {
			sp.list = s.decide(&sp.plain, sp)
		}
		sp.fault = s.judgeSpace(sp)
	}
}

func (s *survey) judgeSpace(sp *space) fault {
	inj, rev := sp.ns.Labels[kube.LabelInjection], sp.ns.Labels[kube.LabelRevision]
	yes, unknown := cluster.Called(sp.list)
	switch {
	case sp.inAmbient() && (inj == enabled || (rev != "" && inj == "")):
		return s.ambientConflict(sp, inj, rev)
	case sp.inAmbient():
		return fault{}
	case inj == enabled && rev != "":
		return s.conflict(sp, rev, yes, unknown)
	case s.hooksErr != nil:
		return s.spaceTypo(sp)
	case len(yes) > 0:
		return fault{}
	case unknown != nil || s.partial != nil:
		return fault{}
	case s.active == 0:
		return s.noInjector(inj == enabled || (rev != "" && inj == ""))
	case rev != "" && inj == "":
		return s.badRevision(rev, "namespace "+sp.name+" is labelled istio.io/rev="+rev)
	case inj == enabled:
		f := fault{
			check: idSelected, severity: diagnose.Blocking, confidence: s.sure(),
			word: fmt.Sprintf("%s serves the label istio-injection=enabled of namespace %s", s.none(), sp.name),
		}
		if i := slices.IndexFunc(sp.list, func(d cluster.Decision) bool { return !d.Deactivated && wantsEnabled(d.Hook.NamespaceSelector) }); i >= 0 {
			f.word = "an injector asks for the label istio-injection=enabled, and for more: " + sp.list[i].Explain(&sp.plain, sp.ns)
		}
		return f
	}
	if f := s.spaceTypo(sp); f.check != "" {
		return f
	}
	return s.spaceAnnotation(sp)
}

// wantsEnabled says whether a selector asks for istio-injection=enabled, whatever else it asks for.
func wantsEnabled(sel *kube.Selector) bool {
	return slices.ContainsFunc(sel.Requirements(), func(r kube.Requirement) bool {
		return r.Key == kube.LabelInjection && (r.Operator == "Exists" || r.Operator == "In" && slices.Contains(r.Values, enabled))
	})
}

// conflict judges a namespace with istio-injection=enabled and istio.io/rev.
func (s *survey) conflict(sp *space, rev string, yes []cluster.Decision, unknown *cluster.Decision) fault {
	f := fault{check: idConflict, params: map[string]string{"rev": rev}}
	switch {
	case s.hooksErr != nil:
		f.severity, f.confidence = diagnose.Degrading, diagnose.Likely
		f.word = fmt.Sprintf("has istio-injection=enabled and istio.io/rev=%s: the first hides the second, and where no default revision is installed nothing injects", rev)
	case len(yes) > 0 && yes[0].Serves(rev):
		return fault{} // both labels ask for the same
	case len(yes) > 0:
		f.severity, f.confidence = diagnose.Degrading, diagnose.Confirmed
		f.word = fmt.Sprintf("has istio-injection=enabled and istio.io/rev=%s: the first wins, so %s injects, not revision %s", rev, yes[0].Config.Name, rev)
	case unknown != nil || s.partial != nil:
		return fault{}
	default:
		f.severity, f.confidence = diagnose.Blocking, s.sure()
		f.word = fmt.Sprintf("has istio-injection=enabled and istio.io/rev=%s: the first hides the second, and %s serves it, so nothing injects", rev, s.none())
	}
	if s.served(rev) {
		f.params["served"] = rev
	}
	return f
}

// ambientConflict judges a namespace that asks for sidecars and for ambient.
func (s *survey) ambientConflict(sp *space, inj, rev string) fault {
	asks := kube.LabelInjection + "=" + inj
	if inj == "" {
		asks = kube.LabelRevision + "=" + rev
	}
	return fault{
		check: idConflict, severity: diagnose.Advice, confidence: diagnose.Confirmed, params: map[string]string{"ambient": "true", "sidecar_label": strings.SplitN(asks, "=", 2)[0]},
		word: fmt.Sprintf("asks for sidecars (%s) and for ambient (istio.io/dataplane-mode=ambient): pods that get a sidecar are left out of ambient", asks),
	}
}

// served says whether an injector answers to a revision.
func (s *survey) served(rev string) bool {
	for _, in := range s.injectors {
		if in.Serves(rev) {
			return true
		}
	}
	return false
}

// badRevision judges a revision that was asked for, where nothing selects the pods. labelled says who asks.
func (s *survey) badRevision(rev, labelled string) fault {
	f := fault{severity: diagnose.Blocking, confidence: s.sure(), params: map[string]string{"rev": rev}}
	switch shown := s.revisions[rev]; {
	case s.served(rev):
		f.check, f.word = idSelected, fmt.Sprintf("%s, and the injector of that revision refuses for another reason", labelled)
	case cluster.ManagedRevision(rev) && s.plane != cluster.InCluster:
		// The managed control plane has no revisions of its own to install: which webhooks it makes is Google's matter.
		f.check, f.word = idSelected, fmt.Sprintf("%s, and %s asks for that label", labelled, s.none())
	case shown != "" && !s.whole:
		return fault{} // its webhook may well be there, and not in the files
	case shown != "":
		f.check, f.word = idNoWebhook, fmt.Sprintf("%s runs, and the cluster has no injecting webhook for revision %s", shown, rev)
	default:
		f.check, f.word = idRevision, fmt.Sprintf("%s, and %s serves that revision", labelled, s.none())
		if near := nearest(rev, s.offered()); near != "" {
			f.params["nearest"] = near
		}
	}
	return f
}

// offered gives the revisions that an injector serves.
func (s *survey) offered() []string { return cluster.ServedRevisions(s.injectors) }

// noInjector judges a pod or namespace where no injector is there at all; meant says that something asks for one.
func (s *survey) noInjector(meant bool) fault {
	switch {
	case !s.whole || !meant:
		return fault{}
	case s.plane.Managed():
		return fault{
			check: idSelected, severity: diagnose.Blocking, confidence: diagnose.Confirmed, params: map[string]string{"managed": s.planeWhy, "no_webhook": "true"},
			word: "the cluster has no injecting webhook at all: the managed control plane (" + s.planeWhy + ") has not made any",
		}
	}
	if s.planeErr != nil {
		s.undecided = s.planeErr // what to do is another thing where Google is to make the webhook
		return fault{}
	}
	return fault{check: idNoWebhook, severity: diagnose.Blocking, confidence: diagnose.Confirmed, word: "the cluster has no injecting webhook of the mesh"}
}

// spaceAnnotation finds a namespace with a label of injection among its annotations.
func (s *survey) spaceAnnotation(sp *space) fault {
	for _, key := range []string{kube.LabelInjection, kube.LabelRevision} {
		value, ok := sp.ns.Annotations[key]
		if _, has := sp.ns.Labels[key]; !ok || has || value == disabled || !s.labelled(sp, key, value, "") {
			continue
		}
		return fault{
			check: idAnnotation, severity: diagnose.Blocking, confidence: s.sure(),
			word:    fmt.Sprintf("%s=%s is an annotation of namespace %s, and only its labels are looked at", key, value, sp.name),
			params:  map[string]string{"ns_label": key + "=" + value},
			excerpt: fmt.Sprintf("annotation of namespace %s: %s=%s", sp.name, key, value),
		}
	}
	return fault{}
}

// labelled says whether a pod without labels would be injected if the namespace had a label, and one less.
func (s *survey) labelled(sp *space, key, value, remove string) bool {
	ns := *sp.ns
	ns.Labels = cluster.Relabelled(sp.ns.Labels, key, value, remove)
	yes, _ := cluster.Called(cluster.Decide(&sp.plain, &ns, s.injectors, s.results))
	return len(yes) > 0
}
