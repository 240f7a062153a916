package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorded makes a recording of a folder that stands for a host, and gives the flags that keep it from asking anyone beyond.
func recorded(t *testing.T) (root string, flags []string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range map[string]string{
		"proc/42/cmdline": "/usr/bin/envoy\x00-c\x00/etc/envoy/boot.json\x00", "proc/42/status": "Uid:\t1 1 1 1\nGid:\t1 1 1 1\nCapEff:\t0\n",
		"etc/envoy/boot.json": `{"node":{"id":"projects/482915067713/networks/mesh-vpc/nodes/9f1c"},"dynamic_resources":{"ads_config":{"transport_api_version":"V2"}},"x":{"access_token":"k7SecretSecretSecret"}}`,
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	_, port, _ := net.SplitHostPort(lis.Addr().String())
	return root, []string{"--root", root, "--metadata-server", "http://" + lis.Addr().String(), "--admin-port", port, "--traffic-director-endpoint", lis.Addr().String()}
}

// A recording diagnosed at once, written and handed in, or unpacked and handed in as a folder finds the same.
func TestCollect(t *testing.T) {
	_, flags := recorded(t)
	out := filepath.Join(t.TempDir(), "bundle.tar.gz")
	exit, stdout, stderr := meshdiag(t, append([]string{"collect", "-o", out}, flags...)...)
	if exit != 0 || stdout != "" || !strings.Contains(stderr, "Not read, or not wholly:") || !strings.Contains(stderr, "identity: not read") {
		t.Fatalf("exit status %d\n%s%s", exit, stdout, stderr)
	}
	if st, err := os.Stat(out); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(out)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	exit, fromFile, stderr := meshdiag(t, "diagnose", "-f", out)
	if exit != exitCausesFound || !strings.Contains(fromFile, "controlplane/xds-v2") {
		t.Errorf("exit status %d\n%s%s", exit, fromFile, stderr)
	}
	exit, atOnce, stderr := meshdiag(t, append([]string{"collect", "--diagnose"}, flags...)...)
	if exit != exitCausesFound || !strings.Contains(atOnce, "controlplane/xds-v2") {
		t.Errorf("exit status %d\n%s%s", exit, atOnce, stderr)
	}
}

// A recording that a diagnosis doesn't take beside what else is handed in is made smaller, or it is said what can be done.
func TestCollectTooLarge(t *testing.T) {
	root, flags := recorded(t)
	r := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- no secret
	var log strings.Builder
	for range 4000 {
		fmt.Fprintf(&log, "[2026-05-01 10:11:12.345][1][info] request %016x%016x\n", r.Uint64(), r.Uint64())
	}
	if err := os.MkdirAll(filepath.Join(root, "var/log/envoy"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "var/log/envoy/envoy.log"), []byte(log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	beside := func(kib int) string {
		// What is no file of any known kind is read at once.
		return file(t, fmt.Sprintf("beside-%d", kib), strings.Repeat("\x00", maxArtifacts-kib<<10))
	}
	out := filepath.Join(dir, "bundle.tar.gz")
	exit, stdout, stderr := meshdiag(t, append([]string{"collect", "--diagnose", "-o", out, "-f", beside(50)}, flags...)...)
	if exit != exitCausesFound || !strings.Contains(stdout, "controlplane/xds-v2") || !strings.Contains(stderr, "only the last 64 KiB of logs/var/log/envoy/envoy.log are in it, for the bundle to have at most 50 KiB") {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
	if st, err := os.Stat(out); err != nil || st.Size() > 50<<10 {
		t.Errorf("%v %v", st, err)
	}
	exit, stdout, stderr = meshdiag(t, append([]string{"collect", "--diagnose", "-f", beside(1)}, flags...)...)
	if exit != exitFailed || stdout != "" || !strings.Contains(stderr, "and 1 KiB are taken; the largest files") || !strings.Contains(stderr, "hand in fewer files beside it, or write it with -o, unpack it") {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b/boot.json": grpcBootstrap, "a.json": `{"orders":[]}`, ".hidden": "x", ".git/config": "x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	exit, stdout, stderr := meshdiag(t, "diagnose", "-o", "json", "-f", dir)
	if exit != exitInconclusive || !strings.Contains(stdout, "b/boot.json") || !strings.Contains(stdout, "a.json") || !strings.Contains(stdout, "refused: a link") || strings.Contains(stdout, "hidden") || strings.Contains(stdout, ".git") {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
}

func TestCollectBadInput(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"nowhere to go":  {nil, "-o"},
		"both":           {[]string{"--send", "127.0.0.1:1", "--diagnose"}, "exclude each other"},
		"bad server":     {[]string{"--send", "nowhere"}, "--send"},
		"bad root":       {[]string{"-o", "x", "--root", "/no/such"}, "--root"},
		"bad metadata":   {[]string{"-o", "x", "--metadata-server", "here"}, "metadata server"},
		"bad admin port": {[]string{"-o", "x", "--admin-port", "70000"}, "70000"},
		"bad format":     {[]string{"--diagnose", "--format", "xml"}, "--format"},
	} {
		exit, stdout, stderr := meshdiag(t, append([]string{"collect"}, tc.args...)...)
		if exit != exitUsage || stdout != "" || !strings.Contains(stderr, tc.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit status %d\n%s%s", name, exit, stdout, stderr)
		}
	}
	_, flags := recorded(t)
	if exit, _, stderr := meshdiag(t, append([]string{"collect", "-o", "/no/such/folder/b.tar.gz"}, flags...)...); exit != exitFailed || !strings.Contains(stderr, "/no/such/folder") {
		t.Errorf("exit status %d: %s", exit, stderr)
	}
}
