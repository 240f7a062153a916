package xdsclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// DecodeJSON reads CSDS answers as JSON, as grpcdebug, gcloud, csds-client and curl print them: a ClientStatusResponse or
// a ClientConfig, or an array of either, with names in camelCase or snake_case and enums as names or numbers. Unknown
// fields are skipped, and contents of any type, known or not, are accepted. Errors wrap ErrMalformed and name the place.
// JSON that is none of these is an error; so is {}, which could be anything.
func DecodeJSON(b []byte, o DecodeOptions) ([]ClientConfig, error) {
	j := jsonDecoder{o, dumpKinds()}
	raw, err := whole(b)
	if err != nil {
		return nil, err
	}
	if raw[0] != '[' {
		return j.item("", raw, nil)
	}
	var items []json.RawMessage
	if err := unmarshal("", raw, &items, "an array"); err != nil {
		return nil, err
	}
	out := []ClientConfig{}
	for i, item := range items {
		if out, err = j.item("["+strconv.Itoa(i)+"]", item, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// decodeJSONResponse reads one ClientStatusResponse, which may be empty.
func decodeJSONResponse(b []byte, o DecodeOptions) ([]ClientConfig, error) {
	raw, err := whole(b)
	if err != nil {
		return nil, err
	}
	m, err := object("", raw)
	if err != nil {
		return nil, err
	}
	j := jsonDecoder{o, dumpKinds()}
	return j.clients("", m["config"], nil)
}

// whole checks that there is one JSON value and nothing else.
func whole(b []byte) (json.RawMessage, error) {
	var raw json.RawMessage
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))))
	if err := d.Decode(&raw); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it is empty", ErrMalformed)
	} else if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: the JSON is cut off after %d bytes", ErrMalformed, len(b))
	} else if err != nil {
		return nil, fmt.Errorf("%w: not JSON: %w", ErrMalformed, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the JSON value at byte %d", ErrMalformed, d.InputOffset())
	}
	return raw, nil
}

type jsonDecoder struct {
	DecodeOptions
	kinds []dump
}

// item reads a ClientStatusResponse or a ClientConfig.
func (j *jsonDecoder) item(at string, raw json.RawMessage, out []ClientConfig) ([]ClientConfig, error) {
	m, err := object(at, raw)
	if err != nil {
		return nil, err
	}
	if config, ok := m["config"]; ok {
		return j.clients(at, config, out)
	}
	for _, name := range []string{"node", "xdsConfig", "genericXdsConfigs"} {
		if _, ok := m[name]; ok {
			c, err := j.client(at, m)
			return append(out, c), err
		}
	}
	return nil, wrong(at, "a ClientStatusResponse (with config) or a ClientConfig (with node)")
}

func (j *jsonDecoder) clients(at string, raw json.RawMessage, out []ClientConfig) ([]ClientConfig, error) {
	err := each(at, "config", raw, func(at string, m fields) error {
		c, err := j.client(at, m)
		out = append(out, c)
		return err
	})
	return out, err
}

func (j *jsonDecoder) client(at string, m fields) (c ClientConfig, err error) {
	if c.ClientScope, err = m.str(at, "clientScope"); err != nil {
		return c, err
	}
	if m.has("node") {
		if c.Node, err = node(at+".node", m["node"]); err != nil {
			return c, err
		}
	}
	add := func(r ...Resource) { c.Resources = append(c.Resources, r...) }
	if err := each(at, "xdsConfig", m["xdsConfig"], func(at string, m fields) error {
		r, err := j.perXDS(at, m)
		add(r...)
		return err
	}); err != nil {
		return c, err
	}
	return c, each(at, "genericXdsConfigs", m["genericXdsConfigs"], func(at string, m fields) error {
		r, err := j.generic(at, m)
		add(r)
		return err
	})
}

