// Package envoyfacts turns what an Envoy proxy's admin interface prints into evidence, whether it was asked live or handed in
// as a file.
package envoyfacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// Facts gives the names of the facts that a kind of output tells.
func Facts(k envoy.Kind) []evidence.Name {
	switch k {
	case envoy.ConfigDump:
		return []evidence.Name{evidence.EnvoyDumps.Name(), evidence.ClientStatuses.Name()}
	case envoy.ServerInfoOut:
		return []evidence.Name{evidence.EnvoyInfos.Name()}
	case envoy.ClustersOut:
		return []evidence.Name{evidence.EnvoyHosts.Name()}
	case envoy.ListenersOut:
		return []evidence.Name{evidence.EnvoyListeners.Name()}
	case envoy.StatsOut:
		return []evidence.Name{evidence.EnvoyStats.Name()}
	case envoy.InitDumpOut:
		return []evidence.Name{evidence.EnvoyPending.Name()}
	}
	return nil
}

// Put reads one output and puts its facts. note says in a few words what was made of it. An error says that it could not be
// read; where a dump ends in the middle, what is before is put, and the dump's Problem says so.
func Put(set *evidence.Set, k envoy.Kind, data []byte, file string, baseline bool, src evidence.Source) (note string, err error) {
	switch k {
	case envoy.ConfigDump:
		return putDump(set, data, file, baseline, src)
	case envoy.ServerInfoOut:
		info, err := envoy.ParseServerInfo(data)
		if err != nil {
			return "", err
		}
		evidence.Put(set, evidence.EnvoyInfos, []evidence.EnvoyInfo{{Info: info, Uptime: uptime(data), File: file, Source: src}}, src)
		return "state " + info.State, nil
	case envoy.ClustersOut:
		hosts, err := envoy.ParseHosts(data)
		if err != nil {
			return "", err
		}
		evidence.Put(set, evidence.EnvoyHosts, []evidence.EnvoyHostStates{{Hosts: hosts, File: file, Source: src}}, src)
		return count(len(hosts.Clusters), "cluster"), nil
	case envoy.ListenersOut:
		list, err := envoy.ParseListening(data)
		if err != nil {
			return "", err
		}
		evidence.Put(set, evidence.EnvoyListeners, []evidence.EnvoyListening{{List: list, File: file, Source: src}}, src)
		return count(len(list), "listener"), nil
	case envoy.StatsOut:
		stats, err := envoy.ParseStats(data)
		if err != nil {
			return "", err
		}
		evidence.Put(set, evidence.EnvoyStats, []evidence.EnvoyCounters{{Stats: stats, File: file, Source: src}}, src)
		return count(len(stats), "counter"), nil
	case envoy.InitDumpOut:
		list, err := envoy.ParseInitDump(data)
		if err != nil {
			return "", err
		}
		evidence.Put(set, evidence.EnvoyPending, []evidence.EnvoyInit{{Unready: list, File: file, Source: src}}, src)
		return count(len(list), "init manager") + " not ready", nil
	case envoy.CertsOut:
		list, err := envoy.ParseCerts(data)
		if err != nil {
			return "", err
		}
		return count(len(list), "certificate") + "; no check reads them yet", nil
	}
	return "", fmt.Errorf("no output of Envoy's admin interface: %q", k)
}

// uptime reads how long the process that printed a /server_info has run. What can't be read is 0, which says nothing.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/server_info.proto
func uptime(serverInfo []byte) time.Duration {
	var m struct {
		Epoch string `json:"uptime_current_epoch"` // a protobuf duration, "12.5s"
	}
	if json.Unmarshal(serverInfo, &m) != nil || !strings.HasSuffix(m.Epoch, "s") {
		return 0
	}
	d, err := time.ParseDuration(m.Epoch)
	if err != nil {
		return 0
	}
	return d
}

