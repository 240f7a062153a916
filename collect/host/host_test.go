package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/collect/host"
	"github.com/meshdiag/meshdiag/collect/probe"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// A real process with a real admin interface is recorded, the bundle is handed in, and every fact comes out of it.
func TestRoundTrip(t *testing.T) {
	accessLog := filepath.Join(t.TempDir(), "access.log")
	pid, port, _ := startEnvoy(t, accessLog)
	refused := refusing(t)
	b := record(t, host.Config{
		MetadataURL: metadataServer(t), Probe: probe.Config{Endpoint: refused}, Program: "meshdiag test",
		CommandPath: commands(t, map[string]string{"iptables-nft-save": cat(saved), "ip6tables-nft-save": "true", "iptables-legacy-save": "true", "ip6tables-legacy-save": "true"}),
	})
	for _, f := range b.Files {
		if bytes.Contains(f.Data, []byte(secret)) {
			t.Errorf("%s holds the secret", f.Name)
		}
	}
	v, files := facts(t, b)
	if files[0].Kind != string(bundle.KindManifest) || !strings.Contains(files[0].Note, "recorded on ") {
		t.Errorf("%+v", files[0])
	}
	for _, f := range files {
		if !f.Used && !strings.HasSuffix(f.Name, "certs.json") && !strings.HasSuffix(f.Name, "init_dump.json") {
			t.Errorf("not used: %+v", f)
		}
	}

	processes := get(t, v, evidence.Processes)[0]
	i := slices.IndexFunc(processes.List, func(p evidence.Process) bool { return p.PID == pid })
	if i < 0 {
		t.Fatal("Envoy's process is missing")
	}
	if p := processes.List[i]; p.Command != "envoy" && !strings.Contains(p.Args, "/envoy -c") || p.UID != os.Geteuid() || p.Started.IsZero() || time.Since(p.Started) > time.Hour || !strings.HasSuffix(p.Args, "--api-key [redacted]") {
		t.Errorf("%+v", p)
	}
	sockets := get(t, v, evidence.Sockets)[0]
	if !slices.ContainsFunc(sockets.List, func(s evidence.Socket) bool {
		return s.Port == port && s.PID == pid && s.Address == "127.0.0.1" && s.UID == os.Geteuid()
	}) || !sockets.Whole {
		t.Errorf("no socket of Envoy's in %+v", sockets)
	}
	rules := get(t, v, evidence.PacketRules)
	if len(rules) != 1 || rules[0].Set.Rules() != 2 || len(rules[0].Set.Find(netfilter.IPv4, "nat")) != 1 || rules[0].Problem != "" {
		t.Errorf("%+v", rules)
	}
	if os.Geteuid() == 0 && (!rules[0].Set.Complete[netfilter.IPv4] || !rules[0].Set.Complete[netfilter.IPv6]) {
		t.Errorf("not complete: %+v", rules[0])
	}
	if d := get(t, v, evidence.EnvoyDumps); len(d) != 1 || d[0].Dump == nil || d[0].Problem != "" {
		t.Errorf("%+v", d)
	}
	if s := get(t, v, evidence.EnvoyInfos); len(s) != 1 || s[0].Info.State != "LIVE" || s[0].Info.Node.ID != "projects/123/networks/mesh-vpc/nodes/x" {
		t.Errorf("%+v", s)
	}
	get(t, v, evidence.EnvoyHosts)
	get(t, v, evidence.EnvoyListeners)
	get(t, v, evidence.EnvoyStats)
	kinds := map[evidence.BootstrapKind]bool{}
	for _, x := range get(t, v, evidence.Bootstraps) {
		kinds[x.Kind] = true
	}
	if !kinds[evidence.EnvoyBootstrap] || !kinds[evidence.GRPCBootstrap] || !kinds[evidence.SidecarEnvFile] {
		t.Errorf("bootstraps %v", kinds)
	}
	if a := get(t, v, evidence.PathAccesses); len(a) != 1 || a[0].Path != accessLog || !a[0].Writable || a[0].Unknown {
		t.Errorf("%+v", a)
	}
	if m := get(t, v, evidence.LogMessages); len(m) != 1 || m[0].Fields["code"] != "7" {
		t.Errorf("%+v", m)
	}
	id := get(t, v, evidence.Identities)[0]
	if id.Zone != "us-central1-b" || id.Instance != "frontend-vm" || id.InstanceID != "5524086711907384471" || id.Address != netip.MustParseAddr("10.128.0.5") {
		t.Errorf("%+v", id)
	}
	if r := get(t, v, evidence.Recordings); len(r) != 1 || r[0].File != "bundle.tar.gz" || r[0].Identity.Instance != "frontend-vm" || !r[0].Taken.Equal(b.Manifest.Taken) || r[0].ClockKnown ||
		!slices.Contains(r[0].NodeIDs, "projects/123/networks/mesh-vpc/nodes/x") || rules[0].Source.Recording != r[0].File {
		t.Errorf("%+v", r)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil || own != fmt.Sprintf("net:[%d]", processes.Network) || processes.Belongs(processes.List[i]) != evidence.Here {
		t.Errorf("network %d, that of Envoy %d, mine %s, error %v", processes.Network, processes.List[i].Network, own, err)
	}
	if l := get(t, v, evidence.Interfaces); len(l) != 1 || !slices.ContainsFunc(l[0].List, func(i evidence.Interface) bool {
		return i.Name == "lo" && i.Loopback && i.Up && slices.Contains(i.Addresses, netip.MustParsePrefix("127.0.0.1/8"))
	}) {
		t.Errorf("%+v", l)
	}
	if id.Number != "123" || id.Project != "mesh-prod" || id.Email != "sa@mesh-prod.iam.gserviceaccount.com" || len(id.Scopes) != 2 {
		t.Errorf("%+v", id)
	}
	tcp := get(t, v, evidence.TCPProbe)
	if len(tcp) != 1 || tcp[0].Outcome != evidence.TCPRefused || tcp[0].Address != refused || tcp[0].Source.Vantage != evidence.FromWorkload || !tcp[0].Source.Pasted || !tcp[0].Source.Time.Equal(b.Manifest.Taken) {
		t.Errorf("%+v", tcp)
	}
	if _, err := evidence.Get(v, evidence.TLSProbe); err == nil || !strings.Contains(err.Error(), "takes a connection") {
		t.Errorf("the TLS probe that couldn't be made: %v", err)
	}
}

// What can't be read is said, and is failed in the facts: never empty.
func TestUnread(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "proc/42/cmdline"), "/usr/bin/envoy\x00--config-path\x00/etc/envoy/missing.yaml\x00")
	put(t, filepath.Join(root, "proc/42/status"), "Name:\tenvoy\nUid:\t101\t101\t101\t101\nGid:\t101\t101\t101\t101\nGroups:\t4 \nCapEff:\t0000000000000000\n")
	put(t, filepath.Join(root, "proc/42/stat"), "42 (en) voy) S 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 5000 1 1\n")
	put(t, filepath.Join(root, "proc/stat"), "cpu 1\nbtime 1700000000\n")
	put(t, filepath.Join(root, "proc/sys/kernel/hostname"), "vm-1\n")
	put(t, filepath.Join(root, "proc/self/net/ip_tables_names"), "nat\n")
	put(t, filepath.Join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nenvoy:x:101:101::/:/bin/false\n")
	b := record(t, host.Config{Root: root, AdminPorts: []int{port(t, refusing(t))}, CommandPath: commands(t, map[string]string{
		"iptables-nft-save": "echo 'Could not fetch rule set generation id: Permission denied (you must be root)' >&2; exit 4", "ip6tables-nft-save": "exit 1"})})
	if b.Manifest.Hostname != "vm-1" {
		t.Errorf("host %q", b.Manifest.Hostname)
	}
	for name, reason := range map[string]string{
		bundle.ItemSockets: "tcp", bundle.ItemRules: "you must be root", bundle.ItemBootstrap: "missing.yaml", bundle.ItemEnvoyAccess: "connection refused", bundle.ItemIdentity: "connection refused",
	} {
		if i := item(t, b, name); i.Status != bundle.Unread || !strings.Contains(i.Reason, reason) {
			t.Errorf("%+v", i)
		}
	}
	v, files := facts(t, b)
	if !strings.Contains(files[0].Note, "packet rules: not read") {
		t.Errorf("%+v", files[0])
	}
	for name, err := range map[string]error{
		"sockets": missing(v, evidence.Sockets), "rules": missing(v, evidence.PacketRules), "bootstrap": missing(v, evidence.Bootstraps),
		"dump": missing(v, evidence.EnvoyDumps), "identity": missing(v, evidence.Identities),
	} {
		if err == nil || !strings.Contains(err.Error(), "could not be read") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := get(t, v, evidence.Processes)[0].List[0]
	want := evidence.Process{PID: 42, User: "envoy", UID: 101, GID: 101, Command: "envoy", Args: "/usr/bin/envoy --config-path /etc/envoy/missing.yaml", Started: time.Unix(1700000050, 0).UTC()}
	if p != want {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
}

func port(t *testing.T, address string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func missing[T any](v *evidence.View, k evidence.Key[T]) error {
	_, err := evidence.Get(v, k)
	return err
}

// Whatever listens on a usual admin port and is no Envoy is asked one question, and not recorded.
func TestOtherServiceOnTheAdminPort(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; fmt.Fprint(w, "hello "+secret) }))
	defer s.Close()
	root := t.TempDir()
	put(t, filepath.Join(root, "proc/7/cmdline"), "sleep\x001\x00")
	b := record(t, host.Config{Root: root, AdminPorts: []int{port(t, s.Listener.Addr().String())}, CommandPath: []string{t.TempDir()}})
	if i := item(t, b, bundle.ItemEnvoyAccess); i.Status != bundle.Absent || !strings.Contains(i.Reason, "no Envoy's admin interface") || asked != 1 {
		t.Errorf("asked %d times: %+v", asked, i)
	}
}

