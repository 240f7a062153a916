package probe

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

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
		if errno := syscall.Errno(0); errors.As(tt.err, &errno) {
			err.Err = os.NewSyscallError("connect", errno)
		}
		if got := outcome(err); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.err, got, tt.want)
		}
	}
}
