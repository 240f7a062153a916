package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/collect/accesslog"
	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	benchLog    = 400 << 20 // bytes of a log whose scan is timed
	benchMemory = 1 << 30   // bytes of the log that the peak memory is taken at
	sparseEvery = 10_000    // lines of the sparse log of which one is a hit
	chunkLines  = 200_000   // lines that are made, and then repeated
)

// ordinaryLines are what a proxy writes when all is well, at the level that people set when it isn't.
var ordinaryLines = []string{
	"[info][upstream] [source/common/upstream/cluster_manager_impl.cc:171] cm init: init complete: cluster=outbound|%[1]d||checkout.shop.svc.cluster.local primary=%[2]d secondary=0",
	"[debug][http] [source/common/http/conn_manager_impl.cc:329] [C%[1]d][S%[2]d] new stream",
	"[debug][router] [source/common/router/router.cc:478] [C%[1]d][S%[2]d] cluster 'outbound|8080||checkout.shop.svc.cluster.local' match for URL '/api/v1/cart'",
	"[debug][pool] [source/common/conn_pool/conn_pool_base.cc:265] [C%[1]d] using existing fully connected connection %[2]d",
	"[debug][connection] [source/common/network/connection_impl.cc:714] [C%[1]d] connected %[2]d",
	"[info][main] [source/server/drain_manager_impl.cc:171] shutting down parent after drain %[1]d %[2]d",
	"[warning][misc] [source/common/protobuf/message_validator_impl.cc:21] Deprecated field: type envoy.config.route.v3.HeaderMatcher option %[1]d from file route_components.proto %[2]d",
}

var troubledLines = []string{
	"[warning][config] [./source/common/config/grpc_stream.h:196] StreamAggregatedResources gRPC config stream to trafficdirector.googleapis.com:443 closed: 14, no healthy upstream",
	"[warning][config] [./source/common/config/grpc_stream.h:196] StreamAggregatedResources gRPC config stream closed: 13, ",
	"[warning][config] [./source/common/config/grpc_stream.h:196] StreamLoadStats gRPC config stream closed: 7, Request had insufficient authentication scopes.",
}

// envoyLog makes lines of which every n-th is a hit.
func envoyLog(every int) []byte {
	var b bytes.Buffer
	at := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	for i := range chunkLines {
		fmt.Fprintf(&b, "[%s][%d]", at.Format("2006-01-02 15:04:05.000"), 10+i%20)
		if i%every == every/2 {
			b.WriteString(troubledLines[i/every%len(troubledLines)])
		} else {
			fmt.Fprintf(&b, ordinaryLines[i*7%len(ordinaryLines)], i*7919%100_000, i*104_729%1_000_000)
		}
		b.WriteByte('\n')
		at = at.Add(37 * time.Millisecond)
	}
	return b.Bytes()
}

// repeat writes a text again and again, until the file has size bytes.
func repeat(b *testing.B, text []byte, size int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "envoy.log")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	for n := 0; n < size; n += len(text) {
		if _, err := w.Write(text); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	return path
}

// corpusLog gives the log of a real ingress gateway, a few thousand times over.
func corpusLog(b *testing.B) []byte {
	b.Helper()
	path := filepath.Join("..", "..", "..", "shared", "corpus", "logs", "istio-ingress-gateway.log")
	text, err := os.ReadFile(path)
	if err != nil {
		b.Skipf("the corpus of real logs is not here: %v", err)
	}
	return bytes.Repeat(append(bytes.TrimRight(text, "\n"), '\n'), 1000)
}

// fewPatterns is how many literals ripgrep (13) finds with vector instructions. With more it takes a slower way.
const fewPatterns = 60

// BenchmarkExplain measures explain, the whole program, against ripgrep that counts the lines with one of the same
// anchors: x-rg is explain's time divided by ripgrep's, medians of both. scan-x-rg is the same of the scan alone. x-rg-few
// is explain's time, for all it looks for, divided by that of ripgrep looking for no more than suits it best: the first
// anchors of the signatures, up to fewPatterns, those that are in these logs among them.
func BenchmarkExplain(b *testing.B) {
	rg, err := exec.LookPath("rg")
	if err != nil {
		b.Skip("ripgrep, the yardstick, is not installed (Debian: apt-get install ripgrep)")
	}
	var anchors, few []string
	for _, s := range checks.Signatures() {
		anchors = append(anchors, s.Anchors...)
		switch s.ID {
		case messages.StreamClosed.ID, messages.InsufficientScopes.ID, messages.ProxyReady.ID:
			few = slices.Insert(few, 0, s.Anchors[0])
		default:
			few = append(few, s.Anchors[0])
		}
	}
	slices.Sort(anchors)
	anchors, few = slices.Compact(anchors), few[:min(len(few), fewPatterns)]
	yardstick := func(name string, patterns []string) func(...string) []string {
		path := filepath.Join(b.TempDir(), name)
		if err := os.WriteFile(path, []byte(strings.Join(patterns, "\n")+"\n"), 0o600); err != nil {
			b.Fatal(err)
		}
		return func(more ...string) []string { return append([]string{rg, "-c", "-F", "-f", path}, more...) }
	}
	grep, grepFew := yardstick("anchors", anchors), yardstick("few", few)
	explain := func(more ...string) []string {
		return append([]string{os.Args[0], "explain", "-o", "json"}, more...)
	}
	for _, log := range []struct {
		name string
		text func(*testing.B) []byte
	}{
		{"sparse", func(*testing.B) []byte { return envoyLog(sparseEvery) }},
		{"corpus", corpusLog},
		{"every-line", func(*testing.B) []byte { return envoyLog(1) }},
	} {
		b.Run(log.name, func(b *testing.B) {
			path := repeat(b, log.text(b), benchLog)
			b.Run("file", func(b *testing.B) {
				versus(b, race{
					all: func() { complete(b, grep(path), nil) }, few: func() { complete(b, grepFew(path), nil) },
					ours: func() { complete(b, explain(path), nil) }, scan: func() { scanFile(b, path) },
				})
			})
			b.Run("pipe", func(b *testing.B) {
				versus(b, race{
					all: func() { piped(b, path, grep("-")) }, few: func() { piped(b, path, grepFew("-")) }, ours: func() { piped(b, path, explain("-")) },
				})
			})
		})
	}
}

