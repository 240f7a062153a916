package backend

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// HealthCheckMismatch finds a health check that asks another port, or speaks another protocol, than the service serves.
var HealthCheckMismatch = diagnose.Check{
	ID:       "backend/health-check-mismatch",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.BackendServices.Name(), evidence.HealthChecks.Name(), evidence.EndpointGroups.Name(), evidence.BackendHealth.Name()},
	Explains: []diagnose.CheckID{"backend/fail-open", "backend/some-unhealthy", "xds/endpoints-unhealthy", "request/no-healthy-upstream", "proxyless/produced-zero-addresses"},
	Doc: diagnose.Doc{
		Title: "The health check does not ask what the service serves",
		Explanation: "A health check has a port and a protocol of its own. Where they are others than those that the endpoints serve on, it fails though the application works, " +
			"unless the application really answers health checks there.",
		Quiet: "An endpoint is healthy, so the health check gets its answer where it asks; USE_SERVING_PORT; a TCP check, which any protocol answers; a port of its own for health checks, as long as it answers.",
		Remedy: []diagnose.Step{
			{Text: "See what the health check asks for.", Command: "gcloud compute health-checks describe {{health_check}} --project={{project}}"},
			{Text: "See what the service serves.", Command: "gcloud compute backend-services describe {{backend_service}} --global --project={{project}} --format='yaml(protocol,portName,healthChecks,backends)'"},
			{If: "port_differs", Text: "Unless the application answers health checks on that port, have the check follow the serving port. Other services that share the check change with it.",
				Command: "gcloud compute health-checks update {{update}} {{health_check}} --project={{project}} --global --use-serving-port"},
			{If: "protocol_differs", Text: "A health check's protocol can't be changed: make one of the service's protocol ({{protocol}}), then point the service to it.",
				Command: "gcloud compute backend-services update {{backend_service}} --global --project={{project}} --health-checks=NEW_HEALTH_CHECK --global-health-checks"},
		},
		References: []string{refHealthChecks, "https://cloud.google.com/load-balancing/docs/health-checks"},
	},
	Evaluate: healthCheckMismatch,
}

func healthCheckMismatch(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	defs, err := evidence.Get(v, evidence.BackendServices)
	checks, checksErr := evidence.Get(v, evidence.HealthChecks)
	groups, groupsErr := evidence.Get(v, evidence.EndpointGroups)
	health, healthErr := evidence.Get(v, evidence.BackendHealth)
	if err != nil {
		return nil, err
	}
	if checksErr != nil {
		return nil, checksErr
	}
	behind := map[string]service{}
	for _, s := range meshServices(health, defs) {
		behind[s.name] = s
	}
	var causes []diagnose.Cause
	var open error
	judged := 0
	for _, d := range defs {
		i := slices.IndexFunc(checks, func(h evidence.HealthCheck) bool { return isOf(d, h) })
		if d.Scheme != evidence.SelfManaged || i < 0 {
			continue
		}
		judged++
		s := behind[d.Name]
		s.name, s.def, s.defined, s.several = d.Name, d, true, len(defs) > 1
		if s.count(healthy) > 0 {
			continue
		}
		serving := servingPorts(s, groups)
		text, params := mismatch(d, checks[i], serving)
		if text == "" {
			if len(serving) == 0 && checks[i].PortSpec == "USE_FIXED_PORT" {
				open = firstOf(groupsErr, healthErr)
			}
			continue
		}
		c := s.cause(req)
		c.Confidence = diagnose.Likely
		c.Summary = fmt.Sprintf("Health check %s of backend service %s %s.", checks[i].Name, d.Name, text)
		if s.count(unhealthy) == 0 { // nobody knows whether it fails
			c.Confidence, c.Severity = diagnose.Possible, diagnose.Advice
		}
		for k, p := range params {
			c.Params[k] = p
		}
		c.Params["health_check"] = checks[i].Name
		c.Evidence = []diagnose.Exhibit{
			{Fact: evidence.HealthChecks.Name(), Source: checks[i].Source, Excerpt: describeCheck(checks[i])},
			{Fact: evidence.BackendServices.Name(), Source: d.Source, Excerpt: fmt.Sprintf("backend service %s: protocol %s, portName %s; endpoints serve on %s", d.Name, orNone(d.Protocol), orNone(d.PortName), orNone(ports(serving)))},
		}
		if s.count(unhealthy) > 0 {
			c.Evidence = append(c.Evidence, s.sick())
		}
		causes = append(causes, c)
	}
	switch {
	case len(causes) > 0:
		return causes, nil
	case open != nil:
		return nil, open
	case judged == 0:
		return nil, diagnose.Skip("no health check of a backend service of the mesh is known")
	}
	return nil, nil
}

