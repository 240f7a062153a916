package xds

import (
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// special gives the causes of one special case of a rejection, by what its reason says. Their keys are those of the
// general cause of the same reason, so that it folds.
func special(req diagnose.Request, v *evidence.View, of sort, tell func(g group, k kind, who string) (string, map[string]string)) ([]diagnose.Cause, error) {
	list, total, err := rejections(req, v)
	var found []group
	for _, g := range grouped(list) {
		if kindOf(g.reason).sort == of {
			found = append(found, g)
		}
	}
	var out []diagnose.Cause
	for _, g := range bounded(found) {
		summary, own := tell(g, kindOf(g.reason), who(g.clients, total))
		c := diagnose.Cause{
			Subject: subject(g.clients, total, g.file), Key: g.key(), About: g.about(), Summary: summary,
			Confidence: g.confidence(), Params: g.params(), Evidence: g.shown,
		}
		for k, s := range own {
			c.Params[k] = s
		}
		if g.kept {
			c.Severity = diagnose.Degrading
		}
		out = append(out, c)
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, err
}

// listener names the listener that a reason concerns, for a sentence.
func (g group) listener() string {
	if len(g.names) == 0 {
		return "a listener"
	}
	return "listener " + some(g.names, maxNameSize/maxNamed)
}
