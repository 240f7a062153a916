package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/lab"
	"github.com/meshdiag/meshdiag/report"
)

// tellingScenario is what demo shows when it isn't told what: a real client that rejects what it was sent.
const tellingScenario = "config-rejected"

func newDemo() *cobra.Command {
	var scenario string
	var list bool
	var out outputFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Break a simulated mesh and diagnose it: no set-up, no cloud account",
		Long: `demo starts a simulated mesh on loopback (control plane, Google Cloud's APIs, DNS, xDS clients), breaks it as the
scenario says, and diagnoses it as a real one would be.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if list {
				return listScenarios(cmd.OutOrStdout())
			}
			return demo(cmd, scenario, out)
		},
	}
	cmd.Flags().StringVar(&scenario, "scenario", tellingScenario, "what is broken; see --list")
	cmd.Flags().BoolVar(&list, "list", false, "list the scenarios")
	_ = cmd.RegisterFlagCompletionFunc("scenario", completeScenarios)
	out.add(cmd)
	return cmd
}

func completeScenarios(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := lab.Scenarios()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name+"\t"+s.Summary)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func listScenarios(w io.Writer) error {
	all, err := lab.Scenarios()
	if err != nil {
		return failed(err)
	}
	width := 0
	for _, s := range all {
		width = max(width, len(s.Name))
	}
	for _, s := range all {
		fmt.Fprintf(w, "%-*s  %s\n", width, s.Name, s.Summary)
	}
	return nil
}

func demo(cmd *cobra.Command, name string, out outputFlags) error {
	s, err := lab.ScenarioByName(name)
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	world, err := lab.Start(cmd.Context(), s, lab.Options{})
	if err != nil {
		return failed(err)
	}
	defer func() { _ = world.Close() }()
	target, conn, err := parseWorld(world)
	if err != nil {
		return failed(err)
	}
	req, err := target.request(strings.NewReader(""))
	if err != nil {
		return err
	}
	var frame func(io.Writer, *pb.Report)
	if out.format == report.FormatText {
		fmt.Fprintf(cmd.OutOrStdout(), "Scenario %s\n%s\n\n", s.Name, s.Summary)
		what := "That was a simulated mesh."
		if len(s.Ask.Documents) > 0 {
			what = "Those files are made up."
		}
		frame = func(w io.Writer, _ *pb.Report) {
			fmt.Fprintln(w, "\n"+what+" More: meshdiag demo --list, then meshdiag demo --scenario NAME")
		}
	}
	connect := func(ctx context.Context) (*connected, error) {
		c, err := conn.connection()
		if err != nil {
			return nil, err
		}
		return inProcess(ctx, c)
	}
	return diagnoseAndPrint(cmd, connect, req, out, frame)
}

// parseWorld reads the flags that the lab prints as diagnose does: what works here works when they are pasted.
func parseWorld(w *lab.World) (*targetFlags, *connectionFlags, error) {
	var target targetFlags
	var conn connectionFlags
	cmd := &cobra.Command{Use: "diagnose"}
	target.add(cmd)
	conn.add(cmd)
	if err := cmd.ParseFlags(w.Flags()); err != nil {
		return nil, nil, fmt.Errorf("the lab's own flags: %w", err)
	}
	return &target, &conn, nil
}
