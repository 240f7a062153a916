package envoy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrTooLarge is the error for a file above MaxInput.
var ErrTooLarge = fmt.Errorf("larger than %d MiB", MaxInput>>20)

// ErrNotDump is the error for JSON that's no configuration dump.
var ErrNotDump = errors.New("not an Envoy configuration dump: expected an object with configs, as /config_dump prints it")

// ParseDump reads a configuration dump: what /config_dump prints, whole or filtered with ?resource= or ?mask=, what
// `istioctl proxy-config all -o json` prints, or the lists that `istioctl proxy-config listener|cluster|route -o json` do.
// The dump is never nil. Where the error is a *SyntaxError, the dump holds every resource that was read whole before it,
// and Knows tells which sections are complete.
func ParseDump(b []byte) (*Dump, error) {
	d := &Dump{sections: map[Section]bool{}}
	if len(b) > MaxInput {
		return d, fmt.Errorf("reading a configuration dump: %w", ErrTooLarge)
	}
	c := newCursor(b)
	p := parser{c, d}
	found := false
	switch c.peek() {
	case '{':
		c.object(func(key string) {
			if key == "configs" && !found {
				found = true
				c.array(func(int) { p.config() })
			}
		})
	case '[':
		found = p.bare()
	default:
		c.skip()
	}
	d.Problems, d.camel = c.problems, c.camel
	if c.err == nil {
		if c.space(); c.i < len(c.b) {
			c.place = nil
			c.fail("more after the end")
		}
	}
	switch {
	case c.err != nil:
		return d, fmt.Errorf("reading a configuration dump: %w", c.err)
	case !found:
		return d, fmt.Errorf("reading a configuration dump: %w", ErrNotDump)
	}
	return d, nil
}

type parser struct {
	*cursor
	d *Dump
}

// container is a list of a section: what it holds, and the state of its entries.
type container struct {
	section Section
	state   State
}

// containers are the lists of the *ConfigDump messages. (envoy/admin/v3/config_dump_shared.proto; the last three are v2's)
var containers = map[string]container{
	"static_listeners":             {ListenerSection, StaticState},
	"dynamic_listeners":            {ListenerSection, Active},
	"static_clusters":              {ClusterSection, StaticState},
	"dynamic_active_clusters":      {ClusterSection, Active},
	"dynamic_warming_clusters":     {ClusterSection, Warming},
	"static_route_configs":         {RouteSection, StaticState},
	"dynamic_route_configs":        {RouteSection, Active},
	"inline_scoped_route_configs":  {ScopedSection, StaticState},
	"dynamic_scoped_route_configs": {ScopedSection, Active},
	"static_endpoint_configs":      {EndpointSection, StaticState},
	"dynamic_endpoint_configs":     {EndpointSection, Active},
	"static_secrets":               {SecretSection, StaticState},
	"dynamic_active_secrets":       {SecretSection, Active},
	"dynamic_warming_secrets":      {SecretSection, Warming},
	"ecds_filters":                 {ECDSSection, Active},
	"dynamic_active_listeners":     {ListenerSection, Active},
	"dynamic_warming_listeners":    {ListenerSection, Warming},
	"dynamic_draining_listeners":   {ListenerSection, Draining},
}

// messages are the sections by their type: an empty one has no list to know it by.
var messages = map[string]Section{
	"ListenersConfigDump":    ListenerSection,
	"ClustersConfigDump":     ClusterSection,
	"RoutesConfigDump":       RouteSection,
	"ScopedRoutesConfigDump": ScopedSection,
	"EndpointsConfigDump":    EndpointSection,
	"SecretsConfigDump":      SecretSection,
	"EcdsConfigDump":         ECDSSection,
}

// config reads one element of configs: a section, or with ?resource= one entry of a list.
func (p *parser) config() {
	var lone entry
	var seen []Section
	static := false
	wrong := p.wrong
	ok := p.object(func(key string) {
		switch at, isList := containers[key]; {
		case key == "@type":
			t := p.str()
			name := t[strings.LastIndexByte(t, '.')+1:]
			if s, ok := messages[name]; ok {
				seen = append(seen, s)
			}
			static = strings.HasPrefix(name, "Static") || strings.HasPrefix(name, "Inline")
		case isList:
			seen = append(seen, at.section)
			p.markPartial(at.section)
			p.array(func(int) { p.entry(at) })
		case key == "bootstrap":
			p.bootstrap()
		default:
			lone.field(p, key)
		}
	})
	if !ok {
		return
	}
	state := Active
	if static {
		state = StaticState
	}
	if s, isOne := lone.section(); isOne && len(seen) == 0 {
		lone.place = p.where()
		p.add(&lone, container{s, state})
		p.markPartial(s)
		return
	}
	for _, s := range seen {
		p.d.sections[s] = !p.full && p.wrong == wrong
	}
}

