package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshdiag/meshdiag/lab"
)

func newLab() *cobra.Command {
	var scenario string
	var list bool
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run the simulated mesh alone, and print the flags that point diagnose and serve at it",
		Long: `lab starts a simulated mesh on loopback, prints one line of flags for meshdiag diagnose, and runs until it is
interrupted. meshdiag serve takes the connection flags among them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if list {
				return listScenarios(cmd.OutOrStdout())
			}
			s, err := lab.ScenarioByName(scenario)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			world, err := lab.Start(cmd.Context(), s, lab.Options{})
			if err != nil {
				return failed(err)
			}
			defer func() { _ = world.Close() }()
			fmt.Fprintf(cmd.ErrOrStderr(), "Scenario %s: %s\nRunning until interrupted. Paste behind: meshdiag diagnose\n", s.Name, s.Summary)
			fmt.Fprintln(cmd.OutOrStdout(), shellLine(world.Flags()))
			<-cmd.Context().Done()
			return nil
		},
	}
	cmd.Flags().StringVar(&scenario, "scenario", "healthy", "what is broken; see --list")
	cmd.Flags().BoolVar(&list, "list", false, "list the scenarios")
	_ = cmd.RegisterFlagCompletionFunc("scenario", completeScenarios)
	return cmd
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,~-]+$`)

// shellLine quotes words for a POSIX shell.
func shellLine(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = w
		if !plain.MatchString(w) {
			q[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(q, " ")
}
