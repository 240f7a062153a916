package istiod

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// RBACDenied finds an istiod that may not read what it makes the proxies' configuration of.
var RBACDenied = diagnose.Check{
	ID:         "istiod/rbac-denied",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomPodNotStarting},
	Needs:      append([]evidence.Name{evidence.LogMessages.Name(), evidence.ClusterRoles.Name(), evidence.ControlPlanePods.Name()}, planeNeeds...),
	Explains:   append([]diagnose.CheckID{"istiod/not-ready", "webhook/no-endpoints"}, unserved...),
	Signatures: []diagnose.Signature{messages.ReadForbidden},
	Doc: diagnose.Doc{
		Title: "istiod may not read its configuration",
		Explanation: "istiod makes the proxies' configuration of objects that it watches: Services, endpoints, pods, and Istio's own kinds. A kind that it may not list keeps a starting istiod from getting " +
			"ready, since it waits until it has read every kind once, and keeps a running one from seeing changes. Its rights come with its version: a ClusterRole left over from an older release " +
			"lacks the kinds that were added since, as after an upgrade of istiod without its chart istio-base or istiod's own.",
		Quiet: "The API server refuses another service account (Kiali's, an operator's). It is a kind that istiod doesn't make configuration of, as Deployments. istiod's log says nothing of it any more. Google runs the control plane.",
		Remedy: []diagnose.Step{
			{If: "account", Text: "Ask the API server whether istiod may", Command: "kubectl auth can-i {{verb}} {{kind}} --as=system:serviceaccount:{{namespace}}:{{account}}"},
			{If: "rbac", Text: "A role that is bound to it isn't there any more: {{rbac}}"},
			{Text: "See the rights that it has", Command: "kubectl get clusterroles,clusterrolebindings -l app=istiod -o wide"},
			{Text: "Install the chart of the version that runs again, with the values and the revision that it was installed with: it brings the ClusterRole and its binding (helm upgrade, istioctl install, or asmcli)."},
			{If: "namespace", Text: "istiod reads again by itself, within half a minute. Where it doesn't, restart it", Command: "kubectl -n {{namespace}} rollout restart {{workload}}"},
		},
		References: []string{"https://github.com/istio/istio/blob/master/manifests/charts/istio-control/istio-discovery/templates/clusterrole.yaml", "https://kubernetes.io/docs/reference/access-authn-authz/rbac/"},
	},
	Evaluate: rbacDenied,
}

// retries is within what time istiod asks again for what it was refused: its reflectors wait 30 seconds at most, and a minute with
// the jitter of a busy API server. https://github.com/kubernetes/client-go/blob/master/tools/cache/reflector.go
const retries = 3 * time.Minute

// account is what istiod's service account is called, in charts of every release: istiod, istiod-REVISION,
// istiod-service-account, istio-pilot-service-account.
var account = regexp.MustCompile(`^(?:istiod(?:-[a-z0-9.-]+)?|istio-pilot-service-account)$`)

// makesConfiguration says whether istiod makes configuration of a kind's API group. What it watches besides (Deployments, for the
// gateways that it manages) keeps no proxy from its configuration.
func makesConfiguration(group string) bool {
	switch group {
	case "", "discovery.k8s.io", "networking.k8s.io", "gateway.networking.k8s.io", "apiextensions.k8s.io", "multicluster.x-k8s.io":
		return true
	}
	return strings.HasSuffix(group, ".istio.io")
}

