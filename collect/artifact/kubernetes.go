package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/collect/kubefacts"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// kindKubernetes is a file of Kubernetes objects, as manifests or as kubectl prints them.
	kindKubernetes = "kubernetes"
	// maxObjects bounds the objects of one file: 64 MiB of the shortest events hold as many.
	maxObjects = 200_000
	// maxLists bounds lists within lists, which kubectl never prints.
	maxLists = 4
	// maxProblems bounds the documents told one by one that can't be used.
	maxProblems = 4
	// maxProblem bounds what is told of one of them.
	maxProblem = 240
	// anyKind is that of what isn't read at all: it may be of any.
	anyKind = "*"
	// maxOtherKinds bounds the kinds listed that aren't used.
	maxOtherKinds = 8
)

// kubeFile gathers the Kubernetes objects of one file.
type kubeFile struct {
	in       *input
	objects  kubefacts.Objects
	seen     int            // objects looked at
	others   map[string]int // kinds that aren't used
	problems []string       // what can't be used, and why
	failed   []evidence.Name
	empty    []string // lists without items

	syncs   []evidence.ProxySync
	rows    int      // of tables
	badRows int      // rows that can't be read
	ages    []string // of the table's events
}

// kubeHead is what tells the kind of an object.
type kubeHead struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// eachItem gives the items of a list one by one: all of them at once would take the list's size once more.
func eachItem(list json.RawMessage, yield func(json.RawMessage)) {
	d := json.NewDecoder(bytes.NewReader(list))
	// What is given was parsed before, so that errors can't come; a list without items ends the loops.
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return
		}
		if key != "items" {
			var skipped json.RawMessage
			if d.Decode(&skipped) != nil {
				return
			}
			continue
		}
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return
		}
		for d.More() {
			var x json.RawMessage
			if d.Decode(&x) != nil {
				return
			}
			yield(x)
		}
		return
	}
}

// kubernetesJSON reads a document of Kubernetes objects: one, a list of them, or an array. ok is false where it is none, or has
// none of the kinds that are read.
func (in *input) kubernetesJSON(raw json.RawMessage) (outcome, bool) {
	if !bytes.Contains(raw, []byte(`"apiVersion"`)) {
		return outcome{}, false
	}
	var list []json.RawMessage
	if raw[0] == '[' {
		if json.Unmarshal(raw, &list) != nil {
			return outcome{}, false
		}
	} else {
		list = []json.RawMessage{raw}
	}
	m := &kubeFile{in: in, others: map[string]int{}}
	for i, d := range list {
		var h kubeHead
		if json.Unmarshal(d, &h) != nil || h.Kind == "" || h.APIVersion == "" {
			return outcome{}, false
		}
		where := ""
		if len(list) > 1 {
			where = fmt.Sprintf("document %d", i+1)
		}
		m.add(d, kubeHead{}, where, 0)
	}
	return m.done()
}

// add takes an object, or the items of a list. of is what the list around it says of its items.
func (m *kubeFile) add(raw json.RawMessage, of kubeHead, where string, depth int) {
	var h kubeHead
	if err := json.Unmarshal(raw, &h); err != nil {
		m.problem(where, of.Kind, errors.New("not a Kubernetes object"))
		return
	}
	if h.Kind == "" {
		h.Kind, h.APIVersion = of.Kind, of.APIVersion
	}
	if kind, ok := strings.CutSuffix(h.Kind, "List"); ok && depth < maxLists {
		n := 0
		eachItem(raw, func(x json.RawMessage) {
			n++
			m.add(x, kubeHead{Kind: kind, APIVersion: h.APIVersion}, strings.TrimPrefix(fmt.Sprintf("%s, item %d", where, n), ", "), depth+1)
		})
		if n == 0 {
			m.empty = append(m.empty, h.Kind)
		}
		return
	}
	if m.seen++; m.seen > maxObjects {
		if m.seen == maxObjects+1 {
			m.problem("", anyKind, fmt.Errorf("more than %d objects in one file", maxObjects))
		}
		return
	}
	if kubefacts.Facts(h.APIVersion, h.Kind) == nil {
		m.others[h.Kind]++
		return
	}
	if at := unrendered(raw); at != "" {
		m.problem(where, h.Kind, notRendered(at))
		return
	}
	origin := m.in.name
	if where != "" {
		origin += ", " + where
	}
	switch err := m.objects.Add(h.APIVersion, h.Kind, raw, origin); {
	case errors.Is(err, kubefacts.ErrNotTheMesh):
		m.others[h.Kind]++
	case err != nil:
		m.problem(where, h.Kind, fmt.Errorf("%s: %w", h.Kind, err))
	}
}

// problem notes what can't be used; facts of its kind aren't known wholly then.
func (m *kubeFile) problem(where, kind string, err error) {
	text := err.Error()
	if where != "" {
		text = where + ": " + text
	}
	if len(text) > maxProblem {
		text = strings.ToValidUTF8(text[:maxProblem], "") + "…"
	}
	m.problems = append(m.problems, text)
	facts := kubefacts.Facts("", kind)
	if kind == anyKind {
		facts = kubefacts.Provides()
	}
	for _, f := range facts {
		if !slices.Contains(m.failed, f) {
			m.failed = append(m.failed, f)
			m.in.set.Fail(f, m.in.source(evidence.FromAPI, where), fmt.Errorf("%s: %s", m.in.name, text))
		}
	}
}

