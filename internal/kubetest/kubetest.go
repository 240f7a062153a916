// Package kubetest runs a real Kubernetes API server on a real etcd, for tests.
//
// There is no controller manager, scheduler or kubelet: what they would write (endpoints, pod status, events) a test writes, as
// the same objects through the same API. What the API server does by itself is real: validation, RBAC, paging, admission, and
// every word of its errors.
//
// The API server runs with --enable-aggregator-routing, as managed control planes do: it dials the endpoints of a webhook's
// service, not its cluster IP. The API doesn't let an endpoint be a loopback address, so webhook servers listen on
// [Cluster.Address], an address of this machine's own.
package kubetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

const (
	// RequiredVar names the variable that decides what happens where there is no API server to run: with 1 a test fails, with 0
	// every test skips, and unset a test runs if the binaries are there and skips if not.
	RequiredVar = "MESHDIAG_KUBE_REQUIRED"

	// startDeadline bounds one start. It takes two or three seconds on two idle cores.
	startDeadline = 2 * time.Minute
	// stepDeadline bounds the wait for one thing that the API server does on its own, such as to notice a webhook.
	stepDeadline = 30 * time.Second
	// pollEvery is how often such a thing is asked for.
	pollEvery = 20 * time.Millisecond
	// startAttempts is how often a start is tried: a port that was free may be taken when the server comes to bind it.
	startAttempts = 3
)

// Shared is the one cluster of a test binary, started by the first test that asks for it. A package declares one and stops it
// at the end:
//
//	var kube kubetest.Shared
//
//	func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }
//
//	func TestKubeListsNamespaces(t *testing.T) { c := kube.Start(t); … }
type Shared struct {
	starting sync.Once
	cluster  *Cluster
	err      error

	using sync.Mutex // held by the test that has the cluster

	mu     sync.Mutex
	holder string
}

// Main runs the tests, stops the cluster, and returns the exit status.
func (s *Shared) Main(m *testing.M) int {
	code := m.Run()
	if s.cluster != nil {
		s.cluster.stop()
	}
	return code
}

// Start gives t the cluster until t ends, as new: another test that has it is waited for, and what t leaves is deleted.
// A test whose parent has the cluster uses the parent's. t's name must begin with TestKube, which is what `make test-kube` runs.
func (s *Shared) Start(t testing.TB) *Cluster {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestKube") && !strings.HasPrefix(t.Name(), "BenchmarkKube") {
		t.Fatalf("%s uses a cluster: its name must begin with TestKube, for make test-kube to run it", t.Name())
	}
	bins := locate(t)
	s.mu.Lock()
	holder := s.holder
	s.mu.Unlock()
	if holder != "" && strings.HasPrefix(t.Name(), holder+"/") {
		t.Fatalf("%s has the cluster already: use it, or start it in the subtests alone", holder)
	}
	s.using.Lock()
	t.Cleanup(s.using.Unlock)
	s.starting.Do(func() { s.cluster, s.err = start(bins) })
	if s.err != nil {
		t.Fatalf("starting a Kubernetes API server: %v", s.err)
	}
	s.hold(t.Name())
	t.Cleanup(func() {
		s.hold("")
		if err := s.cluster.reset(); err != nil {
			t.Errorf("clearing the cluster for the next test: %v", err)
		}
	})
	return s.cluster
}

func (s *Shared) hold(name string) {
	s.mu.Lock()
	s.holder = name
	s.mu.Unlock()
}

// Cluster is a running API server.
type Cluster struct {
	// Admin is a client certificate of group system:masters, which may do everything, without client-side throttling.
	Admin *rest.Config
	// Dynamic is Admin's client.
	Dynamic dynamic.Interface
	// Address is where the servers of tests listen: an address of this machine that the API takes as an endpoint.
	Address netip.Addr
	// StartTime is how long etcd and the API server took to be ready.
	StartTime time.Duration

	ca        *CA
	dir       string
	signals   chan os.Signal
	processes []*process
	discovery discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	metadata  metadata.Interface
	asNew     snapshot
	settled   int // how often settle was called; the tests take turns, so it needs no lock
}

type binaries struct{ etcd, apiserver string }

