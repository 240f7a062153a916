// Package artifact reads the files that a person hands in: bootstraps, CSDS answers, answers of Google
// Cloud's APIs, Kubernetes manifests, what kubectl prints, logs.
//
// What a file is, is found by its content, never by its name. Every file gives one entry of the artifacts fact, also one
// that can't be used, which says why. A file that is clearly of some kind and can't be read makes that kind's fact failed
// rather than absent: an unreadable bootstrap is not "no bootstrap given".
package artifact

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/meshdiag/meshdiag/collect/accesslog"
	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// Timeout bounds the reading of all files. It is work for the processor alone: 64 MiB of JSON take about two seconds.
	Timeout = 20 * time.Second
	// maxFiles bounds the files of one request: a support bundle holds some dozens.
	maxFiles = 1000
	// collectorName is what sources of facts from files are called.
	collectorName = "file"
	// notInTime is what is said of a file that wasn't reached.
	notInTime = "not read in time"
)

// Config makes a [Reader].
type Config struct {
	Signatures []diagnose.Signature // the messages to look for in logs
	Now        func() time.Time     // nil takes time.Now
	Logger     *slog.Logger         // nil logs nothing
}

// Reader reads files. It may be used by several goroutines.
type Reader struct {
	scanner *logscan.Scanner
	now     func() time.Time
	log     *slog.Logger
}

// New makes a reader. The error names the signature that is wrong.
func New(cfg Config) (*Reader, error) {
	s, err := logscan.New(cfg.Signatures, accesslog.Anchors()...)
	if err != nil {
		return nil, fmt.Errorf("log signatures: %w", err)
	}
	r := &Reader{scanner: s, now: cfg.Now, log: cfg.Logger}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r, nil
}

// Collector gives the collector of the request's artifacts.
func (r *Reader) Collector() diagnose.Collector {
	return diagnose.Collector{
		Name: "artifact",
		Provides: append(append(hostFacts(), kubernetesFacts()...),
			evidence.AccessLogs.Name(),
			evidence.Artifacts.Name(),
			evidence.Bootstraps.Name(),
			evidence.Clients.Name(),
			evidence.ClientStatuses.Name(),
			evidence.ForwardingRules.Name(),
			evidence.Instances.Name(),
			evidence.Services.Name(),
			evidence.BackendHealth.Name(),
			evidence.BackendServices.Name(),
			evidence.HealthChecks.Name(),
			evidence.GuestAttributes.Name(),
			evidence.SerialPorts.Name(),
			evidence.EnvoyDumps.Name(),
			evidence.EnvoyHosts.Name(),
			evidence.EnvoyInfos.Name(),
			evidence.EnvoyListeners.Name(),
			evidence.EnvoyPending.Name(),
			evidence.EnvoyStats.Name(),
			evidence.LogMessages.Name(),
		),
		Timeout: Timeout,
		Applies: func(req diagnose.Request) bool { return len(req.Artifacts) > 0 },
		Collect: r.collect,
	}
}

// collect reads the files one after the other. Those that aren't reached before ctx ends are failed, all facts with them:
// nobody knows what they hold.
func (r *Reader) collect(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	files := make([]evidence.ArtifactFile, 0, len(req.Artifacts))
	var late error
	left := int64(bundle.MaxBytes)
	loose := &looseRules{}
	first := make([]evidence.ArtifactFile, len(req.Artifacts)) // what became of each file; of an archive's, of the first
	for i, a := range req.Artifacts {
		entry := evidence.ArtifactFile{Name: a.Name}
		switch {
		case i >= maxFiles:
			entry.Note = fmt.Sprintf("not read: at most %d files are", maxFiles)
		case ctx.Err() != nil:
			late = context.Cause(ctx)
			entry.Note = notInTime
		default:
			if j := earlier(req.Artifacts[:i], a); j >= 0 {
				// Told twice it would look like two proxies that say the same.
				first := first[j]
				entry.Kind, entry.Used, entry.Note = first.Kind, first.Used, "the same as "+req.Artifacts[j].Name+", and read once"
				break
			}
			read := r.file(ctx, a, set, &left, loose)
			if slices.ContainsFunc(read, func(f evidence.ArtifactFile) bool { return f.Note == notInTime }) {
				late = context.Cause(ctx)
			}
			files = append(files, read...)
			if len(read) > 0 {
				first[i] = read[0]
			}
			continue
		}
		files = append(files, entry)
	}
	loose.put(set)
	evidence.Put(set, evidence.Artifacts, files, evidence.Source{Collector: collectorName, Detail: fmt.Sprintf("%d files", len(files)), Vantage: evidence.FromWorkload, Time: r.now(), Pasted: true})
	if late != nil {
		return fmt.Errorf("reading files: %w", late)
	}
	return nil
}

