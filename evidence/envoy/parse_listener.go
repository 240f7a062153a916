package envoy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// listener reads a config.listener.v3.Listener.
func (p *parser) listener() *Listener {
	l := &Listener{}
	ok := p.object(func(key string) {
		switch key {
		case "name":
			l.Name = p.str()
		case "address":
			l.Addresses = slices.Insert(l.Addresses, 0, p.address())
		case "additional_addresses":
			p.array(func(int) {
				p.object(func(key string) {
					if key == "address" {
						l.Addresses = keep(p.cursor, l.Addresses, p.address())
					}
				})
			})
		case "traffic_direction":
			l.Direction = p.str()
		case "use_original_dst":
			p.wrapped(func() { l.UseOriginalDst = p.boolean() })
		case "bind_to_port":
			p.wrapped(func() { l.Unbound = !p.boolean() })
		case "deprecated_v1":
			p.object(func(key string) {
				if key == "bind_to_port" {
					p.wrapped(func() { l.Unbound = !p.boolean() })
				}
			})
		case "internal_listener":
			l.Internal = p.peek() == '{'
		case "listener_filters":
			p.array(func(int) { l.Filters = keep(p.cursor, l.Filters, p.filterName()) })
		case "filter_chains":
			p.array(func(int) { l.Chains = keep(p.cursor, l.Chains, p.chain()) })
		case "default_filter_chain":
			if p.peek() == '{' {
				f := p.chain()
				l.Default = &f
			}
		case "filter_chain_matcher":
			if p.peek() == '{' {
				l.matcher = p.matcher()
			}
		case "api_listener":
			p.object(func(key string) {
				if key == "api_listener" {
					l.API = &Filter{}
					p.config2filter(l.API)
				}
			})
		}
	})
	if !ok {
		return nil
	}
	return l
}

// address reads a config.core.v3.Address.
func (c *cursor) address() Address {
	var a Address
	c.object(func(key string) {
		switch key {
		case "socket_address":
			c.object(func(key string) {
				switch key {
				case "address":
					a.Host = c.str()
				case "port_value":
					a.Port = c.num()
				case "ipv4_compat":
					a.Compat = c.boolean()
				}
			})
		case "pipe":
			c.object(func(key string) {
				if key == "path" {
					a.Other = "pipe:" + c.str()
				}
			})
		case "envoy_internal_address":
			c.object(func(key string) {
				switch key {
				case "server_listener_name":
					a.Other = "internal:" + c.str()
				case "endpoint_id":
					a.Host = c.str()
				}
			})
		}
	})
	if strings.HasPrefix(a.Other, "internal:") && a.Host != "" {
		a.Other, a.Host = a.Other+"/"+a.Host, ""
	}
	return a
}

func (p *parser) filterName() string {
	var name string
	p.object(func(key string) {
		if key == "name" {
			name = p.str()
		}
	})
	return name
}

// chain reads a config.listener.v3.FilterChain.
func (p *parser) chain() FilterChain {
	var f FilterChain
	p.object(func(key string) {
		switch key {
		case "name":
			f.Name = p.str()
		case "filter_chain_match":
			f.Match = p.chainMatch()
		case "filters":
			p.array(func(int) { f.Filters = keep(p.cursor, f.Filters, p.filter()) })
		case "transport_socket":
			f.Transport = p.filterName()
		case "tls_context": // v2
			f.Transport = "tls"
		}
	})
	return f
}

func (p *parser) chainMatch() ChainMatch {
	var m ChainMatch
	p.object(func(key string) {
		switch key {
		case "destination_port":
			p.wrapped(func() { m.DestinationPort = p.num() })
		case "prefix_ranges":
			m.Prefixes = p.prefixes()
		case "server_names":
			m.ServerNames = p.strs()
			for i, s := range m.ServerNames {
				m.ServerNames[i] = strings.ToLower(s)
			}
		case "transport_protocol":
			m.Transport = p.str()
		case "application_protocols":
			m.ALPN = p.strs()
		case "direct_source_prefix_ranges":
			m.DirectSource = p.prefixes()
		case "source_type":
			if m.SourceType = p.str(); m.SourceType == "ANY" {
				m.SourceType = ""
			} else if m.SourceType == "LOCAL" { // v2's name
				m.SourceType = "SAME_IP_OR_LOOPBACK"
			}
		case "source_prefix_ranges":
			m.Source = p.prefixes()
		case "source_ports":
			p.array(func(int) { m.SourcePorts = keep(p.cursor, m.SourcePorts, p.num()) })
		}
	})
	return m
}

