// Package gcp collects evidence from Google Cloud's REST APIs: the project, the state of its APIs and how they answer,
// forwarding rules and what stands behind them down to the endpoints' health and the firewall before them, meshes, gateways
// and routes, a VM with what it reports of itself and logs, the permissions of its service account, and what a cluster's pods logged.
//
// It only reads. Whatever an API refuses becomes an evidence.Denied that says which permission is missing and how to grant
// it; a list that couldn't be read to its end is never taken for a short one.
package gcp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	cloudresourcemanager "google.golang.org/api/cloudresourcemanager/v3"
	compute "google.golang.org/api/compute/v1"
	gkehub "google.golang.org/api/gkehub/v1"
	logging "google.golang.org/api/logging/v2"
	monitoring "google.golang.org/api/monitoring/v3"
	networkservices "google.golang.org/api/networkservices/v1"
	"google.golang.org/api/option"
	policytroubleshooter "google.golang.org/api/policytroubleshooter/v1"
	serviceusage "google.golang.org/api/serviceusage/v1"

	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// collectorName is the collector that reports show as the source.
	collectorName = "gcp"
	// collectorTimeout bounds one collector: two tries of a call that hangs.
	collectorTimeout = 10 * time.Second
	// defaultCallTimeout bounds one try: Google's APIs answer in well under a second, or not at all.
	defaultCallTimeout = 4 * time.Second
	// defaultRetryDelay is the first pause before a second try, doubled each time: the usual advice for 429 and 503.
	defaultRetryDelay = 200 * time.Millisecond
	// dialTimeout and handshakeTimeout leave time for a second try within the call's own.
	dialTimeout, handshakeTimeout = 3 * time.Second, 3 * time.Second
	// maxIdle is enough for every call that one diagnosis makes at once to a host.
	maxIdle = 16
)

// Config says how to reach the APIs.
type Config struct {
	// Endpoint is one base URL for all of them, "https://127.0.0.1:8443"; empty takes Google's own hosts.
	Endpoint string
	// HTTPClient's transport carries the requests; nil makes one that trusts RootCAs.
	HTTPClient *http.Client
	// TokenSource gives the access tokens, with scope cloud-platform; nil sends none.
	TokenSource oauth2.TokenSource
	// RootCAs replaces the system's roots; for use without HTTPClient.
	RootCAs *x509.CertPool
	// QuotaProject is charged for the calls (X-Goog-User-Project); empty leaves that to the credentials.
	QuotaProject string
	// Principal is who the credentials are, an email or an IAM member, for the commands that grant what is missing.
	Principal string
	// Scanner looks for known messages in the serial port's output and in Cloud Logging; nil reads no logs.
	Scanner *logscan.Scanner
	// CallTimeout bounds one try of one call, RetryDelay is the first pause before another; 0 takes the defaults, 4 s and 200 ms.
	CallTimeout, RetryDelay time.Duration
	Logger                  *slog.Logger // nil logs nothing
	// Observe, if not nil, is told of every HTTP exchange: the API ("compute") and how it ended ("200", "403", "error"). It
	// is called from several goroutines.
	Observe func(api, code string)
	Now     func() time.Time // nil takes time.Now
}

// API reads Google Cloud's APIs. It may be used by several goroutines.
type API struct {
	cfg  Config
	base http.RoundTripper
	own  *http.Transport // made here, closed here; nil where HTTPClient brought one

	// Clients are made when first used: start-up waits for none.
	compute         func() (*compute.Service, error)
	resourceManager func() (*cloudresourcemanager.Service, error)
	serviceUsage    func() (*serviceusage.Service, error)
	networkServices func() (*networkservices.Service, error)
	troubleshooter  func() (*policytroubleshooter.Service, error)
	logging         func() (*logging.Service, error)
	monitoring      func() (*monitoring.Service, error)
	gkeHub          func() (*gkehub.Service, error)
}

