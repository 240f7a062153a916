package xdsclient

import (
	"bytes"
	"cmp"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// DecodeOptions say what to keep of an answer.
type DecodeOptions struct {
	// KeepContents keeps the contents of resources, raw (Resource.Contents). They are most of an answer's bytes.
	KeepContents bool
}

// DecodeResponse reads an envoy.service.status.v3.ClientStatusResponse in protobuf's wire format, merging and skipping as
// protobuf does. The clients are in the order of the answer, and hold no reference to b. An error wraps ErrMalformed and
// names the place.
func DecodeResponse(b []byte, o DecodeOptions) ([]ClientConfig, error) {
	return newDecoder(o).response(mem.BufferSlice{mem.SliceBuffer(b)})
}

// decoder reads answers, and remembers the strings of earlier ones: clients of a mesh have most names, versions and types
// in common. It is not safe for concurrent use.
type decoder struct {
	DecodeOptions
	nodesOnly bool // leave out resources

	strings   map[string]string
	resources []Resource   // of the client being read; beyond its length, those of clients before
	build     buildVersion // of the node being read
	kinds     []dump
	scratch   []byte

	lastStamp []byte // a google.protobuf.Timestamp that was read alone: one push of the control plane has one time
	lastTime  stamp

	halveFrom int // bytes
	second    *decoder
}

// halveAnswers is the size from which an answer is read by two goroutines: below it, that saves less than a millisecond.
const halveAnswers = 2 << 20

func newDecoder(o DecodeOptions) *decoder {
	return &decoder{DecodeOptions: o, strings: map[string]string{}, kinds: dumpKinds(), halveFrom: halveAnswers}
}

// Bounds of one answer: an empty client takes two bytes on the wire and a hundred times that in memory. Neither a mesh nor
// a control plane comes near.
const (
	maxClients   = 1 << 20
	maxResources = 1 << 23
)

var (
	errClients   = fmt.Errorf("%w: more than %d clients", ErrMalformed, maxClients)
	errResources = fmt.Errorf("%w: more than %d resources", ErrMalformed, maxResources)
)

// maxScratch bounds what a decoder keeps between answers to join values that cross buffers.
const maxScratch = 1 << 20

// str gives b as a string, the same one for equal bytes.
func (d *decoder) str(b []byte) (string, error) {
	if s, ok := d.strings[string(b)]; ok {
		return s, nil
	}
	if !utf8.Valid(b) {
		return "", errUTF8
	}
	s := string(b)
	d.strings[s] = s
	return s, nil
}

// strLike is str, with a guess of what it may be.
func (d *decoder) strLike(b []byte, guess string) (string, error) {
	if string(b) == guess {
		return guess, nil
	}
	return d.str(b)
}

// response reads a ClientStatusResponse. The two halves of a large one are read at once.
func (d *decoder) response(s mem.BufferSlice) ([]ClientConfig, error) {
	n, before, middle := survey(s)
	if n > maxClients {
		return nil, errClients
	}
	if n == 0 { // empty, or nothing but unknown fields
		return nil, d.clients(newCursor(s, d.scratch), 0, 0, nil)
	}
	out := make([]ClientConfig, n)
	if s.Len() < d.halveFrom || before == 0 || before == n {
		return result(out, d.clients(newCursor(s, d.scratch), 0, 0, out))
	}
	if d.second == nil {
		d.second = newDecoder(d.DecodeOptions)
	}
	d.second.nodesOnly = d.nodesOnly
	var wg sync.WaitGroup
	var first, second error
	wg.Go(func() {
		c := middle
		c.scratch = d.second.scratch
		second = d.second.clients(&c, 0, before, out[before:])
	})
	first = d.clients(newCursor(s, d.scratch), middle.left, 0, out[:before])
	wg.Wait()
	return result(out, cmp.Or(first, second))
}

func result(clients []ClientConfig, err error) ([]ClientConfig, error) {
	if err != nil {
		return nil, err
	}
	return clients, nil
}

// survey counts the clients of an answer, in all and before a place near its middle, which costs next to nothing as what
// they hold is passed over. Where the answer is malformed it stops: reading it will say where.
func survey(s mem.BufferSlice) (n, before int, middle cursor) {
	c := newCursor(s, nil)
	half := c.left / 2
	for c.left > 0 && n <= maxClients {
		if middle.bufs == nil && c.left <= half {
			before, middle = n, *c
		}
		num, typ, err := c.tag()
		if err == nil && num == 1 && typ == protowire.BytesType {
			n++
		}
		if err != nil || c.skipField(num, typ) != nil {
			return n, 0, cursor{}
		}
	}
	return n, before, middle
}

// clients reads the clients up to where end bytes are left into out, which has room for exactly those; the first is the
// answer's client number first.
func (d *decoder) clients(c *cursor, end, first int, out []ClientConfig) error {
	resources, i := 0, 0
	for c.left > end {
		num, typ, err := c.tag()
		if err != nil {
			return err
		}
		if num != 1 || typ != protowire.BytesType { // config
			if err := c.skipField(num, typ); err != nil {
				return err
			}
			continue
		}
		if out[i], err = d.client(c); err != nil {
			return fmt.Errorf("config[%d]: %w", first+i, err)
		}
		if resources += len(out[i].Resources); resources > maxResources {
			return errResources
		}
		i++
	}
	if d.scratch = c.scratch; cap(d.scratch) > maxScratch {
		d.scratch = nil
	}
	return nil
}

// client reads a ClientConfig, whose length comes first.
func (d *decoder) client(c *cursor) (ClientConfig, error) {
	var out ClientConfig
	n, err := c.varint()
	if err != nil {
		return out, err
	}
	if n > uint64(c.left) {
		return out, errTruncated
	}
	end := c.left - int(n)
	d.resources, d.build = d.resources[:0], buildVersion{}
	var generic, per int
	for c.left > end {
		num, typ, err := c.tag()
		if err != nil {
			return out, err
		}
		if typ != protowire.BytesType || num > 4 || d.nodesOnly && num != 1 {
			if err := c.skipField(num, typ); err != nil {
				return out, err
			}
			continue
		}
		n, err := c.varint()
		if err != nil {
			return out, err
		}
		if c.left < end || n > uint64(c.left-end) {
			return out, errTruncated
		}
		b, err := c.take(n)
		if err != nil {
			return out, err
		}
		switch num {
		case 1: // node
			if err := d.node(b, &out.Node); err != nil {
				return out, fmt.Errorf("node: %w", err)
			}
		case 2: // xds_config, deprecated
			if err := d.perXDS(b); err != nil {
				return out, fmt.Errorf("xds_config[%d]: %w", per, err)
			}
			per++
		case 3: // generic_xds_configs
			if err := d.generic(b); err != nil {
				return out, fmt.Errorf("generic_xds_configs[%d]: %w", generic, err)
			}
			generic++
		case 4: // client_scope
			if out.ClientScope, err = d.str(b); err != nil {
				return out, fmt.Errorf("client_scope: %w", err)
			}
		}
	}
	if c.left != end {
		return out, errTruncated
	}
	if len(d.resources) > 0 {
		out.Resources = make([]Resource, len(d.resources))
		copy(out.Resources, d.resources)
	}
	return out, nil
}

// slot makes room for a resource. Until it is written it holds a resource of an earlier client: in a mesh, the likeliest
// values of this one.
func (d *decoder) slot() *Resource {
	n := len(d.resources)
	if n == cap(d.resources) {
		d.resources = append(d.resources, Resource{})
	} else {
		d.resources = d.resources[:n+1]
	}
	return &d.resources[n]
}

// generic reads a ClientConfig.GenericXdsConfig into a new resource. Nearly all of an answer's fields are read here, so
// those with the commonest tags and lengths are taken apart in line; the reader does the rest.
func (d *decoder) generic(b []byte) error {
	slot := d.slot()
	var r Resource
	var updated stamp
	var failed failure
	var err error
	for len(b) > 0 {
		var v []byte
		var n uint64
		var num protowire.Number
		typ := protowire.BytesType
		switch {
		case b[0]&0x87 == 2 && len(b) > 1 && b[1] < 0x80 && len(b)-2 >= int(b[1]): // up to 127 bytes
			end := 2 + int(b[1])
			num, v, b = protowire.Number(b[0]>>3), b[2:end], b[end:]
		case b[0]&0x87 == 2 && len(b) > 2 && b[2] < 0x80 && len(b)-3 >= int(b[1]&0x7f)|int(b[2])<<7: // up to 16 KiB
			end := 3 + (int(b[1]&0x7f) | int(b[2])<<7)
			num, v, b = protowire.Number(b[0]>>3), b[3:end], b[end:]
		default:
			f := reader{b: b}
			if !f.next() {
				return f.err
			}
			num, typ, v, n, b = f.num, f.typ, f.v, f.n, f.b
		}
		switch typ {
		case protowire.BytesType:
			switch num {
			case 1: // type_url
				r.TypeURL, err = d.strLike(v, slot.TypeURL)
			case 2: // name
				r.Name, err = d.strLike(v, slot.Name)
			case 3: // version_info
				r.Version, err = d.strLike(v, slot.Version)
			case 4: // xds_config
				if d.KeepContents {
					err = d.contents(v, &r)
				}
			case 5: // last_updated
				alone := updated == stamp{}
				if alone && string(v) == string(d.lastStamp) {
					updated = d.lastTime
				} else if err = updated.merge(v); err == nil && alone {
					d.lastStamp, d.lastTime = append(d.lastStamp[:0], v...), updated
				}
			case 8: // error_state
				err = d.failure(v, &failed)
			}
			if err != nil {
				return err
			}
		case protowire.VarintType:
			switch num {
			case 6: // config_status
				r.ConfigStatus = configStatus(int32(n))
			case 7: // client_status
				r.ClientStatus = clientStatus(int32(n))
			case 9: // is_static_resource
				r.Static = n != 0
			}
		}
	}
	r.LastUpdated = updated.time()
	r.Error = failed.get()
	*slot = r
	return nil
}

// contents reads a google.protobuf.Any. The resource in it stays as it is.
func (d *decoder) contents(b []byte, r *Resource) error {
	if r.Contents == nil {
		r.Contents = &Contents{}
	}
	var err error
	f := reader{b: b}
	for err == nil && f.next() {
		switch {
		case f.bytes(1): // type_url
			r.Contents.TypeURL, err = d.str(f.v)
		case f.bytes(2): // value
			r.Contents.Value = bytes.Clone(f.v)
		}
	}
	if err != nil {
		return err
	}
	return f.err
}

// failure is an envoy.admin.v3.UpdateFailureState being read.
type failure struct {
	set              bool
	details, version string
	attempt          stamp
}

func (d *decoder) failure(b []byte, to *failure) error {
	to.set = true
	var err error
	f := reader{b: b}
	for f.next() {
		switch {
		case f.bytes(2): // last_update_attempt
			err = to.attempt.merge(f.v)
		case f.bytes(3): // details
			to.details, err = d.str(f.v)
		case f.bytes(4): // version_info
			to.version, err = d.str(f.v)
		}
		if err != nil {
			return fmt.Errorf("error_state: %w", err)
		}
	}
	return f.err
}

func (f *failure) get() *UpdateFailure {
	if !f.set {
		return nil
	}
	return &UpdateFailure{Details: f.details, Version: f.version, LastAttempt: f.attempt.time()}
}

// stamp is a google.protobuf.Timestamp being read.
type stamp struct {
	seconds int64
	nanos   int32
}

func (s *stamp) time() time.Time { return timestamp(s.seconds, s.nanos) }

func (s *stamp) merge(b []byte) error {
	f := reader{b: b}
	for f.next() {
		switch {
		case f.varint(1):
			s.seconds = int64(f.n)
		case f.varint(2):
			s.nanos = int32(f.n)
		}
	}
	return f.err
}
