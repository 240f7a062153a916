//go:build unix

package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
)

// A credential plugin that doesn't end hangs nobody.
func TestPluginHangs(t *testing.T) {
	s := newServer(t)
	text, err := os.ReadFile(s.kubeconfig(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	plugin, pipe := filepath.Join(dir, "plugin"), filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	// The first to run takes the pipe and reads from it until this test closes it; the others fail at once.
	script := fmt.Sprintf("#!/bin/sh\nmv %[1]s %[1]s.taken 2>/dev/null || exit 1\nread x < %[1]s.taken\n", pipe)
	if err := os.WriteFile(plugin, []byte(script), 0o700); err != nil { //nolint:gosec // a program has to be executable
		t.Fatal(err)
	}
	type opened struct {
		f   *os.File
		err error
	}
	writer := make(chan opened)
	go func() {
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0) // until the plugin reads
		writer <- opened{f, err}
	}()
	file := write(t, strings.Replace(string(text), "token: secret-token", "exec: {apiVersion: client.authentication.k8s.io/v1, command: "+plugin+", interactiveMode: Never}", 1))
	a, err := New(Config{Kubeconfig: file, CallTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	_, rep := run(t, a, shop)
	if len(rep.Unseen) == 0 || rep.Verdict != diagnose.Inconclusive {
		t.Errorf("%s, unseen %+v", rep.Verdict, rep.Unseen)
	}
	w := <-writer
	if w.err != nil {
		t.Fatal(w.err)
	}
	_ = w.f.Close()
}
