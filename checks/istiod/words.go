package istiod

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/meshdiag/meshdiag/evidence"
)

// clip cuts text to at most n bytes, between characters, and puts it on one line.
func clip(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// some joins names, and says how many more there are than fit.
func some(names []string) string {
	if len(names) <= maxNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNames], ", "), len(names)-maxNames)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// sentence ends a text with one full stop.
func sentence(s string) string { return strings.TrimRight(s, ". ") + "." }

// failed drops the error of a fact that was never asked for, and keeps that of one that was and isn't known.
func failed(err error) error {
	var m *evidence.Missing
	if errors.As(err, &m) && m.Why == evidence.NotAsked {
		return nil
	}
	return err
}

// first gives the first error there is.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
