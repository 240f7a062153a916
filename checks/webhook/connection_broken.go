package webhook

import (
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ConnectionBroken finds webhooks whose connections break, and whose answers aren't a webhook's.
var ConnectionBroken = diagnose.Check{
	ID:         "webhook/connection-broken",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerNetwork,
	Symptoms:   symptoms,
	Needs:      needs,
	Explains:   follows,
	Signatures: []diagnose.Signature{messages.WebhookCallFailed, messages.WebhookPatchUnusable},
	Doc: diagnose.Doc{
		Title: "The connection to a webhook breaks, or its answer is none",
		Explanation: "The API server got as far as the address, and no further: nothing listens there (connection refused), the connection was closed in the middle (EOF, reset), or what answered doesn't speak as a " +
			"webhook: plain HTTP, an HTTP error, a review without an answer, a patch that doesn't fit. Something between API server and pod often does it: an HTTP proxy that the API server uses for cluster names, a load balancer, a " +
			"CNI plugin. A pod that starts or ends refuses for a moment.",
		Quiet: "Nothing is ready behind the Service (webhook/no-endpoints): then this is a sign of it. A denial is an answer (webhook/denied).",
		Remedy: []diagnose.Step{
			{If: "service", Text: "See where the Service leads: ready pods, at the port where the server listens (15017 for istiod).", Command: "kubectl -n {{service_namespace}} get services,endpointslices,pods -o wide"},
			{If: "refused", Text: "Nothing listens at {{address}}. Compare it with the endpoints: a targetPort that is wrong, or a pod that is gone."},
			{If: "proxied", Text: "An end in the middle is typical of an HTTP proxy between API server and cluster: .svc and the Services' address range belong into NO_PROXY of the API server."},
			{If: "plain", Text: "The server there speaks HTTP without TLS: the port isn't the webhook's. A sidecar or an injected proxy before istiod, and a wrong targetPort, do that."},
			{If: "http", Text: "Something answered with an HTTP error: another server than the webhook's, another path than it serves, or an error of its own, which its log tells."},
			{If: "patch", Text: "What a webhook wants changed doesn't fit the pod as the other webhooks left it. See which ones change pods, and leave one after the other out on a pod of your own.", Command: "kubectl get mutatingwebhookconfigurations"},
			{If: "deployment", Text: "See what istiod says at that time.", Command: "kubectl -n {{service_namespace}} logs deployment/{{deployment}} --tail=500"},
			{If: "cut", Text: "The line ends before the reason. Get the whole of it:", Command: "kubectl get events --all-namespaces --field-selector reason=FailedCreate"},
			{If: "foreign", Text: "The webhook isn't the mesh's: its owner has to see to its server."},
			{Text: "If the API server can't reach it once only, while pods behind it are exchanged, nothing is to be done: controllers try again."},
		},
		References: []string{refGuide, refProblems, refAdmission},
	},
	Evaluate: connectionBroken,
}

func connectionBroken(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		t := s.told(u, broken)
		if len(t.list) == 0 {
			t = s.told(u, callUnknown)
			if len(t.list) > 0 && len(s.told(u, unreachable, untrusted, wrongName, badBundle, noEndpoints, serviceMissing).list) > 0 {
				return nil // the whole line is there besides
			}
			c := s.ofMessages(u, t, "can't be called; the line ends before the reason")
			if c != nil {
				c.Confidence, c.Params["cut"] = diagnose.Possible, "yes"
			}
			return c
		}
		sort, verdict := brokenHow(t.list[0].reason)
		c := s.ofMessages(u, t, verdict)
		c.Params[sort] = "yes"
		if sort == "patch" && t.list[0].webhook == "" {
			c.Subject = "the mutating webhooks that are called for pods"
			c.Summary = sentence("The API server can't apply what a mutating webhook wants changed, and doesn't say which one: " + quote(t.list[0].reason))
			c.Params["webhook"], c.Params["foreign"] = "", ""
		}
		return s.withConnection(u, c)
	}, s.openMessages)
}

// brokenHow says what broke: a parameter for the remedy, and words for the summary.
func brokenHow(reason string) (param, verdict string) {
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(reason, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("operation does not apply", "doc is missing path", "missing value"):
		return "patch", "wants changed what isn't there"
	case has("connection refused"):
		return "refused", "refuses the API server's connections"
	case has("server gave HTTP response", "first record does not look like a TLS handshake"):
		return "plain", "is a server that speaks no TLS"
	case has("an error on the server", "could not find the requested resource", "the server ", "status code"):
		return "http", "answers with an HTTP error"
	case has("invalid webhook response", "webhook returned", "response was absent", "response.uid", "expected webhook response"):
		return "http", "gives an answer that isn't a webhook's"
	case has("EOF", "reset by peer", "broken pipe", "closed", "tls: ", "stream error", "GOAWAY", "malformed", "proxyconnect"):
		return "proxied", "has its connections broken off"
	case slices.Contains(refusals, reason):
		return "proxied", "is called through an HTTP proxy, which refuses" // so Go's net/http words what a proxy says to CONNECT
	default:
		return "other", "can't be called"
	}
}

// refusals are the answers of an HTTP proxy to CONNECT, which Go's net/http gives by their names alone.
var refusals = []string{
	"Bad Request", "Unauthorized", "Forbidden", "Not Found", "Method Not Allowed", "Proxy Authentication Required", "Internal Server Error", "Bad Gateway",
	"Service Unavailable", "Gateway Timeout",
}
