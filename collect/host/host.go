// Package host records what can be seen of a mesh from a VM or from inside a pod's network: processes, sockets, packet
// filter rules, Envoy's admin interface, bootstraps, logs, and the way to the control plane.
//
// It reads, and changes nothing: it asks Envoy with GET on loopback alone, runs only commands that print rules, and opens
// files for reading. What can't be read (often for want of root) is listed with the reason. Tokens, passwords and private
// keys are taken out before anything leaves this package.
package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/collect/probe"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// DefaultTimeout bounds a recording: the probes take up to fifteen seconds where packets are dropped, the rest runs beside
	// them.
	DefaultTimeout = 45 * time.Second
	// DefaultMetadataURL is Compute Engine's metadata server.
	DefaultMetadataURL = "http://metadata.google.internal"
	// itemTimeout bounds one command and one request of the admin interface: both answer in milliseconds; a config dump of
	// 30 MB takes a second or two.
	itemTimeout = 10 * time.Second
	// metadataTimeout bounds one request of the metadata server, which is one hop away.
	metadataTimeout = 3 * time.Second
	// maxFile bounds a bootstrap or a sidecar.env: the largest seen has half a megabyte.
	maxFile = 4 << 20
	// maxTail is how much of each log's end is taken: some five thousand lines.
	maxTail = 1 << 20
	// maxLogs bounds the logs taken.
	maxLogs = 8
	// maxDump bounds a config dump; larger ones are kept up to there, and told as cut off.
	maxDump = 24 << 20
	// maxAdmin bounds the admin interface's other answers.
	maxAdmin = 6 << 20
	// maxCommand bounds a command's output: 10,000 rules take a megabyte.
	maxCommand = 4 << 20
	// maxComplaint bounds what a command may say of its failure.
	maxComplaint = 4 << 10
	// maxTotal bounds a bundle, so that a reader takes it whole.
	maxTotal = bundle.MaxBytes - 4<<20
	// maxProxies bounds the proxies asked on one host.
	maxProxies = 4
)

// Config says where to look.
type Config struct {
	// Root is the folder that holds proc, etc, var and the rest; empty takes "/".
	Root string
	// MetadataURL is the metadata server's base URL; empty takes DefaultMetadataURL.
	MetadataURL string
	// AdminPorts are where Envoy's admin interface is looked for on loopback where no bootstrap tells; empty takes 15000 and
	// 9901.
	AdminPorts []int
	// CommandPath are the folders that commands are looked for in; empty takes the usual system folders.
	CommandPath []string
	// Probe says how the control plane is probed. Its Vantage is set here.
	Probe probe.Config
	// Timeout bounds everything; 0 takes DefaultTimeout.
	Timeout time.Duration
	Program string           // what is recorded as the writer: "meshdiag v1.2.3"
	Logger  *slog.Logger     // nil logs nothing
	Now     func() time.Time // nil takes time.Now
}

// Recorder records one host.
type Recorder struct {
	cfg    Config
	prober *probe.Prober
}

