package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Limits of the lab's HTTP servers. Streams live as long as the world, so only the phases before a handler have one.
const (
	headerTimeout = 10 * time.Second // a loopback client sends its headers at once
	idleTimeout   = time.Minute
	// streamsPerConnection is above what a client with many CSDS streams on one connection opens.
	streamsPerConnection = 1000
)

// webServer is an HTTPS server that can be closed without leaving a handler behind.
type webServer struct {
	addr     *net.TCPAddr
	server   *http.Server
	done     sync.WaitGroup // the accept loop
	handlers sync.WaitGroup
}

func startWebServer(h http.Handler, cfg *tls.Config, log *slog.Logger) (*webServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening on loopback: %w", err)
	}
	w := &webServer{addr: l.Addr().(*net.TCPAddr)}
	w.server = &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.handlers.Add(1)
			defer w.handlers.Done()
			h.ServeHTTP(rw, r)
		}),
		TLSConfig: cfg, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: streamsPerConnection},
	}
	w.done.Go(func() {
		if err := w.server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			log.Error("lab server stopped", "addr", w.addr.String(), "error", err)
		}
	})
	return w, nil
}

func (w *webServer) close() {
	_ = w.server.Close()
	w.done.Wait()
	w.handlers.Wait()
}

func serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
}

// startMiddlebox plays a network appliance that terminates TLS with a certificate everybody trusts, passes HTTP
// requests on, and does not understand gRPC: it answers those itself, with a page of HTML.
func startMiddlebox(upstream string, cert tls.Certificate, ca *authority, log *slog.Logger) (*webServer, func(), error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: upstream}); r.SetXForwarded() },
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	w, err := startWebServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Via", "2 inspection-gw-3.corp.example.com")
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, "<html><head><title>502 Bad Gateway</title></head><body><h1>Unsupported content</h1></body></html>")
			return
		}
		proxy.ServeHTTP(w, r)
	}), serverTLS(cert), log)
	if err != nil {
		return nil, nil, err
	}
	return w, func() { w.close(); transport.CloseIdleConnections() }, nil
}

// unreachable says that a client on this path waits for its connection longer than the lab waits for a client.
func (f Fault) unreachable() bool { return f.Path == "blackhole" || f.DNS == "timeout" }

// settleTimeout bounds the wait for all clients; on an idle machine they take a quarter of a second.
const settleTimeout = 20 * time.Second

func settleAll(ctx context.Context, fleet []proxy) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(fleet))
	for i, p := range fleet {
		wg.Go(func() { errs[i] = p.settle(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
