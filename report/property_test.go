package report

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"unicode"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// filled is a report with a text in every place that holds one.
func filled(s string) *pb.Report {
	return &pb.Report{
		Name: s, Target: &pb.Target{Project: s, Network: s, Vm: &pb.Vm{Zone: s, Instance: s}}, Verdict: pb.Verdict_VERDICT_CAUSES_FOUND, Headline: s,
		Causes: []*pb.Cause{{
			CheckId: s, Title: s, Subject: s, Summary: s + ".", Explanation: s, References: []string{s}, Symptoms: []string{s, s},
			Evidence:    []*pb.Evidence{{Fact: s, Source: s, Excerpt: s}},
			Remediation: []*pb.RemediationStep{{Text: s, Command: s}},
		}},
		Unseen:  []*pb.Unseen{{Fact: s, Reason: s, Permission: s, Role: s, Command: s, Mandatory: true}},
		Results: []*pb.CheckResult{{CheckId: s, Outcome: pb.Outcome_OUTCOME_INCONCLUSIVE, Reason: s}},
		Notes:   []string{s},
		Timing:  &pb.Timing{Collectors: []*pb.CollectorTiming{{Name: s, Error: s}}},
	}
}

var seeds = []string{
	"", "one", "No rule is on network \"mesh-vpc\".", strings.Repeat("many words that go on and on ", 30), strings.Repeat("한국어로 쓴 문장도 있다 ", 20),
	strings.Repeat("漢字", 120), strings.Repeat("x", 300) + " and more", "```\ninside\n````", "a\x1b[2Jb\x07\u202e\u2028c\u009b", "\xff\xfe broken",
	"tab\tand\r\nlines\n\n\nmore", "# h\n- l\n1. n\n> q\n---\n===\n| t |", "gcloud compute x --a=1 --b='q q' --c=\"$(d --e)\" | f && g -h # c --i",
	"~~~\ntilde\n~~~", "e\u0301" + strings.Repeat("\u0301", 50), "<!-- x --> &amp; $x$ \\ *b* _i_ [l](u) `c`", "    indented", "\u00a0\u3000 \ufeff",
}

// widest is the most columns a line may take: the width, or a word that is longer on its own with what stands before it.
func FuzzTextWidth(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, 0)
		f.Add(s, 60)
	}
	f.Fuzz(func(t *testing.T, s string, width int) {
		if len(s) > 4096 {
			return
		}
		o := Options{Verbose: true, Width: width % 400}
		var b bytes.Buffer
		r := filled(s)
		r.Causes[0].Remediation[0].Command, r.Unseen[0].Command = "", "" // FuzzCommand's
		if err := Text(&b, r, o); err != nil {
			t.Fatal(err)
		}
		limit := o.Width
		if limit == 0 {
			limit = DefaultWidth
		}
		limit = max(limit, leastWidth)
		for _, l := range strings.Split(b.String(), "\n") {
			if strings.ContainsFunc(l, func(r rune) bool { return unsafe(r) && r != '\n' }) {
				t.Fatalf("%q could drive a terminal", l)
			}
			if columns(l) <= limit {
				continue
			}
			// A mark such as "- " or "not decided  " may stand before the one word that is too long.
			text := strings.TrimSpace(l)
			for _, mark := range []string{"- ", "1. ", "not decided  "} {
				text = strings.TrimPrefix(text, mark)
			}
			if n := len(pieces(text)); n > 1 {
				t.Errorf("%d columns, more than %d, in %d pieces: %q", columns(l), limit, n, l)
			}
		}
	})
}

// blocks reads the fenced blocks of Markdown as CommonMark 4.5 says, and fails where one isn't closed.
func blocks(t *testing.T, md string) (out []string, outside []string) {
	t.Helper()
	fence, info := "", ""
	var in []string
	for _, l := range strings.Split(md, "\n") {
		indent := len(l) - len(strings.TrimLeft(l, " "))
		rest := strings.TrimLeft(l, " ")
		run := len(rest) - len(strings.TrimLeft(rest, "`"))
		switch {
		case fence == "" && indent < 4 && run >= 3 && !strings.Contains(rest[run:], "`"):
			fence, info, in = rest[:run], rest[run:], nil
			if info != "sh" && info != "text" {
				t.Errorf("a fence that isn't ours: %q", l)
			}
		case fence == "" && indent < 4 && strings.HasPrefix(rest, "~~~"):
			t.Errorf("a fence that isn't ours: %q", l)
		case fence != "" && indent < 4 && run >= len(fence) && strings.Trim(rest[run:], " \t") == "":
			out = append(out, strings.Join(in, "\n"))
			fence = ""
		case fence != "":
			in = append(in, l)
		default:
			outside = append(outside, l)
		}
	}
	if fence != "" {
		t.Errorf("a fence is never closed: %q", in)
	}
	return out, outside
}