// New checks the configuration; it looks at nothing yet. The error names the field.
func New(cfg Config) (*Recorder, error) {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.MetadataURL == "" {
		cfg.MetadataURL = DefaultMetadataURL
	}
	if u, err := url.Parse(cfg.MetadataURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the metadata server's URL %q is not of the form http://HOST", cfg.MetadataURL)
	}
	if len(cfg.AdminPorts) == 0 {
		cfg.AdminPorts = []int{15000, 9901}
	}
	for _, p := range cfg.AdminPorts {
		if p < 1 || p > 65535 {
			return nil, fmt.Errorf("the admin port %d is not between 1 and 65535", p)
		}
	}
	if len(cfg.CommandPath) == 0 {
		cfg.CommandPath = []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin"}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Probe.Vantage = evidence.FromWorkload
	p, err := probe.New(cfg.Probe)
	if err != nil {
		return nil, err
	}
	return &Recorder{cfg: cfg, prober: p}, nil
}

// recording is one recording under way.
type recording struct {
	*Recorder
	processes []process
	proxies   []process
	network   uint64         // the network namespace that this runs in; 0 where that isn't known
	access    []accessPath   // where access logs go
	addresses []adminAddress // where admin interfaces are
	pipes     []string       // admin interfaces that are no sockets
	dirs      []string       // where logs go besides the usual

	out   bundle.Bundle
	total int
}

// Record looks at everything once. The error is ctx's, where it ended first: what could not be read is in the manifest.
func (r *Recorder) Record(ctx context.Context) (*bundle.Bundle, error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	rec := &recording{Recorder: r}
	rec.out.Manifest = bundle.Manifest{Kind: bundle.KindManifest, Version: bundle.Version, Program: r.cfg.Program, Taken: r.cfg.Now().UTC(), Hostname: r.hostname()}
	var wg sync.WaitGroup
	var identity, probes []bundle.Item
	var identityDoc, probesDoc any
	wg.Go(func() { identity, identityDoc = rec.identity(ctx) })
	wg.Go(func() { probes, probesDoc = rec.probes(ctx) })

	// In the order of how much they tell: where a bundle grows too large, the last are left out.
	rec.readProcesses()
	rec.sockets()
	rec.interfaces()
	rec.rules(ctx)
	rec.bootstraps()
	rec.admin(ctx)
	rec.pathAccess()
	rec.modules()
	wg.Wait()
	if len(identity) > 0 {
		rec.finish(identity[0], "identity.json", identityDoc)
	}
	if len(probes) > 0 {
		rec.finish(probes[0], "control-plane.json", probesDoc)
	}
	rec.logs()
	if err := outer.Err(); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	return &rec.out, nil
}

// finish adds an item with its one document, which is nil where there is none.
func (r *recording) finish(i bundle.Item, name string, document any) {
	if document == nil {
		r.item(i)
		return
	}
	b, err := bundle.Encode(document)
	if err != nil {
		i.Status, i.Reason = bundle.Unread, err.Error()
		r.item(i)
		return
	}
	r.item(i, bundle.File{Name: name, Data: b})
}

// item adds an item with its files; this is the one way into the bundle, and takes the secrets out. Files beyond the
// bundle's limit are left out, which the item then says.
func (r *recording) item(i bundle.Item, files ...bundle.File) {
	for _, f := range files {
		data := redact(f.Data)
		if r.total+len(data) > maxTotal {
			i.Reason = join(i.Reason, fmt.Sprintf("%s left out: the bundle would hold more than %d MiB", f.Name, maxTotal>>20))
			if i.Status == bundle.Read {
				i.Status = bundle.Partial
			}
			continue
		}
		r.total += len(data)
		i.Files = append(i.Files, f.Name)
		r.out.Files = append(r.out.Files, bundle.File{Name: f.Name, Data: data})
	}
	if len(files) > 0 && len(i.Files) == 0 {
		i.Status = bundle.Unread
	}
	i.Reason = redactText(oneLine(i.Reason))
	r.out.Manifest.Items = append(r.out.Manifest.Items, i)
	r.cfg.Logger.Debug("recorded", "item", i.Name, "status", string(i.Status), "reason", i.Reason, "files", len(i.Files))
}

func (r *recording) unread(name, format string, a ...any) {
	r.item(bundle.Item{Name: name, Status: bundle.Unread, Reason: fmt.Sprintf(format, a...)})
}

func (r *recording) absent(name, format string, a ...any) {
	r.item(bundle.Item{Name: name, Status: bundle.Absent, Reason: fmt.Sprintf(format, a...)})
}

// status is Read without a reason, and Partial with one.
func status(reason string) bundle.Status {
	if reason == "" {
		return bundle.Read
	}
	return bundle.Partial
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// oneLine makes one line of a message, and a short one.
func oneLine(s string) string {
	const most = 400
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// path gives where a path of the host lies.
func (r *Recorder) path(parts ...string) string {
	return filepath.Join(append([]string{r.cfg.Root}, parts...)...)
}

func (r *Recorder) hostname() string {
	if b, err := readBounded(r.path("proc/sys/kernel/hostname"), 1<<10); err == nil {
		return strings.TrimSpace(string(b))
	}
	h, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return h
}

// why gives the reason of an error that a reader of a report needs: without the path, and naming root where root is missing.
func why(err error) string {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return "permission denied: needs root"
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Path + ": " + pe.Err.Error()
	}
	return err.Error()
}
