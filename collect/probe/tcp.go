package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// collectTCP connects to every address at once.
func (p *Prober) collectTCP(ctx context.Context, _ diagnose.Request, view *evidence.View, set *evidence.Set) error {
	addresses, err := p.addresses(view)
	if err != nil {
		return err
	}
	results := make([]evidence.TCPResult, len(addresses))
	var wg sync.WaitGroup
	for i, a := range addresses {
		wg.Go(func() { results[i] = p.connect(ctx, a) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("connecting to %s: %w", p.cfg.Endpoint, err)
	}
	evidence.Put(set, evidence.TCPProbe, results, p.source("tcp"))
	return nil
}

func (p *Prober) connect(ctx context.Context, a netip.Addr) evidence.TCPResult {
	address := net.JoinHostPort(a.String(), p.port)
	out := evidence.TCPResult{Host: p.host, Address: address, Source: p.source("tcp " + address)}
	d := net.Dialer{Timeout: p.cfg.TCPTimeout}
	start := p.cfg.Now()
	c, err := d.DialContext(ctx, "tcp", address)
	out.Took = p.cfg.Now().Sub(start)
	if err == nil {
		_ = c.Close() // nothing was written: there is nothing to lose
		out.Outcome = evidence.TCPConnected
		return out
	}
	out.Outcome, out.Err = outcome(err), line(err.Error())
	return out
}

// outcome tells apart how a connection fails: refused is a host's word, a timeout is nobody's.
func outcome(err error) evidence.TCPOutcome {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return evidence.TCPRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return evidence.TCPUnreachable
	case isTimeout(err):
		return evidence.TCPTimeout
	default:
		return evidence.TCPFailed
	}
}
