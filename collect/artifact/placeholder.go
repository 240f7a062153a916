package artifact

import (
	"regexp"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

var (
	// marker is how templates mark what is to be filled in: <NETWORK>, ${NETWORK}, $(NETWORK), {{ .Network }}, @@NETWORK@@.
	marker = regexp.MustCompile(`<[A-Za-z][A-Za-z0-9 _.-]{0,60}>|\$\{[^{}]*\}|\$\([^()]*\)|\{\{[^{}]*\}\}|@@\w+@@`)
	// token is a whole segment that says so itself: YOUR_PROJECT, REPLACE_ME, [PROJECT], $PROJECT.
	token = regexp.MustCompile(`^(YOUR_[A-Z0-9_]+|REPLACE_[A-Z0-9_]+|INSERT_[A-Z0-9_]+|CHANGE_?ME|\[[A-Z][A-Z0-9_ -]*\]|\$[A-Z][A-Z0-9_]*)$`)
	// shouted is a word in capitals. A VPC network's name is in lower case and a project number has digits only (RFC 1035
	// labels: https://docs.cloud.google.com/compute/docs/naming-resources), so there it is never a value.
	shouted = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

// template holds the words that the published bootstrap templates and Google's pages put where a value belongs. They count
// only in capitals and only as a whole segment: a network may well be called vpc-network-name.
func template(s string) bool {
	switch s {
	case "PROJECT_NUMBER", "GCP_PROJECT_NUMBER", "PROJECT_ID", "GCP_PROJECT_ID", "PROJECT", "PROJECT_NAME",
		"VPC_NETWORK_NAME", "VPC_NETWORK", "VPC_NAME", "NETWORK_NAME", "NETWORK", "TRAFFICDIRECTOR_NETWORK_NAME", "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER",
		"MESH_NAME", "MESH_ID", "MESH_SCOPE_NAME", "SCOPE_NAME", "GATEWAY_SCOPE", "GATEWAY_NAME",
		"ENVOY_NODE_ID", "NODE_ID", "NODE_UUID", "UNIQUE_ID", "ENVOY_ZONE", "ENVOY_REGION", "ENVOY_PORT", "ENVOY_ADMIN_PORT", "ENVOY_USER", "ENVOY_CLUSTER",
		"BACKEND_INBOUND_PORTS", "INTERCEPT_INBOUND_PORTS", "TRACING_ENABLED", "ACCESSLOG_PATH", "ACCESS_LOG_PATH", "XDS_SERVER_CERT", "XDS_SERVER", "SERVICE_CIDR", "LOG_DIR":
		return true
	}
	return token.MatchString(s)
}

// placeholders gathers the fields that still hold a template's text.
type placeholders struct{ found []evidence.Placeholder }

func (p *placeholders) add(field, value string) {
	if len(p.found) < maxPlaces {
		p.found = append(p.found, evidence.Placeholder{Field: field, Value: value})
	}
}

// check looks at a field of any kind; what isn't a string is no placeholder.
func (p *placeholders) check(v value) {
	if s, ok := v.v.(string); ok && isPlaceholder(s) {
		p.add(v.path, s)
	}
}

// checkName looks at a field that holds a network's name or a project's number alone.
func (p *placeholders) checkName(v value) {
	if s, ok := v.v.(string); ok && (isPlaceholder(s) || shouted.MatchString(s)) {
		p.add(v.path, s)
	}
}

// checkID looks at a node id, whose second and fourth segments are such names.
func (p *placeholders) checkID(v value) {
	s, ok := v.v.(string)
	if !ok {
		return
	}
	if id, err := evidence.ParseNodeID(s); isPlaceholder(s) || err == nil && (shouted.MatchString(id.Project) || shouted.MatchString(id.VPC())) {
		p.add(v.path, s)
	}
}

// isPlaceholder says whether a value, or one of its segments, is a template's text.
func isPlaceholder(s string) bool {
	if marker.MatchString(s) || template(s) {
		return true
	}
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == '/' || r == '~' || r == ':' }) {
		if template(part) {
			return true
		}
	}
	return false
}
