package probe

import (
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

func TestTCPPerAddress(t *testing.T) {
	p := rawServer(t, func(c net.Conn) { _ = c.Close() }) // only connecting counts
	got, err := evidence.Get(run(t, prober(t, p, nil, func(c *Config) {
		c.Resolvers = []string{dnsServer(t, addresses("127.0.0.1", "127.0.0.9")), dnsServer(t, addresses("127.0.0.1"))}
	}), "probe/dns", "probe/tcp"), evidence.TCPProbe)
	if err != nil || len(got) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got[0].Address != "127.0.0.1:"+p || got[0].Outcome != evidence.TCPConnected || got[0].Host != name {
		t.Errorf("got %+v", got[0])
	}
	if got[1].Address != "127.0.0.9:"+p || got[1].Outcome != evidence.TCPRefused || got[1].Err == "" {
		t.Errorf("got %+v", got[1])
	}
}

// TestTCPTimeout connects to a listener whose queue is full: Linux drops further SYNs.
func TestTCPTimeout(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) }) // the test is over
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(sa.(*syscall.SockaddrInet4).Port)
	full := false
	for range 64 {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 100*time.Millisecond)
		if err != nil {
			full = true
			break
		}
		t.Cleanup(func() { _ = c.Close() }) // only held to fill the queue
	}
	if !full {
		t.Fatal("the queue does not fill")
	}
	p, err := New(Config{Endpoint: "127.0.0.1:" + port, TCPTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	view := run(t, p)
	got, err := evidence.Get(view, evidence.TCPProbe)
	if err != nil || len(got) != 1 || got[0].Outcome != evidence.TCPTimeout {
		t.Fatalf("got %+v, %v", got, err)
	}
	var m *evidence.Missing
	if _, err := evidence.Get(view, evidence.DNSProbe); !errors.As(err, &m) || m.Why != evidence.NotAsked {
		t.Errorf("an address was looked up: %v", err)
	}
	for _, k := range []evidence.Key[[]evidence.CallResult]{evidence.RESTProbe, evidence.GRPCProbe} {
		if _, err := evidence.Get(view, k); !errors.As(err, &m) || m.Why != evidence.Failed {
			t.Errorf("%s is known without a connection: %v", k.Name(), err)
		}
	}
}

func TestTCPWithoutAnAddress(t *testing.T) {
	view := run(t, prober(t, "443", nil, func(c *Config) { c.Resolvers = []string{dnsServer(t, addresses())} }))
	var m *evidence.Missing
	if _, err := evidence.Get(view, evidence.TCPProbe); !errors.As(err, &m) || m.Why != evidence.Failed {
		t.Errorf("got %v", err)
	}
}

func TestTCPOutcome(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want evidence.TCPOutcome
	}{
		{syscall.ECONNREFUSED, evidence.TCPRefused},
		{syscall.EHOSTUNREACH, evidence.TCPUnreachable},
		{syscall.ENETUNREACH, evidence.TCPUnreachable},
		{syscall.ETIMEDOUT, evidence.TCPTimeout},
		{os.ErrDeadlineExceeded, evidence.TCPTimeout},
		{syscall.EPERM, evidence.TCPFailed},
	} {
		err := &net.OpError{Op: "dial", Net: "tcp", Err: tt.err}
		if errno, ok := tt.err.(syscall.Errno); ok {
			err.Err = os.NewSyscallError("connect", errno)
		}
		if got := outcome(err); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.err, got, tt.want)
		}
	}
}
