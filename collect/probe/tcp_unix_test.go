//go:build unix

package probe

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

// TestTCPTimeout connects to a listener whose queue is full: Linux drops further SYNs.
func TestTCPTimeout(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
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
