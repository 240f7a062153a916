package request

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// RBACDenied finds requests that an authorization policy refused.
var RBACDenied = diagnose.Check{
	ID:       "request/rbac-denied",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "An authorization policy refuses requests",
		Explanation: "The proxy before the application answered 403 itself, or closed the connection, because an AuthorizationPolicy says so: a DENY policy that " +
			"matched, or no ALLOW policy that did though there are some. A policy that asks for a principal or a namespace never matches plaintext: a client " +
			"without a sidecar, or one whose DestinationRule switches mutual TLS off, has no principal.",
		Quiet: "For a 403 that the application gave (via_upstream), and for one of an external authorization server.",
		Remedy: []diagnose.Step{
			{If: "policy", Text: "See the policy that refused. Does it mean to? If not, change its rule", Command: "kubectl get authorizationpolicy {{policy}} -n {{policy_namespace}} -o yaml"},
			{Unless: "policy", Text: "No ALLOW policy matched, or the log doesn't say which policy refused. See all that apply to the workload, those of the root namespace too", Command: "kubectl get authorizationpolicies -A"},
			{If: "allows_nothing", Text: "An ALLOW policy without rules allows nothing: it is meant as a default that refuses, beside others that allow. Add one that allows these requests, or give it rules"},
			{If: "principals", Text: "Its rules ask who the client is ({{principals}}), which plaintext doesn't tell: the client needs a sidecar, and mutual TLS"},
			{Text: "Does the request arrive with the principal that the rule asks for? Without one it came in plaintext: see request/mtls-mismatch, and whether the client's pod has a sidecar"},
			{Text: "To see which rule decides, let the workload's proxy log it for a minute: istioctl proxy-config log POD.NAMESPACE --level rbac:debug, and rbac:warning afterwards"},
		},
		References: []string{refDetails, refLogs, "https://istio.io/latest/docs/ops/common-problems/security-issues/"},
	},
	Needs:      append([]evidence.Name{evidence.AccessLogs.Name(), evidence.LogMessages.Name(), evidence.AuthorizationPolicies.Name()}, workloadNeeds...),
	Signatures: []diagnose.Signature{messages.AccessDenied},
	Evaluate:   rbacDenied,
}

func rbacDenied(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var t evidence.Tally
	groups, _ := evidence.Read(&t, v, evidence.AccessLogs)
	log, _ := evidence.Read(&t, v, evidence.LogMessages)
	objects := readWorkloads(req, v)
	objects.policies, _ = evidence.Get(v, evidence.AuthorizationPolicies)
	var causes []diagnose.Cause
	list, more := bunches(groups, func(g evidence.AccessGroup) bool { return denial(g) != "" })
	for _, b := range list {
		p := parsePolicy(denial(b.groups[0]))
		c := b.cause(diagnose.Likely, b.share()+" "+were(b.count)+" refused: "+p.said()+".")
		p.params(c.Params)
		objects.policyOf(b, p, &c)
		causes = append(causes, c)
	}
	causes = leftOut(causes, more)
	if len(causes) > 0 {
		return causes, nil
	}
	if c, ok := deniedMessage(log); ok {
		return []diagnose.Cause{c}, nil
	}
	return nil, t.Err()
}

// denial gives what says that RBAC refused; "" where nothing does. Envoy gives it as details of a request and as the
// termination's of a connection; Cloud Service Mesh's traffic logs say AuthzDenied.
func denial(g evidence.AccessGroup) string {
	for _, s := range []string{g.Details, g.Termination} {
		if strings.HasPrefix(s, "rbac_access_denied") || strings.HasPrefix(strings.ToLower(s), "authzdenied") || strings.HasPrefix(strings.ToLower(s), "authz_denied") {
			return s
		}
	}
	return ""
}

// policy is what refused.
type policy struct {
	namespace, name, rule string
	none                  bool // no ALLOW policy matched
}

var (
	istioPolicy = regexp.MustCompile(`ns\[([^\]]+)\]-policy\[([^\]]+)\]-rule\[([^\]]*)\]`)
	// trafficPolicy is how the traffic logs' labels are joined: NAMESPACE.NAME and a number.
	trafficPolicy = regexp.MustCompile(`\[policy\[(?:([^\].]+)\.)?([^\]]+)\]-rule\[([^\]]*)\]\]`)
)

func parsePolicy(s string) policy {
	for _, re := range []*regexp.Regexp{istioPolicy, trafficPolicy} {
		if m := re.FindStringSubmatch(s); m != nil {
			return policy{namespace: m[1], name: m[2], rule: m[3]}
		}
	}
	return policy{none: strings.Contains(s, "[none]") || s == "none"}
}

func (p policy) said() string {
	switch {
	case p.name != "":
		s := fmt.Sprintf("rule %s of the AuthorizationPolicy %q", p.rule, p.name)
		if p.rule == "" {
			s = fmt.Sprintf("the AuthorizationPolicy %q", p.name)
		}
		if p.namespace != "" {
			s += fmt.Sprintf(" in namespace %q", p.namespace)
		}
		return s + " denies them"
	case p.none:
		return "there are ALLOW policies, and none of them matches"
	}
	return "an authorization policy denies them; the log does not name it"
}

func (p policy) params(m map[string]string) {
	if p.name != "" && p.namespace != "" {
		m["policy"], m["policy_namespace"] = p.name, p.namespace
	}
}

