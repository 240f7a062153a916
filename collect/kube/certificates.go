package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	// handshakeTimeout bounds the connection to one webhook server and its handshake. Within a cluster they take milliseconds;
	// from elsewhere most pods' addresses lead nowhere.
	handshakeTimeout = 2 * time.Second
	// maxServers bounds the webhook Services whose servers are tried, and maxAddresses the addresses of each.
	maxServers, maxAddresses = 10, 2
	// secretName is the Secret that istiod serves from where a certificate manager makes its certificate.
	// https://istio.io/latest/docs/ops/integrations/certmanager/
	secretName = "istiod-tls" //nolint:gosec // a name
)

// server is where a webhook's calls go.
type server struct {
	ref       kube.ServiceReference
	addresses []netip.AddrPort // of ready endpoints
}

// certificates learns which certificates webhooks' servers serve: by a TLS handshake with their endpoints, or where they can't be
// reached from here, from istiod's Secret, if reading that is allowed.
func (s *step) certificates(ctx context.Context) error {
	all, err := s.hooks()
	if err != nil {
		return without("which servers webhooks have", err)
	}
	services, err := evidence.Get(s.view, evidence.ClusterServices)
	if err != nil {
		return err
	}
	endpoints, err := evidence.Get(s.view, evidence.EndpointSlices)
	if err != nil {
		return err
	}
	servers := serversOf(all, evidence.All(services), evidence.All(endpoints))
	if n := len(servers) - maxServers; n > 0 {
		s.fail(ctx, evidence.ServingCertificates.Name(), s.certSource("TLS handshake"), fmt.Errorf("the servers of %d webhook Services were not tried", n))
		servers = servers[:maxServers]
	}
	done := make([]chan struct{}, len(servers))
	for i, v := range servers {
		done[i] = make(chan struct{})
		go func() {
			defer close(done[i])
			s.certificate(ctx, v)
		}()
	}
	for _, d := range done {
		<-d
	}
	return nil
}

func (s *step) certificate(ctx context.Context, v server) {
	name := v.ref.Namespace + "/" + v.ref.Name
	var problem error
	for _, a := range v.addresses[:min(len(v.addresses), maxAddresses)] {
		src := s.certSource("TLS handshake with " + a.String())
		chain, err := handshake(ctx, a, v.ref.Host())
		if err == nil && !s.inside && chain[0].VerifyHostname(v.ref.Host()) != nil {
			// Pods' addresses are private: where this machine isn't in the cluster, they may be other machines'.
			err = fmt.Errorf("%s serves a certificate for another name, and, seen from outside the cluster, may be another machine", a)
		}
		if err != nil {
			problem = err
			continue
		}
		c := evidence.ServingCertificate{Namespace: v.ref.Namespace, Service: v.ref.Name, Port: v.ref.PortNumber(), Chain: chain, From: src.Detail, Source: src}
		evidence.Put(s.set, evidence.ServingCertificates, []evidence.ServingCertificate{c}, src)
		return
	}
	if c, ok := s.secret(ctx, v.ref); ok {
		evidence.Put(s.set, evidence.ServingCertificates, []evidence.ServingCertificate{c}, c.Source)
		return
	}
	if problem == nil {
		return // no endpoint is ready: nothing serves
	}
	s.fail(ctx, evidence.ServingCertificates.Name(), s.certSource("TLS handshake"),
		fmt.Errorf("the certificate that Service %s serves could not be seen from here: %w", name, problem))
}

func (s *step) certSource(detail string) evidence.Source {
	return evidence.Source{Collector: collectorName, Detail: detail, Vantage: evidence.FromService, Time: s.cfg.Now()}
}

// serversOf gives the servers behind webhooks that are Services, those of the mesh first, then by name.
func serversOf(all []kube.WebhookConfiguration, services []kube.Service, endpoints []kube.EndpointSlice) []server {
	var out []server
	for _, c := range all {
		for _, w := range c.Webhooks {
			r := w.Client.Service
			if r == nil || slices.ContainsFunc(out, func(v server) bool {
				return v.ref.Namespace == r.Namespace && v.ref.Name == r.Name && v.ref.PortNumber() == r.PortNumber()
			}) {
				continue
			}
			out = append(out, server{*r, addresses(*r, services, endpoints)})
		}
	}
	slices.SortStableFunc(out, func(a, b server) int {
		key := func(v server) string {
			if strings.HasPrefix(v.ref.Name, "istiod") {
				return " " + v.ref.Host()
			}
			return v.ref.Host()
		}
		return strings.Compare(key(a), key(b))
	})
	return out
}

