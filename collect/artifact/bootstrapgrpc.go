package artifact

import (
	"net/url"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

// readGRPC reads a bootstrap of proxyless gRPC, and what every gRPC implementation refuses in one.
// https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md, and A47 for the authorities
func readGRPC(v value) evidence.Bootstrap {
	b := evidence.Bootstrap{Kind: evidence.GRPCBootstrap}
	places := &placeholders{}
	readNode(v.get("node"), &b, places)
	servers := v.get("xds_servers")
	for _, s := range readServers(servers, &b, places) {
		addServer(&b, s.get("server_uri").str())
		for _, f := range s.get("server_features").list() {
			if f.scalar() == "xds_v3" {
				b.Transport = evidence.TransportV3
			}
		}
	}
	if !servers.absent() && len(servers.list()) == 0 {
		problem(&b, servers, "is empty")
	} else if servers.absent() {
		problem(&b, servers, "is missing")
	}
	authorities := v.get("authorities")
	for _, a := range authorities.fields() {
		name := a.name(authorities)
		if len(b.Authorities) < maxPlaces {
			b.Authorities = append(b.Authorities, name)
		}
		// An authority's own servers are asked for that authority's resources alone, so they aren't the mesh's control plane.
		readServers(a.get("xds_servers"), &b, places)
		template := a.get("client_listener_resource_name_template")
		places.check(template)
		if t := template.str(); t != "" && !strings.HasPrefix(t, "xdstp://"+url.PathEscape(name)) {
			problem(&b, template, "does not begin with xdstp://"+name+"/")
		}
	}
	places.check(v.get("client_default_listener_resource_name_template"))
	places.check(v.get("server_listener_resource_name_template"))
	b.Placeholders = places.found
	return b
}

// readServers reads a list of control planes: each must say where it is, and with which credentials to talk to it. Which
// types of credentials there are is up to the client, which may have its own.
func readServers(l value, b *evidence.Bootstrap, places *placeholders) []value {
	misspelt(l, b)
	list := l.list()
	for _, s := range list {
		uri := s.get("server_uri")
		places.check(uri)
		misspelt(uri, b)
		if uri.str() == "" {
			problem(b, uri, "is missing")
		}
		creds := s.get("channel_creds")
		misspelt(creds, b)
		if len(creds.list()) == 0 {
			problem(b, creds, "is missing")
		}
		for i, c := range creds.list() {
			if t := c.get("type"); i == 0 && t.str() == "" {
				problem(b, t, "is missing")
			}
		}
	}
	return list
}

// problem notes what keeps a client from starting.
func problem(b *evidence.Bootstrap, v value, what string) {
	if len(b.Problems) < maxPlaces {
		b.Problems = append(b.Problems, v.where()+" "+what)
	}
}

// misspelt finds a field in camelCase: gRPC's JSON is not protobuf's, and its names are in snake_case alone.
func misspelt(v value, b *evidence.Bootstrap) {
	name := v.path[strings.LastIndexByte(v.path, '.')+1:]
	if strings.ToLower(name) != name {
		problem(b, v, "is in camelCase, and gRPC reads snake_case alone")
	}
}
