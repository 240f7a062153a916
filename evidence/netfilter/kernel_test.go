//go:build linux

package netfilter_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/meshdiag/meshdiag/evidence/netfilter"
)

// These tests hold the evaluator to the kernel: a rule set is loaded with the real iptables into a network namespace, read
// back, and what is said of a connection is compared with what one does there. They need root, ip and iptables.
//
// Each namespace under test ("host") is joined to another ("peer") that has all addresses of 10.100.0.0/16 and fd01::/16
// and stands for the rest of the world. Both run this test's binary, listening.
const (
	hostAddr, hostSecond, hostAddr6 = "10.77.0.2", "10.77.0.3", "fd77::2"
	peerAddr, peerAddr6             = "10.77.0.1", "fd77::1"

	helperEnv = "NETFILTER_TEST_HELPER"

	// Where a connection is expected, this much time is given to it: any machine makes it in less. Where none is, so much
	// is waited for one that would prove the expectation wrong; it is below the first retry of a SYN, a second.
	patience   = 20 * time.Second
	impatience = 800 * time.Millisecond
)

var hostPorts, peerPorts = []uint16{22, 3306, 8080, 8081, 15001, 15002, 15006}, []uint16{80, 443, 3306, 8080}

// TestMain lets the binary be run again inside a namespace, as a server or a client.
func TestMain(m *testing.M) {
	mode, args, _ := strings.Cut(os.Getenv(helperEnv), " ")
	var err error
	switch mode {
	case "":
		os.Exit(m.Run())
	case "serve":
		err = serve(strings.Fields(args))
	case "dial":
		err = dial(strings.Fields(args))
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// serve listens on ports at all addresses, tells each client where it arrived, and ends with its standard input.
func serve(args []string) error {
	name := args[0]
	for _, port := range args[1:] {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			if port != "15006" {
				return nil
			}
			return c.Control(func(fd uintptr) { // a transparent proxy's
				const ipTransparent, ipv6Transparent = 19, 75
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_IP, ipTransparent, 1)
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_IPV6, ipv6Transparent, 1)
			})
		}}
		for _, network := range []string{"tcp4", "tcp6"} {
			l, err := lc.Listen(context.Background(), network, ":"+port)
			if err != nil {
				return err
			}
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					local := c.LocalAddr().(*net.TCPAddr)
					s := name + ":" + local.String()
					if strconv.Itoa(local.Port) != port {
						s += " by " + port
					}
					fmt.Fprintln(c, s)
					_ = c.Close()
				}
			}()
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// dial connects as a user and prints what came of it.
func dial(args []string) error {
	id, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(id), syscall.Setuid(id)); err != nil {
		return err
	}
	timeout, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	c, err := net.DialTimeout("tcp", args[1], timeout)
	var late net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		fmt.Println("refused")
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EACCES):
		fmt.Println("unreachable")
	case errors.As(err, &late) && late.Timeout():
		fmt.Println("timeout")
	case err != nil:
		return err
	default:
		_ = c.SetDeadline(time.Now().Add(timeout))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			return fmt.Errorf("connected, but: %w", err)
		}
		fmt.Print(line)
	}
	return nil
}

// bed is a pair of namespaces.
type bed struct {
	t          *testing.T
	host, peer string
}

var beds atomic.Int32

func run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := try(stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func try(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return string(out) + errs.String(), nil
}

// needKernel skips where namespaces or iptables can't be had.
func needKernel(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: rules can't be loaded into a kernel")
	}
	for _, tool := range []string{"ip", "iptables-nft-restore", "iptables-nft-save", "ip6tables-nft-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v: install iproute2 and iptables", err)
		}
	}
	name := fmt.Sprintf("nftest%d-probe", os.Getpid())
	if _, err := try("", "ip", "netns", "add", name); err != nil {
		t.Skipf("network namespaces can't be made here: %v", err)
	}
	defer try("", "ip", "netns", "del", name) //nolint:errcheck // the next run uses another name
	if _, err := try("", "ip", "netns", "exec", name, "iptables-nft", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-m", "owner", "--uid-owner", "1", "-j", "REDIRECT"); err != nil {
		t.Skipf("the kernel takes no rules here: %v", err)
	}
}

