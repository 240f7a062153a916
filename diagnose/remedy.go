package diagnose

import (
	"maps"
	"regexp"
	"strings"
	"unicode"

	"github.com/meshdiag/meshdiag/evidence"
)

// finding joins a cause with what its check knows.
func finding(c Check, req Request, cause Cause, view *evidence.View) Finding {
	f := Finding{
		Check: c.ID, Title: c.Doc.Title, Severity: c.Severity, Confidence: cause.Confidence,
		Subject: cause.Subject, Summary: cause.Summary, Explanation: c.Doc.Explanation, References: c.Doc.References,
		Params: params(req.Target, cause.Params), key: cause.Key, about: cause.About,
	}
	if cause.Severity != SeverityUnset {
		f.Severity = cause.Severity
	}
	if f.Confidence == ConfidenceUnset {
		f.Confidence = Possible
	}
	for _, x := range cause.Evidence {
		if x.Source == (evidence.Source{}) {
			x.Source, _ = view.SourceOf(x.Fact)
		}
		f.Evidence = append(f.Evidence, x)
	}
	f.Remedy, f.unfilled = render(c.Doc.Remedy, f.Params)
	return f
}

// Key gives the path by which the finding folds others.
func (f Finding) Key() string { return f.key }

// Unfilled gives the parameters that the remedy names and that aren't known.
func (f Finding) Unfilled() []string { return f.unfilled }

// params are the cause's parameters over those that the target itself gives.
func params(t Target, own map[string]string) map[string]string {
	p := map[string]string{
		"project": t.Project, "network": t.Network, "mesh": t.MeshName(), "scope": t.GatewayScope(), "node_id": t.NodeID,
		"zone": t.Zone, "instance": t.Instance,
		"cluster": t.Cluster, "namespace": t.Namespace, "pod": t.Pod, "revision": t.Revision,
	}
	if kind, name, ok := strings.Cut(t.Workload, "/"); ok {
		p["workload"] = strings.ToLower(kind) + "/" + name
	}
	maps.Copy(p, own)
	maps.DeleteFunc(p, func(_, v string) bool { return v == "" })
	return p
}

var (
	placeholder = regexp.MustCompile(`\{\{(\w+)\}\}`)
	plainWord   = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,~-]+$`)
)

// Render fills in the steps of a remedy that apply. {{name}} stands for a parameter; in commands it is quoted for a POSIX
// shell, so that text from a log can't become a command. One that isn't known, or that a command could take for a flag,
// shows as its name in capitals.
func Render(steps []Step, p map[string]string) []Action {
	out, _ := render(steps, p)
	return out
}

func render(steps []Step, p map[string]string) (out []Action, unfilled []string) {
	for _, s := range steps {
		if (s.If != "" && p[s.If] == "") || (s.Unless != "" && p[s.Unless] != "") {
			continue
		}
		out = append(out, Action{
			Text:    fill(s.Text, p, printable, &unfilled),
			Command: inCluster(fill(s.Command, p, shellWord, &unfilled), p["cluster"]),
		})
	}
	return out, unfilled
}

// inCluster makes a kubectl command one for the cluster that was asked about, where the request named one.
func inCluster(command, cluster string) string {
	name := shellWord(cluster)
	if rest, ok := strings.CutPrefix(command, "kubectl "); ok && name != "" {
		return "kubectl --context " + name + " " + rest
	}
	return command
}

func fill(text string, p map[string]string, as func(string) string, unfilled *[]string) string {
	return placeholder.ReplaceAllStringFunc(text, func(m string) string {
		name := m[2 : len(m)-2]
		if v := as(p[name]); v != "" {
			return v
		}
		*unfilled = append(*unfilled, name)
		return strings.ToUpper(name)
	})
}

// printable drops what could drive a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

func shellWord(s string) string {
	s = printable(s)
	switch {
	case s == "" || strings.HasPrefix(s, "-"):
		return ""
	case plainWord.MatchString(s):
		return s
	default:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
}
