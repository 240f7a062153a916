package config_test

import (
	"errors"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The mesh that the cases are about.
const (
	projectID     = "mesh-prod-4f2a"
	projectNumber = "482915067713"
	network       = "mesh-vpc"
	meshName      = "checkout-mesh"
	nodeUUID      = "805c2d29-4470-4f85-8838-fcb4f04eb65f"
)

var (
	gcp      = evidence.Source{Collector: "gcp", Vantage: evidence.FromAPI}
	gcpPart  = evidence.Source{Collector: "gcp", Detail: "europe-west1", Vantage: evidence.FromAPI}
	file     = evidence.Source{Collector: "artifact", Detail: "rules.json", Pasted: true, Vantage: evidence.FromAPI}
	bootFile = evidence.Source{Collector: "artifact", Detail: "bootstrap", Pasted: true, Vantage: evidence.FromWorkload}

	onNetwork = diagnose.Request{Target: diagnose.Target{Project: projectID, Network: network}}
	onMesh    = diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: meshName}}
	onScope   = diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: "scope:edge"}}
	filesOnly = diagnose.Request{}

	denied = &evidence.Denied{What: "the forwarding rules of project " + projectID, Permission: "compute.forwardingRules.list", Err: errors.New("403")}
)

func node(segment string) string { return nodeOf(projectNumber, segment) }

func nodeOf(project, segment string) string {
	return "projects/" + project + "/networks/" + segment + "/nodes/" + nodeUUID
}

func asking(req diagnose.Request, node string) diagnose.Request {
	req.Target.NodeID = node
	return req
}

func puts(all ...func(*evidence.Set)) func(*evidence.Set) {
	return func(s *evidence.Set) {
		for _, f := range all {
			f(s)
		}
	}
}

func put[T any](k evidence.Key[T], v T) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, k, v, gcp) }
}

func paste[T any](k evidence.Key[T], v T) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, k, v, file) }
}

func fail(n evidence.Name) func(*evidence.Set) {
	return func(s *evidence.Set) { s.Fail(n, gcp, denied) }
}

func failPart(n evidence.Name) func(*evidence.Set) {
	return func(s *evidence.Set) { s.Fail(n, gcpPart, denied) }
}

func late(n evidence.Name) func(*evidence.Set) {
	return func(s *evidence.Set) { s.FailLate(n, gcp, nil) }
}

// rule is one of Traffic Director's forwarding rules; each change alters it.
func rule(name, network string, change ...func(*evidence.ForwardingRule)) evidence.ForwardingRule {
	r := evidence.ForwardingRule{
		Name: name, Project: projectID, Scheme: evidence.SelfManaged, Network: network, NetworkProject: projectID,
		IPAddress: "10.0.0.1", PortRange: "80-80", IPProtocol: "TCP", Source: gcp,
		Target: "https://www.googleapis.com/compute/v1/projects/" + projectID + "/global/targetHttpProxies/" + name + "-proxy",
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func rules(r ...evidence.ForwardingRule) func(*evidence.Set) { return put(evidence.ForwardingRules, r) }

func external(r *evidence.ForwardingRule) { r.Scheme, r.Network, r.NetworkProject = "EXTERNAL", "", "" }

func noScheme(r *evidence.ForwardingRule) { r.Scheme = "" }

func inProject(id string) func(*evidence.ForwardingRule) {
	return func(r *evidence.ForwardingRule) { r.Project = id }
}

func networkOf(id string) func(*evidence.ForwardingRule) {
	return func(r *evidence.ForwardingRule) { r.NetworkProject = id }
}

var theProject = put(evidence.ProjectFact, evidence.Project{ID: projectID, Number: projectNumber})

// boot is a complete Envoy bootstrap of the network; each change alters it.
func boot(change ...func(*evidence.Bootstrap)) evidence.Bootstrap {
	b := evidence.Bootstrap{
		Kind: evidence.EnvoyBootstrap, File: "envoy.yaml", NodeID: node(network), Transport: evidence.TransportV3,
		Servers: []string{"trafficdirector.googleapis.com:443"},
		Metadata: map[string]string{
			evidence.MetadataProject: projectNumber, evidence.MetadataNetwork: network, evidence.MetadataIntercept: "15001",
		},
		Source: bootFile,
	}
	for _, f := range change {
		f(&b)
	}
	return b
}

// grpcBoot is a bootstrap as Google's generator makes it: project and network stand in the node id alone.
func grpcBoot(segment string) evidence.Bootstrap {
	return evidence.Bootstrap{
		Kind: evidence.GRPCBootstrap, File: "td-grpc-bootstrap.json", NodeID: node(segment), Transport: evidence.TransportV3,
		Servers:  []string{"trafficdirector.googleapis.com:443"},
		Metadata: map[string]string{"INSTANCE_IP": "10.128.0.7"}, Source: bootFile,
	}
}

func sidecarEnv(number, network string) evidence.Bootstrap {
	return evidence.Bootstrap{
		Kind: evidence.SidecarEnvFile, File: "sidecar.env",
		Metadata: map[string]string{"ENVOY_USER": "envoy", "GCP_PROJECT_NUMBER": number, "VPC_NETWORK_NAME": network}, Source: bootFile,
	}
}

func withNode(id string) func(*evidence.Bootstrap) {
	return func(b *evidence.Bootstrap) { b.NodeID = id }
}

func meta(key, value string) func(*evidence.Bootstrap) {
	return func(b *evidence.Bootstrap) { b.Metadata[key] = value }
}

func without(key string) func(*evidence.Bootstrap) {
	return func(b *evidence.Bootstrap) { delete(b.Metadata, key) }
}

// onSegment writes a network, mesh: or scope: into node id and metadata alike.
func onSegment(segment string) func(*evidence.Bootstrap) {
	return func(b *evidence.Bootstrap) {
		b.NodeID = node(segment)
		if !strings.Contains(segment, ":") {
			b.Metadata[evidence.MetadataNetwork] = segment
		}
	}
}

func boots(b ...evidence.Bootstrap) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, evidence.Bootstraps, b, bootFile) }
}
