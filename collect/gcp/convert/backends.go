package convert

import (
	compute "google.golang.org/api/compute/v1"

	"github.com/meshdiag/meshdiag/evidence"
)

// BackendService converts a backend service.
func BackendService(b *compute.BackendService) evidence.BackendService {
	if b == nil {
		return evidence.BackendService{}
	}
	out := evidence.BackendService{
		Name: b.Name, SelfLink: b.SelfLink, Protocol: b.Protocol, Scheme: b.LoadBalancingScheme, PortName: b.PortName,
		HealthChecks: b.HealthChecks,
	}
	for _, x := range b.Backends {
		if x != nil {
			out.Backends = append(out.Backends, evidence.Backend{Group: x.Group, Capacity: x.CapacityScaler})
		}
	}
	return out
}

// HealthCheck converts a health check, global or regional. What it asks, and where, is under the field of its type.
func HealthCheck(h *compute.HealthCheck) evidence.HealthCheck {
	if h == nil {
		return evidence.HealthCheck{}
	}
	out := evidence.HealthCheck{Name: h.Name, SelfLink: h.SelfLink, Type: h.Type}
	set := func(spec string, port int64, name string) {
		out.PortSpec, out.Port, out.PortName = spec, int(port), name
	}
	switch {
	case h.HttpHealthCheck != nil:
		set(h.HttpHealthCheck.PortSpecification, h.HttpHealthCheck.Port, h.HttpHealthCheck.PortName)
	case h.HttpsHealthCheck != nil:
		set(h.HttpsHealthCheck.PortSpecification, h.HttpsHealthCheck.Port, h.HttpsHealthCheck.PortName)
	case h.Http2HealthCheck != nil:
		set(h.Http2HealthCheck.PortSpecification, h.Http2HealthCheck.Port, h.Http2HealthCheck.PortName)
	case h.GrpcHealthCheck != nil:
		set(h.GrpcHealthCheck.PortSpecification, h.GrpcHealthCheck.Port, h.GrpcHealthCheck.PortName)
	case h.GrpcTlsHealthCheck != nil:
		set(h.GrpcTlsHealthCheck.PortSpecification, h.GrpcTlsHealthCheck.Port, "")
	case h.TcpHealthCheck != nil:
		set(h.TcpHealthCheck.PortSpecification, h.TcpHealthCheck.Port, h.TcpHealthCheck.PortName)
	case h.SslHealthCheck != nil:
		set(h.SslHealthCheck.PortSpecification, h.SslHealthCheck.Port, h.SslHealthCheck.PortName)
	}
	// Where no specification is given, a port is a fixed one, and a name a named one; the port wins over the name:
	// https://docs.cloud.google.com/compute/docs/reference/rest/v1/healthChecks
	switch {
	case out.PortSpec != "":
	case out.Port != 0:
		out.PortSpec = "USE_FIXED_PORT"
	case out.PortName != "":
		out.PortSpec = "USE_NAMED_PORT"
	}
	return out
}