// locate finds what to run, or ends the test.
func locate(t testing.TB) binaries {
	t.Helper()
	required := os.Getenv(RequiredVar)
	if required == "0" {
		t.Skip("tests against a Kubernetes API server: make test-kube runs them")
	}
	missing := t.Skipf
	if required == "1" {
		missing = t.Fatalf
	}
	var b binaries
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	b.apiserver = filepath.Join(root, ".build", "bin", "kube-apiserver")
	if _, err := os.Stat(b.apiserver); err != nil {
		missing("no .build/bin/kube-apiserver: make test-kube builds it")
	}
	if b.etcd, err = exec.LookPath("etcd"); err != nil {
		missing("no etcd in PATH: Debian's package etcd-server has it")
	}
	return b
}

// repository is the folder above the working directory that has tools/kube.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "tools", "kube", "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("tools/kube/go.mod is in no folder above the working directory")
		}
		dir = up
	}
}

func start(b binaries) (*Cluster, error) {
	var err error
	for range startAttempts {
		var c *Cluster
		if c, err = startOnce(b); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func startOnce(b binaries) (_ *Cluster, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	c := &Cluster{}
	if c.Address, err = ownAddress(); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "kubetest-"); err != nil {
		return nil, err
	}
	c.removeOnSignal()
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	if c.ca, err = newCA("kubetest", false); err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	if err := c.runEtcd(ctx, b.etcd, ports[0], ports[1]); err != nil {
		return nil, err
	}
	if err := c.runAPIServer(ctx, b.apiserver, ports[0], ports[2]); err != nil {
		return nil, err
	}
	if err := c.connect(); err != nil {
		return nil, err
	}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	c.StartTime = time.Since(began)
	return c, nil
}

func (c *Cluster) connect() (err error) {
	if c.Dynamic, err = dynamic.NewForConfig(c.Admin); err != nil {
		return err
	}
	if c.metadata, err = metadata.NewForConfig(c.Admin); err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfig(c.Admin)
	if err != nil {
		return err
	}
	c.discovery = memory.NewMemCacheClient(d)
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(c.discovery)
	return nil
}

// prepare waits for the namespaces that the API server makes on its own, gives each the service account that pods run as, and
// remembers what a new cluster holds.
func (c *Cluster) prepare(ctx context.Context) error {
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		err := poll(ctx, "namespace "+name, func(ctx context.Context) error {
			_, err := c.Dynamic.Resource(namespaces).Get(ctx, name, getOptions)
			return err
		})
		if err != nil {
			return err
		}
		if err := c.ensureAccount(ctx, name, "default"); err != nil {
			return err
		}
	}
	// This service is the last thing that the API server makes.
	err := poll(ctx, "service kubernetes", func(ctx context.Context) error {
		_, err := c.Dynamic.Resource(services).Namespace("default").Get(ctx, "kubernetes", getOptions)
		return err
	})
	if err != nil {
		return err
	}
	c.asNew, err = c.snapshot(ctx)
	return err
}

// removeOnSignal removes the folder when the tests are interrupted. The servers die with this process.
func (c *Cluster) removeOnSignal() {
	c.signals = make(chan os.Signal, 1)
	signal.Notify(c.signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		sig, ok := <-c.signals
		if !ok {
			return
		}
		_ = os.RemoveAll(c.dir) // nothing better can be done about it
		signal.Reset(sig)
		_ = syscall.Kill(os.Getpid(), sig.(syscall.Signal)) // as it would have been without us
	}()
}

func (c *Cluster) stop() {
	signal.Stop(c.signals)
	close(c.signals)
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].kill()
	}
	_ = os.RemoveAll(c.dir) // a temporary folder; nobody reads it any more
}

// ownAddress is a global unicast IPv4 address of this machine: the API refuses endpoints at loopback and link-local addresses.
func ownAddress() (netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("this machine has no IPv4 address besides loopback; webhook servers need one (as root: ip address add 198.18.0.1/32 dev lo)")
}

// freePorts are n different ports that were free on loopback a moment ago.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // at the end, so that no port is given twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// poll asks until f succeeds, and says at the deadline what the last attempt said.
func poll(ctx context.Context, what string, f func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-tick.C:
		}
	}
}
