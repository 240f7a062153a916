package lab

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// What CSDS refuses, over gRPC and over REST alike.
func TestClientStatusRefusals(t *testing.T) {
	v := startWorld(t, "healthy", Options{})
	csds := statusv3.NewClientStatusDiscoveryServiceClient(v.dial(t))
	matcher := func(r *statusv3.ClientStatusRequest) *matcherv3.NodeMatcher { return r.GetNodeMatchers()[0] }
	for _, tc := range []struct {
		name   string
		change func(*statusv3.ClientStatusRequest)
		code   codes.Code
		text   string
	}{
		{"as it should be", func(*statusv3.ClientStatusRequest) {}, codes.OK, ""},
		{"no matcher", func(r *statusv3.ClientStatusRequest) { r.NodeMatchers = nil }, codes.InvalidArgument, "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER"},
		{"no project number", func(r *statusv3.ClientStatusRequest) {
			matcher(r).NodeMetadatas = matcher(r).GetNodeMetadatas()[1:]
		}, codes.InvalidArgument, "missing field TRAFFICDIRECTOR_GCP_PROJECT_NUMBER"},
		{"neither network nor mesh", func(r *statusv3.ClientStatusRequest) {
			matcher(r).NodeMetadatas = matcher(r).GetNodeMetadatas()[:1]
		}, codes.InvalidArgument, "must set either"},
		{"network and mesh", func(r *statusv3.ClientStatusRequest) {
			m := v.request("").GetNodeMatchers()[0].GetNodeMetadatas()[1]
			m.Path[0].Segment = &matcherv3.StructMatcher_PathSegment_Key{Key: "TRAFFICDIRECTOR_MESH_SCOPE_NAME"}
			matcher(r).NodeMetadatas = append(matcher(r).GetNodeMetadatas(), m)
		}, codes.InvalidArgument, "cannot set both"},
		{"no node", func(r *statusv3.ClientStatusRequest) { r.Node = nil }, codes.InvalidArgument, "Invalid node id"},
		{"node of another network", func(r *statusv3.ClientStatusRequest) {
			r.Node = &corev3.Node{Id: "projects/482915067713/networks/other/nodes/n"}
		}, codes.InvalidArgument, "is not of the project and network"},
		{"a node id by prefix", func(r *statusv3.ClientStatusRequest) {
			matcher(r).NodeId = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "projects/"}}
		}, codes.InvalidArgument, "only exact"},
		{"another project", func(r *statusv3.ClientStatusRequest) {
			matcher(r).NodeMetadatas[0].Value.GetStringMatch().MatchPattern = &matcherv3.StringMatcher_Exact{Exact: "1"}
			r.Node = &corev3.Node{Id: "projects/1/networks/mesh-vpc/nodes/n"}
		}, codes.PermissionDenied, "Permission 'trafficdirector.networks.getConfigs' denied"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := v.request("")
			tc.change(r)
			_, err := csds.FetchClientStatus(t.Context(), r)
			if status.Code(err) != tc.code || !strings.Contains(status.Convert(err).Message(), tc.text) {
				t.Errorf("gRPC: %v, expected %s with %q", err, tc.code, tc.text)
			}
			code, _ := httpStatus(tc.code)
			if tc.code == codes.OK {
				code = http.StatusOK
			}
			for _, base := range []string{v.controlPlaneURL(t), v.Connection().GCPEndpoint} {
				if got, body := v.postStatus(t, base, r); got != code || !strings.Contains(body, strings.ReplaceAll(tc.text, `"`, `\"`)) {
					t.Errorf("REST: %d %s, expected %d with %q", got, body, code, tc.text)
				}
			}
		})
	}
}

func TestQuotaProjectOfClientStatus(t *testing.T) {
	v := startWorld(t, "healthy", Options{})
	csds := statusv3.NewClientStatusDiscoveryServiceClient(v.dial(t))
	for project, want := range map[string]codes.Code{"482915067713": codes.OK, "mesh-prod-4f2a": codes.OK, "1": codes.PermissionDenied} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-goog-user-project", project)
		if _, err := csds.FetchClientStatus(ctx, v.request("")); status.Code(err) != want {
			t.Errorf("%s: %v, expected %s", project, err, want)
		}
	}
}

