package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

const (
	// maxExcerptLines keeps one piece of evidence from pushing what to do off the screen; all of it is there with Verbose. A time
	// line of a pod's start has as many, and says at its end what the cause rests on.
	maxExcerptLines = 12
	// maxEvidence is how many pieces of evidence of one cause are shown without Verbose.
	maxEvidence = 4
)

// style is a terminal's rendition (ECMA-48, SGR).
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "1;31"
	green  style = "1;32"
	yellow style = "1;33"
	cyan   style = "36"
)

// page is text under way.
type page struct {
	b     strings.Builder
	color bool
	width int
}

// Text writes a report for a terminal: the verdict, each cause with what it rests on and what to do, what could not be
// seen and how to grant it, notes, and the checks. No line is wider than o.Width but for words that are longer by
// themselves, and commands that can't be broken.
func Text(w io.Writer, r *pb.Report, o Options) error {
	p := &page{color: o.Color, width: o.Width}
	if p.width == 0 {
		p.width = DefaultWidth
	}
	p.width = max(p.width, leastWidth)
	p.verdict(r)
	for i, c := range r.GetCauses() {
		p.cause(i, c, r, o.Verbose)
	}
	p.unseen(r.GetUnseen())
	if len(r.GetNotes()) > 0 {
		p.heading("Notes")
		for _, n := range r.GetNotes() {
			p.item(2, "- ", sentence(n), plain)
		}
	}
	p.checks(r, o.Verbose)
	if o.Verbose {
		p.timing(r.GetTiming())
	}
	return write(w, []byte(p.b.String()))
}

// line writes one line as it is.
func (p *page) line(indent int, text string, s style) {
	if text == "" {
		p.b.WriteByte('\n')
		return
	}
	p.b.WriteString(strings.Repeat(" ", indent))
	if p.color && s != plain {
		text = "\x1b[" + string(s) + "m" + text + "\x1b[0m"
	}
	p.b.WriteString(text + "\n")
}

// item writes text with a mark before it, the lines after the first set in as far as the mark is wide.
func (p *page) item(indent int, mark, text string, s style) {
	if text == "" {
		return
	}
	hang := columns(mark)
	for i, l := range wrap(text, p.width-indent-hang) {
		if i == 0 {
			p.b.WriteString(strings.Repeat(" ", indent) + mark)
			p.line(0, l, s)
			continue
		}
		p.line(indent+hang, l, s)
	}
}

func (p *page) heading(text string) {
	p.line(0, "", plain)
	p.line(0, text, bold)
}

// command writes a command ready to be copied. One of several lines stands at the margin: there a line's beginning counts.
func (p *page) command(indent int, s string) {
	if s == "" {
		return
	}
	l := command(s, p.width-indent)
	if strings.Contains(shell(s), "\n") {
		indent = 0
	}
	for _, x := range l {
		p.line(indent, x, cyan)
	}
}

// verdictWords and the other tables give the words for the API's values.
var (
	verdictWords = map[pb.Verdict]string{
		pb.Verdict_VERDICT_CAUSES_FOUND: "CAUSES FOUND", pb.Verdict_VERDICT_HEALTHY: "HEALTHY", pb.Verdict_VERDICT_INCONCLUSIVE: "INCONCLUSIVE",
	}
	verdictStyles = map[pb.Verdict]style{
		pb.Verdict_VERDICT_CAUSES_FOUND: red, pb.Verdict_VERDICT_HEALTHY: green, pb.Verdict_VERDICT_INCONCLUSIVE: yellow,
	}
	severityWords = map[pb.Severity]string{
		pb.Severity_SEVERITY_ADVICE: "advice", pb.Severity_SEVERITY_DEGRADING: "degrading", pb.Severity_SEVERITY_BLOCKING: "blocking",
	}
	confidenceWords = map[pb.Confidence]string{
		pb.Confidence_CONFIDENCE_POSSIBLE: "possible", pb.Confidence_CONFIDENCE_LIKELY: "likely", pb.Confidence_CONFIDENCE_CONFIRMED: "confirmed",
	}
	vantageWords = map[pb.Vantage]string{
		pb.Vantage_VANTAGE_SERVICE: "from the machine meshdiag runs on", pb.Vantage_VANTAGE_WORKLOAD: "from the workload",
		pb.Vantage_VANTAGE_API: "through an API",
	}
)

