package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"sigs.k8s.io/yaml"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/report"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

var noon = timestamppb.New(time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC))

func results(n int, more ...*pb.CheckResult) []*pb.CheckResult {
	var out []*pb.CheckResult
	for i := range n {
		out = append(out, &pb.CheckResult{CheckId: "config/check-" + string(rune('a'+i)), Outcome: pb.Outcome_OUTCOME_PASSED})
	}
	return append(out, more...)
}

// samples are reports by name of their golden files.
func samples() map[string]*pb.Report {
	target := &pb.Target{Project: "mesh-prod-4f2a", Network: "mesh-vpc"}
	timing := &pb.Timing{
		StartTime: noon, Duration: durationpb.New(1234 * time.Millisecond),
		Collectors: []*pb.CollectorTiming{
			{Name: "csds", Duration: durationpb.New(812 * time.Millisecond)},
			{Name: "gcp", Duration: durationpb.New(10 * time.Second), Late: true, Error: "context deadline exceeded"},
		},
	}
	return map[string]*pb.Report{
		"causes": {
			Name: "reports/7d3f", Target: target, Verdict: pb.Verdict_VERDICT_CAUSES_FOUND, Timing: timing,
			Headline: `No forwarding rule with INTERNAL_SELF_MANAGED is on network "mesh-vpc"; the 2 there are are on "mesh-vpc-old".`,
			Causes: []*pb.Cause{
				{
					CheckId: "config/network-mismatch", Title: "The forwarding rules are on another network", Severity: pb.Severity_SEVERITY_BLOCKING,
					Confidence: pb.Confidence_CONFIDENCE_CONFIRMED, Subject: "network mesh-vpc of project mesh-prod-4f2a",
					Summary:     `No forwarding rule with INTERNAL_SELF_MANAGED is on network "mesh-vpc"; the 2 there are are on "mesh-vpc-old".`,
					Explanation: "Traffic Director configures a proxy from the forwarding rules on the network that the proxy names.\nWith none there it has nothing to send.",
					Evidence: []*pb.Evidence{
						{Fact: "forwarding-rules", Source: "gcp compute.forwardingRules.aggregatedList", Vantage: pb.Vantage_VANTAGE_API, Time: noon,
							Excerpt: "shop-rule: INTERNAL_SELF_MANAGED on mesh-vpc-old, 10.0.0.1:80-80\ncart-rule: INTERNAL_SELF_MANAGED on mesh-vpc-old, 10.0.0.2:80-80"},
						{Fact: "bootstraps", Source: "artifact bootstrap.json", Vantage: pb.Vantage_VANTAGE_WORKLOAD, Time: noon,
							Excerpt: "node.id: projects/482915067713/networks/mesh-vpc/nodes/9f0c1c5e-6d0e-4a8c-9d0a-1f2e3d4c5b6a~10.128.0.7"},
					},
					Remediation: []*pb.RemediationStep{
						{Text: "Make a rule on the proxies' network.", Command: `gcloud compute forwarding-rules create shop-rule-new --global --project=mesh-prod-4f2a --network=mesh-vpc --load-balancing-scheme=INTERNAL_SELF_MANAGED --address=0.0.0.0 --ports=80 --target-http-proxy=shop-proxy`},
						{Text: "Or let the proxies name the other network: set TRAFFICDIRECTOR_NETWORK_NAME to mesh-vpc-old and restart them. Connections through them are cut while they restart."},
					},
					References: []string{"https://docs.cloud.google.com/service-mesh/docs/service-routing/xds-control-plane-apis"},
					Symptoms:   []string{"config/not-found-logged", "controlplane/no-client-connected"},
				},
				{
					CheckId: "xds/access-log-unwritable", Title: "Envoy may not write its access log", Severity: pb.Severity_SEVERITY_DEGRADING,
					Confidence: pb.Confidence_CONFIDENCE_LIKELY, Subject: "the client that wrote envoy.log",
					Summary: "The client could not open /var/log/envoy.log for listener TRAFFICDIRECTOR_INTERCEPTION_PORT: permission denied.",
					Evidence: []*pb.Evidence{{Fact: "log-messages", Source: "artifact envoy.log line 7", Vantage: pb.Vantage_VANTAGE_WORKLOAD,
						Excerpt: "gRPC config for type.googleapis.com/envoy.api.v2.Listener rejected:\nError adding/updating listener(s) TRAFFICDIRECTOR_INTERCEPTION_PORT:\nunable to open file '/var/log/envoy.log': Permission denied\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10"}},
					Remediation: []*pb.RemediationStep{{Text: "Let Envoy's user own the file.",
						Command: `sudo touch /var/log/envoy.log && sudo chown "$(ps -o euid= -C envoy | head -n 1 | tr -d ' ')" /var/log/envoy.log && sudo chmod u+rw /var/log/envoy.log`}},
				},
			},
			Results: results(3, &pb.CheckResult{CheckId: "config/network-mismatch", Outcome: pb.Outcome_OUTCOME_FOUND},
				&pb.CheckResult{CheckId: "controlplane/no-client-connected", Outcome: pb.Outcome_OUTCOME_SYMPTOM, Reason: "explained by config/network-mismatch"},
				&pb.CheckResult{CheckId: "controlplane/clock-skew", Outcome: pb.Outcome_OUTCOME_SKIPPED, Reason: "clock-offset was not asked for"}),
			Notes: []string{"photo.jpg was not used: it is none of the kinds that are known"},
		},
		"healthy": {
			Target: target, Verdict: pb.Verdict_VERDICT_HEALTHY, Headline: "Nothing is wrong with project mesh-prod-4f2a, network mesh-vpc.",
			Timing: timing, Results: results(5),
		},
		"inconclusive": {
			Target:   &pb.Target{Project: "mesh-prod-4f2a", Mesh: "shop-mesh", Vm: &pb.Vm{Zone: "us-central1-a", Instance: "shop-1"}, NodeId: "projects/482915067713/networks/mesh:shop-mesh/nodes/a"},
			Verdict:  pb.Verdict_VERDICT_INCONCLUSIVE,
			Headline: "Nothing wrong was found, but this could not be seen: client-status, clients.",
			Unseen: []*pb.Unseen{
				{Fact: "client-status", Reason: "not allowed to read the clients of shop-mesh (needs trafficdirector.networks.getConfigs)", Mandatory: true,
					Permission: "trafficdirector.networks.getConfigs", Role: "roles/trafficdirector.viewer",
					Command: "gcloud projects add-iam-policy-binding mesh-prod-4f2a --member=user:someone.with.a.long.name@example.com --role=roles/trafficdirector.viewer --condition=None"},
				{Fact: "clients", Reason: "not allowed to read the clients of shop-mesh (needs trafficdirector.networks.getConfigs)", Mandatory: true,
					Permission: "trafficdirector.networks.getConfigs", Role: "roles/trafficdirector.viewer",
					Command: "gcloud projects add-iam-policy-binding mesh-prod-4f2a --member=user:someone.with.a.long.name@example.com --role=roles/trafficdirector.viewer --condition=None"},
				{Fact: "forwarding-rules", Reason: "not allowed to read the forwarding rules", Permission: "compute.forwardingRules.list", Role: "roles/compute.networkViewer", Command: "gcloud projects add-iam-policy-binding mesh-prod-4f2a --role=roles/compute.networkViewer"},
				{Fact: "url-maps", Reason: "not allowed to read the URL maps (needs compute.urlMaps.list)", Permission: "compute.urlMaps.list", Role: "roles/compute.networkViewer", Command: "gcloud projects add-iam-policy-binding mesh-prod-4f2a --role=roles/compute.networkViewer"},
				{Fact: "interception", Reason: "it can be seen only on the VM itself", Mandatory: true},
				{Fact: "clock-offset", Reason: "dial tcp: i/o timeout"},
			},
			Results: results(2, &pb.CheckResult{CheckId: "xds/config-rejected", Outcome: pb.Outcome_OUTCOME_INCONCLUSIVE, Reason: "client-status could not be read"}),
		},
		"hostile": {
			Verdict: pb.Verdict_VERDICT_CAUSES_FOUND, Headline: "See \x1b[31mred\x1b[0m \u202e**bold** <img src=x onerror=alert(1)> @here",
			Causes: []*pb.Cause{{
				CheckId: "xds/config-rejected", Title: "# *A title* with `ticks` and [a link](javascript:x)\n# more", Severity: 9,
				Confidence: pb.Confidence_CONFIDENCE_POSSIBLE, Subject: "1. listener _x_ on TRAFFICDIRECTOR_INTERCEPTION_PORT", Summary: "| a | b |\n|---|---|",
				Evidence:    []*pb.Evidence{{Fact: "log-messages", Excerpt: "```\nout of the fence\n````\x1b]0;title\x07\u009b2J\r\n\ttab 漢字\u2028x"}},
				Remediation: []*pb.RemediationStep{{Text: "- do", Command: "echo '```' \x1b[2J\u202e --flag"}},
				References:  []string{"javascript:alert(1)", "https://example.com/a_b"}, Symptoms: []string{"a`b"},
			}},
			Notes: []string{"\x07", "```"},
		},
		"empty": {},
	}
}