// policyOf adds what the cluster's AuthorizationPolicies say of a refusal: the policy that the log names, or the ALLOW policies that
// apply to the server's pods, of which none matched.
func (o *objects) policyOf(b bunch, p policy, c *diagnose.Cause) {
	all := evidence.All(o.policies)
	if p.name != "" {
		i := slices.IndexFunc(all, func(a kube.AuthorizationPolicy) bool {
			return a.Name == p.name && (a.Namespace == p.namespace || p.namespace == "")
		})
		if i < 0 {
			return
		}
		a := &all[i]
		c.Params["policy"], c.Params["policy_namespace"] = a.Name, a.Namespace
		text := action(a)
		if n, err := strconv.Atoi(p.rule); err == nil && n >= 0 && n < len(a.Spec.Rules) {
			text += fmt.Sprintf(", rule %d: %s", n, a.Spec.Rules[n])
		}
		c.Evidence = append(c.Evidence, shownPolicy(a, text))
		return
	}
	d := o.destination(b)
	if !p.none || len(d.pods) == 0 {
		return
	}
	var applying []*kube.AuthorizationPolicy
	var names, empty, asks []string
	for i := range all {
		a := &all[i]
		if action(a) != "ALLOW" || !appliesTo(a, d.pods[0]) || slices.Contains(names, a.Ref()) {
			continue
		}
		applying, names = append(applying, a), append(names, a.Ref())
		if len(a.Spec.Rules) == 0 {
			empty = append(empty, a.Ref())
		}
		asks = append(asks, identities(a)...)
	}
	if len(applying) == 0 {
		return
	}
	slices.Sort(names)
	of := "AuthorizationPolicies"
	if len(names) == 1 {
		of = "AuthorizationPolicy"
		c.Params["policy"], c.Params["policy_namespace"] = applying[0].Name, applying[0].Namespace
	}
	said := fmt.Sprintf("%s %s allow others", of, someNames(names))
	switch {
	case len(empty) == len(applying):
		said = fmt.Sprintf("%s %s allows nothing: it has no rules", of, someNames(names))
		if len(names) > 1 {
			said = fmt.Sprintf("%s %s allow nothing: they have no rules", of, someNames(names))
		}
		c.Params["allows_nothing"] = "yes"
		if o.covers(d.pods[0].Namespace) {
			c.Confidence = diagnose.Confirmed
		}
	case len(names) == 1:
		said = fmt.Sprintf("AuthorizationPolicy %s allows others", names[0])
	}
	c.Summary = sentence(c.Summary) + " " + said + "."
	slices.Sort(asks)
	if asks = slices.Compact(asks); len(asks) > 0 {
		c.Params["principals"] = strings.Join(asks, ", ")
	}
	d.params(c.Params)
	for _, a := range applying[:min(len(applying), maxExhibits)] {
		text := action(a) + " without rules"
		if len(a.Spec.Rules) > 0 {
			text = fmt.Sprintf("%s, rule 0: %s", action(a), a.Spec.Rules[0])
		}
		c.Evidence = append(c.Evidence, shownPolicy(a, text))
	}
}

// covers says whether every AuthorizationPolicy for a namespace is known.
func (o *objects) covers(namespace string) bool {
	return evidence.Covers(o.policies, namespace) && evidence.Covers(o.policies, cluster.RootNamespace)
}

func shownPolicy(a *kube.AuthorizationPolicy, text string) diagnose.Exhibit {
	return diagnose.Exhibit{Fact: evidence.AuthorizationPolicies.Name(), Excerpt: shorten("AuthorizationPolicy "+a.Ref()+": "+text, maxExcerpt)}
}

func action(a *kube.AuthorizationPolicy) string {
	if a.Spec.Action == "" {
		return "ALLOW"
	}
	return a.Spec.Action
}

// appliesTo says whether a policy is for a pod: of its namespace or the mesh's, and with a selector that chooses it. Those that name
// Gateways and Services are for gateways and waypoints.
func appliesTo(a *kube.AuthorizationPolicy, p *kube.Pod) bool {
	return len(a.Spec.TargetRefs) == 0 && (a.Namespace == p.Namespace || a.Namespace == cluster.RootNamespace) && a.Spec.Selector.Selects(p.Labels)
}

// identities gives the fields by which a policy's rules ask who the client is. They are told by its certificate alone.
// https://istio.io/latest/docs/reference/config/security/authorization-policy/#Source
func identities(a *kube.AuthorizationPolicy) (out []string) {
	for _, raw := range a.Spec.Rules {
		var rule struct {
			From []struct {
				Source map[string]json.RawMessage `json:"source"`
			} `json:"from"`
			When []struct {
				Key string `json:"key"`
			} `json:"when"`
		}
		if json.Unmarshal(raw, &rule) != nil {
			continue
		}
		for _, f := range rule.From {
			for _, k := range []string{"principals", "namespaces", "serviceAccounts"} {
				if f.Source[k] != nil {
					out = append(out, k)
				}
			}
		}
		for _, w := range rule.When {
			if w.Key == "source.principal" || w.Key == "source.namespace" {
				out = append(out, w.Key)
			}
		}
	}
	return out
}

func someNames(names []string) string {
	s := strings.Join(names[:min(len(names), maxHosts)], ", ")
	if n := len(names) - maxHosts; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

func deniedMessage(log []evidence.LogMessage) (diagnose.Cause, bool) {
	c := diagnose.Cause{Subject: "a request", Key: "requests", Confidence: diagnose.Likely, Params: map[string]string{}}
	var p policy
	n := 0
	for _, m := range log {
		if m.Signature != messages.AccessDenied.ID {
			continue
		}
		n += m.Count
		if f := m.Fields["policy"]; f != "" && p.name == "" {
			p = parsePolicy(f)
		}
		if len(c.Evidence) < maxExhibits {
			c.Evidence = append(c.Evidence, messageExhibit(m))
		}
	}
	c.Summary = fmt.Sprintf("A proxy refused %s: %s.", plural(n, "request", "requests"), strings.ReplaceAll(p.said(), " denies them", " denies it"))
	p.params(c.Params)
	return c, n > 0
}
