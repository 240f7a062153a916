package diagnose

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

// Aspect is one way of naming what a cause is about.
type Aspect string

// The aspects. Node and VM name a proxy; the others name what proxies share, or what is wrong with them.
const (
	AboutProject    Aspect = "project" // id or number
	AboutNetwork    Aspect = "network" // VPC network, by its name
	AboutMesh       Aspect = "mesh"    // without "mesh:"
	AboutScope      Aspect = "scope"   // without "scope:"
	AboutNode       Aspect = "node"    // xDS node id, whole
	AboutVM         Aspect = "vm"      // ZONE/NAME, or NAME where the zone isn't known
	AboutAccount    Aspect = "account" // email of a service account
	AboutPermission Aspect = "permission"
	AboutAPI        Aspect = "api"      // "trafficdirector.googleapis.com"
	AboutType       Aspect = "type"     // of xDS resources, "Listener"
	AboutResource   Aspect = "resource" // names of xDS resources
	AboutReason     Aspect = "reason"   // of a rejection, without what differs from client to client
	AboutService    Aspect = "service"  // backend service
	AboutEndpoint   Aspect = "endpoint" // a VM that serves, as AboutVM names it
	AboutCluster    Aspect = "cluster"  // of a proxy's configuration
	AboutHost       Aspect = "host"     // that requests ask for, without a port
	AboutVersion    Aspect = "version"  // of the proxy
	AboutFailure    Aspect = "failure"  // what else tells two faults of one check apart; checks differ in its words
)

// About says what a cause is about, by the names that its evidence really told: none where it told none. Empty names count
// as none. Two causes of one check whose names contradict each other nowhere may be about the same thing; see Cause.
type About map[Aspect][]string

