package xds

import (
	"context"
	"errors"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	nodeA = "projects/482915067713/networks/mesh-vpc/nodes/9f0c1c5e-6d0e-4a8c-9d0a-1f2e3d4c5b6a~10.128.0.7"
	nodeB = "projects/482915067713/networks/mesh-vpc/nodes/1b2c3d4e-0000-4a8c-9d0a-aaaaaaaaaaaa~10.128.0.8"
	nodeC = "projects/482915067713/networks/mesh-vpc/nodes/7e6f5d4c-1111-4a8c-9d0a-bbbbbbbbbbbb~10.128.0.9"

	ldsURL   = "type.googleapis.com/envoy.config.listener.v3.Listener"
	ldsURLv2 = "type.googleapis.com/envoy.api.v2.Listener"
	rdsURL   = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	cdsURL   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	edsURL   = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

	interception = "TRAFFICDIRECTOR_INTERCEPTION_PORT"
	denied       = "unable to open file '/var/log/envoy.log': Permission denied"
)

var (
	noon    = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	target  = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod-4f2a", Network: "mesh-vpc"}}
	oneNode = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod-4f2a", Network: "mesh-vpc", NodeID: nodeA}}
	onMesh  = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod-4f2a", Mesh: "shop-mesh"}}
	files   = diagnose.Request{Artifacts: []diagnose.Artifact{{Name: "envoy.log"}}}
	csds    = evidence.Source{Collector: "csds", Detail: "StreamClientStatus", Vantage: evidence.FromAPI, Time: noon}
	paste   = evidence.Source{Collector: "artifact", Detail: "csds.json", Vantage: evidence.FromWorkload, Time: noon, Pasted: true}
)

// status is one client's resources as the control plane tells them.
func status(node string, r ...evidence.Resource) evidence.ClientStatus {
	return evidence.ClientStatus{Client: evidence.Client{NodeID: node, UserAgentName: "envoy"}, Resources: r, Asked: noon, Source: csds}
}

// agent is a client that says it is something else than Envoy.
func agent(name string, s evidence.ClientStatus) evidence.ClientStatus {
	s.Client.UserAgentName = name
	return s
}

func server(url, name string, s evidence.ConfigStatus) evidence.Resource {
	return evidence.Resource{TypeURL: url, Name: name, Server: s, Samples: 1}
}

func client(url, name string, s evidence.ResourceStatus) evidence.Resource {
	return evidence.Resource{TypeURL: url, Name: name, Client: s, Samples: 1}
}

func because(r evidence.Resource, reason string) evidence.Resource { r.Reason = reason; return r }

func updated(r evidence.Resource, ago time.Duration) evidence.Resource {
	r.LastUpdated = noon.Add(-ago)
	return r
}

func sampled(r evidence.Resource, n int, span time.Duration) evidence.Resource {
	r.Samples, r.SampleSpan = n, span
	return r
}

func version(r evidence.Resource, v string) evidence.Resource { r.Version = v; return r }

// put fills in statuses and messages; nil leaves a fact not asked for.
func put(statuses []evidence.ClientStatus, logs []evidence.LogMessage) func(*evidence.Set) {
	return func(s *evidence.Set) {
		if statuses != nil {
			evidence.Put(s, evidence.ClientStatuses, statuses, csds)
		}
		if logs != nil {
			evidence.Put(s, evidence.LogMessages, logs, paste)
		}
	}
}

func seenStatus(l ...evidence.ClientStatus) func(*evidence.Set) { return put(l, nil) }

func refuse(s *evidence.Set) {
	s.Fail(evidence.ClientStatuses.Name(), csds, &evidence.Denied{
		What: "the clients of network mesh-vpc", Permission: "trafficdirector.networks.getConfigs", Err: errors.New("PERMISSION_DENIED"),
	})
}

func late(s *evidence.Set) { s.FailLate(evidence.ClientStatuses.Name(), csds, errors.New("no answer")) }

// partly is what a source tells of some clients, and another refuses of the rest.
func partly(l ...evidence.ClientStatus) func(*evidence.Set) {
	return func(s *evidence.Set) {
		evidence.Put(s, evidence.ClientStatuses, l, csds)
		refuse(s)
	}
}

// collect is a collector that brings what a test puts.
func collect(put func(*evidence.Set)) func(context.Context, diagnose.Request, *evidence.View, *evidence.Set) error {
	return func(_ context.Context, _ diagnose.Request, _ *evidence.View, s *evidence.Set) error {
		put(s)
		return nil
	}
}
