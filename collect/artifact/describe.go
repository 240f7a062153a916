package artifact

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/collect/kubefacts"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	// describeAhead is how many lines are looked at to tell a described object by its second and third field.
	describeAhead = 4
	// maxContinued bounds the lines that a message of several may go on for.
	maxContinued = 60
	// maxFields bounds the fields at the top of an object; a Deployment has some twenty.
	maxFields = 200
	// maxDescribed bounds a value of several lines: what kubectl cuts is far shorter, and an error's stack is told by its start.
	maxDescribed = 64 << 10
)

var (
	// describedField is a field at the top of a described object. Values are at least two blanks away.
	describedField = regexp.MustCompile(`^([A-Z][A-Za-z0-9/ -]{0,60}):(?:\s{2,}(.*)|\s*)$`)
	describedEvent = regexp.MustCompile(`^\s*(Normal|Warning)\s+(\S+)\s+(\d+[smhdy](?:\d+[smhdy])*|<unknown>|<invalid>)(?:\s+\(x(\d+) over [^)]*\))?(?:\s+ago)?\s+(\S+(?:, \S+)*)(?:\s+(.*))?$`)
	// oldEvent is a row until Kubernetes 1.8: FirstSeen LastSeen Count From SubObjectPath Type Reason Message.
	oldEvent = regexp.MustCompile(`^\s*(\S+)\s+(\S+)\s+(\d+)\s{1,}(\S.*?)\s{2,}(?:(\S+)\s+)?(Normal|Warning)\s+(\S+)\s+(.*)$`)
)

// described is a described object: its fields in their order.
type describedObject struct {
	fields []field
}

// field is a field and what stands beneath it.
type field struct {
	name, value string
	column      int // of the value in its line
	line        int // in the file
	body        []string
}

// describedBlock gives where the described object that begins at line i ends; i where none begins there.
func describedBlock(lines []string, i int) int {
	if !describeStart.MatchString(lines[i]) {
		return i
	}
	ok := false
	for _, l := range lines[i+1 : min(len(lines), i+1+describeAhead)] {
		ok = ok || strings.HasPrefix(l, "Labels:") || strings.HasPrefix(l, "Namespace:") || strings.HasPrefix(l, "Annotations:")
	}
	if !ok {
		return i
	}
	end, events, blanks := i+1, false, 0
	for ; end < len(lines); end++ {
		l := lines[end]
		if describeStart.MatchString(l) || promptLine.MatchString(l) || tableHeader(l) != nil {
			break
		}
		if strings.TrimSpace(l) == "" {
			blanks++
			if events {
				break
			}
			continue
		}
		// Behind the events, the last field, or behind two blank lines comes something else. (Namespaces have blank lines within.)
		if blanks >= 2 && !describedField.MatchString(l) {
			break
		}
		blanks = 0
		events = events || strings.HasPrefix(l, "Events:")
	}
	return end
}

// parseDescribed reads the lines of a described object. Lines that begin like no field go on the text before: messages of
// several lines are printed as they are.
func parseDescribed(lines []string, first int) describedObject {
	var o describedObject
	events := false // the last field
	for i, l := range lines {
		if f := describedField.FindStringSubmatch(l); f != nil && !events && len(o.fields) < maxFields {
			events = f[1] == "Events"
			o.fields = append(o.fields, field{name: f[1], value: strings.TrimSpace(f[2]), column: strings.Index(l, ":") + 1 + blanksAt(l[strings.Index(l, ":")+1:]), line: first + i})
			continue
		}
		if n := len(o.fields); n > 0 {
			o.fields[n-1].body = append(o.fields[n-1].body, l)
		}
	}
	return o
}

func blanksAt(s string) int { return len(s) - len(strings.TrimLeft(s, " \t")) }

func (o describedObject) get(name string) *field {
	for i := range o.fields {
		if o.fields[i].name == name {
			return &o.fields[i]
		}
	}
	return nil
}

func (o describedObject) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return o.get(n) != nil })
}

