package controlplane

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// gkeLabel marks the VMs that are nodes of a GKE cluster: what runs there has identities of its own.
const gkeLabel = "goog-gke-node"

// targetVM gives the VM that the target names. The error is an *evidence.Missing where it can't be told.
func targetVM(t diagnose.Target, v *evidence.View) (evidence.Instance, error) {
	list, err := evidence.Get(v, evidence.Instances)
	if err != nil {
		return evidence.Instance{}, err
	}
	for _, i := range list {
		if isTarget(t, i) {
			return i, nil
		}
	}
	return evidence.Instance{}, &evidence.Missing{
		Name: evidence.Instances.Name(), Why: evidence.Failed,
		Err: fmt.Errorf("VM %s of zone %s is not among the %d read", t.Instance, t.Zone, len(list)),
	}
}

func isTarget(t diagnose.Target, i evidence.Instance) bool {
	return i.Name == t.Instance && (t.Zone == "" || i.Zone == "" || evidence.LastSegment(i.Zone) == t.Zone)
}

// serviceProxy says whether a VM was made to run a proxy: its metadata or its label says so. Other VMs are nobody's to
// accuse.
func serviceProxy(i evidence.Instance) bool {
	return i.Metadata[evidence.ServiceProxyKey] != "" || i.Labels[evidence.ServiceProxyKey] == "on"
}

// proxyVMs gives the VMs whose service accounts are the proxies': the target's own where it names one, else those that
// were made to run a proxy. Nodes of GKE aren't: pods there have service accounts of their own.
func proxyVMs(t diagnose.Target, v *evidence.View) ([]evidence.Instance, error) {
	if t.Instance != "" {
		i, err := targetVM(t, v)
		switch {
		case err != nil:
			return nil, err
		case hasLabel(i, gkeLabel) && !serviceProxy(i):
			return nil, diagnose.Skip("VM %s is a node of a GKE cluster: its pods have service accounts of their own", i.Name)
		}
		return []evidence.Instance{i}, nil
	}
	list, err := evidence.Get(v, evidence.Instances)
	if err != nil {
		return nil, err
	}
	var out []evidence.Instance
	for _, i := range list {
		if serviceProxy(i) && !hasLabel(i, gkeLabel) {
			out = append(out, i)
		}
	}
	if len(out) == 0 {
		return nil, diagnose.Skip("none of the VMs read was made to run a proxy")
	}
	return out, nil
}

func hasLabel(i evidence.Instance, name string) bool {
	_, ok := i.Labels[name]
	return ok
}

// partial says whether a listing was cut down to some fields: every VM has a network.
func partial(i evidence.Instance) bool { return i.Source.Pasted && len(i.Networks) == 0 }

// vmKey gives the key of a cause about a VM: the whole target where it is the only one meant.
func vmKey(t diagnose.Target, i evidence.Instance, meant int) string {
	if t.Instance != "" || (meant == 1 && !t.Live()) {
		return ""
	}
	return "instances/" + evidence.LastSegment(i.Zone) + "/" + i.Name
}

// aboutVM names a VM.
func aboutVM(i evidence.Instance) diagnose.About {
	return diagnose.About{diagnose.AboutVM: {evidence.LastSegment(i.Zone) + "/" + i.Name}}
}

// vmParams gives the parameters of a remedy on a VM.
func vmParams(t diagnose.Target, i evidence.Instance) map[string]string {
	p := map[string]string{"instance": i.Name, "zone": evidence.LastSegment(i.Zone)}
	if i.Project != "" {
		p["project"] = i.Project
	} else if t.Project != "" {
		p["project"] = t.Project
	}
	return p
}
