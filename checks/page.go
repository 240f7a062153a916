package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
)

// Page gives a check's documentation page in Markdown. Names in capitals stand for what a report fills in.
func Page(c diagnose.Check) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Generated from the check by `make gen`. -->\n# %s\n\n**%s** (%s)\n\n%s\n", c.ID, c.Doc.Title, c.Severity, c.Doc.Explanation)
	if c.Doc.Quiet != "" {
		fmt.Fprintf(&b, "\n## When it stays quiet\n\n%s\n", c.Doc.Quiet)
	}
	fmt.Fprint(&b, "\n## What to do\n\n")
	for i, s := range c.Doc.Remedy {
		for _, a := range diagnose.Render([]diagnose.Step{{Text: s.Text, Command: s.Command}}, nil) {
			fmt.Fprintf(&b, "%d. %s\n", i+1, a.Text)
			if a.Command != "" {
				fmt.Fprintf(&b, "\n   ```sh\n   %s\n   ```\n\n", strings.ReplaceAll(a.Command, "\n", "\n   "))
			}
		}
	}
	fmt.Fprint(&b, "\n## What it reads\n\n")
	facts := slices.Clone(c.Needs)
	slices.Sort(facts)
	for _, n := range facts {
		fmt.Fprintf(&b, "- `%s`\n", n)
	}
	if len(c.Explains) > 0 {
		fmt.Fprint(&b, "\n## What it explains\n\nThese are listed under it as symptoms:\n\n")
		for _, id := range c.Explains {
			fmt.Fprintf(&b, "- [%s](../%s.md)\n", id, id)
		}
	}
	if len(c.Signatures) > 0 {
		fmt.Fprint(&b, "\n## Log messages it knows\n\n")
		for _, s := range c.Signatures {
			fmt.Fprintf(&b, "- `%s`: %s\n\n", s.ID, s.Meaning)
			for _, x := range s.Examples {
				fmt.Fprintf(&b, "      %s\n", strings.ReplaceAll(x, "\n", "\n      "))
			}
			fmt.Fprintln(&b)
		}
	}
	if len(c.Doc.References) > 0 {
		fmt.Fprint(&b, "\n## References\n\n")
		for _, r := range c.Doc.References {
			fmt.Fprintf(&b, "- <%s>\n", r)
		}
	}
	return tidy(b.String())
}

// Index gives the page that lists the checks.
func Index(all []diagnose.Check) string {
	var b strings.Builder
	fmt.Fprint(&b, "<!-- Generated from the checks by `make gen`. -->\n# Checks\n\nWhat meshdiag can find. IDs are permanent.\n\n| check | finds |\n|---|---|\n")
	for _, c := range all {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s |\n", c.ID, c.ID, strings.ReplaceAll(c.Doc.Title, "|", "\\|"))
	}
	return b.String()
}

// tidy leaves no more than one empty line in a row, and one line break at the end.
func tidy(s string) string {
	for strings.Contains(s, "\n\n\n") {
		s = strings.ReplaceAll(s, "\n\n\n", "\n\n")
	}
	return strings.TrimRight(s, "\n") + "\n"
}