// text gives a field's value, "" for none and for "<none>".
func (o describedObject) text(name string) string {
	f := o.get(name)
	if f == nil || strings.HasPrefix(f.value, "<") && strings.HasSuffix(f.value, ">") {
		return ""
	}
	return f.value
}

// described takes a described object, which begins at a line of the file.
func (m *kubeFile) described(lines []string, first int) {
	o := parseDescribed(lines, first)
	meta := o.meta(fmt.Sprintf("%s, line %d", m.in.name, first))
	kind := o.kind()
	switch kind {
	case "":
		m.others["an object that kubectl describes"]++
	case "Pod":
		m.objects.Pods = append(m.objects.Pods, o.pod(meta))
	case "Namespace":
		n := kube.Namespace{Meta: meta}
		n.Status.Phase = o.text("Status")
		m.objects.Namespaces = append(m.objects.Namespaces, n)
	case "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob":
		m.objects.Workloads = append(m.objects.Workloads, o.workload(kind, meta))
	default:
		version := o.text("API Version")
		if kubefacts.Facts(version, kind) == nil {
			m.others[kind]++
			break
		}
		raw, err := o.generic(meta)
		if err == nil {
			err = m.objects.Add(version, kind, raw, meta.Origin)
		}
		if err != nil {
			m.problem(fmt.Sprintf("line %d", first), kind, fmt.Errorf("%s: %w", kind, err))
		}
	}
	if f := o.get("Events"); f != nil {
		m.objects.Events = append(m.objects.Events, f.events(m.in.name, kube.Ref{Kind: kind, Namespace: meta.Namespace, Name: meta.Name})...)
	}
}

// kind tells the kind by the fields: only custom resources and the like say it.
func (o describedObject) kind() string {
	switch {
	case o.text("Kind") != "":
		return o.text("Kind")
	case o.has("Schedule"):
		return "CronJob"
	case o.has("Parallelism", "Pods Statuses"):
		return "Job"
	case o.has("StrategyType"):
		return "Deployment"
	case o.has("Desired Number of Nodes Scheduled"):
		return "DaemonSet"
	case o.has("Pod Template") && (o.has("Update Strategy", "Volume Claims") || strings.Contains(o.text("Replicas"), " | ")):
		return "StatefulSet"
	case o.has("Pod Template") && strings.Contains(o.text("Replicas"), " current / "):
		return "ReplicaSet"
	case o.has("Containers") && o.has("Node", "Status"):
		return "Pod"
	case !o.has("Namespace") && (o.text("Status") == "Active" || o.text("Status") == "Terminating"):
		return "Namespace"
	}
	return ""
}

// meta gives an object's metadata.
func (o describedObject) meta(origin string) kube.Meta {
	m := kube.Meta{Name: o.text("Name"), Namespace: o.text("Namespace"), Origin: origin}
	m.Labels, m.Annotations = o.labels(), o.annotations()
	if t, ok := describedTime(o.text("CreationTimestamp")); ok {
		m.Created = t
	}
	if kind, name, ok := strings.Cut(o.text("Controlled By"), "/"); ok {
		m.Owners = []kube.Owner{{Kind: kind, Name: name, Controller: true}}
	}
	return m
}

// goOn adds a line to a value of several lines, unless that is too long already.
func goOn(value *string, line string) {
	if len(*value)+len(line) <= maxDescribed {
		*value += "\n" + line
	}
}

