package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/lab"
)

// asProgram, in the environment, makes the test binary the program itself: other processes of the tests are this same code.
const asProgram = "MESHDIAG_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	if playRole() {
		return
	}
	os.Exit(kube.Main(m))
}

// outcome is what a scenario promises, and what each way of asking must give.
type outcome struct {
	verdict  string
	causes   []string
	symptoms []string
	exit     int
}

// equal says whether an outcome is the one wanted, which names some of its symptoms.
func (o outcome) equal(want outcome) bool {
	return o.verdict == want.verdict && slices.Equal(o.causes, want.causes) && o.exit == want.exit &&
		!slices.ContainsFunc(want.symptoms, func(s string) bool { return !slices.Contains(o.symptoms, s) })
}

func expected(s lab.Scenario) outcome {
	return outcome{verdict: s.Expect.Verdict, causes: s.Expect.Causes, symptoms: s.Expect.Symptoms, exit: s.Expect.Exit}
}

// parse reads a report as -o json prints it.
func parse(t *testing.T, b []byte, exit int) outcome {
	t.Helper()
	var r pb.Report
	if err := protojson.Unmarshal(b, &r); err != nil {
		t.Fatalf("not a report: %v\n%s", err, b)
	}
	return of(&r, exit)
}

func of(r *pb.Report, exit int) outcome {
	o := outcome{verdict: strings.TrimPrefix(r.GetVerdict().String(), "VERDICT_"), exit: exit}
	for _, c := range r.GetCauses() {
		o.causes = append(o.causes, c.GetCheckId())
		o.symptoms = append(o.symptoms, c.GetSymptoms()...)
	}
	return o
}

func scenarios(t *testing.T) []lab.Scenario {
	t.Helper()
	all, err := lab.Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDemo runs every scenario as a newcomer does.
func TestDemo(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			exit := run(t.Context(), []string{"demo", "--scenario", s.Name, "-o", "json"}, strings.NewReader(""), &stdout, &stderr)
			if got, want := parse(t, stdout.Bytes(), exit), expected(s); !got.equal(want) {
				t.Errorf("got %+v, want %+v\n%s%s", got, want, stdout.String(), stderr.String())
			}
			if stderr.Len() > 0 {
				t.Errorf("standard error: %s", stderr.String())
			}
		})
	}
}

// TestAcrossProcesses runs the lab in one process, and asks about it from others: the command with the printed flags pasted,
// and a server with them, over gRPC and over REST.
func TestAcrossProcesses(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			flags := strings.Fields(startLab(t, s.Name))
			want := expected(s)

			cmd := program(t, append([]string{"diagnose", "-o", "json"}, flags...)...)
			b, err := cmd.Output()
			var failed *exec.ExitError
			if err != nil && !asExitError(err, &failed) {
				t.Fatal(err)
			}
			if got := parse(t, b, cmd.ProcessState.ExitCode()); !got.equal(want) {
				t.Errorf("meshdiag diagnose gives %+v, want %+v", got, want)
			}

			target, conn := split(flags)
			address := startServer(t, conn)
			req := request(t, target)
			cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer cc.Close()
			resp, err := pb.NewDiagnosisServiceClient(cc).Diagnose(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if got := of(resp.GetReport(), want.exit); !got.equal(want) {
				t.Errorf("gRPC gives %+v, want %+v", got, want)
			}
			if got := of(rest(t, address, req), want.exit); !got.equal(want) {
				t.Errorf("REST gives %+v, want %+v", got, want)
			}
		})
	}
}

func asExitError(err error, target **exec.ExitError) bool {
	return errors.As(err, target)
}

// program makes a command that runs this program with arguments.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd
}

// start starts a program that runs until the test ends, and gives the first line of its output, or of its log, that has a mark.
func start(t *testing.T, args []string, pipe func(*exec.Cmd) (io.ReadCloser, error), mark string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := pipe(cmd)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	drained := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-drained // Wait closes the pipe, so all must have been read by then
		_ = cmd.Wait()
	})
	r := bufio.NewReader(out)
	var seen strings.Builder
	for {
		line, err := r.ReadString('\n')
		seen.WriteString(line)
		if strings.Contains(line, mark) {
			go func() { _, _ = io.Copy(io.Discard, r); close(drained) }()
			return line
		}
		if err != nil {
			close(drained)
			t.Fatalf("%v printed no line with %q: %v\n%s", args, mark, err, seen.String())
		}
	}
}

func startLab(t *testing.T, scenario string) string {
	t.Helper()
	return strings.TrimSpace(start(t, []string{"lab", "--scenario", scenario}, (*exec.Cmd).StdoutPipe, "--traffic-director-endpoint"))
}

func startServer(t *testing.T, conn []string) string {
	t.Helper()
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, conn...)
	line := start(t, args, (*exec.Cmd).StderrPipe, `"msg":"serving"`)
	var entry struct{ Address string }
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return entry.Address
}

// split divides diagnose's flags into those of the target, as diagnose alone takes them, and those of the connection.
func split(flags []string) (target, conn []string) {
	names := connectionFlagNames()
	for i := 0; i+1 < len(flags); i += 2 {
		if slices.Contains(names, strings.TrimPrefix(flags[i], "--")) {
			conn = append(conn, flags[i], flags[i+1])
		} else {
			target = append(target, flags[i], flags[i+1])
		}
	}
	return target, conn
}

func request(t *testing.T, flags []string) *pb.DiagnoseRequest {
	t.Helper()
	cmd := newDiagnose()
	if err := cmd.ParseFlags(flags); err != nil {
		t.Fatal(err)
	}
	var f targetFlags
	f.timeout = defaultTimeout
	get := func(name string) string { v, _ := cmd.Flags().GetString(name); return v }
	f.project, f.network, f.mesh, f.nodeID = get("project"), get("network"), get("mesh"), get("node-id")
	f.destination = get("destination")
	f.zone, f.instance, f.symptom = get("zone"), get("instance"), get("symptom")
	f.servingPort, _ = cmd.Flags().GetInt32("serving-port")
	f.files, _ = cmd.Flags().GetStringArray("file")
	f.baseline, _ = cmd.Flags().GetStringArray("baseline")
	req, err := f.request(strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func rest(t *testing.T, address string, req *pb.DiagnoseRequest) *pb.Report {
	t.Helper()
	body, err := protojson.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	hr, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://%s/v1:diagnose", address), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	hr.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(hr)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v: %s", res.StatusCode, err, b)
	}
	var out pb.DiagnoseResponse
	if err := protojson.Unmarshal(b, &out); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return out.GetReport()
}
