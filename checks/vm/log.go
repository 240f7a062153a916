package vm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// logged shows a message of a log.
func logged(m evidence.LogMessage) diagnose.Exhibit {
	where := m.File
	if where == "" {
		where = "text"
	}
	if m.Line > 0 {
		where += fmt.Sprintf(", line %d", m.Line)
	}
	if m.Count > 1 {
		where += fmt.Sprintf(" (%d times)", m.Count)
	}
	return diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: where + ": " + clip(m.Text, maxExcerpt), Source: m.Source}
}

// notAsked says whether an error is that of a fact that nobody was asked for, or of a check that doesn't apply.
func notAsked(err error) bool {
	var m *evidence.Missing
	var n *diagnose.NotApplicable
	return errors.As(err, &m) && m.Why == evidence.NotAsked || errors.As(err, &n)
}

// sentence ends a text with a full stop.
func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, "…") {
		return s
	}
	return strings.TrimRight(s, ".!") + "."
}
