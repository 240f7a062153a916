package artifact

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/meshdiag/meshdiag/collect/accesslog"
	"github.com/meshdiag/meshdiag/collect/kubefacts"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// The kinds of files that are read for their messages.
const (
	kindLog        = "log"
	kindAPIError   = "api-error"
	kindLogEntries = "log-entries" // of Cloud Logging; told as a log
)

// topKey finds keys at the start of a line, as the top level of a YAML mapping has them.
var topKey = regexp.MustCompile(`(?m)^["']?([A-Za-z_][A-Za-z0-9_]*)["']?[ \t]*:`)

// text reads a file that doesn't begin like JSON: a sidecar.env, YAML, else a log.
func (in *input) text(data []byte) outcome {
	if o, ok := in.vmText(data); ok {
		return o
	}
	if o, ok := in.sidecarEnv(data); ok {
		return o
	}
	if o, ok := in.kubectlText(data); ok {
		return o
	}
	if !looksLikeYAML(data) {
		return in.log(bytes.NewReader(data))
	}
	if o, ok := in.manifestYAML(data); ok {
		return o
	}
	docs, err := yamlDocuments(data)
	if err != nil {
		if filled := fillInYAML(data); filled != nil {
			if again, err2 := yamlDocuments(filled); err2 == nil {
				docs, err = again, nil
			}
		}
	}
	if err != nil {
		var keys []string
		for _, m := range topKey.FindAllSubmatch(data[:min(len(data), maxYAML)], maxKeysSeen) {
			keys = append(keys, string(m[1]))
		}
		if k, ok := kindByKeys(keys); ok {
			return in.broken(k, err)
		}
		return in.log(bytes.NewReader(data))
	}
	if o, ok := in.yamlFile(docs); ok {
		return o
	}
	if o, ok := in.logIfKnown(data); ok || !configLike(docs) {
		return o
	}
	what := describe(docs[0])
	if len(docs) > 1 {
		what = fmt.Sprintf("%d YAML documents, the first: %s", len(docs), what)
	}
	return unused("not recognised: %s", what)
}

// yamlFile reads the documents of a YAML file. Those that aren't recognised are told where another is.
func (in *input) yamlFile(docs []json.RawMessage) (outcome, bool) {
	if len(docs) == 1 {
		return in.document(docs[0], "")
	}
	// Documents of one kind are like a list of them.
	if o, ok := in.document(joined(docs), ""); ok {
		return o, true
	}
	var first outcome
	n := 0
	for i, d := range docs {
		o, ok := in.document(d, fmt.Sprintf("document %d", i+1))
		if !ok {
			continue
		}
		n++
		if first.kind == "" && (first.note == "" || o.used) {
			first = o
		}
	}
	if n > 0 && len(docs) > n {
		first.note += fmt.Sprintf("; %d of %d documents not recognised", len(docs)-n, len(docs))
	}
	return first, n > 0
}

// configLike tells a YAML configuration from log lines that happen to parse: its first document is a mapping with plain
// keys and some structure, or a list of mappings.
func configLike(docs []json.RawMessage) bool {
	if len(docs) == 0 {
		return false
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(docs[0], &m) != nil {
		var l []map[string]json.RawMessage
		return json.Unmarshal(docs[0], &l) == nil && len(l) > 0
	}
	nested := 0
	for k, v := range m {
		if !plainKey.MatchString(k) {
			return false
		}
		if v[0] == '{' || v[0] == '[' {
			nested++
		}
	}
	return nested > 0 || kubernetesKind(m) != ""
}

// log reads a log for its known messages.
func (in *input) log(r io.Reader) outcome {
	o, _ := in.scan(r, kindLog, evidence.FromWorkload, true)
	return o
}

// logIfKnown reads text as a log if it holds a known message or an access log's entry; ok says whether it does. The outcome is that of a log anyway,
// and nothing is recorded where ok is false.
func (in *input) logIfKnown(data []byte) (o outcome, ok bool) {
	return in.scan(bytes.NewReader(data), kindLog, evidence.FromWorkload, false)
}

// scan looks for messages and for the entries of access logs, and records them; where always is false, only if there are any.
// ok says whether there are.
func (in *input) scan(r io.Reader, kind string, v evidence.Vantage, always bool) (outcome, bool) {
	src := in.source(v, "")
	requests := accesslog.New(in.name, src)
	messages, stats, err := in.reader.scanner.Watched(requests.Block).Scan(&bounded{ctx: in.ctx, r: r}, in.name, src)
	if err != nil {
		in.set.Fail(evidence.LogMessages.Name(), src, err)
		if requests.Entries() > 0 {
			in.set.Fail(evidence.AccessLogs.Name(), src, err)
		}
		return unused("log: %v", err), true
	}
	if in.alone {
		for i := range messages {
			messages[i].Of = stats.Lines
		}
	}
	var o outcome
	if len(messages) == 0 {
		o = used(kind, "no known message in %s", count(stats.Lines, "line"))
	} else {
		o = used(kind, "%s with a known message, of %d", count(stats.Matched, "line"), stats.Lines)
	}
	if stats.Dropped > 0 {
		o.note += fmt.Sprintf("; %s of further messages left out", count(stats.Dropped, "occurrence"))
	}
	entries := in.putRequests(requests, src)
	o.note += entries
	found := len(messages) > 0 || entries != ""
	if always || found {
		evidence.Put(in.set, evidence.LogMessages, messages, src)
	}
	return o, found
}

// bounded ends reading with ctx.
type bounded struct {
	ctx context.Context
	r   io.Reader
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, fmt.Errorf("stopped: %w", err)
	}
	return b.r.Read(p)
}