// New prepares to read the APIs; it contacts nobody. The error says what is wrong with the endpoint.
func New(cfg Config) (*API, error) {
	if cfg.Endpoint != "" {
		u, err := url.Parse(cfg.Endpoint)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("the Google Cloud endpoint %q is not a base URL like https://host:port", cfg.Endpoint)
		}
		cfg.Endpoint = strings.TrimRight(cfg.Endpoint, "/")
	}
	if cfg.CallTimeout <= 0 {
		cfg.CallTimeout = defaultCallTimeout
	}
	if cfg.RetryDelay <= 0 {
		cfg.RetryDelay = defaultRetryDelay
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &API{cfg: cfg}
	switch {
	case cfg.HTTPClient == nil:
		a.own = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: handshakeTimeout,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: maxIdle,
			IdleConnTimeout:     90 * time.Second, // net/http's own default
		}
		a.base = a.own
	case cfg.HTTPClient.Transport == nil:
		a.base = http.DefaultTransport
	default:
		a.base = cfg.HTTPClient.Transport
	}
	tokens := newTokens(cfg.TokenSource)
	a.compute = client(a, tokens, "compute", "/compute/v1/", compute.NewService)
	a.resourceManager = client(a, tokens, "cloudresourcemanager", "/", cloudresourcemanager.NewService)
	a.serviceUsage = client(a, tokens, "serviceusage", "/", serviceusage.NewService)
	a.networkServices = client(a, tokens, "networkservices", "/", networkservices.NewService)
	a.troubleshooter = client(a, tokens, "policytroubleshooter", "/", policytroubleshooter.NewService)
	a.logging = client(a, tokens, "logging", "/", logging.NewService)
	a.monitoring = client(a, tokens, "monitoring", "/", monitoring.NewService)
	a.gkeHub = client(a, tokens, "gkehub", "/", gkehub.NewService)
	return a, nil
}