func TestGolden(t *testing.T) {
	kinds := map[string]func(*bytes.Buffer, *pb.Report) error{
		"text":    func(b *bytes.Buffer, r *pb.Report) error { return report.Text(b, r, report.Options{}) },
		"verbose": func(b *bytes.Buffer, r *pb.Report) error { return report.Text(b, r, report.Options{Verbose: true}) },
		"color":   func(b *bytes.Buffer, r *pb.Report) error { return report.Text(b, r, report.Options{Color: true}) },
		"md":      func(b *bytes.Buffer, r *pb.Report) error { return report.Markdown(b, r) },
		"json":    func(b *bytes.Buffer, r *pb.Report) error { return report.JSON(b, r) },
		"yaml":    func(b *bytes.Buffer, r *pb.Report) error { return report.YAML(b, r) },
	}
	for name, r := range samples() {
		for kind, render := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				var b bytes.Buffer
				if err := render(&b, r); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join("testdata", name+"."+kind+".golden")
				if *update {
					if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(b.Bytes(), want) {
					t.Errorf("%s differs; see it with -update and git diff\ngot:\n%s", file, b.String())
				}
				if strings.ContainsAny(b.String(), "\x07\r") || strings.Contains(b.String(), "\u202e") || (kind != "color" && strings.Contains(b.String(), "\x1b")) {
					t.Error("something could drive a terminal")
				}
			})
		}
	}
}

