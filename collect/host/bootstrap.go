package host

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meshdiag/meshdiag/collect/bundle"
)

// maxEnviron bounds a process's environment: Linux allows 128 KiB a variable.
const maxEnviron = 4 << 20

// bootstraps takes the configurations that Envoys and gRPC clients were started with.
func (r *recording) bootstraps() {
	if len(r.proxies) == 0 {
		r.absent(bundle.ItemBootstrap, "no Envoy process is seen here")
	}
	for i := range r.proxies {
		r.envoyBootstrap(&r.proxies[i])
	}
	r.grpcBootstraps()
	r.sidecarEnv()
}

// flag gives the value of a command line flag under any of its names.
func flag(argv []string, names ...string) string {
	for i, a := range argv {
		name, value, joined := strings.Cut(a, "=")
		if !slices.Contains(names, name) {
			continue
		}
		if joined {
			return value
		}
		if i+1 < len(argv) {
			return argv[i+1]
		}
	}
	return ""
}

// envoyBootstrap takes the bootstrap of one Envoy.
func (r *recording) envoyBootstrap(p *process) {
	name := fmt.Sprintf("envoy-%d/bootstrap", p.PID)
	found := false
	if path := flag(p.argv, "-c", "--config-path"); path != "" {
		found = true
		b, err := readBounded(r.fileOf(*p, path), maxFile)
		if err != nil {
			r.unread(bundle.ItemBootstrap, "Envoy (process %d): %s", p.PID, why(err))
		} else {
			r.learn(p, b)
			r.item(bundle.Item{Name: bundle.ItemBootstrap, Status: bundle.Read}, bundle.File{Name: r.unused(name + extension(path)), Data: b})
		}
	}
	// Where both are given, Envoy merges this one over the file.
	if inline := flag(p.argv, "--config-yaml"); inline != "" {
		found = true
		r.learn(p, []byte(inline))
		r.item(bundle.Item{Name: bundle.ItemBootstrap, Status: bundle.Read}, bundle.File{Name: r.unused(name + "-inline.yaml"), Data: []byte(inline + "\n")})
	}
	if !found {
		r.absent(bundle.ItemBootstrap, "Envoy (process %d) was started without --config-path and --config-yaml", p.PID)
	}
}

func extension(path string) string {
	switch e := filepath.Ext(path); e {
	case ".json", ".yaml", ".yml", ".pb_text":
		return e
	default:
		return ".txt"
	}
}

// fileOf gives where a path that a process uses lies, as seen from here.
func (r *recording) fileOf(p process, path string) string {
	if !filepath.IsAbs(path) {
		cwd, err := os.Readlink(r.path("proc", strconv.Itoa(p.PID), "cwd"))
		if err != nil {
			cwd = "/"
		}
		path = filepath.Join(cwd, path)
	}
	return filepath.Join(p.root, path)
}

// bootstrapParts is what of a bootstrap tells where to look further.
type bootstrapParts struct {
	Admin struct {
		Address struct {
			Socket struct {
				Address string `json:"address"`
				Port    int    `json:"port_value"`
			} `json:"socket_address"`
			Pipe struct {
				Path string `json:"path"`
			} `json:"pipe"`
		} `json:"address"`
	} `json:"admin"`
	Node struct {
		Metadata map[string]any `json:"metadata"`
	} `json:"node"`
}

// learn takes the admin interface's address and the access log's path out of a bootstrap. A bootstrap that can't be parsed
// tells nothing: who reads the bundle will say what is wrong with it.
func (r *recording) learn(p *process, b []byte) {
	if len(b) > maxFile || strings.Count(string(b), "&")+strings.Count(string(b), "*") > 1000 {
		return // aliases may unfold to any size
	}
	var parts bootstrapParts
	if yaml.Unmarshal(b, &parts) != nil {
		return
	}
	a := parts.Admin.Address
	switch {
	case a.Pipe.Path != "":
		r.pipes = append(r.pipes, a.Pipe.Path)
	case a.Socket.Port > 0 && a.Socket.Port < 65536:
		r.addresses = append(r.addresses, adminAddress{net.JoinHostPort(a.Socket.Address, strconv.Itoa(a.Socket.Port)), *p})
	}
	if s, ok := parts.Node.Metadata["TRAFFICDIRECTOR_ACCESS_LOG_PATH"].(string); ok {
		r.accessLog(s, *p)
	}
	r.findAccessLogs(b, *p)
}

// adminAddress is where an Envoy's admin interface is.
type adminAddress struct {
	address string
	of      process
}

// ask gives the loopback address to ask for an address that an admin interface is bound to; why says why none is asked.
func ask(address string) (out, why string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", "the admin address " + address + " is not IP:PORT"
	}
	if host == "localhost" {
		return net.JoinHostPort("127.0.0.1", port), ""
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return "", "the admin address " + address + " is not an IP address"
	case a.IsUnspecified() && a.Is4():
		return net.JoinHostPort("127.0.0.1", port), ""
	case a.IsUnspecified():
		return net.JoinHostPort("::1", port), ""
	case a.Unmap().IsLoopback():
		return net.JoinHostPort(a.String(), port), ""
	}
	return "", "the admin interface is bound to " + address + "; only loopback is asked"
}

