package envoy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ServerInfo is what /server_info tells.
type ServerInfo struct {
	Version string // as printed: "revision/1.34.1/Clean/RELEASE/BoringSSL"
	State   string // "LIVE", "DRAINING", "PRE_INITIALIZING" or "INITIALIZING"
	Node    Node
}

// parseObject reads one JSON object and wraps what goes wrong. It says whether one of the fields was there.
func parseObject(b []byte, what string, fields []string, read func(c *cursor, key string)) ([]Problem, error) {
	if len(b) > MaxInput {
		return nil, fmt.Errorf("reading %s: %w", what, ErrTooLarge)
	}
	c := newCursor(b)
	found := false
	c.object(func(key string) {
		if slices.Contains(fields, key) {
			found = true
			read(c, key)
		}
	})
	if c.err != nil {
		return c.problems, fmt.Errorf("reading %s: %w", what, c.err)
	}
	if !found {
		return c.problems, fmt.Errorf("reading %s: expected an object with %s", what, strings.Join(fields, ", "))
	}
	return c.problems, nil
}

// ParseServerInfo reads what /server_info prints.
func ParseServerInfo(b []byte) (ServerInfo, error) {
	var s ServerInfo
	_, err := parseObject(b, "/server_info", []string{"version", "state", "node"}, func(c *cursor, key string) {
		switch key {
		case "version":
			s.Version = c.str()
		case "state":
			s.State = c.str()
		case "node":
			s.Node = c.node()
		}
	})
	if err == nil && s.State == "" {
		s.State = "LIVE" // the enum's zero, which proto JSON leaves out
	}
	return s, err
}

// Listening is one listener of /listeners: those that are bound now.
type Listening struct {
	Name      string
	Addresses []Address
}

// ParseListening reads what /listeners prints, as text (NAME::ADDRESS lines) or with ?format=json.
func ParseListening(b []byte) ([]Listening, error) {
	var out []Listening
	if firstByte(b) == '{' {
		_, err := parseObject(b, "/listeners", []string{"listener_statuses"}, func(c *cursor, _ string) {
			c.array(func(int) {
				var l Listening
				c.object(func(key string) {
					switch key {
					case "name":
						l.Name = c.str()
					case "local_address":
						l.Addresses = keep(c, l.Addresses, c.address())
					case "additional_local_addresses":
						c.array(func(int) { l.Addresses = keep(c, l.Addresses, c.address()) })
					}
				})
				if c.err == nil {
					out = keep(c, out, l)
				}
			})
		})
		return out, err
	}
	if len(b) > MaxInput {
		return nil, fmt.Errorf("reading /listeners: %w", ErrTooLarge)
	}
	for line := range bytes.Lines(b) {
		s := strings.TrimSpace(string(line))
		if s == "" {
			continue
		}
		// An IPv6 address holds "::" too.
		name, address, ok := strings.Cut(s, "::")
		if i := strings.LastIndex(s, "::["); i >= 0 {
			name, address = s[:i], s[i+2:]
		} else if i := strings.LastIndex(s, "::"); i >= 0 {
			name, address = s[:i], s[i+2:]
		}
		if !ok || name == "" || address == "" {
			return out, fmt.Errorf("reading /listeners: expected NAME::ADDRESS, found %.80q", s)
		}
		out = append(out, Listening{Name: name, Addresses: []Address{parseAddress(address)}})
	}
	if len(out) == 0 {
		return nil, errors.New("reading /listeners: no listener in it")
	}
	return out, nil
}

// Stats are the counters and gauges of /stats that tell of the proxy's configuration and of its clusters' health.
type Stats map[string]int64

