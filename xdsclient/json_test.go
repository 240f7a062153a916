package xdsclient_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/xdsclient"
)

// corpus gives a file that is no part of this repository, and skips the test where there is none.
func corpus(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	b, err := os.ReadFile(filepath.Join(dir, "..", "shared", "corpus", filepath.FromSlash(name)))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("needs ../shared/corpus/%s", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeJSONOfARealClient(t *testing.T) {
	clients, err := xdsclient.DecodeJSON(corpus(t, "csds/grpc-java-client-against-traffic-director.json"), xdsclient.DecodeOptions{KeepContents: true})
	if err != nil || len(clients) != 1 {
		t.Fatalf("%d clients, %v", len(clients), err)
	}
	n := clients[0].Node
	if n.ID != "projects/1040920224690/networks/default/nodes/5cc9170c-d5b4-4061-b431-c1d43e6ac0ab" || n.UserAgentName != "gRPC Java" ||
		n.Metadata["TRAFFICDIRECTOR_NETWORK_NAME"] != "default" || n.Locality.Zone != "us-central1-a" {
		t.Errorf("node %+v", n)
	}
	var got []string
	for _, r := range clients[0].Resources {
		if r.ClientStatus != xdsclient.ClientStatusAcked || r.ConfigStatus != xdsclient.ConfigStatusAbsent || r.LastUpdated.IsZero() ||
			r.Version == "" || r.Contents == nil || r.Error != nil {
			t.Errorf("resource %+v", r)
		}
		got = append(got, r.TypeURL[strings.LastIndexByte(r.TypeURL, '.')+1:]+" "+r.Name)
	}
	want := `Listener xds-test-server:1337
RouteConfiguration URL_MAP/1040920224690_sergii-psm-test-url-map_0_xds-test-server:1337
Cluster cloud-internal-istio:cloud_mp_1040920224690_6530603179561593229
ClusterLoadAssignment cloud-internal-istio:cloud_mp_1040920224690_6530603179561593229`
	if strings.Join(got, "\n") != want {
		t.Errorf("resources\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

func TestDecodeJSONShapes(t *testing.T) {
	const config = `{"node":{"id":"n"},"generic_xds_configs":[{"type_url":"t","name":"r","config_status":3,"client_status":"NACKED",
		"last_updated":"2026-11-20T10:00:00.5Z","xds_config":{"@type":"type.googleapis.com/never.heard.Of","x":[1]},
		"error_state":{"details":"d","version_info":"2","last_update_attempt":{"seconds":"1763640000","nanos":1}},"new_field":{}}],
		"newField":1}`
	for name, text := range map[string]string{
		"response":             `{"config":[` + config + `]}`,
		"config":               config,
		"array of configs":     `[` + config + `]`,
		"array of responses":   `[{"config":[` + config + `]},{"config":[]},{"config":null}]`,
		"with byte order mark": "\xef\xbb\xbf" + config,
	} {
		t.Run(name, func(t *testing.T) {
			clients, err := xdsclient.DecodeJSON([]byte(text), xdsclient.DecodeOptions{KeepContents: true})
			if err != nil || len(clients) != 1 || clients[0].Node.ID != "n" || len(clients[0].Resources) != 1 {
				t.Fatalf("%+v, %v", clients, err)
			}
			r := clients[0].Resources[0]
			if r.ConfigStatus != xdsclient.ConfigStatusStale || r.ClientStatus != xdsclient.ClientStatusNacked || r.LastUpdated.Nanosecond() != 5e8 ||
				r.Contents.TypeURL != "type.googleapis.com/never.heard.Of" || string(r.Contents.JSON) != `{"@type":"type.googleapis.com/never.heard.Of","x":[1]}` {
				t.Errorf("%+v, contents %+v", r, r.Contents)
			}
			if e := r.Error; e == nil || e.Details != "d" || e.Version != "2" || !e.LastAttempt.Equal(time.Unix(1763640000, 1)) {
				t.Errorf("error %+v", e)
			}
		})
	}
}

func TestDecodeJSONStatuses(t *testing.T) {
	for text, want := range map[string]struct {
		server xdsclient.ConfigStatus
		client xdsclient.ClientStatus
	}{
		`{}`:                              {},
		`{"configStatus":"UNKNOWN"}`:      {xdsclient.ConfigStatusUnknown, xdsclient.ClientStatusAbsent},
		`{"clientStatus":0}`:              {xdsclient.ConfigStatusAbsent, xdsclient.ClientStatusUnknown},
		`{"configStatus":"TOMORROWS"}`:    {xdsclient.ConfigStatusUnrecognized, xdsclient.ClientStatusAbsent},
		`{"clientStatus":77}`:             {xdsclient.ConfigStatusAbsent, xdsclient.ClientStatusUnrecognized},
		`{"clientStatus":"TIMEOUT"}`:      {xdsclient.ConfigStatusAbsent, xdsclient.ClientStatusTimeout},
		`{"configStatus":null,"name":""}`: {},
		`{"configStatus":"NOT_SENT","lastUpdated":"0001-01-01T00:00:00Z"}`: {xdsclient.ConfigStatusNotSent, xdsclient.ClientStatusAbsent},
	} {
		clients, err := xdsclient.DecodeJSON([]byte(`{"config":[{"genericXdsConfigs":[`+text+`]}]}`), xdsclient.DecodeOptions{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if r := clients[0].Resources[0]; r.ConfigStatus != want.server || r.ClientStatus != want.client || !r.LastUpdated.IsZero() {
			t.Errorf("%s: %+v", text, r)
		}
	}
	clients, err := xdsclient.DecodeJSON([]byte(`{"config":[{"xdsConfig":[{"status":"STALE","clientStatus":"CLIENT_RECEIVED_ERROR",
		"clusterConfig":{}}, {"status":"UNKNOWN"}, {}]}]}`), xdsclient.DecodeOptions{})
	if err != nil || len(clients[0].Resources) != 2 || clients[0].Resources[0].ClientStatus != xdsclient.ClientStatusReceivedError ||
		clients[0].Resources[0].ConfigStatus != xdsclient.ConfigStatusStale || clients[0].Resources[1].ConfigStatus != xdsclient.ConfigStatusUnknown {
		t.Errorf("%+v, %v", clients, err)
	}
}

func TestDecodeJSONMalformed(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "empty",
		" \n":                                   "empty",
		"\x00\x01":                              "not JSON",
		"<html>":                                "not JSON",
		`{"config":[`:                           "cut off",
		`{"config":[]} {}`:                      "follows",
		`{"config":[]}]`:                        "follows",
		`7`:                                     "the JSON value: want an object",
		`null`:                                  "want an object",
		`{}`:                                    "want a ClientStatusResponse",
		`{"items":[]}`:                          "want a ClientStatusResponse",
		`[{"config":[]},{"kind":1}]`:            "[1]: want a ClientStatusResponse",
		`{"config":{}}`:                         "config: want an array",
		`{"config":[7]}`:                        "config[0]: want an object",
		`{"config":[{"node":{"id":7}}]}`:        "config[0].node.id: want a string",
		`{"config":[{"node":{"metadata":[]}}]}`: "config[0].node.metadata: want an object",
		`{"config":[{},{"genericXdsConfigs":[{"lastUpdated":"yesterday"}]}]}`:   "config[1].genericXdsConfigs[0].lastUpdated: want an RFC 3339 time",
		`{"config":[{"genericXdsConfigs":[{"configStatus":{}}]}]}`:              "configStatus: want the name or number",
		`{"config":[{"genericXdsConfigs":[{"isStaticResource":"yes"}]}]}`:       "isStaticResource: want true or false",
		`{"config":[{"genericXdsConfigs":[{"errorState":{"details":[]}}]}]}`:    "errorState.details: want a string",
		`{"config":[{"xdsConfig":[{"clusterConfig":{"staticClusters":[1]}}]}]}`: "clusterConfig.staticClusters[0]: want an object",
		strings.Repeat("[", 100000):                                             "not JSON",
	} {
		_, err := xdsclient.DecodeJSON([]byte(text), xdsclient.DecodeOptions{})
		if !errors.Is(err, xdsclient.ErrMalformed) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60s: error %v, want one line with %q", text, err, want)
		}
	}
}
