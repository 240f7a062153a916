package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkServe measures the time from the start of the process to its log line "serving", and its anonymous memory when idle.
func BenchmarkServe(b *testing.B) {
	var took []time.Duration
	var idle []float64
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		cmd := exec.CommandContext(ctx, os.Args[0], "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), asProgram+"=1")
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		log, err := cmd.StderrPipe()
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		lines := bufio.NewScanner(log)
		for lines.Scan() && !strings.Contains(lines.Text(), `"msg":"serving"`) {
		}
		took = append(took, time.Since(start))
		mib, err := rssAnon(cmd.Process.Pid)
		if err != nil {
			b.Skip("the kernel does not tell a process's memory here:", err)
		}
		idle = append(idle, mib)
		cancel()
		for lines.Scan() {
		}
		_ = cmd.Wait()
	}
	slices.Sort(took)
	slices.Sort(idle)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-to-serving")
	b.ReportMetric(idle[len(idle)/2], "MiB-RssAnon")
	b.ReportMetric(0, "ns/op")
}

func rssAnon(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) >= 2 && f[0] == "RssAnon:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no RssAnon in /proc/%d/status", pid)
}
