package xds

import (
	"errors"
	"fmt"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestBaselineDifference(t *testing.T) {
	noCluster, noRoute, sick := whole(), whole(), whole()
	noCluster.clusters, noCluster.assigned = nil, nil
	noRoute.routes = []string{fmt.Sprintf(vhost, "cart.example.com", "/")}
	sick.assigned = []string{assigned("UNHEALTHY", "UNHEALTHY")}
	other := whole()
	other.clusters = append(other.clusters, `{"name":"extra","type":"STATIC"}`)
	good := baseline(whole().dump(t))
	checkstest.Run(t, BaselineDifference, []checkstest.Case{
		{Name: "a cluster is lacking", Request: files, Put: dumps(good, noCluster.dump(t)), Want: []checkstest.Want{{Summary: "cluster checkout is lacking", Confidence: diagnose.Possible, Excerpt: "checkout"}}},
		{Name: "a domain is lacking", Request: files, Put: dumps(good, noRoute.dump(t)), Want: []checkstest.Want{{Summary: "is lacking"}}},
		{Name: "endpoints are unhealthy", Request: files, Put: dumps(good, sick.dump(t)), Want: []checkstest.Want{{Summary: "no usable endpoint"}}},
		{Name: "the same", Request: files, Put: dumps(good, whole().dump(t))},
		{Name: "the broken one has more", Request: files, Put: dumps(good, other.dump(t))},
		{Name: "nothing to compare with", Request: files, Put: dumps(noCluster.dump(t)), Outcome: diagnose.OutcomeSkipped, Reason: "--baseline"},
		{Name: "unreadable", Request: files, Outcome: diagnose.OutcomeInconclusive, Put: func(s *evidence.Set) {
			s.Fail(evidence.EnvoyDumps.Name(), evidence.Source{}, errors.New("cut off"))
		}},
	})
}