// firstOf gives the first error, and says what is missing where there is none.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return diagnose.Skip("the ports that the endpoints serve on aren't known")
}

// servingPorts gives the ports that a service's endpoints serve on, sorted.
func servingPorts(s service, groups []evidence.EndpointGroup) []int {
	var out []int
	for _, e := range s.endpoints {
		if e.Port != 0 {
			out = append(out, e.Port)
		}
	}
	for _, b := range s.def.Backends {
		for _, g := range groups {
			if evidence.SameResource(g.URL, b.Group) {
				out = append(out, g.Ports...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// wrongChecks are the health checks that fail on a service of a protocol: they say something that it doesn't understand.
// TCP suits all. A service of TCP or SSL may hold any protocol.
var wrongChecks = map[string][]string{
	"HTTP":  {"HTTPS", "HTTP2", "SSL", "GRPC", "GRPC_WITH_TLS"},
	"GRPC":  {"HTTP", "HTTPS"},
	"HTTPS": {"HTTP", "GRPC"},
	"H2C":   {"HTTPS", "SSL", "GRPC_WITH_TLS"},
}

// mismatch says how a health check differs from what a service serves, "" where it doesn't. Protocols are compared only where
// the port is the same: on a port of its own a health check may well have a protocol of its own.
func mismatch(s evidence.BackendService, h evidence.HealthCheck, serving []int) (string, map[string]string) {
	differs := map[string]string{"port_differs": "yes", "update": updates[h.Type]}
	switch h.PortSpec {
	case "USE_SERVING_PORT":
	case "USE_NAMED_PORT":
		if h.PortName != "" && s.PortName != "" && h.PortName != s.PortName {
			return fmt.Sprintf("asks the named port %s; the service serves on the named port %s", h.PortName, s.PortName), differs
		}
	default:
		if h.Port == 0 || len(serving) == 0 {
			return "", nil
		}
		if !slices.Contains(serving, h.Port) {
			return fmt.Sprintf("asks port %d; the endpoints serve on %s", h.Port, ports(serving)), differs
		}
	}
	if slices.Contains(wrongChecks[s.Protocol], h.Type) {
		return fmt.Sprintf("speaks %s; the service speaks %s on that port", h.Type, s.Protocol), map[string]string{"protocol_differs": "yes", "protocol": s.Protocol}
	}
	return "", nil
}

// updates are gcloud's commands by a health check's type.
var updates = map[string]string{"HTTP": "http", "HTTPS": "https", "HTTP2": "http2", "GRPC": "grpc", "TCP": "tcp", "SSL": "ssl", "GRPC_WITH_TLS": "grpc-with-tls"}

func describeCheck(h evidence.HealthCheck) string {
	where := h.PortSpec
	switch {
	case h.Port != 0:
		where += " " + strconv.Itoa(h.Port)
	case h.PortName != "":
		where += " " + h.PortName
	}
	return fmt.Sprintf("health check %s: type %s, port %s", h.Name, h.Type, orNone(where))
}

// maxPorts bounds the ports that are named.
const maxPorts = 6

func ports(list []int) string {
	var out []string
	for _, p := range list[:min(len(list), maxPorts)] {
		out = append(out, strconv.Itoa(p))
	}
	if n := len(list) - maxPorts; n > 0 {
		out = append(out, fmt.Sprintf("%d more", n))
	}
	return listed(out)
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
