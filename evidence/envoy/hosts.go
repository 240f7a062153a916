package envoy

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Hosts is what /clusters tells: every cluster's hosts as the proxy knows them now, with their health.
type Hosts struct {
	Clusters []ClusterHosts
	Problems []Problem
	byName   map[string]int
}

// ClusterHosts is one cluster's hosts.
type ClusterHosts struct {
	Name  string
	Hosts []Host
}

// Host is one host of a cluster.
type Host struct {
	Address  Address
	Hostname string
	Flags    []string // as /clusters prints them ("failed_active_hc"), or EDS's health ("UNHEALTHY"); none is healthy
	Priority int
	Weight   int
}

// harmless are the flags with which Envoy still sends to a host, or which only say more of another flag.
// (envoy/upstream/upstream.h, Host::healthFlags and HostImpl::coarseHealth)
var harmless = []string{"degraded_active_hc", "degraded_eds_health", "degraded_outlier_detection", "pending_dynamic_removal",
	"pending_active_hc", "excluded_via_immediate_hc_fail", "active_hc_timeout"}

// Healthy says whether Envoy sends to the host: degraded ones are used, when there's no other.
func (h Host) Healthy() bool {
	return !slices.ContainsFunc(h.Flags, func(f string) bool { return !slices.Contains(harmless, f) })
}

func (h *Hosts) cluster(name string) *ClusterHosts {
	if h == nil {
		return nil
	}
	if i, ok := h.byName[name]; ok {
		return &h.Clusters[i]
	}
	return nil
}

func (h *Hosts) at(name string) *ClusterHosts {
	i, ok := h.byName[name]
	if !ok {
		i = len(h.Clusters)
		h.byName[name] = i
		h.Clusters = append(h.Clusters, ClusterHosts{Name: name})
	}
	return &h.Clusters[i]
}

// ErrNotClusters is the error for what isn't /clusters' output.
var ErrNotClusters = errors.New("not what /clusters prints: expected lines NAME::ADDRESS::FIELD::VALUE, or JSON with cluster_statuses")

// ParseHosts reads what /clusters prints, as text or with ?format=json. The result is never nil; at an error it holds the
// clusters read before.
func ParseHosts(b []byte) (*Hosts, error) {
	h := &Hosts{byName: map[string]int{}}
	if len(b) > MaxInput {
		return h, fmt.Errorf("reading /clusters: %w", ErrTooLarge)
	}
	if k := firstByte(b); k == '{' || k == '[' {
		return h, h.json(b)
	}
	return h, h.text(b)
}

func firstByte(b []byte) byte {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n")
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func (h *Hosts) json(b []byte) error {
	c := newCursor(b)
	found := false
	one := func(int) {
		var k ClusterHosts
		c.object(func(key string) {
			switch key {
			case "name":
				k.Name = c.str()
			case "host_statuses":
				c.array(func(int) {
					if x := c.host(); c.err == nil {
						k.Hosts = keep(c, k.Hosts, x)
					}
				})
			}
		})
		if c.err == nil && c.room(80) {
			to := h.at(k.Name)
			to.Hosts = append(to.Hosts, k.Hosts...)
		}
	}
	if c.peek() == '[' { // istioctl proxy-config endpoint -o json
		found = true
		c.array(one)
	} else {
		c.object(func(key string) {
			if key == "cluster_statuses" {
				found = true
				c.array(one)
			}
		})
	}
	h.Problems = c.problems
	if c.err != nil {
		return fmt.Errorf("reading /clusters: %w", c.err)
	}
	if !found {
		return fmt.Errorf("reading /clusters: %w", ErrNotClusters)
	}
	return nil
}

// host reads an admin.v3.HostStatus.
func (c *cursor) host() Host {
	var h Host
	flag := func(name string) {
		if c.boolean() {
			h.Flags = append(h.Flags, name)
		}
	}
	c.object(func(key string) {
		switch key {
		case "address":
			h.Address = c.address()
		case "hostname":
			h.Hostname = c.str()
		case "priority":
			h.Priority = c.num()
		case "weight":
			h.Weight = c.num()
		case "health_status":
			c.object(func(key string) {
				switch key {
				case "failed_active_health_check":
					flag("failed_active_hc")
				case "failed_active_degraded_check":
					flag("degraded_active_hc")
				case "failed_degraded_outlier_detection":
					flag("degraded_outlier_detection")
				case "failed_outlier_check", "pending_dynamic_removal", "pending_active_hc", "excluded_via_immediate_hc_fail", "active_hc_timeout":
					flag(key)
				case "eds_health_status":
					switch s := c.str(); s {
					case "UNHEALTHY":
						h.Flags = append(h.Flags, "failed_eds_health")
					case "DRAINING", "TIMEOUT":
						h.Flags = append(h.Flags, "eds_status_"+strings.ToLower(s))
					case "DEGRADED":
						h.Flags = append(h.Flags, "degraded_eds_health")
					}
				}
			})
		}
	})
	return h
}

func (h *Hosts) text(b []byte) error {
	budget := keptFactor*len(b) + keptFloor
	found := false
	last := map[string]int{} // "cluster\x00address" to the host's index
	for line := range bytes.Lines(b) {
		name, rest, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), "::")
		if !ok || name == "" {
			continue
		}
		field := rest
		if i := strings.LastIndex(rest, "::"); i >= 0 {
			field, rest = rest[:i], rest[i+2:]
		} else {
			continue
		}
		at := strings.LastIndex(field, "::")
		if at < 0 { // of the cluster itself: added_via_api, observability_name …
			switch field {
			case "added_via_api", "observability_name", "eds_service_name":
				found = true
				h.at(name)
			}
			continue
		}
		address, field := field[:at], field[at+2:]
		if strings.HasSuffix(address, "_priority") || address == "outlier" {
			continue
		}
		if budget -= len(line); budget < 0 {
			break
		}
		k := h.at(name)
		id := name + "\x00" + address
		i, ok := last[id]
		if !ok {
			if i = len(k.Hosts); budget < 200 {
				break
			}
			budget -= 200
			last[id] = i
			k.Hosts = append(k.Hosts, Host{Address: parseAddress(address)})
		}
		x := &k.Hosts[i]
		switch field {
		case "health_flags":
			found = true
			x.Flags = nil
			for _, f := range strings.Split(rest, "/") {
				if f != "" && f != "healthy" {
					x.Flags = append(x.Flags, f)
				}
			}
		case "hostname":
			x.Hostname = rest
		case "priority":
			x.Priority, _ = strconv.Atoi(rest)
		case "weight":
			x.Weight, _ = strconv.Atoi(rest)
		}
	}
	if !found {
		return fmt.Errorf("reading /clusters: %w", ErrNotClusters)
	}
	return nil
}

// parseAddress reads an address as Envoy prints one: 10.0.0.1:80, [::1]:80, a path, or envoy://listener/endpoint.
func parseAddress(s string) Address {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return Address{Host: p.Addr().String(), Port: int(p.Port())}
	}
	return Address{Other: s}
}
