package service_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/service"
)

func target(project string) *pb.Target { return &pb.Target{Project: project, Network: "default"} }

func TestGRPCRefusals(t *testing.T) {
	r := start(t, func(_ *service.Config, c *service.ServerConfig) { c.Limits.BodyBytes = service.MaxMessageBytes })
	d, cat := pb.NewDiagnosisServiceClient(r.conn), pb.NewCatalogServiceClient(r.conn)
	diagnose := func(req *pb.DiagnoseRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := d.Diagnose(ctx, req); return err }
	}
	stream := func(req *pb.DiagnoseRequest) func(context.Context) error {
		return func(ctx context.Context) error {
			s, err := d.StreamDiagnose(ctx, &pb.StreamDiagnoseRequest{Request: req})
			for err == nil {
				_, err = s.Recv()
			}
			return err
		}
	}
	mebi := func(n int) []byte { return make([]byte, n<<20) }
	for name, row := range map[string]struct {
		call   func(context.Context) error
		code   codes.Code
		reason string
		field  string
		says   string
	}{
		"nothing named":       {diagnose(&pb.DiagnoseRequest{}), codes.InvalidArgument, "INVALID_FIELD", "target", ""},
		"no scope":            {diagnose(&pb.DiagnoseRequest{Target: &pb.Target{Project: "plain-project"}}), codes.InvalidArgument, "INVALID_FIELD", "target", "network or mesh is needed"},
		"bad zone":            {diagnose(&pb.DiagnoseRequest{Target: &pb.Target{Project: "plain-project", Network: "x", Vm: &pb.Vm{Zone: "X", Instance: "i"}}}), codes.InvalidArgument, "INVALID_FIELD", "target.vm.zone", "us-central1-a"},
		"unknown symptom":     {diagnose(&pb.DiagnoseRequest{Target: target(plainProject), Symptom: 77}), codes.InvalidArgument, "INVALID_FIELD", "symptom", ""},
		"timeout too short":   {diagnose(&pb.DiagnoseRequest{Target: target(plainProject), Timeout: durationpb.New(1)}), codes.InvalidArgument, "INVALID_FIELD", "timeout", ""},
		"too many artifacts":  {diagnose(&pb.DiagnoseRequest{Artifacts: slices.Repeat([]*pb.Artifact{{Text: "x"}}, 65)}), codes.InvalidArgument, "INVALID_FIELD", "artifacts", ""},
		"both contents":       {diagnose(&pb.DiagnoseRequest{Artifacts: []*pb.Artifact{{Text: "x", Data: []byte("y")}}}), codes.InvalidArgument, "INVALID_FIELD", "artifacts[0]", ""},
		"artifacts too large": {diagnose(&pb.DiagnoseRequest{Artifacts: []*pb.Artifact{{Data: mebi(9)}, {Data: mebi(9)}}}), codes.InvalidArgument, "INVALID_FIELD", "artifacts[1]", "16777216"},
		"text too large": {func(ctx context.Context) error {
			_, err := d.Explain(ctx, &pb.ExplainRequest{Text: strings.Repeat("x", 17<<20)})
			return err
		}, codes.InvalidArgument, "INVALID_FIELD", "text", "16777216"},
		"message too large": {diagnose(&pb.DiagnoseRequest{Artifacts: []*pb.Artifact{{Data: mebi(40)}}}), codes.ResourceExhausted, "REQUEST_TOO_LARGE", "", ""},
		"stream, bad field": {stream(&pb.DiagnoseRequest{Target: &pb.Target{Network: "x"}}), codes.InvalidArgument, "INVALID_FIELD", "request.target.project", ""},
		"stream, bad file":  {stream(&pb.DiagnoseRequest{Artifacts: []*pb.Artifact{{Text: "nonsense"}}}), codes.InvalidArgument, "INVALID_FIELD", "request.artifacts[0]", "artifact 1"},
		"panic":             {diagnose(&pb.DiagnoseRequest{Target: target(panicProject)}), codes.Internal, "INTERNAL", "", "request"},
		"panic in a stream": {stream(&pb.DiagnoseRequest{Target: target(panicProject)}), codes.Internal, "INTERNAL", "", "request"},
		"expired": {func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, -1)
			defer cancel()
			_, err := d.Diagnose(ctx, &pb.DiagnoseRequest{Target: target(plainProject)})
			return err
		}, codes.DeadlineExceeded, "-", "", ""},
		"no such check": {func(ctx context.Context) error {
			_, err := cat.GetCheck(ctx, &pb.GetCheckRequest{Name: "checks/xds/network-mismatch"})
			return err
		}, codes.NotFound, "CHECK_NOT_FOUND", "", "near it: config/network-mismatch"},
		"bad check": {func(ctx context.Context) error {
			_, err := cat.GetCheck(ctx, &pb.GetCheckRequest{Name: "x"})
			return err
		}, codes.InvalidArgument, "INVALID_FIELD", "name", "checks/config/network-mismatch"},
		"page too large": {func(ctx context.Context) error {
			_, err := cat.ListChecks(ctx, &pb.ListChecksRequest{PageSize: -1})
			return err
		}, codes.InvalidArgument, "INVALID_FIELD", "page_size", ""},
		"unknown method": {func(ctx context.Context) error {
			return r.conn.Invoke(ctx, "/meshdiag.v1.DiagnosisService/DiagnoseMore", &emptypb.Empty{}, &emptypb.Empty{})
		}, codes.Unimplemented, "UNKNOWN_METHOD", "", "DiagnoseMore"},
		"unknown service": {func(ctx context.Context) error {
			return r.conn.Invoke(ctx, "/x.Y/Z", &emptypb.Empty{}, &emptypb.Empty{})
		}, codes.Unimplemented, "UNKNOWN_METHOD", "", ""},
		"not a message": {func(ctx context.Context) error {
			return r.conn.Invoke(ctx, pb.DiagnosisService_Diagnose_FullMethodName, []byte{0xff, 0xff}, &pb.DiagnoseResponse{}, grpc.ForceCodec(rawCodec{}))
		}, codes.Internal, "INTERNAL", "", "unmarshal"},
		"unknown compression": {func(ctx context.Context) error {
			_, err := d.Diagnose(metadata.AppendToOutgoingContext(ctx, "grpc-encoding", "x"), &pb.DiagnoseRequest{Target: target(plainProject)})
			return err
		}, codes.OK, "", "", ""}, // grpc-go takes this reserved header out itself: the request is a plain one
		"unknown health service": {func(ctx context.Context) error {
			_, err := healthpb.NewHealthClient(r.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: "x"})
			return err
		}, codes.NotFound, "NOT_FOUND", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := row.call(t.Context())
			if status.Code(err) != row.code {
				t.Fatalf("got %v, want %v", err, row.code)
			}
			if row.code == codes.OK || row.reason == "-" {
				return // made by the caller's own side
			}
			reason, fields := reasonOf(t, err)
			if row.reason != "" && reason != row.reason {
				t.Errorf("reason %s, want %s: %v", reason, row.reason, err)
			}
			if row.field != "" && !slices.Contains(fields, row.field) {
				t.Errorf("violations of %q, want %s: %v", fields, row.field, err)
			}
			if msg := status.Convert(err).Message(); !strings.Contains(msg, row.says) || strings.Contains(msg, "secret") || strings.Contains(msg, "\n") {
				t.Errorf("message %q", msg)
			}
		})
	}
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (rawCodec) Unmarshal([]byte, any) error   { return nil }
func (rawCodec) Name() string                  { return "proto" }