// values gives the names of an aspect, without empty ones.
func (a About) values(k Aspect) []string {
	var out []string
	for _, v := range a[k] {
		if v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// precision counts the aspects that are named.
func (a About) precision() int {
	n := 0
	for k := range a {
		if len(a.values(k)) > 0 {
			n++
		}
	}
	return n
}

// namesProxy says whether it is told which proxy is meant.
func (a About) namesProxy() bool {
	return len(a.values(AboutNode)) > 0 || len(a.values(AboutVM)) > 0
}

// with gives a copy in which names were added to those of an aspect.
func (a About) with(k Aspect, names ...string) About {
	out := About{}
	for k, v := range a {
		out[k] = slices.Clone(v)
	}
	for _, n := range names {
		if n != "" && !slices.Contains(out[k], n) {
			out[k] = append(out[k], n)
		}
	}
	return out
}

// without gives a copy in which some aspects are left out; nil stays nil.
func (a About) without(aspects ...Aspect) About {
	out := maps.Clone(a)
	for _, k := range aspects {
		delete(out, k)
	}
	return out
}

// contradicts says whether some aspect is named by both, and differently.
func (a About) contradicts(b About, w world) bool {
	for k := range a {
		if w.differ(k, a.values(k), b.values(k)) {
			return true
		}
	}
	return false
}

// proxyAspects are those that name a proxy or what it has of its own.
var proxyAspects = []Aspect{AboutNode, AboutVM}

// sharesName says whether both name the same proxy, the same place that proxies take their configuration from, or the same
// place that requests go to.
func (a About) sharesName(b About, w world) bool {
	for _, k := range []Aspect{AboutNode, AboutVM, AboutNetwork, AboutMesh, AboutScope, AboutCluster, AboutHost} {
		if x, y := a.values(k), b.values(k); len(x) > 0 && len(y) > 0 && !w.differ(k, x, y) {
			return true
		}
	}
	return false
}

// world is what the evidence tells of how names belong together.
type world struct {
	target    Target
	project   evidence.Project
	instances []evidence.Instance
	metadata  map[string]map[string]string // of nodes, by node id
	recorded  map[string]About             // whose recording each bundle is
	artifacts []string                     // names of the files handed in, the longest first
}

// newWorld reads what tells of names.
func newWorld(req Request, set *evidence.Set) world {
	v := evidence.NewView(set)
	w := world{target: req.Target, metadata: map[string]map[string]string{}, recorded: map[string]About{}}
	for _, a := range req.Artifacts {
		w.artifacts = append(w.artifacts, a.Name)
	}
	slices.SortFunc(w.artifacts, func(a, b string) int { return len(b) - len(a) })
	w.project, _ = evidence.Get(v, evidence.ProjectFact)
	w.instances, _ = evidence.Get(v, evidence.Instances)
	saw := func(id string, metadata map[string]string) {
		if id != "" && (len(metadata) > 0 || w.metadata[id] == nil) {
			w.metadata[id] = metadata
		}
	}
	clients, _ := evidence.Get(v, evidence.Clients)
	for _, c := range clients.Clients {
		saw(c.NodeID, c.Metadata)
	}
	statuses, _ := evidence.Get(v, evidence.ClientStatuses)
	for _, s := range statuses {
		saw(s.Client.NodeID, s.Client.Metadata)
	}
	bootstraps, _ := evidence.Get(v, evidence.Bootstraps)
	for _, b := range bootstraps {
		saw(b.NodeID, b.Metadata)
	}
	recordings, _ := evidence.Get(v, evidence.Recordings)
	for _, r := range recordings {
		a := About{AboutAccount: {r.Identity.Email}}
		if len(r.NodeIDs) == 1 {
			a = a.with(AboutNode, r.NodeIDs[0])
		}
		if i := r.Identity; i.Zone != "" && i.Instance != "" {
			a = a.with(AboutVM, i.Zone+"/"+i.Instance)
		}
		w.recorded[r.File] = a
	}
	return w
}

// place is where a piece of evidence is from.
type place struct {
	collector string
	file      string // or what was asked, of what is live
	recording string // the bundle of one host that the file is from
}

// origin gives where a source's word is from.
func (w world) origin(s evidence.Source) place {
	p := place{collector: s.Collector, recording: s.Recording}
	p.file, _, _ = strings.Cut(s.Detail, " line ")
	if i := slices.IndexFunc(w.artifacts, func(a string) bool { return strings.HasPrefix(s.Detail, a+" ") }); s.Pasted && i >= 0 {
		p.file = w.artifacts[i] // what follows says where in it
	}
	return p
}

// oneProxy says whether the request asks about one proxy.
func (w world) oneProxy() bool { return w.target.NodeID != "" || w.target.Instance != "" }

// asked names the proxy that the request asks about.
func (w world) asked() About {
	return About{AboutNode: {w.target.NodeID}, AboutVM: {w.target.vm()}}
}

// vm is the VM that was asked about, as AboutVM names one.
func (t Target) vm() string {
	if t.Instance == "" || t.Zone == "" {
		return t.Instance
	}
	return t.Zone + "/" + t.Instance
}

// complete adds what follows from the names that were told: a node's VM, a VM's service account.
func (w world) complete(a About) About {
	for _, id := range a.values(AboutNode) {
		switch vm, ok := w.runsOn(id); {
		case ok:
			a = a.with(AboutVM, vm)
		case id == w.target.NodeID && w.target.Instance != "":
			a = a.with(AboutVM, w.target.vm())
		}
	}
	if len(a.values(AboutNode)) == 0 && w.target.NodeID != "" && w.target.Instance != "" && slices.ContainsFunc(a.values(AboutVM), func(v string) bool { return sameVM(v, w.target.vm()) }) {
		a = a.with(AboutNode, w.target.NodeID)
	}
	if len(a.values(AboutAccount)) > 0 {
		return a
	}
	for _, name := range a.values(AboutVM) {
		for _, i := range w.instances {
			if !sameVM(name, vmName(i)) {
				continue
			}
			for _, s := range i.ServiceAccounts {
				a = a.with(AboutAccount, s.Email)
			}
		}
	}
	return a
}

// vmName names a VM as AboutVM does.
func vmName(i evidence.Instance) string {
	if z := evidence.LastSegment(i.Zone); z != "" {
		return z + "/" + i.Name
	}
	return i.Name
}

func sameVM(a, b string) bool {
	return evidence.LastSegment(a) == evidence.LastSegment(b) && (a == b || !strings.Contains(a, "/") || !strings.Contains(b, "/"))
}

// runsOn gives the VM that a node names in its id or its metadata: by address, number or name. ok is false where none is
// known to be, or several.
func (w world) runsOn(id string) (vm string, ok bool) {
	words := strings.FieldsFunc(id, func(r rune) bool { return r == '~' || r == '/' })
	for _, v := range w.metadata[id] {
		words = append(words, v)
		var nested map[string]any
		if strings.HasPrefix(v, "{") && json.Unmarshal([]byte(v), &nested) == nil {
			for _, v := range nested {
				if s, is := v.(string); is {
					words = append(words, s)
				}
			}
		}
	}
	for _, i := range w.instances {
		if !slices.ContainsFunc(words, func(s string) bool { return s != "" && (s == i.Name || s == i.ID || slices.Contains(i.Addresses, s)) }) {
			continue
		}
		if ok {
			return "", false
		}
		vm, ok = vmName(i), true
	}
	return vm, ok
}

// differ says whether two lists of names have none in common; not where one of them is empty, or where it can't be told.
func (w world) differ(k Aspect, a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	for _, x := range a {
		for _, y := range b {
			if w.maybeSame(k, x, y) {
				return false
			}
		}
	}
	return true
}

func (w world) maybeSame(k Aspect, x, y string) bool {
	switch {
	case x == y:
		return true
	case k == AboutVM, k == AboutEndpoint:
		return sameVM(x, y)
	case k == AboutProject && evidence.Numeric(x) != evidence.Numeric(y):
		// An id and a number: of one project, unless it is known which number the id has.
		id, number := x, y
		if evidence.Numeric(x) {
			id, number = y, x
		}
		return w.project.ID != id || w.project.Number == "" || w.project.Number == number
	}
	return false
}