func rbacDenied(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	whose, shows := cluster.ControlPlane(v)
	if whose.Managed() {
		return nil, diagnose.Skip("Google runs the control plane: %s", shows)
	}
	var t evidence.Tally
	logs, _ := evidence.Read(&t, v, evidence.LogMessages)
	roles, _ := evidence.Read(&t, v, evidence.ClusterRoles)
	workloads, _ := evidence.Get(v, evidence.ControlPlaneWorkloads)
	pods, _ := evidence.Get(v, evidence.ControlPlanePods)
	list := planes(workloads, pods)
	out := refusedReads(logs, list)
	if len(out) == 0 {
		out = lacking(roles, list)
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, t.Err()
}

// refusedReads finds what the API server refused istiod, as its log says, by account.
func refusedReads(logs []evidence.LogMessage, list []plane) []diagnose.Cause {
	type who struct{ namespace, account string }
	by := map[who][]evidence.LogMessage{}
	var order []who
	for _, m := range logs {
		if m.Signature != messages.ReadForbidden.ID || !account.MatchString(m.Fields["account"]) || !makesConfiguration(m.Fields["group"]) {
			continue
		}
		if !m.Source.Pasted && !m.Last.IsZero() && m.Source.Time.Sub(m.Last) > retries {
			continue // it would have asked again
		}
		w := who{m.Fields["namespace"], m.Fields["account"]}
		if by[w] == nil {
			order = append(order, w)
		}
		by[w] = append(by[w], m)
	}
	slices.SortFunc(order, func(a, b who) int { return strings.Compare(a.namespace+"/"+a.account, b.namespace+"/"+b.account) })
	var out []diagnose.Cause
	for _, w := range order {
		var kinds []string
		for _, m := range by[w] {
			kinds = append(kinds, kindOf(m.Fields["resource"], m.Fields["group"]))
		}
		slices.Sort(kinds)
		kinds = slices.Compact(kinds)
		m := by[w][0]
		c := diagnose.Cause{
			Subject: "service account " + w.namespace + "/" + w.account, Confidence: diagnose.Likely,
			Summary: fmt.Sprintf("The API server refuses istiod (service account %s/%s) to %s %s.", w.namespace, w.account, m.Fields["verb"], some(kinds)),
			Params: map[string]string{
				"namespace": w.namespace, "account": w.account, "verb": m.Fields["verb"], "kind": kindOf(m.Fields["resource"], m.Fields["group"]), "workload": workloadOf(w.namespace, w.account, list),
			},
		}
		if m.Fields["scope"] != "" {
			c.Summary = sentence(strings.TrimSuffix(c.Summary, ".") + " in namespace " + m.Fields["scope"])
		}
		for _, m := range by[w] {
			if r := m.Fields["rbac"]; r != "" && c.Params["rbac"] == "" {
				c.Params["rbac"] = clip(r, maxWords)
				c.Summary = sentence(strings.TrimSuffix(c.Summary, ".") + ": " + clip(r, maxWords))
			}
		}
		if !slices.ContainsFunc(by[w], func(m evidence.LogMessage) bool { return m.Count > 1 || m.Source.Pasted }) {
			c.Confidence, c.Severity = diagnose.Possible, diagnose.Degrading // it may have been before its rights came
		}
		if slices.ContainsFunc(list, func(x plane) bool { return x.namespace == w.namespace && x.serves() }) {
			c.Severity = diagnose.Degrading // it serves what it knew, or knows besides
		}
		for _, m := range by[w][:min(len(by[w]), maxExhibits)] {
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: clip(m.Text, maxExcerpt), Source: m.Source})
		}
		out = append(out, c)
	}
	return out[:min(len(out), maxCauses)]
}

// kindOf names a kind as kubectl takes it: "wasmplugins.extensions.istio.io".
func kindOf(resource, group string) string {
	if group == "" {
		return resource
	}
	return resource + "." + group
}

// workloadOf gives the Deployment that runs with an account, as kubectl takes it.
func workloadOf(namespace, account string, list []plane) string {
	for _, x := range list {
		if x.deployment == nil || x.namespace != namespace {
			continue
		}
		sa := x.deployment.Spec.Template.Spec.ServiceAccount
		if sa == account || sa == "" && x.deployment.Name == account {
			return "deployment/" + x.deployment.Name
		}
	}
	if strings.HasSuffix(account, "-service-account") {
		return "deployment/istiod"
	}
	return "deployment/" + account // Istio's charts name both alike
}

// need is what a version of istiod reads, since a minor version of Istio 1.
type need struct {
	group, resource string
	since           int
}

// needed are kinds that every istiod of its version reads whatever is installed, or where Istio's own CRDs are. The release that
// brought a kind is that of its API.
// https://istio.io/latest/news/releases/
var needed = []need{
	{"", "services", 0}, {"", "pods", 0}, {"", "namespaces", 0}, {"", "nodes", 0},
	{"networking.istio.io", "virtualservices", 0}, {"networking.istio.io", "destinationrules", 0}, {"networking.istio.io", "gateways", 0}, {"networking.istio.io", "envoyfilters", 0},
	{"security.istio.io", "authorizationpolicies", 4}, {"security.istio.io", "peerauthentications", 5},
	{"telemetry.istio.io", "telemetries", 11}, {"extensions.istio.io", "wasmplugins", 12}, {"discovery.k8s.io", "endpointslices", 17},
}

