package kubetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"
)

// serialBits is the length of a certificate's serial number: RFC 5280 allows 20 octets.
const serialBits = 128

// CA is a certificate authority.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes an authority with an elliptic key. Two of one name are told apart by their keys alone, as istiod's are after it
// made a new root.
func NewCA(t testing.TB, name string) *CA { return mustCA(t, name, false) }

// NewRSACA makes an authority with an RSA key, as istiod's is by default: the words of a failed verification name the algorithm.
func NewRSACA(t testing.TB, name string) *CA { return mustCA(t, name, true) }

func mustCA(t testing.TB, name string, useRSA bool) *CA {
	t.Helper()
	ca, err := newCA(name, useRSA)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newCA(name string, useRSA bool) (*CA, error) {
	key, err := newKey(useRSA)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: []string{name}},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// Certificate says what to issue. The zero value has no name and is valid now.
type Certificate struct {
	Names                    []string // DNS names and IP addresses (subjectAltName)
	CommonName, Organization string
	NotBefore, NotAfter      time.Time // an hour ago and a day ahead, if zero
	RSA                      bool
}

// Issue signs a certificate for servers and clients.
func (ca *CA) Issue(t testing.TB, c Certificate) tls.Certificate {
	t.Helper()
	cert, err := ca.issue(c)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (ca *CA) issue(c Certificate) (tls.Certificate, error) {
	key, err := newKey(c.RSA)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: c.CommonName},
		NotBefore:   c.NotBefore,
		NotAfter:    c.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if c.Organization != "" {
		template.Subject.Organization = []string{c.Organization}
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	for _, n := range c.Names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := sign(template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// PEM is the authority's certificate, as a caBundle holds it.
func (ca *CA) PEM() []byte { return encodeCert(ca.cert.Raw) }

// Pool holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

func newKey(useRSA bool) (crypto.Signer, error) {
	if useRSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %q: %w", template.Subject.CommonName, err)
	}
	return der, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func certPEM(c tls.Certificate) []byte { return encodeCert(c.Certificate[0]) }

// keyPEM is the private key. The keys are newKey's, which all have an encoding.
func keyPEM(c tls.Certificate) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