// apiError reads the error answer of a Google API for its text.
func (in *input) apiError(raw json.RawMessage) outcome {
	o, _ := in.scan(bytes.NewReader(raw), kindAPIError, evidence.FromAPI, true)
	return o
}

// logEntries reads entries of Cloud Logging, which gcloud prints newest first, in the order of their times. Entries that are
// events of a Kubernetes cluster are kept as such.
func (in *input) logEntries(entries []json.RawMessage) outcome {
	m := &kubeFile{in: in, others: map[string]int{}}
	rest := make([]json.RawMessage, 0, len(entries))
	for i, e := range entries {
		var at struct {
			Timestamp string          `json:"timestamp"`
			Payload   json.RawMessage `json:"jsonPayload"`
		}
		// An entry whose timestamp isn't a string has none for us.
		_ = json.Unmarshal(e, &at)
		when, _ := time.Parse(time.RFC3339Nano, at.Timestamp)
		event, ok := kubefacts.LoggedEvent(at.Payload, when)
		if !ok {
			rest = append(rest, e)
			continue
		}
		event.Origin = fmt.Sprintf("%s, entry %d", in.name, i+1)
		m.objects.Events = append(m.objects.Events, event)
	}
	m.objects.Events = kubefacts.Latest(m.objects.Events)
	slices.SortStableFunc(m.objects.Events, func(a, b kube.Event) int { return a.Last.Compare(b.Last) })
	events, ok := m.done()
	switch {
	case !ok:
		return in.log(entryLines(rest))
	case len(rest) == 0:
		events.kind = kindLog
		return events
	}
	o := in.log(entryLines(rest))
	o.note += "; " + events.note
	return o
}

// LogLines makes one line of each entry of Cloud Logging, in the order of their times, of a JSON text that has them over several
// lines or several in one: an array, an answer of the API, or one after the other. ok is false where the text is another.
func LogLines(text []byte) (lines io.Reader, ok bool) {
	if len(text) > maxStructured {
		return nil, false
	}
	raw, err := documents(text)
	if err != nil || len(raw) == 0 || identify(raw) != kindLogEntries {
		return nil, false
	}
	entries := []json.RawMessage{raw}
	if raw[0] == '[' && json.Unmarshal(raw, &entries) != nil {
		return nil, false
	}
	return entryLines(flattenEntries(entries)), true
}

func entryLines(entries []json.RawMessage) *bytes.Buffer {
	type line struct{ time, text string }
	lines := make([]line, 0, len(entries))
	for _, e := range entries {
		var at struct {
			Timestamp string `json:"timestamp"`
		}
		// An entry whose timestamp isn't a string has none for us.
		_ = json.Unmarshal(e, &at)
		var b bytes.Buffer
		if json.Compact(&b, e) != nil || b.Len() < 2 {
			continue // they were parsed before, so they do compact
		}
		text := b.String()
		if at.Timestamp != "" {
			// The entry's own time goes first: an application's payload may hold another.
			if quoted, err := json.Marshal(at.Timestamp); err == nil {
				text = `{"timestamp":` + string(quoted) + "," + text[1:]
			}
		}
		lines = append(lines, line{at.Timestamp, text + "\n"})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.time, b.time) })
	var all bytes.Buffer
	for _, l := range lines {
		all.WriteString(l.text)
	}
	return &all
}

// logLike says whether a JSON object is a structured log line: it has a message, and a level or a time.
func logLike(raw json.RawMessage) bool {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return false
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { _, ok := m[n]; return ok })
	}
	return has("msg", "message", "log", "textPayload", "jsonPayload") && has("level", "severity", "time", "timestamp", "ts", "@timestamp", "stream")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