// word gives an enum's word, "unknown" for a value that this program is too old for.
func word[T comparable](words map[T]string, v T) string {
	if w, ok := words[v]; ok {
		return w
	}
	return "unknown"
}

func (p *page) verdict(r *pb.Report) {
	mark := strings.ToUpper(word(verdictWords, r.GetVerdict()))
	text := mark
	if h := sentence(r.GetHeadline()); h != "" {
		text += ": " + h
	}
	l := wrap(text, p.width)
	for i, x := range l {
		if i > 0 {
			p.line(0, x, bold)
			continue
		}
		if rest, ok := strings.CutPrefix(x, mark); ok && p.color {
			x = "\x1b[" + string(verdictStyles[r.GetVerdict()]) + "m" + mark + "\x1b[0m\x1b[1m" + rest + "\x1b[0m"
		}
		p.line(0, x, plain)
	}
	p.item(0, "", about(r), dim)
}

// about says in a line what was diagnosed, when, and how long it took.
func about(r *pb.Report) string {
	var s []string
	if t := target(r.GetTarget()); t != "" {
		s = append(s, t)
	} else {
		s = append(s, "the files given")
	}
	if t := r.GetTiming().GetStartTime(); t != nil {
		s = append(s, when(t))
	}
	if d := r.GetTiming().GetDuration(); d != nil {
		s = append(s, "took "+took(d.AsDuration()))
	}
	if r.GetName() != "" {
		s = append(s, sentence(r.GetName()))
	}
	return strings.Join(s, " · ")
}

func target(t *pb.Target) string {
	var s []string
	add := func(what, v string) {
		if v != "" {
			s = append(s, what+" "+sentence(v))
		}
	}
	add("project", t.GetProject())
	add("network", t.GetNetwork())
	add("mesh", t.GetMesh())
	if v := t.GetVm(); v != nil {
		add("VM", v.GetZone()+"/"+v.GetInstance())
	}
	add("node", t.GetNodeId())
	k := t.GetKubernetes()
	add("cluster", k.GetCluster())
	add("namespace", k.GetNamespace())
	add("pod", k.GetPod())
	add("workload", k.GetWorkload())
	add("revision", k.GetRevision())
	return strings.Join(s, ", ")
}

// when gives a time in UTC, as reports are read by people in several places, and in one word, so that it stays on one line.
func when(t *timestamppb.Timestamp) string {
	if !t.IsValid() {
		return "at an unknown time"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

func took(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second / 10).String()
}

// rating gives a cause's severity, confidence and ID.
func rating(c *pb.Cause) string {
	return word(severityWords, c.GetSeverity()) + ", " + word(confidenceWords, c.GetConfidence())
}

// told says whether the verdict's own sentence already is the cause's summary.
func told(i int, c *pb.Cause, r *pb.Report) bool { return i == 0 && c.GetSummary() == r.GetHeadline() }

func (p *page) cause(i int, c *pb.Cause, r *pb.Report, verbose bool) {
	p.line(0, "", plain)
	p.item(0, strconv.Itoa(i+1)+". ", sentence(c.GetTitle()), bold)
	p.item(3, "", rating(c)+" · "+sentence(c.GetCheckId()), dim)
	p.item(3, "", sentence(c.GetSubject()), plain)
	if !told(i, c, r) {
		p.item(3, "", sentence(c.GetSummary()), plain)
	}
	if verbose {
		for _, l := range lines(c.GetExplanation()) {
			p.item(3, "", l, dim)
		}
	}
	p.evidence(c.GetEvidence(), verbose)
	if steps := c.GetRemediation(); len(steps) > 0 {
		p.section("What to do")
		for n, s := range steps {
			p.item(5, strconv.Itoa(n+1)+". ", sentence(s.GetText()), plain)
			p.command(8, s.GetCommand())
		}
	}
	if len(c.GetSymptoms()) > 0 {
		p.section("Explains")
		p.item(5, "", list(c.GetSymptoms()), plain)
	}
	if len(c.GetReferences()) > 0 {
		p.section("Read more")
		for _, u := range c.GetReferences() {
			p.item(5, "", sentence(u), plain)
		}
	}
}

func (p *page) section(text string) {
	p.line(3, text, bold)
}

func list(in []string) string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = sentence(s)
	}
	return strings.Join(out, ", ")
}