func node(at string, raw json.RawMessage) (n Node, err error) {
	m, err := object(at, raw)
	if err != nil {
		return n, err
	}
	s := m.strings(at)
	n.ID, n.Cluster, n.UserAgentName = s.get("id"), s.get("cluster"), s.get("userAgentName")
	n.UserAgentVersion = s.get("userAgentVersion")
	if s.err != nil {
		return n, s.err
	}
	if m.has("locality") {
		at := at + ".locality"
		l, err := object(at, m["locality"])
		if err != nil {
			return n, err
		}
		s := l.strings(at)
		if n.Locality = (Locality{s.get("region"), s.get("zone"), s.get("subZone")}); s.err != nil {
			return n, s.err
		}
	}
	if m.has("userAgentBuildVersion") {
		at := at + ".userAgentBuildVersion"
		b, err := object(at, m["userAgentBuildVersion"])
		if err != nil {
			return n, err
		}
		if b.has("version") {
			var v struct {
				Major      uint32 `json:"majorNumber"`
				MajorSnake uint32 `json:"major_number"`
				Minor      uint32 `json:"minorNumber"`
				MinorSnake uint32 `json:"minor_number"`
				Patch      uint32 `json:"patch"`
			}
			if err := unmarshal(at+".version", b["version"], &v, "a version in numbers"); err != nil {
				return n, err
			}
			n.UserAgentVersion = fmt.Sprintf("%d.%d.%d", v.Major|v.MajorSnake, v.Minor|v.MinorSnake, v.Patch)
		}
	}
	if m.has("metadata") {
		var values map[string]any // keys are data, and keep their spelling
		if err := unmarshal(at+".metadata", m["metadata"], &values, "an object"); err != nil {
			return n, err
		}
		for k, v := range values {
			if n.Metadata == nil {
				n.Metadata = make(map[string]string, len(values))
			}
			n.Metadata[k] = metadataText(v)
		}
	}
	return n, nil
}

func (j *jsonDecoder) generic(at string, m fields) (r Resource, err error) {
	s := m.strings(at)
	r.TypeURL, r.Name, r.Version = s.get("typeUrl"), s.get("name"), s.get("versionInfo")
	if s.err != nil {
		return r, s.err
	}
	if r.LastUpdated, err = m.time(at, "lastUpdated"); err != nil {
		return r, err
	}
	if r.ConfigStatus, err = m.configStatus(at, "configStatus"); err != nil {
		return r, err
	}
	if r.ClientStatus, err = m.clientStatus(at, "clientStatus"); err != nil {
		return r, err
	}
	if m.has("isStaticResource") {
		if err := unmarshal(at+".isStaticResource", m["isStaticResource"], &r.Static, "true or false"); err != nil {
			return r, err
		}
	}
	if r.Error, err = m.failure(at); err != nil {
		return r, err
	}
	if m.has("xdsConfig") {
		a, err := object(at+".xdsConfig", m["xdsConfig"])
		if err != nil {
			return r, err
		}
		typeURL, err := a.str(at+".xdsConfig", "@type")
		if err != nil {
			return r, err
		}
		r.Contents = j.keep(typeURL, m["xdsConfig"])
	}
	return r, nil
}

func (j *jsonDecoder) keep(typeURL string, raw json.RawMessage) *Contents {
	if !j.KeepContents {
		return nil
	}
	return &Contents{TypeURL: typeURL, JSON: compact(raw)}
}

// fields are those of a JSON object, by camelCase name.
type fields map[string]json.RawMessage

func object(at string, raw json.RawMessage) (fields, error) {
	var m fields
	if err := unmarshal(at, raw, &m, "an object"); err != nil {
		return nil, err
	}
	for k, v := range m {
		if c := camel(k); c != k {
			delete(m, k)
			if _, ok := m[c]; !ok {
				m[c] = v
			}
		}
	}
	return m, nil
}

