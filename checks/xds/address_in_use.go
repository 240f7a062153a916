package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// AddressInUse finds a listener whose address something else holds.
var AddressInUse = diagnose.Check{
	ID:       "xds/address-in-use",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomConfigRejected, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "A listener's address is taken",
		Explanation: "Two listeners of one proxy can't have the same address or name, and no listener can have an address that another " +
			"process listens on. Envoy keeps the first and rejects the other.",
		Quiet: "When binding failed for lack of permission.",
		Remedy: []diagnose.Step{
			{If: "port", Text: "On the proxy's VM or in its pod, see who listens on port {{port}}:",
				Command: `sudo ss -lntp 'sport = :{{port}}'`},
			{Text: "See which listener of Envoy has which address:",
				Command: `curl -s http://localhost:15000/listeners`},
			{If: "foreign", Text: "Stop or move the other process (a second Envoy left over from a restart is a common one), or give the listener another port."},
			{Unless: "foreign", Text: "Two parts of the mesh's configuration make a listener with the same address or name: change or remove one of {{origin}}."},
			{If: "project", Text: "Rules that may clash:",
				Command: `gcloud compute forwarding-rules list --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED --format='table(name,IPAddress,portRange,network.basename())'`},
		},
		References: []string{
			"https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/listeners",
			"https://www.envoyproxy.io/docs/envoy/latest/operations/admin",
		},
	},
	Needs:      rejectionNeeds,
	Signatures: rejectionSignatures,
	Explains:   []diagnose.CheckID{"xds/config-rejected"},
	Evaluate:   addressInUse,
}

func addressInUse(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	return special(req, v, addressTaken, func(g group, k kind, who string) (string, map[string]string) {
		p := map[string]string{"port": k.port, "address": k.address}
		switch {
		case k.twice == "":
			p["foreign"] = "yes"
			return fmt.Sprintf("%s could not bind %s for %s: the address is already in use.", who, clip(k.address, maxNameSize), g.listener()), p
		case k.address != "":
			return fmt.Sprintf("%s refused %s: another listener has the same address, %s.", who, g.listener(), clip(k.address, maxNameSize)), p
		default:
			return fmt.Sprintf("%s was sent listener %s twice in one response.", who, clip(k.twice, maxNameSize)), p
		}
	})
}
