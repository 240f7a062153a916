package accesslog

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxLine bounds a line that is read: Envoy takes request headers of 60 KiB, of which a log names a few.
	maxLine = 64 << 10
	// maxGroups bounds the groups kept of one log. A person reads a handful; a gateway may well have a hundred clusters with
	// three kinds of failures each.
	maxGroups = 1000
	// maxCoarse bounds the further groups, by flags, code and the first word of the details alone, of what comes after.
	maxCoarse = 200
	// maxSample bounds the line shown of a group: a screenful.
	maxSample = 2000
)

// Groups counts the entries of one log by how they ended. It is a writer: what is written to it is cut into lines, and those
// that are no access log are passed over. It isn't for several goroutines.
//
// Requests that went well are told apart by code and cluster alone.
type Groups struct {
	file   string
	src    evidence.Source
	groups map[string]*group
	coarse int

	entries, dropped, lines int

	partial []byte // the last line so far
	skip    bool   // the last line is longer than maxLine
}

type group struct {
	evidence.AccessGroup
	line int // of the first entry, from 1
}

// New makes an empty count of the log called file; src is what its groups will name.
func New(file string, src evidence.Source) *Groups {
	return &Groups{file: file, src: src, groups: map[string]*group{}}
}

// Entries says how many entries were read.
func (g *Groups) Entries() int { return g.entries }

// Dropped says how many of them are in no group, for being of more kinds than are kept.
func (g *Groups) Dropped() int { return g.dropped }

// Write reads the next part of the log. It never fails.
func (g *Groups) Write(p []byte) (int, error) {
	n := len(p)
	if len(g.partial) > 0 || g.skip {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			g.keep(p)
			return n, nil
		}
		g.keep(p[:i])
		g.end()
		p = p[i+1:]
	}
	if i := bytes.LastIndexByte(p, '\n'); i >= 0 {
		g.block(p[:i+1])
		p = p[i+1:]
	}
	g.keep(p)
	return n, nil
}

// Close reads the last line, where it isn't ended. It never fails.
func (g *Groups) Close() error {
	if len(g.partial) > 0 {
		g.end()
	}
	return nil
}

func (g *Groups) keep(p []byte) {
	if g.skip || len(g.partial)+len(p) > maxLine {
		g.skip = true
		g.partial = g.partial[:0]
		return
	}
	g.partial = append(g.partial, p...)
}

func (g *Groups) end() {
	g.lines++
	if !g.skip {
		g.line(g.partial)
	}
	g.partial, g.skip = g.partial[:0], false
}

// block looks at whole lines. Most logs have no entry for long stretches, so that only lines with a candidate are cut out.
func (g *Groups) block(p []byte) {
	texts := candidates()
	next := make([]int, len(texts)) // where each is next, len(p) where nowhere
	for i, c := range texts {
		next[i] = find(p, 0, c)
	}
	for done := 0; ; {
		at := slices.Min(next)
		if at == len(p) {
			g.lines += bytes.Count(p[done:], []byte{'\n'})
			return
		}
		start := bytes.LastIndexByte(p[:at], '\n') + 1
		end := start + bytes.IndexByte(p[start:], '\n')
		g.lines += bytes.Count(p[done:start], []byte{'\n'}) + 1
		if end-start <= maxLine {
			g.line(p[start:end])
		}
		done = end + 1
		for i, c := range texts {
			if next[i] < done {
				next[i] = find(p, done, c)
			}
		}
	}
}

func find(p []byte, from int, c []byte) int {
	if i := bytes.Index(p[from:], c); i >= 0 {
		return from + i
	}
	return len(p)
}

func (g *Groups) line(line []byte) {
	if e, ok := Parse(line); ok {
		g.add(e, line)
	}
}

func (g *Groups) add(e Entry, line []byte) {
	g.entries++
	key := e.key()
	at := g.groups[key]
	if at == nil && len(g.groups)-g.coarse >= maxGroups {
		e = e.coarse()
		key = "coarse\x00" + e.key()
		if at = g.groups[key]; at == nil {
			if g.coarse >= maxCoarse {
				g.dropped++
				return
			}
			g.coarse++
		}
	}
	if at == nil {
		at = &group{AccessGroup: evidence.AccessGroup{
			File: g.file, Flags: e.Flags, Details: e.Details, Code: e.Code, Transport: e.Transport, Termination: e.Termination, Cluster: e.Cluster,
			Upstream: e.Upstream, Route: e.Route, Authority: e.Authority, Reporter: e.Reporter, Sample: sample(line), Source: g.src,
		}, line: g.lines}
		at.Source.Detail = strings.TrimSpace(g.file + " line " + strconv.Itoa(g.lines))
		g.groups[key] = at
	}
	at.Count++
	at.Duration = max(at.Duration, e.Duration)
	if !e.Time.IsZero() {
		if at.First.IsZero() || e.Time.Before(at.First) {
			at.First = e.Time
		}
		if e.Time.After(at.Last) {
			at.Last = e.Time
		}
	}
}

func sample(line []byte) string { return cut(strings.ToValidUTF8(string(line), "\uFFFD"), maxSample) }

// key tells entries apart that are of different groups.
func (e *Entry) key() string {
	parts := []string{strings.Join(e.Flags, ","), strconv.Itoa(e.Code), e.Details, e.Transport, e.Termination, e.Cluster, e.Route, e.Authority, e.Reporter}
	if e.well() {
		parts = []string{"well", strconv.Itoa(e.Code), e.Cluster, e.Reporter}
		e.Route, e.Authority, e.Details, e.Upstream = "", "", "", ""
	}
	return strings.Join(parts, "\x00")
}

// well says whether a request was answered, by whomever, and not with an error.
func (e *Entry) well() bool {
	return len(e.Flags) == 0 && e.Code >= 100 && e.Code < 400 && e.Transport == "" && e.Termination == ""
}

// coarse leaves what many requests differ in.
func (e *Entry) coarse() Entry {
	details, _, _ := strings.Cut(e.Details, "{")
	return Entry{Time: e.Time, Flags: e.Flags, Code: e.Code, Details: details, Reporter: e.Reporter, Duration: e.Duration}
}

// List gives the groups in the order of their first lines. An unfinished last line is read first.
func (g *Groups) List() []evidence.AccessGroup {
	_ = g.Close() // which never fails
	order := make([]*group, 0, len(g.groups))
	for _, x := range g.groups {
		order = append(order, x)
	}
	slices.SortFunc(order, func(a, b *group) int { return cmp.Compare(a.line, b.line) })
	out := make([]evidence.AccessGroup, 0, len(order))
	for _, x := range order {
		out = append(out, x.AccessGroup)
	}
	return out
}
