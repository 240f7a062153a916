package logscan

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/meshdiag/meshdiag/evidence"
)

// naiveScan is a scan as anyone would write it: the whole text at once, every line, every anchor, every pattern.
func naiveScan(s *Scanner, raw []byte, file string) ([]evidence.LogMessage, Stats, []shown) {
	text, err := io.ReadAll(transform.NewReader(bytes.NewReader(raw), unicode.BOMOverride(transform.Nop)))
	if err != nil {
		panic(err)
	}
	text = naiveStrip(text)
	stats := Stats{Bytes: int64(len(text))}
	groups := map[string]*evidence.LogMessage{}
	kept := map[int]int{}
	var lines []shown
	for _, line := range bytes.SplitAfter(text, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		stats.Lines++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) <= maxWatched && slices.ContainsFunc(s.watched, func(a []byte) bool { return bytes.Contains(line, a) }) {
			lines = append(lines, shown{stats.Lines, string(line)})
		}
		head := line[:min(len(line), timeReach)]
		matched := false
		said := map[string]bool{}
		tried := map[int]int{}
		for from := 0; from < len(line); from += hop {
			context := line[max(0, from-reach):min(len(line), from+hop+reach)]
			base := max(0, from-reach)
			for sig, def := range s.signatures {
				pos := -1
				for i, a := range s.anchors {
					if s.owner[i] != sig {
						continue
					}
					if p := bytes.Index(line[from:min(len(line), from+hop+len(a)-1)], a); p >= 0 && (pos < 0 || p < pos) {
						pos = p
					}
				}
				if pos < 0 {
					continue
				}
				if tried[sig]++; tried[sig] > maxWindows {
					stats.Dropped++
					continue
				}
				for _, t := range texts(context, from+pos-base) {
					m := def.pattern.FindSubmatchIndex(t)
					if m == nil {
						continue
					}
					fields := map[string]string{}
					for i, name := range def.names {
						if name != "" && m[2*i] >= 0 {
							fields[name] = clean(t[m[2*i]:m[2*i+1]], maxField)
						}
					}
					matched = true
					k := def.id + "\x00" + key(fields)
					if said[k] {
						break
					}
					said[k] = true
					g := groups[k]
					if g == nil {
						if kept[sig] >= maxPerSignature {
							stats.Dropped++
							break
						}
						kept[sig]++
						g = &evidence.LogMessage{Signature: def.id, Fields: fields, File: file, Line: stats.Lines, Text: excerpt(t, m[0])}
						g.Source.Detail = fmt.Sprintf("%s line %d", file, stats.Lines)
						groups[k] = g
					}
					g.Count++
					g.LastLine = stats.Lines
					if at := naiveTime(head, context); !at.IsZero() {
						if g.First.IsZero() || at.Before(g.First) {
							g.First = at
						}
						if at.After(g.Last) {
							g.Last = at
						}
					}
					break
				}
			}
		}
		if matched {
			stats.Matched++
		}
	}
	var out []evidence.LogMessage
	for _, g := range groups {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b evidence.LogMessage) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Signature+"\x00"+key(a.Fields), b.Signature+"\x00"+key(b.Fields)))
	})
	return out, stats, lines
}

// naiveStrip drops control sequences, a byte at a time.
func naiveStrip(b []byte) []byte {
	var out []byte
	in := none
	for _, c := range b {
		if c == '\n' {
			in = none
		}
		switch in {
		case none:
			if c == esc {
				in = afterESC
			} else {
				out = append(out, c)
			}
		case afterESC:
			in = map[byte]sequence{'[': inCSI, ']': inOSC}[c]
		case inCSI:
			if c >= 0x40 && c <= 0x7e {
				in = none
			}
		case inOSC:
			if c == '\a' {
				in = none
			} else if c == esc {
				in = inOSCEnd
			}
		case inOSCEnd:
			in = none
		}
	}
	return out
}

// What times look like, as regular expressions.
var (
	naiveStamp     = regexp.MustCompile(`\b(\d{4})([-/])(\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?`)
	naiveJSONStamp = regexp.MustCompile(`"(?:timestamp|time|ts|@timestamp|receiveTimestamp)"\s*:\s*(?:"([^"]{10,40})"|(\d{9,13}(?:\.\d{1,9})?))`)
)

func naiveTime(head, line []byte) time.Time {
	if isJSON(head) {
		if m := naiveJSONStamp.FindSubmatch(line); m != nil {
			if len(m[1]) > 0 {
				return naiveParse(naiveStamp.FindSubmatch(m[1]))
			}
			return epoch(string(m[2]))
		}
		return time.Time{}
	}
	return naiveParse(naiveStamp.FindSubmatch(head))
}

func naiveParse(m [][]byte) time.Time {
	if m == nil {
		return time.Time{}
	}
	n := func(i int) int { v, _ := strconv.Atoi(string(m[i])); return v }
	if n(1) == 0 || n(3) < 1 || n(3) > 12 || n(4) < 1 || n(4) > 31 || n(5) > 23 || n(6) > 59 || n(7) > 60 {
		return time.Time{}
	}
	nanos, _ := strconv.Atoi((string(m[8]) + "000000000")[:9])
	t := time.Date(n(1), time.Month(n(3)), n(4), n(5), n(6), n(7), nanos, time.UTC)
	if z := strings.ReplaceAll(string(m[9]), ":", ""); len(z) == 5 {
		h, _ := strconv.Atoi(z[1:3])
		mins, _ := strconv.Atoi(z[3:])
		offset := time.Duration(h)*time.Hour + time.Duration(mins)*time.Minute
		if z[0] == '+' {
			offset = -offset
		}
		t = t.Add(offset)
	}
	return t
}
