package envoy

import (
	"fmt"
	"math"
	"strconv"
)

// routeConfig reads a config.route.v3.RouteConfiguration.
func (p *parser) routeConfig() *RouteConfig {
	r := &RouteConfig{}
	ok := p.object(func(key string) {
		switch key {
		case "name":
			r.Name = p.str()
		case "virtual_hosts":
			p.array(func(int) { r.VirtualHosts = keep(p.cursor, r.VirtualHosts, p.virtualHost()) })
		case "vhds":
			r.VHDS = p.peek() == '{'
		case "ignore_port_in_host_matching":
			r.IgnorePort = p.boolean()
		case "vhost_header":
			r.HostHeader = p.str()
		}
	})
	if !ok {
		return nil
	}
	return r
}

func (p *parser) virtualHost() VirtualHost {
	var v VirtualHost
	p.object(func(key string) {
		switch key {
		case "name":
			v.Name = p.str()
		case "domains":
			v.Domains = p.strs()
		case "routes":
			p.array(func(int) { v.Routes = keep(p.cursor, v.Routes, p.route()) })
		case "matcher":
			v.HasMatcher = p.peek() == '{'
		case "require_tls":
			if v.RequireTLS = p.str(); v.RequireTLS == "NONE" {
				v.RequireTLS = ""
			}
		}
	})
	return v
}

// route reads a config.route.v3.Route.
func (p *parser) route() Route {
	var r Route
	p.object(func(key string) {
		switch key {
		case "name":
			r.Name = p.str()
		case "match":
			r.Match = p.routeMatch()
		case "route":
			r.Action = p.routeAction()
		case "direct_response":
			r.Action.Kind = key
			p.object(func(key string) {
				if key == "status" {
					r.Action.Status = p.num()
				}
			})
		case "redirect", "filter_action", "non_forwarding_action":
			r.Action.Kind = key
		}
	})
	return r
}

func (p *parser) routeMatch() RouteMatch {
	m := RouteMatch{Fraction: 1}
	path := func(k PathKind) func(string) {
		return func(s string) { m.Kind, m.Path = k, s }
	}
	p.object(func(key string) {
		switch key {
		case "prefix":
			path(PathPrefix)(p.str())
		case "path":
			path(PathExact)(p.str())
		case "path_separated_prefix":
			path(PathSeparatedPrefix)(p.str())
		case "safe_regex":
			path(PathRegex)(p.regex())
		case "regex": // v2
			path(PathRegex)(p.str())
		case "connect_matcher":
			m.Kind = PathConnect
		case "path_match_policy":
			m.Kind = PathOther
		case "case_sensitive":
			p.wrapped(func() { m.IgnoreCase = !p.boolean() })
		case "grpc":
			m.GRPC = p.peek() == '{'
		case "runtime_fraction":
			m.Fraction = p.fraction()
		case "headers":
			p.array(func(int) { m.Headers = keep(p.cursor, m.Headers, p.headerMatch()) })
		case "query_parameters":
			p.array(func(int) { m.Query = keep(p.cursor, m.Query, p.headerMatch()) })
		case "tls_context", "dynamic_metadata", "filter_state", "cookies":
			if k := p.peek(); k == '{' || k == '[' {
				m.Other = keep(p.cursor, m.Other, key)
			}
		}
	})
	return m
}

func (p *parser) regex() string {
	var s string
	p.object(func(key string) {
		if key == "regex" {
			s = p.str()
		}
	})
	return s
}

// fraction reads a RuntimeFractionalPercent: its default as a share of one.
func (p *parser) fraction() float64 {
	share := 1.0
	p.object(func(key string) {
		if key != "default_value" {
			return
		}
		n, of := 0, 100.0
		p.object(func(key string) {
			switch key {
			case "numerator":
				n = p.num()
			case "denominator":
				switch p.str() {
				case "TEN_THOUSAND":
					of = 1e4
				case "MILLION":
					of = 1e6
				}
			}
		})
		share = math.Min(1, float64(n)/of)
	})
	return share
}

