package startup

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// moment is something that happened while a pod started.
type moment struct {
	Time time.Time
	What string // "istio-proxy started"
	From string // "pod status", "event", "log of app"

	often  string // "5× in 41.0s", "" for once
	weight int    // what matters more is kept where not all can be shown
	order  int    // of what happened in the same instant: a status tells whole seconds
}

// The weights. What is below telling goes first where a time line is too long.
const (
	detail  = iota // that an image was pulled
	telling        // that a container started or ended
	turning        // what a cause rests on
)

const (
	// timelineLines bounds a time line, with the line that says when it begins: a screenful with the rest of the cause.
	timelineLines = 12
	// timelineColumns bounds a line of it, so that reports don't wrap it.
	timelineColumns = 90
)

// timeline puts together what a pod's status, its events and its log messages tell of its start, in the order of time. What carries
// no time isn't in it.
func timeline(pod *kube.Pod, events []kube.Event, lines []line) []moment {
	var out []moment
	add := func(at time.Time, weight, order int, from, format string, a ...any) {
		if !at.IsZero() {
			out = append(out, moment{Time: at, What: fmt.Sprintf(format, a...), From: from, weight: weight, order: order})
		}
	}
	again := func(count int, first, last time.Time) {
		if n := len(out); n > 0 && !first.IsZero() && count > 1 && last.After(first) {
			out[n-1].often = fmt.Sprintf(" (%d× in %s)", count, seconds(last.Sub(first)))
		}
	}
	const (
		status                                            = "pod status"
		initFirst, containersFirst, saidFirst, readyFirst = 10, 1000, 2000, 3000 // places in the order of one instant
	)
	told := map[string]bool{} // containers whose start the status tells
	states := func(names []kube.Container, first int) {
		for i, c := range names {
			s := pod.StatusOf(c.Name)
			if s == nil {
				continue
			}
			order := first + 2*i
			for _, t := range []*kube.Terminated{s.Last.Terminated, s.State.Terminated} {
				if t == nil {
					continue
				}
				told[c.Name] = told[c.Name] || !t.Started.IsZero()
				weight := telling
				if t.ExitCode != 0 || c.Name == kube.InitContainer {
					weight = turning
				}
				begin := detail // of an init container its end tells as much
				if first == containersFirst {
					begin = max(telling, weightOf(c.Name))
				}
				add(t.Started, begin, order, status, "%s started", c.Name)
				add(t.Finished, weight, order+1, status, "%s ended: %s%s", c.Name, end(t), consequence(c.Name, t))
			}
			if r := s.State.Running; r != nil {
				told[c.Name] = told[c.Name] || !r.Started.IsZero()
				restarted := ""
				if s.Restarts > 0 {
					restarted = fmt.Sprintf(" again (restart %d)", s.Restarts)
				}
				add(r.Started, max(telling, weightOf(c.Name)), order, status, "%s started%s", c.Name, restarted)
			}
		}
	}
	add(pod.Status.Started, detail, 0, status, "the node began with the pod")
	states(pod.Spec.InitContainers, initFirst)
	states(pod.Spec.Containers, containersFirst)
	if c := kube.FindCondition(pod.Status.Conditions, "Ready"); c != nil && c.Status == "True" {
		add(c.Changed, telling, readyFirst+1, status, "the pod is ready")
	}
	for _, e := range events {
		c := containerOf(e)
		if e.Reason == "Started" && told[c] {
			continue
		}
		add(e.First, eventWeight(e), saidFirst, "event", "%s", eventWords(e, c))
		again(e.Count, e.First, e.Last)
	}
	for _, l := range lines {
		what, weight, order := lineWords(l)
		if what == "" {
			continue
		}
		add(l.First, weight, saidFirst+order, l.where(), "%s", what)
		again(l.Count, l.First, l.Last)
	}
	slices.SortStableFunc(out, func(a, b moment) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.order, b.order), strings.Compare(a.What, b.What), strings.Compare(a.From, b.From))
	})
	return slices.CompactFunc(out, func(a, b moment) bool { return a.Time.Equal(b.Time) && a.What == b.What })
}

// show writes a time line: when it begins, and then a line a moment with its distance from there, the most telling ones where there
// are too many. It is empty where there is none.
func show(moments []moment) string {
	if len(moments) == 0 {
		return ""
	}
	kept := moments
	left := 0
	if most := timelineLines - 1; len(moments) > most {
		most-- // a line says that some were left out
		kept = slices.Clone(moments)
		for weight := detail; weight < turning && len(kept) > most; weight++ {
			// The latest of a weight go first: a start is decided at its beginning.
			for i := len(kept) - 1; i > 0 && len(kept) > most; i-- {
				if kept[i].weight == weight {
					kept = slices.Delete(kept, i, i+1)
				}
			}
		}
		kept = kept[:min(len(kept), most)]
		left = len(moments) - len(kept)
	}
	zero := kept[0].Time
	offsets := make([]string, len(kept))
	width := 0
	for i, m := range kept {
		offsets[i] = "+" + seconds(m.Time.Sub(zero))
		width = max(width, len(offsets[i]))
	}
	var b strings.Builder
	b.WriteString("from " + zero.UTC().Format(time.RFC3339) + ":")
	for i, m := range kept {
		from := "  [" + m.From + "]"
		b.WriteString("\n" + strings.Repeat(" ", width-len(offsets[i])) + offsets[i] + "  ")
		b.WriteString(fit(m.What, timelineColumns-width-2-utf8.RuneCountInString(m.often+from)) + m.often + from)
	}
	if left > 0 {
		fmt.Fprintf(&b, "\n%s  and %d more", strings.Repeat(" ", width), left)
	}
	return b.String()
}

