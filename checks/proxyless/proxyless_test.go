package proxyless_test

import (
	"errors"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	projectID = "mesh-prod-4f2a"
	network   = "mesh-vpc"
	nodeID    = "projects/482915067713/networks/mesh-vpc/nodes/805c2d29-4470-4f85-8838-fcb4f04eb65f"
	link      = "https://www.googleapis.com/compute/v1/projects/mesh-prod-4f2a/global/"
)

var (
	file = evidence.Source{Collector: "file", Detail: "client.log", Pasted: true, Vantage: evidence.FromWorkload}
	gcp  = evidence.Source{Collector: "gcp", Vantage: evidence.FromAPI}

	onNetwork = diagnose.Request{Target: diagnose.Target{Project: projectID, Network: network}}
	onMesh    = diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: "shop-mesh"}}
	denied    = &evidence.Denied{What: "the forwarding rules of project " + projectID, Permission: "compute.forwardingRules.list", Err: errors.New("403")}
)

func dialling(req diagnose.Request, destination string) diagnose.Request {
	req.Target.Destination = destination
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

func fail(names ...evidence.Name) func(*evidence.Set) {
	return func(s *evidence.Set) {
		for _, n := range names {
			s.Fail(n, gcp, denied)
		}
	}
}

func late(n evidence.Name) func(*evidence.Set) {
	return func(s *evidence.Set) { s.FailLate(n, gcp, nil) }
}

func message(s diagnose.Signature, text string, fields map[string]string) evidence.LogMessage {
	return evidence.LogMessage{Signature: s.ID, Fields: fields, File: "client.log", Text: text, Count: 1, Line: 3, LastLine: 3, Source: file}
}

func logs(list ...evidence.LogMessage) func(*evidence.Set) { return put(evidence.LogMessages, list) }

// bootstrap makes that of a gRPC client.
func bootstrap(change func(*evidence.Bootstrap)) evidence.Bootstrap {
	b := evidence.Bootstrap{Kind: evidence.GRPCBootstrap, File: "bootstrap.json", NodeID: nodeID, Servers: []string{"trafficdirector.googleapis.com:443"}, Source: file}
	if change != nil {
		change(&b)
	}
	return b
}

func bootstraps(list ...evidence.Bootstrap) func(*evidence.Set) {
	return put(evidence.Bootstraps, list)
}

var unrelated = message(messages.ProxyReady, "Envoy proxy is ready", nil)