func FuzzMarkdownFences(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4096 {
			return
		}
		var b bytes.Buffer
		if err := Markdown(&b, filled(s)); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, x := range []string{strings.Trim(strings.Join(lines(s), "\n"), "\n"), shell(s), shell(s)} {
			if x != "" {
				want = append(want, x)
			}
		}
		got, outside := blocks(t, b.String())
		if strings.Join(got, "\x00") != strings.Join(want, "\x00") {
			t.Errorf("blocks %q, want %q\n%s", got, want, b.String())
		}
		for i, l := range outside {
			switch {
			case strings.ContainsFunc(l, unsafe):
				t.Errorf("%q could drive a terminal", l)
			case strings.HasPrefix(l, "#"), strings.HasPrefix(l, ">"), strings.HasPrefix(l, "    "), strings.HasPrefix(l, "="), strings.HasPrefix(l, "|"):
				t.Errorf("line %d of the Markdown begins a block of another kind: %q", i+1, l)
			}
		}
		if first, _, _ := strings.Cut(b.String(), "\n"); !strings.HasPrefix(first, "**CAUSES FOUND") || !strings.HasSuffix(first, "**") {
			t.Errorf("the first line is %q", first)
		}
	})
}

// Joining the lines of a broken command gives the command back, and none of its lines is too long that could be shorter.
func FuzzCommand(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, 100)
	}
	f.Add(`a "b (c" --d 'e --f' $(g --h "i --j" ) ${k --l} --m\ --n`, 10)
	f.Fuzz(func(t *testing.T, s string, width int) {
		if len(s) > 4096 {
			return
		}
		l := command(s, 20+(width%200+200)%200)
		whole := shell(s)
		if strings.Contains(whole, "\n") {
			if strings.Join(l, "\n") != whole {
				t.Errorf("lines of %q changed: %q", whole, l)
			}
			return
		}
		for i := range l {
			if i > 0 {
				l[i] = strings.TrimPrefix(l[i], strings.Repeat(" ", hang))
			}
			if i < len(l)-1 {
				var ok bool
				if l[i], ok = strings.CutSuffix(l[i], ` \`); !ok {
					t.Errorf("line %d does not go on: %q", i, l)
				}
			}
		}
		same := func(s string) string {
			return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), " ")
		}
		if got := strings.Join(l, " "); same(got) != same(whole) {
			t.Errorf("%q became %q", whole, got)
		}
	})
}

// A real shell reads a broken command as it reads the whole.
func TestCommandMeansTheSame(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatalf("a POSIX shell is needed: %v", err)
	}
	for _, c := range []string{
		`printf '<%s>' gcloud compute forwarding-rules create shop --global --project=mesh-prod-4f2a --network=mesh-vpc --ports=80`,
		`printf '<%s>' 'single  --quoted  text' --a="double  --quoted $(printf '%s' "in  --side" --x) text" --b=c\ \ --d --e`,
		`printf '<%s>' one --two | cat -u | cat -u && printf '<%s>' three --four || printf '<%s>' five --six`,
		`printf '<%s>' "${HOME:+set  --or not}" --a "it's" --b 'a "b" --c' --d \' --e "\" --f" --g`,
		`printf '<%s>' a --b # a comment --that goes on --and on --and on to the end of the line`,
		`printf '<%s>' some words --that are --long enough | cat -u | cat -u`,
		`printf '<%s>' $(printf '%s' "x --y" --z) --a - --b -- --c`,
	} {
		want, err := exec.CommandContext(t.Context(), sh, "-c", c).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", c, err, want)
		}
		broken := 0
		for width := 10; width < 120; width += 7 {
			l := command(c, width)
			broken = max(broken, len(l))
			got, err := exec.CommandContext(t.Context(), sh, "-c", strings.Join(l, "\n")).CombinedOutput()
			if err != nil || string(got) != string(want) {
				t.Errorf("at width %d %q prints %q (%v), want %q", width, l, got, err, want)
			}
		}
		if broken < 2 {
			t.Errorf("%s was never broken", c)
		}
	}
}

func TestColumns(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "漢字": 4, "한국어": 6, "e\u0301": 1, "ｆｕｌｌ": 8, "—…·": 3, "✅": 2} {
		if got := columns(s); got != want {
			t.Errorf("columns(%q) = %d, want %d", s, got, want)
		}
	}
	for i, w := range wide {
		if w[0] > w[1] || (i > 0 && w[0] <= wide[i-1][1]) {
			t.Errorf("range %d, %x, is out of order", i, w)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"TRAFFICDIRECTOR_NETWORK_NAME": "TRAFFICDIRECTOR_NETWORK_NAME", "_x_": `\_x\_`, "a__b": "a__b", "ä_ö_ü": "ä_ö_ü",
		"1. one": `1\. one`, "12) two": `12\) two`, "- x": `\- x`, "+": `\+`, "a - b": "a - b", "a*b": `a\*b`, "<b>": `\<b\>`,
		"# h": `\# h`, "two\nlines": "two lines", `back\slash`: `back\\slash`, "&lt;": `\&lt;`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
	if strings.ContainsFunc(special, func(r rune) bool { return r > unicode.MaxASCII }) {
		t.Error("CommonMark takes a backslash before ASCII punctuation alone")
	}
}
