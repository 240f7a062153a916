package controlplane

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// sustained is in how many of the metric's five-minute intervals an error must occur: a reconnect or a deployment ends within
// one or two.
const sustained = 3

// stillOn is how long before the end of the hour the last error may be for the fault to be there still: three intervals, for
// counts arrive minutes late.
const stillOn = 15 * time.Minute

// APIErrors finds answers of the Traffic Director API that are errors again and again.
var APIErrors = diagnose.Check{
	ID:       "controlplane/api-errors",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerAPI,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:    []evidence.Name{evidence.APIRequests.Name()},
	Doc: diagnose.Doc{
		Title: "The Traffic Director API keeps answering with errors",
		Explanation: "Cloud Monitoring counts how the Traffic Director API answers the project's proxies. Over the last hour it answered with the same error " +
			"again and again: some proxy asks, and is refused each time. The count names no proxy.",
		Quiet: "Cancelled and unavailable answers, which are part of every reconnect; errors in fewer than three five-minute intervals, or that have stopped; calls of CSDS, which people and tools make, not proxies.",
		Remedy: []diagnose.Step{
			{If: "refused", Text: "403: a proxy's service account lacks trafficdirector.networks.getConfigs or its VM the cloud-platform scope, or the API is off. See who may:",
				Command: "gcloud projects get-iam-policy {{project}} --flatten='bindings[].members' --filter='bindings.role:roles/trafficdirector.client' --format='value(bindings.members)'"},
			{If: "unauthenticated", Text: "401: a proxy's token is missing, broken or has run out. Look into the proxies' logs for code 16."},
			{If: "absent", Text: "404: a proxy names a network, mesh or project for which there is no configuration. Compare its node id with the forwarding rules:",
				Command: "gcloud compute forwarding-rules list --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED --format='table(name,network.basename())'"},
			{If: "quota", Text: "429: a quota is exhausted. See the API's quotas:", Command: "gcloud services quota list --service=trafficdirector.googleapis.com --consumer=projects/{{project}}"},
			{If: "other", Text: "See the errors by method and time in APIs & Services, Traffic Director API, Metrics; and the proxies' own logs for their text."},
			{Text: "To learn which proxy it is, name one: meshdiag diagnose with --node-id or --instance, or hand in its log with -f."},
		},
		References: []string{"https://cloud.google.com/traffic-director/docs/troubleshooting", "https://cloud.google.com/apis/docs/monitoring"},
	},
	Evaluate: apiErrors,
}

// harmlessAnswer says whether a code is success, or part of every reconnect: as HTTP statuses or as gRPC names.
func harmlessAnswer(code string) bool {
	return slices.Contains([]string{"", "OK", "0", "CANCELLED", "1", "499", "UNAVAILABLE", "14", "503"}, code) || (len(code) == 3 && code[0] == '2')
}

func apiErrors(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	counts, err := evidence.Get(v, evidence.APIRequests)
	if err != nil {
		return nil, err
	}
	type tally struct {
		code      string
		total     int64
		intervals map[time.Time]bool
		last      time.Time
	}
	var found []*tally
	by := map[string]*tally{}
	var all int64
	for _, p := range counts.Points {
		if strings.Contains(p.Method, "ClientStatus") {
			continue // CSDS: people and tools ask it, this one among them, not proxies
		}
		all += p.Count
		if harmlessAnswer(p.Code) || p.Count <= 0 {
			continue
		}
		t := by[p.Code]
		if t == nil {
			t = &tally{code: p.Code, intervals: map[time.Time]bool{}}
			by[p.Code] = t
			found = append(found, t)
		}
		t.total += p.Count
		t.intervals[p.Time] = true
		if p.Time.After(t.last) {
			t.last = p.Time
		}
	}
	slices.SortFunc(found, func(a, b *tally) int { return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.code, b.code)) })
	var causes []diagnose.Cause
	for _, t := range found {
		if len(t.intervals) < sustained || counts.To.Sub(t.last) > stillOn {
			continue
		}
		params := map[string]string{"code": t.code}
		switch t.code {
		case "403", "PERMISSION_DENIED", "7":
			params["refused"] = "yes"
		case "401", "UNAUTHENTICATED", "16":
			params["unauthenticated"] = "yes"
		case "404", "NOT_FOUND", "5":
			params["absent"] = "yes"
		case "429", "RESOURCE_EXHAUSTED", "8":
			params["quota"] = "yes"
		default:
			params["other"] = "yes"
		}
		causes = append(causes, diagnose.Cause{
			Subject: cmp.Or(counts.API, trafficDirectorAPI) + " in project " + req.Target.Project + ": " + t.code,
			Summary: fmt.Sprintf("The Traffic Director API answered %d of %d requests with %s over the last hour, in %d five-minute intervals.", t.total, all, t.code, len(t.intervals)),
			// It is counted for the project: the proxy asked about need not be the one.
			Confidence: diagnose.Likely, Params: params,
			Evidence: []diagnose.Exhibit{{Fact: evidence.APIRequests.Name(), Excerpt: fmt.Sprintf("%s: %d times, last at %s", t.code, t.total, t.last.UTC().Format(time.RFC3339))}},
		})
	}
	if len(causes) == 0 {
		_, err = evidence.Whole(v, evidence.APIRequests)
	}
	return causes, err
}