func TestGRPCRequestID(t *testing.T) {
	r := start(t)
	d := pb.NewDiagnosisServiceClient(r.conn)
	for give, keep := range map[string]bool{"": false, "abc-123": true, "not sane": false} {
		ctx := t.Context()
		if give != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", give)
		}
		var md metadata.MD
		resp, err := d.Diagnose(ctx, &pb.DiagnoseRequest{Target: target(plainProject)}, grpc.Header(&md))
		if err != nil {
			t.Fatal(err)
		}
		id := md.Get("x-request-id")
		if len(id) != 1 || (id[0] == give) != keep || resp.GetReport().GetName() != "reports/"+id[0] {
			t.Errorf("%q gives header %q and report %s", give, id, resp.GetReport().GetName())
		}
		if !strings.Contains(r.logs.String(), `"request_id":"`+id[0]+`"`) {
			t.Errorf("%s is not in the logs", id[0])
		}
	}
	// A failure's ID is in header or trailer, and in the message.
	var header, trailer metadata.MD
	_, err := d.Diagnose(t.Context(), &pb.DiagnoseRequest{Target: target(panicProject)}, grpc.Header(&header), grpc.Trailer(&trailer))
	id := append(header.Get("x-request-id"), trailer.Get("x-request-id")...)
	if len(id) != 1 || !strings.Contains(status.Convert(err).Message(), id[0]) {
		t.Errorf("IDs %q, error %v", id, err)
	}
}

