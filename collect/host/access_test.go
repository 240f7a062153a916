package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/collect/bundle"
)

// The computed answer is what the kernel would say: on this machine's own files, asked as this user, and as others by the
// modes.
func TestWritable(t *testing.T) {
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{{"open", 0o777}, {"listed", 0o755}, {"closed", 0o700}, {"inner", 0o777}} {
		must(os.Mkdir(filepath.Join(root, d.name), 0o700))
		must(os.Chmod(filepath.Join(root, d.name), d.mode))
	}
	must(os.Chmod(root, 0o755))
	for name, mode := range map[string]os.FileMode{"open/all.log": 0o666, "open/own.log": 0o644, "closed/all.log": 0o666, "listed/group.log": 0o664} {
		must(os.WriteFile(filepath.Join(root, name), nil, 0o600))
		must(os.Chmod(filepath.Join(root, name), mode))
	}
	must(os.Symlink("/open/all.log", filepath.Join(root, "listed/link.log")))
	must(os.Symlink("/closed/new.log", filepath.Join(root, "open/dangling.log")))
	must(os.Symlink("loop", filepath.Join(root, "loop")))
	me, gid := os.Geteuid(), os.Getegid()
	st, err := os.Stat(root)
	must(err)
	if _, group, ok := owner(st); ok {
		gid = group
	}
	mine := process{Process: bundle.Process{UID: me, GID: gid, User: "me"}, root: root}
	other := process{Process: bundle.Process{UID: me + 1, GID: gid + 1, User: "other"}, root: root}
	member := other
	member.groups = []int{gid}
	able := other
	able.override = true
	for _, tc := range []struct {
		name string
		path string
		by   process
		want string // "yes", "no …" or "unknown …"
	}{
		{"own file", "/open/own.log", mine, "yes"},
		{"other's file", "/open/own.log", other, "no user other"},
		{"a file for all", "/open/all.log", other, "yes"},
		{"a file for all in a closed folder", "/closed/all.log", other, "no user other (uid"},
		{"in the group", "/listed/group.log", member, "yes"},
		{"not in the group", "/listed/group.log", other, "no user other"},
		{"a new file in an open folder", "/open/new.log", other, "yes"},
		{"a new file in a folder that is listed alone", "/listed/new.log", other, "no user other"},
		{"a new file in a folder that isn't there", "/none/a/new.log", mine, "no /none doesn't exist"},
		{"a new file in a last folder that isn't there", "/open/none/new.log", mine, "no /open/none doesn't exist"},
		{"a folder", "/inner", mine, "no /inner is a folder"},
		{"through a link, which is absolute", "/listed/link.log", other, "yes"},
		{"through a link to a file that isn't there", "/open/dangling.log", mine, "no /closed/new.log doesn't exist"},
		{"a loop", "/loop/x.log", mine, "unknown"},
		{"with CAP_DAC_OVERRIDE", "/closed/all.log", able, "yes"},
		{"out of the root", "/../../open/all.log", other, "yes"},
		{"a process of nobody known", "/open/all.log", process{Process: bundle.Process{UID: -1, GID: -1}, root: root}, "unknown the process's user"},
	} {
		v := writable(tc.path, tc.by)
		got := "no " + v.reason
		if v.ok {
			got = "yes"
		} else if v.unknown {
			got = "unknown " + v.reason
		}
		if !strings.HasPrefix(got, tc.want) || strings.Contains(v.reason, root) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestFindAccessLogs(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"config dump":    {`{"access_log":[{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/var/log/a.log"}}],"path":"/no"}`, "/var/log/a.log"},
		"YAML":           {"access_log:\n- typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n    path: /var/log/b.log\n", "/var/log/b.log"},
		"node metadata":  {`{"metadata":{"TRAFFICDIRECTOR_ACCESS_LOG_PATH":"/var/log/c.log"}}`, "/var/log/c.log"},
		"admin":          {"admin:\n  access_log_path: /tmp/admin.log\n", "/tmp/admin.log"},
		"two, one alike": {`"envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/a"} "envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/a"} "envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/b"}`, "/a /b"},
		"none":           {`{"path":"/x","name":"envoy.access_loggers.stdout"}`, ""},
		"relative":       {`{"metadata":{"TRAFFICDIRECTOR_ACCESS_LOG_PATH":"log"}}`, ""},
	} {
		r := recording{Recorder: &Recorder{cfg: Config{Root: "/"}}}
		r.findAccessLogs([]byte(tc.text), process{Process: bundle.Process{PID: 1}})
		var got []string
		for _, a := range r.access {
			got = append(got, a.path)
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: %q, want %q", name, s, tc.want)
		}
	}
}

func TestAdminAddress(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:15000": "127.0.0.1:15000", "0.0.0.0:9901": "127.0.0.1:9901", "[::]:9901": "[::1]:9901", "localhost:1": "127.0.0.1:1", "[::ffff:127.0.0.1]:1": "[::ffff:127.0.0.1]:1",
		"10.0.0.1:15000": "!only loopback", "metadata.google.internal:80": "!not an IP", "x": "!not IP:PORT",
	} {
		out, why := ask(in)
		if reason, refused := strings.CutPrefix(want, "!"); refused && (out != "" || !strings.Contains(why, reason)) || !refused && out != want {
			t.Errorf("%s: %q %q, want %q", in, out, why, want)
		}
	}
}

func TestSocketLine(t *testing.T) {
	for line, want := range map[string]string{
		"   0: 0100007F:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 574828 2 0 100 0 0 10 0":                                             "127.0.0.1:15001",
		"   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 33 1 0 100 0 0 10 0": ":::80",
		"   0: 0100007F:3A99 00000000:0000 01 00000000:00000000 00:00000000 00000000   101        0 574828 2 0 100 0 0 10 0":                                             "",
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode":                                                               "",
		"   0: zz:3A99 00000000:0000 0A 0 0 0 101 0 1 2": "",
	} {
		s, _, ok := socketLine(line)
		got := ""
		if ok {
			got = s.Address + ":" + strconv.Itoa(s.Port)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
