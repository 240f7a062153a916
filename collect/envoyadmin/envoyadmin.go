// Package envoyadmin asks an Envoy proxy's admin interface, where the operator allowed it: with GET alone, as every other
// method there changes something, and at addresses that are loopback or were named.
package envoyadmin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/meshdiag/meshdiag/collect/envoyfacts"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

const (
	// maxBody bounds one answer: the largest config dumps seen have some 60 MiB.
	maxBody = 128 << 20
	// callTimeout bounds one answer. A large dump takes Envoy's main thread a second or two to print.
	callTimeout = 8 * time.Second
	collector   = "envoyadmin"
)

// paths are what is asked, and what each must print.
var paths = []struct {
	path string
	kind envoy.Kind
}{
	{"/server_info", envoy.ServerInfoOut},
	{"/config_dump?include_eds", envoy.ConfigDump},
	{"/clusters?format=json", envoy.ClustersOut},
	{"/listeners?format=json", envoy.ListenersOut},
	{"/stats?filter=control_plane|ds.update_|ds.init_fetch_timeout|upstream_cx_connect_timeout|server.(live|state)", envoy.StatsOut},
	{"/init_dump", envoy.InitDumpOut},
}

// Config makes a [Source].
type Config struct {
	Address string           // HOST:PORT of the admin interface
	Allowed []string         // hosts that may be asked besides loopback
	Now     func() time.Time // nil takes time.Now
}

// Source asks one admin interface.
type Source struct {
	cfg  Config
	http *http.Client
}

// New checks the address. It asks nobody yet. The error says what is wrong with the address.
func New(cfg Config) (*Source, error) {
	host, port, err := net.SplitHostPort(cfg.Address)
	if err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("the Envoy admin address %q is not of the form HOST:PORT", cfg.Address)
	}
	ip := net.ParseIP(host)
	if host != "localhost" && (ip == nil || !ip.IsLoopback()) && !slices.Contains(cfg.Allowed, host) {
		return nil, fmt.Errorf("the Envoy admin address %s is not on loopback: name its host among those allowed, if it is meant", cfg.Address)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Source{cfg: cfg, http: &http.Client{
		Timeout:   callTimeout,
		Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}, // never through a proxy: the address is right here
		// An admin interface redirects nobody; what does is something else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Collector gives the collector.
func (s *Source) Collector() diagnose.Collector {
	var provides []evidence.Name
	for _, p := range paths {
		provides = append(provides, envoyfacts.Facts(p.kind)...)
	}
	return diagnose.Collector{Name: collector, Provides: provides, Timeout: 2 * callTimeout, Collect: s.collect}
}

func (s *Source) collect(ctx context.Context, _ diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	for _, p := range paths {
		src := evidence.Source{Collector: collector, Detail: "http://" + s.cfg.Address + p.path, Vantage: evidence.FromWorkload, Time: s.cfg.Now()}
		body, err := s.get(ctx, p.path)
		if err == nil {
			_, err = envoyfacts.Put(set, p.kind, body, "", false, src)
		}
		if err != nil {
			for _, n := range envoyfacts.Facts(p.kind) {
				set.Fail(n, src, err)
			}
		}
	}
	return nil
}

func (s *Source) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.cfg.Address+path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading Envoy's answer to %s: %w", path, err)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("Envoy answered %s to %s", res.Status, path)
	case len(body) > maxBody:
		return nil, errors.New("Envoy's answer is larger than " + fmt.Sprint(maxBody>>20) + " MiB")
	}
	return body, nil
}
