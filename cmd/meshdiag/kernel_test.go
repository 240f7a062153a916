//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// These tests hold the whole way, from the recording to the causes, to the kernel: rules are loaded with the real iptables
// into a network namespace in which a proxy and an application listen, a recording made there is diagnosed, and what
// is found is compared with what a connection does there. They need root, iproute2 and iptables.
//
// The namespace ("host") is joined to another ("peer") that has the mesh's addresses and the control plane's.
const (
	hostAddress, peerAddress = "10.77.0.2", "10.77.0.1"
	meshVIP                  = "10.100.0.1:80"
	// controlPlane is one of the addresses of private.googleapis.com.
	controlPlane = "199.36.153.8:443"
	// nowhere is an address for documentation, by RFC 5737, to which the namespace has no route: it is told at once.
	nowhere = "192.0.2.1:443"

	// roleEnv makes the test binary a server or a client in a namespace.
	roleEnv = "MESHDIAG_TEST_ROLE"

	// atOnce keeps a process with the race detector from waiting a second at its end.
	atOnce = "GORACE=atexit_sleep_ms=0"

	// Where a connection is expected, this much time is given to it: any machine makes it in less. Where none is, so much
	// is waited for one that would prove the expectation wrong; it is below the first retry of a SYN, a second.
	patience   = 20 * time.Second
	impatience = 500 * time.Millisecond

	appUser, istioUser, otherUser = 1000, 1337, 1006
)

