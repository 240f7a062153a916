// Package pipeline puts the collectors, the checks and the engine together, pointed at Google Cloud or at wherever a
// configuration says.
package pipeline

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/collect/artifact"
	"github.com/meshdiag/meshdiag/collect/csds"
	"github.com/meshdiag/meshdiag/collect/envoyadmin"
	"github.com/meshdiag/meshdiag/collect/gcp"
	"github.com/meshdiag/meshdiag/collect/kube"
	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/collect/probe"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/xdsclient"
)

const (
	// connectTimeout bounds one attempt to connect: a handshake takes a few round trips, and a firewall that drops packets
	// never answers.
	connectTimeout = 3 * time.Second
	// resolveTimeout bounds one question to the DNS server that was given.
	resolveTimeout = 3 * time.Second
	// idleConnections are kept per host: as many as one diagnosis opens to an API at once.
	idleConnections = 16
)

// Connection says where the outside world is. The zero value is Google's own, with Application Default Credentials.
type Connection struct {
	TrafficDirectorEndpoint string         // host:port; "" is trafficdirector.googleapis.com:443
	GCPEndpoint             string         // one base URL for all Google REST APIs; "" is each one's own
	DNSServer               string         // ip:port; "" is the system's resolvers
	CAFile                  string         // roots to trust besides the system's
	CredentialsFile         string         // "" is Application Default Credentials
	QuotaProject            string         // the project that calls are billed to
	Ranges                  []netip.Prefix // where the control plane may be, besides public and Google's private addresses
	EnvoyAdmin              string         // HOST:PORT of an Envoy's admin interface to ask; "" asks none
	EnvoyAdminAllowed       []string       // hosts, besides loopback, that EnvoyAdmin may name
	Kubeconfig              string         // of Kubernetes clusters; "" looks where kubectl looks, then at the cluster around
	PodExec                 bool           // may run pilot-agent's own commands in the proxy of the pod asked about
}

// Config makes a [Pipeline].
type Config struct {
	Connection Connection
	Timeout    time.Duration // of a diagnosis; 0 takes the engine's
	Logger     *slog.Logger
	// ObserveAPI, if not nil, is told of every exchange with a Google API or a Kubernetes API server: its name and how it ended.
	ObserveAPI func(api, code string)
}

// Pipeline is an engine with all its collectors.
type Pipeline struct {
	Engine     *diagnose.Engine
	collectors []diagnose.Collector
	csds       *xdsclient.Client
	gcp        *gcp.API
	closes     []func()
}

// New puts a pipeline together; it asks nobody yet. Errors name the setting that is wrong.
func New(cfg Config) (*Pipeline, error) {
	c := cfg.Connection
	tlsConfig, err := xdsclient.TLSConfig(c.CAFile)
	if err != nil {
		return nil, err
	}
	dial, err := dialer(c.DNSServer)
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if tlsConfig != nil {
		roots = tlsConfig.RootCAs
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) },
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: connectTimeout,
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: idleConnections,
	}
	hc := &http.Client{Transport: transport}
	creds, err := newCredentials(c.CredentialsFile, hc)
	if err != nil {
		return nil, err
	}
	scanner, err := logscan.New(checks.Signatures())
	if err != nil {
		return nil, fmt.Errorf("log signatures: %w", err)
	}
	p := &Pipeline{closes: []func(){transport.CloseIdleConnections}}
	endpoint := cmp.Or(c.TrafficDirectorEndpoint, xdsclient.DefaultEndpoint)
	csdsDial := dial
	if proxied(endpoint) {
		csdsDial = nil // gRPC's own dialer heeds HTTPS_PROXY, as the REST APIs do
	}
	p.csds, err = xdsclient.New(xdsclient.Config{
		Endpoint: endpoint, TokenSource: creds, TLS: tlsConfig, QuotaProject: c.QuotaProject, Dial: csdsDial, UserAgent: "meshdiag",
	})
	if err != nil {
		return nil, fmt.Errorf("the Traffic Director endpoint: %w", err)
	}
	p.closes = append(p.closes, func() { _ = p.csds.Close() })
	p.gcp, err = gcp.New(gcp.Config{
		Endpoint: c.GCPEndpoint, HTTPClient: hc, TokenSource: creds, QuotaProject: c.QuotaProject, Principal: creds.principal(),
		Logger: cfg.Logger, Observe: cfg.ObserveAPI, Scanner: scanner,
	})
	if err != nil {
		p.Close()
		return nil, err
	}
	p.closes = append(p.closes, p.gcp.Close)
	cluster, err := kube.New(kube.Config{
		Kubeconfig: c.Kubeconfig, PodExec: c.PodExec, Scanner: scanner, Logger: cfg.Logger, Observe: cfg.ObserveAPI,
	})
	if err != nil {
		p.Close()
		return nil, err
	}
	p.closes = append(p.closes, cluster.Close)
	probes, err := newProbes(endpoint, c, roots, creds)
	if err != nil {
		p.Close()
		return nil, err
	}
	files, err := artifact.New(artifact.Config{Signatures: checks.Signatures(), Logger: cfg.Logger})
	if err != nil {
		p.Close()
		return nil, err
	}
	p.collectors = append(p.gcp.Collectors(), csds.New(csds.Config{Asker: p.csds, Principal: creds.principal()}).Collectors()...)
	p.collectors = append(p.collectors, cluster.Collectors()...)
	p.collectors = append(p.collectors, probes.Collectors()...)
	p.collectors = append(p.collectors, files.Collector())
	if c.EnvoyAdmin != "" {
		admin, err := envoyadmin.New(envoyadmin.Config{Address: c.EnvoyAdmin, Allowed: c.EnvoyAdminAllowed})
		if err != nil {
			p.Close()
			return nil, err
		}
		p.collectors = append(p.collectors, admin.Collector())
	}
	p.Engine, err = diagnose.New(diagnose.Config{
		Collectors: p.collectors, Checks: checks.All(), Timeout: cfg.Timeout, Logger: cfg.Logger, Validate: cluster.Validate,
	})
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close ends connections.
func (p *Pipeline) Close() {
	for _, c := range p.closes {
		c()
	}
}

