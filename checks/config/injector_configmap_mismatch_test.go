package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// injectorMap is the ConfigMap of the GKE sidecar injector, with lines of its proxyMetadata.
func injectorMap(lines ...string) kube.ConfigMap {
	text := "defaultConfig:\n  discoveryAddress: trafficdirector.googleapis.com:443\n  proxyAdminPort: 15000\n  proxyMetadata:\n    # TRAFFICDIRECTOR_NETWORK_NAME: \"commented-out\"\n"
	for _, l := range lines {
		text += "    " + l + "\n"
	}
	return kube.ConfigMap{Meta: kube.Meta{Namespace: "istio-control", Name: "injector-mesh"}, Data: map[string]string{"mesh": text}}
}

func configMaps(list ...kube.ConfigMap) func(*evidence.Set) {
	return put(evidence.ConfigMaps, []evidence.Objects[kube.ConfigMap]{{Items: list, Namespace: "istio-control", Whole: true}})
}

func TestInjectorConfigMapMismatch(t *testing.T) {
	const (
		number = `TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: "` + projectNumber + `"`
		right  = "TRAFFICDIRECTOR_NETWORK_NAME: " + network
		wrong  = `TRAFFICDIRECTOR_NETWORK_NAME: "default"`
	)
	live := puts(theProject, rules(rule("web", network)))
	inShop := onNetwork
	inShop.Target.Namespace = "shop"
	checkstest.Run(t, config.InjectorConfigMapMismatch, []checkstest.Case{
		{
			Name: "another network", Request: inShop, Put: puts(live, configMaps(injectorMap(number, wrong))),
			Want: []checkstest.Want{{Subject: "ConfigMap istio-control/injector-mesh", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking,
				Summary: `The injector's ConfigMap istio-control/injector-mesh gives proxies the network "default", and the forwarding rules with INTERNAL_SELF_MANAGED are on "mesh-vpc".`,
				Params:  map[string]string{"right_network": network, "configmap": "injector-mesh"}}},
		},
		{
			Name: "another project's number", Request: onNetwork, Put: puts(live, configMaps(injectorMap(`TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: "111111111111"`, right))),
			Want: []checkstest.Want{{Summary: "gives proxies the project number 111111111111, and the rules are in project mesh-prod-4f2a, whose number is 482915067713", Params: map[string]string{"right_number": projectNumber}}},
		},
		{
			Name: "the project's ID", Request: onNetwork, Put: puts(live, configMaps(injectorMap("TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: "+projectID+" # ours", right))),
			Want: []checkstest.Want{{Summary: `gives proxies the project "mesh-prod-4f2a", where its number 482915067713 belongs`}},
		},
		{
			Name: "as Google's package has it, in files alone", Request: filesOnly, Put: configMaps(injectorMap(`TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: "my-project-here"`, `TRAFFICDIRECTOR_NETWORK_NAME: "my-network-here"`)),
			Want: []checkstest.Want{{Summary: `gives proxies the project "my-project-here", where its number belongs.`, Params: map[string]string{"named_project": ""}}},
		},
		{
			Name: "an ID, in files alone", Request: filesOnly, Put: configMaps(injectorMap("TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: " + projectID)),
			Want: []checkstest.Want{{Params: map[string]string{"named_project": projectID}}},
		},
		{
			Name: "both", Request: onNetwork, Put: puts(live, configMaps(injectorMap(`TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: '1234'`, wrong))),
			Want: []checkstest.Want{{Summary: `and the forwarding rules with INTERNAL_SELF_MANAGED are on "mesh-vpc", and gives proxies the project number 1234`}},
		},
		{
			Name: "with Istio's prefix", Request: onNetwork, Put: puts(live, configMaps(injectorMap(`ISTIO_META_TRAFFICDIRECTOR_NETWORK_NAME: "mesh-vpc-old"`))),
			Want: []checkstest.Want{{Summary: `the network "mesh-vpc-old"`}},
		},
		{
			Name: "rules from a file", Request: filesOnly, Put: puts(paste(evidence.ForwardingRules, []evidence.ForwardingRule{rule("web", network)}), configMaps(injectorMap(wrong))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely}},
		},
		{
			Name: "one of two", Request: onNetwork, Put: puts(live, configMaps(injectorMap(right), func() kube.ConfigMap { m := injectorMap(wrong); m.Name = "injector-mesh-2"; return m }())),
			Want: []checkstest.Want{{Key: "configmaps/istio-control/injector-mesh-2"}},
		},

		{Name: "right", Request: onNetwork, Put: puts(live, configMaps(injectorMap(number, right)))},
		{Name: "right, quoted, with the prefix", Request: onNetwork, Put: puts(live, configMaps(injectorMap(`"ISTIO_META_TRAFFICDIRECTOR_GCP_PROJECT_NUMBER": '`+projectNumber+`'`, `"ISTIO_META_TRAFFICDIRECTOR_NETWORK_NAME": "`+network+`"`)))},
		{Name: "right, as a URL", Request: onNetwork, Put: puts(live, configMaps(injectorMap(number, `TRAFFICDIRECTOR_NETWORK_NAME: "projects/host/global/networks/`+network+`"`)))},
		{Name: "a Mesh", Request: onNetwork, Put: puts(live, configMaps(injectorMap(number, `TRAFFICDIRECTOR_MESH_NAME: "gketd-checkout"`, `TRAFFICDIRECTOR_NETWORK_NAME: ""`)))},
		{Name: "a Mesh as the network", Request: onNetwork, Put: puts(live, configMaps(injectorMap(number, `TRAFFICDIRECTOR_NETWORK_NAME: "mesh:checkout"`)))},
		{Name: "a Mesh asked about", Request: onMesh, Put: puts(live, configMaps(injectorMap(number, wrong))), Outcome: diagnose.OutcomeSkipped},
		{Name: "empty", Request: onNetwork, Put: puts(live, configMaps(injectorMap(number, `TRAFFICDIRECTOR_NETWORK_NAME: ""`)))},
		{Name: "no rule at all is another row's", Request: onNetwork, Put: puts(theProject, rules(), configMaps(injectorMap(number, wrong)))},
		{Name: "Shared VPC: the rules are in another project", Request: onNetwork, Put: puts(theProject, rules(rule("web", network, inProject("svc"))), configMaps(injectorMap(`TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: "111111111111"`, right)))},
		{Name: "Istio's own ConfigMap", Request: onNetwork, Put: puts(live, configMaps(kube.ConfigMap{Meta: kube.Meta{Namespace: "istio-system", Name: "istio"}, Data: map[string]string{"mesh": "defaultConfig: {}\n"}})), Outcome: diagnose.OutcomeSkipped, Reason: "no ConfigMap"},
		{Name: "rules denied", Request: onNetwork, Put: puts(fail("forwarding-rules"), configMaps(injectorMap(number, wrong))), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed"},
		{Name: "a part of the rules denied", Request: onNetwork, Put: puts(live, failPart("forwarding-rules"), configMaps(injectorMap(number, wrong))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "rules not asked", Request: filesOnly, Put: configMaps(injectorMap(number, wrong)), Outcome: diagnose.OutcomeSkipped},
		{Name: "ConfigMaps denied", Request: onNetwork, Put: puts(live, fail("mesh-config-maps")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: onNetwork, Put: puts(live, late("mesh-config-maps")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: onNetwork, Put: live, Outcome: diagnose.OutcomeSkipped},
	})
}
