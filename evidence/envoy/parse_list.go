package envoy

// bare reads a list of resources without their dump, as istioctl prints them.
func (p *parser) bare() bool {
	found := false
	p.array(func(int) {
		kind := p.bareKind()
		if kind == "" {
			return
		}
		e := entry{}
		switch kind {
		case ListenerSection:
			e.listener = p.listener()
		case RouteSection:
			e.routes = p.routeConfig()
		default:
			e.cluster = p.cluster()
		}
		if p.err == nil {
			found = true
			e.place = p.where()
			p.markPartial(kind)
			p.add(&e, container{kind, Active})
		}
	})
	return found
}

// bareKind looks at an element's fields without moving past it.
func (p *parser) bareKind() Section {
	if p.peek() != '{' {
		return ""
	}
	var kind Section
	mark, place := p.i, len(p.place)
	p.object(func(key string) {
		switch key {
		case "filter_chains", "default_filter_chain", "api_listener":
			kind = ListenerSection
		case "virtual_hosts":
			kind = RouteSection
		case "eds_cluster_config", "connect_timeout", "cluster_type", "lb_policy", "load_assignment":
			kind = ClusterSection
		}
	})
	if p.err == nil {
		p.i, p.place = mark, p.place[:place]
	}
	return kind
}
