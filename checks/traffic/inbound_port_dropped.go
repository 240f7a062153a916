package traffic

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/meshdiag/meshdiag/checks/hostrules"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// InboundPortDropped finds serving ports whose connections the host's own rules drop or reject, on the way to the proxy or from
// the proxy to the application.
var InboundPortDropped = diagnose.Check{
	ID:       "traffic/inbound-port-dropped",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerInterception,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The host drops connections to the serving port",
		Explanation: "A rule or a chain's policy of the host itself drops or rejects connections to the serving port. The nat table rewrites the port before the filter " +
			"table's INPUT chain sees it, so for an intercepted port a rule on the proxy's port counts there, and one on the port that was asked for doesn't.",
		Quiet: "When the rule is on the original port of an intercepted one. Where it is limited to some interfaces or sources, the check is inconclusive and names it.",
		Remedy: []diagnose.Step{
			{Text: "See the rules of all tables, with how often each matched.", Command: "sudo iptables-save -c"},
			{Text: "The packet ends at: {{rule}}. Accept TCP port {{landing}} before it, where the host's firewall is configured (firewalld, ufw, or a script), so that it stays after a restart."},
		},
		References: []string{refIptables, refTroubleshooting},
	},
	Needs:    needs(),
	Explains: []diagnose.CheckID{"backend/fail-open", "backend/some-unhealthy"}, // health checks are dropped too
	Applies:  asksServing,
	Evaluate: inboundPortDropped,
}

func inboundPortDropped(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	port := req.Target.ServingPort
	causes, err := each(v, func(h hostrules.Host) ([]diagnose.Cause, error) {
		if h.KubernetesNode() {
			return nil, diagnose.Skip("the rules are those of a Kubernetes node; a pod's are in its own network namespace")
		}
		a, err := h.Arrive(port, h.Set.Connect)
		if err != nil {
			return nil, err
		}
		f, o := netfilter.FamilyOf(a.Packet.Destination), a.Outcome
		if !h.Has(f, "nat") {
			return nil, h.Missing("the nat table was not read, which may take port %d elsewhere first: run iptables-save as root", port)
		}
		if blocked(o) {
			return []diagnose.Cause{dropped(h, a, port, "Connections to port "+strconv.Itoa(port))}, nil
		}
		if hostrules.Intercepted(netfilter.Inbound, a.Packet, o) {
			if c, err := toApplication(h, port); c != nil || err != nil {
				return c, err
			}
		}
		if !h.Has(f, "filter") {
			return nil, h.Missing("the filter table was not read: run iptables-save as root")
		}
		return nil, h.Doubt()
	})
	for i := range causes {
		// The host is an endpoint, and the VM asked about where there is no other.
		causes[i].About = diagnose.About{diagnose.AboutFailure: {causes[i].Summary}}
		if t := req.Target; causes[i].Key == "" && t.Instance != "" {
			causes[i].About[diagnose.AboutEndpoint] = []string{t.Zone + "/" + t.Instance}
		}
	}
	return causes, err
}

// toApplication asks for the proxy's own connection to the application.
func toApplication(h hostrules.Host, port int) ([]diagnose.Cause, error) {
	uid, gid := netfilter.NoID, netfilter.NoID
	if len(h.Users) == 1 {
		uid, gid = h.Users[0].UID, h.Users[0].GID
	}
	local := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)) // #nosec G115 -- the service takes ports of 16 bits alone
	r := h.Set.Connect(h.Kernel, netfilter.Outbound, h.Out(local, uid, gid))
	o, sure, err := h.Settle(r)
	if err != nil || !blocked(o) {
		return nil, err
	}
	return []diagnose.Cause{dropped(h, hostrules.Arrival{Result: r, Outcome: o, Sure: sure}, port, fmt.Sprintf("The proxy's own connections to the application at %s", local))}, nil
}

func blocked(o netfilter.Outcome) bool {
	return o.Verdict == netfilter.Dropped || o.Verdict == netfilter.Rejected
}

func dropped(h hostrules.Host, a hostrules.Arrival, port int, what string) diagnose.Cause {
	rule, o := "a rule of the host", a.Outcome
	if a.Result.Rule != nil {
		rule = a.Result.Rule.String()
	}
	does := "are dropped"
	if o.Verdict == netfilter.Rejected {
		does = "are rejected"
		if o.With != "" {
			does += " with " + o.With
		}
	}
	at := ""
	if o.Reply {
		does, at = "get no answer: their replies "+does, ""
	}
	if o.Rewritten && int(o.To.Port()) != port {
		at = fmt.Sprintf(", after they were taken to the proxy's port %d", o.To.Port())
	}
	return cause(h, fmt.Sprintf("%s %s%s by %s.", what, does, at, clip(rule)), shown(a.Sure),
		map[string]string{"port": strconv.Itoa(port), "rule": clip(rule), "landing": strconv.Itoa(cmp.Or(int(o.To.Port()), port))}, a.Excerpt())
}

// clip bounds a rule that is quoted in a sentence.
func clip(s string) string {
	const most = 160
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