// describedTime reads the times that kubectl describe prints, RFC 1123 with a zone.
func describedTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC1123Z, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// values gives a field's values, one a line: that beside its name and those beneath.
func (f *field) values() []string {
	if f == nil {
		return nil
	}
	out := []string{}
	if f.value != "" && f.value != "<none>" {
		out = append(out, f.value)
	}
	for _, l := range f.body {
		if s := strings.TrimSpace(l); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (o describedObject) labels() map[string]string {
	var out map[string]string
	for _, v := range o.get("Labels").values() {
		if k, x, ok := strings.Cut(v, "="); ok {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = x
		}
	}
	return out
}

// annotationLine is one that begins an annotation: "key: value", "key:", and of old "key=value".
var annotationLine = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9._-]+)?)(?:: (.*)|:|=(.*))$`)

// annotations reads annotations: a long value stands beneath its key, further to the right.
func (o describedObject) annotations() map[string]string {
	f := o.get("Annotations")
	if f == nil {
		return nil
	}
	out := map[string]string{}
	key := ""
	add := func(s string, deeper bool) {
		if m := annotationLine.FindStringSubmatch(s); m != nil && !deeper {
			key = m[1]
			out[key] = m[2] + m[3]
			return
		}
		if key != "" {
			v := out[key]
			goOn(&v, s)
			out[key] = strings.TrimPrefix(v, "\n")
		}
	}
	if f.value != "<none>" {
		add(f.value, false)
	}
	for _, l := range f.body {
		if strings.TrimSpace(l) != "" {
			add(strings.TrimSpace(l), blanksAt(l) > f.column)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// conditions reads the table of conditions: Type, Status, and for workloads Reason.
func (o describedObject) conditions() []kube.Condition {
	f := o.get("Conditions")
	if f == nil {
		return nil
	}
	var out []kube.Condition
	for _, l := range f.body {
		w := strings.Fields(l)
		if len(w) < 2 || w[0] == "Type" || strings.HasPrefix(w[0], "--") || w[1] != "True" && w[1] != "False" && w[1] != "Unknown" {
			continue
		}
		c := kube.Condition{Type: w[0], Status: w[1]}
		if len(w) == 3 {
			c.Reason = w[2]
		}
		out = append(out, c)
	}
	return out
}

// events reads the table of events. Their ages are relative to a time that the text doesn't tell, so that their times stay
// unknown; kubectl prints the oldest first.
func (f *field) events(file string, of kube.Ref) []kube.Event {
	var out []kube.Event
	continued := 0
	message := -1 // where the column Message begins
	for i, l := range f.body {
		e := kube.Event{Involved: of, Count: 1}
		e.Namespace, e.Origin = of.Namespace, fmt.Sprintf("%s, line %d", file, f.line+1+i)
		switch m, old := describedEvent.FindStringSubmatch(l), oldEvent.FindStringSubmatch(l); {
		case m != nil:
			e.Type, e.Reason, e.Count, e.Message = m[1], m[2], max(1, number(m[4])), m[6]
			e.Reporter, _, _ = strings.Cut(m[5], ",")
			if at := describedEvent.FindStringSubmatchIndex(l)[10]; at == message {
				// Nobody is named, and the message's first word isn't one.
				e.Reporter, e.Message = "", strings.TrimSpace(l[at:])
			}
		case old != nil:
			e.Count, e.Type, e.Reason, e.Message = max(1, number(old[3])), old[6], old[7], old[8]
			e.Reporter, _, _ = strings.Cut(strings.Trim(old[4], "{}"), ",")
			e.Reporter, _, _ = strings.Cut(e.Reporter, " ")
			e.Involved.FieldPath = old[5]
		case strings.Contains(l, "Reason") && strings.Contains(l, "Message") && len(out) == 0:
			message = strings.Index(l, "Message")
			continue
		case len(out) > 0 && continued < maxContinued && strings.TrimSpace(l) != "":
			goOn(&out[len(out)-1].Message, strings.TrimSpace(l))
			continued++
			continue
		default:
			continue
		}
		if path := imagePath(e.Reason, e.Message); path != "" && e.Involved.FieldPath == "" {
			e.Involved.FieldPath = path
		}
		continued = 0
		out = append(out, e)
	}
	return out
}

// imagePath is for what describe leaves out: which container an event is about, where its message says so in words.
func imagePath(reason, message string) string {
	if m := containerWord.FindStringSubmatch(message); m != nil && (reason == "FailedPostStartHook" || reason == "FailedPreStopHook" || reason == "Created" || reason == "Started") {
		return "spec.containers{" + m[1] + "}"
	}
	return ""
}

var containerWord = regexp.MustCompile(`(?:[Cc]ontainer "?|[Cc]ontainer: )([a-z0-9][a-z0-9-]*)"?`)