// What is written reads back as the same message.
func TestJSONAndYAMLReadBack(t *testing.T) {
	for name, r := range samples() {
		if name == "hostile" {
			continue // its severity is one that nobody defined
		}
		var j, y bytes.Buffer
		if err := report.JSON(&j, r); err != nil {
			t.Fatal(err)
		}
		if err := report.YAML(&y, r); err != nil {
			t.Fatal(err)
		}
		fromYAML, err := yaml.YAMLToJSON(y.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{j.Bytes(), fromYAML} {
			var back pb.Report
			if err := protojson.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(&back, r) {
				t.Errorf("%s: not the same after reading it back", name)
			}
		}
		if !json.Valid(j.Bytes()) || strings.Contains(j.String(), ":  ") {
			t.Errorf("%s: spacing isn't settled", name)
		}
	}
}

// Characters that a terminal obeys are escaped, and read back as they were.
func TestMachineFormatsEscapeWhatATerminalObeys(t *testing.T) {
	r := &pb.Report{Headline: "a\u009b2J\u202eb\U000e0041c\u007f\x1b", Notes: []string{`\x01u0000202e`, "\u2028 \\x01uu", "plain"}}
	var j, y bytes.Buffer
	if err := report.JSON(&j, r); err != nil {
		t.Fatal(err)
	}
	if err := report.YAML(&y, r); err != nil {
		t.Fatal(err)
	}
	fromYAML, err := yaml.YAMLToJSON(y.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, y.String())
	}
	if want := `"a\u009b2J\u202eb\udb40\udc41c\u007f\u001b"`; !strings.Contains(j.String(), want) {
		t.Errorf("%s does not contain %s", j.String(), want)
	}
	if strings.ContainsAny(y.String(), "\u009b\u202e\U000e0041\u007f\x1b\u2028") {
		t.Errorf("something could drive a terminal: %q", y.String())
	}
	for _, b := range [][]byte{j.Bytes(), fromYAML} {
		var back pb.Report
		if err := protojson.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&back, r) {
			t.Errorf("reads back as %v", &back)
		}
	}
}

func TestWrite(t *testing.T) {
	for _, f := range report.Formats() {
		var b bytes.Buffer
		if err := report.Write(&b, f, samples()["healthy"], report.Options{}); err != nil || !strings.Contains(b.String(), "HEALTHY") {
			t.Errorf("%s: %v, %q", f, err, b.String())
		}
	}
	err := report.Write(&bytes.Buffer{}, "xml", &pb.Report{}, report.Options{})
	if err == nil || !strings.Contains(err.Error(), `"xml"`) || !strings.Contains(err.Error(), "text, json, yaml, markdown") {
		t.Errorf("an unknown format gives %v", err)
	}
	if err := report.Write(failing{}, "text", &pb.Report{}, report.Options{}); err == nil {
		t.Error("a writer's error is lost")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

// A time line is shown line by line as it stands: whole, aligned, and not wrapped.
func TestTextShowsTimelines(t *testing.T) {
	const excerpt = "from 2026-03-02T12:00:00Z:\n +2.0s  istio-init ended: done; traffic goes to the proxy from here  [pod status]\n +3.6s  app: connection refused, to 10.84.12.7:6379  [log of app]\n" +
		" +4.0s  istio-proxy: Readiness probe failed: status code 503, a longer line (5×)  [event]\n+13.5s  istio-proxy is ready  [log of istio-proxy]"
	r := &pb.Report{Causes: []*pb.Cause{{Title: "x", Evidence: []*pb.Evidence{{Fact: "pods", Excerpt: excerpt}}}}}
	var b strings.Builder
	if err := report.Text(&b, r, report.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(excerpt, "\n") {
		if !strings.Contains(b.String(), "\n       "+l+"\n") {
			t.Errorf("no line %q in\n%s", l, b.String())
		}
	}
}
