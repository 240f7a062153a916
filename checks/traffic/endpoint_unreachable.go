package traffic

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/checks/firewall"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// EndpointUnreachable finds endpoints that Google's health checks reach and the mesh's clients don't.
var EndpointUnreachable = diagnose.Check{
	ID:       "traffic/endpoint-unreachable",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Needs: []evidence.Name{
		evidence.AccessLogs.Name(), evidence.LogMessages.Name(), evidence.EnvoyStats.Name(), evidence.EnvoyHosts.Name(),
		evidence.BackendHealth.Name(), evidence.BackendServices.Name(), evidence.EndpointGroups.Name(), evidence.EffectiveFirewalls.Name(),
		evidence.Instances.Name(), evidence.Bootstraps.Name(), evidence.Clients.Name(),
	},
	Signatures: []diagnose.Signature{messages.UpstreamConnectError, messages.EndpointDialTimeout},
	Doc: diagnose.Doc{
		Title: "The firewall keeps the mesh's clients from healthy endpoints",
		Explanation: "Connections of clients run into their time limit, though the endpoints are healthy: Google's health checks come from 35.191.0.0/16 and 130.211.0.0/22, the clients from " +
			"addresses of their own, and the firewall in force admits the checks alone. It is asked for both ends: what may come in to the endpoint, and what may leave the client.",
		Quiet: "No connection timed out; the endpoints aren't healthy (the rows of backend tell why); the firewall admits the clients; it can't be told whether it does, for conditions that ranges " +
			"don't show, or tags and service accounts of VMs that aren't known; endpoints outside of Google Cloud, whose firewalls no API tells.",
		Remedy: []diagnose.Step{
			{Unless: "policy", If: "ingress", Text: "Add a rule that admits the clients (widen the range to the subnets that they are in; add --target-tags to limit it to the endpoints' VMs). A new rule changes no other one.",
				Command: "gcloud compute firewall-rules create allow-mesh-clients-{{port}} --project={{network_project}} --network={{network}} --direction=INGRESS --action=ALLOW --priority={{priority}} --source-ranges={{clients}} --rules=tcp:{{port}}"},
			{Unless: "policy", If: "egress", Text: "Add a rule that lets the clients out to the endpoints. A new rule changes no other one.",
				Command: "gcloud compute firewall-rules create allow-mesh-endpoints-{{port}} --project={{network_project}} --network={{network}} --direction=EGRESS --action=ALLOW --priority={{priority}} --destination-ranges={{endpoints}} --rules=tcp:{{port}}"},
			{If: "policy", Text: "Firewall policy {{policy}} denies them before a rule of the network is asked: whoever owns it must add a rule to it that allows tcp:{{port}} from {{clients}} to the endpoints, with a priority below {{rule_priority}}."},
			{Text: "See all that is in force.", Command: "gcloud compute networks get-effective-firewalls {{network}} --project={{network_project}}"},
			{Text: "Where they still time out, see that a route leads from the clients to the endpoints, and one back.", Command: "gcloud compute routes list --project={{network_project}} --filter='network~/{{network}}$'"},
		},
		References: []string{
			"https://docs.cloud.google.com/firewall/docs/firewall-policies-rule-eval-order",
			"https://cloud.google.com/load-balancing/docs/health-check-concepts#ip-ranges",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: endpointUnreachable,
}

// timeout is connections that timed out, as one source tells of them.
type timeout struct {
	to      netip.AddrPort // invalid where it isn't told
	hosts   []netip.AddrPort
	cluster string
	exhibit diagnose.Exhibit
}

// precise says whether it is known which endpoints it is of.
func (t timeout) precise() bool { return t.to.IsValid() || len(t.hosts) > 0 }

func (t timeout) of(a netip.AddrPort) bool {
	switch {
	case t.to.IsValid():
		return t.to == a
	case len(t.hosts) > 0:
		return slices.Contains(t.hosts, a)
	}
	return true
}

func (t timeout) String() string {
	switch {
	case t.to.IsValid():
		return "connections to " + t.to.String() + " time out"
	case t.cluster != "":
		return "connections of cluster " + t.cluster + " time out"
	}
	return "connections time out"
}

func endpointUnreachable(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var tally evidence.Tally
	seen := timeouts(&tally, v)
	health, err := evidence.Get(v, evidence.BackendHealth)
	defs, _ := evidence.Get(v, evidence.BackendServices)
	groups, _ := evidence.Get(v, evidence.EndpointGroups)
	sets, setsErr := evidence.Get(v, evidence.EffectiveFirewalls)
	vms, _ := evidence.Get(v, evidence.Instances)
	from := clientsOf(req, v, vms)
	if len(seen) == 0 {
		return nil, tally.Err()
	}
	if err != nil {
		return nil, err
	}
	w := ways{req: req, sets: sets, groups: groups, vms: vms, clients: from}
	var causes []diagnose.Cause
	var open error
	list := healthy(health, defs, groups)
	for _, s := range list {
		c, err := w.service(s, seen, setsErr)
		if c != nil {
			if len(list) > 1 {
				c.Key = "backends/" + cmp.Or(s.name, "unnamed")
			}
			causes = append(causes, *c)
		}
		if open == nil {
			open = err
		}
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}

// timeouts gives the connections to hosts of the mesh that timed out.
func timeouts(t *evidence.Tally, v *evidence.View) []timeout {
	log, _ := evidence.Read(t, v, evidence.AccessLogs)
	lines, _ := evidence.Read(t, v, evidence.LogMessages)
	stats, _ := evidence.Read(t, v, evidence.EnvoyStats)
	states, _ := evidence.Get(v, evidence.EnvoyHosts)
	var out []timeout
	for _, g := range log {
		if !inTime(g.Details+" "+g.Transport+" "+g.Termination) || strings.HasPrefix(g.Cluster, "inbound") {
			continue
		}
		to, _ := netip.ParseAddrPort(g.Upstream)
		out = append(out, timeout{to: to, cluster: g.Cluster, hosts: hostsOf(states, g.Cluster),
			exhibit: diagnose.Exhibit{Fact: evidence.AccessLogs.Name(), Excerpt: cut(g.Sample), Source: g.Source}})
	}
	for _, m := range lines {
		x := diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: cut(m.Text), Source: m.Source}
		switch {
		case m.Signature == messages.EndpointDialTimeout.ID:
			if to, err := netip.ParseAddrPort(m.Fields["address"]); err == nil {
				out = append(out, timeout{to: to, exhibit: x})
			}
		case m.Signature == messages.UpstreamConnectError.ID && m.Fields["stream"] == "" && inTime(m.Fields["reason"]+" "+m.Fields["transport"]):
			out = append(out, timeout{exhibit: x})
		}
	}
	for _, c := range stats {
		for _, name := range sortedNames(c.Stats) {
			cluster, ok := strings.CutPrefix(name, "cluster.")
			cluster, is := strings.CutSuffix(cluster, ".upstream_cx_connect_timeout")
			if n := c.Stats[name]; ok && is && n > 0 && !strings.HasPrefix(cluster, "inbound") {
				out = append(out, timeout{cluster: cluster, hosts: hostsOf(states, cluster),
					exhibit: diagnose.Exhibit{Fact: evidence.EnvoyStats.Name(), Excerpt: fmt.Sprintf("%s: %d", name, n), Source: c.Source}})
			}
		}
	}
	return out
}

func sortedNames(m map[string]int64) []string {
	out := make([]string, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// inTime says whether a connection wasn't made in time: Envoy's own limit (connect_timeout) since it tells that apart, or the
// kernel's, as error 110.
func inTime(reason string) bool {
	reason = strings.ReplaceAll(reason, " ", "_")
	return slices.ContainsFunc([]string{"connection_timeout", "connect_error:_110", "connect_error:_Connection_timed_out"}, func(s string) bool { return strings.Contains(reason, s) })
}

// hostsOf gives the addresses of a cluster, as the proxy knows them.
func hostsOf(states []evidence.EnvoyHostStates, cluster string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range states {
		if s.Hosts == nil || cluster == "" {
			continue
		}
		for _, c := range s.Hosts.Clusters {
			if c.Name != cluster {
				continue
			}
			for _, h := range c.Hosts {
				if a, err := netip.ParseAddr(h.Address.Host); err == nil && h.Address.Port > 0 && h.Address.Port <= 65535 {
					out = append(out, netip.AddrPortFrom(a.Unmap(), uint16(h.Address.Port)))
				}
			}
		}
	}
	return out
}

const maxExcerpt = 300 // of a log line: the flags and the reason are near its beginning

func cut(s string) string {
	if len(s) <= maxExcerpt {
		return s
	}
	return strings.ToValidUTF8(s[:maxExcerpt], "") + "…"
}

// meshClient is a client, or the proxy beside it.
type meshClient struct {
	address netip.Addr
	network string // "" where it isn't known
	vm      firewall.Machine
	name    string // of its VM
}

// addressKeys are the node metadata that clients of Traffic Director write their address under.
var addressKeys = []string{"INSTANCE_IP", "INSTANCE_IPS"}

// clientsOf gives the clients that timeouts are of: the VM or the node asked about, those whose bootstraps were handed over, or
// else all that the control plane lists.
func clientsOf(req diagnose.Request, v *evidence.View, vms []evidence.Instance) []meshClient {
	boots, _ := evidence.Get(v, evidence.Bootstraps)
	list, _ := evidence.Get(v, evidence.Clients)
	var out []meshClient
	add := func(nodeID string, metadata map[string]string) {
		n, _ := evidence.ParseNodeID(nodeID)
		_, text, _ := strings.Cut(n.Node, "~") // UUID~IP is how Traffic Director's packages make it
		for _, k := range addressKeys {
			text = cmp.Or(text, strings.Split(metadata[k], ",")[0])
		}
		a, err := netip.ParseAddr(text)
		if err != nil || slices.ContainsFunc(out, func(c meshClient) bool { return c.address == a.Unmap() }) {
			return
		}
		c := meshClient{address: a.Unmap(), network: cmp.Or(n.VPC(), req.Target.Network)}
		for _, i := range vms {
			if slices.Contains(i.Addresses, c.address.String()) {
				c.of(i)
			}
		}
		out = append(out, c)
	}
	for _, i := range vms {
		if req.Target.Instance != "" && i.Name == req.Target.Instance && len(i.Addresses) > 0 {
			if a, err := netip.ParseAddr(i.Addresses[0]); err == nil {
				c := meshClient{address: a.Unmap(), network: req.Target.Network}
				c.of(i)
				out = append(out, c)
			}
		}
	}
	if len(out) == 0 && req.Target.NodeID != "" {
		var metadata map[string]string
		for _, c := range list.Clients {
			if c.NodeID == req.Target.NodeID {
				metadata = c.Metadata
			}
		}
		add(req.Target.NodeID, metadata)
	}
	if len(out) == 0 {
		for _, b := range boots {
			add(b.NodeID, b.Metadata)
		}
	}
	if len(out) == 0 {
		for _, c := range list.Clients {
			add(c.NodeID, c.Metadata)
		}
	}
	return out
}

func (c *meshClient) of(i evidence.Instance) {
	c.name, c.vm = i.Name, firewall.MachineOf(i)
	if len(i.Networks) > 0 {
		c.network = evidence.LastSegment(i.Networks[0])
	}
}

// behind is a backend service with its endpoints that are healthy.
type behind struct {
	name      string
	endpoints []evidence.EndpointHealth
}

func (s behind) String() string {
	if s.name == "" {
		return "a backend service"
	}
	return "backend service " + s.name
}

// healthy groups the endpoints of the mesh that Google's health checks find healthy by their service.
func healthy(health []evidence.EndpointHealth, defs []evidence.BackendService, groups []evidence.EndpointGroup) []behind {
	var out []behind
	for _, e := range health {
		d := slices.IndexFunc(defs, func(d evidence.BackendService) bool {
			return e.Service != "" && e.Service == d.Name ||
				e.Service == "" && slices.ContainsFunc(d.Backends, func(b evidence.Backend) bool { return evidence.SameResource(b.Group, e.Group) })
		})
		outside := slices.ContainsFunc(groups, func(g evidence.EndpointGroup) bool {
			return g.CheckedByProxy() && evidence.SameResource(g.URL, e.Group)
		})
		if e.State != "HEALTHY" || outside || d >= 0 && defs[d].Scheme != "" && defs[d].Scheme != evidence.SelfManaged {
			continue
		}
		name := e.Service
		if d >= 0 {
			name = defs[d].Name
		}
		i := slices.IndexFunc(out, func(s behind) bool { return s.name == name })
		if i < 0 {
			i = len(out)
			out = append(out, behind{name: name})
		}
		out[i].endpoints = append(out[i].endpoints, e)
	}
	return out
}

// ways asks the firewall about the ways from clients to endpoints.
type ways struct {
	req     diagnose.Request
	sets    []evidence.FirewallSet
	groups  []evidence.EndpointGroup
	vms     []evidence.Instance
	clients []meshClient
}

// shut is a way that the firewall shuts.
type shut struct {
	client    meshClient
	endpoint  netip.AddrPort
	direction string
	by        *evidence.FirewallRule
	in        evidence.FirewallSet
	group     string
	assumed   bool // the endpoint's network isn't known: there is one only
}

// service judges a service to whose healthy endpoints connections timed out. No cause and no error says that the firewall
// admits the clients, or that the timeouts aren't of its endpoints.
func (w ways) service(s behind, seen []timeout, setsErr error) (*diagnose.Cause, error) {
	var blocked []shut
	var shown timeout
	asked, open := 0, error(nil)
	vague := true
	for _, t := range seen {
		for _, e := range s.endpoints {
			a, err := netip.ParseAddr(e.Address)
			if err != nil || e.Port <= 0 || e.Port > 65535 {
				continue
			}
			to := netip.AddrPortFrom(a.Unmap(), uint16(e.Port))
			if !t.of(to) {
				continue
			}
			if setsErr != nil {
				return nil, setsErr
			}
			if len(w.clients) == 0 {
				return nil, errors.New("which addresses the mesh's clients have isn't known: name one with --instance or --node-id, or hand over its bootstrap")
			}
			for _, c := range w.clients {
				if c.address == to.Addr() || c.address.Is4() != to.Addr().Is4() {
					continue // one host, or no way between them
				}
				asked++
				found, err := w.way(c, to, e)
				switch {
				case err != nil && open == nil:
					open = err
				case found != nil:
					if len(blocked) == 0 {
						shown = t
					}
					blocked = append(blocked, *found)
				}
				vague = vague && !t.precise()
			}
		}
	}
	// Which endpoint a vague timeout is of isn't known: it is of one that is shut only where all are.
	if len(blocked) == 0 || vague && len(blocked) < asked {
		return nil, open
	}
	confidence := diagnose.Confirmed
	if vague || len(blocked) < asked || blocked[0].assumed || blocked[0].in.Source.Pasted || shown.exhibit.Fact == evidence.EnvoyStats.Name() {
		confidence = diagnose.Likely
	}
	return w.cause(s, blocked, shown, confidence), nil
}

// way says whether the firewall shuts the way of a client to an endpoint: nil and nil where it doesn't.
func (w ways) way(c meshClient, to netip.AddrPort, e evidence.EndpointHealth) (*shut, error) {
	ends := []struct {
		direction string
		peer      netip.Addr
	}{{firewall.Ingress, c.address}, {firewall.Egress, to.Addr()}}
	var open error
	for _, end := range ends {
		var set evidence.FirewallSet
		var ok bool
		p := firewall.Packets{Direction: end.direction, Port: to.Port()}
		if end.direction == firewall.Ingress {
			set, p.Target, ok = firewall.Of(e, w.sets, w.groups, w.vms)
			p.Sender = &c.vm
		} else {
			p.Target = c.vm
			set, ok = firewall.Find(w.sets, c.name, c.network)
			ok = ok && (c.network != "" || c.name != "")
		}
		if !ok {
			if end.direction == firewall.Ingress {
				open = fmt.Errorf("which firewall is in force for endpoint %s isn't known", to)
			}
			continue // what leaves is admitted unless a rule denies it, and few do
		}
		switch o := firewall.New(set, p).Range(netip.PrefixFrom(end.peer, end.peer.BitLen())); o.Fate {
		case firewall.Blocked:
			return &shut{c, to, end.direction, o.By, set, e.Group, end.direction == firewall.Ingress && !w.placed(e)}, nil
		case firewall.Unknown:
			open = fmt.Errorf("whether the firewall admits %s to %s isn't certain: %s", c.address, to, o.Doubt())
		}
	}
	return nil, open
}

// placed says whether it is known which network an endpoint is on.
func (w ways) placed(e evidence.EndpointHealth) bool {
	name := evidence.LastSegment(e.Instance)
	return slices.ContainsFunc(w.groups, func(g evidence.EndpointGroup) bool { return g.Network != "" && evidence.SameResource(g.URL, e.Group) }) ||
		slices.ContainsFunc(w.vms, func(i evidence.Instance) bool { return name != "" && i.Name == name && len(i.Networks) > 0 }) ||
		slices.ContainsFunc(w.sets, func(s evidence.FirewallSet) bool { return name != "" && evidence.LastSegment(s.Instance) == name })
}

// defaultPriority is that of a VPC rule that names none.
const defaultPriority = 1000

func (w ways) cause(s behind, blocked []shut, seen timeout, confidence diagnose.Confidence) *diagnose.Cause {
	b := blocked[0]
	var clients, endpoints []string
	for _, x := range blocked {
		if a := x.client.address.String(); x.direction == b.direction && !slices.Contains(clients, a) {
			clients = append(clients, a)
		}
		if a := x.endpoint.Addr().String(); x.direction == b.direction && !slices.Contains(endpoints, a) {
			endpoints = append(endpoints, a)
		}
	}
	port := strconv.Itoa(int(b.endpoint.Port()))
	params := map[string]string{
		"network": cmp.Or(b.in.Network, w.req.Target.Network), "port": port, "priority": strconv.Itoa(defaultPriority), "clients": strings.Join(clients[:min(len(clients), 5)], ","),
		"endpoints": strings.Join(endpoints[:min(len(endpoints), 5)], ","), "network_project": w.req.Target.Project, strings.ToLower(b.direction): "yes",
	}
	for _, g := range w.groups {
		if g.NetworkProject != "" && evidence.SameResource(g.URL, b.group) {
			params["network_project"] = g.NetworkProject
		}
	}
	if b.by != nil {
		params["policy"], params["rule_priority"] = b.by.Policy, strconv.Itoa(b.by.Priority)
		if b.by.Policy == "" && b.by.Priority <= defaultPriority {
			params["priority"] = strconv.Itoa(max(b.by.Priority-1, 0))
		}
	}
	who := some(clients, "client")
	what := fmt.Sprintf("No firewall rule%s admits %s to %s", firewall.On(b.in.Network), who, b.endpoint)
	switch {
	case b.direction == firewall.Egress:
		what = fmt.Sprintf("The firewall doesn't let %s out to %s (%s)", who, b.endpoint, firewall.Describe(b.by))
	case b.by != nil:
		what = fmt.Sprintf("The firewall denies %s the way to %s (%s)", who, b.endpoint, firewall.Describe(b.by))
	}
	summary := fmt.Sprintf("%s, a healthy endpoint of %s; %s.", what, s, seen)
	return &diagnose.Cause{
		Subject: s.String(), Summary: summary, Confidence: confidence, Params: params,
		Evidence: []diagnose.Exhibit{
			{Fact: evidence.EffectiveFirewalls.Name(), Source: b.in.Source, Excerpt: fmt.Sprintf("tcp:%s from %s to %s: %s", port, strings.Join(clients[:min(len(clients), 5)], ", "), b.endpoint.Addr(), firewall.Describe(b.by))},
			{Fact: evidence.BackendHealth.Name(), Source: s.endpoints[0].Source, Excerpt: fmt.Sprintf("HEALTHY: %s", strings.Join(endpoints[:min(len(endpoints), 5)], ", "))},
			seen.exhibit,
		},
	}
}

// some names one of a list, or says how many there are.
func some(list []string, what string) string {
	if len(list) == 1 {
		return what + " " + list[0]
	}
	return fmt.Sprintf("%d %ss (%s …)", len(list), what, list[0])
}
