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

// finding is resources in one bad state, at one or several clients.
type finding struct {
	state   string
	sure    diagnose.Confidence
	types   []string // in the order met
	names   []string // of every type
	full    []string // type and name
	clients []string
	shown   []diagnose.Exhibit
}

// findings sorts resources by type and state, the clients together: what many clients lack is one cause, not many.
type findings struct{ list []finding }

func (f *findings) add(state string, sure diagnose.Confidence, s seen) {
	i := slices.IndexFunc(f.list, func(x finding) bool { return x.types[0] == s.Type() && x.state == state })
	if i < 0 {
		i = len(f.list)
		f.list = append(f.list, finding{types: []string{s.Type()}, state: state, sure: sure})
	}
	x := &f.list[i]
	x.sure = max(x.sure, sure)
	full := s.Type() + " configuration"
	if s.Name != "" {
		x.names = union(x.names, []string{s.Name})
		full = s.Type() + " " + brief(s.Name, maxNameSize/maxNamed)
	}
	x.full = union(x.full, []string{full})
	x.clients = union(x.clients, []string{s.in.Client.NodeID})
	x.shown = show(x.shown, s)
}

// join makes one finding of those of several types that concern the same clients: where one remedy serves them all.
func (f *findings) join() {
	var out []finding
	for _, x := range f.list {
		i := slices.IndexFunc(out, func(o finding) bool { return o.state == x.state && slices.Equal(o.clients, x.clients) })
		if i < 0 {
			out = append(out, x)
			continue
		}
		o := &out[i]
		o.sure = max(o.sure, x.sure)
		o.types, o.names, o.full = append(o.types, x.types...), union(o.names, x.names), append(o.full, x.full...)
		o.shown = append(o.shown, x.shown[:min(len(x.shown), maxShown)]...)
	}
	f.list = out
}

// causes turns findings into causes. tell gives the summary.
func (f *findings) causes(total int, tell func(finding) string) []diagnose.Cause {
	slices.SortStableFunc(f.list, func(a, b finding) int {
		return cmp.Or(cmp.Compare(len(b.clients), len(a.clients)), slices.Compare(a.types, b.types), strings.Compare(a.state, b.state))
	})
	var out []diagnose.Cause
	for _, x := range f.list {
		p := group{rejection: rejection{typ: x.types[0], names: x.names}, clients: x.clients}.params()
		out = append(out, diagnose.Cause{
			Subject: subject(x.clients, total, ""), Key: x.key(), About: diagnose.About{diagnose.AboutNode: x.clients, diagnose.AboutType: x.types, diagnose.AboutResource: x.names, diagnose.AboutFailure: {x.state}}, Summary: tell(x), Confidence: x.sure, Params: p, Evidence: x.shown,
		})
	}
	return out
}

// key goes as deep as the finding is narrow: one resource, one type, or one client.
func (x finding) key() string {
	if len(x.types) > 1 {
		if len(x.clients) == 1 {
			return "nodes/" + x.clients[0]
		}
		return "clients/" + strings.Join(x.types, "+")
	}
	key := placed(x.clients, "", x.types[0])
	if len(x.clients) == 1 && len(x.names) == 1 {
		key += "/" + x.names[0]
	}
	return key
}

// what names the resources: "Listener shop:8080", "3 Listener resources (a, b and c)", "Cluster shop and Listener web".
func (x finding) what() string {
	switch {
	case len(x.types) > 1:
		return some(x.full, maxNameSize)
	case len(x.names) == 0:
		return x.types[0] + " configuration"
	case len(x.names) == 1:
		return x.types[0] + " " + brief(x.names[0], maxNameSize)
	default:
		return fmt.Sprintf("%d %s resources (%s)", len(x.names), x.types[0], some(x.names, maxNameSize/maxNamed))
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
