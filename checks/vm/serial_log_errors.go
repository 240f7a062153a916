package vm

import (
	"fmt"
	"slices"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// SerialLogErrors finds errors in what a set-up wrote that are of no kind known otherwise.
var SerialLogErrors = diagnose.Check{
	ID:         "vm/serial-log-errors",
	Severity:   diagnose.Degrading,
	Layer:      diagnose.LayerVM,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:      []evidence.Name{evidence.SerialPorts.Name(), evidence.LogMessages.Name(), evidence.GuestAttributes.Name(), evidence.Instances.Name()},
	Signatures: []diagnose.Signature{messages.ServiceProxySetup},
	Doc: diagnose.Doc{
		Title: "The set-up of the VM's service proxy logged errors",
		Explanation: "The set-up of a VM made with --service-proxy writes what it does to serial port 1. There are errors in it that meshdiag knows no cause for; the lines are quoted. " +
			"The set-up runs once: what it didn't do stays undone.",
		Quiet: "The set-up is done, or the agent started after the error; errors of other programs; errors of a kind that another check knows.",
		Remedy: append(append([]diagnose.Step{
			{Text: "Read the lines quoted, and those before them: the first error is the one to mend."},
		}, seeSerialPort...), remake),
		References: []string{refTroubleshooting, refSerialPort},
	},
	Evaluate: serialLogErrors,
}

func serialLogErrors(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s, skip := readSetup(req, v)
	if skip != nil {
		return nil, skip
	}
	hits := serialLines(s.ports, setupFailed, false)
	hits = append(hits, s.named(messages.ServiceProxySetup)...)
	hits = slices.DeleteFunc(hits, func(h hit) bool {
		return fetchFailed.MatchString(h.text) || noModules.MatchString(h.text) || mayPass.MatchString(h.text) || after(s.ports, h, agentStarted)
	})
	if len(hits) == 0 {
		return nil, s.tally.Err()
	}
	return []diagnose.Cause{s.cause(req, hits, diagnose.Possible,
		fmt.Sprintf("The set-up of the service proxy logged an error: %s", sentence(clip(hits[0].text, maxWords))))}, nil
}
