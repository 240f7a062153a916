package traffic

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// own is a ruleset of nftables' own, as nft list ruleset prints it: iptables has no words for it.
const own = `table inet mesh {
	chain output {
		type nat hook output priority dstnat; policy accept;
		meta skuid 997 return
		ip daddr 10.0.0.0/8 tcp dport 1-65535 redirect to :15001
	}
	chain input {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 8080 redirect to :15001
	}
}
`

// Rules of nftables' own aren't evaluated: no row of interception may pass, or find anything, by what they don't show.
func TestNftablesOwnRules(t *testing.T) {
	set, err := netfilter.Parse([]byte(own))
	if err != nil || len(set.NFTTables) != 1 {
		t.Fatalf("%v, %v", set.NFTTables, err)
	}
	src := evidence.Source{Collector: "file", Detail: "nft.txt", Vantage: evidence.FromWorkload, Pasted: true}
	req := diagnose.Request{Target: diagnose.Target{Project: project, Network: network, NodeID: nodeID, Destination: "10.128.4.7:80", ServingPort: 8080}}
	for _, c := range []diagnose.Check{OutboundNotIntercepted, VIPNotIntercepted, RedirectPortMismatch, InboundPortNotIntercepted, InboundPortDropped, ExcludedDestination} {
		t.Run(string(c.ID), func(t *testing.T) {
			facts := evidence.NewSet()
			evidence.Put(facts, evidence.PacketRules, []evidence.HostRules{{Set: set, Files: []string{"nft.txt"}, Source: src}}, src)
			evidence.Put(facts, evidence.Processes, []evidence.ProcessList{{Whole: true, List: []evidence.Process{{PID: 1, UID: 997, GID: 997, User: "envoy", Command: "envoy"}}, Source: src}}, src)
			evidence.Put(facts, evidence.Sockets, []evidence.SocketList{{Whole: true, List: []evidence.Socket{{Address: "0.0.0.0", Port: 15001, Process: "envoy"}}, Source: src}}, src)
			engine, err := diagnose.New(diagnose.Config{Checks: []diagnose.Check{c}})
			if err != nil {
				t.Fatal(err)
			}
			found, res := engine.Evaluate(c.ID, req, facts)
			if len(found) > 0 || res.Outcome != diagnose.OutcomeInconclusive || !strings.Contains(res.Reason, "nft") {
				t.Errorf("%s (%s), %+v; want INCONCLUSIVE that names nftables' rules", res.Outcome, res.Reason, found)
			}
		})
	}
}
