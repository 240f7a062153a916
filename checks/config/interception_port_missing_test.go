package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func targets(t ...evidence.TargetProxy) func(*evidence.Set) { return put(evidence.TargetProxies, t) }

func TestInterceptionPortMissing(t *testing.T) {
	empty, absent := meta(evidence.MetadataIntercept, ""), without(evidence.MetadataIntercept)
	web := evidence.TargetProxy{Kind: "http", Name: "web-proxy"}
	bind := web
	bind.ProxyBind = true
	ours := rules(rule("web", network))
	plain := func(b *evidence.Bootstrap) { b.Metadata = map[string]string{"app": "shop"} }
	checkstest.Run(t, config.InterceptionPortMissing, []checkstest.Case{
		{
			Name: "empty", Request: onNetwork, Put: puts(ours, targets(web), boots(boot(empty))),
			Want: []checkstest.Want{{Subject: "bootstrap envoy.yaml", Key: "", Summary: "TRAFFICDIRECTOR_INTERCEPTION_PORT is empty", Confidence: diagnose.Confirmed, Excerpt: `PORT: ""`}},
		},
		{
			Name: "empty, files alone", Request: filesOnly, Put: boots(boot(empty)),
			Want: []checkstest.Want{{Confidence: diagnose.Likely}},
		},
		{
			Name: "not there beside other attributes", Request: onNetwork, Put: puts(ours, targets(web), boots(boot(absent))),
			Want: []checkstest.Want{{Summary: "is not in bootstrap envoy.yaml", Confidence: diagnose.Likely, Excerpt: "not there"}},
		},
		{
			Name: "not there, files alone", Request: filesOnly, Put: boots(boot(absent)),
			Want: []checkstest.Want{{Confidence: diagnose.Possible}},
		},
		{
			Name: "a proxy that binds is on another network", Request: onNetwork,
			Put:  puts(rules(rule("web", "dmz"), rule("in", network)), targets(bind), boots(boot(empty), grpcBoot(network))),
			Want: []checkstest.Want{{Key: "files/envoy.yaml", Confidence: diagnose.Confirmed}},
		},
		{Name: "set", Request: onNetwork, Put: puts(ours, targets(web), boots(boot()))},
		{Name: "a middle proxy", Request: onNetwork, Put: puts(ours, targets(bind), boots(boot(empty)))},
		{Name: "a Mesh's proxy", Request: onMesh, Put: boots(boot(onSegment("mesh:"+meshName), empty)), Outcome: diagnose.OutcomeSkipped},
		{Name: "a gateway's", Request: onScope, Put: boots(boot(onSegment("scope:edge"), absent)), Outcome: diagnose.OutcomeSkipped},
		{Name: "proxyless", Request: onNetwork, Put: boots(grpcBoot(network)), Outcome: diagnose.OutcomeSkipped},
		{Name: "a v3 bootstrap without any attribute", Request: onNetwork, Put: boots(boot(plain))},
		{Name: "not there, and target proxies denied", Request: onNetwork, Put: puts(ours, fail("target-proxies"), boots(boot(absent))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "unreadable", Request: onNetwork, Put: fail("bootstraps"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: onNetwork, Put: late("bootstraps"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not given", Request: onNetwork, Outcome: diagnose.OutcomeSkipped},
	})
}
