package xds

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// NoDynamicConfig finds proxies whose config dump has nothing that a control plane sent.
var NoDynamicConfig = diagnose.Check{
	ID:       "xds/no-dynamic-config",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy has no configuration from a control plane",
		Explanation: "The config dump has neither a dynamic listener nor a dynamic cluster: the proxy runs with its bootstrap alone. It isn't connected " +
			"to the control plane, or the control plane has nothing for it.",
		Quiet: "When something is warming, when the dump isn't whole, or when the bootstrap names no control plane.",
		Remedy: []diagnose.Step{
			{Text: "See whether the proxy is connected (1 is), and what it last heard:",
				Command: "curl -s 'http://localhost:15000/stats?filter=control_plane.connected_state|ds.update_'"},
			{Text: "Hand its bootstrap and its log to meshdiag too; they say why:", Command: "meshdiag diagnose -f config_dump.json -f bootstrap.json -f /var/log/envoy/envoy.err.log"},
		},
		References: []string{refDump, "https://cloud.google.com/service-mesh/docs/troubleshooting"},
	},
	Needs:    []evidence.Name{evidence.EnvoyDumps.Name(), evidence.Bootstraps.Name()},
	Explains: []diagnose.CheckID{"xds/destination-not-configured", "xds/inbound-port-not-configured", "xds/initial-fetch-timeout", "vm/envoy-not-live"},
	Evaluate: noDynamicConfig,
}

func noDynamicConfig(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	dumps, err := evidence.Get(v, evidence.EnvoyDumps)
	if err != nil {
		return nil, err
	}
	boots, _ := evidence.Get(v, evidence.Bootstraps)
	var causes []diagnose.Cause
	var open error
	for _, d := range dumps {
		static := slices.ContainsFunc(boots, func(b evidence.Bootstrap) bool { return d.File != "" && b.File == d.File && len(b.Servers) == 0 })
		if d.Baseline || static || dynamic(d.Dump) > 0 {
			continue
		}
		if !d.Dump.Knows(envoy.ListenerSection) || !d.Dump.Knows(envoy.ClusterSection) {
			open = &evidence.Missing{Name: evidence.EnvoyDumps.Name(), Why: evidence.Failed, Source: d.Source,
				Err: fmt.Errorf("%s does not hold the listeners and clusters whole", place(d))}
			continue
		}
		causes = append(causes, diagnose.Cause{
			Subject: cmp.Or(d.Dump.NodeID, place(d)), Key: pathKey(req, d), About: aboutDump(d), Confidence: diagnose.Confirmed,
			Summary: "The proxy's config dump has no dynamic listener and no dynamic cluster: it runs with its bootstrap alone.",
			Params:  map[string]string{"node_id": d.Dump.NodeID},
			Evidence: []diagnose.Exhibit{{Fact: evidence.EnvoyDumps.Name(), Source: d.Source, Excerpt: fmt.Sprintf("%s: %s and %s, all static",
				place(d), plural(len(d.Dump.Listeners), "listener"), plural(len(d.Dump.Clusters), "cluster"))}},
		})
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}

// dynamic counts the listeners and clusters that came from a control plane, whatever became of them: a rejected one came too.
func dynamic(d *envoy.Dump) (n int) {
	for i := range d.Listeners {
		if d.Listeners[i].State != envoy.StaticState {
			n++
		}
	}
	for i := range d.Clusters {
		if d.Clusters[i].State != envoy.StaticState {
			n++
		}
	}
	return n
}