func TestReportThatCannotSee(t *testing.T) {
	r := start(t)
	d := pb.NewDiagnosisServiceClient(r.conn)
	resp, err := d.Diagnose(t.Context(), &pb.DiagnoseRequest{Target: target(denyProject)})
	if err != nil || resp.GetReport().GetVerdict() != pb.Verdict_VERDICT_INCONCLUSIVE {
		t.Errorf("denied: %v %v", resp, err)
	}
	// Text that isn't UTF-8 doesn't break the answer.
	resp, err = d.Diagnose(t.Context(), &pb.DiagnoseRequest{Target: target(brokenProject)})
	if err != nil || !strings.Contains(resp.GetReport().GetTiming().GetCollectors()[0].GetError(), "bad bytes \uFFFD") {
		t.Errorf("broken: %v %v", resp, err)
	}
}

func TestExplain(t *testing.T) {
	r := start(t)
	resp, err := pb.NewDiagnosisServiceClient(r.conn).Explain(t.Context(), &pb.ExplainRequest{Text: "wrong network"})
	if err != nil {
		t.Fatal(err)
	}
	c := resp.GetReport().GetCauses()
	if len(c) != 1 || c[0].GetSubject() != "text" || resp.GetReport().GetTarget() != nil {
		t.Errorf("report %v", resp.GetReport())
	}
	resp, err = pb.NewDiagnosisServiceClient(r.conn).Explain(t.Context(), &pb.ExplainRequest{Text: "all is well"})
	if err != nil || resp.GetReport().GetVerdict() != pb.Verdict_VERDICT_INCONCLUSIVE {
		t.Errorf("%v %v", resp, err)
	}
}

