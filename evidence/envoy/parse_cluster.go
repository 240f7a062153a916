package envoy

import (
	"hash/maphash"
	"strings"
)

// fieldHash is a resource's top-level field and a hash of what it holds, for telling that it differs.
type fieldHash struct {
	name string
	hash uint64
}

// seed makes hashes comparable within the process. It isn't state: nothing depends on its value.
var seed = maphash.MakeSeed()

// hashed calls f and gives the hash of the value it read, white space outside strings left out.
func (c *cursor) hashed(f func()) uint64 {
	at := c.i
	f()
	if c.err == nil && c.i == at {
		c.skip()
	}
	if c.err != nil {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(seed)
	in, from := false, at
	for i := at; i < c.i; i++ {
		switch k := c.b[i]; {
		case k == '"':
			in = !in
		case in && k == '\\':
			i++
		case !in && k <= ' ':
			h.Write(c.b[from:i])
			from = i + 1
		}
	}
	if from < c.i {
		h.Write(c.b[from:c.i])
	}
	return h.Sum64()
}

// cluster reads a config.cluster.v3.Cluster.
func (p *parser) cluster() *Cluster {
	k := &Cluster{}
	ok := p.object(func(key string) {
		h := p.hashed(func() { p.clusterField(k, key) })
		switch key {
		case "name", "@type", "metadata", "load_assignment": // never alike, or compared as they are
		default:
			k.fields = keep(p.cursor, k.fields, fieldHash{key, h})
		}
	})
	if !ok {
		return nil
	}
	if k.Type == "" {
		k.Type = "STATIC" // the enum's zero, which proto JSON leaves out
	}
	return k
}

func (p *parser) clusterField(k *Cluster, key string) {
	switch key {
	case "name":
		k.Name = p.str()
	case "type":
		k.Type = p.str()
	case "alt_stat_name":
		k.AltStatName = p.str()
	case "eds_cluster_config":
		p.object(func(key string) {
			if key == "service_name" {
				k.ServiceName = p.str()
			}
		})
	case "cluster_type":
		p.object(func(key string) {
			switch key {
			case "name":
				k.Type = p.str()
			case "typed_config":
				p.object(func(key string) {
					if key == "clusters" {
						k.Aggregate = p.strs()
					}
				})
			}
		})
	case "load_assignment":
		k.Inline = p.assignment()
	case "transport_socket":
		k.Transport = p.filterName()
	case "tls_context": // v2
		k.Transport = "tls"
	case "metadata":
		p.object(func(key string) {
			if key == "filter_metadata" {
				p.dict(func(key string) {
					if key == "com.google.trafficdirector" {
						p.dict(func(key string) {
							if key == "backend_service_name" {
								k.BackendService = p.str()
							}
						})
					}
				})
			}
		})
	}
}

// aggregate says whether a custom cluster type is the aggregate cluster.
func (k *Cluster) aggregate() bool { return strings.HasSuffix(k.Type, "clusters.aggregate") }

// assignment reads a config.endpoint.v3.ClusterLoadAssignment.
func (p *parser) assignment() *Assignment {
	a := &Assignment{}
	ok := p.object(func(key string) {
		switch key {
		case "cluster_name":
			a.Name = p.str()
		case "endpoints":
			p.array(func(int) { p.locality(a) })
		}
	})
	if !ok {
		return nil
	}
	return a
}

func (p *parser) locality(a *Assignment) {
	from := len(a.Endpoints)
	var region, zone string
	priority := 0
	p.object(func(key string) {
		switch key {
		case "locality":
			p.object(func(key string) {
				switch key {
				case "region":
					region = p.str()
				case "zone":
					zone = p.str()
				}
			})
		case "priority":
			priority = p.num()
		case "leds_cluster_locality_config":
			a.LEDS = a.LEDS || p.peek() == '{'
		case "lb_endpoints":
			p.array(func(int) {
				if e := p.endpoint(); p.err == nil {
					a.Endpoints = keep(p.cursor, a.Endpoints, e)
				}
			})
		}
	})
	if zone == "" {
		zone = region
	}
	for i := from; i < len(a.Endpoints); i++ {
		a.Endpoints[i].Priority, a.Endpoints[i].Zone = priority, zone
	}
}

func (p *parser) endpoint() Endpoint {
	var e Endpoint
	p.object(func(key string) {
		switch key {
		case "endpoint":
			p.object(func(key string) {
				switch key {
				case "address":
					e.Address = p.address()
				case "hostname":
					e.Hostname = p.str()
				}
			})
		case "health_status":
			if e.Health = p.str(); e.Health == "UNKNOWN" {
				e.Health = ""
			}
		case "load_balancing_weight":
			p.wrapped(func() { e.Weight = p.num() })
		}
	})
	return e
}
