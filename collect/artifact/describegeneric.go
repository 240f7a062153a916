package artifact

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/meshdiag/meshdiag/evidence/kube"
)

// maxGeneric bounds the nesting of a described object.
const maxGeneric = 30

// genericLine is a field of an object that kubectl describes without knowing its kind.
var genericLine = regexp.MustCompile(`^([^:]*[^:\s]):(?:\s{2,}(.*)|\s*)$`)

// generic gives an object that kubectl describes without knowing its kind (webhooks and custom resources) as JSON, as far as
// package kube reads it.
//
// kubectl prints maps with their keys sorted, as words ("caBundle" as "Ca Bundle"), and lists of maps one after the other with
// nothing between: a new one begins where a key comes again, or one that sorts before the last.
// https://github.com/kubernetes/kubectl/blob/master/pkg/describe/describe.go, printUnstructuredContent
func (o describedObject) generic(meta kube.Meta) (json.RawMessage, error) {
	out := map[string]any{}
	m := map[string]any{"name": meta.Name, "namespace": meta.Namespace, "labels": meta.Labels, "annotations": meta.Annotations}
	for _, f := range o.fields {
		switch f.name {
		case "Name", "Namespace", "Labels", "Annotations", "API Version", "Kind", "Events":
		case "Metadata":
			inner, ok := genericValue("metadata", f.body, 0).(map[string]any)
			if !ok {
				continue
			}
			if s, ok := inner["creationTimestamp"].(string); ok {
				if t, err := time.Parse(time.RFC3339, s); err == nil {
					m["creationTimestamp"] = t
				}
			}
			m["generation"] = inner["generation"]
		default:
			name := fieldName(f.name)
			if f.value != "" {
				out[name] = f.value
				continue
			}
			out[name] = genericValue(name, f.body, 0)
		}
	}
	out["metadata"] = m
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("as JSON: %w", err)
	}
	return b, nil
}

// genericEntry is a field and the lines beneath it.
type genericEntry struct {
	label, value string
	body         []string
}

// genericValue gives what stands beneath a field: a map, a list of maps, or a list of values.
func genericValue(name string, lines []string, depth int) any {
	indent := -1
	var entries []genericEntry
	var scalars []any
	for _, l := range lines {
		text := strings.TrimSpace(l)
		if text == "" {
			if name == "apiGroups" && strings.TrimRight(l, "\r") != "" {
				scalars = append(scalars, "") // the core group
			}
			continue
		}
		at := blanksAt(l)
		if indent < 0 {
			indent = at
		}
		n := len(entries)
		switch m := genericLine.FindStringSubmatch(text); {
		case at > indent && n > 0:
			entries[n-1].body = append(entries[n-1].body, l)
		case at == indent && m != nil:
			entries = append(entries, genericEntry{label: m[1], value: m[2]})
		case n > 0:
			goOn(&entries[n-1].value, text) // a value of several lines
		default:
			scalars = append(scalars, text)
		}
	}
	isList := slices.Contains(listFields(), name)
	switch {
	case len(entries) == 0 && name == "apiGroups" && len(scalars) == 0:
		return []any{""} // a list of the core group alone: its name is empty, and blanks at the end of lines get lost
	case len(entries) == 0 && (len(scalars) > 0 || isList):
		return scalars
	case depth > maxGeneric:
		return nil
	}
	var list []map[string]any
	one := map[string]any{}
	last := ""
	free := slices.Contains([]string{"matchLabels", "labels", "annotations", "portLevelMtls", "fieldsV1"}, name)
	for _, e := range entries {
		key := fieldName(e.label)
		if free {
			key = labelKey(e.label)
		}
		if _, again := one[key]; !free && (again || key < last) {
			list = append(list, one)
			one = map[string]any{}
		}
		last = key
		switch {
		case e.value == "" && (len(e.body) > 0 || slices.Contains(listFields(), key) || slices.Contains(mapFields(), key)):
			one[key] = genericValue(key, e.body, depth+1)
		case slices.Contains([]string{"timeoutSeconds", "port", "number", "generation", "proxyTargetPercentage"}, key) && jsonNumber.MatchString(e.value):
			one[key] = json.Number(e.value)
		default:
			one[key] = e.value
		}
	}
	if isList || len(list) > 0 {
		if len(one) > 0 {
			list = append(list, one)
		}
		return list
	}
	return one
}

// listFields are fields that are lists, also where one element or none is printed.
func listFields() []string {
	return []string{
		"webhooks", "rules", "matchExpressions", "matchConditions", "apiGroups", "apiVersions", "operations", "resources", "values", "admissionReviewVersions",
		"conditions", "errorDetails", "configPatches", "subsets", "portLevelSettings", "targetRefs", "exportTo", "verbs", "resourceNames", "endpoints", "addresses", "ports",
	}
}

// mapFields are fields that are maps, also where nothing is printed beneath.
func mapFields() []string {
	return []string{"clientConfig", "service", "namespaceSelector", "objectSelector", "selector", "workloadSelector", "matchLabels", "labels", "spec", "status", "patch", "match"}
}

// fieldName gives the name of a field that kubectl printed as words: "Ca Bundle", "API Groups", "URL".
func fieldName(label string) string {
	words := strings.Fields(label)
	for i, w := range words {
		switch {
		case i == 0 && w == strings.ToUpper(w):
			words[i] = strings.ToLower(w)
		case i == 0:
			r := []rune(w)
			r[0] = unicode.ToLower(r[0])
			words[i] = string(r)
		case w == "API" || w == "URL" || w == "UID":
			words[i] = w[:1] + strings.ToLower(w[1:])
		}
	}
	return strings.Join(words, "")
}

// labelKey gives the key of a label that kubectl printed as words: "Istio - Injection" is istio-injection. Keys with a dot or a
// slash are printed as they are.
func labelKey(label string) string {
	if strings.ContainsAny(label, "./0123456789_") {
		return label
	}
	parts := strings.Split(label, " - ")
	for i, p := range parts {
		parts[i] = fieldName(p)
	}
	return strings.Join(parts, "-")
}
