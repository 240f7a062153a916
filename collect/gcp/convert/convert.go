// Package convert turns Google Cloud API messages into evidence. The same JSON comes from the APIs and, as gcloud prints it,
// from files; both go through here, so that they read alike.
package convert

import (
	"slices"
	"strconv"
	"strings"
	"time"

	compute "google.golang.org/api/compute/v1"
	serviceusage "google.golang.org/api/serviceusage/v1"

	"github.com/meshdiag/meshdiag/evidence"
)

// ForwardingRule converts a forwarding rule, global or regional. A nil rule gives the zero value.
func ForwardingRule(r *compute.ForwardingRule, src evidence.Source) evidence.ForwardingRule {
	if r == nil {
		return evidence.ForwardingRule{Source: src}
	}
	out := evidence.ForwardingRule{
		Name:           r.Name,
		Project:        segmentAfter(r.SelfLink, "projects"),
		Region:         evidence.LastSegment(r.Region),
		Scheme:         r.LoadBalancingScheme,
		Network:        evidence.LastSegment(r.Network),
		NetworkProject: segmentAfter(r.Network, "projects"),
		IPAddress:      r.IPAddress,
		IPProtocol:     r.IPProtocol,
		PortRange:      r.PortRange,
		Target:         r.Target,
		SelfLink:       r.SelfLink,
		Source:         src,
	}
	if out.Region == "" {
		out.Region = segmentAfter(r.SelfLink, "regions")
	}
	for _, f := range r.MetadataFilters {
		if f == nil {
			continue
		}
		m := evidence.MetadataFilter{Match: f.FilterMatchCriteria}
		for _, l := range f.FilterLabels {
			if l != nil {
				m.Labels = append(m.Labels, evidence.Label{Name: l.Name, Value: l.Value})
			}
		}
		out.MetadataFilters = append(out.MetadataFilters, m)
	}
	return out
}

// Instance converts a Compute Engine VM. A nil instance gives the zero value; a creation time that isn't RFC 3339 stays zero.
func Instance(i *compute.Instance, src evidence.Source) evidence.Instance {
	if i == nil {
		return evidence.Instance{Source: src}
	}
	out := evidence.Instance{
		Name:    i.Name,
		Zone:    evidence.LastSegment(i.Zone),
		Project: segmentAfter(i.SelfLink, "projects"),
		Status:  i.Status,
		Labels:  i.Labels,
		Source:  src,
	}
	if out.Project == "" {
		out.Project = segmentAfter(i.Zone, "projects")
	}
	if i.Id != 0 {
		out.ID = strconv.FormatUint(i.Id, 10)
	}
	if t, err := time.Parse(time.RFC3339, i.CreationTimestamp); err == nil {
		out.Created = t
	}
	for _, a := range i.ServiceAccounts {
		if a != nil {
			out.ServiceAccounts = append(out.ServiceAccounts, evidence.ServiceAccount{Email: a.Email, Scopes: a.Scopes})
		}
	}
	for _, n := range i.NetworkInterfaces {
		if n == nil {
			continue
		}
		out.Networks = append(out.Networks, evidence.LastSegment(n.Network))
		for _, a := range []string{n.NetworkIP, n.Ipv6Address} {
			if a != "" {
				out.Addresses = append(out.Addresses, a)
			}
		}
	}
	if i.Tags != nil {
		out.Tags = i.Tags.Items
	}
	if i.Metadata != nil {
		for _, m := range i.Metadata.Items {
			if m == nil {
				continue
			}
			if out.Metadata == nil {
				out.Metadata = map[string]string{}
			}
			v := ""
			if m.Value != nil {
				v = *m.Value
			}
			out.Metadata[m.Key] = v
		}
	}
	return out
}

// Service converts one API's state. Its name is the API's own, "compute.googleapis.com", without the project.
func Service(s *serviceusage.GoogleApiServiceusageV1Service) evidence.APIService {
	if s == nil {
		return evidence.APIService{}
	}
	name := evidence.LastSegment(s.Name)
	if name == "" && s.Config != nil {
		name = s.Config.Name
	}
	return evidence.APIService{Name: name, State: s.State}
}

// ServiceProject gives the project number that a service's name carries ("projects/123/services/…"), or "" where it
// carries none or an id.
func ServiceProject(s *serviceusage.GoogleApiServiceusageV1Service) string {
	if s == nil {
		return ""
	}
	for _, n := range []string{s.Name, s.Parent} {
		if p := segmentAfter(n, "projects"); evidence.Numeric(p) {
			return p
		}
	}
	return ""
}

// Health converts the answer of a backend service's getHealth. The answer names neither the service nor the group that it
// is about; the zones of VMs are those in their URLs.
func Health(h *compute.BackendServiceGroupHealth, src evidence.Source) []evidence.EndpointHealth {
	if h == nil {
		return nil
	}
	out := make([]evidence.EndpointHealth, 0, len(h.HealthStatus))
	for _, s := range h.HealthStatus {
		if s == nil {
			continue
		}
		e := evidence.EndpointHealth{Address: s.IpAddress, Port: int(s.Port), Instance: s.Instance, State: s.HealthState, Source: src}
		if e.Address == "" {
			e.Address = s.Ipv6Address
		}
		e.Zone = segmentAfter(s.Instance, "zones")
		out = append(out, e)
	}
	return out
}

// segmentAfter gives the path segment that follows the named one: segmentAfter(".../projects/p/global/x", "projects") is "p".
func segmentAfter(url, name string) string {
	p := strings.Split(url, "/")
	if i := slices.Index(p, name); i >= 0 && i+1 < len(p) {
		return p[i+1]
	}
	return ""
}