// playRole says whether this process was another's server or client.
func playRole() bool {
	args := strings.Fields(os.Getenv(roleEnv))
	if len(args) == 0 {
		return false
	}
	id, err := strconv.Atoi(args[1])
	switch {
	case err != nil:
	case args[0] == "serve":
		err = serveAs(id, args[2], args[3:])
	case args[0] == "vm":
		err = serveVM(args[2:])
	default:
		err = dialAs(id, args[2], args[3])
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return true
}

// become makes this process a user's.
func become(id int) error {
	return errors.Join(syscall.Setgroups(nil), syscall.Setgid(id), syscall.Setuid(id))
}

// serveAs listens at addresses, tells each client who answered, and ends with its standard input.
func serveAs(id int, name string, addresses []string) error {
	for _, a := range addresses {
		l, err := net.Listen("tcp4", a)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, name)
				_ = c.Close()
			}
		}()
	}
	if err := become(id); err != nil { // after it bound low ports
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// serveVM is a VM's metadata server, and its Envoy's admin interface.
func serveVM(addresses []string) error {
	for i, h := range []http.Handler{metadata("frontend-vm"), envoyAdmin()} {
		l, err := net.Listen("tcp4", addresses[i])
		if err != nil {
			return err
		}
		go func() { _ = http.Serve(l, h) }() // #nosec G114 -- of a test
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// dialAs connects as a user and prints what came of it.
func dialAs(id int, address, limit string) error {
	timeout, err := time.ParseDuration(limit)
	if err = errors.Join(err, become(id)); err != nil {
		return err
	}
	c, err := net.DialTimeout("tcp", address, timeout)
	var late net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		fmt.Println("refused")
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

// world is the pair of namespaces.
type world struct {
	host, peer string
	inside     string // the process whose namespaces, of processes too, those of the host have; "" before it runs
	folder     string // of links to the test binary, by the names that processes have
}

func runTool(stdin string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// newWorld skips where namespaces or rules can't be made.
func newWorld(t *testing.T) *world {
	if os.Getuid() != 0 {
		t.Skip("not root: rules can't be loaded into a kernel")
	}
	for _, tool := range []string{"ip", "iptables", "iptables-restore", "iptables-save", "unshare", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v: install iproute2, iptables and util-linux", err)
		}
	}
	w := &world{host: fmt.Sprintf("mdtest%d-h", os.Getpid()), peer: fmt.Sprintf("mdtest%d-p", os.Getpid()), folder: t.TempDir()}
	for _, ns := range []string{w.host, w.peer} {
		if err := runTool("", "ip", "netns", "add", ns); err != nil {
			t.Skipf("network namespaces can't be made here: %v", err)
		}
		t.Cleanup(func() {
			if err := runTool("", "ip", "netns", "del", ns); err != nil {
				t.Error(err)
			}
		})
	}
	if err := runTool("", "ip", "netns", "exec", w.host, "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-m", "owner", "--uid-owner", "1", "-j", "REDIRECT"); err != nil {
		t.Skipf("the kernel takes no rules here: %v", err)
	}
	for _, c := range []string{
		"-n " + w.host + " link add eth0 type veth peer name eth0 netns " + w.peer,
		"-n " + w.host + " link set lo up", "-n " + w.host + " link set eth0 up", "-n " + w.host + " addr add " + hostAddress + "/24 dev eth0",
		"-n " + w.peer + " link set lo up", "-n " + w.peer + " link set eth0 up", "-n " + w.peer + " addr add " + peerAddress + "/24 dev eth0",
		"-n " + w.host + " route add 10.100.0.0/16 via " + peerAddress, "-n " + w.host + " route add 199.36.153.0/24 via " + peerAddress,
		"-n " + w.peer + " route add local 10.100.0.0/16 dev lo", "-n " + w.peer + " route add local 199.36.153.0/24 dev lo",
	} {
		if err := runTool("", append([]string{"ip"}, strings.Fields(c)...)...); err != nil {
			t.Fatal(err)
		}
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"envoy", "app", "peer", "client"} {
		if err := os.Symlink(binary, filepath.Join(w.folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// as makes a process with a name in a namespace.
func (w *world) as(t *testing.T, ns, name string, role ...string) *exec.Cmd {
	enter := []string{"ip", "netns", "exec", ns}
	switch {
	case ns == w.host && w.inside == "":
		// Envoys elsewhere on this machine are none of the host's: it has its own processes.
		enter = append(enter, "unshare", "--fork", "--pid", "--kill-child", "--mount-proc")
	case ns == w.host:
		enter = w.enter()
	}
	enter = append(enter, filepath.Join(w.folder, name))
	cmd := exec.Command(enter[0], enter[1:]...)
	cmd.Env = append(os.Environ(), atOnce, roleEnv+"="+strings.Join(role, " "))
	return cmd
}

func (w *world) enter() []string { return []string{"nsenter", "-t", w.inside, "-n", "-p", "-m"} }

// serve runs a server until the test ends.
func (w *world) serve(t *testing.T, ns, name string, uid int, addresses ...string) {
	t.Helper()
	w.play(t, ns, name, append([]string{"serve", strconv.Itoa(uid), name}, addresses...)...)
}

// play runs a role until the test ends.
func (w *world) play(t *testing.T, ns, name string, role ...string) {
	t.Helper()
	cmd := w.as(t, ns, name, role...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the server %s: %q, %v", name, line, err)
	}
	if ns == w.host && w.inside == "" {
		child, err := onlyChild(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		w.inside = strconv.Itoa(child)
	}
}

// load gives the kernel one rule set in place of all others.
func (w *world) load(t *testing.T, rules string) {
	t.Helper()
	const none = "*raw\nCOMMIT\n*mangle\nCOMMIT\n*nat\nCOMMIT\n*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"
	for _, text := range []string{none, rules} {
		if err := runTool(text, "ip", "netns", "exec", w.host, "iptables-restore"); err != nil {
			t.Fatal(err)
		}
	}
}

// connect makes a connection and gives who answered it, or how it failed.
func (w *world) connect(t *testing.T, ns string, uid int, to string, timeout time.Duration) string {
	out, err := w.as(t, ns, "client", "dial", strconv.Itoa(uid), to, timeout.String()).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s (%v)", strings.TrimSpace(string(out)), err)
	}
	return strings.TrimSpace(string(out))
}

// record runs collect in the namespace.
func (w *world) record(t *testing.T) string {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if out, err := w.program(t, "collect", "-o", bundle,
		"--traffic-director-endpoint", nowhere, "--metadata-server", "http://127.0.0.1:1", "--admin-port", "1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bundle
}

// program makes a command that runs the program in the host's namespace.
func (w *world) program(t *testing.T, args ...string) *exec.Cmd {
	all := append(append(w.enter(), os.Args[0]), args...)
	cmd := exec.CommandContext(t.Context(), all[0], all[1:]...)
	cmd.Env = append(os.Environ(), atOnce, asProgram+"=1")
	// nsenter waits for the program, which is its child, and passes no signals on.
	cmd.Cancel = func() error {
		child, err := onlyChild(cmd.Process.Pid)
		if err != nil {
			return errors.Join(err, cmd.Process.Kill())
		}
		return syscall.Kill(child, syscall.SIGTERM)
	}
	return cmd
}

// onlyChild gives the child of a process that has one.
func onlyChild(pid int) (int, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0, err
	}
	if len(strings.Fields(string(children))) != 1 {
		return 0, fmt.Errorf("process %d has the children %q; one was expected", pid, children)
	}
	return strconv.Atoi(strings.TrimSpace(string(children)))
}

// start runs the program in the host's namespace until the test ends, and gives the first line of its output, or of its log,
// with a mark.
func (w *world) start(t *testing.T, mark string, args ...string) string {
	t.Helper()
	cmd := w.program(t, args...)
	r, wr := io.Pipe()
	cmd.Stdout, cmd.Stderr = wr, wr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = wr.CloseWithError(cmd.Wait()); close(done) }()
	t.Cleanup(func() { <-done }) // the test's context has ended by then
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, mark) {
			go func() { _, _ = io.Copy(io.Discard, lines) }()
			return line
		}
		if err != nil {
			t.Fatalf("%v printed no line with %q: %v", args, mark, err)
		}
	}
}

// TestHealthyFromAVM records a VM of the lab in a namespace, with real rules, and has it diagnosed at once: what the APIs and
// the recording show together is all that counts.
func TestHealthyFromAVM(t *testing.T) {
	w := newWorld(t)
	w.serve(t, w.host, "envoy", istioUser, ":15001")
	w.play(t, w.host, "app", "vm", "0", "127.0.0.1:8080", "127.0.0.1:15000")
	w.load(t, byHand("10.128.4.0/24"))
	flags := strings.Fields(w.start(t, "--traffic-director-endpoint", "lab", "--scenario", "vm-well"))
	_, conn := split(flags)
	line := w.start(t, `"msg":"serving"`, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, conn...)...)
	var entry struct{ Address string }
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	collect := func(args ...string) (int, string) {
		cmd := w.program(t, append([]string{"collect", "--metadata-server", "http://127.0.0.1:8080", "--format", "json"}, args...)...)
		out, err := cmd.CombinedOutput()
		var ended *exec.ExitError
		if err != nil && !errors.As(err, &ended) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	for name, args := range map[string][]string{
		"diagnosed here": append([]string{"--diagnose", "--destination", "10.128.4.7:50051"}, flags...),
		"sent":           append([]string{"--send", entry.Address}, flags...), // the recorder probes by the same flags
	} {
		if exit, out := collect(args...); exit != exitHealthy || !strings.Contains(out, "VERDICT_HEALTHY") {
			t.Errorf("%s: exit status %d\n%s", name, exit, out)
		}
	}
	// A VM that isn't the one asked about shows nothing of it.
	other := slices.Clone(flags)
	other[slices.Index(other, "--instance")+1] = "frontend-vm-2"
	if exit, out := collect(append([]string{"--diagnose"}, other...)...); exit == exitHealthy || !strings.Contains(out, "was recorded on VM us-central1-a/frontend-vm of project mesh-prod-4f2a") {
		t.Errorf("exit status %d\n%s", exit, out)
	}
	// What the rules do is still held against them.
	w.load(t, "")
	if exit, out := collect(append([]string{"--diagnose"}, flags...)...); exit != exitCausesFound || !strings.Contains(out, notTaken) {
		t.Errorf("exit status %d\n%s", exit, out)
	}
}

// TestKernelAgrees holds the causes that are found to what connections do.
func TestKernelAgrees(t *testing.T) {
	w := newWorld(t)
	w.serve(t, w.peer, "peer", appUser, ":80", ":443", ":8080")
	w.serve(t, w.host, "app", appUser, ":22", ":8080")
	for _, s := range hostSetups {
		t.Run(s.name, func(t *testing.T) {
			if s.listens == nil {
				s.listens = []string{":15001", ":15006"}
			}
			if s.user == 0 {
				s.user = istioUser
			}
			w.serve(t, w.host, "envoy", s.user, s.listens...)
			w.load(t, s.rules)

			args, ns, to := []string{"--destination", meshVIP}, w.host, meshVIP
			if s.serving != 0 {
				port := strconv.Itoa(s.serving)
				args, ns, to = []string{"--serving-port", port}, w.peer, net.JoinHostPort(hostAddress, port)
			}
			exit, stdout, stderr := meshdiag(t, append([]string{"diagnose", "-o", "json", "-f", w.record(t)}, args...)...)
			var r pb.Report
			if err := protojson.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatalf("exit status %d, %v: %s%s", exit, err, stdout, stderr)
			}
			var got []string
			for _, c := range r.GetCauses() {
				if id := c.GetCheckId(); strings.HasPrefix(id, "traffic/") || id == loop {
					got = append(got, id)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, s.causes) {
				t.Errorf("found %q, want %q\n%s", got, s.causes, stdout)
			}

			timeout := patience
			if s.ends == "timeout" {
				timeout = impatience
			}
			if got := w.connect(t, ns, appUser, to, timeout); got != s.ends {
				t.Errorf("a connection to %s: %q, want %q", to, got, s.ends)
			}
			// What the proxy itself sends to the control plane arrives there, or comes back to it where a loop is found.
			ends := "peer"
			if slices.Contains(got, loop) {
				ends = "envoy"
			}
			if got := w.connect(t, w.host, s.user, controlPlane, patience); got != ends {
				t.Errorf("the proxy's connection to the control plane: %q, want %q", got, ends)
			}
		})
	}
}
