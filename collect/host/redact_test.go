package host

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// places are where real files hold secrets; %s is the secret.
var places = []string{
	`{"configs":[{"bootstrap":{"a":1,"tls":{"private_key":{"inline_string":"%s"}},"z":"kept-here"}}]}`,
	`{"privateKey":"%s","z":"kept-here"}`,
	`{"private_key_id": "%s", "client_secret" : "%s","z":"kept-here"}`,
	`{"password":{"inline_bytes":"%s"},"z":"kept-here"}`,
	`{"session_ticket_keys":{"keys":[{"inline_string":"%s"},"%s"]},"z":"kept-here"}`,
	`{"generic_secret":{"secret":{"inline_string":"%s"}},"z":"kept-here"}`,
	`{"call_credentials":[{"access_token":"%s"},{"google_refresh_token":{"refresh_token":"%s"}}],"z":"kept-here"}`,
	`{"request_headers_to_add":[{"header":{"key":"Authorization","value":"%s"}}],"z":"kept-here"}`,
	`{"initial_metadata":[{"key":"x-goog-api-key","value":"%s"}],"z":"kept-here"}`,
	`{"z":"kept-here","log":"GET /x?access_token=%s HTTP/1.1"}`,
	`{"z":"kept-here","log":"{\"access_token\":\"%s\",\"expires_in\":3599}"}`,
	`{"z":"kept-here","password":"%s`, // cut off
	`{"z":"kept-here","password":%s}`, // not JSON
	`{"a":"kept-here"} {"token":"%s"}`,
	"z: kept-here\ntls:\n  private_key:\n    inline_string: %s\n  b: 1\n",
	"z: kept-here\npassword: |\n  %s\n  %s\nb: 1\n",
	"z: kept-here\nheaders:\n- key: authorization\n  value: %s\n",
	"z: kept-here\ntoken: '%s'\n",
	"z: kept-here\na: {private_key: {inline_string: \"%s\"}}\n",
	"z: kept-here\nsecrets:\n- name: x\n  generic_secret:\n  - %s\n  - %s\n",
	"[2026-05-01 10:11:12.345][1][debug] kept-here 'authorization', 'Bearer %s'\n",
	"[2026-05-01 10:11:12.345][1][debug] kept-here ':path', '/'\n'cookie', 'session=%s'\n",
	"kept-here\nAuthorization: Bearer %s\r\nCookie: a=%s; b=%s\r\n",
	"kept-here Set-Cookie: sid=%s; Path=/\n",
	"kept-here export CLIENT_SECRET='%s'\n",
	"kept-here API_KEY=%s\n",
	"kept-here --password %s --token=%s -c x\n",
	"kept-here token: %s\n",
	"kept-here https://user:%s@host/x\n",
	"kept-here https://host/x?a=b&token=%s&c=d\n",
	"kept-here\n-----BEGIN RSA PRIVATE KEY-----\n%s\n%s\n-----END RSA PRIVATE KEY-----\n",
	"kept-here\n-----BEGIN PRIVATE KEY-----\n%s\n%s", // cut off
	`{"z":"kept-here","x":"-----BEGIN EC PRIVATE KEY-----\n%s\n-----END EC PRIVATE KEY-----\n"}`,
	"%s\n-----END PRIVATE KEY-----\nkept-here\n", // its start cut off
	"kept-here ya29.%s\n",
	"kept-here eyJhbGciOi%s.%s.%s\n",
	"kept-here AIzaSyA%s\n",
	`{"z":"kept-here","args":"envoy --config-yaml {admin: {}} --api-key %s"}`,
}

// No secret of the input is left, whatever stands around it, and what isn't secret is.
func TestNoSecretRemains(t *testing.T) {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	rng := rand.New(rand.NewPCG(1, 2))
	for _, place := range places {
		for range 50 {
			var secrets []any
			for range strings.Count(place, "%s") {
				b := make([]byte, 24+rng.IntN(60))
				for i := range b {
					b[i] = alphabet[rng.IntN(len(alphabet))]
				}
				b[0], b[1] = 'k', '7'
				secrets = append(secrets, string(b))
			}
			in := fmt.Sprintf(place, secrets...)
			out := string(redact([]byte(in)))
			for _, s := range secrets {
				if strings.Contains(out, s.(string)[:12]) || strings.Contains(out, s.(string)[12:]) {
					t.Fatalf("left in\n%s\nof\n%s", out, in)
				}
			}
			if !strings.Contains(out, "kept-here") {
				t.Fatalf("%q is all that is left of\n%s", out, in)
			}
			if json.Valid([]byte(in)) && !json.Valid([]byte(out)) {
				t.Fatalf("no JSON any more: %s", out)
			}
			if again := string(redact([]byte(out))); again != out {
				t.Fatalf("taken out twice:\n%s\n%s", out, again)
			}
		}
	}
}

// What tells of a fault stays as it is.
func TestDiagnosticsRemain(t *testing.T) {
	for _, text := range []string{
		"[2026-05-01 10:11:12.345][12][warning][config] StreamAggregatedResources gRPC config stream to trafficdirector.googleapis.com:443 closed: 16, Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.\n",
		"gRPC config stream closed: 7, Request had insufficient authentication scopes.\n",
		`Cloud Service Mesh configuration was not found for network "mesh-vpc" in project "123456789012".` + "\n",
		"failed to fetch token: connection refused\n",
		"could not generate access token: oauth2: cannot fetch token: 404 Not Found\n",
		`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{"node":{"id":"projects/1/networks/n/nodes/x"}},"n":1.5e+3,"t":true,"u":null}]}`,
		`{"tls_certificates":[{"private_key":{"filename":"/etc/envoy/key.pem"}}]}`,
		`{"trusted_ca":{"inline_string":"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}}`,
		`{"log_format":{"text_format_source":{"inline_string":"[%START_TIME%] %RESPONSE_FLAGS%\n"}}}`,
		"*nat\n:PREROUTING ACCEPT [0:0]\n-A OUTPUT -p tcp -m owner --uid-owner 1337 -m comment --comment \"token: x\" -j RETURN\nCOMMIT\n",
		"node:\n  id: projects/1/networks/n/nodes/x\n  metadata:\n    TRAFFICDIRECTOR_NETWORK_NAME: mesh-vpc\n",
		"control_plane.connected_state: 1\ncluster_manager.cds.update_rejected: 0\n",
	} {
		if got := string(redact([]byte(text))); got != text {
			t.Errorf("got  %s\nwant %s", got, text)
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, p := range places {
		f.Add(fmt.Sprintf(strings.ReplaceAll(p, "%s", "%[1]s"), "k7AbCdEfGhIjKlMnOpQrStUvWx"))
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := redact([]byte(s))
		if json.Valid([]byte(s)) && strings.ContainsAny(s[:1], "{") && !json.Valid(out) {
			t.Fatalf("no JSON any more: %q from %q", out, s)
		}
	})
}
