package injection

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// MultipleWebhooks finds pods that several injectors are called for.
var MultipleWebhooks = diagnose.Check{
	ID:       "injection/multiple-webhooks",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerCluster,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoSidecar, diagnose.SymptomPodNotStarting},
	Needs:    needs,
	Doc: diagnose.Doc{
		Title: "Several injectors select the same pod",
		Explanation: "The API server calls every mutating webhook that selects a pod, one after the other. Two injectors both write their sidecar and its init container: which control plane the proxy " +
			"speaks to depends on their order, and the init container may set the packet rules up twice. Two entries of one configuration count as two.",
		Quiet: "One of the two is deactivated: its selectors ask for a label that nothing has. The pods are on the host's network, or refuse injection.",
		Remedy: []diagnose.Step{
			{Text: "See which revision each of them is of, and which control planes still run", Command: "kubectl get mutatingwebhookconfigurations -l app=sidecar-injector --show-labels"},
			{If: "default_tag", Text: "Set the default tag again to the revision that you want: that deactivates the injector of the default revision", Command: "istioctl tag set default --revision {{default_tag}} --overwrite"},
			{Text: "Keep one of {{injectors}}: uninstall the revision of the other with the tool that installed it, or let it choose by a label of its own. Deleting a webhook configuration ends the injection for everything that still asks for its revision"},
			{Text: "Then restart the workloads, for one control plane to inject them", Command: "kubectl -n {{namespace}} rollout restart deployment"},
		},
		References: []string{"https://istio.io/latest/docs/reference/config/analysis/ist0139/", refRevisions, "https://istio.io/latest/docs/setup/upgrade/canary/"},
	},
	Evaluate: multipleWebhooks,
}

// double is pods that the same injectors are called for.
type double struct {
	yes    []cluster.Decision
	list   []cluster.Decision
	pod    *kube.Pod
	space  *space
	spaces []string
	pods   int
}

func multipleWebhooks(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	by := map[string]*double{}
	var order []string
	note := func(p *kube.Pod, sp *space, list []cluster.Decision, pods int) {
		yes, _ := cluster.Called(list)
		if len(yes) < 2 {
			return
		}
		var names []string
		for _, d := range yes {
			names = append(names, d.Title())
		}
		k := strings.Join(names, ", ")
		if by[k] == nil {
			by[k] = &double{yes: yes, list: list, pod: p, space: sp}
			order = append(order, k)
		}
		by[k].pods += pods
		if !slices.Contains(by[k].spaces, p.Namespace) {
			by[k].spaces = append(by[k].spaces, p.Namespace)
		}
	}
	for _, x := range s.subjects {
		if sw, _, _ := cluster.PodSwitch(&x.pod.Meta); sw != cluster.SwitchOff && !onHost(x.pod) {
			note(x.pod, x.space, x.list, 1)
		}
	}
	for _, sp := range s.spaces {
		if !s.named {
			note(&sp.plain, sp, sp.list, 0)
		}
	}
	slices.Sort(order)
	var out []diagnose.Cause
	for _, k := range order {
		out = append(out, s.doubled(by[k], k))
	}
	return out, s.ifNone(out, true)
}

func (s *survey) doubled(d *double, names string) diagnose.Cause {
	slices.Sort(d.spaces)
	count := "the pods"
	if d.pods > 0 {
		count = podCount(d.pods)
	}
	whose := fmt.Sprintf("%s of namespace %s", count, d.spaces[0])
	if len(d.spaces) > 1 {
		whose = fmt.Sprintf("%s of %d namespaces (%s)", count, len(d.spaces), some(d.spaces))
	}
	if s.named {
		whose = d.pod.Title()
	}
	c := diagnose.Cause{
		Subject: "the injectors " + names, Confidence: diagnose.Confirmed,
		Summary: fmt.Sprintf("%d injectors select %s: %s.", len(d.yes), whose, names),
		Params:  map[string]string{"injectors": names, "namespace": d.spaces[0]},
	}
	for i, a := range d.yes {
		for _, b := range d.yes[i+1:] {
			if a.Tag == "default" && b.Tag == "" && b.Revision == "default" || b.Tag == "default" && a.Tag == "" && a.Revision == "default" {
				c.Params["default_tag"] = a.Revision
				if b.Tag == "default" {
					c.Params["default_tag"] = b.Revision
				}
			}
		}
	}
	if d.space.ns != nil {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.Namespaces.Name(), Excerpt: fmt.Sprintf("namespace %s: %s", d.space.name, s.labelsOf(d.space.ns.Labels, true))})
	}
	if d.pod.Name != "" || d.pod.TemplateOf != "" {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: factOf(d.pod), Excerpt: s.describe(d.pod)})
	}
	for _, in := range d.yes {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.MutatingWebhooks.Name(), Excerpt: in.Config.Name + ": " + in.Explain(d.pod, d.space.ns), Source: in.Source})
	}
	return c
}
