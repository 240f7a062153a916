package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/report"
)

// outputFlags say how a report is printed.
type outputFlags struct {
	name    string // of the format's flag
	format  string
	verbose bool
}

func (f *outputFlags) add(cmd *cobra.Command) { f.addAs(cmd, "output", "o") }

// addAs adds the flags, the format's under a name and a letter of its own.
func (f *outputFlags) addAs(cmd *cobra.Command, name, letter string) {
	f.name = name
	cmd.Flags().StringVarP(&f.format, name, letter, "text", "output: "+strings.Join(report.Formats(), ", "))
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "list the passed and skipped checks too")
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(report.Formats(), cobra.ShellCompDirectiveNoFileComp))
}

func (f *outputFlags) check() error { return oneOf(f.name, f.format, report.Formats()) }

func newDiagnose() *cobra.Command {
	var target targetFlags
	var conn connectionFlags
	var server serverFlags
	var out outputFlags
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "Diagnose a network, a mesh, one proxy, a namespace of a cluster, or files",
		Example: `  meshdiag diagnose --project mesh-prod --network mesh-vpc
  meshdiag diagnose --project mesh-prod --network mesh-vpc --zone us-central1-a --instance checkout-1
  meshdiag diagnose --context prod --namespace shop --deployment checkout
  meshdiag diagnose -f bootstrap.json -f envoy.log`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			req, err := target.request(cmd.InOrStdin())
			if err != nil {
				return err
			}
			connect := func(ctx context.Context) (*connected, error) {
				c, err := conn.connection()
				if err != nil {
					return nil, err
				}
				return inProcess(ctx, c)
			}
			if server.address != "" {
				if f := changed(cmd, connectionFlagNames()); f != "" {
					return usage("--%s and --server exclude each other: the server has its own", f)
				}
				connect = server.connect
			}
			return diagnoseAndPrint(cmd, connect, req, out, nil)
		},
	}
	target.add(cmd)
	conn.add(cmd)
	server.add(cmd)
	out.add(cmd)
	return cmd
}

// changed gives the first of some flags that the user set, "" for none.
func changed(cmd *cobra.Command, names []string) string {
	i := slices.IndexFunc(names, cmd.Flags().Changed)
	if i < 0 {
		return ""
	}
	return names[i]
}

// diagnoseAndPrint asks, prints the report, and gives the exit status of its verdict. frame, if not nil, prints around it.
func diagnoseAndPrint(cmd *cobra.Command, connect func(context.Context) (*connected, error), req *pb.DiagnoseRequest, out outputFlags, frame func(io.Writer, *pb.Report)) error {
	c, err := connect(cmd.Context())
	if err != nil {
		return asExit(err)
	}
	defer c.close()
	rep, err := ask(cmd.Context(), c, req, newProgress(cmd.ErrOrStderr()))
	if err != nil {
		return explainRPC(err)
	}
	w := cmd.OutOrStdout()
	opts := report.Options{Verbose: out.verbose, Color: isTerminal(w) && os.Getenv("NO_COLOR") == ""}
	if err := report.Write(w, out.format, rep, opts); err != nil {
		return failed(fmt.Errorf("printing the report: %w", err))
	}
	if frame != nil {
		frame(w, rep)
	}
	return verdictExit(rep.GetVerdict())
}

func verdictExit(v pb.Verdict) error {
	switch v {
	case pb.Verdict_VERDICT_HEALTHY:
		return nil
	case pb.Verdict_VERDICT_CAUSES_FOUND:
		return &exitError{code: exitCausesFound}
	case pb.Verdict_VERDICT_INCONCLUSIVE:
		return &exitError{code: exitInconclusive}
	default:
		return failed(fmt.Errorf("the report holds no verdict"))
	}
}

// ask runs one streamed diagnosis.
func ask(ctx context.Context, c *connected, req *pb.DiagnoseRequest, p *progress) (*pb.Report, error) {
	// A server that is gone mustn't hang the caller; the diagnosis itself keeps to the request's own timeout.
	ctx, cancel := context.WithTimeout(ctx, req.GetTimeout().AsDuration()+connectGrace)
	defer cancel()
	defer p.end()
	stream, err := c.client.StreamDiagnose(ctx, &pb.StreamDiagnoseRequest{Request: req})
	if err != nil {
		return nil, err
	}
	for {
		ev, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, status.Error(codes.Internal, "the stream ended without a report")
		}
		if err != nil {
			return nil, err
		}
		switch e := ev.GetEvent().(type) {
		case *pb.StreamDiagnoseResponse_CollectorStarted:
			p.started(e.CollectorStarted)
		case *pb.StreamDiagnoseResponse_Collector:
			p.ended(e.Collector.GetName())
		case *pb.StreamDiagnoseResponse_Report:
			return e.Report, nil
		}
	}
}

// explainRPC makes one line of an RPC's error, in the words of the command line.
func explainRPC(err error) error {
	st := status.Convert(err)
	var fields []string
	for _, d := range st.Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range b.GetFieldViolations() {
				fields = append(fields, flagOf(v.GetField())+": "+v.GetDescription())
			}
		}
	}
	switch {
	case st.Code() == codes.InvalidArgument && len(fields) > 0:
		return &exitError{code: exitUsage, err: errors.New(strings.Join(fields, "; "))}
	case st.Code() == codes.InvalidArgument:
		return &exitError{code: exitUsage, err: errors.New(st.Message())}
	default:
		return failed(fmt.Errorf("no diagnosis could be made: %s (%s)", st.Message(), st.Code()))
	}
}

// asExit leaves an exitError as it is, and makes bad input of any other.
func asExit(err error) error {
	var e *exitError
	if errors.As(err, &e) {
		return err
	}
	return &exitError{code: exitUsage, err: err}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progress shows, on a terminal, what is being waited for. On anything else it is silent.
type progress struct {
	w       io.Writer
	running []string
	done    int
}

func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return &progress{}
	}
	return &progress{w: w}
}

func (p *progress) started(name string) { p.running = append(p.running, name); p.show() }

func (p *progress) ended(name string) {
	p.running = slices.DeleteFunc(p.running, func(s string) bool { return s == name })
	p.done++
	p.show()
}

func (p *progress) show() {
	if p.w == nil {
		return
	}
	const room = 60 // keeps the line below 80 columns
	waiting := strings.Join(p.running, ", ")
	if len(waiting) > room {
		waiting = waiting[:room] + "…"
	}
	fmt.Fprintf(p.w, "\r\x1b[K%d of %d done; asking %s", p.done, p.done+len(p.running), waiting)
}

func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