// client makes one API's client when it is first asked for.
func client[S any](a *API, tokens *tokens, api, path string, make func(context.Context, ...option.ClientOption) (*S, error)) func() (*S, error) {
	return sync.OnceValues(func() (*S, error) {
		hc := &http.Client{
			Transport: &transport{api: api, base: a.base, tokens: tokens, quotaProject: a.cfg.QuotaProject, observe: a.cfg.Observe},
			// The APIs never redirect, and a token must not follow somebody else's redirection.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		opts := []option.ClientOption{option.WithHTTPClient(hc)}
		if a.cfg.Endpoint != "" {
			opts = append(opts, option.WithEndpoint(a.cfg.Endpoint+path))
		}
		s, err := make(context.Background(), opts...)
		if err != nil {
			return nil, fmt.Errorf("making the %s client: %w", api, err)
		}
		return s, nil
	})
}

// Close drops idle connections.
func (a *API) Close() {
	if a.own != nil {
		a.own.CloseIdleConnections()
	}
}

// Collectors gives the collectors: one a fact, so that one denial hides nothing else, and only what is needed is asked.
func (a *API) Collectors() []diagnose.Collector {
	live := func(r diagnose.Request) bool { return r.Target.Live() }
	vm := func(r diagnose.Request) bool { return r.Target.Live() && r.Target.Instance != "" }
	out := []diagnose.Collector{
		a.collector("project", evidence.ProjectFact.Name(), nil, live, a.collectProject),
		a.collector("services", evidence.Services.Name(), nil, live, a.collectServices),
		a.collector("forwarding-rules", evidence.ForwardingRules.Name(), nil, live, a.collectForwardingRules),
		a.collector("target-proxies", evidence.TargetProxies.Name(), nil, live, a.collectTargetProxies),
		a.collector("url-maps", evidence.URLMaps.Name(), nil, live, a.collectURLMaps),
		a.collector("backend-services", evidence.BackendServices.Name(), nil, live, a.collectBackendServices),
		a.collector("meshes", evidence.Meshes.Name(), nil, live, a.collectMeshes),
		a.collector("gateways", evidence.Gateways.Name(), nil, live, a.collectGateways),
		a.collector("routes", evidence.Routes.Name(), nil, live, a.collectRoutes),
		a.collector("instances", evidence.Instances.Name(), nil, vm, a.collectInstance),
		a.collector("proxy-permissions", evidence.ProxyPermissions.Name(),
			[]evidence.Name{evidence.Instances.Name(), evidence.ProjectFact.Name()}, vm, a.collectPermissions),
		a.collector("guest-attributes", evidence.GuestAttributes.Name(), nil, vm, a.collectGuestAttributes),
		a.collector("project-metadata", evidence.ProjectMetadata.Name(), nil, vm, a.collectProjectMetadata),
		a.collector("health-checks", evidence.HealthChecks.Name(), nil, live, a.collectHealthChecks),
		a.collector("endpoint-groups", evidence.EndpointGroups.Name(),
			[]evidence.Name{evidence.BackendServices.Name()}, live, a.collectEndpointGroups),
		a.collector("backend-health", evidence.BackendHealth.Name(),
			[]evidence.Name{evidence.BackendServices.Name(), evidence.EndpointGroups.Name()}, live, a.collectBackendHealth),
		a.collector("effective-firewalls", evidence.EffectiveFirewalls.Name(),
			[]evidence.Name{evidence.Instances.Name(), evidence.ForwardingRules.Name(), evidence.EndpointGroups.Name()}, live, a.collectFirewalls),
		a.collector("api-requests", evidence.APIRequests.Name(), nil, live, a.collectAPIRequests),
		a.collector("fleet-mesh", evidence.FleetMesh.Name(), nil,
			func(r diagnose.Request) bool { return r.Target.Project != "" && r.Target.Kubernetes() }, a.collectFleetMesh),
	}
	serial := a.collector("serial-port", evidence.SerialPorts.Name(), nil, vm, a.collectSerialPort)
	if a.cfg.Scanner != nil {
		pods := func(r diagnose.Request) bool { return r.Target.Project != "" && r.Target.Namespace != "" }
		events := a.collector("pod-events", evidence.LogMessages.Name(), nil, pods, a.collectPodEvents)
		events.Provides = append(events.Provides, evidence.ClusterEvents.Name())
		out = append(out, a.collector("pod-log", evidence.LogMessages.Name(), nil, pods, a.collectPodLog), events)
		serial.Provides = append(serial.Provides, evidence.LogMessages.Name())
		out = append(out, a.collector("logging", evidence.LogMessages.Name(), []evidence.Name{evidence.Instances.Name()}, vm, a.collectLog))
	}
	return append(out, serial)
}

type collectFunc func(context.Context, diagnose.Request, *evidence.View, *evidence.Set) error

func (a *API) collector(name string, fact evidence.Name, needs []evidence.Name, applies func(diagnose.Request) bool, f collectFunc) diagnose.Collector {
	return diagnose.Collector{
		Name: collectorName + "/" + name, Provides: []evidence.Name{fact}, Needs: needs, Timeout: collectorTimeout, Applies: applies,
		Collect: func(ctx context.Context, r diagnose.Request, v *evidence.View, s *evidence.Set) error {
			if err := checkNames(r.Target); err != nil {
				return err
			}
			return f(ctx, r, v, s)
		},
	}
}

// checkNames refuses names that would change the path of a request: the APIs' clients put some of them there as they are.
func checkNames(t diagnose.Target) error {
	for _, n := range []struct{ field, value string }{
		{"target.project", t.Project}, {"target.zone", t.Zone}, {"target.instance", t.Instance},
		{"target.mesh", t.MeshName()}, {"target.mesh", t.GatewayScope()},
	} {
		ok := !strings.ContainsFunc(n.value, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:", r)
		})
		if !ok || strings.Trim(n.value, ".") == "" && n.value != "" {
			return fmt.Errorf("%s: %.100q is not a resource name: letters, digits, hyphens, dots", n.field, n.value)
		}
	}
	return nil
}

// source gives the source of what one API method told.
func (a *API) source(method string) evidence.Source {
	return evidence.Source{Collector: collectorName, Detail: method, Vantage: evidence.FromAPI, Time: a.cfg.Now()}
}

// fail records that a fact couldn't be learnt.
func (a *API) fail(ctx context.Context, set *evidence.Set, n evidence.Name, method string, err error) {
	a.cfg.Logger.InfoContext(ctx, "could not read from Google Cloud", "fact", n, "method", method, "error", err)
	if ctx.Err() != nil {
		set.FailLate(n, a.source(method), err)
		return
	}
	set.Fail(n, a.source(method), err)
}
