package artifact

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
)

func TestGRPCBootstrapProblems(t *testing.T) {
	const server = `{"server_uri":"trafficdirector.googleapis.com:443","channel_creds":[{"type":"google_default"}]}`
	for _, tc := range []struct {
		name, text  string
		problems    []string
		authorities string
	}{
		{"whole", `{"xds_servers":[` + server + `],"node":{"id":"a"},"some_new_field":1}`, nil, ""},
		{"no feature xds_v3, an unknown type of credentials", `{"xds_servers":[` + strings.Replace(server, "google_default", "own", 1) + `]}`, nil, ""},
		{"authorities", `{"xds_servers":[` + server + `],"authorities":{"b.example.com":{},"a.example.com":{"client_listener_resource_name_template":"xdstp://a.example.com/envoy.config.listener.v3.Listener/%s"}}}`, nil, "a.example.com b.example.com"},
		{"no servers", `{"authorities":{},"node":{"id":"a"}}`, []string{"xds_servers is missing"}, ""},
		{"null", `{"xds_servers":null,"node":{"id":"a"}}`, []string{"xds_servers is missing"}, ""},
		{"an empty list", `{"xds_servers":[],"node":{"id":"a"}}`, []string{"xds_servers is empty"}, ""},
		{"an empty server", `{"xds_servers":[{}]}`, []string{"xds_servers[0].server_uri is missing", "xds_servers[0].channel_creds is missing"}, ""},
		{"no credentials", `{"xds_servers":[{"server_uri":"x:443","channel_creds":[]}]}`, []string{"xds_servers[0].channel_creds is missing"}, ""},
		{"no type", `{"xds_servers":[{"server_uri":"x:443","channel_creds":[{}]}]}`, []string{"xds_servers[0].channel_creds[0].type is missing"}, ""},
		{"camelCase", `{"xdsServers":[` + server + `]}`, []string{"xdsServers is in camelCase, and gRPC reads snake_case alone"}, ""},
		{"an authority's", `{"xds_servers":[` + server + `],"authorities":{"a":{"xds_servers":[{"server_uri":"x"}],"client_listener_resource_name_template":"xdstp://b/%s"}}}`,
			[]string{"authorities.a.xds_servers[0].channel_creds is missing", "authorities.a.client_listener_resource_name_template does not begin with xdstp://a/"}, "a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, files := collect(t, file(tc.text))
			b := get(t, set, evidence.Bootstraps)[0]
			if b.Kind != evidence.GRPCBootstrap || !slices.Equal(b.Problems, tc.problems) || strings.Join(b.Authorities, " ") != tc.authorities {
				t.Errorf("problems %q, authorities %q: %+v", b.Problems, b.Authorities, b)
			}
			if strings.Contains(files[0].Note, "no gRPC client can start from it") != (tc.problems != nil) {
				t.Errorf("%+v", files[0])
			}
		})
	}
	for _, text := range []string{`{"xds_servers":[{"server_uri":`, `{"xds_servers":{"server_uri":"x"}}`, `{"xds_servers":[7]}`} {
		set, files := collect(t, file(text))
		if _, err := evidence.Get(evidence.NewView(set), evidence.Bootstraps); err == nil || files[0].Broken != "grpc-bootstrap" || files[0].Used {
			t.Errorf("%s: %+v, %v", text, files[0], err)
		}
	}
}