func (p *parser) markPartial(s Section) {
	if !p.d.sections[s] {
		p.d.sections[s] = false
	}
}

func (p *parser) bootstrap() {
	p.object(func(key string) {
		switch key {
		case "node":
			p.node()
		case "admin":
			p.object(func(key string) {
				if key == "address" {
					p.d.AdminAddress = p.address()
				}
			})
		}
	})
}

func (p *parser) node() {
	n := p.cursor.node()
	p.d.NodeID, p.d.NodeCluster, p.d.Metadata, p.d.Version = n.ID, n.Cluster, n.Metadata, n.Version
}

// maxMetadata bounds one value of the node's metadata: Istio's hold whole label sets and owner references.
const maxMetadata = 4 << 10

// Node is the proxy's identity.
type Node struct {
	ID, Cluster string
	Metadata    map[string]string // values that aren't strings are JSON
	Version     string            // of Envoy
}

// node reads a config.core.v3.Node.
func (c *cursor) node() Node {
	var n Node
	c.object(func(key string) {
		switch key {
		case "id":
			n.ID = c.str()
		case "cluster":
			n.Cluster = c.str()
		case "metadata":
			n.Metadata = c.metadata()
		case "user_agent_build_version":
			c.object(func(key string) {
				if key == "version" {
					var v [3]int
					c.object(func(key string) {
						switch key {
						case "major_number":
							v[0] = c.num()
						case "minor_number":
							v[1] = c.num()
						case "patch":
							v[2] = c.num()
						}
					})
					if v != [3]int{} {
						n.Version = fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2])
					}
				}
			})
		}
	})
	return n
}

func (c *cursor) metadata() map[string]string {
	m := map[string]string{}
	c.dict(func(key string) {
		if k := c.peek(); k != '{' && k != '[' {
			if s := c.str(); c.room(uintptr(len(s)) + 64) {
				m[key] = s
			}
			return
		}
		at := c.i
		if c.skip(); c.err == nil && c.i-at <= maxMetadata && c.room(uintptr(c.i-at)+64) {
			m[key] = string(bytes.TrimSpace(c.b[at:c.i]))
		}
	})
	return m
}

// entry is one entry of any list: the messages share their fields' names.
type entry struct {
	res      Resource
	place    string
	failed   *UpdateFailure
	listener *Listener
	states   [3]*Listener // active, warming, draining
	cluster  *Cluster
	routes   *RouteConfig
	eds      *Assignment
	scoped   []ScopedRoute
	isScoped bool
	secret   bool
	ecds     bool
}

func (e *entry) section() (Section, bool) {
	switch {
	case e.listener != nil || e.states != [3]*Listener{}:
		return ListenerSection, true
	case e.cluster != nil:
		return ClusterSection, true
	case e.routes != nil:
		return RouteSection, true
	case e.eds != nil:
		return EndpointSection, true
	case e.isScoped:
		return ScopedSection, true
	case e.secret:
		return SecretSection, true
	case e.ecds:
		return ECDSSection, true
	case e.failed != nil: // a dynamic listener that was never accepted has nothing else
		return ListenerSection, true
	}
	return "", false
}

func (p *parser) entry(at container) {
	e := entry{}
	if ok := p.object(func(key string) { e.field(p, key) }); ok {
		e.place = p.where()
		p.add(&e, at)
	}
}

// field reads one field of an entry.
func (e *entry) field(p *parser, key string) {
	switch key {
	case "name":
		e.res.Name = p.str()
	case "version_info":
		e.res.Version = p.str()
	case "last_updated":
		e.res.LastUpdated = p.time()
	case "client_status":
		e.res.ClientStatus = p.str()
	case "error_state":
		e.failed = p.failure()
	case "active_state":
		e.states[0] = p.listenerState()
	case "warming_state":
		e.states[1] = p.listenerState()
	case "draining_state":
		e.states[2] = p.listenerState()
	case "listener":
		e.listener = p.listener()
	case "cluster":
		e.cluster = p.cluster()
	case "route_config":
		e.routes = p.routeConfig()
	case "endpoint_config":
		e.eds = p.assignment()
	case "scoped_route_configs":
		e.isScoped = true
		e.scoped = p.scopes()
	case "secret":
		e.secret = true // passed over: it may hold a private key
	case "ecds_filter":
		e.ecds = true
		p.object(func(key string) {
			if key == "name" {
				e.res.Name = p.str()
			}
		})
	}
}

