package discovery

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// query holds query parameters against the method's and those common to the API.
func (d *document) query(m *method, q url.Values) []string {
	var faults []string
	for name, values := range q {
		p := m.Parameters[name]
		if p == nil || p.Location != "query" {
			p = d.Parameters[name]
		}
		if p == nil {
			faults = append(faults, fmt.Sprintf("query: unknown parameter %q", name))
			continue
		}
		if len(values) > 1 && !p.Repeated {
			faults = append(faults, fmt.Sprintf("query: %s is given %d times and is not repeated", name, len(values)))
		}
		for _, v := range values {
			if len(p.Enum) > 0 && !slices.Contains(p.Enum, v) {
				faults = append(faults, fmt.Sprintf("query: %s=%q is no value of the enum", name, v))
			}
			if p.Type == "integer" {
				if _, err := strconv.ParseInt(v, 10, 64); err != nil {
					faults = append(faults, fmt.Sprintf("query: %s=%q is no integer", name, v))
				}
			}
		}
	}
	slices.Sort(faults)
	return faults
}

func (d *document) body(what string, s *schema, b []byte) []string {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return []string{fmt.Sprintf("%s: %v", what, err)}
	}
	var faults []string
	d.value(what, s, v, &faults)
	slices.Sort(faults)
	return faults
}

// value holds one JSON value against its schema.
func (d *document) value(at string, s *schema, v any, faults *[]string) {
	if s == nil || v == nil {
		return
	}
	if s.Ref != "" {
		if s = d.Schemas[s.Ref]; s == nil {
			return
		}
	}
	fault := func(format string, a ...any) { *faults = append(*faults, at+": "+fmt.Sprintf(format, a...)) }
	switch s.Type {
	case "object":
		m, ok := v.(map[string]any)
		if !ok {
			fault("a JSON %T, expected an object", v)
			return
		}
		for k, x := range m {
			switch p := s.Properties[k]; {
			case p != nil:
				d.value(at+"."+k, p, x, faults)
			case s.AdditionalProperties != nil:
				d.value(at+"."+k, s.AdditionalProperties, x, faults)
			default:
				fault("%s has no field %q", s.ID, k)
			}
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			fault("a JSON %T, expected an array", v)
			return
		}
		for i, x := range list {
			d.value(fmt.Sprintf("%s[%d]", at, i), s.Items, x, faults)
		}
	case "string":
		x, ok := v.(string)
		if !ok {
			fault("a JSON %T, expected a string", v)
			return
		}
		if f := s.text(x); f != "" {
			fault("%q %s", x, f)
		}
	case "integer", "number":
		if _, ok := v.(float64); !ok {
			fault("a JSON %T, expected a number", v)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			fault("a JSON %T, expected a boolean", v)
		}
	}
}

// text says what is wrong with a string, or nothing.
func (s *schema) text(x string) string {
	switch s.Format {
	case "int64":
		if _, err := strconv.ParseInt(x, 10, 64); err != nil {
			return "is no int64"
		}
	case "uint64":
		if _, err := strconv.ParseUint(x, 10, 64); err != nil {
			return "is no uint64"
		}
	case "google-datetime", "date-time":
		if _, err := time.Parse(time.RFC3339Nano, x); err != nil {
			return "is no RFC 3339 time"
		}
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, x) {
		return "is no value of the enum"
	}
	if s.Pattern != "" {
		if re, err := regexp.Compile("^(?:" + s.Pattern + ")$"); err == nil && !re.MatchString(x) {
			return "does not match " + s.Pattern
		}
	}
	return ""
}