func haveLegacy(t *testing.T) bool {
	name := fmt.Sprintf("nftest%d-legacy", os.Getpid())
	run(t, "", "ip", "netns", "add", name)
	defer try("", "ip", "netns", "del", name) //nolint:errcheck // as above
	_, err := try("", "ip", "netns", "exec", name, "iptables-legacy", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT")
	if err != nil {
		t.Logf("the kernel has no legacy tables, which is half of this test: %v", err)
	}
	return err == nil
}

// newBed makes two joined namespaces with their servers.
func newBed(t *testing.T) *bed {
	n := beds.Add(1)
	b := &bed{t, fmt.Sprintf("nftest%d-%dh", os.Getpid(), n), fmt.Sprintf("nftest%d-%dp", os.Getpid(), n)}
	for _, ns := range []string{b.host, b.peer} {
		run(t, "", "ip", "netns", "add", ns)
		t.Cleanup(func() {
			if _, err := try("", "ip", "netns", "del", ns); err != nil {
				t.Error(err)
			}
		})
	}
	run(t, "", "ip", "-n", b.host, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.peer)
	// No duplicate address detection: an address can be used at once.
	b.ip(b.host, "addr add 127.0.0.1/8 dev lo", "link set lo up", "link set eth0 up",
		"addr add "+hostAddr+"/24 dev eth0", "addr add "+hostSecond+"/24 dev eth0", "addr add "+hostAddr6+"/64 dev eth0 nodad",
		"route add default via "+peerAddr, "route add default via "+peerAddr6)
	b.ip(b.peer, "link set lo up", "link set eth0 up", "addr add "+peerAddr+"/24 dev eth0", "addr add "+peerAddr6+"/64 dev eth0 nodad",
		"route add local 10.100.0.0/16 dev lo", "route add local fd01::/16 dev lo")
	b.serve(b.host, "host", hostPorts)
	b.serve(b.peer, "peer", peerPorts)
	return b
}

func (b *bed) ip(ns string, commands ...string) {
	b.t.Helper()
	for _, c := range commands {
		if _, err := try("", append([]string{"ip", "-n", ns}, strings.Fields(c)...)...); err != nil && !strings.Contains(err.Error(), "File exists") {
			b.t.Fatal(err)
		}
	}
}

func (b *bed) helper(ns string, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(b.t.Context(), "ip", "netns", "exec", ns, os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join(env, " "))
	return cmd
}

func (b *bed) serve(ns, name string, ports []uint16) {
	b.t.Helper()
	args := []string{"serve", name}
	for _, p := range ports {
		args = append(args, strconv.Itoa(int(p)))
	}
	cmd := b.helper(ns, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		b.t.Fatalf("the server in %s: %q, %v", ns, line, err)
	}
}

// load gives a rule set to the kernel, and reads it back in all forms.
func (b *bed) load(s ruleSet, backend string) {
	b.t.Helper()
	for tool, text := range map[string]string{"iptables": s.v4, "ip6tables": s.v6} {
		if text != "" {
			run(b.t, text, "ip", "netns", "exec", b.host, tool+"-"+backend+"-restore")
		}
	}
	for _, c := range s.setup {
		run(b.t, "", append([]string{"ip", "netns", "exec", b.host}, strings.Fields(c)...)...)
	}
}

// read gives the rules of a namespace as a tool prints them. All tables are asked for, so none is missing.
func (b *bed) read(backends []string, args ...string) Set {
	b.t.Helper()
	var sets []Set
	for _, backend := range backends {
		for _, tool := range []string{"iptables-" + backend, "ip6tables-" + backend} {
			if len(args) == 0 {
				sets = append(sets, b.parse(run(b.t, "", "ip", "netns", "exec", b.host, tool+"-save")))
				continue
			}
			for _, table := range []string{"raw", "mangle", "nat", "filter"} {
				command := append([]string{tool, "-t", table}, args...)
				text := run(b.t, "", append([]string{"ip", "netns", "exec", b.host}, command...)...)
				sets = append(sets, b.parse("$ "+strings.Join(command, " ")+"\n"+text))
			}
		}
	}
	out := Merge(sets...)
	out.Complete = map[Family]bool{IPv4: true, IPv6: true}
	return out
}

func (b *bed) parse(text string) Set {
	b.t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		b.t.Errorf("%v in\n%s", err, text)
	}
	return s
}