// listenerState reads a ListenersConfigDump.DynamicListenerState.
func (p *parser) listenerState() *Listener {
	var l *Listener
	var version string
	var updated time.Time
	p.object(func(key string) {
		switch key {
		case "version_info":
			version = p.str()
		case "last_updated":
			updated = p.time()
		case "listener":
			l = p.listener()
		}
	})
	if l != nil {
		l.Version, l.LastUpdated = version, updated
	}
	return l
}

func (p *parser) failure() *UpdateFailure {
	f := &UpdateFailure{}
	if !p.object(func(key string) {
		switch key {
		case "details":
			f.Details = p.str()
		case "last_update_attempt":
			f.LastAttempt = p.time()
		case "version_info":
			f.Version = p.str()
		}
	}) {
		return nil
	}
	return f
}

func (c *cursor) time() time.Time {
	s := c.str()
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		c.problem(fmt.Sprintf("expected a time as RFC 3339 writes it, found %.40q", s))
	}
	return t
}

// add files an entry's resources. An entry inside which the file ends isn't added: half a listener would look broken.
func (p *parser) add(e *entry, at container) {
	if p.err != nil {
		return
	}
	r := e.res
	r.State, r.Error, r.Place = at.state, e.failed, e.place
	with := func(own Resource) Resource {
		if own.Name == "" {
			own.Name = r.Name
		}
		if own.Version == "" {
			own.Version = r.Version
		}
		if own.LastUpdated.IsZero() {
			own.LastUpdated = r.LastUpdated
		}
		own.State, own.Error, own.Place, own.ClientStatus = r.State, r.Error, r.Place, r.ClientStatus
		return own
	}
	// A dynamic resource that was asked for and never came, or never was accepted, is no more than a name.
	empty := r
	if empty.State = Warming; r.Error != nil {
		empty.State = Rejected
	}
	d := p.d
	switch at.section {
	case ListenerSection:
		p.addListener(e, with, empty)
	case ClusterSection:
		if e.cluster != nil {
			e.cluster.Resource = with(e.cluster.Resource)
			d.Clusters = keep(p.cursor, d.Clusters, *e.cluster)
		} else if r.Error != nil || r.ClientStatus != "" {
			d.Clusters = keep(p.cursor, d.Clusters, Cluster{Resource: empty})
		}
	case RouteSection:
		if e.routes != nil {
			e.routes.Resource = with(e.routes.Resource)
			d.RouteConfigs = keep(p.cursor, d.RouteConfigs, *e.routes)
		} else if r.Error != nil || r.ClientStatus != "" {
			d.RouteConfigs = keep(p.cursor, d.RouteConfigs, RouteConfig{Resource: empty})
		}
	case EndpointSection:
		if e.eds != nil {
			e.eds.Resource = with(e.eds.Resource)
			d.Endpoints = keep(p.cursor, d.Endpoints, *e.eds)
		} else if r.Error != nil || r.ClientStatus != "" {
			d.Endpoints = keep(p.cursor, d.Endpoints, Assignment{Resource: empty})
		}
	case ScopedSection:
		for _, s := range e.scoped {
			s.Set, s.Resource = r.Name, with(s.Resource)
			d.ScopedRoutes = keep(p.cursor, d.ScopedRoutes, s)
		}
	case SecretSection:
		d.Secrets = keep(p.cursor, d.Secrets, r)
	case ECDSSection:
		d.Extensions = keep(p.cursor, d.Extensions, r)
	}
}

func (p *parser) addListener(e *entry, with func(Resource) Resource, empty Resource) {
	d := p.d
	states := [...]struct {
		s     State
		field string
	}{{Active, "active_state"}, {Warming, "warming_state"}, {Draining, "draining_state"}}
	any := false
	for i, l := range e.states {
		if l == nil {
			continue
		}
		any = true
		l.Resource = with(l.Resource)
		l.State, l.Place = states[i].s, e.place+"."+states[i].field
		d.Listeners = keep(p.cursor, d.Listeners, *l)
	}
	switch {
	case any:
	case e.listener != nil:
		e.listener.Resource = with(e.listener.Resource)
		d.Listeners = keep(p.cursor, d.Listeners, *e.listener)
	default:
		d.Listeners = keep(p.cursor, d.Listeners, Listener{Resource: empty})
	}
}
