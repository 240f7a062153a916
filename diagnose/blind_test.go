package diagnose

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// The first line of a diagnosis in which nothing answered says why; where something did, it says what is lacking.
func TestHeadlineOfTheBlind(t *testing.T) {
	refused := errors.New("dial tcp 10.0.0.1:443: connection refused")
	failing := func(n evidence.Name, err error) func(*evidence.Set) {
		return func(s *evidence.Set) { s.Fail(n, apiSource, err) }
	}
	derived := fmt.Errorf("webhooks' Services aren't known without %w", &evidence.Missing{Name: evidence.MutatingWebhooks.Name(), Why: evidence.Failed, Err: refused})
	for _, tc := range []struct {
		name string
		put  []func(*evidence.Set)
		want string
	}{
		{"all refused", []func(*evidence.Set){failing(evidence.ClusterServices.Name(), derived), failing(evidence.Pods.Name(), refused)},
			"Nothing could be seen of namespace shop: dial tcp"},
		{"nobody asked", []func(*evidence.Set){failing(evidence.EnvoyFilters.Name(), refused)}, "Nothing could be seen of namespace shop: no Kubernetes cluster is configured"},
		{"a derived lack isn't the reason", []func(*evidence.Set){failing(evidence.ClusterServices.Name(), derived), failing(evidence.EndpointSlices.Name(), derived),
			failing(evidence.ClusterEvents.Name(), refused)}, "Nothing could be seen of namespace shop: dial tcp"},
		{"one fact came", []func(*evidence.Set){failing(evidence.ClusterEvents.Name(), refused), batch(evidence.Namespaces, "", kube.Namespace{Meta: kube.Meta{Name: "shop"}})},
			"Nothing wrong was found, but this could not be seen"},
		{"a fact that counts for nothing came", []func(*evidence.Set){failing(evidence.ClusterEvents.Name(), refused), batch[kube.EnvoyFilter](evidence.EnvoyFilters, "")},
			"Nothing could be seen of namespace shop: dial tcp"},
		{"a file alone", []func(*evidence.Set){failing(evidence.ClusterEvents.Name(), refused), pastedObjects(evidence.Namespaces, kube.Namespace{Meta: kube.Meta{Name: "shop"}})},
			"Nothing could be seen of namespace shop: dial tcp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var facts []evidence.Name
			set := evidence.NewSet()
			for _, put := range tc.put {
				put(set)
			}
			for _, o := range set.Observations() {
				facts = append(facts, o.Name)
			}
			e, err := New(Config{
				Checks: []Check{{ID: "a/b", Doc: Doc{Title: "A condition"}, Severity: Blocking, Layer: LayerAPI, Needs: facts, Evaluate: func(_ Request, v *evidence.View) ([]Cause, error) { return nil, Skip("nothing to say") }}},
				Collectors: []Collector{{Name: "kube", Provides: facts, Collect: func(_ context.Context, _ Request, _ *evidence.View, s *evidence.Set) error {
					s.Absorb(set)
					return nil
				}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			rep, err := e.Diagnose(t.Context(), Request{Target: Target{Namespace: "shop"}}, nil)
			if err != nil || rep.Verdict != Inconclusive || !strings.HasPrefix(rep.Headline, tc.want) {
				t.Errorf("%v, %v: %q, want %q", err, rep.Verdict, rep.Headline, tc.want)
			}
		})
	}
}
