package request

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
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
			{If: "peer", Text: "{{peer}} asks for mutual TLS (STRICT). Change it, or add one for the workload or its port with the mode PERMISSIVE, where clients without a sidecar have to come", Command: "kubectl get peerauthentication {{peer_name}} -n {{peer_namespace}} -o yaml"},
			{If: "rule", Text: "{{rule}} sets the TLS that clients speak with this host: see trafficPolicy.tls", Command: "kubectl get destinationrule {{rule_name}} -n {{rule_namespace}} -o yaml"},
			{If: "service", Text: "See what applies to the service's pods, and whether they have a sidecar", Command: "istioctl x describe service {{service}}.{{namespace}}"},
			{If: "plain_server", Text: "Take tls out of the DestinationRule for this host (mutual TLS is then used where the server can), or give the server a sidecar"},
			{If: "plain_client", Text: "Give the client a sidecar, and mutual TLS. Meanwhile the mode PERMISSIVE in a PeerAuthentication of the server's namespace lets plaintext in, which weakens the mesh for as long as it stays"},
		},
		References: []string{refProblems, "https://istio.io/latest/docs/reference/config/security/peer_authentication/", "https://istio.io/latest/docs/ops/configuration/traffic-management/tls-configuration/"},
	},
	Needs: append([]evidence.Name{
		evidence.AccessLogs.Name(), evidence.LogMessages.Name(), evidence.PeerAuthentications.Name(), evidence.DestinationRules.Name(),
	}, workloadNeeds...),
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

func mtlsMismatch(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var t evidence.Tally
	groups, _ := evidence.Read(&t, v, evidence.AccessLogs)
	log, _ := evidence.Read(&t, v, evidence.LogMessages)
	objects := readWorkloads(req, v)
	objects.peers, _ = evidence.Get(v, evidence.PeerAuthentications)
	objects.rules, _ = evidence.Get(v, evidence.DestinationRules)
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
		if !objects.modes(b, &c, plainServer(why)) {
			continue // what is asked of clients is known, and isn't mutual TLS
		}
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
	if c, ok := objects.asked(); ok {
		return []diagnose.Cause{c}, nil
	}
	for _, g := range groups {
		if why := badCertificate(reasons(g)); why != "" {
			return nil, diagnose.Skip("requests to %s failed in TLS because %s, not because one side speaks plaintext", g.Cluster, why)
		}
	}
	return nil, t.Err()
}

// modes adds what the server's pods ask for and what clients are told, as the cluster's objects say. It is false where they say for
// sure that the server takes plaintext: then a connection without a filter chain has another reason.
func (o *objects) modes(b bunch, c *diagnose.Cause, plain bool) bool {
	d := o.destination(b)
	number := 0
	name, namespace := "", ""
	if d.service != nil {
		name, namespace = d.service.Name, d.service.Namespace
	} else if n, ns, ok := kubernetesService(b.place); ok {
		name, namespace = n, ns
	}
	if d.port != nil {
		number = d.port.Port
	}
	rule, told := o.clientMode(namespace, name, number, d.subset)
	told = told && name != ""
	var peer peerMode
	if len(d.pods) > 0 {
		peer = o.peerMode(d.pods[0], d.number)
		d.params(c.Params)
	}
	bare := slices.ContainsFunc(d.pods, func(p *kube.Pod) bool { c, _ := p.Sidecar(); return c == nil })
	why := ""
	switch {
	case plain && told && rule.mode != "DISABLE" && bare:
		why = fmt.Sprintf("%s has clients speak TLS (%s), and pod %s has no sidecar that could answer it", rule.by, rule.mode, bareOf(d.pods).Ref())
		c.Confidence = diagnose.Confirmed
	case plain && told && rule.mode != "DISABLE" && peer.mode == "DISABLE":
		why = fmt.Sprintf("%s has clients speak TLS (%s), and %s sets mode DISABLE for the server", rule.by, rule.mode, peer.by)
		c.Confidence = diagnose.Confirmed
	case plain && told && rule.mode != "DISABLE":
		why = fmt.Sprintf("%s has clients speak TLS (%s)", rule.by, rule.mode)
	case !plain && peer.mode == "STRICT":
		why = fmt.Sprintf("%s asks for mutual TLS (STRICT)", peer.by)
		c.Confidence = max(c.Confidence, diagnose.Likely)
		if told && rule.mode == "DISABLE" {
			why += fmt.Sprintf(", and %s has clients speak plaintext (DISABLE)", rule.by)
			c.Confidence = diagnose.Confirmed
		}
	case !plain && len(d.pods) > 0 && peer.whole && (d.number > 0 || !o.byPort()) && !wantsCertificate(reasons(b.groups[0])):
		return false
	}
	if why == "" {
		return true
	}
	c.Summary = sentence(c.Summary) + " " + why + "."
	if told && (plain || rule.mode == "DISABLE") {
		c.Params["rule"] = rule.by
		c.Params["rule_namespace"], c.Params["rule_name"] = splitRef(rule.by)
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.DestinationRules.Name(), Excerpt: rule.by + ": tls.mode " + rule.mode, Source: rule.source})
	}
	if peer.by != "" && (!plain || peer.mode == "DISABLE") {
		if peer.mode == "STRICT" {
			c.Params["peer"] = peer.by
			c.Params["peer_namespace"], c.Params["peer_name"] = splitRef(peer.by)
		}
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.PeerAuthentications.Name(), Excerpt: fmt.Sprintf("%s: mode %s for pod %s, port %d", peer.by, peer.mode, d.pods[0].Ref(), d.number), Source: peer.source})
	}
	return true
}

