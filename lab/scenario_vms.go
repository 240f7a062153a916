package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// LogEntry is an entry in Cloud Logging.
type LogEntry struct {
	Ago  string `yaml:"ago"`  // how long ago it was written; 1m unless set
	Log  string `yaml:"log"`  // the log's name; service-proxy-agent unless set
	Text string `yaml:"text"` // the message
}

// The keys of metadata and guest attributes that the agent of Cloud Service Mesh goes with.
const (
	enableGuestAttributes = "enable-guest-attributes"
	guestNamespace        = "gce-service-proxy"
	guestHeartbeat        = "agent-heartbeat"
)

// heartbeatAgo is how long ago a healthy agent did something: it does every minute or so.
const heartbeatAgo = "20s"

func (s *Scenario) fillVMs() {
	for i := range s.Instances {
		v := &s.Instances[i]
		setDefault(&v.Status, "RUNNING")
		setDefault(&v.HeartbeatAgo, heartbeatAgo)
		for j := range v.Log {
			setDefault(&v.Log[j].Ago, "1m")
			setDefault(&v.Log[j].Log, "service-proxy-agent")
		}
	}
}

func (s *Scenario) validateVMs() error {
	for _, v := range s.Instances {
		at := "instances." + v.Name
		if err := oneOf(at+".status", v.Status, "PROVISIONING", "STAGING", "RUNNING", "STOPPING", "SUSPENDED", "SUSPENDING", "TERMINATED"); err != nil {
			return err
		}
		if v.GuestAttributes[guestHeartbeat] != "" {
			return fmt.Errorf("%s.guest_attributes: %s comes from heartbeat_ago", at, guestHeartbeat)
		}
		if d, err := time.ParseDuration(v.HeartbeatAgo); err != nil || d < 0 {
			return fmt.Errorf("%s.heartbeat_ago: %q, expected a duration such as 40m", at, v.HeartbeatAgo)
		}
		for _, e := range v.Log {
			if d, err := time.ParseDuration(e.Ago); err != nil || d < 0 {
				return fmt.Errorf("%s.log.ago: %q, expected a duration such as 2m", at, e.Ago)
			}
		}
	}
	return nil
}

// merge puts a scenario's values over the defaults; an empty one takes a key away.
func merge(defaults, over map[string]string) map[string]string {
	out := maps.Clone(defaults)
	for k, v := range over {
		if v == "" {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

// metadata is a VM's own metadata: what gcloud writes for --service-proxy, and what the scenario says.
func (s *Scenario) metadata(v *Instance) map[string]string {
	spec := map[string]any{"proxy-port": interceptionPort, "network": s.Network, "tracing": "OFF"}
	if s.Ask.Mesh != "" {
		spec["network"], spec["mesh"] = "", s.Ask.Mesh
	}
	config, err := json.Marshal(map[string]any{"api-version": "0.2", "proxy-spec": spec})
	if err != nil {
		config = nil // maps of strings and numbers always encode
	}
	return merge(map[string]string{
		enableGuestAttributes: "TRUE", "enable-osconfig": "true", guestNamespace: string(config),
	}, v.Metadata)
}

// guestAttributes is what the VM's agent reports of itself; ok is false where nothing can be read.
func (s *Scenario) guestAttributes(v *Instance, now time.Time) (out map[string]string, ok bool) {
	enabled, own := s.metadata(v)[enableGuestAttributes]
	if !own {
		enabled = s.Project.Metadata[enableGuestAttributes]
	}
	if v.NoGuestAttributes || (enabled != "TRUE" && enabled != "true") {
		return nil, false
	}
	version := defaultEnvoyVersion
	if c := find(s.Clients, func(c *Client) bool { return c.Instance == v.Name && c.Kind == "envoy" }); c != nil {
		version = c.Version
	}
	ago, err := time.ParseDuration(v.HeartbeatAgo)
	if err != nil {
		ago = 0 // validate has seen that it is one
	}
	return merge(map[string]string{
		"bootstrap-status": "FINISHED", guestHeartbeat: now.Add(-ago).UTC().Format(time.RFC3339),
		"proxy-version": "d6b0f2a3c1e84f95a7d0b6c8e2f413957a6d8b01/" + version + "/Clean/RELEASE/BoringSSL",
	}, v.GuestAttributes), true
}
