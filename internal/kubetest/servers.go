package kubetest

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxReview bounds a review that a webhook server reads: an object of etcd's 1.5 MiB, the old one beside it, and the envelope.
const maxReview = 4 << 20

// maxHello is more than a TLS ClientHello.
const maxHello = 16 << 10

// Server is what listens for the API server at Cluster.Address until the test ends.
type Server struct {
	Certificate tls.Certificate // HTTP without TLS, if it has none
	Handler     http.Handler
	Port        uint16 // any free one, if zero
}

// Serve starts a server.
func (c *Cluster) Serve(t testing.TB, s Server) netip.AddrPort {
	t.Helper()
	addr, stop, err := c.serve(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return addr
}

func (c *Cluster) serve(s Server) (netip.AddrPort, func(), error) {
	l, err := net.Listen("tcp4", netip.AddrPortFrom(c.Address, s.Port).String())
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	if s.Certificate.Certificate != nil {
		l = tls.NewListener(l, serverTLS(s.Certificate))
	}
	srv := &http.Server{Handler: s.Handler, ErrorLog: discard(), ReadHeaderTimeout: stepDeadline}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l) // ends by Close
	}()
	return addr, func() { _ = srv.Close(); <-ended }, nil
}

// Refuse is an address where nothing listens, and nothing else will while the test runs: connections are refused. Any free port is
// taken if port is zero.
func (c *Cluster) Refuse(t testing.TB, port uint16) netip.AddrPort {
	t.Helper()
	_, addr := c.bind(t, port)
	return addr
}

// Blackhole is an address that answers no SYN, as behind a firewall that drops: a listener whose backlog is full.
func (c *Cluster) Blackhole(t testing.TB, port uint16) netip.AddrPort {
	t.Helper()
	fd, addr := c.bind(t, port)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	// Linux takes one connection more than the backlog. Further ones stay without an answer.
	d := net.Dialer{Timeout: time.Second}
	for {
		conn, err := d.DialContext(t.Context(), "tcp4", addr.String())
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return addr
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// Hangup is an address whose connections are closed as soon as they carry anything.
func (c *Cluster) Hangup(t testing.TB, port uint16) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", netip.AddrPortFrom(c.Address, port).String())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			// What has come is read first: a close before it would be a reset.
			_ = conn.SetReadDeadline(time.Now().Add(stepDeadline))
			_, _ = conn.Read(make([]byte, maxHello))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// bind is a bound socket, which keeps its port from others.
func (c *Cluster) bind(t testing.TB, port uint16) (int, netip.AddrPort) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: c.Address.As4(), Port: int(port)}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, netip.AddrPortFrom(c.Address, uint16(name.(*syscall.SockaddrInet4).Port))
}

// Review answers admission reviews by f.
func Review(f func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(io.LimitReader(r.Body, maxReview)).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, fmt.Sprintf("no admission review: %v", err), http.StatusBadRequest)
			return
		}
		review.Response = f(review.Request)
		review.Response.UID = review.Request.UID
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review) // a caller that is gone has said so
	})
}

// Allow lets everything pass unchanged.
func Allow() http.Handler {
	return Review(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true}
	})
}

// Deny refuses with a message.
func Deny(message string) http.Handler {
	return Review(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: message}}
	})
}

// Patch lets pass with a JSON patch (RFC 6902), such as one that adds a container.
func Patch(patch string) http.Handler {
	return Review(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		kind := admissionv1.PatchTypeJSONPatch
		return &admissionv1.AdmissionResponse{Allowed: true, PatchType: &kind, Patch: []byte(patch)}
	})
}

// Answer is an HTTP status with a body, which is no review.
func Answer(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // a caller that is gone has said so
	})
}

// Hang answers nothing until the caller gives up.
func Hang() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the caller is gone
		<-r.Context().Done()
	})
}

func serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

// discard is for the complaints of servers about clients that were meant to fail.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }
