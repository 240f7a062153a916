package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "meshdiag",
		Short: "Tells why a Google Cloud Service Mesh does not work",
		Long: `meshdiag tells why a proxy, a VM or a whole Google Cloud Service Mesh does not work, and what to do about it.

Exit status: 0 healthy, 1 causes found, 2 usage or bad input, 3 inconclusive, 4 the call itself failed.

Every flag can be set by a variable of the environment too: --ca-file by MESHDIAG_CA_FILE; and in the file named by --config,
as a YAML map of flag names to values. A flag wins over the environment, and that over the file.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return settings(cmd) },
	}
	root.PersistentFlags().String("config", "", "YAML file with values for flags")
	root.AddCommand(newDemo(), newDiagnose(), newCollect(), newExplain(), newServe(), newLab(), newChecks(), newVersion())
	root.CompletionOptions.HiddenDefaultCmd = false
	return root
}

const envPrefix = "MESHDIAG_"

// settings gives the flags that were not set their values from the environment, or else from the configuration file.
func settings(cmd *cobra.Command) error {
	fromFile := map[string][]string{}
	file := cmd.Flags().Lookup("config")
	if file != nil && !file.Changed {
		if v, ok := os.LookupEnv(envName("config")); ok {
			_ = file.Value.Set(v)
		}
	}
	if file != nil && file.Value.String() != "" {
		var err error
		if fromFile, err = readConfig(file.Value.String(), cmd.Root()); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
	}
	var first error
	set := func(f *pflag.Flag, from string, values ...string) {
		for _, v := range values {
			if err := cmd.Flags().Set(f.Name, v); err != nil && first == nil {
				first = usage("%s: %q is not what --%s takes: %v", from, v, f.Name, err)
			}
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "config" || f.Name == "help" {
			return
		}
		if v, ok := os.LookupEnv(envName(f.Name)); ok {
			set(f, envName(f.Name), v)
		} else if v, ok := fromFile[f.Name]; ok {
			set(f, file.Value.String()+": "+f.Name, v...)
		}
	})
	return first
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// maxConfig bounds a configuration file; a real one has a few lines.
const maxConfig = 1 << 20

// readConfig reads a YAML map of flag names to a value or a list of values. A name that no command has is an error.
func readConfig(name string, root *cobra.Command) (map[string][]string, error) {
	b, err := readFile(name, maxConfig)
	if err != nil {
		return nil, err
	}
	var m map[string]yaml.Node
	if err := yaml.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: a YAML map of flag names to values was expected: %w", name, err)
	}
	known := map[string]bool{}
	for _, c := range append(root.Commands(), root) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	}
	out := map[string][]string{}
	for k, v := range m {
		if !known[k] {
			return nil, fmt.Errorf("%s: %q is no flag of any command", name, k)
		}
		var one string
		var many []string
		switch {
		case v.Decode(&one) == nil:
			out[k] = []string{one}
		case v.Decode(&many) == nil:
			out[k] = many
		default:
			return nil, fmt.Errorf("%s: %s: a value or a list of values was expected", name, k)
		}
	}
	return out, nil
}

// readFile reads a file that isn't larger than most bytes. Errors name the file, in one line.
func readFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err // names the file already
	}
	defer func() { _ = f.Close() }() // only read
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, fmt.Errorf("%s is a folder; a file was expected", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	case int64(len(b)) > most:
		return nil, fmt.Errorf("%s is larger than the %d MiB that are taken", name, most>>20)
	}
	return b, nil
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "meshdiag", version()) },
	}
}

// version gives the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
		if i := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" }); i >= 0 {
			v += " " + info.Settings[i].Value
		}
	}
	return v + " " + info.GoVersion
}

// oneOf checks that a flag has one of some values.
func oneOf(flag, value string, values []string) error {
	if slices.Contains(values, value) {
		return nil
	}
	return usage("--%s %q is not one of %s", flag, value, strings.Join(values, ", "))
}
