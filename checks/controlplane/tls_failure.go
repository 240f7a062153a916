package controlplane

import (
	"fmt"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// TLSFailure finds that no handshake with the control plane succeeds.
//
// Source of the rule: gRPC needs TLS with a chain that the client trusts, and HTTP/2 agreed on by ALPN.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
var TLSFailure = diagnose.Check{
	ID:       "controlplane/tls-failure",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:    []evidence.Name{evidence.TLSProbe.Name(), evidence.Clients.Name()},
	Explains: append([]diagnose.CheckID{"vm/agent-failure"}, disconnected...),
	Doc: diagnose.Doc{
		Title: "The TLS handshake with the control plane fails",
		Explanation: "A TCP connection is accepted, and the handshake on it fails. A chain from an unknown authority is that of a device which opens TLS connections for inspection; " +
			"proxies don't trust it, and shouldn't. A certificate that is expired or not valid yet, with Google's own issuer, mostly means a wrong clock. " +
			"Without HTTP/2 in ALPN no gRPC call can follow.",
		Quiet: "The chain is good and close to its end (Google renews weeks before); one of several addresses fails; the workload's own handshake succeeds; the control plane answers this machine all the same, so that it is reached another way (HTTPS_PROXY, an entry in /etc/hosts).",
		Remedy: []diagnose.Step{
			{Text: "See the chain from the workload.", Command: "openssl s_client -connect {{address}} -servername {{host}} -alpn h2 -showcerts </dev/null"},
			{If: "inspected", Text: "Exempt {{host}} from TLS inspection, on the device whose issuer is shown: {{issuer}}. Don't add its authority to the proxies' trust store."},
			{If: "wrong_host", Text: "Something else answers for {{host}}: see what address it resolves to, and which device or DNS zone leads there.", Command: "getent ahosts {{host}}"},
			{If: "clock", Text: "Compare the clock with the certificate's dates.", Command: "date -u; timedatectl status"},
			{If: "plain", Text: "What answers speaks no TLS, or breaks it off: see which proxy or load balancer stands at {{address}}, and let it pass TLS through untouched."},
			{If: "no_h2", Text: "Let the device on the way pass TLS through untouched, or switch on HTTP/2 on it: it agrees on another protocol."},
		},
		References: []string{
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
			"https://pki.goog/faq/",
		},
	},
	Evaluate: tlsFailure,
}

func tlsFailure(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	results, err := evidence.Get(v, evidence.TLSProbe)
	if err != nil {
		return nil, err
	}
	results = nearest(results, func(r evidence.TLSResult) evidence.Source { return r.Source })
	if len(results) == 0 {
		return nil, diagnose.Skip("no connection was made on which to try")
	}
	// The certificate says more than a connection that broke: of several faults the one with a chain is told.
	worst := results[0]
	var exhibits []diagnose.Exhibit
	for _, r := range results {
		if r.Fault == evidence.TLSOk {
			return nil, nil
		}
		if len(worst.Chain) == 0 && len(r.Chain) > 0 {
			worst = r
		}
		exhibits = append(exhibits, diagnose.Exhibit{Fact: evidence.TLSProbe.Name(), Excerpt: handshake(r), Source: r.Source})
	}
	if gotThrough(v, worst.Source) {
		return nil, nil
	}
	confidence, where := seenFrom(worst.Source)
	what, flag := tlsFault(worst)
	return []diagnose.Cause{{
		Subject:    worst.Host + " at " + worst.Address,
		Summary:    fmt.Sprintf("The TLS handshake with %s fails %s: %s.", worst.Address, where, what),
		Confidence: confidence,
		Params:     map[string]string{"host": worst.Host, "address": worst.Address, "issuer": issuer(worst), flag: "yes"},
		Evidence:   exhibits,
	}}, nil
}

// tlsFault says in words what was wrong, and which step of the remedy that calls for.
func tlsFault(r evidence.TLSResult) (what, flag string) {
	day := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
	var leaf evidence.Certificate
	if len(r.Chain) > 0 {
		leaf = r.Chain[0]
	}
	switch r.Fault {
	case evidence.TLSUnknownAuthority:
		return "its certificate is issued by " + clip(issuer(r), maxWords) + ", which is not trusted", "inspected"
	case evidence.TLSWrongHost:
		return "its certificate is for " + orNone(listed(leaf.DNSNames)) + ", not for " + r.Host, "wrong_host"
	case evidence.TLSExpired:
		return "its certificate, issued by " + clip(issuer(r), maxWords) + ", expired on " + day(leaf.NotAfter), "clock"
	case evidence.TLSNotYetValid:
		return "its certificate, issued by " + clip(issuer(r), maxWords) + ", is not valid before " + day(leaf.NotBefore), "clock"
	case evidence.TLSNoHTTP2:
		return "it does not agree on HTTP/2 (ALPN: " + orNone(r.Protocol) + ")", "no_h2"
	case evidence.TLSNotTLS:
		return "what answers does not speak TLS", "plain"
	}
	return "it breaks off (" + orNone(clip(r.Err, maxWords)) + ")", "plain"
}

// issuer names who issued the leaf.
func issuer(r evidence.TLSResult) string {
	if len(r.Chain) == 0 || r.Chain[0].Issuer == "" {
		return "an issuer that was not seen"
	}
	return r.Chain[0].Issuer
}

// handshake shows one handshake.
func handshake(r evidence.TLSResult) string {
	s := r.Address + ": " + string(r.Fault)
	if r.Err != "" {
		s += ": " + clip(r.Err, maxExcerpt)
	}
	var chain []string
	for _, c := range r.Chain {
		chain = append(chain, fmt.Sprintf("%s, issued by %s, valid %s to %s", c.Subject, c.Issuer, c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly)))
	}
	const shown = 3 // a leaf and its intermediates: roots aren't sent
	if len(chain) > shown {
		chain = chain[:shown]
	}
	return strings.Join(append([]string{s}, chain...), "\n")
}
