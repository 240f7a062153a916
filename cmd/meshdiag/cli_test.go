package main

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/lab"
)

// meshdiag runs the program in this process.
func meshdiag(t *testing.T, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	exit = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return exit, out.String(), errs.String()
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const grpcBootstrap = `{"xds_servers":[{"server_uri":"trafficdirector.googleapis.com:443","channel_creds":[{"type":"google_default"}],"server_features":["xds_v3"]}],
"node":{"id":"projects/482915067713/networks/mesh-vpc/nodes/9f1c","metadata":{"INSTANCE_IP":"10.0.0.2"},"locality":{"zone":"us-central1-a"}}}`

// Bad input gives one line that names the flag or file and what was expected, and exit status 2; a call that can't be made
// gives 4.
func TestBadInput(t *testing.T) {
	empty, binary := file(t, "empty.json", ""), file(t, "core.bin", "\x00\x01\x02\xff\xfe\x00\x00ELF\x00")
	huge := file(t, "huge.log", "")
	if err := os.Truncate(huge, 100<<20); err != nil { // sparse: 100 MiB of nothing
		t.Fatal(err)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := nobody.Addr().String()
	nobody.Close() // its port is free now: nobody answers there
	config := file(t, "config.yaml", "no-such-flag: 1\n")
	clusters := file(t, "kubeconfig", `{"apiVersion":"v1","kind":"Config","current-context":"prod","clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],
"contexts":[{"name":"prod","context":{"cluster":"c"}},{"name":"stage","context":{"cluster":"c"}}]}`)
	target := []string{"diagnose", "--project", "mesh-prod-4f2a", "--network", "mesh-vpc"}
	for _, tc := range []struct {
		name string
		args []string
		exit int
		want []string
	}{
		{"no target", []string{"diagnose"}, 2, []string{"--project", "-f"}},
		{"unknown context", []string{"diagnose", "--namespace", "shop", "--kubeconfig", clusters, "--context", "produ"}, 2, []string{"--context", `"produ"`, "prod, stage"}},
		{"kubeconfig that isn't there", []string{"diagnose", "--namespace", "shop", "--kubeconfig", "absent"}, 2, []string{"kubeconfig absent", "no such file"}},
		{"kubeconfig that is none", []string{"diagnose", "--namespace", "shop", "--kubeconfig", config}, 2, []string{"kubeconfig", "contexts"}},
		{"kubeconfig of another's", append(slices.Clone(target), "--server", "127.0.0.1:1", "--kubeconfig", clusters), 2, []string{"--kubeconfig", "--server"}},
		{"missing project", []string{"diagnose", "--network", "mesh-vpc"}, 2, []string{"--project", "project ID"}},
		{"missing network", []string{"diagnose", "--project", "mesh-prod-4f2a"}, 2, []string{"network or mesh is needed"}},
		{"network and mesh", append(target, "--mesh", "m"), 2, []string{"network and mesh exclude each other"}},
		{"bad project", []string{"diagnose", "--project", "Bad Project", "--network", "n"}, 2, []string{"--project", "project ID such as"}},
		{"bad network", []string{"diagnose", "--project", "mesh-prod-4f2a", "--network", "https://x/y"}, 2, []string{"--network", "VPC network's name"}},
		{"bad node id", append(target, "--node-id", "sidecar~10.0.0.1"), 2, []string{"--node-id", "projects/NUMBER/networks/NETWORK/nodes/ID"}},
		{"VM without zone", append(target, "--instance", "vm-1"), 2, []string{"--zone"}},
		{"zone without VM", append(target, "--zone", "us-central1-a"), 2, []string{"--instance"}},
		{"bad symptom", append(target, "--symptom", "slow"), 2, []string{"--symptom", "requests-fail"}},
		{"bad output", append(target, "-o", "xml"), 2, []string{"--output", "markdown"}},
		{"unknown flag", []string{"diagnose", "--projekt", "x"}, 2, []string{"--projekt"}},
		{"unknown command", []string{"diagnoze"}, 2, []string{"diagnoze"}},
		{"wrong type", append(target, "--timeout", "soon"), 2, []string{"--timeout", "soon"}},
		{"timeout too long", append(target, "--timeout", "1h"), 2, []string{"--timeout"}},
		{"deadline that can't be met", append(target, "--timeout", "1ns"), 2, []string{"--timeout"}},
		{"missing file", append(target, "-f", "/no/such/file.json"), 2, []string{"/no/such/file.json", "no such file"}},
		{"folder", append(target, "-f", t.TempDir()), 2, []string{"folder"}},
		{"empty file", []string{"diagnose", "-f", empty}, 2, []string{"empty.json", "is empty"}},
		{"two empty files", []string{"diagnose", "-f", empty, "-f", empty}, 2, []string{"empty.json: empty"}},
		{"binary file", []string{"diagnose", "-f", binary}, 2, []string{"core.bin", "binary"}},
		{"file that matches no kind", []string{"diagnose", "-f", file(t, "shop.json", `{"orders": [1, 2]}`)}, 2, []string{"shop.json", "not recognised"}},
		{"cut-off file", []string{"diagnose", "-f", file(t, "cut.json", grpcBootstrap[:200])}, 2, []string{"cut.json", "ends"}},
		{"100 MB file", []string{"diagnose", "-f", huge}, 2, []string{"huge.log", "100 MiB", "16"}},
		{"missing CA file", append(target, "--ca-file", "/no/ca.pem"), 2, []string{"/no/ca.pem"}},
		{"missing credentials", append(target, "--credentials-file", "/no/creds.json"), 2, []string{"/no/creds.json"}},
		{"bad credentials", append(target, "--credentials-file", file(t, "creds.json", "{}")), 2, []string{"creds.json", "type"}},
		{"bad DNS server", append(target, "--dns-server", "ns1.example.com"), 2, []string{"ns1.example.com", "IP:PORT"}},
		{"bad endpoint", append(target, "--traffic-director-endpoint", "nowhere"), 2, []string{"nowhere", "HOST:PORT"}},
		{"bad GCP endpoint", append(target, "--gcp-endpoint", "localhost"), 2, []string{"localhost", "base URL"}},
		{"bad range", append(target, "--control-plane-range", "10.0.0.1"), 2, []string{"--control-plane-range", "10.0.0.1"}},
		{"unreachable server", append(target, "--server", address), 4, []string{"no diagnosis", "connection refused"}},
		{"bad server", append(target, "--server", "nowhere"), 2, []string{"--server", "HOST:PORT"}},
		{"server and endpoints", append(target, "--server", address, "--ca-file", "x"), 2, []string{"--ca-file", "--server"}},
		{"unknown scenario", []string{"demo", "--scenario", "helthy"}, 2, []string{"helthy", "healthy"}},
		{"unknown check", []string{"checks", "config/none"}, 2, []string{"config/none"}},
		{"unknown key in the configuration file", append(target, "--config", config), 2, []string{"config.yaml", "no-such-flag"}},
		{"missing configuration file", append(target, "--config", "/no/config.yaml"), 2, []string{"/no/config.yaml"}},
		{"beyond loopback without TLS", []string{"serve", "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"}, 2, []string{"0.0.0.0:0", "--insecure"}},
		{"certificate without key", []string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--tls-cert", "x.pem"}, 2, []string{"key"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			exit, stdout, stderr := meshdiag(t, tc.args...)
			if exit != tc.exit {
				t.Errorf("exit status %d, want %d", exit, tc.exit)
			}
			if stdout != "" {
				t.Errorf("printed %q", stdout)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "meshdiag: ") {
				t.Errorf("standard error isn't one line: %q", stderr)
			}
			for _, w := range tc.want {
				if !strings.Contains(stderr, w) {
					t.Errorf("%q does not contain %q", stderr, w)
				}
			}
		})
	}
}

// A file that can't be used doesn't stop the others, and is named.
func TestUnusableFileBesideAGoodOne(t *testing.T) {
	exit, stdout, stderr := meshdiag(t, "diagnose", "-f", file(t, "boot.json", grpcBootstrap), "-f", file(t, "shop.json", `{"orders": []}`), "-f", file(t, "rules6.txt", ""))
	if exit != exitInconclusive || !strings.Contains(stdout, "shop.json") || !strings.Contains(stdout, "not recognised") || !strings.Contains(stdout, "rules6.txt was not used: empty") {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
}

func TestSettings(t *testing.T) {
	boot := file(t, "boot.json", grpcBootstrap)
	diagnoseFile := func() (int, string, string) { return meshdiag(t, "diagnose", "-f", boot) }

	t.Setenv("MESHDIAG_OUTPUT", "json")
	if _, out, errs := diagnoseFile(); !strings.HasPrefix(out, "{") {
		t.Errorf("the environment was not heeded: %s%s", out, errs)
	}
	if _, out, _ := meshdiag(t, "diagnose", "-f", boot, "-o", "yaml"); strings.HasPrefix(out, "{") || !strings.Contains(out, "verdict: ") {
		t.Errorf("a flag doesn't win over the environment: %s", out)
	}
	t.Setenv("MESHDIAG_OUTPUT", "xml")
	if exit, _, errs := diagnoseFile(); exit != exitUsage || !strings.Contains(errs, "xml") {
		t.Errorf("exit status %d: %s", exit, errs)
	}
	if err := os.Unsetenv("MESHDIAG_OUTPUT"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MESHDIAG_CONFIG", file(t, "c.yaml", "output: json\ncontrol-plane-range: [10.0.0.0/8, 192.168.0.0/16]\n"))
	if _, out, errs := diagnoseFile(); !strings.HasPrefix(out, "{") {
		t.Errorf("the configuration file was not heeded: %s%s", out, errs)
	}
	t.Setenv("MESHDIAG_TIMEOUT", "soon")
	if exit, _, errs := diagnoseFile(); exit != exitUsage || !strings.Contains(errs, "MESHDIAG_TIMEOUT") {
		t.Errorf("exit status %d: %s", exit, errs)
	}
}

func TestListings(t *testing.T) {
	exit, out, _ := meshdiag(t, "demo", "--list")
	all, err := lab.Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	if exit != 0 || strings.Count(out, "\n") != len(all) {
		t.Errorf("exit status %d, %d lines for %d scenarios", exit, strings.Count(out, "\n"), len(all))
	}
	for _, format := range []string{"text", "markdown", "json", "yaml"} {
		exit, out, errs := meshdiag(t, "checks", "-o", format)
		if exit != 0 {
			t.Errorf("checks -o %s: %s", format, errs)
		}
		one, text, errs := meshdiag(t, "checks", "config/network-mismatch", "-o", format)
		if one != 0 || !strings.Contains(text, "config/network-mismatch") {
			t.Errorf("checks config/network-mismatch -o %s: %s%s", format, text, errs)
		}
		for _, c := range checks.All() {
			if !strings.Contains(out, string(c.ID)) {
				t.Errorf("checks -o %s does not list %s", format, c.ID)
			}
		}
	}
}

// TestTextFitsTheScreen holds the text report to 100 columns, for every scenario; what a shell takes as one word can't be broken.
func TestTextFitsTheScreen(t *testing.T) {
	quoted := regexp.MustCompile(`'[^']*'`)
	for _, s := range scenarios(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			_, out, _ := meshdiag(t, "demo", "--scenario", s.Name, "-v")
			for _, line := range strings.Split(out, "\n") {
				if n := len([]rune(line)); n > 100 && strings.Contains(strings.TrimSpace(quoted.ReplaceAllString(line, "")), " ") && !strings.HasSuffix(line, `\`) {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

// TestCorpus gives every real file at hand to diagnose: each is recognised, and none tells a cause that isn't in it.
func TestCorpus(t *testing.T) {
	root := filepath.Join("..", "..", "..", "shared", "corpus")
	if _, err := os.Stat(root); err != nil {
		t.Skipf("the corpus of real files is not here: %v", err)
	}
	// What is truly in a file is found.
	want := map[string]string{"backendService-getHealth-unhealthy.json": "backend/fail-open"}
	for _, dir := range []string{"csds", "bootstrap", "gcp", "envoy", "iptables", "logs"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			t.Run(filepath.Base(path), func(t *testing.T) {
				exit, out, errs := meshdiag(t, "diagnose", "-o", "json", "-f", path)
				got := parse(t, []byte(out), exit)
				if cause := want[filepath.Base(path)]; cause != "" {
					if got.exit != exitCausesFound || len(got.causes) != 1 || got.causes[0] != cause {
						t.Errorf("%+v, want %s\n%s%s", got, cause, out, errs)
					}
				} else if got.exit != exitInconclusive || len(got.causes) > 0 {
					t.Errorf("%+v\n%s%s", got, out, errs)
				}
				if strings.Contains(out, "was not used") {
					t.Errorf("not recognised: %s", out)
				}
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
