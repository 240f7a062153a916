package vm

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// apart is how long apart two sightings of a failure that may pass must be: the agent looks again after a minute or so.
const apart = 2 * time.Minute

// AgentFailure finds that the agent, which is alive, reports a failure.
var AgentFailure = diagnose.Check{
	ID:         "vm/agent-failure",
	Severity:   diagnose.Degrading,
	Layer:      diagnose.LayerVM,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomRequestsFail, diagnose.SymptomNotConnected},
	Needs:      []evidence.Name{evidence.GuestAttributes.Name(), evidence.Instances.Name(), evidence.ClockFact.Name(), evidence.LogMessages.Name()},
	Explains:   []diagnose.CheckID{"traffic/vip-not-intercepted"},
	Signatures: []diagnose.Signature{messages.AgentCannotReach},
	Doc: diagnose.Doc{
		Title: "The agent of the VM's service proxy reports a failure",
		Explanation: "The guest attribute agent-last-failure holds what last went wrong for the agent, which keeps Envoy up and intercepts the addresses of services. " +
			"Until it gets further, services made since are not intercepted.",
		Quiet: "A failure that may pass by itself (the API server can't be reached), seen once: it must be seen again minutes later. An agent that is dead, or a VM that doesn't run: what it said last is a leftover.",
		Remedy: []diagnose.Step{
			seeAttributes[0], seeAttributes[1],
			{If: "unreachable", Text: "See from the VM whether the API answers (any HTTP answer, 404 included, shows that the way there works).",
				Command: "curl -sS -m 10 -o /dev/null -w '%{http_code}\\n' https://trafficdirector.googleapis.com/"},
			{If: "instance", Text: "Read the agent's log.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='sudo journalctl -u service-proxy-agent --no-pager -n 100'"},
			{Unless: "instance", Text: "Read the agent's log on the VM.", Command: "sudo journalctl -u service-proxy-agent --no-pager -n 100"},
			{Text: "Mend what it names. If it stays after that, start the agent again on the VM; this interrupts nothing.", Command: "sudo systemctl restart service-proxy-agent"},
		},
		References: []string{refTroubleshooting, refGuestAttributes},
	},
	Evaluate: agentFailure,
}

// mayPass recognises failures that pass by themselves.
var mayPass = regexp.MustCompile(messages.AgentCannotReach.Pattern)

func agentFailure(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	r, errAttrs := reported(req, v)
	clocks, _ := evidence.Get(v, evidence.ClockFact)
	log, errLog := evidence.Get(v, evidence.LogMessages)
	var idle *diagnose.NotApplicable
	if errors.As(errAttrs, &idle) {
		return nil, errAttrs // of another VM, or of one that doesn't run
	}
	text := r.agentFailure()
	if text != "" && !mayPass.MatchString(text) {
		switch h, err := r.heartbeat(req, clocks); {
		case err != nil:
			return nil, err
		case h.fresh(), r.Source.Pasted:
			// A file doesn't tell its time: whether the agent lives isn't known, what it said is.
			c := r.cause(req)
			c.Confidence = diagnose.Likely // it may be of the past
			c.Summary = fmt.Sprintf("The agent on %s reports a failure: %s", r.name(req), sentence(clip(text, maxWords)))
			c.Evidence = []diagnose.Exhibit{r.attribute(evidence.GuestAgentFailure), r.attribute(evidence.GuestAgentHeartbeat)}
			return []diagnose.Cause{c}, nil
		default:
			return nil, diagnose.Skip("the agent is dead: its last failure is a leftover")
		}
	}
	for _, m := range log {
		if m.Signature != messages.AgentCannotReach.ID || m.Last.Sub(m.First) < apart {
			continue
		}
		c := r.cause(req)
		c.Params["unreachable"] = "yes"
		c.Confidence = diagnose.Likely
		c.Summary = fmt.Sprintf("The agent on %s could not reach the control plane's API server %d times in %s.", r.name(req), m.Count, ago(m.Last.Sub(m.First)))
		c.Evidence = []diagnose.Exhibit{logged(m)}
		if text != "" {
			c.Evidence = append(c.Evidence, r.attribute(evidence.GuestAgentFailure))
		}
		return []diagnose.Cause{c}, nil
	}
	switch {
	case errAttrs == nil && text != "":
		return nil, nil // seen once
	case errAttrs != nil && errLog == nil && notAsked(errAttrs):
		return nil, nil
	}
	return nil, errAttrs
}
