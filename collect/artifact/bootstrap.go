package artifact

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxBootstrap bounds a bootstrap, which is decoded as a whole, at some twenty times its size in memory.
	maxBootstrap = 8 << 20
	// maxPlaces bounds the fields listed of one file: a person fixes the file as a whole.
	maxPlaces = 100
)

// v2Type is a type URL of the xDS v2 API or of an extension of its time: envoy.api.v2.Listener,
// envoy.config.filter.network.http_connection_manager.v2.HttpConnectionManager, envoy.config.trace.v2alpha.Config.
// https://www.envoyproxy.io/docs/envoy/latest/api/api_supported_versions
var v2Type = regexp.MustCompile(`^(type\.googleapis\.com/)?envoy\.[a-z0-9_.]*\bv2(alpha[0-9]*)?\.[A-Za-z.]+$`)

// bootstrap reads a bootstrap of either kind.
func (in *input) bootstrap(raw json.RawMessage, where string, read func(value) evidence.Bootstrap) (outcome, error) {
	v, doc, err := parseBootstrap(raw)
	if err != nil {
		return outcome{}, err
	}
	src := in.source(evidence.FromWorkload, where)
	return in.putBootstrap(v, doc, src, read)
}

func parseBootstrap(raw json.RawMessage) (value, *document, error) {
	if len(raw) > maxBootstrap {
		return value{}, nil, fmt.Errorf("of %d MiB: at most %d MiB are read", len(raw)>>20, maxBootstrap>>20)
	}
	return parse(raw)
}

func (in *input) putBootstrap(v value, doc *document, src evidence.Source, read func(value) evidence.Bootstrap) (outcome, error) {
	b := read(v)
	if doc.err != nil {
		return outcome{}, doc.err
	}
	b.File, b.Source = in.name, src
	evidence.Put(in.set, evidence.Bootstraps, []evidence.Bootstrap{b}, src)
	return used("", "%s", bootstrapNote(b)), nil
}

func bootstrapNote(b evidence.Bootstrap) string {
	note := "node id in the file"
	switch {
	case b.Kind == evidence.SidecarEnvFile:
		note = count(len(b.Metadata), "variable")
	case b.NodeID == "":
		note = "no node id in the file"
	}
	if n := len(b.Placeholders); n > 0 {
		note += ", " + count(n, "placeholder")
	}
	if n := len(b.V2Places); n > 0 {
		note += ", " + count(n, "field") + " of xDS v2"
	}
	if len(b.Problems) > 0 {
		note += "; no gRPC client can start from it: " + b.Problems[0]
	}
	return note
}

// readEnvoy reads envoy.config.bootstrap.v3.Bootstrap (or v2's, whose fields that matter here are the same).
func readEnvoy(v value) evidence.Bootstrap {
	b := evidence.Bootstrap{Kind: evidence.EnvoyBootstrap}
	places := &placeholders{}
	readNode(v.get("node"), &b, places)

	dynamic := v.get("dynamic_resources")
	clusters := map[string]bool{}
	for _, name := range []string{"ads_config", "cds_config", "lds_config"} {
		source := dynamic.get(name)
		if name != "ads_config" {
			source = source.get("api_config_source")
		}
		readSource(source, &b, places, clusters)
	}
	for _, c := range v.get("static_resources").get("clusters").list() {
		if clusters[c.get("name").str()] {
			readAddresses(c, &b, places)
		}
	}
	v.walk(func(x value) bool {
		if len(b.V2Places) < maxPlaces && isV2(x) {
			b.V2Places = append(b.V2Places, x.path)
		}
		return true
	})
	b.Placeholders = places.found
	return b
}

// readSource reads an ApiConfigSource: its transport version and the clusters or addresses of its servers.
func readSource(source value, b *evidence.Bootstrap, places *placeholders, clusters map[string]bool) {
	switch t := source.get("transport_api_version").scalar(); t {
	case "V2", "1":
		b.Transport = evidence.TransportV2
	case "V3", "2":
		if b.Transport == "" {
			b.Transport = evidence.TransportV3
		}
	}
	for _, s := range source.get("grpc_services").list() {
		name := s.get("envoy_grpc").get("cluster_name")
		places.check(name)
		clusters[name.str()] = true
		uri := s.get("google_grpc").get("target_uri")
		places.check(uri)
		addServer(b, uri.str())
	}
	for _, c := range source.get("cluster_names").list() {
		clusters[c.str()] = true
	}
}

