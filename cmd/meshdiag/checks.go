package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/cmd/meshdiag/pipeline"
	"github.com/meshdiag/meshdiag/diagnose"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/report"
)

func newChecks() *cobra.Command {
	var docs string
	cmd := &cobra.Command{
		Use:   "checks [ID]",
		Short: "List what meshdiag can find, or explain one check",
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var out []string
			for _, c := range checks.All() {
				out = append(out, string(c.ID)+"\t"+c.Doc.Title)
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
	var out outputFlags
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := out.check(); err != nil {
			return err
		}
		switch {
		case docs != "":
			return writeDocs(docs, checks.All())
		case len(args) == 1:
			return showCheck(cmd, args[0], out)
		default:
			return listChecks(cmd, out)
		}
	}
	cmd.Flags().StringVar(&docs, "write-docs", "", "write every check's page into `FOLDER`")
	_ = cmd.Flags().MarkHidden("write-docs")
	out.add(cmd)
	return cmd
}

func listChecks(cmd *cobra.Command, out outputFlags) error {
	all := checks.All()
	w := cmd.OutOrStdout()
	switch out.format {
	case report.FormatText:
		width := 0
		for _, c := range all {
			width = max(width, len(c.ID))
		}
		for _, c := range all {
			fmt.Fprintf(w, "%-*s  %s\n", width, c.ID, c.Doc.Title)
		}
		return nil
	case report.FormatMarkdown:
		fmt.Fprint(w, checks.Index(all))
		return nil
	default:
		return printCatalog(cmd, out, "")
	}
}

func showCheck(cmd *cobra.Command, id string, out outputFlags) error {
	for _, c := range checks.All() {
		if string(c.ID) != id {
			continue
		}
		if out.format == report.FormatText || out.format == report.FormatMarkdown {
			fmt.Fprint(cmd.OutOrStdout(), checks.Page(c))
			return nil
		}
		return printCatalog(cmd, out, id)
	}
	return usage("there is no check %q; meshdiag checks lists them", id)
}

// printCatalog prints the API's message for one check, or for all where id is empty.
func printCatalog(cmd *cobra.Command, out outputFlags, id string) error {
	c, err := inProcess(cmd.Context(), pipeline.Connection{})
	if err != nil {
		return asExit(err)
	}
	defer c.close()
	var m proto.Message
	if id == "" {
		m, err = c.catalog.ListChecks(cmd.Context(), &pb.ListChecksRequest{})
	} else {
		m, err = c.catalog.GetCheck(cmd.Context(), &pb.GetCheckRequest{Name: "checks/" + id})
	}
	if err != nil {
		return explainRPC(err)
	}
	write := report.JSON
	if out.format == report.FormatYAML {
		write = report.YAML
	}
	return write(cmd.OutOrStdout(), m)
}

// writeDocs makes a folder hold the checks' pages and nothing else: a page whose check is gone is removed.
func writeDocs(dir string, all []diagnose.Check) error {
	pages := map[string]string{"README.md": checks.Index(all)}
	for _, c := range all {
		pages[string(c.ID)+".md"] = checks.Page(c)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return failed(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if _, ok := pages[path]; err != nil || d.IsDir() || ok || !strings.HasSuffix(path, ".md") {
			return err
		}
		return root.Remove(path)
	})
	if err != nil {
		return failed(fmt.Errorf("clearing %s: %w", dir, err))
	}
	for name, text := range pages {
		if old, err := root.ReadFile(name); err == nil && bytes.Equal(old, []byte(text)) {
			continue
		}
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return failed(err)
		}
		if err := root.WriteFile(name, []byte(text), 0o644); err != nil {
			return failed(err)
		}
	}
	return nil
}
