package webhook

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// bundle is what a caBundle holds.
type bundle struct {
	problem string // why it is of no use, as a sentence goes on: "isn't base64"; "" for none
	pool    *x509.CertPool
	names   []string      // the subjects of its certificates
	until   time.Time     // when the last certificate that is valid now stops to be; zero where the time isn't known
	life    time.Duration // of that certificate
}

// maxBundle bounds the certificates of a caBundle that are looked at.
const maxBundle = 100

// readBundle reads a caBundle as the API server does: every block CERTIFICATE counts, others and what can't be parsed are passed
// over, and it is refused where none is left. at is when it was seen; zero judges no dates.
func readBundle(b kube.Bundle, at time.Time) bundle {
	if b.Raw != "" {
		return bundle{problem: "isn't base64: " + clip(strings.TrimSpace(b.Raw), 40)}
	}
	out := bundle{pool: x509.NewCertPool()}
	blocks, dated := 0, 0
	var certErr error
	var last *x509.Certificate
	rest := b.PEM
	for blocks < maxBundle {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			continue
		}
		blocks++
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			certErr = err
			continue
		}
		out.pool.AddCert(c)
		out.names = append(out.names, subject(c))
		last = c
		if valid(c, at) {
			dated++
			if !at.IsZero() && c.NotAfter.After(out.until) {
				out.until, out.life = c.NotAfter, c.NotAfter.Sub(c.NotBefore)
			}
		}
	}
	switch {
	case last == nil && certErr != nil:
		out.problem = "holds a certificate that can't be parsed: " + certErr.Error()
	case last == nil && strings.Contains(string(b.PEM), "-----BEGIN "):
		out.problem = "holds no certificate, but another kind of PEM block"
	case last == nil:
		out.problem = "isn't PEM: it begins with " + fmt.Sprintf("%.30q", clip(string(b.PEM), 20))
	case dated == 0 && at.Before(last.NotBefore):
		out.problem = fmt.Sprintf("holds certificates that aren't valid before %s alone", last.NotBefore.UTC().Format(time.RFC3339))
	case dated == 0:
		out.problem = fmt.Sprintf("has expired: %s was valid until %s", subject(last), last.NotAfter.UTC().Format(time.RFC3339))
	}
	return out
}

// ends says whether all that is valid in the bundle stops to be soon.
func (b bundle) ends(at time.Time) bool {
	limit := soon
	if b.life <= shortLived {
		limit = b.life / 3
	}
	return !b.until.IsZero() && b.until.Sub(at) < limit
}

func valid(c *x509.Certificate, at time.Time) bool {
	return at.IsZero() || !at.Before(c.NotBefore) && !at.After(c.NotAfter)
}

// subject names a certificate.
func subject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return s
	}
	if len(c.DNSNames) > 0 {
		return "the certificate for " + c.DNSNames[0]
	}
	return "a certificate without a name"
}

// served gives the certificate that a Service serves, or is to serve; nil where it isn't known.
func (s *survey) served(r *kube.ServiceReference) *evidence.ServingCertificate {
	i := slices.IndexFunc(s.certs, func(c evidence.ServingCertificate) bool {
		return c.Namespace == r.Namespace && c.Service == r.Name && (c.Port == 0 || c.Port == r.PortNumber()) && len(c.Chain) > 0
	})
	if i < 0 {
		return nil
	}
	return &s.certs[i]
}

// judgeServing compares what is served with the caBundles and the name that the API server expects.
func (s *survey) judgeServing(u *server, hooks []hook) {
	c := s.served(u.ref)
	if c == nil || len(hooks) == 0 {
		return
	}
	leaf, at := c.Chain[0], c.Source.Time
	shown := diagnose.Exhibit{
		Fact: evidence.ServingCertificates.Name(), Source: c.Source,
		Excerpt: fmt.Sprintf("%s serves %s, issued by %s, for %s, valid until %s (%s)", u.service(), subject(leaf), orNone(leaf.Issuer.String()),
			orNone(some(leaf.DNSNames, maxNames)), leaf.NotAfter.UTC().Format(time.RFC3339), c.From),
	}
	if err := leaf.VerifyHostname(u.ref.Host()); err != nil {
		u.misnamed = &fault{
			hooks: hooks, confidence: diagnose.Confirmed, params: map[string]string{"names": orNone(some(leaf.DNSNames, maxNames))}, shown: []diagnose.Exhibit{shown},
			summary: fmt.Sprintf("Service %s serves a certificate for %s; the API server asks for %s", u.service(), orNone(some(leaf.DNSNames, maxNames)), u.ref.Host()),
		}
		if len(leaf.DNSNames) == 0 {
			u.misnamed.summary = fmt.Sprintf("Service %s serves a certificate without a DNS name; the API server asks for %s", u.service(), u.ref.Host())
		}
	} else {
		u.named = true
	}
	if !valid(leaf, at) {
		how := "expired on " + leaf.NotAfter.UTC().Format(time.RFC3339)
		if at.Before(leaf.NotBefore) {
			how = "isn't valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)
		}
		u.outdated = &fault{
			hooks: hooks, confidence: diagnose.Confirmed, params: map[string]string{}, shown: []diagnose.Exhibit{shown},
			summary: fmt.Sprintf("Service %s serves a certificate that %s", u.service(), how),
		}
		return
	}
	var bad []hook
	var why error
	u.verified = true
	for _, h := range hooks {
		if h.hook.Client.CABundle.Empty() {
			u.verified = false
			continue
		}
		b := readBundle(h.hook.Client.CABundle, h.source.Time)
		if b.problem != "" {
			u.verified = false
			continue
		}
		if err := verify(b, c); err != nil {
			bad, why, u.verified = append(bad, h), err, false
		}
	}
	if len(bad) == 0 || u.invalid != nil {
		return
	}
	b := readBundle(bad[0].hook.Client.CABundle, bad[0].source.Time)
	u.invalid = &fault{
		hooks: bad, confidence: diagnose.Confirmed, params: map[string]string{"bundle_problem": "does not verify the certificate that is served", "other_root": "yes"},
		summary: fmt.Sprintf("The caBundle of %s (%s) does not verify the certificate that Service %s serves, issued by %s",
			entries(bad), some(b.names, 2), u.service(), orNone(leaf.Issuer.String())),
		shown: []diagnose.Exhibit{bundleExhibit(bad[0], "holds "+some(b.names, maxNames)+": "+clip(why.Error(), maxReason)), shown},
	}
}

// verify verifies a serving certificate, but for its name, as the API server's TLS client does.
func verify(b bundle, c *evidence.ServingCertificate) error {
	between := x509.NewCertPool()
	for _, x := range c.Chain[1:] {
		between.AddCert(x)
	}
	at := c.Source.Time
	if at.IsZero() {
		at = c.Chain[0].NotBefore // dates aren't judged where it isn't known when it was seen
	}
	_, err := c.Chain[0].Verify(x509.VerifyOptions{Roots: b.pool, Intermediates: between, CurrentTime: at})
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return errors.New("certificate signed by unknown authority")
	}
	return err
}
