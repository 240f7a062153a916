package service_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/channelz/grpc_channelz_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/service"
)

// certificate writes a self-signed certificate for loopback, and gives the files and a pool that trusts it.
func certificate(t testing.TB) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "meshdiag test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool = x509.NewCertPool()
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(os.WriteFile(cert, certPEM, 0o600), os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}), 0o600)); err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(certPEM)
	return cert, key, pool
}

// One port speaks gRPC and REST, over TLS and without, REST by HTTP/1.1 and HTTP/2.
func TestOnePort(t *testing.T) {
	cert, key, pool := certificate(t)
	for name, withTLS := range map[string]bool{"TLS": true, "plaintext": false} {
		t.Run(name, func(t *testing.T) {
			scheme, creds := "http", insecure.NewCredentials()
			r := start(t, func(_ *service.Config, c *service.ServerConfig) {
				if withTLS {
					c.TLSCert, c.TLSKey = cert, key
				}
			})
			if withTLS {
				scheme, creds = "https", credentials.NewTLS(&tls.Config{RootCAs: pool})
			}
			conn, err := grpc.NewClient(r.Addr().String(), grpc.WithTransportCredentials(creds))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := pb.NewDiagnosisServiceClient(conn).Diagnose(t.Context(), &pb.DiagnoseRequest{Target: target(plainProject)}); err != nil {
				t.Errorf("gRPC: %v", err)
			}
			for _, major := range []int{1, 2} {
				p := &http.Protocols{}
				p.SetHTTP1(major == 1)
				p.SetHTTP2(major == 2)
				p.SetUnencryptedHTTP2(major == 2)
				tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: p}
				resp, err := (&http.Client{Transport: tr}).Post(scheme+"://"+r.Addr().String()+"/v1:diagnose", "application/json", strings.NewReader(good))
				if err != nil {
					t.Fatal(err)
				}
				raw, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != 200 || resp.ProtoMajor != major || !strings.Contains(string(raw), "network-mismatch") {
					t.Errorf("HTTP/%d: %s %d %s", major, resp.Proto, resp.StatusCode, raw)
				}
				tr.CloseIdleConnections()
			}
		})
	}
}

func TestServerConfig(t *testing.T) {
	cert, key, _ := certificate(t)
	svc, err := service.New(service.Config{Engine: newWorld().engine(t)})
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	const free = "127.0.0.1:0"
	for name, row := range map[string]struct {
		cfg  service.ServerConfig
		says string // empty: it serves
	}{
		"loopback":          {service.ServerConfig{Listen: free}, ""},
		"localhost":         {service.ServerConfig{Listen: "localhost:0"}, ""},
		"everywhere":        {service.ServerConfig{Listen: "0.0.0.0:0"}, "is not a loopback address"},
		"no host":           {service.ServerConfig{Listen: ":0"}, "is not a loopback address"},
		"IPv6 everywhere":   {service.ServerConfig{Listen: "[::]:0"}, "is not a loopback address"},
		"told to":           {service.ServerConfig{Listen: "0.0.0.0:0", Insecure: true}, ""},
		"with TLS":          {service.ServerConfig{Listen: "0.0.0.0:0", TLSCert: cert, TLSKey: key}, ""},
		"no key":            {service.ServerConfig{Listen: free, TLSCert: cert}, "needed together"},
		"no certificate":    {service.ServerConfig{Listen: free, TLSKey: key}, "needed together"},
		"not a certificate": {service.ServerConfig{Listen: free, TLSCert: key, TLSKey: key}, "reading the TLS certificate " + key},
		"no file":           {service.ServerConfig{Listen: free, TLSCert: "/nowhere.pem", TLSKey: key}, "/nowhere.pem"},
		"no port":           {service.ServerConfig{Listen: "127.0.0.1"}, "must be HOST:PORT"},
		"taken":             {service.ServerConfig{Listen: taken.Addr().String()}, "address already in use"},
		"admin everywhere":  {service.ServerConfig{Listen: free, AdminListen: "0.0.0.0:0", Insecure: true}, "never public"},
		"admin taken":       {service.ServerConfig{Listen: free, AdminListen: taken.Addr().String()}, "admin address"},
	} {
		t.Run(name, func(t *testing.T) {
			row.cfg.Service = svc
			if row.cfg.AdminListen == "" {
				row.cfg.AdminListen = free
			}
			s, err := service.NewServer(row.cfg)
			if err == nil {
				s.Close()
			}
			if (err == nil) != (row.says == "") || err != nil && (!strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got %v, want %q", err, row.says)
			}
		})
	}
	if _, err := service.New(service.Config{}); err == nil {
		t.Error("a service without an engine")
	}
	if _, err := service.NewServer(service.ServerConfig{}); err == nil {
		t.Error("a server without a service")
	}
}

