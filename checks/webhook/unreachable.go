package webhook

import (
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// Unreachable finds webhooks that don't answer in time.
var Unreachable = diagnose.Check{
	ID:         "webhook/unreachable",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerNetwork,
	Symptoms:   symptoms,
	Needs:      needs,
	Explains:   follows,
	Signatures: []diagnose.Signature{messages.WebhookCallFailed, messages.WebhookCallReason},
	Doc: diagnose.Doc{
		Title: "The API server gets no answer from a webhook in time",
		Explanation: "The API server calls the webhook's pods at their target port, 15017 for istiod. On a private cluster the firewall lets it reach nodes at 443 and 10250 alone unless told otherwise, so that the call " +
			"runs into its time limit. An istiod that is overloaded, a broken tunnel between API server and nodes, and a network policy look just the same from here: which one it is can't be said without the " +
			"firewall's rules.",
		Quiet: "Nothing is ready behind the Service (webhook/no-endpoints): then this is a sign of it. Connections that are refused or break are webhook/connection-broken.",
		Remedy: []diagnose.Step{
			{If: "service", Text: "Is anything ready behind the Service, and does it answer fast?", Command: "kubectl -n {{service_namespace}} get pods,endpointslices -o wide"},
			{If: "mesh_webhook", Text: "On a private cluster, take the address range of its control plane. Set CLUSTER and LOCATION.", Command: `gcloud container clusters describe "${CLUSTER:?}" --location="${LOCATION:?}" --format='value(privateClusterConfig.masterIpv4CidrBlock,network)'`},
			{If: "mesh_webhook", Text: "See the rule that GKE made for it, for the network and the nodes' tag: its list doesn't have tcp:15017.", Command: `gcloud compute firewall-rules list --filter="name~gke-${CLUSTER:?}-[0-9a-z]*-master" --format='table(name,network.basename(),sourceRanges.list(),targetTags.list(),allowed[].map().firewall_rule().list())'`},
			{If: "mesh_webhook", Text: "Add a new rule. Don't change the one of GKE's: --allow would replace its list, and what it has is needed. Set NETWORK, RANGE and TAG to what the two commands said.",
				Command: `gcloud compute firewall-rules create allow-mesh-webhook-15017 --network="${NETWORK:?}" --direction=INGRESS --source-ranges="${RANGE:?}" --target-tags="${TAG:?}" --allow=tcp:15017`},
			{If: "deployment", Text: "If it isn't private, or the rule is there: see whether istiod is slow, for want of CPU or memory.", Command: "kubectl -n {{service_namespace}} top pods"},
			{If: "deployment", Text: "And whether a NetworkPolicy keeps the API server out.", Command: "kubectl -n {{service_namespace}} get networkpolicies"},
			{If: "foreign", Text: "The webhook isn't the mesh's: its owner has to see why it doesn't answer. Its pods' own target port has to be open to the control plane."},
		},
		References: []string{refPort, refGuide, refProblems, "https://cloud.google.com/kubernetes-engine/docs/how-to/private-clusters#add_firewall_rules"},
	},
	Evaluate: webhookUnreachable,
}

// dialled finds the address that a failed call names.
var dialled = regexp.MustCompile(`dial tcp[46]? ([^\s"'\\]+:\d+)`)

func webhookUnreachable(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		t := s.told(u, unreachable)
		verdict := "does not answer the API server in time"
		if len(t.list) > 0 {
			switch r := t.list[0].reason; {
			case strings.Contains(r, "no such host"), strings.Contains(r, "server misbehaving"):
				verdict = "has a name that the API server can't resolve"
			case strings.Contains(r, "no route to host"), strings.Contains(r, "network is unreachable"), strings.Contains(r, "host is down"):
				verdict = "can't be reached by the API server"
			}
		}
		c := s.ofMessages(u, t, verdict)
		return s.withConnection(u, c)
	}, s.openMessages)
}

// withConnection adds what is known of the server's endpoints and of the address that was dialled.
func (s *survey) withConnection(u *server, c *diagnose.Cause) *diagnose.Cause {
	if c == nil {
		return nil
	}
	if i := slices.IndexFunc(u.said, func(m said) bool { return dialled.MatchString(m.reason) }); i >= 0 {
		c.Params["address"] = dialled.FindStringSubmatch(u.said[i].reason)[1]
	}
	if u.ready != "" {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.EndpointSlices.Name(), Excerpt: "Service " + u.service() + ": " + u.ready})
	}
	return c
}
