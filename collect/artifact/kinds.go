package artifact

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

// kind is what a file can be.
type kind struct {
	name, title string
	facts       []evidence.Name
	vantage     evidence.Vantage
	keys        []string // keys, in the first three levels, that hardly anything else has: for files that end in the middle
}

// The kinds of JSON and YAML documents.
func kinds() map[string]kind {
	api, here := evidence.FromAPI, evidence.FromWorkload
	list := []kind{
		{"envoy-config-dump", "Envoy config dump", []evidence.Name{evidence.Bootstraps.Name()}, here, []string{"configs"}},
		{"grpc-bootstrap", "gRPC bootstrap", []evidence.Name{evidence.Bootstraps.Name()}, here, []string{"xds_servers", "client_default_listener_resource_name_template"}},
		{"envoy-bootstrap", "Envoy bootstrap", []evidence.Name{evidence.Bootstraps.Name()}, here, []string{"dynamic_resources", "dynamicResources", "static_resources", "staticResources"}},
		{"csds", "CSDS answer", []evidence.Name{evidence.ClientStatuses.Name()}, api, []string{"xdsConfig", "xds_config", "genericXdsConfigs", "generic_xds_configs"}},
		{"forwarding-rules", "forwarding rules", []evidence.Name{evidence.ForwardingRules.Name()}, api, []string{"forwardingRules", "IPProtocol", "loadBalancingScheme"}},
		{"instances", "instances", []evidence.Name{evidence.Instances.Name()}, api, []string{"networkInterfaces", "machineType"}},
		{"services", "services", []evidence.Name{evidence.Services.Name()}, api, nil},
		{"backend-health", "backend health", []evidence.Name{evidence.BackendHealth.Name()}, api, []string{"healthStatus"}},
		{"backend-services", "backend services", []evidence.Name{evidence.BackendServices.Name()}, api, []string{"backendServices", "sessionAffinity"}},
		{"health-checks", "health checks", []evidence.Name{evidence.HealthChecks.Name()}, api, []string{"healthyThreshold"}},
		{kindFirewall, "effective firewall", []evidence.Name{evidence.EffectiveFirewalls.Name()}, api, []string{"firewallPolicys"}},
		{kindGuestAttributes, "guest attributes", []evidence.Name{evidence.GuestAttributes.Name()}, api, []string{"queryPath", "queryValue"}},
		{kindSerialPort, "serial port output", []evidence.Name{evidence.SerialPorts.Name()}, here, nil},
	}
	m := make(map[string]kind, len(list))
	for _, k := range list {
		m[k.name] = k
	}
	return m
}

// kindByKeys guesses the kind of a document that can't be read to its end.
func kindByKeys(keys []string) (kind, bool) {
	ks := kinds()
	// An Envoy bootstrap may hold anything in its static resources, a config dump holds bootstraps: outermost first.
	for _, name := range []string{"envoy-config-dump", "grpc-bootstrap", "envoy-bootstrap", "csds", "backend-services", "health-checks", "forwarding-rules", "instances", "backend-health", kindFirewall, kindGuestAttributes} {
		if slices.ContainsFunc(ks[name].keys, func(k string) bool { return slices.Contains(keys, k) }) {
			return ks[name], true
		}
	}
	return kind{}, false
}

// identify gives the kind of a JSON document; "" where it is none, kindLogEntries and kindAPIError for those read as text.
func identify(raw json.RawMessage) string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && list != nil {
		return identifyList(list)
	}
	var m fields
	if json.Unmarshal(raw, &m) != nil || m == nil {
		return ""
	}
	k := m.identify()
	if k == "" && m.gcloudHealth() && m.object("status").text("kind") != "" {
		k = "backend-health" // one backend's, as YAML
	}
	return k
}

// identifyList gives the kind that all elements have.
func identifyList(list []json.RawMessage) string {
	found := ""
	for _, e := range list {
		var m fields
		if json.Unmarshal(e, &m) != nil || m == nil {
			return ""
		}
		k := m.identify()
		if k == "" && m.gcloudHealth() {
			k = "backend-health"
		}
		if k == "" || found != "" && k != found {
			return ""
		}
		found = k
	}
	switch found {
	case "envoy-config-dump", "grpc-bootstrap", "envoy-bootstrap":
		// These are never printed as a list; of several, each is one YAML document.
		if len(list) > 1 {
			return ""
		}
	}
	return found
}

// fields is a JSON object whose values aren't decoded yet.
type fields map[string]json.RawMessage

// get gives a field by its snake_case name, also where it stands in camelCase.
func (m fields) get(name string) json.RawMessage {
	if v, ok := m[name]; ok {
		return v
	}
	return m[camel(name)]
}

func (m fields) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return len(m.get(n)) > 0 })
}

// text gives a field that is a string, "" for others.
func (m fields) text(name string) string {
	var s string
	if json.Unmarshal(m.get(name), &s) != nil {
		return ""
	}
	return s
}

// object gives a field that is an object, nil for others.
func (m fields) object(name string) fields {
	var o fields
	if json.Unmarshal(m.get(name), &o) != nil {
		return nil
	}
	return o
}

