package proxyless

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// BootstrapInvalid finds bootstraps that no gRPC client can start from.
var BootstrapInvalid = diagnose.Check{
	ID:       "proxyless/bootstrap-invalid",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The gRPC client refuses its bootstrap",
		Explanation: "A gRPC bootstrap is JSON with at least one entry in xds_servers, each with a server_uri and channel_creds that name a type of credentials which the client " +
			"knows (for Cloud Service Mesh google_default). What is missing or malformed makes the client give up before it asks anybody.",
		Quiet: "For fields that a client doesn't know, which it passes over; where xds_v3 isn't among the server_features, which clients take; for Envoy's bootstraps.",
		Remedy: []diagnose.Step{
			{If: "file", Text: "Is it JSON, and whole?", Command: "python3 -m json.tool {{file}}"},
			{Text: "Make it anew with Google's generator, rather than by hand", Command: generate},
			{Text: "Start the client anew: a bootstrap is read once"},
		},
		References: []string{refA27, refA47, refGen},
	},
	Needs:      []evidence.Name{evidence.Artifacts.Name(), evidence.Bootstraps.Name(), evidence.LogMessages.Name()},
	Explains:   []diagnose.CheckID{"controlplane/no-client-connected", "controlplane/client-not-connected"},
	Signatures: []diagnose.Signature{messages.GRPCBootstrapInvalid, messages.GRPCClientFailed},
	Evaluate:   bootstrapInvalid,
}

// grpcBootstrapFile is the kind of a file that is a gRPC client's bootstrap.
const grpcBootstrapFile = "grpc-bootstrap"

func bootstrapInvalid(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var t evidence.Tally
	bootstraps, _ := evidence.Read(&t, v, evidence.Bootstraps)
	log, _ := evidence.Read(&t, v, evidence.LogMessages)
	files, _ := evidence.Get(v, evidence.Artifacts) // what is of no kind here was told as failed above

	list := grpcBootstraps(bootstraps)
	var causes []diagnose.Cause
	for _, b := range list {
		if len(b.Problems) == 0 {
			continue
		}
		causes = append(causes, diagnose.Cause{
			Subject: "bootstrap " + b.File, Key: fileKey(b.File, len(list)), Confidence: diagnose.Confirmed, Params: map[string]string{"file": b.File},
			Summary:  fmt.Sprintf("No gRPC client can start from %s: %s.", b.File, shorten(b.Problems[0], 120)),
			Evidence: []diagnose.Exhibit{{Fact: evidence.Bootstraps.Name(), Excerpt: strings.Join(b.Problems[:min(len(b.Problems), maxExhibits)], "\n"), Source: b.Source}},
		})
	}
	for _, f := range files {
		if f.Broken != grpcBootstrapFile {
			continue
		}
		causes = append(causes, diagnose.Cause{
			// It may have been cut on its way here.
			Subject: "bootstrap " + f.Name, Key: fileKey(f.Name, len(list)+1), Confidence: diagnose.Likely, Params: map[string]string{"file": f.Name},
			Summary:  fmt.Sprintf("The gRPC bootstrap %s is malformed: %s.", f.Name, shorten(strings.TrimPrefix(f.Note, "gRPC bootstrap: "), 120)),
			Evidence: []diagnose.Exhibit{{Fact: evidence.Artifacts.Name(), Excerpt: f.Name + ": " + f.Note}},
		})
	}
	if said := of(log, messages.GRPCBootstrapInvalid); len(said) > 0 {
		if len(causes) > 0 {
			causes[0].Evidence = append(causes[0].Evidence, shown(said)...)
			causes[0].Confidence = diagnose.Confirmed // the client says so of itself
		} else {
			causes = append(causes, diagnose.Cause{
				Subject: "the gRPC client's bootstrap", Confidence: diagnose.Likely, Params: map[string]string{}, Evidence: shown(said),
				Summary: fmt.Sprintf("A gRPC client refused its bootstrap: %s.", strings.TrimSuffix(problem(said), ".")),
			})
		}
	}
	if failed := of(log, messages.GRPCClientFailed); len(failed) > 0 && len(causes) == 0 && len(of(log, messages.GRPCBootstrapMissing))+len(of(log, messages.GRPCBootstrapUnreadable)) == 0 {
		c := diagnose.Cause{
			Subject: "the gRPC client's bootstrap", Confidence: diagnose.Possible, Params: map[string]string{}, Evidence: shown(failed),
			Summary: "A gRPC client could not make its xDS client, which it makes of its bootstrap, and the line doesn't say why.",
		}
		if why := reason(failed); why != "" {
			c.Confidence = diagnose.Likely
			c.Summary = fmt.Sprintf("A gRPC client could not make its xDS client, which it makes of its bootstrap: %s.", strings.TrimSuffix(why, "."))
		}
		causes = append(causes, c)
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, t.Err()
}

// described finds the reason within what gRPC's C++ core printed of errors until 2022.
var described = regexp.MustCompile(`"description":"([^"]+)"`)

// reason gives why the C++ core could not make its client, "" where no line says it.
func reason(list []evidence.LogMessage) string {
	for _, m := range list {
		why := first(m, "reason")
		if d := described.FindStringSubmatch(why); d != nil {
			why = d[1]
		}
		if why != "" {
			return shorten(why, 140)
		}
	}
	return ""
}

// problem gives the shortest reason said: one message may hold another's.
func problem(list []evidence.LogMessage) string {
	best := ""
	for _, m := range list {
		p := first(m, "problem", "parse", "java", "core", "creds")
		p = strings.TrimPrefix(p, "xds: ")
		if i := strings.Index(p, ": {"); i >= 0 {
			p = p[:i]
		}
		if p != "" && (best == "" || len(p) < len(best)) {
			best = p
		}
	}
	return shorten(best, 140)
}