// done records what was gathered. ok is false where nothing was: the file may be something else.
func (m *kubeFile) done() (o outcome, ok bool) {
	counts := m.objects.Counts()
	if len(m.syncs) > 0 {
		counts = append(counts, kubefacts.Count{Kind: "proxy's state in istiod", N: len(m.syncs)})
	}
	switch {
	case len(counts) == 0 && len(m.problems) == 0 && len(m.empty) > 0 && len(m.others) == 0:
		// It proves nothing: of which namespace it is the list doesn't say.
		return unused("an empty list of Kubernetes objects (%.60s)", m.empty[0]), true
	case len(counts) == 0 && len(m.problems) == 0:
		return outcome{}, false
	}
	src := m.in.source(evidence.FromAPI, "")
	m.objects.Put(m.in.set, src)
	m.putSyncs(src)
	note := countKinds(counts)
	if len(counts) > 0 {
		note += m.in.scanMessages(m.objects.Messages())
	}
	for i, p := range m.problems {
		if i == maxProblems {
			note = andThen(note, fmt.Sprintf("%d more can't be used", len(m.problems)-i))
			break
		}
		note = andThen(note, p)
	}
	if m.badRows > 0 {
		note = andThen(note, plural(m.badRows, "row isn't readable", "rows aren't readable"))
	}
	if len(m.others) > 0 {
		note = andThen(note, "not used: "+otherKinds(m.others))
	}
	if len(counts) == 0 {
		o = unused("Kubernetes objects: %s", note)
		o.broken = kindKubernetes
		return o, true
	}
	return used(kindKubernetes, "%s", note), true
}

func andThen(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// countKinds gives "2 Namespaces, 1 Pod".
func countKinds(counts []kubefacts.Count) string {
	parts := make([]string, 0, len(counts))
	for _, c := range counts {
		parts = append(parts, plural(c.N, c.Kind, kindPlural(c.Kind)))
	}
	return strings.Join(parts, ", ")
}

func kindPlural(kind string) string {
	switch {
	case kind == "row of a pod":
		return "rows of pods"
	case strings.HasPrefix(kind, "proxy's"):
		return "proxies' states in istiod"
	case kind == "Endpoints" || kind == "":
		return kind
	case strings.HasSuffix(kind, "cy"):
		return strings.TrimSuffix(kind, "y") + "ies"
	case strings.HasSuffix(kind, "s") || strings.HasSuffix(kind, "ss"):
		return kind + "es"
	}
	return kind + "s"
}

func otherKinds(kinds map[string]int) string {
	names := make([]string, 0, len(kinds))
	for k := range kinds {
		names = append(names, k)
	}
	slices.Sort(names)
	var parts []string
	for i, k := range names {
		if i == maxOtherKinds {
			parts = append(parts, fmt.Sprintf("%d other kinds", len(names)-i))
			break
		}
		what := "objects without a kind"
		if k != "" {
			what = fmt.Sprintf("%.60s", k)
			if kinds[k] > 1 {
				what = fmt.Sprintf("%d %s", kinds[k], kindPlural(what))
			}
		}
		parts = append(parts, what)
	}
	return strings.Join(parts, ", ")
}

// templateAction is an action of a Helm chart's template, which isn't YAML yet.
var templateAction = regexp.MustCompile(`\{\{-?\s*(?:/\*|\$|\.(?:Values|Release|Chart|Capabilities|Files|Template)\b|(?:if|else|end|range|with|include|template|define|toYaml|tpl|default|quote|printf)\b)[^}\n]{0,60}`)

// notRendered says that a document is a template; at is an action in it.
func notRendered(at string) error {
	return fmt.Errorf("a Helm template (%s), not a manifest: hand in what helm template or helm get manifest prints", strings.TrimSpace(at))
}

// unrendered gives a template's action in what names an object. Elsewhere they may be meant: the injector's own templates, and
// Vault's annotations, are made of such.
func unrendered(raw json.RawMessage) string {
	if !bytes.Contains(raw, []byte("{{")) {
		return ""
	}
	var h struct {
		Metadata struct {
			Name      json.RawMessage `json:"name"`
			Namespace json.RawMessage `json:"namespace"`
			Labels    json.RawMessage `json:"labels"`
		} `json:"metadata"`
	}
	if json.Unmarshal(raw, &h) != nil {
		return ""
	}
	for _, x := range []json.RawMessage{h.Metadata.Name, h.Metadata.Namespace, h.Metadata.Labels} {
		if a := templateAction.Find(x); a != nil {
			return string(a)
		}
	}
	return ""
}

// scanMessages looks for known messages in what objects say, and records them. It gives what to say of it.
func (in *input) scanMessages(list []kubefacts.Message) string {
	src := in.source(evidence.FromAPI, "")
	found, err := kubefacts.Scan(func(text io.Reader, file string, src evidence.Source) ([]evidence.LogMessage, error) {
		m, _, err := in.reader.scanner.Scan(&bounded{ctx: in.ctx, r: text}, file, src)
		return m, err
	}, list, in.name, src)
	switch {
	case err != nil:
		in.set.Fail(evidence.LogMessages.Name(), src, err)
		return fmt.Sprintf("; what they say: %v", err)
	case len(found) == 0:
		return ""
	}
	evidence.Put(in.set, evidence.LogMessages, found, src)
	return "; " + plural(len(found), "known message", "known messages")
}
