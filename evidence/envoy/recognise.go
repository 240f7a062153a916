package envoy

import (
	"bytes"
	"regexp"
	"strings"
)

// Kind is which of the admin interface's outputs a file is.
type Kind string

// The kinds. Unrecognised is none of them.
const (
	Unrecognised  Kind = ""
	ConfigDump    Kind = "envoy-config-dump"
	ServerInfoOut Kind = "envoy-server-info"
	ClustersOut   Kind = "envoy-clusters"
	ListenersOut  Kind = "envoy-listeners"
	StatsOut      Kind = "envoy-stats"
	CertsOut      Kind = "envoy-certs"
	InitDumpOut   Kind = "envoy-init-dump"
)

// maxSniff is how much of a file is looked at: a node's metadata or a bare listener's filters may come first.
const maxSniff = 1 << 20

var (
	clustersLine  = regexp.MustCompile(`(?m)^\S.*::(added_via_api|health_flags|observability_name|default_priority::max_connections)::`)
	listenersLine = regexp.MustCompile(`^\S+::(\d+\.\d+\.\d+\.\d+:\d+|\[[0-9a-fA-F:.]+\]:\d+|/\S+|@\S+)$`)
	statsLine     = regexp.MustCompile(`(?m)^(server\.(live|state|uptime)|cluster_manager\.\S+|listener_manager\.\S+|control_plane\.\S+): \d+\r?$`)
)

// Recognise says what a file is by its content, cut off or not. It looks at the first MiB alone.
func Recognise(b []byte) Kind {
	head := b[:min(len(b), maxSniff)]
	switch firstByte(head) {
	case 0:
		return Unrecognised
	case '{':
		return recogniseObject(head)
	case '[':
		return recogniseList(head)
	}
	if clustersLine.Match(head) {
		return ClustersOut
	}
	if statsLine.Match(head) {
		return StatsOut
	}
	listeners := 0
	for line := range bytes.Lines(head) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if !listenersLine.Match(line) {
				return Unrecognised
			}
			listeners++
		}
	}
	if listeners > 0 {
		return ListenersOut
	}
	return Unrecognised
}

func recogniseObject(head []byte) Kind {
	c := newCursor(head)
	kind := Unrecognised
	seen := map[string]bool{}
	c.object(func(key string) {
		seen[key] = true
		switch key {
		case "configs":
			c.array(func(i int) {
				c.object(func(key string) {
					_, list := containers[key]
					if list || key == "bootstrap" || key == "@type" && strings.Contains(c.str(), "envoy.admin.v") {
						kind = ConfigDump
					}
				})
			})
		case "cluster_statuses":
			kind = ClustersOut
		case "listener_statuses":
			kind = ListenersOut
		case "unready_targets_dumps":
			kind = InitDumpOut
		case "certificates":
			c.array(func(int) {
				c.object(func(key string) {
					if key == "ca_cert" || key == "cert_chain" {
						kind = CertsOut
					}
				})
			})
		case "stats":
			c.array(func(int) {
				c.object(func(key string) {
					if key == "name" || key == "histograms" {
						kind = StatsOut
					}
				})
			})
		}
	})
	if kind == Unrecognised && seen["version"] && (seen["hot_restart_version"] || seen["command_line_options"] || seen["uptime_current_epoch"]) {
		return ServerInfoOut
	}
	return kind
}

// recogniseList looks at istioctl's lists of bare resources.
func recogniseList(head []byte) Kind {
	c := newCursor(head)
	kind := Unrecognised
	c.array(func(i int) {
		seen := map[string]bool{}
		c.object(func(key string) { seen[key] = true })
		switch {
		case kind != Unrecognised:
		case seen["filter_chains"], seen["virtual_hosts"] && seen["name"], seen["connect_timeout"] && seen["name"], seen["eds_cluster_config"]:
			kind = ConfigDump
		case seen["host_statuses"]:
			kind = ClustersOut
		}
	})
	return kind
}