// asked compares what the pod asked about speaks with what the destination asked about takes: the cluster's objects alone tell it
// where both are known, whole, and don't go together. PeerAuthentications bind pods with a sidecar alone.
func (o *objects) asked() (c diagnose.Cause, ok bool) {
	t := o.req.Target
	d, host := o.named(t.Destination)
	if t.Pod == "" || len(d.pods) == 0 || d.port == nil || d.number == 0 {
		return c, false
	}
	i := slices.IndexFunc(o.running(t.Namespace), func(p *kube.Pod) bool { return p.Name == t.Pod })
	if i < 0 {
		return c, false
	}
	client, server := o.running(t.Namespace)[i], d.pods[0]
	peer := o.peerMode(server, d.number)
	if s, _ := server.Sidecar(); s == nil || peer.mode != "STRICT" || pastProxy(server, d.number) {
		return c, false
	}
	why, confidence := fmt.Sprintf("pod %s has no sidecar", client.Ref()), diagnose.Confirmed
	rule := clientMode{}
	if s, _ := client.Sidecar(); s != nil {
		told := false
		if rule, told = o.clientMode(d.service.Namespace, d.service.Name, d.port.Port, ""); !told || rule.mode != "DISABLE" {
			return c, false
		}
		why = fmt.Sprintf("%s has clients speak plaintext (DISABLE)", rule.by)
	}
	if !peer.whole {
		confidence = diagnose.Likely // another policy may take it back
	}
	c = diagnose.Cause{
		Subject: "requests to " + shorten(host, 120), Key: "requests/" + d.service.Namespace + "%2F" + d.service.Name, Confidence: confidence,
		About:   diagnose.About{diagnose.AboutHost: {host}},
		Summary: fmt.Sprintf("%s asks for mutual TLS (STRICT) of requests to %s, and %s.", peer.by, host, why),
		Params:  map[string]string{"plain_client": "yes", "peer": peer.by},
		Evidence: []diagnose.Exhibit{
			{Fact: evidence.PeerAuthentications.Name(), Excerpt: fmt.Sprintf("%s: mode %s for pod %s, port %d", peer.by, peer.mode, server.Ref(), d.number), Source: peer.source},
			{Fact: evidence.Pods.Name(), Excerpt: fmt.Sprintf("pod %s: %s", client.Ref(), containerNames(client))},
		},
	}
	d.params(c.Params)
	c.Params["peer_namespace"], c.Params["peer_name"] = splitRef(peer.by)
	if rule.by != "" {
		c.Params["rule"] = rule.by
		c.Params["rule_namespace"], c.Params["rule_name"] = splitRef(rule.by)
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.DestinationRules.Name(), Excerpt: rule.by + ": tls.mode " + rule.mode, Source: rule.source})
	}
	return c, true
}

// pastProxy says whether an annotation has a port's traffic go past the pod's proxy, which then asks for nothing.
// https://istio.io/latest/docs/reference/config/annotations/
func pastProxy(p *kube.Pod, port int) bool {
	has := func(annotation string) bool {
		return slices.ContainsFunc(strings.Split(p.Annotations[annotation], ","), func(s string) bool { return strings.TrimSpace(s) == strconv.Itoa(port) })
	}
	only, limited := p.Annotations["traffic.sidecar.istio.io/includeInboundPorts"]
	return has("traffic.sidecar.istio.io/excludeInboundPorts") || limited && strings.TrimSpace(only) != "*" && !has("traffic.sidecar.istio.io/includeInboundPorts")
}

// containerNames names a pod's containers.
func containerNames(p *kube.Pod) string {
	var names []string
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		names = append(names, c.Name)
	}
	return "containers " + strings.Join(names, ", ")
}

// byPort says whether some PeerAuthentication tells ports apart.
func (o *objects) byPort() bool {
	return slices.ContainsFunc(evidence.All(o.peers), func(p kube.PeerAuthentication) bool { return len(p.Spec.Ports) > 0 })
}

// bareOf gives the first pod without a sidecar.
func bareOf(pods []*kube.Pod) *kube.Pod {
	i := slices.IndexFunc(pods, func(p *kube.Pod) bool { c, _ := p.Sidecar(); return c == nil })
	return pods[i]
}

// splitRef takes "Kind namespace/name" apart.
func splitRef(s string) (namespace, name string) {
	_, ref, _ := strings.Cut(s, " ")
	namespace, name, _ = strings.Cut(ref, "/")
	return namespace, name
}

// sentence ends a text with one full stop.
func sentence(s string) string { return strings.TrimRight(s, ". ") + "." }
