package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	alpnHTTP2 = "h2"
	// maxChain bounds the certificates kept of a chain; honest ones have three or four.
	maxChain = 10
)

// collectTLS shakes hands with every address that takes a connection.
func (p *Prober) collectTLS(ctx context.Context, _ diagnose.Request, view *evidence.View, set *evidence.Set) error {
	addresses, err := p.connected(view)
	if err != nil {
		return err
	}
	results := make([]evidence.TLSResult, len(addresses))
	var wg sync.WaitGroup
	for i, a := range addresses {
		wg.Go(func() { results[i] = p.handshake(ctx, a) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("shaking hands with %s: %w", p.cfg.Endpoint, err)
	}
	evidence.Put(set, evidence.TLSProbe, results, p.source("tls"))
	return nil
}

// handshake does one handshake, and records the chain whether it verifies or not: who issued it tells who is in between.
func (p *Prober) handshake(ctx context.Context, address string) evidence.TLSResult {
	out := evidence.TLSResult{Host: p.host, Address: address, Source: p.source("tls " + address)}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.TLSTimeout)
	defer cancel()
	raw, err := dial(ctx, []string{address})
	if err != nil {
		out.Fault, out.Err = evidence.TLSBroken, line(err.Error())
		return out
	}
	defer func() { _ = raw.Close() }() // nothing was sent: there is nothing to lose
	var verify error
	conn := tls.Client(raw, &tls.Config{
		ServerName: p.host,
		// HTTP/1.1 is offered too: a server without h2 would else break off, and hide its chain.
		NextProtos: []string{alpnHTTP2, "http/1.1"},
		MinVersion: tls.VersionTLS12,
		// The chain is verified below, by the same rules; a chain that fails is what this probe is after. Nothing is sent
		// on this connection.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(s tls.ConnectionState) error {
			out.Chain = certificates(s.PeerCertificates)
			verify = p.verify(s.PeerCertificates)
			return nil
		},
	})
	err = conn.HandshakeContext(ctx)
	out.Protocol = conn.ConnectionState().NegotiatedProtocol
	switch {
	case verify != nil:
		out.Fault, out.Err = p.chainFault(verify), line(verify.Error())
	case err != nil:
		out.Fault, out.Err = handshakeFault(err), line(err.Error())
	case out.Protocol != alpnHTTP2:
		out.Fault = evidence.TLSNoHTTP2
		out.Err = fmt.Sprintf("ALPN agreed on %q, not on h2", out.Protocol)
	}
	return out
}

// verify checks a chain as crypto/tls would.
func (p *Prober) verify(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the server showed no certificate")
	}
	opts := x509.VerifyOptions{DNSName: p.host, Roots: p.cfg.RootCAs, CurrentTime: p.cfg.Now(), Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(opts)
	return err
}

// chainFault names what is wrong with a chain that doesn't verify.
func (p *Prober) chainFault(err error) evidence.TLSFault {
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var roots x509.SystemRootsError
	switch {
	case errors.As(err, &host):
		return evidence.TLSWrongHost
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if invalid.Cert != nil && p.cfg.Now().Before(invalid.Cert.NotBefore) {
			return evidence.TLSNotYetValid
		}
		return evidence.TLSExpired
	case errors.As(err, &roots):
		return evidence.TLSBroken // this machine has no roots to verify with
	default:
		return evidence.TLSUnknownAuthority
	}
}

// handshakeFault names what went wrong before a chain could be seen.
func handshakeFault(err error) evidence.TLSFault {
	var record tls.RecordHeaderError
	var alert tls.AlertError
	const noApplicationProtocol = 120 // RFC 7301, section 3.2
	switch {
	case errors.As(err, &record):
		return evidence.TLSNotTLS
	case errors.As(err, &alert) && alert == noApplicationProtocol:
		return evidence.TLSNoHTTP2
	case errors.Is(err, net.ErrClosed), isTimeout(err):
		return evidence.TLSBroken
	case strings.Contains(err.Error(), "no application protocol"): // the alert as a peer's, which has no type of its own
		return evidence.TLSNoHTTP2
	}
	return evidence.TLSBroken
}

func certificates(chain []*x509.Certificate) []evidence.Certificate {
	var out []evidence.Certificate
	for _, c := range chain[:min(len(chain), maxChain)] {
		out = append(out, evidence.Certificate{
			Subject: c.Subject.String(), Issuer: c.Issuer.String(), NotBefore: c.NotBefore, NotAfter: c.NotAfter, DNSNames: slices.Clone(c.DNSNames),
		})
	}
	return out
}