func (p *page) evidence(l []*pb.Evidence, verbose bool) {
	if len(l) == 0 {
		return
	}
	p.section("Evidence")
	shown := l
	if !verbose && len(l) > maxEvidence {
		shown = l[:maxEvidence]
	}
	for _, e := range shown {
		p.item(5, "- ", seenAt(e), dim)
		quoted := lines(e.GetExcerpt())
		cut := 0
		if !verbose && len(quoted) > maxExcerptLines {
			cut = len(quoted) - maxExcerptLines
			quoted = quoted[:maxExcerptLines]
		}
		for _, q := range quoted {
			p.item(7, "", q, plain)
		}
		if cut > 0 {
			p.item(7, "", fmt.Sprintf("… %s more (-v shows all)", count(cut, "line")), dim)
		}
	}
	if n := len(l) - len(shown); n > 0 {
		p.item(5, "- ", fmt.Sprintf("%d more (-v shows all)", n), dim)
	}
}

// seenAt says what was seen, where, from where and when.
func seenAt(e *pb.Evidence) string {
	s := []string{sentence(e.GetFact())}
	if e.GetSource() != "" {
		s = append(s, sentence(e.GetSource()))
	}
	if w, ok := vantageWords[e.GetVantage()]; ok {
		s = append(s, w)
	}
	if e.GetTime() != nil {
		s = append(s, when(e.GetTime()))
	}
	return strings.Join(s, " · ")
}

func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// blind is what could not be seen, and would be by one grant.
type blind struct {
	lacks   []lack
	missing []string // permissions that none of the reasons names
	role    string
	command string
}

// lack is facts that aren't known for one reason.
type lack struct {
	facts     []string
	reason    string
	mandatory bool
}

func (l lack) String() string {
	text := list(l.facts) + ": " + sentence(l.reason)
	if l.mandatory {
		text += " (nothing can be called healthy without it)"
	}
	return text
}

// blinds puts together what one command would grant, and within that the facts that are lacking for the same reason.
func blinds(l []*pb.Unseen) []blind {
	type grant struct{ command, role, alone string }
	var out []blind
	at := map[grant]int{}
	for _, u := range l {
		g := grant{command: u.GetCommand(), role: u.GetRole()}
		if g == (grant{}) {
			g.alone = u.GetReason()
		}
		i, ok := at[g]
		if !ok {
			i = len(out)
			at[g] = i
			out = append(out, blind{role: sentence(u.GetRole()), command: u.GetCommand()})
		}
		b := &out[i]
		j := slices.IndexFunc(b.lacks, func(x lack) bool { return x.reason == u.GetReason() && x.mandatory == u.GetMandatory() })
		if j < 0 {
			j = len(b.lacks)
			b.lacks = append(b.lacks, lack{reason: u.GetReason(), mandatory: u.GetMandatory()})
		}
		b.lacks[j].facts = append(b.lacks[j].facts, u.GetFact())
		p := sentence(u.GetPermission())
		if p != "" && !strings.Contains(sentence(u.GetReason()), p) && !slices.Contains(b.missing, p) {
			b.missing = append(b.missing, p)
		}
	}
	for i := range out {
		b := &out[i]
		b.missing = slices.DeleteFunc(b.missing, func(p string) bool {
			return slices.ContainsFunc(b.lacks, func(x lack) bool { return strings.Contains(sentence(x.reason), p) })
		})
	}
	return out
}

