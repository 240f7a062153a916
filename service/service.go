// Package service is meshdiag's API: the RPC methods over a diagnosis engine, and the server that speaks gRPC and REST on
// one port.
//
// [New] makes the methods, [NewServer] the server. [ToProto] is the one conversion from a report to the API's.
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// Directory tells which xDS clients the control plane knows.
type Directory interface {
	// ListClients lists the clients connected for the target's project and network, mesh or scope.
	ListClients(context.Context, diagnose.Target) ([]evidence.Client, error)
	// ClientStatus gives the state of the client that the target's NodeID names: one a client scope, none where no such client
	// is connected.
	ClientStatus(context.Context, diagnose.Target) ([]evidence.ClientStatus, error)
}

// Config makes a [Service].
type Config struct {
	// Engine answers. Its own timeout should be MaxTimeout: the service gives each request a deadline.
	Engine *diagnose.Engine
	// Directory answers ListClients and GetClient; without one they are refused.
	Directory Directory
	// Logger takes one line a request; nil logs nothing.
	Logger *slog.Logger
	// Registry takes the metrics; nil makes one of its own. It is what the admin listener shows.
	Registry *prometheus.Registry
	// MaxDiagnoses bounds the diagnoses that run at once; 0 takes the constant.
	MaxDiagnoses int
}

// Service holds the methods of DiagnosisService, ClientService and CatalogService. It may be used by several goroutines.
//
// Its methods expect requests that passed [Server]'s interceptors, which hold them against the API's rules.
type Service struct {
	pb.UnimplementedDiagnosisServiceServer
	pb.UnimplementedClientServiceServer
	pb.UnimplementedCatalogServiceServer

	engine    *diagnose.Engine
	directory Directory
	log       *slog.Logger
	registry  *prometheus.Registry
	metrics   *metrics
	validator protovalidate.Validator
	slots     chan struct{}
	catalog   []*pb.Check // sorted by ID
}

// New makes the service. It fails without an engine, and where the registry has metrics of the same names.
func New(cfg Config) (*Service, error) {
	if cfg.Engine == nil {
		return nil, errors.New("service: Config.Engine is needed")
	}
	v, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("service: compiling the API's rules: %w", err)
	}
	s := &Service{
		engine: cfg.Engine, directory: cfg.Directory, log: cfg.Logger, registry: cfg.Registry, validator: v,
		slots: make(chan struct{}, cmp.Or(cfg.MaxDiagnoses, MaxDiagnoses)),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.registry == nil {
		s.registry = prometheus.NewRegistry()
	}
	if s.metrics, err = newMetrics(s.registry); err != nil {
		return nil, fmt.Errorf("service: registering metrics: %w", err)
	}
	for _, c := range cfg.Engine.Checks() {
		s.catalog = append(s.catalog, checkToProto(c))
	}
	return s, nil
}

// Diagnose answers one request with a report.
func (s *Service) Diagnose(ctx context.Context, r *pb.DiagnoseRequest) (*pb.DiagnoseResponse, error) {
	req, err := requestFromProto(r)
	if err != nil {
		return nil, err
	}
	rep, err := s.diagnose(ctx, req, timeoutOf(r), nil)
	if err != nil {
		return nil, err
	}
	return &pb.DiagnoseResponse{Report: rep}, nil
}

// Explain reads one text, and asks no live system.
func (s *Service) Explain(ctx context.Context, r *pb.ExplainRequest) (*pb.ExplainResponse, error) {
	if len(r.GetText()) > MaxArtifactBytes {
		return nil, badField("text", fmt.Sprintf("is %d bytes long; at most %d are read", len(r.GetText()), MaxArtifactBytes))
	}
	req := diagnose.Request{Artifacts: []diagnose.Artifact{{Name: "text", Data: []byte(r.GetText()), Text: true}}}
	rep, err := s.diagnose(ctx, req, DefaultTimeout, nil)
	var bad *diagnose.BadInput
	switch {
	case errors.As(err, &bad):
		return nil, badField("text", bad.Message)
	case err != nil:
		return nil, err
	}
	return &pb.ExplainResponse{Report: rep}, nil
}

// diagnose runs one diagnosis: it waits for nobody, bounds it in time, and counts what came out.
func (s *Service) diagnose(ctx context.Context, req diagnose.Request, timeout time.Duration, emit func(diagnose.Event)) (*pb.Report, error) {
	release, err := s.acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rep, err := s.engine.Diagnose(ctx, req, emit)
	if err != nil {
		return nil, err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, ctx.Err() // what the collectors brought by then is no answer; at a deadline it is
	}
	s.metrics.report(rep)
	attrs := []any{"request_id", requestID(ctx), "verdict", string(rep.Verdict), "causes", len(rep.Causes), "unseen", len(rep.Unseen), "took", rep.Timing.Took}
	if len(rep.Causes) > 0 {
		attrs = append(attrs, "first_cause", string(rep.Causes[0].Check))
	}
	s.log.InfoContext(ctx, "diagnosis", attrs...)
	return ToProto(rep, "reports/"+requestID(ctx)), nil
}

// acquire takes one of the places for work that asks live systems. It doesn't queue: a caller that is told to come back
// later knows more than one that waits.
func (s *Service) acquire() (release func(), err error) {
	select {
	case s.slots <- struct{}{}:
		s.metrics.running.Inc()
		return func() { <-s.slots; s.metrics.running.Dec() }, nil
	default:
		return nil, fail(codes.ResourceExhausted, reasonBusy, fmt.Sprintf("%d diagnoses are running already: try again in a moment", cap(s.slots)), retrySoon())
	}
}

func timeoutOf(r *pb.DiagnoseRequest) time.Duration {
	if r.GetTimeout() == nil {
		return DefaultTimeout
	}
	return min(r.GetTimeout().AsDuration(), MaxTimeout)
}
