package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxEnv bounds a file that is looked at as a sidecar.env, which has some twenty lines.
	maxEnv = 64 << 10
	// maxReferred bounds a value that another one refers to: doubling line by line would fill any memory.
	maxReferred = 1 << 10
)

// assignment is a shell assignment.
var assignment = regexp.MustCompile(`^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// envNames are the variables of sidecar.env, in Traffic Director's package for VMs, and the node metadata that its start
// script makes of them.
func envNames() map[string]string {
	return map[string]string{
		"GCP_PROJECT_NUMBER":                evidence.MetadataProject,
		"VPC_NETWORK_NAME":                  evidence.MetadataNetwork,
		"ENVOY_PORT":                        evidence.MetadataIntercept,
		"ACCESSLOG_PATH":                    "TRAFFICDIRECTOR_ACCESS_LOG_PATH",
		"TRACING_ENABLED":                   "TRAFFICDIRECTOR_ENABLE_TRACING",
		"BACKEND_INBOUND_PORTS":             "TRAFFICDIRECTOR_INBOUND_BACKEND_PORTS",
		"ENVOY_USER":                        "",
		"EXCLUDE_ENVOY_USER_FROM_INTERCEPT": "",
		"SERVICE_CIDR":                      "",
		"ENVOY_ADMIN_PORT":                  "",
		"LOG_DIR":                           "",
		"LOG_LEVEL":                         "",
		"XDS_SERVER_CERT":                   "",
		"ENVOY_IMAGE":                       "",
		"INTERCEPT_INBOUND_PORTS":           "",
	}
}

// sidecarEnv reads a sidecar.env. ok is false where the file is none: most of its lines must be assignments, and one of them
// the network's or the project's variable, or three others that a sidecar.env has.
func (in *input) sidecarEnv(data []byte) (o outcome, ok bool) {
	if len(data) > maxEnv {
		return outcome{}, false
	}
	names := envNames()
	assignments, others, seen, certain := 0, 0, 0, false
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		m := assignment.FindSubmatch(line)
		if m == nil {
			if len(line) > 0 && line[0] != '#' {
				others++
			}
			continue
		}
		assignments++
		name := string(m[1])
		if _, known := names[name]; known {
			seen++
			certain = certain || name == "VPC_NETWORK_NAME" || name == "GCP_PROJECT_NUMBER"
		}
	}
	if others > assignments || !certain && seen < 3 {
		return outcome{}, false
	}
	src := in.source(evidence.FromWorkload, "")
	k := kind{"sidecar-env", "sidecar.env", []evidence.Name{evidence.Bootstraps.Name()}, evidence.FromWorkload, nil}
	vars, err := parseEnv(data, names)
	if err != nil {
		return in.broken(k, err), true
	}
	b := evidence.Bootstrap{Kind: evidence.SidecarEnvFile, File: in.name, Metadata: map[string]string{}, Source: src}
	places := &placeholders{}
	for _, v := range vars {
		b.Metadata[v.name] = v.value
		if to := names[v.name]; to != "" {
			b.Metadata[to] = v.value
		}
		named := v.name == "VPC_NETWORK_NAME" || v.name == "GCP_PROJECT_NUMBER"
		if isPlaceholder(v.value) || named && shouted.MatchString(v.value) {
			places.add(v.name, v.value)
		}
	}
	b.Placeholders = places.found
	evidence.Put(in.set, evidence.Bootstraps, []evidence.Bootstrap{b}, src)
	return used(k.name, "%s", bootstrapNote(b)), true
}

type variable struct{ name, value string }

// parseEnv reads shell assignments, one a line. Of a variable that is set twice the last value counts. A reference to an
// earlier variable is put in; others stay as written, and are placeholders to whoever reads the file. Whatever else a shell
// may do in such a file is left alone, but for lines about the known variables that no shell takes for an assignment.
func parseEnv(data []byte, known map[string]string) ([]variable, error) {
	var out []variable
	at := map[string]int{}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text := strings.TrimSpace(string(line))
		m := assignment.FindStringSubmatch(text)
		if m == nil {
			name := text[:len(text)-len(strings.TrimLeft(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"))]
			if _, ok := known[name]; ok {
				return nil, fmt.Errorf("line %d is %.60q, expected %s='value'", n, text, name)
			}
			continue
		}
		value, err := unquote(m[2], func(name string) (string, bool) {
			i, ok := at[name]
			if !ok || len(out[i].value) > maxReferred {
				return "", false
			}
			return out[i].value, true
		})
		_, ours := known[m[1]]
		switch {
		case err != nil && ours:
			return nil, fmt.Errorf("line %d, %s: %w", n, m[1], err)
		case err != nil || len(value) > maxEnv:
			continue
		}
		if i, ok := at[m[1]]; ok {
			out[i].value = value
			continue
		}
		at[m[1]] = len(out)
		out = append(out, variable{m[1], value})
	}
	return out, nil
}

// reference is a shell variable within a value, with or without a default.
var reference = regexp.MustCompile(`\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?::?-[^{}]*)?\})`)

// unquote reads a shell word: quoted parts and plain ones side by side, up to white space or a comment.
func unquote(s string, lookup func(string) (string, bool)) (string, error) {
	expand := func(s string) string {
		return reference.ReplaceAllStringFunc(s, func(ref string) string {
			m := reference.FindStringSubmatch(ref)
			if v, ok := lookup(m[1] + m[2]); ok {
				return v
			}
			return ref
		})
	}
	var out, plain strings.Builder
	flush := func() { out.WriteString(expand(plain.String())); plain.Reset() }
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\'':
			flush()
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return "", errors.New("a quote isn't closed")
			}
			out.WriteString(s[i+1 : i+1+end])
			i += end + 1
		case '"':
			flush()
			end := i + 1
			for ; end < len(s) && s[end] != '"'; end++ {
				if s[end] == '\\' && end+1 < len(s) && strings.IndexByte("\\\"$`", s[end+1]) >= 0 {
					end++
				}
				plain.WriteByte(s[min(end, len(s)-1)])
			}
			if end >= len(s) {
				return "", errors.New("a quote isn't closed")
			}
			flush()
			i = end
		case '\\':
			if i++; i < len(s) {
				plain.WriteByte(s[i])
			}
		case '$':
			if strings.HasPrefix(s[i:], "$(") || strings.HasPrefix(s[i:], "${") {
				// Up to its end, white space included.
				stop := strings.IndexByte(s[i:], map[byte]byte{'(': ')', '{': '}'}[s[i+1]])
				if stop < 0 {
					return "", errors.New("a substitution isn't closed")
				}
				plain.WriteString(s[i : i+stop+1])
				i += stop
				continue
			}
			plain.WriteByte(c)
		case ' ', '\t', ';':
			flush()
			if rest := strings.TrimLeft(s[i:], " \t;"); rest != "" && rest[0] != '#' {
				return "", fmt.Errorf("%.40q follows the value", rest)
			}
			return out.String(), nil
		default:
			plain.WriteByte(c)
		}
	}
	flush()
	return out.String(), nil
}
