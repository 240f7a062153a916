package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ruleSet is the forwarding rules as far as Traffic Director looks at them.
type ruleSet struct {
	managed []evidence.ForwardingRule // load balancing scheme INTERNAL_SELF_MANAGED, sorted by project and name
	all     int
	// vague are rules that don't say enough of themselves: without a scheme though global and on a network, or
	// INTERNAL_SELF_MANAGED without a network. Listings cut down to a few columns hold such.
	vague []evidence.ForwardingRule
}

// newRuleSet sorts the rules. A rule that shows no scheme is Traffic Director's only where it targets a gRPC proxy, which no
// other scheme can: https://docs.cloud.google.com/compute/docs/reference/rest/v1/targetGrpcProxies
func newRuleSet(rules []evidence.ForwardingRule) ruleSet {
	out := ruleSet{all: len(rules)}
	for _, r := range rules {
		global := r.Region == "" || r.Region == "global"
		managed := r.Scheme == evidence.SelfManaged || r.Scheme == "" && strings.Contains(r.Target, "/targetGrpcProxies/")
		switch {
		case managed && r.Network != "":
			r.Network = evidence.LastSegment(r.Network)
			out.managed = append(out.managed, r)
		case managed, r.Scheme == "" && global && r.Network != "":
			out.vague = append(out.vague, r)
		}
	}
	slices.SortStableFunc(out.managed, func(a, b evidence.ForwardingRule) int {
		return strings.Compare(a.Project+"/"+a.Name, b.Project+"/"+b.Name)
	})
	return out
}

// on gives the rules on a network.
func (s ruleSet) on(network string) []evidence.ForwardingRule {
	var out []evidence.ForwardingRule
	for _, r := range s.managed {
		if r.Network == network {
			out = append(out, r)
		}
	}
	return out
}

// networks gives the networks that have rules, sorted, each once.
func (s ruleSet) networks() []string {
	var out []string
	for _, r := range s.managed {
		out = append(out, r.Network)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// undecided is the error where a rule says too little of itself to conclude that there is none for a network.
func (s ruleSet) undecided(network string) error {
	for _, r := range s.vague {
		switch {
		case r.Network == "":
			return fmt.Errorf("forwarding rule %s shows no network, so that it can't be told whether it is on %s", quote(r.Name), quote(network))
		case evidence.LastSegment(r.Network) == network:
			return fmt.Errorf("forwarding rule %s on network %s shows no loadBalancingScheme, so that it can't be told whether it is one of %s",
				quote(r.Name), quote(network), evidence.SelfManaged)
		}
	}
	return nil
}

// of gives the rules of one project, by id, and those that don't show theirs; all of them where the id isn't known.
func (s ruleSet) of(projectID string) ruleSet {
	if projectID == "" {
		return s
	}
	out := ruleSet{all: s.all, vague: s.vague}
	for _, r := range s.managed {
		if r.Project == "" || r.Project == projectID {
			out.managed = append(out.managed, r)
		}
	}
	return out
}

// pasted says whether the rules come from files alone: such a list may be a part of the whole.
func pasted(v *evidence.View, n evidence.Name) bool {
	src, ok := v.SourceOf(n)
	return ok && src.Pasted
}

// ownProject gives the project that the request is about, as far as it is known. Only refinements rest on it, so that a
// project that couldn't be read is no error here.
func ownProject(req diagnose.Request, v *evidence.View) evidence.Project {
	p, _ := evidence.Get(v, evidence.ProjectFact)
	switch t := req.Target.Project; {
	case t == "":
	case evidence.Numeric(t) && p.Number == "":
		p.Number = t
	case !evidence.Numeric(t) && p.ID == "":
		p.ID = t
	}
	return p
}

// projectParam gives what to write behind gcloud's --project: the target's, else the rules', else the proxy's.
func projectParam(req diagnose.Request, rules []evidence.ForwardingRule, who []identity) string {
	if req.Target.Project != "" {
		return req.Target.Project
	}
	for _, r := range rules {
		if r.Project != "" {
			return r.Project
		}
	}
	for _, p := range who {
		for _, c := range p.Projects {
			if evidence.Numeric(c.Value) {
				return c.Value
			}
		}
	}
	return ""
}

// ruleNames gives the names of rules for a sentence, at most three of them.
func ruleNames(rules []evidence.ForwardingRule) string {
	var names []string
	for _, r := range rules {
		names = append(names, quote(r.Name))
	}
	return few(names)
}

// few joins at most three items, and says how many more there are.
func few(items []string) string {
	const most = 3
	if len(items) > most {
		return strings.Join(items[:most], ", ") + fmt.Sprintf(" and %d more", len(items)-most)
	}
	return strings.Join(items, ", ")
}

// quoted quotes every item.
func quoted(items []string) []string {
	out := make([]string, len(items))
	for i, s := range items {
		out[i] = quote(s)
	}
	return out
}

// quote puts a value into quotes, cut to a length that no real name has, for it may come from any file.
func quote(s string) string {
	const longest = 120
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return strconv.Quote(s)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// nearest gives the name that a wrong one most looks like; ok is false where none is near enough to be a slip. One name may
// be the other with a part left out or added ("mesh-vpc", "mesh-vpc-old"), or a few letters off.
func nearest(name string, among []string) (best string, ok bool) {
	// Two letters in a short name, or a third of a long one: more is another name, not a slip.
	limit := max(2, len(name)/3)
	at := limit + 1
	for _, n := range among {
		if n == name || n == "" {
			continue
		}
		d := evidence.Edits(strings.ToLower(name), strings.ToLower(n))
		if short, long := name, n; d > limit && name != "" {
			if len(short) > len(long) {
				short, long = long, short
			}
			if len(short) >= 4 && (strings.HasPrefix(long, short+"-") || strings.HasSuffix(long, "-"+short)) {
				d = limit
			}
		}
		if d < at {
			best, at = n, d
		}
	}
	return best, at <= limit
}

// ruleExhibit shows rules with their networks, a few lines at most.
func ruleExhibit(rules []evidence.ForwardingRule) diagnose.Exhibit {
	const most = 3
	var lines []string
	for _, r := range rules[:min(len(rules), most)] {
		l := "forwarding rule " + quote(r.Name) + ": network " + quote(r.Network)
		if r.NetworkProject != "" && r.NetworkProject != r.Project {
			l += " of project " + quote(r.NetworkProject)
		}
		if r.Project != "" {
			l += ", in project " + quote(r.Project)
		}
		lines = append(lines, l)
	}
	if n := len(rules) - most; n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	x := diagnose.Exhibit{Fact: evidence.ForwardingRules.Name(), Excerpt: strings.Join(lines, "\n")}
	if len(rules) > 0 {
		x.Source = rules[0].Source
	}
	return x
}

// ruleParams are the parameters of a rule, as far as a copy of it on another network needs them.
func ruleParams(r evidence.ForwardingRule, into map[string]string) {
	into["rule"], into["address"], into["ports"] = r.Name, r.IPAddress, r.PortRange
	if a, b, ok := strings.Cut(r.PortRange, "-"); ok && a == b {
		into["ports"] = a
	}
	if r.IPAddress == "" || r.PortRange == "" {
		return // not enough for a command
	}
	proxy := evidence.LastSegment(r.Target)
	switch {
	case strings.Contains(r.Target, "/targetHttpProxies/"):
		into["http_proxy"] = proxy
	case strings.Contains(r.Target, "/targetGrpcProxies/"):
		into["grpc_proxy"] = proxy
	case strings.Contains(r.Target, "/targetTcpProxies/"):
		into["tcp_proxy"] = proxy
	}
}