// lacking compares istiod's ClusterRoles with what its version reads. The roles' bindings aren't known, and others may be bound to
// it, so that this is likely at most.
func lacking(batches []evidence.Objects[kube.ClusterRole], list []plane) []diagnose.Cause {
	whole := evidence.Covers(batches, "")
	all := evidence.All(batches)
	var out []diagnose.Cause
	for i := range list {
		x := &list[i]
		minor, version, ok := x.minor()
		roles := rolesOf(x, all, list)
		if !ok || len(roles) == 0 {
			continue
		}
		var missing []string
		for _, n := range needed {
			if n.since > minor {
				continue
			}
			for _, verb := range []string{"list", "watch"} {
				if !slices.ContainsFunc(roles, func(r *kube.ClusterRole) bool { return grants(r, verb, n) }) {
					missing = append(missing, verb+" "+kindOf(n.resource, n.group))
					break
				}
			}
		}
		if len(missing) == 0 || 2*len(missing) > len(needed) {
			continue // most of all: it runs with other roles, as one does that is limited to some namespaces
		}
		verb, kind, _ := strings.Cut(missing[0], " ")
		c := diagnose.Cause{
			Subject: x.title(), Confidence: diagnose.Likely, Severity: diagnose.Degrading,
			Summary: fmt.Sprintf("The ClusterRoles of istiod %s (%s) do not let it %s.", version, roleNames(roles), some(missing)),
			Params:  map[string]string{"verb": verb, "kind": kind, "namespace": x.namespace, "workload": "deployment/" + x.deployment.Name, "account": x.deployment.Spec.Template.Spec.ServiceAccount},
		}
		if !whole {
			c.Confidence = diagnose.Possible // others of its roles may not be in the file
		}
		for _, r := range roles[:min(len(roles), maxExhibits)] {
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ClusterRoles.Name(), Excerpt: clip("ClusterRole "+r.Name+": "+ruleText(r), maxExcerpt)})
		}
		out = append(out, c)
	}
	return out
}

// pilotTag finds the version of Istio in the tag of istiod's image: "pilot:1.26.0-asm.11", "pilot:1.20.3-distroless".
var pilotTag = regexp.MustCompile(`(?:pilot|istiod)[\w-]*:v?(1\.(\d+)\.\d+[\w.-]*)`)

// minor gives the minor version of Istio that a control plane runs.
func (x *plane) minor() (minor int, version string, ok bool) {
	if x.deployment == nil {
		return 0, "", false
	}
	for _, c := range x.deployment.Spec.Template.Spec.Containers {
		if g := pilotTag.FindStringSubmatch(c.Image); g != nil {
			n, err := strconv.Atoi(g[2])
			return n, g[1], err == nil
		}
	}
	return 0, "", false
}

// rolesOf gives the ClusterRoles that are a control plane's by their names: with its revision in them, or without any; those that
// name another revision are another one's.
func rolesOf(x *plane, all []kube.ClusterRole, list []plane) []*kube.ClusterRole {
	var own, common []*kube.ClusterRole
	named := func(r *kube.ClusterRole, rev string) bool {
		return rev != "default" && (strings.Contains(r.Name, "-"+rev+"-") || strings.HasSuffix(r.Name, "-"+rev) || r.Labels[kube.LabelRevision] == rev)
	}
	for i := range all {
		r := &all[i]
		switch {
		case named(r, x.revision):
			own = append(own, r)
		case slices.ContainsFunc(list, func(o plane) bool { return named(r, o.revision) }):
		default:
			common = append(common, r)
		}
	}
	if len(own) > 0 {
		return own
	}
	return common
}

// grants says whether a role lets do something to all objects of a kind.
func grants(r *kube.ClusterRole, verb string, n need) bool {
	has := func(list []string, s string) bool { return slices.Contains(list, "*") || slices.Contains(list, s) }
	return slices.ContainsFunc(r.Rules, func(p kube.PolicyRule) bool {
		return has(p.Verbs, verb) && has(p.APIGroups, n.group) && has(p.Resources, n.resource) && len(p.ResourceNames) == 0
	})
}

func roleNames(roles []*kube.ClusterRole) string {
	var names []string
	for _, r := range roles {
		names = append(names, r.Name)
	}
	return some(names)
}

// ruleText tells a role's rules that read.
func ruleText(r *kube.ClusterRole) string {
	var out []string
	for _, p := range r.Rules {
		if slices.ContainsFunc(p.Verbs, func(v string) bool { return v == "list" || v == "watch" || v == "*" }) {
			out = append(out, fmt.Sprintf("%s %s in %q", strings.Join(p.Verbs, ","), strings.Join(p.Resources, ","), strings.Join(p.APIGroups, ",")))
		}
	}
	if len(out) == 0 {
		return "no rule that reads"
	}
	return strings.Join(out, "; ")
}
