package xdsclient

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// perXDS reads an envoy.service.status.v3.PerXdsConfig: its resources are added to the client's.
func (d *decoder) perXDS(b []byte) error {
	first := len(d.resources)
	var kind *dump
	var server ConfigStatus
	var client ClientStatus
	f := reader{b: b}
	for f.next() {
		switch {
		case f.varint(1): // status
			server = configStatus(int32(f.n))
			continue
		case f.varint(7): // client_status, deprecated
			client = oldClientStatus(int32(f.n))
			continue
		case f.typ != protowire.BytesType:
			continue
		}
		for i := range d.kinds {
			if d.kinds[i].num != f.num {
				continue
			}
			if kind != &d.kinds[i] { // another member of the oneof replaces the one before
				kind, d.resources = &d.kinds[i], d.resources[:first]
			}
			if err := d.dump(f.v, kind); err != nil {
				return fmt.Errorf("%s: %w", kind.json, err)
			}
		}
	}
	if f.err != nil {
		return f.err
	}
	if len(d.resources) == first && (server != ConfigStatusAbsent || client != ClientStatusAbsent) {
		slot := d.slot()
		if *slot = (Resource{}); kind != nil {
			slot.TypeURL = kind.typeURL
		}
	}
	for i := first; i < len(d.resources); i++ {
		r := &d.resources[i]
		if r.ConfigStatus = server; r.ClientStatus == ClientStatusAbsent {
			r.ClientStatus = client
		}
	}
	return nil
}

// dump reads one of the config dumps of envoy.admin.v3.
func (d *decoder) dump(b []byte, k *dump) error {
	f := reader{b: b}
	for f.next() {
		if f.typ != protowire.BytesType {
			continue
		}
		for i := range k.lists {
			if l := &k.lists[i]; l.num == f.num {
				if err := d.entry(f.v, k, l); err != nil {
					return fmt.Errorf("%s: %w", l.json, err)
				}
			}
		}
	}
	return f.err
}

// state is what an entry says of a resource's contents.
type state struct {
	set     bool
	version string
	updated stamp
	typ     string
	hasAny  bool
	value   []byte
}

// entry reads one resource of a config dump.
func (d *decoder) entry(b []byte, k *dump, l *list) error {
	var r Resource
	var failed failure
	var states [3]state
	var err error
	f := reader{b: b}
	for f.next() {
		switch {
		case l.status != 0 && f.varint(l.status):
			r.ClientStatus = clientStatus(int32(f.n))
		case f.typ != protowire.BytesType:
		case f.num == l.name:
			r.Name, err = d.str(f.v)
		case f.num == l.failure:
			err = d.failure(f.v, &failed)
		case l.states == nil:
			err = d.state(f.num, f.v, l, &states[0])
		default:
			for i, num := range l.states {
				if f.num != num {
					continue
				}
				states[i].set = true
				g := reader{b: f.v}
				for err == nil && g.next() {
					if g.typ == protowire.BytesType {
						err = d.state(g.num, g.v, l, &states[i])
					}
				}
				if err == nil {
					err = g.err
				}
			}
		}
		if err != nil {
			return err
		}
	}
	if f.err != nil {
		return f.err
	}
	show := &states[0]
	for i := len(l.states) - 1; i >= 0; i-- {
		if states[i].set {
			show = &states[i]
		}
	}
	r.Version, r.LastUpdated, r.Error, r.Static = show.version, show.updated.time(), failed.get(), l.static
	if r.TypeURL = show.typ; r.TypeURL == "" {
		r.TypeURL = k.typeURL
	}
	if r.Name == "" && l.name == 0 && k.holds(r.TypeURL) {
		r.Name = d.nameIn(show.value)
	}
	if d.KeepContents && show.hasAny {
		r.Contents = &Contents{TypeURL: show.typ, Value: append([]byte(nil), show.value...)}
	}
	*d.slot() = r
	return nil
}

// state reads one field of a message that holds version, contents and time.
func (d *decoder) state(num protowire.Number, v []byte, l *list, s *state) error {
	var err error
	switch num {
	case l.version:
		s.version, err = d.str(v)
	case l.updated:
		err = s.updated.merge(v)
	case l.contents:
		if l.repeated {
			s.typ, s.value = "", nil
		}
		s.hasAny = true
		f := reader{b: v}
		for err == nil && f.next() {
			switch {
			case f.bytes(1):
				s.typ, err = d.str(f.v)
			case f.bytes(2):
				s.value = f.v
			}
		}
		if err == nil {
			err = f.err
		}
	}
	return err
}

// nameIn gives the first field of a resource: the name of a cluster or of a route configuration, the cluster's name of a
// load assignment. Contents that cannot be read have no name: they are no part of the answer's own structure.
func (d *decoder) nameIn(b []byte) string {
	var name []byte
	f := reader{b: b}
	for f.next() {
		if f.bytes(1) {
			name = f.v
		}
	}
	if f.err != nil || !utf8.Valid(name) {
		return ""
	}
	s, err := d.str(name)
	if err != nil {
		return ""
	}
	return s
}
