package evidence_test

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
)

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "abc", 0}, {"abc", "", 3}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"web-1", "web-2", 1},
		{"netwrk", "network", 1}, {"enabeld", "enabled", 1}, {"ab", "ba", 1}, {strings.Repeat("a", 1<<20), strings.Repeat("a", 1<<19), 0},
	} {
		if got := evidence.Edits(c.a, c.b); got != c.want {
			t.Errorf("%.20q and %.20q are %d edits apart, want %d", c.a, c.b, got, c.want)
		}
	}
}
