// Package probe tries the way to the control plane, layer by layer: DNS, TCP, TLS, one call by REST and one by gRPC.
//
// What it finds holds for the machine it runs on, and each result says so; a VM or pod may see something else. A probe that
// fails is a result, not an error: an error says that there was nothing to probe.
package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// DefaultEndpoint is Traffic Director's.
	DefaultEndpoint = "trafficdirector.googleapis.com:443"

	collectorName = "probe"
	// defaultDNSTimeout is for one resolver, two tries included: resolvers nearby answer in milliseconds, a cold one in a second.
	defaultDNSTimeout = 3 * time.Second
	// defaultTCPTimeout leaves room for one lost SYN, which is sent again after a second.
	defaultTCPTimeout = 3 * time.Second
	// defaultTLSTimeout is for the connection and the handshake.
	defaultTLSTimeout = 4 * time.Second
	// defaultCallTimeout is for one call with its connection, token and handshake.
	defaultCallTimeout = 5 * time.Second
	// slack is what a collector gets beyond its probes' own timeouts, so that it is they that end first and say why.
	slack = time.Second
	// maxResolvers bounds the resolvers asked; a libc asks three at most.
	maxResolvers = 8
	// maxAddresses bounds the addresses tried at once; Google answers with up to 16 of a kind.
	maxAddresses = 32
)

// Config says what to probe and how.
type Config struct {
	// Endpoint is the control plane's host:port; empty takes DefaultEndpoint.
	Endpoint string
	// Resolvers are DNS servers, IP or IP:port; empty takes those of ResolvConf.
	Resolvers []string
	// ResolvConf is a file in the form of resolv.conf(5); empty takes /etc/resolv.conf.
	ResolvConf string
	// ExpectedRanges are where the endpoint may be, besides public addresses and Google's private and restricted VIPs.
	ExpectedRanges []netip.Prefix
	// RootCAs replaces the system's roots.
	RootCAs *x509.CertPool
	// TokenSource gives the access token for the calls; nil, or one that fails, makes them without: a refusal is an answer too.
	TokenSource oauth2.TokenSource
	// QuotaProject is charged for the calls; empty leaves that to the credentials.
	QuotaProject string
	// Vantage is where the probes run; empty takes evidence.FromService.
	Vantage evidence.Vantage
	// Timeouts; 0 takes the defaults: 3 s a resolver, 3 s a connection, 4 s a handshake, 5 s a call.
	DNSTimeout, TCPTimeout, TLSTimeout, CallTimeout time.Duration
	Logger                                          *slog.Logger     // nil logs nothing
	Now                                             func() time.Time // nil takes time.Now
}

// Prober probes one endpoint. It may be used by several goroutines.
type Prober struct {
	cfg        Config
	host, port string
	resolvers  []string
}

// New checks the configuration; it contacts nobody. The error names the field.
func New(cfg Config) (*Prober, error) {
	if cfg.Endpoint == "" {
		cfg.Endpoint = DefaultEndpoint
	}
	host, port, err := net.SplitHostPort(cfg.Endpoint)
	if err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("the control plane's endpoint %q is not host:port", cfg.Endpoint)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("the control plane's endpoint %q has no valid port", cfg.Endpoint)
	}
	p := &Prober{host: strings.TrimSuffix(host, "."), port: port}
	for _, r := range cfg.Resolvers {
		ap, err := netip.ParseAddrPort(r)
		if err != nil {
			a, aerr := netip.ParseAddr(r)
			if aerr != nil {
				return nil, fmt.Errorf("the DNS server %q is not IP:port", r)
			}
			ap = netip.AddrPortFrom(a, dnsPort)
		}
		p.resolvers = append(p.resolvers, ap.String())
	}
	setDefault(&cfg.ResolvConf, "/etc/resolv.conf")
	setDefault(&cfg.Vantage, evidence.FromService)
	setDefault(&cfg.DNSTimeout, defaultDNSTimeout)
	setDefault(&cfg.TCPTimeout, defaultTCPTimeout)
	setDefault(&cfg.TLSTimeout, defaultTLSTimeout)
	setDefault(&cfg.CallTimeout, defaultCallTimeout)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p.cfg = cfg
	return p, nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Collectors gives the probes as collectors. Each waits only for what it builds on.