// earlier gives the place of a file among those before it, -1 where there is none with the same content.
func earlier(before []diagnose.Artifact, a diagnose.Artifact) int {
	return slices.IndexFunc(before, func(b diagnose.Artifact) bool {
		return b.Text == a.Text && b.Baseline == a.Baseline && bytes.Equal(b.Data, a.Data)
	})
}

// file reads one file, and tells what became of it: of an archive, of each of its files. left is what archives may still
// unpack to; packet filter rules are gathered in loose.
func (r *Reader) file(ctx context.Context, a diagnose.Artifact, set *evidence.Set, left *int64, loose *looseRules) []evidence.ArtifactFile {
	in := &input{reader: r, ctx: ctx, name: a.Name, set: set, now: r.now(), baseline: a.Baseline, alone: a.Text, loose: loose}
	if !a.Text {
		if files, ok := in.archive(a.Data, left); ok {
			r.log.Debug("archive read", "file", a.Name, "bytes", len(a.Data), "files", len(files))
			return files
		}
	}
	return []evidence.ArtifactFile{in.one(a.Data, a.Text)}
}

// one reads one file that is no archive.
func (in *input) one(data []byte, text bool) (entry evidence.ArtifactFile) {
	log := in.reader.log
	defer func() {
		if p := recover(); p != nil {
			log.Error("reading a file panicked", "file", in.name, "bytes", len(data), "panic", p, "stack", string(debug.Stack()))
			entry = evidence.ArtifactFile{Name: in.name, Note: "internal error while reading it"}
		}
	}()
	o := in.read(data, text)
	log.Debug("file read", "file", in.name, "bytes", len(data), "kind", o.kind, "used", o.used, "note", o.note)
	return evidence.ArtifactFile{Name: in.name, Kind: o.kind, Note: o.note, Used: o.used, Broken: o.broken}
}

// input is one file being read.
type input struct {
	reader *Reader
	ctx    context.Context
	name   string
	set    *evidence.Set
	now    time.Time
	// recording is the name of the bundle that the file is from, "" for none.
	recording string
	// baseline says that the file is of a proxy that works: nothing in it is evidence of a fault.
	baseline bool
	// alone says that it is a text handed in by itself to be explained.
	alone bool
	loose *looseRules
}

// source tells where facts of the file come from.
func (in *input) source(v evidence.Vantage, where string) evidence.Source {
	detail := in.name
	if where != "" {
		detail += " " + where
	}
	return evidence.Source{Collector: collectorName, Detail: detail, Vantage: v, Time: in.now, Pasted: true, Recording: in.recording}
}

// outcome is what became of a file, or of one document in it.
type outcome struct {
	kind   string // empty unless used
	note   string
	used   bool
	broken string // the kind, where it is clear and the document can't be read
}

func used(kind, format string, a ...any) outcome {
	return outcome{kind: kind, note: fmt.Sprintf(format, a...), used: true}
}

func unused(format string, a ...any) outcome { return outcome{note: fmt.Sprintf(format, a...)} }

// broken tells of a file that is of a known kind and can't be read; the kind's facts are failed.
func (in *input) broken(k kind, err error) outcome {
	err = fmt.Errorf("%s: %w", k.title, err)
	for _, f := range k.facts {
		in.set.Fail(f, in.source(k.vantage, ""), fmt.Errorf("%s: %w", in.name, err))
	}
	o := unused("%v", err)
	o.broken = k.name
	return o
}
