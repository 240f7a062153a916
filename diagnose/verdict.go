package diagnose

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

// mandatoryFacts is the one table of what HEALTHY rests on, by kind of target. Each must be known, wholly, from a live
// source, or from a recording that counts as one: of the VM or proxy asked about, and made just now.
var mandatoryFacts = []struct {
	kind    string
	applies func(Target) bool
	facts   []evidence.Name
}{
	{"any live target", Target.Live, []evidence.Name{
		evidence.ProjectFact.Name(), evidence.Services.Name(), evidence.Clients.Name(), evidence.ClientStatuses.Name(),
	}},
	{"a network", func(t Target) bool { return t.Network != "" }, []evidence.Name{evidence.ForwardingRules.Name()}},
	{"a mesh", func(t Target) bool { return t.MeshName() != "" }, []evidence.Name{evidence.Meshes.Name(), evidence.Routes.Name()}},
	{"a gateway scope", func(t Target) bool { return t.GatewayScope() != "" }, []evidence.Name{evidence.Gateways.Name(), evidence.Routes.Name()}},
	{"a VM", func(t Target) bool { return t.Instance != "" }, []evidence.Name{
		evidence.Instances.Name(), evidence.ProxyPermissions.Name(), evidence.GuestAttributes.Name(), evidence.PacketRules.Name(),
	}},
	{"a Kubernetes cluster", Target.Kubernetes, []evidence.Name{
		evidence.Namespaces.Name(), evidence.MutatingWebhooks.Name(), evidence.ValidatingWebhooks.Name(), evidence.ClusterServices.Name(),
		evidence.EndpointSlices.Name(), evidence.ControlPlanePods.Name(), evidence.ControlPlaneWorkloads.Name(),
	}},
	{"a namespace, pod or workload", func(t Target) bool { return t.Namespace != "" }, []evidence.Name{
		evidence.Pods.Name(), evidence.Workloads.Name(), evidence.ClusterEvents.Name(),
	}},
	// What can't be reached is well only where its way was followed, through the rules and through the proxy.
	{"a destination, or a port served", asksWay, wayFacts},
}

var wayFacts = []evidence.Name{evidence.EnvoyDumps.Name(), evidence.PacketRules.Name()}

func asksWay(t Target) bool {
	return t.Destination != "" && !strings.HasPrefix(t.Destination, "xds:") || t.ServingPort != 0
}

// proxyless says whether those who are asked about are gRPC clients that follow the control plane themselves: no proxy and no rule
// is on their way.
func proxyless(t Target, set *evidence.Set) bool {
	list, err := evidence.Get(evidence.NewView(set), evidence.Clients)
	if err != nil {
		return false
	}
	found := false
	for _, c := range list.Clients {
		if t.NodeID != "" && c.NodeID != t.NodeID {
			continue
		}
		if !strings.HasPrefix(c.UserAgentName, "gRPC") {
			return false
		}
		found = true
	}
	return found
}

// optionalFacts are those that a clean bill doesn't wait for: what Google's monitoring and probers saw besides, which many an
// operator can't read. What is missing of them is still listed as unseen.
var optionalFacts = []evidence.Name{
	evidence.APIRequests.Name(), evidence.SerialPorts.Name(), evidence.BackendHealth.Name(), evidence.HealthChecks.Name(),
	evidence.EndpointGroups.Name(), evidence.EffectiveFirewalls.Name(),
	// Webhooks' servers can be reached from within the cluster alone, most often.
	evidence.ServingCertificates.Name(),
}

// clusterFacts gives the facts of the table that a Kubernetes cluster tells.
func clusterFacts() (out []evidence.Name) {
	for _, row := range mandatoryFacts {
		if row.applies(Target{Namespace: "any"}) {
			out = append(out, row.facts...)
		}
	}
	return out
}

