package accesslog

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxGroups bounds the groups kept of one log. A person reads a handful; a gateway may well have a hundred clusters with
	// three kinds of failures each.
	maxGroups = 1000
	// maxCoarse bounds the further groups, by flags, code and the first word of the details alone, of what comes after.
	maxCoarse = 200
	// maxSample bounds the line shown of a group: a screenful.
	maxSample = 2000
)

// Groups counts the entries of one log by how they ended. It isn't for several goroutines, but for [Groups.Block].
//
// Requests that went well are told apart by code and cluster alone.
type Groups struct {
	file   string
	src    evidence.Source
	groups map[string]*group
	coarse int

	entries, dropped int
}

// group is one kind of entries. line is that of the first of them, from 1.
type group struct {
	evidence.AccessGroup
	line int
}

// New makes an empty count of the log called file; src is what its groups will name.
func New(file string, src evidence.Source) *Groups {
	return &Groups{file: file, src: src, groups: map[string]*group{}}
}

// Entries says how many entries were read.
func (g *Groups) Entries() int { return g.entries }

// Dropped says how many of them are in no group, for being of more kinds than are kept.
func (g *Groups) Dropped() int { return g.dropped }

// Block counts the entries in some lines that follow each other. line is given those that hold one of [Anchors], and their
// number among these lines, from 0; those that are no access log are passed over. done adds the count up, and is given the
// number of lines before these. Blocks may be counted at the same time, and must be added up in the order of the log.
func (g *Groups) Block() (line func(text []byte, number int), done func(before int)) {
	part := map[string]*group{}
	var p parser
	var key []byte
	line = func(text []byte, number int) {
		e, ok := p.parse(text)
		if !ok {
			return
		}
		key = e.key(key[:0])
		at := part[string(key)]
		if at == nil {
			e.own()
			at = newGroup(&e, number+1)
			at.Sample = sample(text)
			part[string(key)] = at
		}
		at.add(1, e.Time, e.Time, e.Duration)
	}
	return line, func(before int) {
		order := make([]string, 0, len(part))
		for k := range part {
			order = append(order, k)
		}
		slices.SortFunc(order, func(a, b string) int { return cmp.Compare(part[a].line, part[b].line) })
		for _, k := range order {
			g.add(k, part[k], before)
		}
	}
}

func newGroup(e *Entry, line int) *group {
	return &group{AccessGroup: evidence.AccessGroup{
		Flags: e.Flags, Details: e.Details, Code: e.Code, Transport: e.Transport, Termination: e.Termination, Cluster: e.Cluster,
		Upstream: e.Upstream, Route: e.Route, Authority: e.Authority, Reporter: e.Reporter,
	}, line: line}
}

// add counts entries between two times.
func (g *group) add(count int, first, last time.Time, longest time.Duration) {
	g.Count += count
	g.Duration = max(g.Duration, longest)
	if !first.IsZero() && (g.First.IsZero() || first.Before(g.First)) {
		g.First = first
	}
	if last.After(g.Last) {
		g.Last = last
	}
}

// add adds the entries of one kind in a block.
func (g *Groups) add(key string, x *group, before int) {
	g.entries += x.Count
	at := g.groups[key]
	if at == nil && len(g.groups)-g.coarse >= maxGroups {
		e := Entry{Flags: x.Flags, Code: x.Code, Details: x.Details, Reporter: x.Reporter}
		e = e.coarse()
		key = string(e.key([]byte("coarse\x00")))
		if at = g.groups[key]; at == nil {
			if g.coarse >= maxCoarse {
				g.dropped += x.Count
				return
			}
			g.coarse++
			at = newGroup(&e, x.line)
			at.Sample = x.Sample
			g.begin(key, at, before)
		}
	}
	if at == nil {
		at = x
		g.begin(key, at, before)
		return
	}
	at.add(x.Count, x.First, x.Last, x.Duration)
}

// begin keeps a kind that is new.
func (g *Groups) begin(key string, x *group, before int) {
	x.line += before
	x.File, x.Source = g.file, g.src
	x.Source.Detail = strings.TrimSpace(g.file + " line " + strconv.Itoa(x.line))
	g.groups[key] = x
}

func sample(line []byte) string { return cut(strings.ToValidUTF8(string(line), "\uFFFD"), maxSample) }

// key tells entries apart that are of different groups: it is added to a text. Of a request that went well it clears what
// such requests aren't told apart by.
func (e *Entry) key(to []byte) []byte {
	if e.well() {
		to = append(to, "well"...)
		e.Route, e.Authority, e.Details, e.Upstream = "", "", "", ""
	}
	for _, f := range e.Flags {
		to = append(append(to, f...), ',')
	}
	to = strconv.AppendInt(append(to, 0), int64(e.Code), 10)
	for _, part := range [...]string{e.Details, e.Transport, e.Termination, e.Cluster, e.Route, e.Authority, e.Reporter} {
		to = append(append(to, 0), part...)
	}
	return to
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

// List gives the groups in the order of their first lines.
func (g *Groups) List() []evidence.AccessGroup {
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