// A command that prints without end is killed once it printed too much, and what it started with it; so is one that hangs,
// when its time is over.
func TestBoundedCommands(t *testing.T) {
	root, fifo := t.TempDir(), filepath.Join(t.TempDir(), "held")
	put(t, filepath.Join(root, "proc/7/cmdline"), "sleep\x001\x00")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Every process that the command starts holds the pipe: once its end is seen, all of them are gone.
	ended := make(chan error, 1)
	go func() {
		f, err := os.Open(fifo)
		if err == nil {
			_, err = io.Copy(io.Discard, f)
		}
		ended <- err
	}()
	hold := "exec 9>" + fifo + "; "
	b := record(t, host.Config{Root: root, Timeout: time.Minute, CommandPath: commands(t, map[string]string{
		"iptables-nft-save": hold + "sleep 1000 & trap '' PIPE; yes", "ip6tables-nft-save": hold + "sleep 1000 &"})})
	i := item(t, b, bundle.ItemRules)
	if i.Status != bundle.Unread || !strings.Contains(i.Reason, "iptables-nft-save: prints more than 4 MiB: stopped, and not used") {
		t.Errorf("%+v", i)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	b = record(t, host.Config{Root: root, Timeout: 2 * time.Second, CommandPath: commands(t, map[string]string{"iptables-nft-save": "sleep 1000", "ip6tables-nft-save": "sleep 1000 & wait"})})
	if i := item(t, b, bundle.ItemRules); i.Status != bundle.Unread || !strings.Contains(i.Reason, "ip6tables-nft-save: no answer") {
		t.Errorf("%+v", i)
	}
}

// An Envoy in a container isn't taken for the host's, and one whose network only root may see isn't either.
func TestNetworks(t *testing.T) {
	const here, container = "net:[4026531840]", "net:[4026532217]"
	for _, tc := range []struct {
		name     string
		networks map[int]string // of Envoys by process; "" where the link can't be read
		reason   string         // that the rules aren't those of the proxies
	}{
		{"the host's", map[int]string{42: here}, ""},
		{"the host's, and a container's", map[int]string{42: container, 43: here}, ""},
		{"a container's", map[int]string{42: container}, "Envoy (process 42) has a network of its own"},
		{"not root", map[int]string{42: ""}, "whether Envoy (process 42) has this network can't be told: needs root"},
		{"a container with the host's network and processes of its own", map[int]string{42: here}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			link := func(name, to string) {
				put(t, filepath.Join(root, filepath.Dir(name), ".keep"), "")
				if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
					t.Fatal(err)
				}
			}
			link("proc/self/ns/net", here)
			link("proc/self/ns/pid", "pid:[4026531836]")
			put(t, filepath.Join(root, "proc/self/net/tcp"), "  sl\n")
			for pid, network := range tc.networks {
				dir := fmt.Sprintf("proc/%d/", pid)
				put(t, filepath.Join(root, dir+"cmdline"), "/usr/bin/envoy\x00")
				link(dir+"ns/pid", "pid:[4026532999]")
				if network != "" {
					link(dir+"ns/net", network)
				}
			}
			b := record(t, host.Config{Root: root, AdminPorts: []int{port(t, refusing(t))}, CommandPath: commands(t, map[string]string{"iptables-nft-save": cat(saved), "ip6tables-nft-save": "true"})})
			for _, name := range []string{bundle.ItemRules, bundle.ItemSockets} {
				i := item(t, b, name)
				if !strings.Contains(i.Reason, tc.reason) || (tc.reason == "") != (i.Status == bundle.Read) {
					t.Errorf("%+v", i)
				}
			}
			v, _ := facts(t, b)
			l := get(t, v, evidence.Processes)[0]
			for _, p := range l.List {
				want := map[string]evidence.Belonging{here: evidence.Here, container: evidence.Elsewhere, "": evidence.Unclear}[tc.networks[p.PID]]
				if got := l.Belongs(p); got != want {
					t.Errorf("process %d: %d, want %d", p.PID, got, want)
				}
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	r, err := host.New(host.Config{Root: t.TempDir(), Probe: probe.Config{Endpoint: refusing(t)}, MetadataURL: "http://" + refusing(t), CommandPath: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Record(ctx); err == nil {
		t.Error("a recording that was ended is given out as one")
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []host.Config{{MetadataURL: "metadata"}, {AdminPorts: []int{70000}}, {Probe: probe.Config{Endpoint: "nowhere"}}} {
		if _, err := host.New(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}

// The documents say their kind first: one that is cut off is still known for what it was.
func TestKindsComeFirst(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "proc/7/cmdline"), "sleep\x001\x00")
	for _, f := range record(t, host.Config{Root: root, CommandPath: []string{t.TempDir()}}).Files {
		if strings.HasSuffix(f.Name, ".json") && !bytes.HasPrefix(f.Data, []byte("{\n \"kind\": \"meshdiag-")) {
			t.Errorf("%s begins %.40q", f.Name, f.Data)
		}
		var head bundle.Head
		if strings.HasSuffix(f.Name, ".json") && (json.Unmarshal(f.Data, &head) != nil || !slices.Contains(bundle.Kinds(), head.Kind)) {
			t.Errorf("%s: %+v", f.Name, head)
		}
	}
}