// prefixes reads a list of config.core.v3.CidrRange.
func (p *parser) prefixes() []netip.Prefix {
	var out []netip.Prefix
	p.array(func(int) {
		if x, ok := p.prefix(); ok {
			out = keep(p.cursor, out, x)
		}
	})
	return out
}

func (p *parser) prefix() (netip.Prefix, bool) {
	var address string
	bits := 0
	if !p.object(func(key string) {
		switch key {
		case "address_prefix":
			address = p.str()
		case "prefix_len":
			p.wrapped(func() { bits = p.num() })
		}
	}) {
		return netip.Prefix{}, false
	}
	ip, err := netip.ParseAddr(address)
	if err == nil {
		if x, err := ip.Prefix(bits); err == nil {
			return x, true
		}
	}
	p.problem(fmt.Sprintf("%.60q/%d is no address range", address, bits))
	// A range that can't be read matches nothing, which isn't the same as having none.
	return netip.Prefix{}, true
}

// filter reads a config.listener.v3.Filter.
func (p *parser) filter() Filter {
	var f Filter
	p.object(func(key string) {
		switch key {
		case "name":
			f.Name = p.str()
		case "typed_config", "config":
			p.config2filter(&f)
		}
	})
	return f
}

// config2filter reads a filter's configuration. Which filter it is shows in its type, in its name (v2's `config` has no
// type), or, for a TypedStruct, in type_url.
func (p *parser) config2filter(f *Filter) {
	h, t := &HTTP{}, &TCP{}
	var isHTTP, isTCP bool
	var read func(key string)
	read = func(key string) {
		switch key {
		case "@type":
			if f.TypeURL = p.str(); strings.HasSuffix(f.TypeURL, "TypedStruct") {
				f.TypeURL = ""
			}
		case "type_url":
			f.TypeURL = p.str()
		case "value":
			if p.peek() == '{' {
				p.object(read)
			}
		case "stat_prefix":
			h.StatPrefix = p.str()
			t.StatPrefix = h.StatPrefix
		case "route_config":
			isHTTP = true
			if h.Inline = p.routeConfig(); h.Inline != nil {
				h.Inline.State, h.Inline.Place = Active, p.where()
			}
		case "rds":
			isHTTP = true
			p.object(func(key string) {
				if key == "route_config_name" {
					h.RDS = p.str()
				}
			})
		case "scoped_routes":
			isHTTP = true
			h.Scoped = "(unnamed)"
			p.object(func(key string) {
				if key == "name" {
					h.Scoped = p.str()
				}
			})
		case "strip_any_host_port":
			h.StripAnyPort = p.boolean()
		case "strip_matching_host_port":
			h.StripPort = p.boolean()
		case "strip_trailing_host_dot":
			h.StripHostDot = p.boolean()
		case "http_filters":
			isHTTP = true
			p.array(func(int) { h.Filters = keep(p.cursor, h.Filters, p.filterName()) })
		case "cluster":
			isTCP = true
			t.Clusters = append(t.Clusters, WeightedCluster{Name: p.str()})
		case "weighted_clusters":
			isTCP = true
			t.Clusters = p.weighted()
		}
	}
	p.object(read)
	named := func(url, old string) bool {
		return strings.HasSuffix(f.TypeURL, "."+url) || f.TypeURL == "" && strings.HasSuffix(f.Name, old)
	}
	switch {
	case isHTTP && named("HttpConnectionManager", "http_connection_manager"):
		f.HTTP = h
	case isTCP && named("TcpProxy", "tcp_proxy"):
		f.TCP = t
	case named("HttpConnectionManager", "http_connection_manager"):
		f.HTTP = h // it has no routes at all: the walk says so
	}
}