func TestArtifactNames(t *testing.T) {
	r := start(t)
	resp, err := pb.NewDiagnosisServiceClient(r.conn).Diagnose(t.Context(), &pb.DiagnoseRequest{Artifacts: []*pb.Artifact{
		{Name: "a.log", Text: "wrong network"}, {Name: "a.log", Data: []byte("wrong network")}, {Text: "wrong network"}, {Name: "artifact 3", Text: "nonsense"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range resp.GetReport().GetCauses() {
		got = append(got, c.GetSubject())
	}
	if slices.Sort(got); strings.Join(got, ",") != "a.log,a.log (2),artifact 3" {
		t.Errorf("subjects %q", got)
	}
	if n := strings.Join(resp.GetReport().GetNotes(), "\n"); !strings.Contains(n, "artifact 3 (2) was not used") {
		t.Errorf("notes %q", n)
	}
}

func TestGRPCStream(t *testing.T) {
	r := start(t)
	s, err := pb.NewDiagnosisServiceClient(r.conn).StreamDiagnose(t.Context(), &pb.StreamDiagnoseRequest{Request: &pb.DiagnoseRequest{Target: target(gateProject)}})
	if err != nil {
		t.Fatal(err)
	}
	// The first events come while the collector still runs.
	<-r.world.gate.entered
	m, err := s.Recv()
	for err == nil && m.GetCollectorStarted() == "" {
		m, err = s.Recv()
	}
	if err != nil || m.GetCollectorStarted() != "rules" {
		t.Fatalf("%v %v", m, err)
	}
	close(r.world.gate.release)
	var last *pb.StreamDiagnoseResponse
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = m
	}
	if len(last.GetReport().GetCauses()) != 1 {
		t.Errorf("last: %v", last)
	}
}

// A caller who hangs up stops the diagnosis, and gives its place back.
func TestHangingUp(t *testing.T) {
	r := start(t, func(c *service.Config, _ *service.ServerConfig) { c.MaxDiagnoses = 1 })
	d := pb.NewDiagnosisServiceClient(r.conn)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := d.StreamDiagnose(ctx, &pb.StreamDiagnoseRequest{Request: &pb.DiagnoseRequest{Target: target(gateProject)}})
	if err != nil {
		t.Fatal(err)
	}
	<-r.world.gate.entered
	_, err = d.Diagnose(t.Context(), &pb.DiagnoseRequest{Target: target(plainProject)})
	if reason, _ := reasonOf(t, err); status.Code(err) != codes.ResourceExhausted || reason != "TOO_MANY_DIAGNOSES" {
		t.Errorf("with no place free: %v", err)
	}
	cancel()
	for err = nil; err == nil; {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.Canceled {
		t.Errorf("hung up: %v", err)
	}
	for {
		_, err := d.Diagnose(t.Context(), &pb.DiagnoseRequest{Target: target(plainProject)})
		if err == nil {
			break // the place is free again
		}
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatal(err)
		}
	}
}

func TestHealthAndReflection(t *testing.T) {
	r := start(t)
	h := healthpb.NewHealthClient(r.conn)
	for _, name := range []string{"", "meshdiag.v1.DiagnosisService", "meshdiag.v1.ClientService", "meshdiag.v1.CatalogService"} {
		resp, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
		if err != nil || resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v %v", name, resp, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := reflectionpb.NewServerReflectionClient(r.conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	resp, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range resp.GetListServicesResponse().GetService() {
		names = append(names, x.GetName())
	}
	for _, want := range []string{"meshdiag.v1.DiagnosisService", "meshdiag.v1.ClientService", "meshdiag.v1.CatalogService", "grpc.health.v1.Health"} {
		if !slices.Contains(names, want) {
			t.Errorf("reflection lists %q, without %s", names, want)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("end of reflection: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	r := start(t)
	d := pb.NewDiagnosisServiceClient(r.conn)
	for _, p := range []string{plainProject, denyProject, panicProject} {
		_, _ = d.Diagnose(t.Context(), &pb.DiagnoseRequest{Target: target(p)})
	}
	_ = r.conn.Invoke(t.Context(), "/made.up/Name", &emptypb.Empty{}, &emptypb.Empty{})
	r.do(t, "POST", "/v1:diagnose", "")
	r.do(t, "POST", "/v1:diagnose", good)
	resp, err := r.http.Get("http://" + r.AdminAddr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, _ := io.ReadAll(resp.Body)
	for _, want := range []string{
		`meshdiag_requests_total{code="OK",method="/meshdiag.v1.DiagnosisService/Diagnose"} 3`,
		`meshdiag_requests_total{code="INTERNAL",method="/meshdiag.v1.DiagnosisService/Diagnose"} 1`,
		`meshdiag_requests_total{code="UNIMPLEMENTED",method="unknown"} 1`,
		`meshdiag_request_duration_seconds_count{method="/meshdiag.v1.DiagnosisService/Diagnose"} 4`,
		`meshdiag_check_outcomes_total{check="config/network-mismatch",outcome="FOUND"} 2`,
		`meshdiag_check_outcomes_total{check="config/network-mismatch",outcome="INCONCLUSIVE"} 1`,
		`meshdiag_collector_errors_total{collector="rules",kind="failed"} 1`,
		`meshdiag_verdicts_total{verdict="CAUSES_FOUND"} 2`,
		`meshdiag_http_refusals_total{reason="EMPTY_BODY"} 1`,
		`meshdiag_build_info{version="test"} 1`,
		`meshdiag_diagnoses_running 0`,
		"go_goroutines",
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s", want)
		}
	}
	for _, project := range []string{plainProject, denyProject, panicProject, "made.up"} {
		if strings.Contains(string(raw), project) {
			t.Errorf("the metrics hold %s", project)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(string(raw)) {
			if strings.HasPrefix(line, "meshdiag") && !strings.Contains(line, "bucket") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
	if resp, err := r.http.Get("http://" + r.AdminAddr().String() + "/debug/pprof/"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("profiles: %v %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	if a := r.do(t, "GET", "/metrics", ""); a.code != 404 {
		t.Errorf("the metrics are public: %d", a.code)
	}
}

func TestGRPCLog(t *testing.T) {
	var b logBuffer
	l := service.GRPCLog(slog.New(slog.NewJSONHandler(&b, nil)))
	l.Info("chatter")
	l.Warningf("chatter %d", 1)
	l.Errorf("failed to %s\n", "flush")
	if got := b.String(); strings.Contains(got, "chatter") || !strings.Contains(got, `"level":"WARN","msg":"grpc","message":"failed to flush"`) {
		t.Errorf("%s", got)
	}
	if l.V(0) {
		t.Error("verbose though nobody debugs")
	}
}
