package kube

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/meshdiag/meshdiag/diagnose"
)

// grant is one right of the manifest.
type grant struct{ role, verb, group, resource, name, url string }

func (g grant) allows(a asked) bool {
	if a.path != "" || g.url != "" {
		prefix, wild := strings.CutSuffix(g.url, "*")
		return a.path != "" && g.verb == a.verb && (g.url == a.path || wild && strings.HasPrefix(a.path, prefix))
	}
	return g.verb == a.verb && g.group == a.group && g.resource == a.resource && (g.name == "" || g.name == a.name)
}

func manifestGrants(t *testing.T) []grant {
	t.Helper()
	text, err := os.ReadFile("../../" + manifest)
	if err != nil {
		t.Fatal(err)
	}
	var out []grant
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var raw struct {
			Kind     string                `yaml:"kind"`
			Metadata struct{ Name string } `yaml:"metadata"`
			Rules    []map[string][]string `yaml:"rules"`
		}
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if raw.Kind != "ClusterRole" {
			t.Errorf("%s %s: who may use what is for the operator to say", raw.Kind, raw.Metadata.Name)
		}
		for _, r := range raw.Rules {
			for _, verb := range r["verbs"] {
				for _, u := range r["nonResourceURLs"] {
					out = append(out, grant{role: raw.Metadata.Name, verb: verb, url: u})
				}
				for _, group := range r["apiGroups"] {
					for _, resource := range r["resources"] {
						names := r["resourceNames"]
						if names == nil {
							names = []string{""}
						}
						for _, name := range names {
							out = append(out, grant{raw.Metadata.Name, verb, group, resource, name, ""})
						}
					}
				}
			}
		}
	}
}

// The manifest allows every request that is made, and no other; nothing that writes, but for the question whether one may.
func TestManifestIsWhatIsAsked(t *testing.T) {
	s := shopWorld(t)
	s.serve("mesh.cloud.google.com/v1alpha1/controlplanerevisions", "mesh.cloud.google.com/v1alpha1/dataplanecontrols")
	s.reviews = true
	secretTLS(t, s)
	scan := withScanner(t)
	all := func(c *Config) { scan(c); c.PodExec = true }
	for _, target := range []diagnose.Target{
		shop, {Namespace: "shop", Pod: "checkout-7d9-aaaaa"}, {Namespace: "shop", Workload: "Deployment/checkout"}, {Revision: "asm-1"},
	} {
		a := s.api(t, all)
		run(t, a, target, everyFact(a)...)
	}
	s.answer = denyNamespaces
	a := s.api(t, all)
	run(t, a, shop, everyFact(a)...)

	grants := manifestGrants(t)
	used := make([]bool, len(grants))
	for _, r := range s.requests() {
		i := slices.IndexFunc(grants, func(g grant) bool { return g.allows(r) })
		if i < 0 {
			t.Errorf("%s isn't allowed by %s", r, manifest)
			continue
		}
		used[i] = true
		if role := grants[i].role; role == roleConfig && r.namespace != rootNamespace && r.namespace != injectorNamespace {
			t.Errorf("%s: %s is to be bound in the mesh's namespaces alone", r, role)
		}
	}
	for i, g := range grants {
		if !used[i] {
			t.Errorf("%s allows %s %s %q %s, which nothing asks for", g.role, g.verb, g.resource, g.group, g.url)
		}
		if g.verb != "get" && g.verb != "list" && g.resource != "selfsubjectaccessreviews" && g.role != roleExec {
			t.Errorf("%s allows %s %s", g.role, g.verb, g.resource)
		}
	}
	for _, r := range []string{roleReader, roleConfig, roleSecret, roleExec} {
		if !slices.ContainsFunc(grants, func(g grant) bool { return g.role == r }) {
			t.Errorf("%s has no ClusterRole %s", manifest, r)
		}
	}
}