func newProbes(endpoint string, c Connection, roots *x509.CertPool, creds oauth2.TokenSource) (*probe.Prober, error) {
	cfg := probe.Config{Endpoint: endpoint, ExpectedRanges: c.Ranges, RootCAs: roots, TokenSource: creds}
	if c.DNSServer != "" {
		cfg.Resolvers = []string{c.DNSServer}
	}
	return probe.New(cfg)
}

// proxied says whether the environment names an HTTP proxy for the control plane.
func proxied(endpoint string) bool {
	u, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: endpoint}})
	return err == nil && u != nil
}

// dialer connects to a name as the given DNS server resolves it, or the system where none is given.
func dialer(server string) (func(context.Context, string) (net.Conn, error), error) {
	d := &net.Dialer{Timeout: connectTimeout}
	if server != "" {
		if _, err := netip.ParseAddrPort(server); err != nil {
			return nil, fmt.Errorf("the DNS server %q is not of the form IP:PORT", server)
		}
		d.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: resolveTimeout}).DialContext(ctx, network, server)
		}}
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, "tcp", address)
		var dns *net.DNSError
		if server != "" && errors.As(err, &dns) {
			dns.Server = server // net names the system's, which it believes it asked
		}
		return conn, err
	}, nil
}

// credentials are found when the first token is asked for: looking for Application Default Credentials may ask the
// metadata server, and probes and files need none.
type credentials struct {
	find  func() (*xdsclient.Credentials, error)
	email string
}

func newCredentials(file string, hc *http.Client) (*credentials, error) {
	find := func() (*xdsclient.Credentials, error) {
		return xdsclient.FindCredentials(context.Background(), xdsclient.CredentialsConfig{File: file, HTTPClient: hc})
	}
	c := &credentials{find: sync.OnceValues(find)}
	if file == "" {
		return c, nil
	}
	found, err := c.find() // a file that was named is read now: a wrong one is bad input
	if err != nil {
		return nil, err
	}
	c.email = found.Account
	return c, nil
}

// Token gives an access token.
func (c *credentials) Token() (*oauth2.Token, error) {
	found, err := c.find()
	if err != nil {
		return nil, fmt.Errorf("no credentials (gcloud auth application-default login makes some): %w", err)
	}
	t, err := found.TokenSource.Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return nil, fmt.Errorf("the token server refused the credentials: %s", cmp.Or(refused.ErrorDescription, refused.ErrorCode, refused.Response.Status))
	}
	if err != nil {
		return nil, err
	}
	own := *t // each of those who ask caches the token and notes when to renew it in it: they mustn't share one
	return &own, nil
}

// principal gives who the credentials are, as IAM names them; "" where that isn't known without asking.
func (c *credentials) principal() string {
	if c.email == "" {
		return ""
	}
	return "serviceAccount:" + c.email
}
