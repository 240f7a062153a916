package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/meshdiag/meshdiag/collect/envoyfacts"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	// maxExecOutput bounds what one command prints: the largest config dumps seen have some 60 MiB.
	maxExecOutput = 128 << 20
	// maxExecError bounds what is kept of a command's complaints.
	maxExecError = 4 << 10
	// execTimeout bounds one command. A large dump takes Envoy a second or two to print, and the way through the API server and
	// the kubelet longer.
	execTimeout = 8 * time.Second
)

// adminPaths are what a proxy's admin interface is asked, with GET alone, and what each must print.
var adminPaths = []struct {
	path string
	kind envoy.Kind
}{
	{"server_info", envoy.ServerInfoOut},
	{"config_dump?include_eds", envoy.ConfigDump},
	{"clusters?format=json", envoy.ClustersOut},
	{"listeners?format=json", envoy.ListenersOut},
	{"stats?filter=" + url.QueryEscape("control_plane|ds.update_|ds.init_fetch_timeout|server.(live|state)"), envoy.StatsOut},
	{"init_dump", envoy.InitDumpOut},
}

// execFacts are the facts that podExec tells.
func execFacts() []evidence.Name {
	var out []evidence.Name
	for _, p := range adminPaths {
		out = append(out, envoyfacts.Facts(p.kind)...)
	}
	return out
}

// podExec asks the proxy of the pod asked about what its admin interface prints. That listens within the pod alone; pilot-agent,
// which every image of the proxy has, asks it there.
// https://istio.io/latest/docs/reference/commands/pilot-agent/#pilot-agent-request
func (s *step) podExec(ctx context.Context) error {
	pods, err := s.askedPods()
	if err != nil {
		return without("which pods are asked about", err)
	}
	// The proxy of one pod: of a workload the first that runs.
	i := slices.IndexFunc(pods, func(p kube.Pod) bool {
		st := p.StatusOf(kube.ProxyContainer)
		return st != nil && st.State.Running != nil
	})
	if i < 0 {
		return errors.New("none of the pods asked about has a container istio-proxy that runs")
	}
	p := &pods[i]
	acc := access{
		what: "the proxy of pod " + p.Ref(), verb: "create", version: "v1", resource: "pods", sub: "exec",
		namespace: p.Namespace, name: p.Name, role: roleExec,
	}
	for _, a := range adminPaths {
		command := []string{"pilot-agent", "request", "GET", a.path}
		src := evidence.Source{
			Collector: collectorName, Detail: "pod " + p.Ref() + ": " + strings.Join(command, " "), Vantage: evidence.FromWorkload, Time: s.cfg.Now(),
		}
		out, err := s.exec(ctx, acc, command)
		if err == nil {
			_, err = envoyfacts.Put(s.set, a.kind, out, "", false, src)
		}
		if err != nil {
			for _, n := range envoyfacts.Facts(a.kind) {
				s.fail(ctx, n, src, err)
			}
		}
		var denied *evidence.Denied
		if errors.As(err, &denied) {
			return err // the other commands would be too
		}
	}
	return nil
}

// exec runs a command in the proxy's container and gives what it prints.
func (c *cluster) exec(ctx context.Context, acc access, command []string) ([]byte, error) {
	if err := c.limit.Wait(ctx); err != nil {
		return nil, fmt.Errorf("waiting to ask: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	u := *c.base
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+"/"+acc.path(), ""
	u.RawQuery = url.Values{"container": {kube.ProxyContainer}, "command": command, "stdout": {"true"}, "stderr": {"true"}}.Encode()
	ws, err := remotecommand.NewWebSocketExecutor(c.rest, http.MethodGet, u.String())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", acc.what, err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.rest, http.MethodPost, &u)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", acc.what, err)
	}
	// API servers before Kubernetes 1.30 speak SPDY alone.
	either, err := remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", acc.what, err)
	}
	out, complaint := &bounded{limit: maxExecOutput}, &bounded{limit: maxExecError, cut: true}
	err = either.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out, Stderr: complaint})
	switch {
	case out.full:
		return nil, fmt.Errorf("reading %s: %s prints more than %d MiB", acc.what, strings.Join(command, " "), maxExecOutput>>20)
	case err == nil:
		return out.Bytes(), nil
	case forbiddenUser.MatchString(err.Error()): // of a refusal its text alone is left
		return nil, c.explain(acc, &statusError{code: http.StatusForbidden, status: true, reason: "Forbidden", message: line(err.Error())})
	}
	said := line(complaint.String())
	if said != "" {
		said = ": " + said
	}
	return nil, fmt.Errorf("reading %s: %s: %w%s", acc.what, strings.Join(command, " "), err, said)
}

var errFull = errors.New("larger than is taken")

// bounded keeps what is written to it up to a limit; beyond it, it cuts, or fails.
type bounded struct {
	bytes.Buffer
	limit     int
	cut, full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.Len()
	if len(p) <= room {
		return b.Buffer.Write(p)
	}
	if b.cut {
		b.Buffer.Write(p[:max(0, room)])
		return len(p), nil
	}
	b.full = true
	return 0, errFull
}
