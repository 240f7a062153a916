package request

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// startup is how long an application may take to listen after its proxy does; refusals that end within it, with answers
// after them, are its start.
const startup = 60 * time.Second

// UpstreamRefused finds requests whose upstream host refused the connection.
var UpstreamRefused = diagnose.Check{
	ID:       "request/upstream-refused",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "Nothing listens where the proxy sends requests",
		Explanation: "The kernel of the upstream host refused the connection (error 111): no process listens on that address and port. Of inbound traffic the " +
			"upstream host is the proxy's own application. Common reasons are a targetPort other than the application's port, an application that listens on " +
			"127.0.0.1 alone while the proxy dials the pod's address (Istio 1.10 and later), and one that crashed.",
		Quiet: "When the refusals end within a minute and answers follow them, as when an application starts after its proxy. Refusals around a shutdown are told as request/shutdown-race.",
		Remedy: []diagnose.Step{
			{If: "service", Text: "Does the service's targetPort name the port that the container listens on?", Command: "kubectl get service {{service}} -n {{namespace}} -o jsonpath='{.spec.ports}'"},
			{If: "port", Text: "On the upstream host or in the pod, see who listens on port {{port}}", Command: "ss -ltnp '( sport = :{{port}} )'"},
			{If: "loopback", Text: "The application listens on the loopback address alone: let it bind 0.0.0.0 (or ::)"},
			{Unless: "loopback", Text: "If the application listens on 127.0.0.1 alone, let it bind 0.0.0.0 (or ::); if it doesn't listen at all, see its log"},
		},
		References: []string{refDetails, refProblems},
	},
	Needs:      append([]evidence.Name{evidence.AccessLogs.Name(), evidence.LogMessages.Name(), evidence.Sockets.Name()}, workloadNeeds...),
	Signatures: []diagnose.Signature{messages.UpstreamConnectError, messages.ProxyReady},
	Evaluate:   upstreamRefused,
}

// refused says that a connection was refused, in Envoy's wordings: the error's number to 1.30, its text since.
func refused(s string) bool {
	return contains(s, "connect_error:_111", "connect_error:_Connection_refused", "connect_error:_61")
}

func upstreamRefused(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var t evidence.Tally
	groups, _ := evidence.Read(&t, v, evidence.AccessLogs)
	log, _ := evidence.Read(&t, v, evidence.LogMessages)
	sockets, errSockets := evidence.Whole(v, evidence.Sockets)
	objects := readWorkloads(req, v)
	var causes []diagnose.Cause
	list, more := bunches(groups, func(g evidence.AccessGroup) bool {
		return refused(reasons(g)) && !startingUp(g, groups, log)
	})
	for _, b := range list {
		address, port := b.upstream()
		said := "the upstream host refused the connection"
		if address != "" {
			said = address + " refused the connection"
		}
		c := b.cause(diagnose.Likely, "")
		seen := false // the sockets say who listens
		if errSockets == nil && inbound(b.groups[0]) {
			if what, loopback := listening(sockets, address, port); what != "" {
				said += ": " + what
				seen = true
				if loopback {
					c.Params["loopback"] = "yes"
				}
				c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.Sockets.Name(), Excerpt: what, Source: sockets[0].Source})
			}
		}
		d := objects.destination(b)
		if what, shown := d.undeclared(); what != "" && !seen {
			said += ": " + what
			d.params(c.Params)
			c.Evidence = append(c.Evidence, shown...)
		}
		c.Summary = fmt.Sprintf("%s failed: %s.", b.share(), said)
		causes = append(causes, c)
	}
	causes = leftOut(causes, more)
	if len(causes) > 0 {
		return causes, nil
	}
	for _, m := range log {
		if m.Signature == messages.UpstreamConnectError.ID && m.Fields["stream"] == "" && refused(strings.ReplaceAll(m.Fields["transport"], " ", "_")) {
			return []diagnose.Cause{{
				Subject: "a request", Key: "requests", Confidence: diagnose.Possible, Params: map[string]string{}, // it may be one of a start
				Summary:  fmt.Sprintf("A proxy answered %s that the upstream host refused the connection.", plural(m.Count, "time", "times")),
				Evidence: []diagnose.Exhibit{messageExhibit(m)},
			}}, nil
		}
	}
	return nil, t.Err()
}

// startingUp says whether refusals are those of an application that starts: they end within a minute of their first, or of
// the proxy's own start, and the same log has answers from there afterwards.
func startingUp(g evidence.AccessGroup, groups []evidence.AccessGroup, log []evidence.LogMessage) bool {
	if g.Last.IsZero() {
		return false
	}
	short := g.Last.Sub(g.First) <= startup
	for _, m := range log {
		if m.Signature == messages.ProxyReady.ID && m.File == g.File && !m.First.IsZero() && m.Count == 1 && g.Last.Before(m.First.Add(startup)) {
			short = true
		}
	}
	return short && slices.ContainsFunc(groups, func(o evidence.AccessGroup) bool {
		return o.File == g.File && o.Cluster == g.Cluster && o.Cluster != "" && len(o.Flags) == 0 && o.Code >= 100 && o.Code < 500 && o.Last.After(g.Last) && !o.First.Before(g.First)
	})
}

// listening tells what listens on a port that refused, of a host whose sockets are all known; "" where something does as it
// should, or the sockets are of several hosts.
func listening(lists []evidence.SocketList, address, port string) (what string, loopback bool) {
	n, err := strconv.Atoi(port)
	if err != nil || len(lists) != 1 || !lists[0].Whole {
		return "", false
	}
	dialled, _ := netip.ParseAddrPort(address)
	at := ""
	for _, s := range lists[0].List {
		if s.Port != n {
			continue
		}
		ip, err := netip.ParseAddr(s.Address)
		if err != nil || !ip.IsLoopback() {
			return "", false
		}
		at = s.Address
	}
	switch {
	case at == "":
		return fmt.Sprintf("nothing listens on port %d there", n), false
	case dialled.IsValid() && !dialled.Addr().IsLoopback():
		return fmt.Sprintf("port %d is listened on at %s alone", n, at), true
	}
	return "", false
}
