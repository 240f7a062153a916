package artifact

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/meshdiag/meshdiag/collect/csdsconv"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/xdsclient"
)

// csds reads CSDS answers.
//
// Traffic Director answers in two steps: the list of the connected clients, without any status; then, asked with an exact
// node id, the status of that one. So several clients without a status are the list of everyone connected; an answer with a
// status is about the clients in it, and tells nothing of others. A single client without a status may be either, and
// becomes no fact: from its absence in a list nobody should conclude anything.
func (in *input) csds(raw json.RawMessage, where string) (outcome, error) {
	configs, err := xdsclient.DecodeJSON(raw, xdsclient.DecodeOptions{})
	if err != nil {
		return outcome{}, err
	}
	src := in.source(evidence.FromAPI, where)
	if t := newest(configs); !t.IsZero() {
		// The answer is at least as new as the last change in it, and "stale for a minute" is meant at that time.
		src.Time = t
	}
	statuses := []evidence.ClientStatus{}
	resources, bare := 0, 0
	for _, c := range configs {
		if len(c.Resources) == 0 {
			bare++
			continue
		}
		resources += len(c.Resources)
		statuses = append(statuses, csdsconv.ClientStatus(c, src))
	}
	switch {
	case len(configs) == 0:
		return unused("CSDS answer without a client: nobody matched what was asked for, which the file doesn't say"), nil
	case len(statuses) > 0:
		evidence.Put(in.set, evidence.ClientStatuses, statuses, src)
		o := used("", "%s with %s", count(len(statuses), "client"), count(resources, "resource"))
		if bare > 0 {
			o.note += fmt.Sprintf("; %d more without a status", bare)
		}
		return o, nil
	case len(configs) == 1:
		return unused("CSDS answer with one client and no status: ask with its exact node id for the status"), nil
	}
	list, err := clientList(configs)
	if err != nil {
		return unused("CSDS answer with %s and no status: %v", count(len(configs), "client"), err), nil
	}
	evidence.Put(in.set, evidence.Clients, list, src)
	return used("", "list of %s", count(len(list.Clients), "connected client")), nil
}

// newest gives the latest time that any resource tells.
func newest(configs []xdsclient.ClientConfig) time.Time {
	var t time.Time
	for _, c := range configs {
		for _, r := range c.Resources {
			if r.LastUpdated.After(t) {
				t = r.LastUpdated
			}
			if r.Error != nil && r.Error.LastAttempt.After(t) {
				t = r.Error.LastAttempt
			}
		}
	}
	return t
}

// clientList makes the list of the clients of one scope, which their node ids tell.
func clientList(configs []xdsclient.ClientConfig) (evidence.ClientList, error) {
	var out evidence.ClientList
	for i, c := range configs {
		id, err := evidence.ParseNodeID(c.Node.ID)
		if err != nil {
			return out, fmt.Errorf("client %d: %w", i+1, err)
		}
		scope, name := "network", id.VPC()
		switch {
		case id.Mesh() != "":
			scope, name = "mesh", id.Mesh()
		case id.Scope() != "":
			scope, name = "scope", id.Scope()
		}
		l := evidence.ClientList{ProjectNumber: id.Project, Scope: scope, ScopeName: name}
		if i == 0 {
			out = l
		} else if l.ProjectNumber != out.ProjectNumber || l.Scope != out.Scope || l.ScopeName != out.ScopeName {
			return out, fmt.Errorf("the clients are of several networks or meshes, %s and %s", name, out.ScopeName)
		}
		out.Clients = append(out.Clients, csdsconv.Client(c.Node))
	}
	slices.SortStableFunc(out.Clients, func(a, b evidence.Client) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return out, nil
}
