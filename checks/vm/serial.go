package vm

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The messages of a set-up, and what shows that it got further.
var (
	fetchFailed = regexp.MustCompile(messages.FetchFailed.Pattern)
	noModules   = regexp.MustCompile(messages.IPv6ModulesMissing.Pattern)
	setupFailed = regexp.MustCompile(messages.ServiceProxySetup.Pattern)

	// ansi are the colours that systemd writes to a console.
	ansi = regexp.MustCompile(`\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\^_c])`)

	bootBegins   = regexp.MustCompile(`Linux version \d`)
	mentionsIt   = regexp.MustCompile(`service-proxy`)
	copied       = regexp.MustCompile(`Operation completed over \d+ object`)
	packagesCame = regexp.MustCompile(`Fetched [\d.,]+ ?[kMG]?B in |\bSetting up \S+ \(|^.*\bComplete!$`)
	agentStarted = regexp.MustCompile(`(?i)\bstarted\b[^\n]*\bservice[ -]proxy[ -]agent\b|service-proxy-agent[^\n]*\bstarted\b`)
	harmless     = regexp.MustCompile(`(?i)\b(?:0|no|without(?: any)?) (?:errors?|failures?)\b`)
	ofStorage    = regexp.MustCompile(`gs://|gsutil|storage[.:]|ServiceException|AccessDeniedException`)
	ofOSConfig   = regexp.MustCompile(`OSConfigAgent`)
)

// hit is a line of a serial port's output, or of a log, that a pattern recognised.
type hit struct {
	file    string
	line    int
	text    string
	exhibit diagnose.Exhibit
}

// serialLines gives a serial port's lines that a pattern recognises. Of lines before the last start of the system those are
// left out that only concern a running kernel.
func serialLines(ports []evidence.SerialPort, re *regexp.Regexp, thisBoot bool) []hit {
	var out []hit
	for _, p := range ports {
		if p.Port > 1 {
			continue // other ports are consoles and such
		}
		found := len(out)
		n := 0
		for line := range strings.Lines(ansi.ReplaceAllString(p.Text, "")) {
			n++
			if thisBoot && bootBegins.MatchString(line) {
				out = out[:found]
			}
			if !re.MatchString(strings.TrimRight(line, "\r\n")) || harmless.MatchString(line) {
				continue
			}
			out = append(out, hit{
				file: p.Source.Detail, line: n, text: line,
				exhibit: diagnose.Exhibit{Fact: evidence.SerialPorts.Name(), Excerpt: "serial port 1: " + clip(line, maxExcerpt), Source: p.Source},
			})
		}
	}
	return out
}

// after says whether a line that re recognises comes after a hit in a serial port's output.
func after(ports []evidence.SerialPort, h hit, re *regexp.Regexp) bool {
	for _, p := range ports {
		if p.Source.Detail != h.file {
			continue
		}
		n := 0
		for line := range strings.Lines(ansi.ReplaceAllString(p.Text, "")) {
			if n++; n > h.line && re.MatchString(strings.TrimRight(line, "\r\n")) {
				return true
			}
		}
	}
	return false
}

// setupLog is what is known of a set-up by what it wrote.
type setupLog struct {
	ports []evidence.SerialPort
	log   []evidence.LogMessage
	vm    evidence.Instance
	tally evidence.Tally
}

// readSetup reads what a set-up wrote. The error says why it is nothing to judge by: the set-up is done, or there is no such
// VM. Of messages in the serial port's own text those of the log are repeats.
func readSetup(req diagnose.Request, v *evidence.View) (setupLog, error) {
	var s setupLog
	s.ports, _ = evidence.Read(&s.tally, v, evidence.SerialPorts)
	messages, _ := evidence.Read(&s.tally, v, evidence.LogMessages)
	attrs, attrsErr := evidence.Get(v, evidence.GuestAttributes)
	name := ""
	for _, p := range s.ports {
		name = cmp.Or(name, p.Instance)
	}
	vm, vmErr := about(req, v, cmp.Or(name, attrs.Instance))
	s.vm = vm
	for _, m := range messages {
		if !slices.ContainsFunc(s.ports, func(p evidence.SerialPort) bool {
			return p.Source.Collector == m.Source.Collector && p.Source.Detail == m.Source.Detail
		}) {
			s.log = append(s.log, m)
		}
	}
	r := report{GuestAttributeSet: attrs}
	switch {
	case attrsErr == nil && r.status() == statusFinished:
		return s, diagnose.Skip("the set-up is done: bootstrap-status is %s", statusFinished)
	case vmErr == nil && vm.Status != "" && vm.Status != "RUNNING":
		return s, diagnose.Skip("VM %s is %s", vm.Name, vm.Status)
	}
	return s, nil
}

// serviceProxy says whether what was read is of a service proxy's set-up: the VM was made for it, or a line names it.
func (s setupLog) serviceProxy() bool {
	return serviceProxy(s.vm) || slices.ContainsFunc(s.ports, func(p evidence.SerialPort) bool { return mentionsIt.MatchString(p.Text) })
}

// named gives the messages of a log that a signature recognised and that name the service proxy or the OS Config agent.
func (s setupLog) named(sig diagnose.Signature) []hit {
	var out []hit
	for _, m := range s.log {
		if m.Signature == sig.ID && (mentionsIt.MatchString(m.Text) || sig.ID == messages.IPv6ModulesMissing.ID) && !harmless.MatchString(m.Text) {
			out = append(out, hit{file: m.File, line: m.Line, text: m.Text, exhibit: logged(m)})
		}
	}
	return out
}

// cause makes a cause of hits.
func (s setupLog) cause(req diagnose.Request, hits []hit, c diagnose.Confidence, summary string) diagnose.Cause {
	name := ""
	for _, p := range s.ports {
		name = cmp.Or(name, p.Instance)
	}
	out := diagnose.Cause{Subject: subject(req, s.vm, name), About: aboutVM(req, s.vm, name), Confidence: c, Summary: summary, Params: params(req, s.vm, name)}
	for _, h := range hits[:min(len(hits), maxQuotes)] {
		out.Evidence = append(out.Evidence, h.exhibit)
	}
	if n := len(hits) - maxQuotes; n > 0 {
		last := &out.Evidence[maxQuotes-1]
		last.Excerpt += fmt.Sprintf(" (and %d lines more)", n)
	}
	return out
}

// maxQuotes bounds the lines that are shown of a log.
const maxQuotes = 3