// readAddresses reads a static cluster's endpoints, as load_assignment or the older hosts.
func readAddresses(cluster value, b *evidence.Bootstrap, places *placeholders) {
	socket := func(a value) {
		s := a.get("socket_address")
		host, port := s.get("address"), s.get("port_value")
		places.check(host)
		places.check(port)
		if h := host.str(); h != "" {
			addServer(b, h+":"+port.scalar())
		}
	}
	for _, e := range cluster.get("load_assignment").get("endpoints").list() {
		for _, l := range e.get("lb_endpoints").list() {
			socket(l.get("endpoint").get("address"))
		}
	}
	for _, h := range cluster.get("hosts").list() {
		socket(h)
	}
}

func addServer(b *evidence.Bootstrap, uri string) {
	uri = strings.TrimPrefix(strings.TrimPrefix(uri, "dns:"), "///")
	if uri = strings.TrimSuffix(uri, ":"); uri != "" && !slices.Contains(b.Servers, uri) {
		b.Servers = append(b.Servers, uri)
	}
}

// isV2 says whether a place names the v2 transport, v2 resources or a v2 type.
func isV2(v value) bool {
	name := v.path[strings.LastIndexByte(v.path, '.')+1:]
	switch name {
	case "transport_api_version", "transportApiVersion", "resource_api_version", "resourceApiVersion":
		s := v.flat()
		return s == "V2" || s == "1"
	}
	// A key may hold dots of its own, "@type" doesn't.
	if name != "@type" && name != "type_url" && name != "typeUrl" {
		return false
	}
	s, ok := v.v.(string)
	return ok && v2Type.MatchString(s)
}

// readNode reads envoy.config.core.v3.Node. Of the metadata, values that aren't scalars are kept as JSON.
func readNode(node value, b *evidence.Bootstrap, places *placeholders) {
	id := node.get("id")
	b.NodeID = id.str()
	places.checkID(id)
	places.check(node.get("cluster"))
	for _, part := range []string{"region", "zone", "sub_zone"} {
		places.check(node.get("locality").get(part))
	}
	metadata := node.get("metadata")
	for _, f := range metadata.fields() {
		if b.Metadata == nil {
			b.Metadata = map[string]string{}
		}
		key := f.name(metadata)
		b.Metadata[key] = f.flat()
		switch key {
		case evidence.MetadataProject, evidence.MetadataNetwork:
			places.checkName(f)
		default:
			places.check(f)
		}
	}
	b.UserAgent = userAgent(node)
}

// userAgent gives the version that a node says its client has: user_agent_version, the numbers of user_agent_build_version,
// or what the "build_version" of before 1.13 has between its slashes ("sha/1.12.2/Clean/RELEASE/BoringSSL").
func userAgent(node value) string {
	if s := node.get("user_agent_version").str(); s != "" {
		return s
	}
	v := node.get("user_agent_build_version").get("version")
	if !v.absent() {
		part := func(name string) string {
			if s := v.get(name).scalar(); s != "" {
				return s
			}
			return "0"
		}
		return fmt.Sprintf("%s.%s.%s", part("major_number"), part("minor_number"), part("patch"))
	}
	for _, name := range []string{"build_version", "hidden_envoy_deprecated_build_version"} {
		if p := strings.Split(node.get(name).str(), "/"); len(p) > 2 {
			return p[1]
		}
	}
	return ""
}

// configDump reads the bootstrap out of Envoy's /config_dump.
func (in *input) configDump(raw json.RawMessage, where string) (outcome, error) {
	m, err := object(raw, "the document")
	if err != nil {
		return outcome{}, err
	}
	for i, c := range m.list("configs") {
		e, err := object(c, fmt.Sprintf("configs[%d]", i))
		if err != nil {
			return outcome{}, err
		}
		if !strings.HasSuffix(e.text("@type"), ".BootstrapConfigDump") || !e.has("bootstrap") {
			continue
		}
		v, doc, err := parseBootstrap(e.get("bootstrap"))
		if err != nil {
			return outcome{}, err
		}
		v.path = fmt.Sprintf("configs[%d].bootstrap", i)
		src := in.source(evidence.FromWorkload, strings.TrimSpace(where+" "+v.path))
		if t, err := time.Parse(time.RFC3339Nano, e.text("last_updated")); err == nil {
			src.Time = t
		}
		o, err := in.putBootstrap(v, doc, src, readEnvoy)
		if err == nil {
			o.note = "bootstrap: " + o.note
		}
		return o, err
	}
	return unused("Envoy config dump without a bootstrap: nothing else of it is read"), nil
}