// kept says whether a counter is one of those: a proxy has tens of thousands of others.
func kept(name string) bool {
	for _, p := range []string{"control_plane.", "cluster_manager.", "listener_manager.", "server."} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	for _, s := range []string{".update_success", ".update_rejected", ".update_failure", ".update_attempt", ".init_fetch_timeout", ".membership_total",
		".membership_healthy", ".no_filter_chain_match", ".upstream_cx_connect_fail", ".upstream_cx_connect_timeout", ".upstream_cx_none_healthy", ".ssl.connection_error", ".no_route"} {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// ParseStats reads what /stats prints, as text (NAME: VALUE lines) or with ?format=json. Histograms and text readouts are
// left out.
func ParseStats(b []byte) (Stats, error) {
	s := Stats{}
	if firstByte(b) == '{' {
		_, err := parseObject(b, "/stats", []string{"stats"}, func(c *cursor, _ string) {
			c.array(func(int) {
				var name string
				var value int64
				ok := false
				c.object(func(key string) {
					switch key {
					case "name":
						name = c.str()
					case "value":
						n, err := strconv.ParseInt(c.str(), 10, 64)
						value, ok = n, err == nil
					}
				})
				if c.err == nil && ok && kept(name) && c.room(96) {
					s[name] = value
				}
			})
		})
		return s, err
	}
	if len(b) > MaxInput {
		return s, fmt.Errorf("reading /stats: %w", ErrTooLarge)
	}
	lines := 0
	for line := range bytes.Lines(b) {
		name, value, ok := strings.Cut(strings.TrimSpace(string(line)), ": ")
		if !ok {
			continue
		}
		lines++
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && kept(name) {
			s[name] = n
		}
	}
	if lines == 0 {
		return s, errors.New("reading /stats: expected lines NAME: VALUE, or JSON with stats")
	}
	return s, nil
}

// Certificate is one certificate of /certs.
type Certificate struct {
	Path       string // "<inline>" where it isn't a file
	CA         bool   // from a trust bundle
	Serial     string
	Names      []string // subject alternative names: DNS names, URIs, addresses
	NotBefore  time.Time
	NotAfter   time.Time
	DaysToLive int
}

// ParseCerts reads what /certs prints.
func ParseCerts(b []byte) ([]Certificate, error) {
	var out []Certificate
	_, err := parseObject(b, "/certs", []string{"certificates"}, func(c *cursor, _ string) {
		c.array(func(int) {
			c.object(func(key string) {
				if key == "ca_cert" || key == "cert_chain" {
					c.array(func(int) {
						if x := c.certificate(); c.err == nil {
							x.CA = key == "ca_cert"
							out = keep(c, out, x)
						}
					})
				}
			})
		})
	})
	return out, err
}

func (c *cursor) certificate() Certificate {
	var x Certificate
	c.object(func(key string) {
		switch key {
		case "path":
			x.Path = c.str()
		case "serial_number":
			x.Serial = c.str()
		case "days_until_expiration":
			x.DaysToLive = c.num()
		case "valid_from":
			x.NotBefore = c.time()
		case "expiration_time":
			x.NotAfter = c.time()
		case "subject_alt_names":
			c.array(func(int) {
				c.object(func(string) {
					if s := c.str(); c.err == nil {
						x.Names = keep(c, x.Names, s)
					}
				})
			})
		}
	})
	return x
}

// Unready is one init manager of /init_dump and what it waits for.
type Unready struct {
	Manager string   // "init manager Listener-local-init-manager …"
	Targets []string // "target RdsRouteConfigSubscription …"
}

// ParseInitDump reads what /init_dump prints. An empty object is a proxy that waits for nothing.
func ParseInitDump(b []byte) ([]Unready, error) {
	if string(bytes.Join(bytes.Fields(b), nil)) == "{}" {
		return nil, nil
	}
	var out []Unready
	_, err := parseObject(b, "/init_dump", []string{"unready_targets_dumps"}, func(c *cursor, _ string) {
		c.array(func(int) {
			var u Unready
			c.object(func(key string) {
				switch key {
				case "name":
					u.Manager = c.str()
				case "target_names":
					u.Targets = c.strs()
				}
			})
			if c.err == nil {
				out = keep(c, out, u)
			}
		})
	})
	return out, err
}
