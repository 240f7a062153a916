package kubetest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Node makes a node that is ready, and serves kubelet at the address that the node gives: there the API server asks for the logs
// of pods whose spec.nodeName it is.
func (c *Cluster) Node(t testing.TB, name string, kubelet http.Handler) {
	t.Helper()
	addr := c.Serve(t, Server{Certificate: c.ca.Issue(t, Certificate{Names: []string{c.Address.String()}}), Handler: kubelet})
	o := object("v1", "Node", "", name, map[string]any{"status": map[string]any{
		"addresses":       []any{map[string]any{"type": "InternalIP", "address": addr.Addr().String()}},
		"daemonEndpoints": map[string]any{"kubeletEndpoint": map[string]any{"Port": int64(addr.Port())}},
		"conditions":      []any{map[string]any{"type": "Ready", "status": "True"}},
	}})
	if _, err := c.apply(t.Context(), o); err != nil {
		t.Fatalf("node %s: %v", name, err)
	}
}

// Log is what a container wrote, or the one before it.
type Log struct {
	Namespace, Pod, Container string
	Previous                  bool
	Text                      string
}

// Logs is the part of a kubelet that answers for logs, with the options tailLines, limitBytes and previous.
func Logs(logs ...Log) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		for _, l := range logs {
			if l.Namespace != r.PathValue("namespace") || l.Pod != r.PathValue("pod") || l.Container != r.PathValue("container") || l.Previous != (q.Get("previous") == "true") {
				continue
			}
			text := l.Text
			if n, err := strconv.Atoi(q.Get("tailLines")); err == nil {
				lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
				text = strings.Join(lines[max(0, len(lines)-n):], "")
			}
			if n, err := strconv.Atoi(q.Get("limitBytes")); err == nil && n < len(text) {
				text = text[:n]
			}
			fmt.Fprint(w, text)
			return
		}
		http.Error(w, fmt.Sprintf("container %q in pod %q is waiting to start: ContainerCreating", r.PathValue("container"), r.PathValue("pod")), http.StatusBadRequest)
	})
	return mux
}
