package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/miekg/dns"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	dnsPort = 53
	// udpSize is the EDNS buffer size that passes every path unfragmented (DNS flag day 2020).
	udpSize = 1232
	// dnsTries is how often a question is sent by UDP, which may lose it.
	dnsTries = 2
)

// collectDNS asks every resolver for the endpoint's addresses. Search domains aren't applied: the name is a full one.
func (p *Prober) collectDNS(ctx context.Context, _ diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	if _, ok := p.literal(); ok {
		return nil // no name, no question
	}
	resolvers := p.resolvers
	if len(resolvers) == 0 {
		conf, err := dns.ClientConfigFromFile(p.cfg.ResolvConf)
		if err != nil {
			return fmt.Errorf("finding the DNS servers: %w", err)
		}
		for _, s := range conf.Servers {
			resolvers = append(resolvers, net.JoinHostPort(s, conf.Port))
		}
		if len(resolvers) == 0 {
			return fmt.Errorf("finding the DNS servers: %s names none", p.cfg.ResolvConf)
		}
	}
	resolvers = resolvers[:min(len(resolvers), maxResolvers)]
	results := make([]evidence.DNSResult, len(resolvers))
	var wg sync.WaitGroup
	for i, r := range resolvers {
		wg.Go(func() { results[i] = p.resolve(ctx, r) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("resolving %s: %w", p.host, err) // a resolver cut short is not one that timed out
	}
	evidence.Put(set, evidence.DNSProbe, results, p.source("dns"))
	return nil
}

// answer is one resolver's answer to one question.
type answer struct {
	rcode     string
	addresses []netip.Addr
	err       error
}

func (a answer) failed() bool { return a.err != nil || a.rcode != dns.RcodeToString[dns.RcodeSuccess] }

// resolve asks one resolver for IPv4 and IPv6 addresses. Either kind is enough; where neither came, the failure counts.
func (p *Prober) resolve(ctx context.Context, resolver string) evidence.DNSResult {
	out := evidence.DNSResult{
		Host: p.host, Resolver: resolver, Source: p.source("dns " + resolver), Expected: slices.Clone(p.cfg.ExpectedRanges),
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DNSTimeout)
	defer cancel()
	var v4, v6 answer
	var wg sync.WaitGroup
	wg.Go(func() { v4 = p.ask(ctx, resolver, dns.TypeA) })
	wg.Go(func() { v6 = p.ask(ctx, resolver, dns.TypeAAAA) })
	wg.Wait()
	out.Addresses = append(v4.addresses, v6.addresses...)
	slices.SortFunc(out.Addresses, netip.Addr.Compare)
	out.Addresses = slices.Compact(out.Addresses)
	tells := v4
	if !v4.failed() && v6.failed() {
		tells = v6
	}
	switch {
	case len(out.Addresses) > 0:
		out.RCode = dns.RcodeToString[dns.RcodeSuccess]
	case tells.err != nil:
		out.Err = dnsError(tells.err)
	default:
		out.RCode = tells.rcode
	}
	return out
}

func dnsError(err error) string {
	switch {
	case isTimeout(err):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	}
	return line(err.Error())
}

// ask puts one question: by UDP, again where that was lost, by TCP where the answer was cut off (RFC 7766, section 5).
func (p *Prober) ask(ctx context.Context, resolver string, kind uint16) answer {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(p.host), kind)
	q.SetEdns0(udpSize, false)
	udp := &dns.Client{Net: "udp", UDPSize: udpSize, Timeout: p.cfg.DNSTimeout / dnsTries}
	var r *dns.Msg
	var err error
	for range dnsTries {
		r, _, err = udp.ExchangeContext(ctx, q, resolver)
		if err == nil && r.Rcode == dns.RcodeFormatError && q.IsEdns0() != nil {
			q.Extra = nil // an old server that doesn't know EDNS (RFC 6891, section 7)
			r, _, err = udp.ExchangeContext(ctx, q, resolver)
		}
		if err == nil || !isTimeout(err) || ctx.Err() != nil {
			break
		}
	}
	if err == nil && r.Truncated {
		tcp := &dns.Client{Net: "tcp", Timeout: p.cfg.DNSTimeout}
		if r, _, err = tcp.ExchangeContext(ctx, q, resolver); err != nil {
			err = fmt.Errorf("the answer by UDP was cut off, and TCP failed: %w", err)
		}
	}
	if err != nil {
		return answer{err: err}
	}
	if len(r.Question) != 1 || !strings.EqualFold(r.Question[0].Name, q.Question[0].Name) || r.Question[0].Qtype != kind {
		return answer{err: errors.New("the answer is to another question")}
	}
	out := answer{rcode: dns.RcodeToString[r.Rcode]}
	if out.rcode == "" {
		out.rcode = fmt.Sprintf("RCODE%d", r.Rcode) // RFC 3597's way for what has no name
	}
	for _, rr := range r.Answer {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			out.addresses = append(out.addresses, a.Unmap())
		}
	}
	return out
}
