package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// kindPacketRules is what iptables and nft print of their rules.
const kindPacketRules = "packet-rules"

// maxRefusal bounds a text that is looked at as nothing but the refusal of one of those programs, which has two lines.
const maxRefusal = 16 << 10

// refusal is how iptables, iptables-save and nft tell that they weren't run as root, with either engine.
var refusal = regexp.MustCompile(`(?m)^.*\b(?:ip6?tables|nft|netlink|Cannot initialize)\b.*\(you must be root\).*$|^.*netlink: Error:.*Operation not permitted.*$`)

// looseRules gathers the rule sets that were handed in as files of their own: people print one table or one family at a
// time. They are taken for those of one host.
type looseRules struct {
	sets    []netfilter.Set
	fact    evidence.HostRules
	reasons []string
}

// packetRules reads what iptables or nft printed. ok is false where the file is nothing of that.
func (in *input) packetRules(data []byte) (o outcome, ok bool) {
	refused := strings.TrimSpace(string(refusal.Find(data[:min(len(data), maxRefusal)])))
	if !netfilter.Recognise(data) {
		if refused == "" || len(data) > maxRefusal {
			return outcome{}, false
		}
		k := kind{name: kindPacketRules, title: "packet filter rules", facts: []evidence.Name{evidence.PacketRules.Name()}, vantage: evidence.FromWorkload}
		return in.broken(k, fmt.Errorf("not read as root: %.200q", refused)), true
	}
	set, err := netfilter.Parse(data)
	rules, bad := set.Rules(), badLines(err)
	if 2*bad > rules && len(set.NFTTables) == 0 {
		return outcome{}, false // a log that holds some rules
	}
	note := count(rules, "rule")
	switch {
	case len(set.Tables) == 0 && len(set.NFTTables) > 0:
		note = "an nftables ruleset, which is not evaluated"
	case len(set.NFTTables) > 0:
		note += ", and nftables' own, which are not evaluated"
	}
	if bad > 0 {
		note += fmt.Sprintf(", %s not understood", count(bad, "line"))
	}
	if in.loose != nil {
		in.loose.add(in, set, refused, err)
	}
	return used(kindPacketRules, "%s", note), true
}

// nftHeads turns what nft -j list ruleset prints into the heads of its tables, as nft prints them without -j: that is all that
// is read of such a ruleset. It is nil where the document is another, or has no table.
func nftHeads(data []byte) []byte {
	const key = `{"nftables":` // what the program writes, before any other key; people's formatters add spaces
	if start := strings.Join(strings.Fields(string(data[:min(len(data), 64)])), ""); !strings.HasPrefix(start, key) || len(data) > netfilter.MaxText {
		return nil
	}
	var set struct {
		Items []struct {
			Table *struct{ Family, Name string }
		} `json:"nftables"`
	}
	if json.Unmarshal(data, &set) != nil {
		return nil
	}
	var out []byte
	for _, i := range set.Items {
		if i.Table != nil {
			out = fmt.Appendf(out, "table %s %s {\n}\n", i.Table.Family, i.Table.Name)
		}
	}
	return out
}

func badLines(err error) int {
	if err == nil {
		return 0
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return len(joined.Unwrap())
	}
	return 1
}

// add takes one file's rules.
func (l *looseRules) add(in *input, set netfilter.Set, refused string, err error) {
	if len(l.sets) == 0 {
		l.fact.Source = in.source(evidence.FromWorkload, "")
	}
	l.sets = append(l.sets, set)
	l.fact.Files = append(l.fact.Files, in.name)
	if refused != "" {
		l.reasons = append(l.reasons, fmt.Sprintf("%s: not all was read as root: %.200s", in.name, refused))
	}
	if err != nil && l.fact.Problem == "" {
		l.fact.Problem = in.name + ": " + strings.Join(strings.Fields(err.Error()), " ")
		if len(l.fact.Problem) > maxNote {
			l.fact.Problem = strings.ToValidUTF8(l.fact.Problem[:maxNote], "") + "…"
		}
	}
}

// put records the rules of all files as those of one host.
func (l *looseRules) put(set *evidence.Set) {
	if len(l.sets) == 0 {
		return
	}
	l.fact.Set = netfilter.Merge(l.sets...)
	for _, n := range l.fact.Set.Notes {
		if strings.Contains(n, "more than once, with different rules") {
			l.reasons = append(l.reasons, "the files disagree: "+n)
		}
	}
	if why := otherEngine(&l.fact.Set); why != "" {
		l.reasons = append(l.reasons, why)
	}
	l.fact.Unread = strings.Join(l.reasons, "; ")
	evidence.Put(set, evidence.PacketRules, []evidence.HostRules{l.fact}, l.fact.Source)
}

// otherEngine says why the rules may be in the kernel's other engine: what one of them told is empty, and nothing is known of
// the other.
func otherEngine(s *netfilter.Set) string {
	if s.UnreadLegacy {
		return "iptables warned of tables in the legacy engine, which were not handed in: run iptables-legacy-save"
	}
	var nft, legacy bool
	for _, t := range s.Tables {
		for _, c := range t.Chains {
			if t.Name == "nat" && len(c.Rules) > 0 {
				return ""
			}
		}
		nft = nft || t.Backend == netfilter.NFT
		legacy = legacy || t.Backend == netfilter.Legacy
	}
	switch {
	case nft && legacy || len(s.Tables) == 0:
		return ""
	case nft:
		return "the nft engine's tables redirect nothing, and the legacy engine's were not handed in: run iptables-legacy-save"
	case legacy:
		return "the legacy engine's tables redirect nothing, and the nft engine's were not handed in: run iptables-nft-save"
	}
	return "the tables redirect nothing, and whether they are the nft or the legacy engine's isn't told: run iptables-nft-save and iptables-legacy-save"
}