// The mesh may be spelt bare or with its prefix, in the matcher and in the request's node id.
func TestMeshSpellings(t *testing.T) {
	v := startWorld(t, "healthy-mesh", Options{})
	csds := statusv3.NewClientStatusDiscoveryServiceClient(v.dial(t))
	for _, value := range []string{"shop-mesh", "mesh:shop-mesh"} {
		for _, own := range []string{"shop-mesh", "mesh:shop-mesh"} {
			r := v.request("")
			r.NodeMatchers[0].NodeMetadatas[1].Value.GetStringMatch().MatchPattern = &matcherv3.StringMatcher_Exact{Exact: value}
			r.Node.Id = "projects/482915067713/networks/" + own + "/nodes/n"
			out, err := csds.FetchClientStatus(t.Context(), r)
			if err != nil || len(out.GetConfig()) != 2 {
				t.Errorf("matcher %q, node id %q: %d clients, %v", value, own, len(out.GetConfig()), err)
			}
		}
	}
}

func TestErrorsCarryAReason(t *testing.T) {
	for reason, err := range map[string]error{
		"ACCESS_TOKEN_INVALID":            errUnauthenticated(computeHost, "m"),
		"ACCESS_TOKEN_SCOPE_INSUFFICIENT": errInsufficientScopes(computeHost, "m"),
		"IAM_PERMISSION_DENIED":           errPermission("p", "//h/r"),
		"SERVICE_DISABLED":                errServiceDisabled(computeHost, "1"),
	} {
		var got []string
		for _, d := range status.Convert(err).Details() {
			if info, ok := d.(*errdetails.ErrorInfo); ok {
				got = append(got, info.GetReason())
			}
		}
		if !slices.Equal(got, []string{reason}) {
			t.Errorf("%v carries %q, expected %s", err, got, reason)
		}
	}
}

// signed makes a JWT.
func signed(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestTokenServerRefuses(t *testing.T) {
	s, err := ScenarioByName("healthy")
	if err != nil {
		t.Fatal(err)
	}
	server, err := newTokenServer(&s, &tokens{}, "https://127.0.0.1/token")
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, rsaKeyBits)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	header := map[string]any{"alg": "RS256", "typ": "JWT", "kid": server.keyID}
	claims := map[string]any{"iss": server.email, "aud": server.uri, "scope": scopePrefix + scopeCloudPlatform,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	with := func(m map[string]any, k string, v any) map[string]any {
		m = maps.Clone(m)
		m[k] = v
		return m
	}
	for _, tc := range []struct{ name, jwt, fault string }{
		{"good", signed(t, server.key, header, claims), ""},
		{"another key", signed(t, other, header, claims), "Signature"},
		{"no algorithm", signed(t, server.key, with(header, "alg", "none"), claims), "Signature"},
		{"issuer", signed(t, server.key, header, with(claims, "iss", "x@y")), "account not found"},
		{"audience", signed(t, server.key, header, with(claims, "aud", "https://oauth2.googleapis.com/token")), "aud"},
		{"expired", signed(t, server.key, header, with(with(claims, "iat", 1), "exp", 2)), "short-lived"},
		{"too long", signed(t, server.key, header, with(claims, "exp", now.Add(3*time.Hour).Unix())), "short-lived"},
		{"no scope", signed(t, server.key, header, with(claims, "scope", "")), "scope"},
		{"scope", signed(t, server.key, header, with(claims, "scope", "everything")), "scope"},
		{"two parts", "a.b", "three parts"},
		{"not base64", "!.!.!", "base64url"},
		{"not JSON", "YQ.YQ.YQ", "JSON"},
	} {
		_, err := server.verify(tc.jwt, now)
		if tc.fault == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.fault) {
			t.Errorf("%s: %v, expected %q", tc.name, err, tc.fault)
		}
	}
}

func TestTokenEndpoint(t *testing.T) {
	v := startWorld(t, "healthy", Options{})
	for _, form := range []url.Values{{}, {"grant_type": {"password"}}, {"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {"x"}}} {
		resp, err := v.http.PostForm(v.Connection().GCPEndpoint+tokenPath, form)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%v: %d", form, resp.StatusCode)
		}
	}
}

func TestTokens(t *testing.T) {
	tok := &tokens{}
	good, old := tok.issue(identity{Account: "a"}, time.Hour), tok.issue(identity{Account: "a"}, -time.Second)
	for header, want := range map[string]bool{"Bearer " + good: true, "bearer " + good: true, "Basic " + good: false,
		"Bearer " + old: false, "Bearer ": false, "": false, good: false} {
		if _, ok := tok.check(header); ok != want {
			t.Errorf("%.12s…: %t", header, ok)
		}
	}
}
