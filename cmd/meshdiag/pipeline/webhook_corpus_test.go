package pipeline

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/collect/artifact"
	"github.com/meshdiag/meshdiag/diagnose"
)

// TestWebhookCorpus holds what is found of webhooks in manifests of real ones.
func TestWebhookCorpus(t *testing.T) {
	const message = `Error creating: Internal error occurred: failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": `
	reader, err := artifact.New(artifact.Config{Signatures: checks.Signatures()})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := diagnose.New(diagnose.Config{Checks: checks.All(), Collectors: []diagnose.Collector{reader.Collector()}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		files []string
		paste string
		want  string // "check severity confidence" of the one cause of a webhook
		why   string
	}{
		{"the managed control plane's validator", []string{corpusManaged}, "", "", "an empty caBundle is right for a URL, and its failures are ignored until it is filled in"},
		{"the managed control plane's validator, beside pods", []string{corpusManaged, corpusPods}, "", "", "namespaces and pods say nothing of webhooks"},
		{"an injector's manifest", []string{corpusWebhook}, "", "webhook/ca-bundle-missing advice possible", "a manifest leaves caBundle to istiod; whether it is empty in a cluster isn't known"},
		{"and a call that isn't verified", []string{corpusWebhook}, message + "x509: certificate signed by unknown authority\n", "webhook/ca-bundle-missing blocking likely", "both together say that it is empty in the cluster"},
		{"a call without endpoints", []string{corpusManaged}, message + "no endpoints available for service \"istiod\"\n", "webhook/no-endpoints blocking likely", "the message says so"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := corpusFiles(t, tc.files...)
			if tc.paste != "" {
				files = append(files, diagnose.Artifact{Name: "paste", Data: []byte(tc.paste), Text: true})
			}
			rep, err := engine.Diagnose(t.Context(), diagnose.Request{Artifacts: files}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range rep.Causes {
				if c.Check.Area() == "webhook" {
					got = append(got, strings.Join([]string{string(c.Check), c.Severity.String(), c.Confidence.String()}, " "))
				}
			}
			if strings.Join(got, "; ") != tc.want {
				t.Errorf("found %q, want %q: %s", got, tc.want, tc.why)
			}
		})
	}
}
