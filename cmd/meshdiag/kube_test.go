package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/internal/kubetest"
)

// kube is the API server of this package's tests.
var kube kubetest.Shared

// asked is what the program answered.
type asked struct {
	outcome
	stdout, stderr string
}

// askCluster runs `meshdiag diagnose -o json` in this process.
func askCluster(t *testing.T, kubeconfig string, args ...string) asked {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{"diagnose", "-o", "json", "--kubeconfig", kubeconfig}, args...)
	exit := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	a := asked{stdout: stdout.String(), stderr: stderr.String(), outcome: outcome{exit: exit}}
	if stdout.Len() > 0 {
		a.outcome = parse(t, stdout.Bytes(), exit)
	}
	return a
}

// first gives the first cause's summary, "" for none.
func (a asked) first(t *testing.T) string {
	t.Helper()
	var r pb.Report
	if err := protojson.Unmarshal([]byte(a.stdout), &r); err != nil || len(r.GetCauses()) == 0 {
		return ""
	}
	return r.GetCauses()[0].GetSummary()
}

// expect is an outcome of causes alone.
func expect(causes ...string) outcome {
	if len(causes) == 0 {
		return outcome{verdict: "HEALTHY"}
	}
	return outcome{verdict: "CAUSES_FOUND", causes: causes, exit: exitCausesFound}
}

// kubelet is a node whose containers wrote what logs say, by "pod/container", and nothing else.
func kubelet(t *testing.T, c *kubetest.Cluster, logs ...kubetest.Log) {
	t.Helper()
	c.Node(t, "node-1", kubetest.Kubelet{Logs: logs})
}

// TestKubeHealthyEveryWay asks about a mesh that is well: the built program, and a server of it over gRPC and over REST.
func TestKubeHealthyEveryWay(t *testing.T) {
	c := kube.Start(t)
	kubelet(t, c, wellLogs...)
	install(t, c)
	meshNamespace(t, c, map[string]string{"istio-injection": "enabled"})
	shop(t, c)
	config := c.Kubeconfig(t, c.Admin, kubeContext)

	cmd := program(t, "diagnose", "-o", "json", "--kubeconfig", config, "--namespace", "shop")
	b, err := cmd.Output()
	var ended *exec.ExitError
	if err != nil && !asExitError(err, &ended) {
		t.Fatal(err)
	}
	if got := parse(t, b, cmd.ProcessState.ExitCode()); !got.equal(expect()) {
		t.Errorf("meshdiag diagnose gives %+v\n%s", got, b)
	}

	for _, args := range [][]string{
		{"--namespace", "shop", "--pod", "checkout-" + hash + "-aaaaa"}, {"--namespace", "shop", "--deployment", "checkout"},
		{"--namespace", "shop", "--symptom", "no-sidecar"}, {"--namespace", "shop", "--symptom", "pod-not-starting"},
		{"--revision", "default"}, {"--context", kubeContext, "--namespace", "istio-system"},
	} {
		if got := askCluster(t, config, args...); !got.equal(expect()) {
			t.Errorf("%v gives %+v: %s\n%s", args, got.outcome, got.first(t), got.stdout)
		}
	}

	address := startServer(t, []string{"--kubeconfig", config})
	req := &pb.DiagnoseRequest{Target: &pb.Target{Kubernetes: &pb.Kubernetes{Cluster: kubeContext, Namespace: "shop"}}}
	cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	resp, err := pb.NewDiagnosisServiceClient(cc).Diagnose(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if got := of(resp.GetReport(), 0); !got.equal(expect()) {
		t.Errorf("gRPC gives %+v", got)
	}
	if got := of(rest(t, address, req), 0); !got.equal(expect()) {
		t.Errorf("REST gives %+v", got)
	}
}