// addresses gives the ready endpoints of a Service's port: slices and Service share the port's name.
func addresses(r kube.ServiceReference, services []kube.Service, endpoints []kube.EndpointSlice) []netip.AddrPort {
	i := slices.IndexFunc(services, func(s kube.Service) bool { return s.Namespace == r.Namespace && s.Name == r.Name })
	if i < 0 {
		return nil
	}
	j := slices.IndexFunc(services[i].Spec.Ports, func(p kube.ServicePort) bool { return p.Port == r.PortNumber() })
	if j < 0 {
		return nil
	}
	name := services[i].Spec.Ports[j].Name
	var out []netip.AddrPort
	for _, slice := range endpoints {
		if slice.Namespace != r.Namespace || slice.Service() != r.Name {
			continue
		}
		for _, p := range slice.Ports {
			if p.Name != name {
				continue
			}
			for _, e := range slice.Endpoints {
				for _, text := range e.Addresses {
					a, err := netip.ParseAddr(text)
					// The API takes no loopback and link-local addresses as endpoints: they would be this machine's.
					if err == nil && e.IsReady() && a.IsGlobalUnicast() && p.Port > 0 && p.Port <= 65535 {
						out = append(out, netip.AddrPortFrom(a, uint16(p.Port))) //nolint:gosec // bounded above
					}
				}
			}
		}
	}
	return out
}

// handshake gives the certificates that a server presents for a name. They are looked at, not trusted: nothing is sent.
func handshake(ctx context.Context, a netip.AddrPort, name string) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	var chain []*x509.Certificate
	d := tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{
		ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, //nolint:gosec // the certificate is what is asked for
		// A server that then wants a certificate of ours has shown its own.
		VerifyConnection: func(s tls.ConnectionState) error { chain = s.PeerCertificates; return nil },
	}}
	conn, err := d.DialContext(ctx, "tcp", a.String())
	if err == nil {
		_ = conn.Close()
	}
	switch {
	case len(chain) > 0:
		return chain, nil
	case err == nil:
		err = errors.New("the server presents no certificate")
	}
	return nil, err
}

// secret gives the certificate of the Secret that istiod serves from, where there is one and it may be read. Whether it may is
// asked first: a refused attempt at a Secret looks bad in an audit log.
func (s *step) secret(ctx context.Context, r kube.ServiceReference) (c evidence.ServingCertificate, ok bool) {
	if r.Name != "istiod" && !strings.HasPrefix(r.Name, "istiod-") {
		return c, false
	}
	acc := access{what: "the Secret " + secretName, verb: "get", version: "v1", resource: "secrets", namespace: r.Namespace, name: secretName, role: roleSecret}
	if !s.may(ctx, acc) {
		return c, false
	}
	var secret struct {
		Data map[string]string `json:"data"`
	}
	if err := s.object(ctx, acc, &secret); err != nil {
		return c, false
	}
	text, err := base64.StdEncoding.DecodeString(secret.Data["tls.crt"])
	if err != nil {
		return c, false
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if x, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			chain = append(chain, x)
		}
	}
	if len(chain) == 0 {
		return c, false
	}
	src := s.source(acc)
	return evidence.ServingCertificate{
		Namespace: r.Namespace, Service: r.Name, Port: r.PortNumber(), Chain: chain, Source: src,
		From: "secret " + r.Namespace + "/" + secretName + ", port " + strconv.Itoa(r.PortNumber()),
	}, true
}

// may asks whether an access is allowed. Everybody who is known to the API server may ask that of himself.
// https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
func (c *cluster) may(ctx context.Context, acc access) bool {
	type attributes struct {
		Verb      string `json:"verb"`
		Group     string `json:"group"`
		Resource  string `json:"resource"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": attributes{acc.verb, acc.group, acc.resource, acc.namespace, acc.name}},
	})
	if err != nil {
		return false
	}
	var review struct {
		Status struct {
			Allowed bool `json:"allowed"`
		} `json:"status"`
	}
	const path = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	err = c.once(ctx, request{path: path, body: body}, func(r io.Reader) error {
		return json.NewDecoder(io.LimitReader(r, maxObjectBytes)).Decode(&review)
	})
	return err == nil && review.Status.Allowed
}