func (p *Prober) Collectors() []diagnose.Collector {
	live := func(r diagnose.Request) bool { return r.Target.Live() }
	dns, tcp := evidence.DNSProbe.Name(), evidence.TCPProbe.Name()
	type names = []evidence.Name
	return []diagnose.Collector{
		{Name: "probe/dns", Provides: names{dns}, Timeout: p.cfg.DNSTimeout + slack, Applies: live, Collect: p.collectDNS},
		{Name: "probe/tcp", Provides: names{tcp}, Needs: names{dns}, Timeout: p.cfg.TCPTimeout + slack, Applies: live, Collect: p.collectTCP},
		{Name: "probe/tls", Provides: names{evidence.TLSProbe.Name()}, Needs: names{tcp}, Timeout: p.cfg.TLSTimeout + slack, Applies: live, Collect: p.collectTLS},
		{Name: "probe/rest", Provides: names{evidence.RESTProbe.Name(), evidence.ClockFact.Name()}, Needs: names{tcp},
			Timeout: p.cfg.CallTimeout + slack, Applies: live, Collect: p.collectREST},
		{Name: "probe/grpc", Provides: names{evidence.GRPCProbe.Name()}, Needs: names{tcp},
			Timeout: p.cfg.CallTimeout + slack, Applies: live, Collect: p.collectGRPC},
	}
}

func (p *Prober) source(detail string) evidence.Source {
	return evidence.Source{Collector: collectorName, Detail: detail, Vantage: p.cfg.Vantage, Time: p.cfg.Now()}
}

// literal gives the endpoint's address where it names no host.
func (p *Prober) literal() (netip.Addr, bool) {
	a, err := netip.ParseAddr(p.host)
	return a, err == nil
}

// addresses gives what there is to connect to, IPv4 first: what the resolvers answered, or the endpoint's own address.
func (p *Prober) addresses(view *evidence.View) ([]netip.Addr, error) {
	if a, ok := p.literal(); ok {
		return []netip.Addr{a}, nil
	}
	results, err := evidence.Get(view, evidence.DNSProbe)
	if err != nil {
		return nil, fmt.Errorf("no address of %s is known: %w", p.host, err)
	}
	var out []netip.Addr
	for _, r := range results {
		if p.ours(r.Source) {
			out = append(out, r.Addresses...)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare) // IPv4 sorts before IPv6
	out = slices.Compact(out)
	if len(out) == 0 {
		return nil, fmt.Errorf("no address of %s is known: its name doesn't resolve", p.host)
	}
	return out[:min(len(out), maxAddresses)], nil
}

// ours says whether a result was found by this prober's own kind, and not handed in.
func (p *Prober) ours(s evidence.Source) bool { return s.Collector == collectorName && !s.Pasted }

// connected gives the addresses, with port, that took a TCP connection.
func (p *Prober) connected(view *evidence.View) ([]string, error) {
	results, err := evidence.Get(view, evidence.TCPProbe)
	if err != nil {
		return nil, fmt.Errorf("nothing to call: %w", err)
	}
	var out []string
	for _, r := range results {
		if p.ours(r.Source) && r.Outcome == evidence.TCPConnected {
			out = append(out, r.Address)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("nothing to call: no address of %s takes a connection", p.host)
	}
	return out, nil
}

// dial connects to the first of the addresses that takes a connection now.
func dial(ctx context.Context, addresses []string) (net.Conn, error) {
	var d net.Dialer
	var first error
	for _, a := range addresses {
		c, err := d.DialContext(ctx, "tcp", a)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// token gets an access token, or "" where there is none to be had in half a call's time: the way can be tried without.
func (p *Prober) token(ctx context.Context) string {
	if p.cfg.TokenSource == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.CallTimeout/2)
	defer cancel()
	type got struct {
		token *oauth2.Token
		err   error
	}
	ch := make(chan got, 1) // a TokenSource knows no deadline: a late one must not block
	go func() {
		t, err := p.cfg.TokenSource.Token()
		ch <- got{t, err}
	}()
	select {
	case g := <-ch:
		if g.err == nil && g.token != nil {
			return g.token.AccessToken
		}
		p.cfg.Logger.InfoContext(ctx, "probing without credentials", "error", g.err)
	case <-ctx.Done():
		p.cfg.Logger.InfoContext(ctx, "probing without credentials", "error", ctx.Err())
	}
	return ""
}

const saneMessage = 300 // bytes of a message kept: a line or three on a terminal

// line makes one line of a message, and a short one.
func line(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > saneMessage {
		s = strings.ToValidUTF8(s[:saneMessage], "") + "…"
	}
	return s
}

// isTimeout says whether an error is a deadline of any layer.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &ne) && ne.Timeout())
}
