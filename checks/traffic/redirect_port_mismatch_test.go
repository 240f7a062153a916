package traffic

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

func TestRedirectPortMismatch(t *testing.T) {
	at := func(address string, port int, process string) evidence.Socket {
		return evidence.Socket{Address: address, Port: port, Process: process, UID: -1}
	}
	admin, ssh := at("127.0.0.1", 15000, "envoy"), at("0.0.0.0", 22, "sshd")
	whole := func(name string) func(*evidence.Set) {
		text := `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[{"name":"out","active_state":{"listener":{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"out","address":{"socket_address":{"address":"0.0.0.0","port_value":` + name + `}}}}}]}]}`
		d, err := envoy.ParseDump([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return dump(d)
	}
	admits := func(text string) func(*evidence.Set) {
		l, err := envoy.ParseListening([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return put(evidence.EnvoyListeners, []evidence.EnvoyListening{{List: l, Source: fromFile}})
	}
	include := corpus(t, "istio-inbound-ports-include.txt")
	checkstest.Run(t, RedirectPortMismatch, []checkstest.Case{
		{Name: "another port", Request: to("10.0.0.7:80"), Put: all(rules(strings.ReplaceAll(manual, ":8080", ":8081")), running(997), listening(admin, ssh, at("0.0.0.0", 15002, "envoy"))),
			Want: []checkstest.Want{{Summary: "What processes send is taken to port 15001, on which nothing listens; the proxy has 15000, 15002.", Confidence: diagnose.Confirmed, Excerpt: "0.0.0.0:15002 (envoy)"},
				{Summary: "What comes in for port 8080"}}},
		{Name: "inbound to a listener of 127.0.0.1", Request: serving(8080), Put: all(rules(manual), running(997), listening(admin, at("127.0.0.1", 15001, "envoy"))),
			Want: []checkstest.Want{{Summary: "What comes in for port 8080 is taken to port 15001 of the interface's address, and the proxy listens on 127.0.0.1 alone.", Params: map[string]string{"loopback": "yes"}}}},
		{Name: "another process", Request: to("10.0.0.7:80"), Put: all(rules(agent), running(997), listening(admin, at("0.0.0.0", 15001, "haproxy"))),
			Want: []checkstest.Want{{Summary: "which haproxy holds"}, {Summary: "which haproxy holds"}}},
		{Name: "the dump's listeners", Request: files, Put: all(rules(agent), whole("15002")), Want: []checkstest.Want{{Summary: "has 15002", Confidence: diagnose.Likely}, {}}},
		{Name: "what the admin interface lists", Request: files, Put: all(rules(agent), admits("out::0.0.0.0:15002\n"), whole("15001")), Want: []checkstest.Want{{Summary: "has 15002", Confidence: diagnose.Likely}, {}}},
		{Name: "a sidecar without its inbound listener", Request: files, Put: all(rules(sidecar), running(1337), listening(admin, at("0.0.0.0", 15001, "envoy"))), Want: []checkstest.Want{{Summary: "taken to port 15006"}}},

		{Name: "by hand: both to 15001", Request: serving(8080), Put: all(rules(manual), running(997), listening(admin, at("0.0.0.0", 15001, "envoy")))},
		{Name: "names of processes aren't known", Request: serving(8080), Put: all(rules(manual), running(997), listening(at("::", 15001, "")))},
		{Name: "a sidecar", Request: files, Put: all(rules(sidecar), running(1337), listening(admin, at("0.0.0.0", 15001, "envoy"), at("0.0.0.0", 15006, "envoy")))},
		{Name: "an outbound listener of 127.0.0.1", Request: to("10.1.2.3:80"), Put: all(rules(corpus(t, "istio-ipnets.txt")), running(1337), listening(at("127.0.0.1", 15001, "envoy")))},
		{Name: "some inbound ports", Request: serving(31000), Put: all(rules(include), running(1337), listening(at("0.0.0.0", 15006, "envoy"), at("127.0.0.1", 15001, "envoy")))},
		{Name: "TPROXY, but for one interface", Request: files, Put: all(rules(corpus(t, "istio-tproxy.txt")), running(1337), listening(at("0.0.0.0", 15006, "envoy"), at("127.0.0.1", 15001, "envoy"))), Outcome: diagnose.OutcomeInconclusive, Reason: "not-istio-nic"},
		{Name: "the dump's listeners fit", Request: files, Put: all(rules(agent), whole("15001"))},
		{Name: "what the admin interface lists fits", Request: files, Put: all(rules(agent), admits("out::0.0.0.0:15001\n"))},
		{Name: "of two proxies", Request: files, Put: all(rules(agent), func(s *evidence.Set) { admits("a::0.0.0.0:15002\n")(s); admits("b::0.0.0.0:15003\n")(s) }), Outcome: diagnose.OutcomeSkipped},
		{Name: "no Envoy runs", Request: files, Put: all(rules(agent), put(evidence.Processes, []evidence.ProcessList{{Whole: true, Source: fromFile}}), listening(ssh)), Outcome: diagnose.OutcomeSkipped, Reason: "no Envoy runs"},
		{Name: "Envoy in a container", Request: files, Put: all(rules(agent), put(evidence.Processes, []evidence.ProcessList{{Whole: true, Network: 1, Source: fromFile, List: []evidence.Process{{PID: 9, UID: 101, Command: "envoy", Network: 2}}}}), listening(ssh)), Outcome: diagnose.OutcomeSkipped, Reason: "network of its own"},
		{Name: "nothing is redirected", Request: files, Put: all(rules(emptyNAT, docker), running(997), listening(ssh)), Outcome: diagnose.OutcomeSkipped, Reason: "take nothing"},
		{Name: "sockets in part", Request: files, Put: all(rules(agent), put(evidence.Sockets, []evidence.SocketList{{Source: fromFile}})), Outcome: diagnose.OutcomeInconclusive},
		{Name: "sockets failed", Request: files, Put: all(rules(agent), late(evidence.Sockets.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "sockets not asked for, the dump failed", Request: files, Put: all(rules(agent), late(evidence.EnvoyDumps.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "sockets not asked for", Request: files, Put: rules(agent), Outcome: diagnose.OutcomeSkipped},
		{Name: "rules not asked for", Request: files, Put: listening(ssh), Outcome: diagnose.OutcomeSkipped},
	})
}