// needs says what would show it; "" where that isn't a matter of permissions.
func (b blind) needs() string {
	var s []string
	if len(b.missing) > 0 {
		s = append(s, "Needs "+strings.Join(b.missing, ", ")+".")
	}
	if b.role != "" {
		text := b.role + " has what is needed."
		if len(b.lacks) > 1 {
			text = "For all of these, " + text
		}
		s = append(s, text)
	}
	if b.command != "" {
		s = append(s, "To grant it:")
	}
	return strings.Join(s, " ")
}

func (p *page) unseen(l []*pb.Unseen) {
	if len(l) == 0 {
		return
	}
	p.heading("Could not be seen")
	for _, b := range blinds(l) {
		for _, x := range b.lacks {
			p.item(2, "- ", x.String(), plain)
		}
		p.item(4, "", b.needs(), plain)
		p.command(6, b.command)
	}
}

// checks counts how the checks ended and names those left open; with Verbose it lists every one.
func (p *page) checks(r *pb.Report, verbose bool) {
	if len(r.GetResults()) == 0 {
		return
	}
	p.heading("Checks")
	p.item(2, "", tally(r.GetResults()), plain)
	for _, x := range r.GetResults() {
		open := x.GetOutcome() == pb.Outcome_OUTCOME_INCONCLUSIVE
		if !verbose && !open {
			continue
		}
		text := sentence(x.GetCheckId())
		if x.GetReason() != "" && verbose {
			text += ": " + sentence(x.GetReason())
		}
		p.item(2, fmt.Sprintf("%-12s ", word(outcomeWords, x.GetOutcome())), text, plain)
	}
}

var outcomeWords = map[pb.Outcome]string{
	pb.Outcome_OUTCOME_PASSED: "passed", pb.Outcome_OUTCOME_FOUND: "found", pb.Outcome_OUTCOME_SYMPTOM: "symptom",
	pb.Outcome_OUTCOME_SKIPPED: "skipped", pb.Outcome_OUTCOME_INCONCLUSIVE: "not decided",
}

// tally counts outcomes: "31 checks: 1 found, 2 symptom, 20 passed".
func tally(l []*pb.CheckResult) string {
	n := map[pb.Outcome]int{}
	for _, x := range l {
		n[x.GetOutcome()]++
	}
	var s []string
	for _, o := range []pb.Outcome{
		pb.Outcome_OUTCOME_FOUND, pb.Outcome_OUTCOME_SYMPTOM, pb.Outcome_OUTCOME_PASSED, pb.Outcome_OUTCOME_SKIPPED, pb.Outcome_OUTCOME_INCONCLUSIVE,
	} {
		if n[o] > 0 {
			s = append(s, strconv.Itoa(n[o])+" "+outcomeWords[o])
		}
		delete(n, o)
	}
	other := 0
	for _, c := range n {
		other += c
	}
	if other > 0 {
		s = append(s, strconv.Itoa(other)+" unknown")
	}
	return count(len(l), "check") + ": " + strings.Join(s, ", ")
}

func (p *page) timing(t *pb.Timing) {
	if len(t.GetCollectors()) == 0 {
		return
	}
	p.heading("Collectors")
	for _, c := range t.GetCollectors() {
		text := sentence(c.GetName()) + ": " + took(c.GetDuration().AsDuration())
		if c.GetLate() {
			text += ", late"
		}
		if c.GetError() != "" {
			text += ", " + sentence(c.GetError())
		}
		p.item(2, "- ", text, plain)
	}
}
