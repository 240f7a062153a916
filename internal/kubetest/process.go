package kubetest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// logTail is how much of a server's log an error carries: the reason why it ended is in its last lines.
const logTail = 4 << 10

// probeTimeout bounds one question whether a server is ready, so that one that hangs is asked again.
const probeTimeout = 5 * time.Second

// process is a server that dies with this one.
type process struct {
	name, log string
	cmd       *exec.Cmd
	ended     chan struct{}
	err       error // how it ended, once ended is closed
}

// run starts a server. It gets a process group of its own, so that Ctrl-C reaches the tests alone, and the kernel kills it when
// the tests end in any way.
func (c *Cluster) run(name, binary string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(c.dir, name+".log"), ended: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Dir = c.dir
	p.cmd.Env = []string{"HOME=" + c.dir, "TMPDIR=" + c.dir, "PATH=" + os.Getenv("PATH")} // no proxy of the machine's
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go func() {
		// The kernel's signal comes when the thread that started the server ends, not the process: so the thread is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = out.Close() }() // written by the server, not by us
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	c.processes = append(c.processes, p)
	return p, nil
}

func (p *process) kill() {
	killGroup(p.cmd.Process.Pid)
	<-p.ended
}

// ready polls until url answers 200.
func (p *process) ready(ctx context.Context, client *http.Client, url string) error {
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := poll(ctx, p.name, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, resp.Status)
		}
		return nil
	})
	if err == nil {
		return nil
	}
	select {
	case <-p.ended:
		err = fmt.Errorf("%s ended: %w", p.name, p.err)
	default:
	}
	return fmt.Errorf("%w; its log ends:\n%s", err, p.tail())
}

func (p *process) tail() string {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-logTail):])
}

func (c *Cluster) runEtcd(ctx context.Context, binary string, client, peer int) error {
	clientURL, peerURL := "http://127.0.0.1:"+strconv.Itoa(client), "http://127.0.0.1:"+strconv.Itoa(peer)
	args := []string{
		"--data-dir", filepath.Join(c.dir, "etcd"), "--log-level=warn",
		"--listen-client-urls", clientURL, "--advertise-client-urls", clientURL,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "default=" + peerURL,
	}
	// From etcd 3.5 on: nothing needs to outlive a power cut here.
	if help, err := exec.CommandContext(ctx, binary, "--help").CombinedOutput(); err == nil && strings.Contains(string(help), "--unsafe-no-fsync") {
		args = append(args, "--unsafe-no-fsync")
	}
	p, err := c.run("etcd", binary, args...)
	if err != nil {
		return err
	}
	return p.ready(ctx, &http.Client{Timeout: probeTimeout, Transport: &http.Transport{}}, clientURL+"/health")
}

func (c *Cluster) runAPIServer(ctx context.Context, binary string, etcd, port int) error {
	serving, err := c.ca.issue(Certificate{Names: []string{"127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc"}})
	if err != nil {
		return err
	}
	admin, err := c.ca.issue(Certificate{CommonName: "admin", Organization: "system:masters"})
	if err != nil {
		return err
	}
	files := map[string][]byte{"ca.crt": c.ca.PEM(), "tls.crt": certPEM(serving), "tls.key": keyPEM(serving)}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(c.dir, name), b, 0o600); err != nil {
			return err
		}
	}
	file := func(name string) string { return filepath.Join(c.dir, name) }
	p, err := c.run("kube-apiserver", binary,
		"--etcd-servers=http://127.0.0.1:"+strconv.Itoa(etcd),
		"--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(port),
		"--tls-cert-file="+file("tls.crt"), "--tls-private-key-file="+file("tls.key"), "--client-ca-file="+file("ca.crt"),
		"--cert-dir="+file("certs"),
		// Service accounts are signed by the key that serves: one will do here.
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+file("tls.crt"),
		"--service-account-signing-key-file="+file("tls.key"),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.96.0.0/16",
		// Webhooks are called at their endpoints, as the package comment says.
		"--enable-aggregator-routing=true",
		// Loopback is no address for the endpoints of service kubernetes, so nobody is to write them.
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--kubelet-preferred-address-types=InternalIP",
		"--delete-collection-workers=8", // a test of thousands of pods is cleared in seconds
	)
	if err != nil {
		return err
	}
	c.Admin = c.config(port, admin)
	c.Admin.QPS = -1 // no throttling
	tlsConfig := &tls.Config{RootCAs: c.ca.Pool(), Certificates: []tls.Certificate{admin}, MinVersion: tls.VersionTLS12}
	client := &http.Client{Timeout: probeTimeout, Transport: &http.Transport{TLSClientConfig: tlsConfig}}
	return p.ready(ctx, client, c.Admin.Host+"/readyz")
}

func (c *Cluster) config(port int, cert tls.Certificate) *rest.Config {
	return &rest.Config{
		Host:           "https://127.0.0.1:" + strconv.Itoa(port),
		WarningHandler: rest.NoWarnings{},
		TLSClientConfig: rest.TLSClientConfig{
			CAData: c.ca.PEM(), CertData: certPEM(cert), KeyData: keyPEM(cert),
		},
	}
}