// connect makes a real connection and says what came of it.
func (b *bed) connect(q question, timeout time.Duration) string {
	ns := b.host
	if q.inbound {
		ns = b.peer
	}
	cmd := b.helper(ns, "dial", strconv.Itoa(q.uid), q.dst, timeout.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s (%v)", strings.TrimSpace(string(out)), err)
	}
	return strings.TrimSpace(string(out))
}

var testHost = Host{Interfaces: []Interface{{"lo", addrs("127.0.0.1", "::1")}, {"eth0", addrs(hostAddr, hostSecond, hostAddr6)}}}

func (q question) ask(s Set) Result {
	p := to(q.dst, q.uid)
	if !q.inbound {
		return s.Connect(testHost, Outbound, p)
	}
	p.UID, p.GID, p.InInterface, p.Source = NoID, NoID, "eth0", netip.MustParseAddr(peerAddr)
	if FamilyOf(p.Destination) == IPv6 {
		p.Source = netip.MustParseAddr(peerAddr6)
	}
	return s.Connect(testHost, Inbound, p)
}

// expect says what a connection does, if an answer is right: it depends on who listens there.
func expect(q question, r Result) string {
	who, ports := "peer", peerPorts
	if q.inbound && !r.Forwarded || r.To.Addr().IsLoopback() || slices.Contains(testHost.Interfaces[1].Addrs, r.To.Addr()) {
		who, ports = "host", hostPorts
	}
	switch r.Verdict {
	case Dropped:
		return "timeout"
	case Rejected:
		switch {
		case r.Reply:
			return "timeout"
		case r.With == "tcp-reset" || strings.HasSuffix(r.With, "port-unreachable"):
			return "refused"
		}
		return "unreachable"
	case Tproxied:
		return fmt.Sprintf("host:%s by %d", q.dst, r.To.Port())
	case Delivered, Redirected:
		if !slices.Contains(ports, r.To.Port()) {
			return "refused"
		}
		return who + ":" + r.To.String()
	}
	return "unknown"
}

func TestKernelAgrees(t *testing.T) {
	needKernel(t)
	backends := []string{"nft"}
	if haveLegacy(t) {
		backends = append(backends, "legacy")
	}
	for _, backend := range backends {
		for _, s := range ruleSets {
			t.Run(backend+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				b := newBed(t)
				b.load(s, backend)
				b.hold(s.questions, []string{backend})
			})
		}
	}
	if len(backends) < 2 {
		return
	}
	for _, first := range backends {
		t.Run("both backends, first "+first, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			second := backends[0]
			if second == first {
				second = backends[1]
			}
			b.load(redirectSome, first)
			b.load(dropSome, second)
			b.hold(bothQuestions, backends)
		})
	}
}

// hold asks each question of the rules, read back in each form, and of the kernel.
func (b *bed) hold(questions []question, backends []string) {
	t := b.t
	forms := map[string]Set{
		"save": b.read(backends), "-S": b.read(backends, "-S"),
		"-L -n -v": b.read(backends, "-L", "-n", "-v"), "-L -n -v --line-numbers": b.read(backends, "-L", "-n", "-v", "--line-numbers"),
	}
	short := b.read(backends, "-L", "-n")
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, q := range questions {
		for form, s := range forms {
			r := q.ask(s)
			if got := expect(q, r); got != q.want {
				t.Errorf("%v, read by %s: the evaluator says %q (%s), want %q\nwhy %q\nsteps %q", q, form, got, r.Outcome, q.want, r.Why, r.Steps)
			}
		}
		if r := q.ask(short); r.Verdict != Unknown && expect(q, r) != q.want {
			t.Errorf("%v, read without -v: the evaluator says %s, want %q or unknown", q, r.Outcome, q.want)
		}
		wg.Go(func() {
			timeout := patience
			if q.want == "timeout" {
				timeout = impatience
			}
			if got := b.connect(q, timeout); got != q.want {
				t.Errorf("%v: the kernel says %q, want %q", q, got, q.want)
			}
		})
	}
}