// headerMatch reads a HeaderMatcher or a QueryParameterMatcher: their fields' names don't clash.
func (p *parser) headerMatch() HeaderMatch {
	// Without a specifier a matcher asks for presence.
	m := HeaderMatch{Kind: "present", Value: "true"}
	p.object(func(key string) {
		switch key {
		case "name":
			m.Name = p.str()
		case "exact_match", "value":
			m.Kind, m.Value = "exact", p.str()
		case "prefix_match":
			m.Kind, m.Value = "prefix", p.str()
		case "suffix_match":
			m.Kind, m.Value = "suffix", p.str()
		case "contains_match":
			m.Kind, m.Value = "contains", p.str()
		case "safe_regex_match":
			m.Kind, m.Value = "regex", p.regex()
		case "regex_match":
			m.Kind, m.Value = "regex", p.str()
		case "present_match":
			m.Kind, m.Value = "present", strconv.FormatBool(p.boolean())
		case "range_match":
			var from, to int
			p.object(func(key string) {
				switch key {
				case "start":
					from = p.num()
				case "end":
					to = p.num()
				}
			})
			m.Kind, m.Value = "range", fmt.Sprintf("%d,%d", from, to)
		case "string_match":
			p.stringMatch(&m)
		case "invert_match":
			m.Invert = p.boolean()
		case "treat_missing_header_as_empty":
			m.MissingIsEmpty = p.boolean()
		}
	})
	return m
}

// stringMatch reads a type.matcher.v3.StringMatcher.
func (p *parser) stringMatch(m *HeaderMatch) {
	m.Kind, m.Value = "other", ""
	p.object(func(key string) {
		switch key {
		case "exact", "prefix", "suffix", "contains":
			m.Kind, m.Value = key, p.str()
		case "safe_regex":
			m.Kind, m.Value = "regex", p.regex()
		case "ignore_case":
			m.IgnoreCase = p.boolean()
		}
	})
}

// routeAction reads a RouteAction.
func (p *parser) routeAction() Action {
	a := Action{Kind: "cluster"}
	p.object(func(key string) {
		switch key {
		case "cluster":
			a.Clusters = []WeightedCluster{{Name: p.str()}}
		case "cluster_header":
			a.Clusters = []WeightedCluster{{Header: p.str()}}
		case "weighted_clusters":
			a.Clusters = p.weighted()
		case "cluster_specifier_plugin", "inline_cluster_specifier_plugin":
			a.Kind = key
		}
	})
	return a
}

// weighted reads a WeightedCluster of a route or of a tcp_proxy.
func (p *parser) weighted() []WeightedCluster {
	var out []WeightedCluster
	p.object(func(key string) {
		if key != "clusters" {
			return
		}
		p.array(func(int) {
			var w WeightedCluster
			p.object(func(key string) {
				switch key {
				case "name":
					w.Name = p.str()
				case "cluster_header":
					w.Header = p.str()
				case "weight":
					p.wrapped(func() { w.Weight = p.num() })
				}
			})
			out = keep(p.cursor, out, w)
		})
	})
	return out
}

// scopes reads scoped_route_configs.
func (p *parser) scopes() []ScopedRoute {
	var out []ScopedRoute
	p.array(func(int) {
		var s ScopedRoute
		p.object(func(key string) {
			switch key {
			case "name":
				s.Name = p.str()
			case "route_configuration_name":
				s.RouteConfig = p.str()
			case "key":
				p.object(func(key string) {
					if key != "fragments" {
						return
					}
					p.array(func(int) {
						p.object(func(key string) {
							if key == "string_key" {
								s.Key = keep(p.cursor, s.Key, p.str())
							}
						})
					})
				})
			}
		})
		out = keep(p.cursor, out, s)
	})
	return out
}
