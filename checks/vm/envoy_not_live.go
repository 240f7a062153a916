package vm

import (
	"cmp"
	"fmt"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// justStarted is how long Envoy may take to come up: it waits for its first clusters and listeners, for each of which its
// fetch times out after 15 seconds.
const justStarted = time.Minute

// EnvoyNotLive finds an Envoy that runs and does not serve.
var EnvoyNotLive = diagnose.Check{
	ID:       "vm/envoy-not-live",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.EnvoyInfos.Name()},
	Doc: diagnose.Doc{
		Title: "Envoy runs, and is not live",
		Explanation: "Envoy's admin interface says of its state something other than LIVE. While it is INITIALIZING or PRE_INITIALIZING it waits for its first configuration, or for " +
			"clusters to come up, and its listeners accept nothing. DRAINING it was told to: it fails its health checks, and is about to end.",
		Quiet: "LIVE; initializing for less than a minute.",
		Remedy: []diagnose.Step{
			{If: "draining", Text: "See who told it to drain: a shutdown, a hot restart, or a call of /healthcheck/fail or /drain_listeners. If nobody meant it, take it back.",
				Command: "curl -X POST localhost:15000/healthcheck/ok"},
			{Unless: "draining", Text: "See what it waits for.", Command: "curl -s localhost:15000/init_dump"},
			{Unless: "draining", Text: "See whether it is connected to the control plane (1), and whether updates were rejected.",
				Command: "curl -s 'localhost:15000/stats?filter=control_plane.connected_state|update_rejected|update_success'"},
			{Unless: "draining", Text: "Hand in its config dump and its log with this question."},
		},
		References: []string{
			"https://www.envoyproxy.io/docs/envoy/latest/operations/admin",
			"https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/init",
		},
	},
	Evaluate: envoyNotLive,
}

func envoyNotLive(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	infos, err := evidence.Get(v, evidence.EnvoyInfos)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	var open error
	for _, i := range infos {
		node, state := i.Info.Node.ID, i.Info.State
		if req.Target.NodeID != "" && node != "" && node != req.Target.NodeID {
			continue
		}
		name := "the Envoy of " + cmp.Or(node, i.Source.Detail, "this admin interface")
		c := diagnose.Cause{
			Subject: name, About: diagnose.About{diagnose.AboutNode: {node}}, Confidence: diagnose.Confirmed, Params: params(req, evidence.Instance{}, ""),
			Evidence: []diagnose.Exhibit{{Fact: evidence.EnvoyInfos.Name(), Excerpt: fmt.Sprintf("/server_info: state %s, up for %s", state, i.Uptime), Source: i.Source}},
		}
		switch {
		case len(infos) == 1 || node != "" && node == req.Target.NodeID:
		case node != "":
			c.Key = "nodes/" + node
		default:
			c.Key = "files/" + i.Source.Detail
		}
		switch state {
		case "LIVE", "":
			continue
		case "DRAINING":
			c.Severity = diagnose.Degrading
			c.Params["draining"] = "yes"
			c.Summary = "Envoy drains: it was told to shut down, or to fail its health checks."
		default:
			if i.Uptime < justStarted { // or it isn't known
				open = fmt.Errorf("%s is %s, and may have started only just now", name, state)
				continue
			}
			c.Summary = fmt.Sprintf("Envoy has been up for %s, and is still %s, not LIVE: it accepts no traffic.", ago(i.Uptime), state)
		}
		causes = append(causes, c)
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}
