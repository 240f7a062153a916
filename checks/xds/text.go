package xds

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// How much is shown. A rejected response may name hundreds of resources, each with a page of validation errors: the first
// few say what is wrong.
const (
	maxShown    = 3    // exhibits a rejection
	maxNamed    = 3    // resources or clients named in a sentence
	maxReason   = 300  // bytes of a reason in an exhibit
	maxBrief    = 110  // bytes of a reason in a summary
	maxExcerpt  = 600  // bytes of log lines in an exhibit
	maxDetails  = 8192 // bytes of a reason that are looked at
	maxFaults   = 64   // reasons read out of one text
	maxNormal   = 160  // bytes of a reason by which it is told from others
	maxGroups   = 10   // causes a check gives: beyond them the rest is one
	maxNameSize = 120  // characters of names in a sentence
	maxLines    = 8    // lines of one exhibit
)

// fault is one resource and why it was refused.
type fault struct{ resource, reason string }

var (
	envoyHead    = regexp.MustCompile(`^Error adding/updating (?:listener|cluster)(?:\(s\))?\s*`)
	grpcHead     = regexp.MustCompile(`^(?:xds: )?error parsing "?\w+"? response: (?:top level errors: )?`)
	grpcResource = regexp.MustCompile(`resource "((?:[^"\\]|\\.)*)": `)
	javaReason   = regexp.MustCompile(`^\w+ response \w+ '([^']*)' validation error: (.*)$`)
)

// faults takes the text of a rejection apart. Envoy puts one "name: reason" on a line, grpc-go one `resource "name": reason`
// after another, grpc-java a sentence on a line; anything else is one reason.
func faults(text string) []fault {
	text = clip(text, maxDetails)
	text = strings.TrimSpace(strings.NewReplacer(`\n`, "\n", `\"`, `"`, "\r", "").Replace(text))
	if text == "" {
		return nil
	}
	var out []fault
	switch {
	case envoyHead.MatchString(text):
		out = envoyFaults(envoyHead.ReplaceAllString(text, ""))
	case grpcHead.MatchString(text):
		out = grpcFaults(grpcHead.ReplaceAllString(text, ""))
	default:
		for _, l := range strings.Split(text, "\n") {
			m := javaReason.FindStringSubmatch(strings.TrimSpace(l))
			if m == nil {
				out = []fault{{"", oneLine(text)}}
				break
			}
			out = append(out, fault{m[1], m[2]})
		}
	}
	return out[:min(len(out), maxFaults)]
}

// envoyFaults reads "name: reason" lines. A name alone has its reason on the next line. In what follows, further details of the same
// kind may begin anew.
func envoyFaults(text string) []fault {
	var out []fault
	name := ""
	for _, l := range strings.Split(text, "\n") {
		l = strings.TrimSpace(envoyHead.ReplaceAllString(strings.TrimSpace(l), ""))
		n, reason, ok := strings.Cut(l, ": ")
		switch {
		case l == "":
		case name != "":
			out = append(out, fault{name, l})
			name = ""
		case strings.HasSuffix(l, ":") && !strings.Contains(l, ": "):
			name = strings.TrimSuffix(l, ":")
		case ok && !strings.ContainsAny(n, " '"):
			out = append(out, fault{n, strings.TrimSpace(reason)})
		case len(out) > 0:
			out[len(out)-1].reason += " " + l
		default:
			out = append(out, fault{"", l})
		}
	}
	if name != "" {
		out = append(out, fault{name, ""})
	}
	return out
}

// grpcFaults reads `resource "name": reason` parts, separated by ";" and a line break.
func grpcFaults(text string) []fault {
	at := grpcResource.FindAllStringSubmatchIndex(text, -1)
	trim := func(s string) string { return strings.Trim(oneLine(s), "; ") }
	if len(at) == 0 {
		return []fault{{"", trim(text)}}
	}
	var out []fault
	if s := trim(text[:at[0][0]]); s != "" {
		out = append(out, fault{"", s})
	}
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		out = append(out, fault{text[m[2]:m[3]], trim(text[m[1]:end])})
	}
	return out
}

var (
	ipv4    = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}\b`)
	pointer = regexp.MustCompile(`\b0x[0-9a-f]{6,}\b`)
)

// normal reduces a reason to what two clients with the same trouble have in common: without the resource's and the client's name, addresses of
// single machines, and pointers.
func normal(reason, resource, client string) string {
	if k := kindOf(reason).key; k != "" {
		return k
	}
	for _, s := range []string{resource, client} {
		if s != "" {
			reason = strings.ReplaceAll(reason, s, "…")
		}
	}
	reason = pointer.ReplaceAllString(ipv4.ReplaceAllString(reason, "ADDRESS"), "POINTER")
	return clip(oneLine(reason), maxNormal)
}

// oneLine puts text on one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// clip cuts text to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// brief shortens a resource's name for a sentence: of an xdstp name the last segment tells it from others, and of a long
// one both ends.
func brief(name string, n int) string {
	name = oneLine(name)
	if strings.HasPrefix(name, "xdstp:") {
		if last := name[strings.LastIndexByte(name, '/')+1:]; last != "" {
			name = last
		}
	}
	r := []rune(name)
	if len(r) <= n {
		return name
	}
	half := (n - 1) / 2
	return string(r[:half]) + "…" + string(r[len(r)-half:])
}

// some names the first few of a list: "a, b and 3 more".
func some(list []string, size int) string {
	short := make([]string, 0, maxNamed)
	for _, s := range list[:min(len(list), maxNamed)] {
		short = append(short, brief(s, size))
	}
	if n := len(list) - maxNamed; n > 0 {
		return strings.Join(short, ", ") + fmt.Sprintf(" and %d more", n)
	}
	if n := len(short); n > 1 {
		return strings.Join(short[:n-1], ", ") + " and " + short[n-1]
	}
	return strings.Join(short, "")
}

// plural gives "1 client" or "3 clients".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// trimStop drops a full stop at the end, where a sentence is to go on.
func trimStop(s string) string { return strings.TrimRight(s, ". ") }
