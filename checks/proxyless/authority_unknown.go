package proxyless

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// AuthorityUnknown finds dial targets with an authority that the client's bootstrap doesn't list.
var AuthorityUnknown = diagnose.Check{
	ID:       "proxyless/authority-unknown",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The dial target names an authority that the bootstrap lacks",
		Explanation: "In xds://AUTHORITY/HOST:PORT the authority names an entry of the bootstrap's authorities, which says which control plane to ask. A client refuses a target whose " +
			"authority isn't there. It is easily written by mistake: xds://HOST:PORT, with two slashes, makes the host an authority; the usual form has three, xds:///HOST:PORT.",
		Quiet: "For targets without an authority, which the bootstrap's own servers answer.",
		Remedy: []diagnose.Step{
			{If: "service", Text: "The authority looks like the service itself: dial xds:///{{service}}, with three slashes"},
			{If: "known", Text: "The bootstrap lists {{known}}: dial one of them, or none (xds:///HOST:PORT)"},
			{Unless: "service", Text: "Dial xds:///HOST:PORT to ask the bootstrap's own control plane, or list the authority in the bootstrap's authorities and start the client anew"},
		},
		References: []string{refA47, refTrouble},
	},
	Needs:      []evidence.Name{evidence.LogMessages.Name(), evidence.Bootstraps.Name()},
	Signatures: []diagnose.Signature{messages.GRPCAuthorityUnknown},
	Evaluate:   authorityUnknown,
}

func authorityUnknown(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var t evidence.Tally
	log, _ := evidence.Read(&t, v, evidence.LogMessages)
	bootstraps, _ := evidence.Read(&t, v, evidence.Bootstraps)
	list := grpcBootstraps(bootstraps)
	var known []string
	for _, b := range list {
		known = append(known, b.Authorities...)
	}
	slices.Sort(known)
	known = slices.Compact(known)

	var causes []diagnose.Cause
	at := map[string]int{}
	add := func(authority, target string, c diagnose.Cause) {
		if i, ok := at[authority]; ok {
			causes[i].Evidence = append(causes[i].Evidence, c.Evidence...)
			causes[i].Confidence = max(causes[i].Confidence, c.Confidence)
			return
		}
		at[authority] = len(causes)
		c.Subject = "the dial target"
		c.Params = map[string]string{"known": shorten(strings.Join(known, ", "), 200)}
		c.Summary = "A gRPC client dials a target whose authority its bootstrap does not list."
		if authority != "" {
			c.Subject = "the dial target " + shorten(cmpTarget(target, authority), 100)
			c.Summary = fmt.Sprintf("A gRPC client dials %s, and its bootstrap lists no authority %q.", shorten(cmpTarget(target, authority), 100), shorten(authority, 80))
			if u, err := url.Parse(target); err == nil && strings.Trim(u.Path, "/") == "" || strings.Contains(authority, ":") {
				c.Params["service"] = authority
			}
		}
		causes = append(causes, c)
	}
	for _, m := range of(log, messages.GRPCAuthorityUnknown) {
		authority := first(m, "authority", "name")
		confidence := diagnose.Likely
		if len(list) > 0 && authority != "" && !slices.Contains(known, authority) {
			confidence = diagnose.Confirmed
		}
		add(authority, m.Fields["target"], diagnose.Cause{Confidence: confidence, Evidence: shown([]evidence.LogMessage{m})})
	}
	// A destination may be given as it is dialled.
	if u, err := url.Parse(req.Target.Destination); err == nil && u.Scheme == "xds" && u.Host != "" && len(list) > 0 && !slices.Contains(known, u.Host) {
		add(u.Host, req.Target.Destination, diagnose.Cause{Confidence: diagnose.Confirmed, Evidence: []diagnose.Exhibit{{
			Fact: evidence.Bootstraps.Name(), Excerpt: list[0].File + " lists the authorities: " + strings.Join(known, ", "), Source: list[0].Source,
		}}})
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, t.Err()
}

func cmpTarget(target, authority string) string {
	if target != "" {
		return target
	}
	return "xds://" + authority + "/…"
}
