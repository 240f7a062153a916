package traffic

import (
	"fmt"
	"strconv"

	"github.com/meshdiag/meshdiag/checks/hostrules"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// InboundPortNotIntercepted finds serving ports that the rules don't take to the proxy.
var InboundPortNotIntercepted = diagnose.Check{
	ID:       "traffic/inbound-port-not-intercepted",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerInterception,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The serving port isn't taken to the proxy",
		Explanation: "Connections to a serving port are taken to the proxy by a rule for that port. There is none, so they come to the application itself: " +
			"mutual TLS fails, since the application speaks no TLS of the mesh's, and the mesh's policies for what comes in don't apply.",
		Quiet: "When a rule is for any port, when the rules that print names (dpt:mysql) mean the port, and for the rules of a Kubernetes node.",
		Remedy: []diagnose.Step{
			{Text: "See the rules for what comes in; -n shows ports as numbers.", Command: "sudo iptables -t nat -n -L PREROUTING && " + showNAT},
			{If: "instance", Text: "On a VM made with --service-proxy the ports are serving-ports of its template; a VM takes a new template when it is made anew.",
				Command: `gcloud compute instances describe {{instance}} --zone={{zone}} --project={{project}} --flatten="metadata[gce-service-proxy]"`},
			{Text: "Make a template with --service-proxy=enabled,serving-ports={{port}}; on a VM set up by hand add {{port}} to BACKEND_INBOUND_PORTS and run the start script again as root."},
		},
		References: []string{refAutoVMs, refTroubleshooting},
	},
	Needs:    needs(),
	Applies:  asksServing,
	Evaluate: inboundPortNotIntercepted,
}

func inboundPortNotIntercepted(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	port := req.Target.ServingPort
	return each(v, func(h hostrules.Host) ([]diagnose.Cause, error) {
		if h.KubernetesNode() {
			return nil, diagnose.Skip("the rules are those of a Kubernetes node; a pod's are in its own network namespace")
		}
		a, err := h.Arrive(port, h.Set.Evaluate)
		f, o := netfilter.FamilyOf(a.Packet.Destination), a.Outcome
		switch {
		case err != nil:
			return nil, err
		case o.Verdict != netfilter.Delivered || o.Rewritten:
			return nil, nil
		case h.Doubt() != nil:
			return nil, h.Doubt()
		case !h.Has(f, "nat"):
			return nil, h.Missing("the nat table was not read: run iptables-save as root")
		case !h.Has(f, "mangle") && len(h.Mesh(f, "nat", "PREROUTING")) == 0 && !h.Redirects(f, "nat", "PREROUTING"):
			// The nat table takes nothing that comes in: mangle may, with TPROXY.
			return nil, h.Missing("the mangle table was not read: run iptables-save as root")
		}
		chains := "no chain of the mesh's is reachable from PREROUTING"
		if m := h.Mesh(f, "nat", "PREROUTING"); len(m) > 0 {
			chains = fmt.Sprintf("PREROUTING leads to %s", m[0])
		}
		return []diagnose.Cause{cause(h, fmt.Sprintf("No rule takes connections to port %d to the proxy: they come to the application itself (%s).", port, chains), shown(a.Sure),
			map[string]string{"port": strconv.Itoa(port)}, a.Excerpt())}, nil
	})
}