// grpcBootstraps takes the bootstraps of proxyless gRPC clients: environment GRPC_XDS_BOOTSTRAP, a path, goes before
// GRPC_XDS_BOOTSTRAP_CONFIG, the text itself. Of an environment nothing else is read.
// https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md
func (r *recording) grpcBootstraps() {
	type seen struct{ path, text string }
	known := map[seen]bool{}
	unreadable, found := 0, 0
	for _, p := range r.processes {
		b, err := readBounded(r.path("proc", strconv.Itoa(p.PID), "environ"), maxEnviron)
		if err != nil {
			if os.IsPermission(err) {
				unreadable++
			}
			continue
		}
		path, text := "", ""
		for v := range strings.SplitSeq(string(b), "\x00") {
			if s, ok := strings.CutPrefix(v, "GRPC_XDS_BOOTSTRAP="); ok {
				path = s
			} else if s, ok := strings.CutPrefix(v, "GRPC_XDS_BOOTSTRAP_CONFIG="); ok {
				text = s
			}
		}
		if path == "" && text == "" {
			continue
		}
		name := fmt.Sprintf("grpc-%d/bootstrap.json", p.PID)
		if path != "" {
			at := r.fileOf(p, path)
			if known[seen{path: at}] {
				continue
			}
			known[seen{path: at}] = true
			found++
			if b, err = readBounded(at, maxFile); err != nil {
				r.unread(bundle.ItemGRPC, "%s (process %d): %s", p.Command, p.PID, why(err))
				continue
			}
		} else {
			if known[seen{text: text}] {
				continue
			}
			known[seen{text: text}] = true
			found++
			b = []byte(text)
		}
		if found > maxFiles {
			break
		}
		r.item(bundle.Item{Name: bundle.ItemGRPC, Status: bundle.Read}, bundle.File{Name: r.unused(name), Data: b})
	}
	switch {
	case unreadable > 0:
		r.item(bundle.Item{Name: bundle.ItemGRPC, Status: bundle.Partial, Reason: fmt.Sprintf("the environments of %d processes: %s", unreadable, why(fs.ErrPermission))})
	case found == 0:
		r.absent(bundle.ItemGRPC, "no process has GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG")
	}
}

// maxFiles bounds the bootstraps of one kind, and the files sidecar.env: one of each is the rule.
const maxFiles = 16

// sidecarEnv takes the settings of Traffic Director's package for VMs, which lie beside its run.sh: where Envoy was started
// from it, beside the bootstrap or in the working directory.
func (r *recording) sidecarEnv() {
	var at []string
	add := func(name string) {
		if !slices.Contains(at, name) {
			at = append(at, name)
		}
	}
	for _, p := range r.processes {
		if isEnvoy(p) {
			if path := flag(p.argv, "-c", "--config-path"); path != "" {
				add(filepath.Join(filepath.Dir(r.fileOf(p, path)), "sidecar.env"))
			}
			add(r.fileOf(p, "sidecar.env"))
		}
		for _, a := range p.argv {
			if filepath.Base(a) == "run.sh" {
				add(filepath.Join(filepath.Dir(r.fileOf(p, a)), "sidecar.env"))
			}
		}
	}
	for _, g := range []string{"opt/*/sidecar.env", "etc/envoy/sidecar.env", "root/*/sidecar.env", "home/*/sidecar.env", "home/*/*/sidecar.env", "usr/local/*/sidecar.env"} {
		names, _ := filepath.Glob(r.path(g)) // a pattern of ours
		for _, n := range names {
			add(n)
		}
	}
	reason := ""
	var files []bundle.File
	for _, n := range at {
		b, err := readBounded(n, 64<<10)
		switch {
		case os.IsNotExist(err):
			continue
		case err != nil:
			reason = join(reason, why(err))
			continue
		case len(files) == maxFiles:
			reason = join(reason, fmt.Sprintf("only the first %d are taken", maxFiles))
			continue
		}
		r.learnEnv(b)
		files = append(files, bundle.File{Name: r.unused(fmt.Sprintf("sidecar-%d.env", len(files)+1)), Data: b})
	}
	switch {
	case len(files) > 0:
		r.item(bundle.Item{Name: bundle.ItemSidecarEnv, Status: status(reason), Reason: reason}, files...)
	case reason != "":
		r.unread(bundle.ItemSidecarEnv, "%s", reason)
	default:
		r.absent(bundle.ItemSidecarEnv, "none beside a run.sh, a bootstrap or in the usual folders")
	}
}

// learnEnv takes the folder of the logs and the admin port out of a sidecar.env.
func (r *recording) learnEnv(b []byte) {
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		value = strings.Trim(value, `"'`)
		if !ok || value == "" || strings.Contains(value, "$") {
			continue
		}
		switch key {
		case "LOG_DIR":
			if filepath.IsAbs(value) {
				r.dirs = append(r.dirs, value)
			}
		case "ACCESSLOG_PATH":
			for _, p := range r.proxies {
				r.accessLog(value, p)
			}
		case "ENVOY_ADMIN_PORT":
			if n, err := strconv.Atoi(value); err == nil && n > 0 && n < 65536 && len(r.proxies) > 0 {
				r.addresses = append(r.addresses, adminAddress{net.JoinHostPort("127.0.0.1", value), r.proxies[0]})
			}
		}
	}
}

func (r *recording) logDirs() []string { return r.dirs }
