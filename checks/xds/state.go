package xds

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// each goes over the resources that the control plane manages: static ones come from the bootstrap.
func each(statuses []evidence.ClientStatus, do func(s *evidence.ClientStatus, r seen)) {
	for i := range statuses {
		for _, r := range statuses[i].Resources {
			if !r.Static {
				do(&statuses[i], seen{r, &statuses[i]})
			}
		}
	}
}

// finding is resources of one type in one bad state, at one or several clients.
type finding struct {
	typ, state string
	sure       diagnose.Confidence
	names      []string
	clients    []string
	shown      []diagnose.Exhibit
}

// findings sorts resources by type and state, the clients together: what many clients lack is one cause, not many.
type findings struct{ list []finding }

func (f *findings) add(state string, sure diagnose.Confidence, s seen) {
	i := slices.IndexFunc(f.list, func(x finding) bool { return x.typ == s.Type() && x.state == state })
	if i < 0 {
		i = len(f.list)
		f.list = append(f.list, finding{typ: s.Type(), state: state, sure: sure})
	}
	x := &f.list[i]
	x.sure = max(x.sure, sure)
	if s.Name != "" {
		x.names = union(x.names, []string{s.Name})
	}
	x.clients = union(x.clients, []string{s.in.Client.NodeID})
	if len(x.shown) < maxShown {
		x.shown = append(x.shown, diagnose.Exhibit{Fact: evidence.ClientStatuses.Name(), Excerpt: s.excerpt(), Source: s.in.Source})
	}
}

// causes turns findings into causes. tell gives the end of the summary.
func (f *findings) causes(total int, tell func(finding) string) []diagnose.Cause {
	slices.SortStableFunc(f.list, func(a, b finding) int {
		return cmp.Or(cmp.Compare(len(b.clients), len(a.clients)), strings.Compare(a.typ, b.typ), strings.Compare(a.state, b.state))
	})
	var out []diagnose.Cause
	for _, x := range f.list {
		key := placed(x.clients, "", x.typ)
		if len(x.clients) == 1 && len(x.names) == 1 {
			key += "/" + x.names[0]
		}
		p := group{rejection: rejection{typ: x.typ, names: x.names}, clients: x.clients}.params()
		out = append(out, diagnose.Cause{
			Subject: subject(x.clients, total, ""), Key: key, Summary: tell(x), Confidence: x.sure, Params: p, Evidence: x.shown,
		})
	}
	return out
}

// what names the resources: "Listener shop:8080", "3 Listener resources (a, b and c)", "Listener configuration".
func (x finding) what() string {
	switch len(x.names) {
	case 0:
		return x.typ + " configuration"
	case 1:
		return x.typ + " " + clip(oneLine(x.names[0]), maxNameSize)
	default:
		return fmt.Sprintf("%d %s resources (%s)", len(x.names), x.typ, some(x.names, maxNameSize/maxNamed))
	}
}

// by names the clients in the middle of a sentence.
func (x finding) by(total int) string {
	if len(x.clients) > 1 {
		return fmt.Sprintf("%d of %s", len(x.clients), plural(max(total, len(x.clients)), "client"))
	}
	return "the client"
}

// statuses reads what CSDS tells. The second error says why nothing can be concluded from finding none.
func statuses(v *evidence.View) ([]evidence.ClientStatus, error, error) {
	list, err := evidence.Get(v, evidence.ClientStatuses)
	if err != nil {
		return nil, err, err
	}
	return list, nil, undecided(v, list)
}
