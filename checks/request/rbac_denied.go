package request

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
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
			{Text: "Does the request arrive with the principal that the rule asks for? Without one it came in plaintext: see request/mtls-mismatch, and whether the client's pod has a sidecar"},
			{Text: "To see which rule decides, let the workload's proxy log it for a minute: istioctl proxy-config log POD.NAMESPACE --level rbac:debug, and rbac:warning afterwards"},
		},
		References: []string{refDetails, refLogs, "https://istio.io/latest/docs/ops/common-problems/security-issues/"},
	},
	Needs:      []evidence.Name{evidence.AccessLogs.Name(), evidence.LogMessages.Name()},
	Signatures: []diagnose.Signature{messages.AccessDenied},
	Evaluate:   rbacDenied,
}

func rbacDenied(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var t evidence.Tally
	groups, _ := evidence.Read(&t, v, evidence.AccessLogs)
	log, _ := evidence.Read(&t, v, evidence.LogMessages)
	var causes []diagnose.Cause
	list, more := bunches(groups, func(g evidence.AccessGroup) bool { return denial(g) != "" })
	for _, b := range list {
		p := parsePolicy(denial(b.groups[0]))
		c := b.cause(diagnose.Likely, b.share()+" "+were(b.count)+" refused: "+p.said()+".")
		p.params(c.Params)
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