// list gives a field that is an array, nil for others.
func (m fields) list(name string) []json.RawMessage {
	var l []json.RawMessage
	if json.Unmarshal(m.get(name), &l) != nil {
		return nil
	}
	return l
}

func (m fields) identify() string {
	switch {
	case kubernetesKind(m) != "":
		return ""
	case m.configDump():
		return "envoy-config-dump"
	case m.csds():
		return "csds"
	case m.has("xds_servers") || m.has("node") && m.has("client_default_listener_resource_name_template", "authorities", "certificate_providers"):
		return "grpc-bootstrap"
	case m.envoyBootstrap():
		return "envoy-bootstrap"
	case m.apiError():
		return kindAPIError
	case m.logEntries():
		return kindLogEntries
	}
	return m.googleCloud()
}

// configDump recognises Envoy's /config_dump: every entry of "configs" is an envoy.admin message.
func (m fields) configDump() bool {
	list := m.list("configs")
	for _, c := range list {
		var e fields
		if json.Unmarshal(c, &e) != nil || !strings.Contains(e.text("@type"), "/envoy.admin.v") {
			return false
		}
	}
	return len(list) > 0
}

// csds recognises a ClientStatusResponse and a ClientConfig (envoy.service.status.v3).
func (m fields) csds() bool {
	if m.has("xds_config", "generic_xds_configs") {
		return true
	}
	if !m.has("config") || len(m) > 1 {
		return false
	}
	list := m.list("config")
	if list == nil {
		return false
	}
	for _, c := range list {
		var e fields
		if json.Unmarshal(c, &e) != nil || !e.has("node", "xds_config", "generic_xds_configs", "client_scope") {
			return false
		}
	}
	return true
}

// envoyBootstrap recognises envoy.config.bootstrap.v3.Bootstrap and v2's.
func (m fields) envoyBootstrap() bool {
	if m.has("dynamic_resources", "static_resources") {
		return true
	}
	node := m.object("node")
	if node == nil {
		return false
	}
	if m.has("admin", "cluster_manager", "layered_runtime", "stats_config", "stats_sinks", "overload_manager", "watchdogs", "bootstrap_extensions", "default_config_source") {
		return true
	}
	if _, err := evidence.ParseNodeID(node.text("id")); err == nil && len(m) == 1 {
		return true
	}
	for k := range node.object("metadata") {
		if strings.HasPrefix(k, "TRAFFICDIRECTOR_") {
			return true
		}
	}
	return false
}

// apiError recognises {"error": {"code": 403, "message": …, "status": …}}, as every Google API answers.
func (m fields) apiError() bool {
	e := m.object("error")
	return e != nil && len(m) == 1 && e.has("message") && e.has("code", "status", "errors")
}

// logEntries recognises entries of Cloud Logging: one, or the answer of entries.list.
func (m fields) logEntries() bool {
	if m.has("log_name") && m.has("insert_id", "timestamp") {
		return true
	}
	list := m.list("entries")
	for _, e := range list {
		var f fields
		if json.Unmarshal(e, &f) != nil || !f.has("log_name") {
			return false
		}
	}
	return len(list) > 0
}

// document reads a document of a known kind; ok is false where it is of none, and nothing is recorded then. where tells the
// document's place in the file.
func (in *input) document(raw json.RawMessage, where string) (o outcome, ok bool) {
	if o, ok := in.recorded(raw); ok {
		return o, true
	}
	if o, ok := in.kubernetesJSON(raw); ok {
		return o, true
	}
	if o, ok := in.syncz(raw); ok {
		return o, true
	}
	name := identify(raw)
	if name == "" {
		return outcome{}, false
	}
	var items []json.RawMessage
	list := raw[0] == '['
	if !list {
		items = append(items, raw)
	} else if err := json.Unmarshal(raw, &items); err != nil {
		return outcome{}, false // identify has read it before
	}
	k := kinds()[name]
	var err error
	switch name {
	case kindAPIError:
		return in.apiError(raw), true
	case kindLogEntries:
		return in.logEntries(flattenEntries(items)), true
	case "envoy-config-dump":
		o, err = in.configDump(items[0], where)
	case "envoy-bootstrap":
		o, err = in.bootstrap(items[0], where, readEnvoy)
	case "grpc-bootstrap":
		o, err = in.bootstrap(items[0], where, readGRPC)
	case "csds":
		o, err = in.csds(raw, where)
	default:
		o, err = in.googleCloud(name, items, list, where)
	}
	if err != nil {
		return in.broken(k, err), true
	}
	if o.used {
		o.kind = name
	}
	return o, true
}

// flattenEntries takes the entries out of answers of entries.list.
func flattenEntries(items []json.RawMessage) []json.RawMessage {
	var out []json.RawMessage
	for _, i := range items {
		var m fields
		if json.Unmarshal(i, &m) == nil && m.has("entries") {
			out = append(out, m.list("entries")...)
		} else {
			out = append(out, i)
		}
	}
	return out
}