func putDump(set *evidence.Set, data []byte, file string, baseline bool, src evidence.Source) (string, error) {
	d, err := envoy.ParseDump(data)
	e := evidence.EnvoyDump{Dump: d, File: file, Baseline: baseline, Source: src}
	var cut *envoy.SyntaxError
	switch {
	case errors.As(err, &cut) && len(d.Listeners)+len(d.Clusters)+len(d.RouteConfigs) > 0:
		e.Problem = err.Error()
	case err != nil:
		return "", err
	}
	evidence.Put(set, evidence.EnvoyDumps, []evidence.EnvoyDump{e}, src)
	if e.Problem != "" {
		set.Fail(evidence.EnvoyDumps.Name(), src, errors.New(e.Problem)) // no whole dump
	}
	if baseline {
		return "of a proxy that works: " + summary(d), nil
	}
	if st := status(d, src); len(st.Resources) > 0 {
		evidence.Put(set, evidence.ClientStatuses, []evidence.ClientStatus{st}, src)
	}
	if e.Problem != "" {
		return summary(d) + ", and then: " + e.Problem, nil
	}
	return summary(d), nil
}

func summary(d *envoy.Dump) string {
	return fmt.Sprintf("%s, %s, %s", count(len(d.Listeners), "listener"), count(len(d.RouteConfigs), "route configuration"), count(len(d.Clusters), "cluster"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// The xDS types of a dump's sections.
const (
	typePrefix   = "type.googleapis.com/envoy.config."
	listenerType = typePrefix + "listener.v3.Listener"
	clusterType  = typePrefix + "cluster.v3.Cluster"
	routeType    = typePrefix + "route.v3.RouteConfiguration"
	endpointType = typePrefix + "endpoint.v3.ClusterLoadAssignment"
	scopedType   = typePrefix + "route.v3.ScopedRouteConfiguration"
)

// status gives the dump as the client's own view of its dynamic resources, which is what CSDS would ask it for.
func status(d *envoy.Dump, src evidence.Source) evidence.ClientStatus {
	st := evidence.ClientStatus{
		Client: evidence.Client{NodeID: d.NodeID, Cluster: d.NodeCluster, UserAgentName: "envoy", UserAgentVersion: d.Version, Metadata: d.Metadata},
		Asked:  src.Time, Source: src,
	}
	add := func(url string, r envoy.Resource) {
		if r.State == envoy.StaticState {
			return
		}
		e := evidence.Resource{TypeURL: url, Name: r.Name, Version: r.Version, Client: view(r), LastUpdated: r.LastUpdated, Samples: 1}
		if r.Error != nil {
			e.Reason, e.ReasonTime = r.Error.Details, r.Error.LastAttempt
		}
		st.Resources = append(st.Resources, e)
	}
	for i := range d.Listeners {
		add(listenerType, d.Listeners[i].Resource)
	}
	for i := range d.Clusters {
		add(clusterType, d.Clusters[i].Resource)
	}
	for i := range d.RouteConfigs {
		add(routeType, d.RouteConfigs[i].Resource)
	}
	for i := range d.ScopedRoutes {
		add(scopedType, d.ScopedRoutes[i].Resource)
	}
	for i := range d.Endpoints {
		add(endpointType, d.Endpoints[i].Resource)
	}
	if st.Asked.IsZero() {
		st.Asked = newest(st.Resources)
	}
	return st
}

func newest(rs []evidence.Resource) (t time.Time) {
	for _, r := range rs {
		if r.LastUpdated.After(t) {
			t = r.LastUpdated
		}
	}
	return t
}

// view reads the client's status of a resource: as the dump has it (Envoy 1.19 and later), else from its state and error.
func view(r envoy.Resource) evidence.ResourceStatus {
	for s := evidence.ClientUnknown; s <= evidence.TimedOut; s++ {
		if r.ClientStatus == s.String() && s != evidence.ClientUnknown {
			return s
		}
	}
	switch {
	case r.Error != nil || r.State == envoy.Rejected:
		return evidence.Nacked
	case r.State == envoy.Active || r.State == envoy.Warming || r.State == envoy.Draining:
		return evidence.Acked
	}
	return evidence.ClientUnknown
}
