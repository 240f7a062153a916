package request

import (
	"fmt"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// MTLSMismatch finds connections on which one side speaks TLS, or mutual TLS, and the other does not.
var MTLSMismatch = diagnose.Check{
	ID:       "request/mtls-mismatch",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "Client and server do not agree on mutual TLS",
		Explanation: "The client's proxy began TLS with a server that speaks plaintext there (WRONG_VERSION_NUMBER): as a rule a DestinationRule with " +
			"tls.mode ISTIO_MUTUAL or SIMPLE for a server without a sidecar, or for a port that is plaintext. Or plaintext reached a server whose " +
			"PeerAuthentication is STRICT: it has no filter chain for that (NR filter_chain_not_found), or asks for a certificate that doesn't come.",
		Quiet: "When the certificate expired or isn't trusted: then both sides agree on TLS, and the check says which it is.",
		Remedy: []diagnose.Step{
			{Text: "See which mode the server asks for, and what the clients are told", Command: "kubectl get peerauthentications,destinationrules -A"},
			{If: "service", Text: "See what applies to the service's pods, and whether they have a sidecar", Command: "istioctl x describe service {{service}}.{{namespace}}"},
			{If: "plain_server", Text: "Take tls out of the DestinationRule for this host (mutual TLS is then used where the server can), or give the server a sidecar"},
			{If: "plain_client", Text: "Give the client a sidecar. Meanwhile the mode PERMISSIVE in a PeerAuthentication of the server's namespace lets plaintext in, which weakens the mesh for as long as it stays"},
		},
		References: []string{refProblems, "https://istio.io/latest/docs/reference/config/security/peer_authentication/", "https://istio.io/latest/docs/ops/configuration/traffic-management/tls-configuration/"},
	},
	Needs:      []evidence.Name{evidence.AccessLogs.Name(), evidence.LogMessages.Name()},
	Signatures: []diagnose.Signature{messages.UpstreamConnectError},
	Evaluate:   mtlsMismatch,
}

// plainServer says that the other side didn't answer in TLS: BoringSSL's names for it.
func plainServer(s string) bool {
	return contains(s, "WRONG_VERSION_NUMBER", "OPENSSL_internal:HTTP_REQUEST", "UNKNOWN_PROTOCOL")
}

// wantsCertificate says that the server asked for a client certificate and got none.
func wantsCertificate(s string) bool {
	return contains(s, "PEER_DID_NOT_RETURN_A_CERTIFICATE", "ALERT_CERTIFICATE_REQUIRED")
}

// badCertificate says that TLS was spoken, and failed on a certificate.
func badCertificate(s string) string {
	switch {
	case contains(s, "CERTIFICATE_EXPIRED", "certificate_has_expired", "CERT_HAS_EXPIRED"):
		return "a certificate expired"
	case contains(s, "CERTIFICATE_VERIFY_FAILED", "CERTIFICATE_UNKNOWN", "TLSV1_ALERT_UNKNOWN_CA"):
		return "a certificate could not be verified"
	}
	return ""
}

// plaintextRefused says that a connection came in for which there was no filter chain, as plaintext does where mutual TLS
// is required.
func plaintextRefused(g evidence.AccessGroup) bool {
	return flagged(g, "NR") && contains(reasons(g), "filter_chain_not_found")
}

func mtlsMismatch(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var t evidence.Tally
	groups, _ := evidence.Read(&t, v, evidence.AccessLogs)
	log, _ := evidence.Read(&t, v, evidence.LogMessages)
	var causes []diagnose.Cause
	list, more := bunches(groups, func(g evidence.AccessGroup) bool {
		return plainServer(reasons(g)) || wantsCertificate(reasons(g)) || plaintextRefused(g)
	})
	for _, b := range list {
		why := reasons(b.groups[0])
		confidence, side := diagnose.Likely, "plain_server"
		said := "the proxy began TLS and the other side answered in plaintext"
		switch {
		case wantsCertificate(why):
			side, said = "plain_client", "the server asks for a client certificate and got none"
		case !plainServer(why):
			confidence, side = diagnose.Possible, "plain_client"
			said = "no filter chain took the connection, as with plaintext where mutual TLS is STRICT"
		}
		c := b.cause(confidence, fmt.Sprintf("%s failed: %s.", b.share(), said))
		c.Params[side] = "yes"
		causes = append(causes, c)
	}
	causes = leftOut(causes, more)
	if len(causes) > 0 {
		return causes, nil
	}
	for _, m := range log {
		if m.Signature == messages.UpstreamConnectError.ID && m.Fields["stream"] == "" && plainServer(m.Fields["transport"]) {
			return []diagnose.Cause{{
				Subject: "a request", Key: "requests", Confidence: diagnose.Likely, Params: map[string]string{"plain_server": "yes"},
				Summary:  "A proxy began TLS with the host that a request was for, which answered in plaintext.",
				Evidence: []diagnose.Exhibit{messageExhibit(m)},
			}}, nil
		}
	}
	for _, g := range groups {
		if why := badCertificate(reasons(g)); why != "" {
			return nil, diagnose.Skip("requests to %s failed in TLS because %s, not because one side speaks plaintext", g.Cluster, why)
		}
	}
	return nil, t.Err()
}
