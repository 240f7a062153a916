package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Node makes a node that is ready, and serves kubelet at the address that the node gives: there the API server asks for the logs
// of pods whose spec.nodeName it is, and runs commands in them.
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
	// Timed says that each line begins with the time at which it was written (RFC 3339) and a blank: they are given only to who asks
	// for timestamps, as a kubelet does. Without it there are none to be had.
	Timed bool
}

// Kubelet is the part of one that the API server asks for logs (tailLines, limitBytes, timestamps, previous) and to run commands.
type Kubelet struct {
	Logs []Log
	// Exec runs a command in a container: what it prints, and its exit status. Nothing can be run if it's nil.
	Exec func(namespace, pod, container string, command []string) (stdout, stderr string, status int)
}

// ServeHTTP answers at the paths of a kubelet.
func (k Kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.log)
	if k.Exec != nil {
		mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	}
	mux.ServeHTTP(w, r)
}

func (k Kubelet) log(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for _, l := range k.Logs {
		if l.Namespace != r.PathValue("namespace") || l.Pod != r.PathValue("pod") || l.Container != r.PathValue("container") || l.Previous != (q.Get("previous") == "true") {
			continue
		}
		text := l.Text
		if l.Timed && q.Get("timestamps") != "true" {
			text = ""
			for line := range strings.Lines(l.Text) {
				_, rest, _ := strings.Cut(line, " ")
				text += rest
			}
		}
		if n, err := strconv.Atoi(q.Get("tailLines")); err == nil {
			lines := strings.SplitAfter(text, "\n")
			if lines[len(lines)-1] == "" {
				lines = lines[:len(lines)-1]
			}
			text = strings.Join(lines[max(0, len(lines)-n):], "")
		}
		if n, err := strconv.Atoi(q.Get("limitBytes")); err == nil && n < len(text) {
			text = text[:n]
		}
		fmt.Fprint(w, text)
		return
	}
	http.Error(w, fmt.Sprintf("container %q in pod %q is waiting to start: ContainerCreating", r.PathValue("container"), r.PathValue("pod")), http.StatusBadRequest)
}

// exec speaks v4.channel.k8s.io over SPDY, as the API server does with kubelets whatever its client speaks.
func (k Kubelet) exec(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, []string{remotecommand.StreamProtocolV4Name}); err != nil {
		return // it has answered
	}
	q := r.URL.Query()
	want := 1 // the stream of the exit status
	for _, p := range []string{corev1.ExecStdinParam, corev1.ExecStdoutParam, corev1.ExecStderrParam} {
		if q.Get(p) == "1" {
			want++
		}
	}
	opened := make(chan httpstream.Stream, want)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		select {
		case opened <- s:
			return nil
		default:
			return fmt.Errorf("more than %d streams", want)
		}
	})
	if conn == nil {
		return // it has answered
	}
	defer func() { _ = conn.Close() }()
	streams := map[string]httpstream.Stream{}
	for range want {
		select {
		case s := <-opened:
			streams[s.Headers().Get(corev1.StreamType)] = s
		case <-conn.CloseChan():
			return
		}
	}
	stdout, stderr, status := k.Exec(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), q[corev1.ExecCommandParam])
	result := metav1.Status{Status: metav1.StatusSuccess}
	if status != 0 {
		result = metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: exit status %d", status),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(status)}}},
		}
	}
	trailer, err := json.Marshal(result)
	if err != nil {
		return
	}
	for name, text := range map[string]string{corev1.StreamTypeStdout: stdout, corev1.StreamTypeStderr: stderr, corev1.StreamTypeError: string(trailer)} {
		if s := streams[name]; s != nil {
			_, _ = io.WriteString(s, text) // a caller that is gone has said so
			_ = s.Close()
		}
	}
	<-conn.CloseChan() // the caller closes it when it has read all
}
