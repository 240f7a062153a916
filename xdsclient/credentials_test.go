package xdsclient_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/meshdiag/meshdiag/xdsclient"
	"github.com/meshdiag/meshdiag/xdsclient/xdsclienttest"
)

// privateCA gives a server certificate for 127.0.0.1, and the file of the CA that it is from: itself.
func privateCA(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2", "http/1.1"}}, file
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// serviceAccount writes a service account's key file whose token endpoint is given.
func serviceAccount(t *testing.T, tokenURL string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "sa@p.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokenURL,
		"project_id": "p", "quota_project_id": "q"})
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "key.json", string(b))
}

// tokenServer answers every request for a token.
func tokenServer(t *testing.T, c *tls.Config, status int, body string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(tls.NewListener(l, c)) }()
	t.Cleanup(func() { s.Close(); <-done })
	return "https://" + l.Addr().String() + "/token"
}

// TestRealCredentials runs the real code of a service account's key, against servers with a private CA.
func TestRealCredentials(t *testing.T) {
	serverTLS, caFile := privateCA(t)
	clientTLS, err := xdsclient.TLSConfig(caFile)
	if err != nil {
		t.Fatal(err)
	}
	s := xdsclienttest.Start(t, xdsclienttest.Config{TLS: serverTLS, Token: "good"})
	ids := fleet(s, 1)
	for _, row := range []struct {
		name, body string
		status     int
		code       codes.Code
		reason     string
	}{
		{"good", `{"access_token":"good","token_type":"Bearer","expires_in":3600}`, 200, codes.OK, ""},
		{"stale", `{"access_token":"other","token_type":"Bearer","expires_in":3600}`, 200, codes.Unauthenticated, ""},
		{"refused", `{"error":"invalid_grant","error_description":"account not found"}`, 400, codes.Unauthenticated, xdsclient.ReasonTokenUnavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS}}
			defer h.CloseIdleConnections()
			creds, err := xdsclient.FindCredentials(t.Context(), xdsclient.CredentialsConfig{
				File: serviceAccount(t, tokenServer(t, serverTLS, row.status, row.body)), HTTPClient: h})
			if err != nil {
				t.Fatal(err)
			}
			if creds.Type != "service_account" || creds.Account != "sa@p.iam.gserviceaccount.com" || creds.ProjectID != "p" || creds.QuotaProject != "q" {
				t.Errorf("credentials %+v", creds)
			}
			g, err := xdsclient.New(xdsclient.Config{Endpoint: s.Addr, TLS: clientTLS, TokenSource: creds.TokenSource})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			r, err := xdsclient.NewREST(xdsclient.RESTConfig{BaseURL: s.URL, HTTPClient: h, TokenSource: creds.TokenSource})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []discoverer{g, r} {
				c, err := d.Status(t.Context(), network, ids[0])
				if row.code == codes.OK {
					if err != nil || len(c.Resources) != 1 {
						t.Errorf("%+v, %v", c, err)
					}
					continue
				}
				wantError(t, err, row.code, row.reason, "")
			}
		})
	}
	t.Run("without a token", func(t *testing.T) {
		g, err := xdsclient.New(xdsclient.Config{Endpoint: s.Addr, TLS: clientTLS})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		_, err = g.List(t.Context(), network)
		wantError(t, err, codes.Unauthenticated, "", "authentication credentials")
	})
	t.Run("without the CA", func(t *testing.T) {
		g, err := xdsclient.New(xdsclient.Config{Endpoint: s.Addr})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		_, err = g.List(t.Context(), network)
		wantError(t, err, codes.Unavailable, "", "certificate")
	})
}

func TestBadCredentials(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	missing := filepath.Join(t.TempDir(), "missing.json")
	for _, row := range []struct{ name, file, want string }{
		{"missing", missing, "no such file"},
		{"a directory", t.TempDir(), "regular file"},
		{"empty", write(t, "a", ""), "not the JSON"},
		{"no JSON", write(t, "b", "-----BEGIN PRIVATE KEY-----\nx"), "not the JSON"},
		{"no type", write(t, "c", `{"a": 1}`), `no "type"`},
		{"an odd type", write(t, "d", `{"type": "password"}`), `type "password": want one of`},
		{"a broken account", write(t, "e", `{"type": "external_account"}`), "e: "},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := xdsclient.FindCredentials(t.Context(), xdsclient.CredentialsConfig{File: row.file})
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), row.file) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v: want one line with %q and the file's name", err, row.want)
			}
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", row.file)
			if _, err := xdsclient.FindCredentials(t.Context(), xdsclient.CredentialsConfig{}); err == nil ||
				!strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), row.file) {
				t.Errorf("by the environment: %v", err)
			}
		})
	}
	for _, file := range []string{missing, write(t, "ca.pem", "no PEM")} {
		if _, err := xdsclient.TLSConfig(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("CA file: %v", err)
		}
	}
	if c, err := xdsclient.TLSConfig(""); c != nil || err != nil {
		t.Errorf("no CA file: %v, %v", c, err)
	}
	if _, err := xdsclient.FindCredentials(t.Context(), xdsclient.CredentialsConfig{File: "f", MetadataServer: true}); err == nil {
		t.Error("a file and the metadata server are accepted")
	}
}

// TestMetadataServer fetches a token as on a VM.
func TestMetadataServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		if r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" || r.Header.Get("Metadata-Flavor") != "Google" ||
			r.URL.Query().Get("scopes") != xdsclient.ScopeCloudPlatform {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"vm","token_type":"Bearer","expires_in":3600}`))
	})}
	s.SetKeepAlivesEnabled(false) // the metadata client keeps its connections for the life of the process
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	t.Setenv("GCE_METADATA_HOST", l.Addr().String())
	c, err := xdsclient.FindCredentials(t.Context(), xdsclient.CredentialsConfig{MetadataServer: true})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := c.TokenSource.Token(); err != nil || token.AccessToken != "vm" {
		t.Errorf("token %v, %v", token, err)
	}
}