// camel gives protobuf's JSON name of a field: each underscore goes, and the letter behind it is upper case.
func camel(s string) string {
	if !strings.Contains(s, "_") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '_' && i+1 < len(s) && s[i+1] >= 'a' && s[i+1] <= 'z' {
			i++
			c = s[i] - 'a' + 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// has says whether a field is there; null is not.
func (m fields) has(name string) bool {
	raw, ok := m[name]
	return ok && string(raw) != "null"
}

func (m fields) str(at, name string) (s string, err error) {
	if m.has(name) {
		err = unmarshal(at+"."+name, m[name], &s, "a string")
	}
	return s, err
}

// strings reads several, and keeps the first error.
func (m fields) strings(at string) *stringFields { return &stringFields{m: m, at: at} }

type stringFields struct {
	m   fields
	at  string
	err error
}

func (s *stringFields) get(name string) string {
	v, err := s.m.str(s.at, name)
	if s.err == nil {
		s.err = err
	}
	return v
}

// time reads a google.protobuf.Timestamp: RFC 3339, or an object with seconds and nanos as non-protobuf encoders print.
func (m fields) time(at, name string) (time.Time, error) {
	if !m.has(name) {
		return time.Time{}, nil
	}
	at += "." + name
	var s string
	if json.Unmarshal(m[name], &s) == nil {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return time.Time{}, wrong(at, "an RFC 3339 time")
		}
		return timestamp(t.Unix(), int32(t.Nanosecond())), nil
	}
	var v struct {
		Seconds json.Number `json:"seconds"`
		Nanos   int32       `json:"nanos"`
	}
	if err := unmarshal(at, m[name], &v, "an RFC 3339 time"); err != nil {
		return time.Time{}, err
	}
	if v.Seconds == "" {
		v.Seconds = "0"
	}
	seconds, err := v.Seconds.Int64()
	if err != nil {
		return time.Time{}, wrong(at+".seconds", "a whole number")
	}
	return timestamp(seconds, v.Nanos), nil
}

func (m fields) failure(at string) (*UpdateFailure, error) {
	if !m.has("errorState") {
		return nil, nil
	}
	at += ".errorState"
	e, err := object(at, m["errorState"])
	if err != nil {
		return nil, err
	}
	s := e.strings(at)
	f := &UpdateFailure{Details: s.get("details"), Version: s.get("versionInfo")}
	if s.err != nil {
		return nil, s.err
	}
	f.LastAttempt, err = e.time(at, "lastUpdateAttempt")
	return f, err
}

// enum reads a name or a number. An unknown name gives a number that no enum has.
func (m fields) enum(at, name string, names []string, prefix string) (n int32, err error) {
	at += "." + name
	var s string
	if json.Unmarshal(m[name], &s) == nil {
		for i, known := range names {
			if strings.TrimPrefix(s, prefix) == known {
				return int32(i), nil
			}
		}
		return math.MaxInt32, nil
	}
	return n, unmarshal(at, m[name], &n, "the name or number of an enum value")
}

func (m fields) configStatus(at, name string) (ConfigStatus, error) {
	if !m.has(name) {
		return ConfigStatusAbsent, nil
	}
	n, err := m.enum(at, name, configStatusNames[ConfigStatusUnknown:ConfigStatusUnrecognized], "")
	return configStatus(n), err
}

func (m fields) clientStatus(at, name string) (ClientStatus, error) {
	if !m.has(name) {
		return ClientStatusAbsent, nil
	}
	n, err := m.enum(at, name, clientStatusNames[ClientStatusUnknown:ClientStatusUnrecognized], "")
	return clientStatus(n), err
}

func (m fields) oldClientStatus(at, name string) (ClientStatus, error) {
	if !m.has(name) {
		return ClientStatusAbsent, nil
	}
	n, err := m.enum(at, name, []string{"UNKNOWN", "REQUESTED", "ACKED", "NACKED", "RECEIVED_ERROR"}, "CLIENT_")
	return oldClientStatus(n), err
}

// each calls f with every object of an array that may be absent.
func each(at, name string, raw json.RawMessage, f func(at string, m fields) error) error {
	at = strings.TrimPrefix(at+"."+name, ".")
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var items []json.RawMessage
	if err := unmarshal(at, raw, &items, "an array"); err != nil {
		return err
	}
	for i, item := range items {
		at := at + "[" + strconv.Itoa(i) + "]"
		m, err := object(at, item)
		if err != nil {
			return err
		}
		if err := f(at, m); err != nil {
			return err
		}
	}
	return nil
}

func unmarshal(at string, raw json.RawMessage, to any, want string) error {
	if string(raw) == "null" {
		return wrong(at, want)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return wrong(at, want)
	}
	return nil
}

func wrong(at, want string) error {
	if at = strings.TrimPrefix(at, "."); at == "" {
		at = "the JSON value"
	}
	return fmt.Errorf("%w: %s: want %s", ErrMalformed, at, want)
}

func compact(b []byte) []byte {
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return b
	}
	return out.Bytes()
}
