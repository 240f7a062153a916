package config_test

import (
	"context"
	"slices"
	"testing"

	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// TestFold runs the whole area over faults that several checks see, and holds that each gives one cause.
func TestFold(t *testing.T) {
	area := []diagnose.Check{
		config.NoForwardingRule, config.NetworkMismatch, config.ProjectNumberMismatch, config.MeshNotFound, config.MeshHasNoRoutes,
		config.MetadataFilterMismatch, config.BootstrapIncomplete, config.BootstrapPlaceholder, config.ServiceProxyNetworkMismatch,
		config.InterceptionPortMissing, config.ProxylessValidation, config.NotFoundLogged, config.InjectorConfigMapMismatch,
	}
	notFound := logs(message(messages.ConfigNotFound.ID, "…", 3, "kind", "network", "name", network, "project", projectNumber))
	template := boot(withNode("projects/PROJECT_NUMBER/networks/VPC_NETWORK_NAME/nodes/UUID"), holding(evidence.Placeholder{Field: "node.id", Value: "PROJECT_NUMBER"}))
	template.Metadata = map[string]string{}
	oneVM := onNetwork
	oneVM.Target.Zone, oneVM.Target.Instance = "us-central1-a", "web-1"
	cases := []struct {
		name     string
		req      diagnose.Request
		put      func(*evidence.Set)
		causes   []diagnose.CheckID
		symptoms []diagnose.CheckID // of the first cause
	}{
		{"healthy", onNetwork, puts(theProject, rules(rule("web", network)), boots(boot()), meshes(), gateways()), nil, nil},
		{"no rule, and logged", onNetwork, puts(theProject, rules(), notFound, boots(boot())),
			[]diagnose.CheckID{"config/no-forwarding-rule"}, []diagnose.CheckID{"config/not-found-logged"}},
		{"another network, and logged", onNetwork, puts(theProject, rules(rule("web", "mesh-vpc-old")), notFound),
			[]diagnose.CheckID{"config/network-mismatch"}, []diagnose.CheckID{"config/not-found-logged"}},
		{"a template left as it is", onNetwork, puts(theProject, rules(rule("web", network)), boots(template)),
			[]diagnose.CheckID{"config/bootstrap-placeholder"}, []diagnose.CheckID{"config/network-mismatch", "config/project-number-mismatch"}},
		{"the VM's network", oneVM, puts(theProject, rules(rule("web", "mesh-vpc-old")), put(evidence.Instances, []evidence.Instance{vm("web-1", `{"network":"mesh-vpc"}`, "mesh-vpc-old")})),
			[]diagnose.CheckID{"config/service-proxy-network-mismatch"}, []diagnose.CheckID{"config/network-mismatch"}},
		{"the injector's ConfigMap, and a pod's bootstrap made of it", onNetwork, puts(theProject, rules(rule("web", network)), boots(boot(withNode(node("default")), meta(evidence.MetadataNetwork, "default"))), configMaps(injectorMap(`TRAFFICDIRECTOR_NETWORK_NAME: "default"`))),
			[]diagnose.CheckID{"config/injector-configmap-mismatch"}, []diagnose.CheckID{"config/network-mismatch"}},
		{"two faults are two causes", onNetwork, puts(theProject, rules(rule("web", network)), boots(boot(onSegment("mesh-vpc-old"), meta(evidence.MetadataIntercept, "")))),
			[]diagnose.CheckID{"config/network-mismatch", "config/interception-port-missing"}, nil},
		{"the bootstraps that Google's generator writes", filesOnly, boots(grpcBoot(network), func() evidence.Bootstrap {
			b := grpcBoot("mesh:" + meshName)
			b.File, b.Metadata[evidence.MetadataNetwork] = "mesh.json", network
			return b
		}()), nil, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var provides []evidence.Name
			for _, ch := range area {
				provides = append(provides, ch.Needs...)
			}
			engine, err := diagnose.New(diagnose.Config{Checks: area, Collectors: []diagnose.Collector{{
				Name: "facts", Provides: provides,
				Collect: func(_ context.Context, _ diagnose.Request, _ *evidence.View, s *evidence.Set) error {
					c.put(s)
					return nil
				},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			rep, err := engine.Diagnose(t.Context(), c.req, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got, symptoms []diagnose.CheckID
			for _, f := range rep.Causes {
				got = append(got, f.Check)
			}
			if !slices.Equal(got, c.causes) {
				t.Fatalf("causes %v, want %v", got, c.causes)
			}
			if len(rep.Causes) > 0 {
				symptoms = rep.Causes[0].Symptoms
			}
			if !slices.Equal(symptoms, c.symptoms) {
				t.Errorf("symptoms %v, want %v", symptoms, c.symptoms)
			}
		})
	}
}
