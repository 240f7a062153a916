package controlplane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ClientNotConnected finds that the control plane lists clients, and not the proxy or VM asked about.
//
// Source of the rule: the Client Status Discovery Service lists the clients that are connected.
var ClientNotConnected = diagnose.Check{
	ID:       "controlplane/client-not-connected",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.Clients.Name(), evidence.Instances.Name()},
	Explains: unserved,
	Applies: func(r diagnose.Request) bool {
		return r.Target.Live() && (r.Target.NodeID != "" || r.Target.Instance != "")
	},
	Doc: diagnose.Doc{
		Title: "The proxy is not among those connected",
		Explanation: "The control plane lists other clients for this network or Mesh, so it is reachable and set up; the proxy asked about isn't one of them. " +
			"What is wrong is at that proxy: it doesn't run, can't reach the control plane from where it is, is refused, or introduces itself by another node id.",
		Quiet: "A client with the same address, pod or VM is listed under another node id (the unique part changes with each start); nobody at all is listed; " +
			"for a VM asked about by name: some of the clients don't say where they run (inconclusive).",
		Remedy: []diagnose.Step{
			{If: "node_id", Text: "See whether one of these, which look most like it, is the proxy you mean: {{nearest}}"},
			{If: "instance", Text: "See whether the proxy runs on the VM.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='pgrep -a envoy; sudo systemctl status service-proxy-agent --no-pager'"},
			{If: "instance", Text: "Read why its streams end, and hand the log to meshdiag with -f.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='sudo tail -n 500 /var/log/envoy/envoy.err.log'"},
			{Unless: "instance", Text: "Go to the VM or pod of this proxy, see whether the proxy runs, and hand its bootstrap and log to meshdiag with -f: the log says why its streams end."},
			{Text: "From there, see whether the control plane can be reached.", Command: "curl -sv --max-time 10 https://trafficdirector.googleapis.com/ -o /dev/null"},
		},
		References: []string{
			"https://docs.cloud.google.com/service-mesh/docs/service-routing/xds-control-plane-apis",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: clientNotConnected,
}

func clientNotConnected(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, err := evidence.Whole(v, evidence.Clients)
	if err != nil {
		return nil, err
	}
	if len(list.Clients) == 0 {
		return nil, diagnose.Skip("nobody at all is listed")
	}
	t := req.Target
	var want identity
	if t.NodeID != "" {
		if slices.ContainsFunc(list.Clients, func(c evidence.Client) bool { return c.NodeID == t.NodeID }) {
			return nil, nil
		}
		want = nodeIdentity(t.NodeID)
	}
	if t.Instance != "" {
		i, err := targetVM(t, v)
		if err != nil {
			return nil, err
		}
		here := vmIdentity(t, i)
		want.addresses = append(want.addresses, here.addresses...)
		want.vms = append(want.vms, here.vms...)
	}
	mute := 0
	for _, c := range list.Clients {
		is := clientIdentity(c)
		if want.same(is) {
			return nil, nil
		}
		if len(is.addresses) == 0 && len(is.vms) == 0 {
			mute++
		}
	}
	if t.NodeID == "" && mute > 0 {
		return nil, &evidence.Missing{
			Name: evidence.Clients.Name(), Why: evidence.Failed,
			Err: fmt.Errorf("%d of the %d clients listed do not say on which VM they run: name the proxy by its node id", mute, len(list.Clients)),
		}
	}
	subject, near := t.NodeID, nearestNodes(t.NodeID, list.Clients)
	if subject == "" {
		subject = "VM " + t.Zone + "/" + t.Instance
		near = near[:0]
		for _, c := range list.Clients[:min(len(list.Clients), maxNearest)] {
			near = append(near, c.NodeID)
		}
	}
	return []diagnose.Cause{{
		Subject:    subject,
		Summary:    fmt.Sprintf("The control plane lists %s for %s, and not %s.", plural(len(list.Clients), "client", "clients"), scopeOf(t), shortNode(subject)),
		Confidence: diagnose.Likely,
		Params:     map[string]string{"nearest": strings.Join(near, ", ")},
		Evidence: []diagnose.Exhibit{{
			Fact:    evidence.Clients.Name(),
			Excerpt: fmt.Sprintf("%s listed, among them:\n%s", plural(len(list.Clients), "client", "clients"), strings.Join(near, "\n")),
		}},
	}}, nil
}

// shortNode leaves out what all node ids of a network have in common.
func shortNode(id string) string {
	if n, err := evidence.ParseNodeID(id); err == nil {
		return "node " + n.Node
	}
	return id
}
