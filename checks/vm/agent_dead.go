package vm

import (
	"fmt"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// agentSilence is how old a heartbeat may be. https://cloud.google.com/traffic-director/docs/troubleshooting
	agentSilence = 5 * time.Minute
	// clockDoubt is how far apart two clocks that nobody compared may well be: above agentSilence and this, silence is
	// certain.
	clockDoubt = 5 * time.Minute
)

// AgentDead finds that the agent of a VM made with --service-proxy has fallen silent.
var AgentDead = diagnose.Check{
	ID:       "vm/agent-dead",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail, diagnose.SymptomNoConfig, diagnose.SymptomNotConnected},
	Needs:    []evidence.Name{evidence.GuestAttributes.Name(), evidence.Instances.Name(), evidence.ClockFact.Name()},
	Explains: []diagnose.CheckID{"vm/agent-failure", "traffic/vip-not-intercepted"},
	Doc: diagnose.Doc{
		Title: "The agent of the VM's service proxy is dead",
		Explanation: "The agent on a VM made with --service-proxy keeps Envoy up and intercepts the addresses of new services. It writes the time of what it did last to the guest " +
			"attribute agent-heartbeat; older than five minutes, it is dead. What is set up already goes on working; traffic to services made since bypasses Envoy, goes to the " +
			"virtual address itself, and times out.",
		Quiet: "A heartbeat of the last five minutes; clocks that differ (those that were compared are reckoned with); a VM that doesn't run, whose attributes are leftovers; " +
			"a VM that wasn't made with --service-proxy and has no agent; a set-up that isn't done.",
		Remedy: []diagnose.Step{
			{If: "pasted", Text: "The file doesn't say when it was made: read the attributes again, to see whether the heartbeat goes on."},
			seeAttributes[0], seeAttributes[1],
			{If: "instance", Text: "See why it ended.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='sudo journalctl -u service-proxy-agent --no-pager -n 50'"},
			{If: "instance", Text: "Start it again; this interrupts nothing.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='sudo systemctl restart service-proxy-agent'"},
			{Unless: "instance", Text: "Start it again on the VM; this interrupts nothing.", Command: "sudo systemctl restart service-proxy-agent"},
			{Text: "Where that doesn't help and a managed instance group owns the VM, have the group make it anew: gcloud compute instance-groups managed recreate-instances GROUP " +
				"--instances=VM. This deletes the VM's boot disk and what is on it: drain and save it first."},
		},
		References: []string{refTroubleshooting, "https://cloud.google.com/sdk/gcloud/reference/compute/instance-groups/managed/recreate-instances"},
	},
	Evaluate: agentDead,
}

func agentDead(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	r, err := reported(req, v)
	clocks, _ := evidence.Get(v, evidence.ClockFact) // where they aren't known, the doubt is reckoned with
	if err != nil {
		return nil, err
	}
	h, err := r.heartbeat(req, clocks)
	if err != nil || h.fresh() {
		return nil, err
	}
	c := r.cause(req)
	c.Summary = fmt.Sprintf("The agent on %s is dead: its last heartbeat was %s ago, at %s.", r.name(req), ago(h.age), h.at.Format(time.RFC3339))
	switch {
	case r.Source.Pasted:
		c.Confidence = diagnose.Possible
		c.Params["pasted"] = "yes"
		c.Summary = fmt.Sprintf("The agent on %s last gave a heartbeat at %s, %s before the file was read: if the file is fresh, the agent is dead.", r.name(req), h.at.Format(time.RFC3339), ago(h.age))
	case !h.compared && h.age <= agentSilence+clockDoubt:
		c.Confidence = diagnose.Likely
	}
	c.Evidence = []diagnose.Exhibit{r.attribute(evidence.GuestAgentHeartbeat)}
	if r.agentFailure() != "" {
		c.Evidence = append(c.Evidence, r.attribute(evidence.GuestAgentFailure))
	}
	return []diagnose.Cause{c}, nil
}

// heartbeat is when the agent last did something.
type heartbeat struct {
	at       time.Time // by the VM's clock
	age      time.Duration
	compared bool // both clocks were compared with the control plane's
}

func (h heartbeat) fresh() bool { return h.age <= agentSilence }

// heartbeat reads the agent's heartbeat, and reckons its age at the time of the evidence. The error says why there is none
// to judge by.
func (r report) heartbeat(req diagnose.Request, clocks []evidence.ClockOffset) (heartbeat, error) {
	name := r.name(req)
	if err := r.denied(); err != nil {
		return heartbeat{}, err // a stopped VM's heartbeat is old too
	}
	if r.vmErr == nil && !serviceProxy(r.vm) {
		return heartbeat{}, diagnose.Skip("%s wasn't made with --service-proxy, so no agent is expected on it", name)
	}
	text, ok := r.Values[evidence.GuestAgentHeartbeat]
	if !ok || text == "" {
		switch s := r.status(); {
		case s == statusFinished && !r.Partial:
			return heartbeat{}, fmt.Errorf("the set-up of %s is done, and its agent has never given a heartbeat", name)
		case r.Values == nil:
			return heartbeat{}, diagnose.Skip("%s has no guest attributes", name)
		case r.Partial:
			return heartbeat{}, diagnose.Skip("the guest attributes given are only some of them")
		default:
			return heartbeat{}, diagnose.Skip("the agent isn't set up on %s yet", name)
		}
	}
	at, ok := parseHeartbeat(text)
	if !ok {
		return heartbeat{}, fmt.Errorf("the heartbeat %q of %s is in no form that is known", clip(text, maxWords), name)
	}
	if r.Source.Time.IsZero() {
		return heartbeat{}, fmt.Errorf("when the heartbeat of %s was read isn't known", name)
	}
	h := heartbeat{at: at, age: r.Source.Time.Sub(at)}
	ours, theirs := false, false
	for _, c := range clocks {
		switch c.Source.Vantage {
		case evidence.FromService: // its clock gave the evidence its time
			if !ours && !r.Source.Pasted {
				h.age -= c.Offset
				ours = true
			}
		case evidence.FromWorkload:
			if !theirs {
				h.age += c.Offset
				theirs = true
			}
		}
	}
	h.compared = ours && theirs
	if h.age < -clockDoubt {
		return h, fmt.Errorf("the heartbeat of %s is %s ahead: a clock is wrong", name, ago(-h.age))
	}
	return h, nil
}
