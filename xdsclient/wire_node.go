package xdsclient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// node reads an envoy.config.core.v3.Node into n.
func (d *decoder) node(b []byte, n *Node) error {
	var err error
	f := reader{b: b}
	for f.next() {
		switch {
		case f.bytes(1): // id: no two are equal, so it is not remembered
			if n.ID = string(f.v); !utf8.ValidString(n.ID) {
				err = errUTF8
			}
		case f.bytes(2): // cluster
			n.Cluster, err = d.str(f.v)
		case f.bytes(3): // metadata
			err = d.metadata(f.v, n)
		case f.bytes(4): // locality
			err = d.locality(f.v, &n.Locality)
		case f.bytes(6): // user_agent_name
			n.UserAgentName, err = d.str(f.v)
		case f.bytes(7): // user_agent_version, which shares a oneof with the next
			d.build = buildVersion{}
			n.UserAgentVersion, err = d.str(f.v)
		case f.bytes(8): // user_agent_build_version
			if err = d.build.merge(f.v); err == nil {
				n.UserAgentVersion, err = d.str([]byte(d.build.String()))
			}
		}
		if err != nil {
			return err
		}
	}
	return f.err
}

func (d *decoder) locality(b []byte, l *Locality) error {
	var err error
	f := reader{b: b}
	for f.next() {
		switch {
		case f.bytes(1):
			l.Region, err = d.str(f.v)
		case f.bytes(2):
			l.Zone, err = d.str(f.v)
		case f.bytes(3):
			l.SubZone, err = d.str(f.v)
		}
		if err != nil {
			return fmt.Errorf("locality: %w", err)
		}
	}
	return f.err
}

// buildVersion is an envoy.config.core.v3.BuildVersion being read.
type buildVersion struct {
	set                 bool // its version is
	major, minor, patch uint32
}

func (v *buildVersion) String() string {
	if !v.set {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch)
}

func (v *buildVersion) merge(b []byte) error {
	f := reader{b: b}
	for f.next() {
		if !f.bytes(1) { // version
			continue
		}
		v.set = true
		g := reader{b: f.v}
		for g.next() {
			switch {
			case g.varint(1):
				v.major = uint32(g.n)
			case g.varint(2):
				v.minor = uint32(g.n)
			case g.varint(3):
				v.patch = uint32(g.n)
			}
		}
		if g.err != nil {
			return g.err
		}
	}
	return f.err
}

// metadata reads a google.protobuf.Struct into n.Metadata.
func (d *decoder) metadata(b []byte, n *Node) error {
	f := reader{b: b}
	for f.next() {
		if !f.bytes(1) { // fields
			continue
		}
		var key string
		var value []byte
		var err error
		e := reader{b: f.v}
		for e.next() {
			switch {
			case e.bytes(1):
				key, err = d.str(e.v)
			case e.bytes(2):
				if value == nil {
					value = e.v
				} else { // what comes twice is merged, and appending merges
					value = append(value[:len(value):len(value)], e.v...)
				}
			}
			if err != nil {
				return fmt.Errorf("metadata: %w", err)
			}
		}
		if e.err != nil {
			return fmt.Errorf("metadata: %w", e.err)
		}
		text, err := d.value(value)
		if err != nil {
			return fmt.Errorf("metadata[%q]: %w", key, err)
		}
		if n.Metadata == nil {
			n.Metadata = map[string]string{}
		}
		n.Metadata[key] = text
	}
	return f.err
}

// value gives a google.protobuf.Value as Node.Metadata has it.
func (d *decoder) value(b []byte) (string, error) {
	f := reader{b: b}
	if f.next() && f.bytes(3) && len(f.b) == 0 { // string_value, and nothing else: nearly always
		return d.str(f.v)
	}
	var v structpb.Value
	if err := proto.Unmarshal(b, &v); err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return metadataText(v.AsInterface()), nil
}

// metadataText gives a decoded JSON value as Node.Metadata has it.
func metadataText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