// mandatory gives the facts that HEALTHY rests on for a request, sorted.
func mandatory(req Request) []evidence.Name {
	if !req.Target.Live() && !req.Target.Kubernetes() {
		return nil
	}
	var out []evidence.Name
	for _, row := range mandatoryFacts {
		if row.applies(req.Target) {
			out = append(out, row.facts...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// report puts findings, results and observations together.
func (e *Engine) report(req Request, set *evidence.Set, found []Finding, results map[CheckID]Result) *Report {
	rep := &Report{Target: req.Target, Observations: set.Observations()}
	w := newWorld(req, set)
	rep.Causes = e.fold(e.join(found, w), w, results)
	e.rank(rep.Causes, req.Symptom)
	for _, r := range results {
		rep.Results = append(rep.Results, r)
	}
	slices.SortFunc(rep.Results, func(a, b Result) int { return strings.Compare(string(a.Check), string(b.Check)) })
	counted, said, doubts := e.recordings(req, set)
	must := mandatory(req)
	if asksWay(req.Target) && req.Target.Instance == "" && proxyless(req.Target, set) {
		must = slices.DeleteFunc(must, func(n evidence.Name) bool { return slices.Contains(wayFacts, n) })
	}
	rep.Unseen = unseen(must, rep.Observations, counted, doubts)
	rep.Notes = append(notes(set), said...)
	view := evidence.NewView(set)
	doubt := absent(req, view)
	if doubt == nil && len(rep.Causes) == 0 {
		doubt = unready(req, view)
	}
	if doubt != nil {
		rep.Unseen = slices.Insert(rep.Unseen, 0, *doubt)
	}
	e.verdict(req, rep, must, doubt)
	return rep
}

// verdict decides: HEALTHY is given only where all that it rests on was seen, no check was left open, and what was asked about is
// there and runs; doubt is what isn't or doesn't.
func (e *Engine) verdict(req Request, rep *Report, must []evidence.Name, doubt *Unseen) {
	open, besides := 0, 0
	for _, r := range rep.Results {
		switch {
		case r.Outcome != OutcomeInconclusive:
		case slices.Contains(optionalFacts, r.missing):
			besides++
		default:
			open++
		}
	}
	var lacking []string
	for _, u := range rep.Unseen {
		if u.Mandatory {
			lacking = append(lacking, string(u.Fact))
		}
	}
	slices.Sort(lacking)
	lacking = slices.Compact(lacking)
	switch {
	case len(rep.Causes) > 0:
		rep.Verdict = CausesFound
		rep.Headline = rep.Causes[0].Summary
	case doubt != nil:
		rep.Verdict = Inconclusive
		rep.Headline = strings.ToUpper(doubt.Reason[:1]) + doubt.Reason[1:] + "."
	case !req.Target.Live() && !req.Target.Kubernetes():
		rep.Verdict = Inconclusive
		rep.Headline = "Nothing wrong was found in the files given; no live system was asked."
	case len(lacking) > 0 && blind(rep, must) != "":
		rep.Verdict = Inconclusive
		rep.Headline = fmt.Sprintf("Nothing could be seen of %s: %s.", req.Target, strings.TrimSuffix(blind(rep, must), "."))
	case len(lacking) > 0:
		rep.Verdict = Inconclusive
		rep.Headline = "Nothing wrong was found, but this could not be seen: " + strings.Join(lacking, ", ") + "."
	case open > 0:
		rep.Verdict = Inconclusive
		rep.Headline = fmt.Sprintf("Nothing wrong was found, but %s could not be decided.", count(open, "check", "checks"))
	default:
		rep.Verdict = Healthy
		rep.Headline = fmt.Sprintf("Nothing is wrong with %s as far as its control plane, configuration and clients show.", req.Target)
		if besides > 0 {
			rep.Headline += fmt.Sprintf(" %s of its backends and API use could not be decided.", count(besides, "check", "checks"))
		}
		if t := req.Target; (t.NodeID != "" || t.Instance != "") && t.Destination == "" && t.ServingPort == 0 {
			rep.Headline += " No destination was named, so where requests go was not followed."
		}
	}
}

// blind says why, where no live source told any fact that HEALTHY rests on; "" where one did. One reason is enough for a headline: whoever
// is refused everywhere is refused for the same one mostly, and all are listed as unseen.
func blind(rep *Report, must []evidence.Name) string {
	if slices.ContainsFunc(rep.Observations, func(o evidence.Observation) bool {
		return o.Known() && !o.Source.Pasted && slices.Contains(must, o.Name)
	}) {
		return ""
	}
	reason := ""
	for _, u := range rep.Unseen {
		switch {
		case !u.Mandatory || u.derived:
		case u.Source != (evidence.Source{}): // somebody tried
			return u.Reason
		case reason == "":
			reason = u.Reason
		}
	}
	return reason
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// unseen lists what was asked for and isn't known, and the mandatory facts that nobody could be asked for. counted are the
// recordings that count as live sources; doubts says why others don't.
func unseen(must []evidence.Name, obs []evidence.Observation, counted map[string]bool, doubts string) []Unseen {
	var out []Unseen
	live := map[evidence.Name]bool{} // said something about by a live source
	for _, o := range obs {
		now := !o.Source.Pasted || counted[o.Source.Recording]
		live[o.Name] = live[o.Name] || now
		if o.Known() {
			continue
		}
		u := Unseen{Fact: o.Name, Reason: o.Err.Error(), Source: o.Source, Mandatory: slices.Contains(must, o.Name) && now}
		var d *evidence.Denied
		if errors.As(o.Err, &d) {
			u.Permission, u.Role, u.Command = d.Permission, d.Role, d.Command
		}
		var m *evidence.Missing
		u.derived = errors.As(o.Err, &m)
		out = append(out, u)
	}
	for _, n := range must {
		if live[n] {
			continue
		}
		reason := "nothing that could tell it was asked"
		switch {
		case n == evidence.EnvoyDumps.Name():
			reason = "where requests lead can be seen only in the proxy: name its --envoy-admin, or run meshdiag collect on its machine"
		case n == evidence.PacketRules.Name():
			reason = "interception can be seen only on the proxy's own machine: run meshdiag collect there"
			if doubts != "" {
				reason += " (" + doubts + ")"
			}
		case slices.Contains(clusterFacts(), n):
			reason = "no Kubernetes cluster is configured: meshdiag has no kubeconfig, and runs in no cluster"
		}
		out = append(out, Unseen{Fact: n, Reason: reason, Mandatory: true})
	}
	slices.SortStableFunc(out, func(a, b Unseen) int { return strings.Compare(string(a.Fact), string(b.Fact)) })
	return out
}

// notes tells what became of the files that weren't used.
func notes(set *evidence.Set) []string {
	var out []string
	files, err := evidence.Get(evidence.NewView(set), evidence.Artifacts)
	if err != nil {
		return nil
	}
	for _, f := range files {
		switch {
		case !f.Used:
			out = append(out, fmt.Sprintf("%s was not used: %s", f.Name, f.Note))
		case f.Note != "":
			out = append(out, fmt.Sprintf("%s was read as %s: %s", f.Name, f.Kind, f.Note))
		default:
			out = append(out, fmt.Sprintf("%s was read as %s", f.Name, f.Kind))
		}
	}
	return out
}

// rank sorts findings: first what explains the symptom asked about, then severity, confidence, layer, and names.
func (e *Engine) rank(f []Finding, s Symptom) {
	asked := func(x Finding) int {
		if s == SymptomNone {
			return 0
		}
		ids := append([]CheckID{x.Check}, x.Symptoms...)
		if slices.ContainsFunc(ids, func(id CheckID) bool { return slices.Contains(e.byID[id].Symptoms, s) }) {
			return 0
		}
		return 1
	}
	slices.SortFunc(f, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(asked(a), asked(b)),
			cmp.Compare(b.Severity, a.Severity),
			cmp.Compare(b.Confidence, a.Confidence),
			cmp.Compare(e.byID[a.Check].Layer, e.byID[b.Check].Layer),
			strings.Compare(string(a.Check), string(b.Check)),
			strings.Compare(a.Subject, b.Subject),
			strings.Compare(a.key, b.key),
		)
	})
}