// race is what is timed: the yardstick with all patterns and with few, explain, and the scan alone, which may be nil.
type race struct{ all, few, ours, scan func() }

// versus times the functions of a race in turn, after one round that counts for nothing: the file is in memory then.
func versus(b *testing.B, r race) {
	b.Helper()
	r.all()
	r.ours()
	var all, few, ours, scan []time.Duration
	timed := func(f func(), to *[]time.Duration) {
		start := time.Now()
		f()
		*to = append(*to, time.Since(start))
	}
	for b.Loop() {
		timed(r.all, &all)
		timed(r.ours, &ours)
		timed(r.few, &few)
		if r.scan != nil {
			timed(r.scan, &scan)
		}
	}
	median := func(l []time.Duration) float64 { slices.Sort(l); return l[len(l)/2].Seconds() }
	b.ReportMetric(median(ours)/median(all), "x-rg")
	b.ReportMetric(median(ours)/median(few), "x-rg-few")
	b.ReportMetric(median(ours)*1000, "ms")
	b.ReportMetric(median(all)*1000, "rg-ms")
	b.ReportMetric(median(few)*1000, "rg-few-ms")
	if r.scan != nil {
		b.ReportMetric(median(scan)/median(all), "scan-x-rg")
	}
	b.ReportMetric(0, "ns/op")
}

// complete runs a program to its end. Its exit status says what it found, so that only 2 and above it are failures, but 3,
// explain's "nothing wrong".
func complete(b *testing.B, args []string, in io.Reader) {
	b.Helper()
	cmd := command(b, args, in)
	if err := ended(cmd.Run()); err != nil {
		b.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
}

func command(b *testing.B, args []string, in io.Reader) *exec.Cmd {
	cmd := exec.CommandContext(b.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdin = in
	return cmd
}

func ended(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == exitCausesFound || exit.ExitCode() == exitInconclusive) {
		return nil
	}
	return err
}

// piped runs a program with a file on standard input, through a pipe from cat.
func piped(b *testing.B, path string, args []string) {
	b.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cat := command(b, []string{"cat", path}, nil)
	cat.Stdout = w
	if err := cat.Start(); err != nil {
		b.Fatal(err)
	}
	w.Close()
	complete(b, args, r)
	r.Close()
	if err := cat.Wait(); err != nil {
		b.Fatal(err)
	}
}

func scanFile(b *testing.B, path string) {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	s, err := logscan.New(checks.Signatures(), accesslog.Anchors()...)
	if err != nil {
		b.Fatal(err)
	}
	s = s.Watched(accesslog.New(path, evidence.Source{}).Block)
	if _, _, err := s.ScanFile(b.Context(), f, st.Size(), path, evidence.Source{}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkExplainMemory takes the peak of explain's memory at a log of 1 GiB, and at one line of that length.
func BenchmarkExplainMemory(b *testing.B) {
	logs := map[string]func() []byte{
		"lines":    func() []byte { return envoyLog(100) },
		"one-line": func() []byte { return bytes.ReplaceAll(envoyLog(1000), []byte("\n"), []byte(" ")) },
	}
	for _, name := range []string{"lines", "one-line"} {
		b.Run(name, func(b *testing.B) {
			path := repeat(b, logs[name](), benchMemory)
			b.Run("file", func(b *testing.B) { peak(b, []string{os.Args[0], "explain", path}, "") })
			b.Run("pipe", func(b *testing.B) { peak(b, []string{os.Args[0], "explain"}, path) })
		})
	}
}

// peakEvery is how often a process is asked for its peak: what it takes in its last moments may be missed.
const peakEvery = 2 * time.Millisecond

// peak runs a program, with the file named piped if one is, and reports the most memory that it held.
func peak(b *testing.B, args []string, path string) {
	b.Helper()
	most := 0.0
	for b.Loop() {
		var in io.Reader
		if path != "" {
			r, w, err := os.Pipe()
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			cat := command(b, []string{"cat", path}, nil)
			cat.Stdout = w
			if err := cat.Start(); err != nil {
				b.Fatal(err)
			}
			w.Close()
			defer cat.Wait()
			in = r
		}
		cmd := command(b, args, in)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		gone := make(chan error, 1)
		go func() { gone <- cmd.Wait() }()
		tick := time.NewTicker(peakEvery)
		for running := true; running; {
			select {
			case err := <-gone:
				if err = ended(err); err != nil {
					b.Fatal(err)
				}
				running = false
			case <-tick.C:
				if mib, err := memoryOf(cmd.Process.Pid, "VmHWM:"); err == nil {
					most = max(most, mib)
				}
			}
		}
		tick.Stop()
	}
	if most == 0 {
		b.Skip("the kernel does not tell a process's memory here")
	}
	b.ReportMetric(most, "MiB-VmHWM")
	b.ReportMetric(0, "ns/op")
}

// memoryOf reads a line of /proc/PID/status, in MiB.
func memoryOf(pid int, field string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(status)) {
		if f := strings.Fields(l); len(f) >= 2 && f[0] == field {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/%d/status", field, pid)
}
