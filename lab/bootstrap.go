package lab

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"google.golang.org/protobuf/types/known/structpb"
)

// nodeSuffix is a UUID that is always the same for one client name.
func nodeSuffix(name string) string {
	h := sha256.Sum256([]byte(name))
	h[6], h[8] = h[6]&0x0f|0x40, h[8]&0x3f|0x80 // version 4, RFC 9562 variant
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// generatorSHA is the commit of traffic-director-grpc-bootstrap that its bootstraps name.
const generatorSHA = "20428f241903490d9a36019125b6d4ab203ab573"

// grpcMetadata is the node metadata that traffic-director-grpc-bootstrap writes on a VM, and the client's own.
func (s *Scenario) grpcMetadata(c *Client) map[string]any {
	m := map[string]any{
		"INSTANCE_IP": s.clientIP(c),
		"TRAFFICDIRECTOR_GRPC_BOOTSTRAP_GENERATOR_SHA": generatorSHA,
		"TRAFFIC_DIRECTOR_CLIENT_ENVIRONMENT":          map[string]any{"GCE-VM": c.vmName(), "GCP-ZONE": s.Zone},
	}
	for k, v := range c.Metadata {
		m[k] = v
	}
	return m
}

func (c *Client) vmName() string {
	if c.Instance != "" {
		return c.Instance
	}
	return c.Name
}

func (s *Scenario) clientIP(c *Client) string {
	if c.Instance != "" {
		return s.instanceIP(c.Instance)
	}
	const firstClient = 100 // above the addresses of the listed instances
	return fmt.Sprintf("10.128.0.%d", firstClient+slices.IndexFunc(s.Clients, func(o Client) bool { return o.Name == c.Name })%100)
}

// grpcBootstrap is the file of a proxyless client, in the shape traffic-director-grpc-bootstrap gives it. It differs
// where a client in the lab must: server_uri is the lab's, and so is the type of channel_creds.
func (s *Scenario) grpcBootstrap(c *Client, serverURI string, creds channelCredsConfig) ([]byte, error) {
	servers := []any{map[string]any{
		"server_uri":      serverURI,
		"channel_creds":   []any{map[string]any{"type": channelCredsType, "config": creds}},
		"server_features": []string{"xds_v3"},
	}}
	if c.NoServers {
		servers = []any{}
	}
	template := listenerPrefix + c.ProjectNumber + "/" + c.Network + "/%s"
	return json.MarshalIndent(map[string]any{
		"xds_servers": servers,
		"authorities": map[string]any{xdsAuthority: map[string]any{"client_listener_resource_name_template": template}},
		"node": map[string]any{
			"id":       c.nodeID(),
			"cluster":  "cluster",
			"metadata": s.grpcMetadata(c),
			"locality": map[string]any{"zone": s.Zone},
		},
		"server_listener_resource_name_template":         "grpc/server?xds.resource.listening_address=%s",
		"client_default_listener_resource_name_template": template,
	}, "", "  ")
}

// envoyMetadata is the node metadata of a manually deployed Envoy.
func (s *Scenario) envoyMetadata(c *Client) map[string]string {
	m := map[string]string{
		"TRAFFICDIRECTOR_INTERCEPTION_PORT": fmt.Sprint(interceptionPort),
		"TRAFFICDIRECTOR_ENABLE_TRACING":    "false",
	}
	if !slices.Contains(c.Omit, "network") && !strings.Contains(c.Network, ":") {
		m["TRAFFICDIRECTOR_NETWORK_NAME"] = c.Network
	}
	if !slices.Contains(c.Omit, "project_number") {
		m["TRAFFICDIRECTOR_GCP_PROJECT_NUMBER"] = c.ProjectNumber
	}
	for k, v := range c.Metadata {
		m[k] = v
	}
	return m
}

func (s *Scenario) envoyMetadataStruct(c *Client) *structpb.Struct {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range s.envoyMetadata(c) {
		out.Fields[k] = structpb.NewStringValue(v)
	}
	return out
}

var envoyBootstrap = template.Must(template.New("bootstrap").Parse(`node:
  id: "{{.ID}}"
  cluster: cluster
  locality:
    zone: {{.Zone}}
  metadata:
{{- range $k, $v := .Metadata}}
    {{$k}}: "{{$v}}"
{{- end}}
dynamic_resources:
  lds_config: {ads: {}, resource_api_version: V3{{.FetchTimeout}}}
  cds_config: {ads: {}, resource_api_version: V3}
  ads_config:
    api_type: GRPC
    transport_api_version: {{.Transport}}
    grpc_services:
    - google_grpc:
        target_uri: {{.Target}}
        stat_prefix: trafficdirector
        channel_credentials:
          ssl_credentials:
            root_certs:
              filename: {{.CAFile}}
        call_credentials:
        - google_compute_engine: {}
admin:
  access_log_path: /dev/stdout
  address:
    socket_address: {address: 127.0.0.1, port_value: 15000}
`))

// envoyBootstrapYAML is the file of a manually deployed Envoy, after the sample that Google publishes.
func (s *Scenario) envoyBootstrapYAML(c *Client, target, caFile string) ([]byte, error) {
	var b strings.Builder
	err := envoyBootstrap.Execute(&b, map[string]any{"ID": c.nodeID(), "Zone": s.Zone, "Metadata": s.envoyMetadata(c),
		"Target": target, "CAFile": caFile, "FetchTimeout": s.fetchTimeout(), "Transport": c.Transport})
	if err != nil {
		return nil, fmt.Errorf("writing the Envoy bootstrap of %s: %w", c.Name, err)
	}
	return []byte(b.String()), nil
}