func TestAdminServices(t *testing.T) {
	r := start(t)
	conn, err := grpc.NewClient(r.AdminAddr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := grpc_channelz_v1.NewChannelzClient(conn).GetServers(t.Context(), &grpc_channelz_v1.GetServersRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := grpc_channelz_v1.NewChannelzClient(r.conn).GetServers(t.Context(), &grpc_channelz_v1.GetServersRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("channelz on the public address: %v", err)
	}
}

// A drain waits for what runs, by gRPC and by REST, tells health watchers, and takes nothing new.
func TestDrainWaits(t *testing.T) {
	r := start(t)
	d := pb.NewDiagnosisServiceClient(r.conn)
	watch, err := healthpb.NewHealthClient(r.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := watch.Recv(); err != nil || m.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("%v %v", m, err)
	}
	stream, err := d.StreamDiagnose(t.Context(), &pb.StreamDiagnoseRequest{Request: &pb.DiagnoseRequest{Target: target(gateProject)}})
	if err != nil {
		t.Fatal(err)
	}
	<-r.world.gate.entered
	rest := make(chan answer, 1)
	go func() {
		rest <- r.do(t, "POST", "/v1:streamDiagnose", `{"target":{"project":"gate-project","network":"default"}}`)
	}()
	<-r.world.gate.entered

	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	if m, err := watch.Recv(); err != nil || m.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Fatalf("the watcher: %v %v", m, err)
	}
	_, err = watch.Recv() // ended by the server: it would hold the drain
	if reason, _ := reasonOf(t, err); status.Code(err) != codes.Unavailable || reason != "SHUTTING_DOWN" {
		t.Errorf("the watcher's end: %v", err)
	}
	if c, err := net.Dial("tcp", r.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("a new connection was taken")
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped while requests ran: %v", err)
	default:
	}
	close(r.world.gate.release)
	var last *pb.StreamDiagnoseResponse
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = m
	}
	if len(last.GetReport().GetCauses()) != 1 {
		t.Errorf("gRPC: %v", last)
	}
	if a := <-rest; a.code != 200 || !strings.Contains(a.body, `"report":`) {
		t.Errorf("REST: %d %s", a.code, a.body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// What doesn't end within the drain is told so.
func TestDrainGivesUp(t *testing.T) {
	r := start(t, func(_ *service.Config, c *service.ServerConfig) { c.DrainTimeout = time.Millisecond })
	stream, err := pb.NewDiagnosisServiceClient(r.conn).StreamDiagnose(t.Context(), &pb.StreamDiagnoseRequest{Request: &pb.DiagnoseRequest{Target: target(gateProject)}})
	if err != nil {
		t.Fatal(err)
	}
	<-r.world.gate.entered
	rest := make(chan answer, 1)
	go func() {
		rest <- r.do(t, "POST", "/v1:diagnose", `{"target":{"project":"gate-project","network":"default"}}`)
	}()
	<-r.world.gate.entered
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if reason, _ := reasonOf(t, err); status.Code(err) != codes.Unavailable || reason != "SHUTTING_DOWN" {
		t.Errorf("gRPC: %v", err)
	}
	a := <-rest
	if _, reason := parseError(t, a); a.code != http.StatusServiceUnavailable || reason != "SHUTTING_DOWN" {
		t.Errorf("REST: %d %s", a.code, a.body)
	}
}

// Run ends with an error where serving fails, and leaves nothing behind.
func TestRunFails(t *testing.T) {
	svc, err := service.New(service.Config{Engine: newWorld().engine(t)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := service.NewServer(service.ServerConfig{Service: svc, Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := s.Run(context.Background()); err == nil {
		t.Error("a closed server ran")
	}
}

// The limits are told to HTTP/2 callers in the first frame: SETTINGS_MAX_CONCURRENT_STREAMS and _MAX_HEADER_LIST_SIZE.
func TestHTTP2Settings(t *testing.T) {
	r := start(t, func(_ *service.Config, c *service.ServerConfig) { c.Limits.Streams = 7 })
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(c, c)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	f, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := f.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v", f)
	}
	if n, _ := settings.Value(http2.SettingMaxConcurrentStreams); n != 7 {
		t.Errorf("%d concurrent streams", n)
	}
	if n, _ := settings.Value(http2.SettingMaxHeaderListSize); n < 32<<10 || n > 48<<10 {
		t.Errorf("%d bytes of header", n)
	}
}

// An HTTP/2 request that takes too long is ended by the server, whatever runs; a health watch is not.
func TestWriteTimeout(t *testing.T) {
	r := start(t, func(c *service.Config, s *service.ServerConfig) {
		s.Limits.Read, s.Limits.Write = 100*time.Millisecond, 100*time.Millisecond
	})
	watch, err := healthpb.NewHealthClient(r.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	stream, err := pb.NewDiagnosisServiceClient(r.conn).StreamDiagnose(t.Context(), &pb.StreamDiagnoseRequest{Request: &pb.DiagnoseRequest{Target: target(gateProject)}})
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		t.Error("the stream ended well")
	}
	go func() { _ = r.stop() }()
	if m, err := watch.Recv(); err != nil || m.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("the watcher: %v %v", m, err)
	}
}

func TestInProcess(t *testing.T) {
	svc, err := service.New(service.Config{Engine: newWorld().engine(t)})
	if err != nil {
		t.Fatal(err)
	}
	conn, end, err := svc.InProcess()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	d := pb.NewDiagnosisServiceClient(conn)
	resp, err := d.Diagnose(t.Context(), &pb.DiagnoseRequest{Target: target(plainProject)})
	if err != nil || len(resp.GetReport().GetCauses()) != 1 {
		t.Errorf("%v %v", resp, err)
	}
	_, err = d.Diagnose(t.Context(), &pb.DiagnoseRequest{})
	if reason, _ := reasonOf(t, err); reason != "INVALID_FIELD" {
		t.Errorf("%v", err)
	}
}