// seconds writes a distance: "0.0s", "12.3s", "1h2m3s".
func seconds(d time.Duration) string {
	const far = 10 * time.Minute
	if d >= far {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// fit makes text one line of at most n characters.
func fit(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n && n > 1 {
		return string(r[:n-1]) + "…"
	}
	return s
}

// end says how a container ended.
func end(t *kube.Terminated) string {
	switch {
	case t.Reason == "OOMKilled":
		return "out of memory (OOMKilled)"
	case t.ExitCode != 0:
		return fmt.Sprintf("exit code %d", t.ExitCode)
	default:
		return "done"
	}
}

// consequence says what the end of an init container means for those after it.
func consequence(name string, t *kube.Terminated) string {
	if name == kube.InitContainer && t.ExitCode == 0 {
		return "; traffic goes to the proxy from here"
	}
	return ""
}

func weightOf(container string) int {
	if container == kube.ProxyContainer {
		return turning
	}
	return telling
}

// containerOf gives the container that an event is about: "spec.containers{istio-proxy}", or that its message names.
func containerOf(e kube.Event) string {
	if _, rest, ok := strings.Cut(e.Involved.FieldPath, "{"); ok {
		return strings.TrimSuffix(rest, "}")
	}
	for _, before := range []string{"Started container ", "Created container: ", "Created container "} {
		if name, ok := strings.CutPrefix(e.Message, before); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

func eventWeight(e kube.Event) int {
	switch e.Reason {
	case "Unhealthy", "FailedPostStartHook":
		return turning
	case "Started", "BackOff", "Failed", "Killing", "FailedCreatePodSandBox":
		return telling
	}
	return detail
}

func eventWords(e kube.Event, container string) string {
	words := statusCode.ReplaceAllString(e.Message, "status code $1")
	if e.Reason == "Started" && container != "" {
		return container + " started"
	}
	if e.Reason == "FailedPostStartHook" {
		words = "the wait for the proxy failed: " + hookWords(e.Message)
	}
	if container != "" && !strings.Contains(words, container) {
		words = container + ": " + words
	}
	return words
}

// statusCode finds the kubelet's long words for a probe's status code.
var statusCode = regexp.MustCompile(`HTTP probe failed with statuscode: (\d+)`)

// hookWords gives the end of a hook's failure, which says why.
func hookWords(s string) string {
	if _, last, ok := strings.Cut(s, "Last error: "); ok {
		return last
	}
	if _, last, ok := strings.Cut(s, "failed - error: "); ok {
		return last
	}
	return s
}

// lineWords says in a few words what a message tells; "" for those that tell nothing of a start.
func lineWords(l line) (what string, weight, order int) {
	const early, late = 0, 10
	switch l.Signature {
	case messages.ConnectionRefused.ID:
		r, ok := refused(l)
		if !ok {
			return "", detail, early
		}
		who := r.container
		if who == "" {
			who = "an application"
		}
		return who + ": connection refused, to " + r.toward(), turning, early
	case messages.ProxyReady.ID:
		return "istio-proxy is ready", turning, late
	case messages.ProxyNotReady.ID:
		if l.Fields["terminated"] != "" {
			return "istio-proxy is being shut down", telling, early
		}
		return "istio-proxy NOT ready: " + notReadyWords(l), telling, early
	case messages.ProxyWaitFailed.ID:
		return "the wait for the proxy failed: " + cmp.Or(l.Fields["error"], l.Fields["text"], l.Fields["failure"], "exit code "+l.Fields["exit"]), turning, early
	case messages.InterceptionSetupFailed.ID, messages.InterceptionNotValid.ID:
		return l.quote(), turning, early
	case messages.ProbeFailed.ID:
		f := l.Fields
		probe := cmp.Or(f["probe"], f["type"])
		if f["status"] != "" {
			return probe + " probe failed: status code " + f["status"], turning, early
		}
		return probe + " probe failed: " + cut(f["error"], maxName), turning, early
	}
	return "", detail, early
}

// notReadyWords says why the proxy wasn't ready.
func notReadyWords(l line) string {
	f := l.Fields
	switch {
	case f["config"] == "received":
		return "configuration rejected"
	case f["config"] == "not fully received":
		return "part of its configuration lacks"
	case f["config"] != "":
		return "no configuration yet"
	case f["state"] != "":
		return "state " + f["state"]
	case f["workers"] != "":
		return "its workers have not started"
	case f["failed"] != "":
		return "its admin interface doesn't answer"
	default:
		return cmp.Or(f["other"], f["stat"])
	}
}

// quote gives the message itself on one line, shortened.
func (l line) quote() string { return cut(strings.Join(strings.Fields(l.Text), " "), maxQuote) }

// cut shortens a quoted text.
func cut(s string, n int) string {
	s = strings.TrimSpace(s)
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
