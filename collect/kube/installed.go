package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// maxDiscovery bounds the list of API groups, or of a group's resources: some ten kilobytes.
const maxDiscovery = 4 << 20

// The API groups of the mesh.
const (
	groupNetworking = "networking.istio.io"
	groupSecurity   = "security.istio.io"
	groupMesh       = "mesh.cloud.google.com"
)

func (s *step) revisions(ctx context.Context) error {
	return installed(ctx, s, evidence.ControlPlaneRevisions, groupMesh, "controlplanerevisions", false, func(o *kube.ControlPlaneRevision) *kube.Meta { return &o.Meta })
}

func (s *step) dataPlanes(ctx context.Context) error {
	return installed(ctx, s, evidence.DataPlaneControls, groupMesh, "dataplanecontrols", false, func(o *kube.DataPlaneControl) *kube.Meta { return &o.Meta })
}

func (s *step) envoyFilters(ctx context.Context) error {
	return installed(ctx, s, evidence.EnvoyFilters, groupNetworking, "envoyfilters", true, func(o *kube.EnvoyFilter) *kube.Meta { return &o.Meta })
}

func (s *step) destinationRules(ctx context.Context) error {
	return installed(ctx, s, evidence.DestinationRules, groupNetworking, "destinationrules", true, func(o *kube.DestinationRule) *kube.Meta { return &o.Meta })
}

func (s *step) peerAuthentications(ctx context.Context) error {
	return installed(ctx, s, evidence.PeerAuthentications, groupSecurity, "peerauthentications", true, func(o *kube.PeerAuthentication) *kube.Meta { return &o.Meta })
}

func (s *step) authorizationPolicies(ctx context.Context) error {
	return installed(ctx, s, evidence.AuthorizationPolicies, groupSecurity, "authorizationpolicies", true, func(o *kube.AuthorizationPolicy) *kube.Meta { return &o.Meta })
}

// installed reads the objects of a kind that may not be installed: of the mesh's namespace and the one asked about, or of the
// whole cluster.
func installed[T any](ctx context.Context, s *step, key evidence.Key[[]evidence.Objects[T]], group, resource string, namespaces bool, meta func(*T) *kube.Meta) error {
	acc := access{what: "the " + resource, verb: "list", group: group, resource: resource}
	version, err := s.version(ctx, acc)
	src := s.source(acc)
	switch {
	case err != nil:
		s.fail(ctx, key.Name(), src, err)
		return nil
	case version == "":
		evidence.Put(s.set, key, []evidence.Objects[T]{{Whole: true, NoSuchKind: true, Source: src}}, src)
		return nil
	}
	acc.version = version
	in := []access{acc}
	if namespaces {
		in = []access{within(acc, rootNamespace)}
		if ns := s.req.Target.Namespace; ns != "" && ns != rootNamespace {
			in = append(in, within(acc, ns))
		}
	}
	for _, a := range in {
		items, err := list(ctx, s.cluster, a, selectors{}, func(o *T) bool {
			tidy(meta(o))
			return true
		})
		putObjects(ctx, s, key, a, items, err)
	}
	return nil
}

var errNoDiscovery = errors.New("the answer is no list of what a Kubernetes API server serves")

// version gives the version of its group in which the API server serves a resource, "" where it serves none. A path that isn't
// found doesn't tell: what is in front of an API server may not find it either. What the API server lists does.
func (c *cluster) version(ctx context.Context, acc access) (string, error) {
	about := access{what: "whether " + acc.kind() + " is installed", verb: "get", url: "/apis"}
	var groups struct {
		Kind   string `json:"kind"`
		Groups []struct {
			Name     string `json:"name"`
			Versions []struct {
				Version string `json:"version"`
			} `json:"versions"`
			Preferred struct {
				Version string `json:"version"`
			} `json:"preferredVersion"`
		} `json:"groups"`
	}
	if err := c.fetch(ctx, about, "apis", nil, discovered(&groups, &groups.Kind, "APIGroupList")); err != nil {
		return "", err
	}
	var versions []string
	for _, g := range groups.Groups {
		if g.Name != acc.group {
			continue
		}
		for _, v := range g.Versions {
			versions = append(versions, v.Version)
		}
		slices.SortStableFunc(versions, func(a, b string) int {
			preferred := func(v string) int {
				if v == g.Preferred.Version {
					return 0
				}
				return 1
			}
			return cmp.Compare(preferred(a), preferred(b))
		})
	}
	for _, v := range versions {
		var list struct {
			Kind      string `json:"kind"`
			Resources []struct {
				Name string `json:"name"`
			} `json:"resources"`
		}
		err := c.fetch(ctx, about, "apis/"+acc.group+"/"+v, nil, discovered(&list, &list.Kind, "APIResourceList"))
		if hasCode(err, http.StatusNotFound) {
			return "", fmt.Errorf("%w, though the API server lists %s/%s", err, acc.group, v)
		}
		if err != nil {
			return "", err
		}
		for _, r := range list.Resources {
			if r.Name == acc.resource {
				return v, nil
			}
		}
	}
	return "", nil
}

// discovered decodes an answer that has to be of a kind.
func discovered(into any, kind *string, want string) func(io.Reader) error {
	return func(r io.Reader) error {
		err := json.NewDecoder(io.LimitReader(r, maxDiscovery)).Decode(into)
		var syntax *json.SyntaxError
		switch {
		case errors.As(err, &syntax):
			return fmt.Errorf("%w: %w", errNoDiscovery, err)
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case *kind != want:
			return errNoDiscovery
		}
		return nil
	}
}
