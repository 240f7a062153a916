package request_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestRBACDenied(t *testing.T) {
	const byRule = "rbac_access_denied_matched_policy[ns[istio-ingress]-policy[office-only]-rule[0]]"
	checkstest.Run(t, request.RBACDenied, []checkstest.Case{
		{Name: "by a rule", Put: access(group(local, 403, byRule), group(local, 200, "via_upstream")), Want: []checkstest.Want{{
			Subject: "inbound|8080||", Key: "requests/inbound|8080||", Summary: `5 of 10 requests to inbound|8080|| (cart:8080) were refused: rule 0 of the AuthorizationPolicy "office-only" in namespace "istio-ingress" denies them.`,
			Confidence: diagnose.Likely, Params: map[string]string{"policy": "office-only", "policy_namespace": "istio-ingress"}, Excerpt: "5 like it, 2026-11-03T12:00:00Z to 2026-11-03T12:10:00Z",
		}}},
		{Name: "no policy allowed it", Request: onNetwork, Put: access(group(cart, 403, "rbac_access_denied_matched_policy[none]")), Want: []checkstest.Want{{
			Summary: "5 requests to outbound|8080||cart.shop.svc.cluster.local (cart:8080) were refused: there are ALLOW policies, and none of them matches."}}},
		{Name: "a connection", Put: access(with(group(local, 0, ""), func(g *evidence.AccessGroup) {
			g.Termination, g.Count, g.Authority = byRule, 1, ""
		})), Want: []checkstest.Want{{Summary: "1 request to inbound|8080|| was refused: rule 0"}}},
		{Name: "a traffic log", Put: access(group("", 403, "AuthzDenied[policy[shop.deny-all]-rule[0]]")), Want: []checkstest.Want{{
			Summary: `5 requests to cart:8080 were refused: rule 0 of the AuthorizationPolicy "deny-all" in namespace "shop" denies them.`, Params: map[string]string{"policy": "deny-all"}}}},
		{Name: "an old release names no policy", Put: access(group(local, 403, "rbac_access_denied")), Want: []checkstest.Want{{Summary: "an authorization policy denies them; the log does not name it"}}},
		{Name: "the body alone", Put: logs(message(messages.AccessDenied, "RBAC: access denied", nil)), Want: []checkstest.Want{{Summary: "A proxy refused 1 request: an authorization policy denies it"}}},
		{Name: "the debug log names the policy", Put: logs(message(messages.AccessDenied, "RBAC: access denied", nil), message(messages.AccessDenied, "enforced denied, matched policy ns[shop]-policy[deny]-rule[1]", map[string]string{"policy": "ns[shop]-policy[deny]-rule[1]"})),
			Want: []checkstest.Want{{Summary: `A proxy refused 2 requests: rule 1 of the AuthorizationPolicy "deny" in namespace "shop" denies it.`}}},
		{Name: "the access log says it better than the body", Put: puts(logs(message(messages.AccessDenied, "RBAC: access denied", nil)), access(group(local, 403, byRule))), Want: []checkstest.Want{{Summary: "rule 0"}}},

		{Name: "the policy itself", Put: puts(access(group(local, 403, byRule)), policies(policy("istio-ingress", "office-only", "DENY", `{"from":[{"source":{"notIpBlocks":["203.0.113.0/24"]}}]}`))),
			Want: []checkstest.Want{{Summary: `rule 0 of the AuthorizationPolicy "office-only"`, Excerpt: `DENY, rule 0: {"from":[{"source":{"notIpBlocks":["203.0.113.0/24"]}}]}`}}},
		{Name: "a policy that allows nothing", Put: puts(access(group(cart, 403, "rbac_access_denied_matched_policy[none]")), services(service("cart", 8080, "8080")), pods(pod("cart-1", "10.8.2.4", 8080)), policies(policy("shop", "allow-nothing", ""))),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Summary: "none of them matches. AuthorizationPolicy shop/allow-nothing allows nothing: it has no rules.", Params: map[string]string{"policy": "allow-nothing", "policy_namespace": "shop", "allows_nothing": "yes"}}}},
		{Name: "policies that ask for principals", Request: ofPod, Put: puts(access(group(local, 403, "rbac_access_denied_matched_policy[none]")), pods(pod("cart-1", "10.8.2.4", 8080)),
			policies(policy("shop", "web", "ALLOW", `{"from":[{"source":{"principals":["cluster.local/ns/shop/sa/web"]}}]}`), policy("istio-system", "all", "", `{"when":[{"key":"source.namespace","values":["shop"]}]}`), policy("shop", "deny", "DENY", `{}`), policy("other", "x", ""))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "AuthorizationPolicies istio-system/all, shop/web allow others.", Params: map[string]string{"principals": "principals, source.namespace"}}}},
		{Name: "policies of other pods say nothing", Request: ofPod, Put: puts(access(group(local, 403, "rbac_access_denied_matched_policy[none]")), pods(pod("cart-1", "10.8.2.4", 8080)), policies(func() kube.AuthorizationPolicy {
			p := policy("shop", "web", "")
			p.Spec.Selector = &kube.WorkloadSelector{MatchLabels: map[string]string{"app": "web"}}
			return p
		}())), Want: []checkstest.Want{{Summary: "none of them matches."}}},
		{Name: "a policy that is gone", Put: puts(access(group(local, 403, byRule)), policies()), Want: []checkstest.Want{{Summary: "rule 0"}}},

		{Name: "403 of the application", Put: access(group(local, 403, "via_upstream"))},
		{Name: "403 of an external authorization server", Put: access(group(local, 403, "ext_authz_denied", "UAEX"))},
		{Name: "a JWT that is missing", Put: access(group(local, 401, "jwt_authn_access_denied{Jwt_is_missing}"))},
		{Name: "a 403 without details", Put: access(group(local, 403, ""))},
		{Name: "other messages", Put: logs(message(messages.ProxyReady, "Envoy proxy is ready", nil))},
		{Name: "denied", Put: fail(requests, logFact), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed to read"},
		{Name: "late", Put: puts(late(requests), logs()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
