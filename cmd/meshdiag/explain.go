package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/meshdiag/meshdiag/cmd/meshdiag/pipeline"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/report"
	"github.com/meshdiag/meshdiag/service"
)

func newExplain() *cobra.Command {
	var server serverFlags
	var out outputFlags
	cmd := &cobra.Command{
		Use:   "explain [FILE | -]",
		Short: "Say what the messages in a log or an error text tell",
		Long: `explain reads a log of any length, or a pasted error, and says which known faults its messages tell of. Of an Envoy access
log, text or JSON, alone or among other lines, it counts the requests by how they ended; of a format of your own it takes
fields that are named as Envoy's are (response_flags=UH, "responseFlags": "UH"). Entries of Cloud Logging are read as gcloud
prints them with --format=json. It asks no live system.

Without FILE, or for -, it reads standard input. gzip is unpacked; archives are for diagnose -f. In a text of up to five
lines, a single failure of a stream that may pass by itself is told as a possible cause; in a log it is a note.

Exit status: 1 causes found, 3 nothing in it tells of a fault that is known, 2 usage or bad input.`,
		Example: `  meshdiag explain envoy.log
  meshdiag explain access.log
  kubectl logs checkout-7d9f8 -c istio-proxy | meshdiag explain
  echo 'gRPC config stream closed: 7, Request had insufficient authentication scopes.' | meshdiag explain -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			name := "-"
			if len(args) > 0 {
				name = args[0]
			}
			in, err := openLog(cmd, name)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			defer in.Close()
			explain := explainHere
			if server.address != "" {
				explain = server.explain
			}
			rep, err := explain(cmd.Context(), shortName(name), in)
			if err != nil {
				return err
			}
			return printReport(cmd, rep, out)
		},
	}
	server.add(cmd)
	out.add(cmd)
	return cmd
}

// openLog opens what is to be read.
//
// What it gives is an *os.File wherever it can be: that is read in several places at once.
func openLog(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name != "-" {
		return os.Open(name) // its error names the file
	}
	in := cmd.InOrStdin()
	if f, ok := in.(*os.File); ok {
		if w := cmd.ErrOrStderr(); isTerminal(w) && term.IsTerminal(int(f.Fd())) {
			fmt.Fprintln(w, "Paste a log or an error, and end with Ctrl-D.")
		}
		return f, nil
	}
	return io.NopCloser(in), nil
}

// explainHere reads the text in this process.
func explainHere(ctx context.Context, name string, in io.Reader) (*pb.Report, error) {
	rep, err := pipeline.Explain(ctx, name, in)
	switch {
	case ctx.Err() != nil:
		return nil, failed(fmt.Errorf("interrupted: %w", ctx.Err()))
	case err != nil:
		return nil, &exitError{code: exitUsage, err: err}
	}
	return service.ToProto(rep, "reports/local"), nil
}

// explain has a running meshdiag read the text.
func (f *serverFlags) explain(ctx context.Context, name string, in io.Reader) (*pb.Report, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxArtifacts+1))
	switch {
	case err != nil:
		return nil, usage("reading %s: %v", name, err)
	case len(text) == 0:
		return nil, usage("%s %v", name, pipeline.ErrEmpty)
	case pipeline.IsArchive(text):
		return nil, usage("%s %v", name, pipeline.ErrArchive)
	case len(text) > maxArtifacts:
		return nil, usage("%s is larger than the %d MiB that a server takes; without --server it is read here, whatever its size", name, maxArtifacts>>20)
	}
	c, err := f.connect(ctx)
	if err != nil {
		return nil, asExit(err)
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout+connectGrace)
	defer cancel()
	answer, err := c.client.Explain(ctx, &pb.ExplainRequest{Text: strings.ToValidUTF8(string(text), "\uFFFD")})
	if err != nil {
		return nil, explainRPC(err)
	}
	return answer.GetReport(), nil
}

// printReport prints a report, and gives the exit status of its verdict.
func printReport(cmd *cobra.Command, rep *pb.Report, out outputFlags) error {
	w := cmd.OutOrStdout()
	opts := report.Options{Verbose: out.verbose, Color: isTerminal(w) && os.Getenv("NO_COLOR") == ""}
	if err := report.Write(w, out.format, rep, opts); err != nil {
		return failed(fmt.Errorf("printing the report: %w", err))
	}
	return verdictExit(rep.GetVerdict())
}
