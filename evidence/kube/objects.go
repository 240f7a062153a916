package kube

import (
	"cmp"
	"encoding/json"
	"time"
)

// Service is a Service.
type Service struct {
	Meta `json:"metadata"`
	Spec struct {
		Type         string            `json:"type,omitempty"` // "" is ClusterIP
		ClusterIP    string            `json:"clusterIP,omitempty"`
		ExternalName string            `json:"externalName,omitempty"`
		Selector     map[string]string `json:"selector,omitempty"` // none: endpoints are made by hand
		Ports        []ServicePort     `json:"ports,omitempty"`
	} `json:"spec"`
}

// ServicePort is a port of a Service.
type ServicePort struct {
	Name        string `json:"name,omitempty"`
	Port        int    `json:"port"`
	TargetPort  Text   `json:"targetPort,omitempty"` // a number, or a container port's name; "" is Port
	Protocol    string `json:"protocol,omitempty"`
	AppProtocol string `json:"appProtocol,omitempty"`
}

// EndpointSlice is a part of a Service's endpoints.
type EndpointSlice struct {
	Meta      `json:"metadata"`
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	Ports     []struct {
		Name     string `json:"name,omitempty"`
		Port     int    `json:"port,omitempty"`
		Protocol string `json:"protocol,omitempty"`
	} `json:"ports,omitempty"`
}

// Service gives the Service that the slice belongs to, "" for none.
func (s *EndpointSlice) Service() string { return s.Labels["kubernetes.io/service-name"] }

// Endpoint is one endpoint.
type Endpoint struct {
	Addresses  []string `json:"addresses,omitempty"`
	Conditions struct {
		Ready       *bool `json:"ready,omitempty"`
		Serving     *bool `json:"serving,omitempty"`
		Terminating *bool `json:"terminating,omitempty"`
	} `json:"conditions,omitzero"`
	Target *Ref `json:"targetRef,omitempty"`
}

// IsReady says whether the endpoint takes traffic: an absent condition counts as ready.
func (e *Endpoint) IsReady() bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }

// Ref names an object.
type Ref struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
	FieldPath string `json:"fieldPath,omitempty"` // "spec.containers{istio-proxy}"
}

// String gives "Kind namespace/name".
func (r Ref) String() string {
	name := r.Name
	if r.Namespace != "" {
		name = r.Namespace + "/" + r.Name
	}
	if r.Kind == "" {
		return name
	}
	return r.Kind + " " + name
}

// Event is an event, of either API group.
type Event struct {
	Meta     `json:"metadata"`
	Involved Ref
	Type     string // "Normal", "Warning"
	Reason   string
	Message  string
	Count    int // at least 1
	First    time.Time
	Last     time.Time
	Reporter string // "kubelet", "replicaset-controller"
}

// UnmarshalJSON reads an event of v1 (involvedObject, message) or of events.k8s.io/v1 (regarding, note).
func (e *Event) UnmarshalJSON(b []byte) error {
	var raw struct {
		Meta       Meta      `json:"metadata"`
		Involved   Ref       `json:"involvedObject"`
		Regarding  Ref       `json:"regarding"`
		Type       string    `json:"type"`
		Reason     string    `json:"reason"`
		Message    string    `json:"message"`
		Note       string    `json:"note"`
		Count      int       `json:"count"`
		OldCount   int       `json:"deprecatedCount"`
		First      time.Time `json:"firstTimestamp"`
		Last       time.Time `json:"lastTimestamp"`
		OldFirst   time.Time `json:"deprecatedFirstTimestamp"`
		OldLast    time.Time `json:"deprecatedLastTimestamp"`
		EventTime  time.Time `json:"eventTime"`
		Controller string    `json:"reportingController"`
		Component  string    `json:"reportingComponent"`
		Source     struct {
			Component string `json:"component"`
		} `json:"source"`
		Series *struct {
			Count int       `json:"count"`
			Last  time.Time `json:"lastObservedTime"`
		} `json:"series"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	e.Meta = raw.Meta
	e.Involved = raw.Involved
	if e.Involved == (Ref{}) {
		e.Involved = raw.Regarding
	}
	e.Type, e.Reason, e.Message = raw.Type, raw.Reason, cmp.Or(raw.Message, raw.Note)
	e.Count = max(1, raw.Count, raw.OldCount)
	first := func(ts ...time.Time) time.Time {
		for _, t := range ts {
			if !t.IsZero() {
				return t
			}
		}
		return time.Time{}
	}
	e.First = first(raw.First, raw.OldFirst, raw.EventTime, raw.Meta.Created)
	e.Last = first(raw.Last, raw.OldLast, raw.EventTime, e.First)
	if raw.Series != nil {
		e.Count = max(e.Count, raw.Series.Count)
		e.Last = first(raw.Series.Last, e.Last)
	}
	e.Reporter = cmp.Or(raw.Source.Component, raw.Controller, raw.Component)
	return nil
}

// ConfigMap is a ConfigMap.
type ConfigMap struct {
	Meta `json:"metadata"`
	Data map[string]string `json:"data,omitempty"`
}

// ClusterRole is a ClusterRole.
type ClusterRole struct {
	Meta  `json:"metadata"`
	Rules []PolicyRule `json:"rules,omitempty"`
}

// PolicyRule is a rule of a role.
type PolicyRule struct {
	Verbs         []string `json:"verbs,omitempty"`
	APIGroups     []string `json:"apiGroups,omitempty"`
	Resources     []string `json:"resources,omitempty"`
	ResourceNames []string `json:"resourceNames,omitempty"`
}

// ControlPlaneRevision is a revision of the managed control plane (mesh.cloud.google.com).
type ControlPlaneRevision struct {
	Meta `json:"metadata"`
	Spec struct {
		Channel string `json:"channel,omitempty"`
		Type    string `json:"type,omitempty"`
	} `json:"spec,omitzero"`
	Status struct {
		Conditions []Condition `json:"conditions,omitempty"`
	} `json:"status,omitzero"`
}

// DataPlaneControl is the state of the managed data plane (mesh.cloud.google.com).
type DataPlaneControl struct {
	Meta `json:"metadata"`
	Spec struct {
		Revision              string `json:"revision,omitempty"`
		ProxyVersion          string `json:"proxyVersion,omitempty"`
		ProxyTargetPercentage int    `json:"proxyTargetPercentage,omitempty"`
	} `json:"spec,omitzero"`
	Status struct {
		State        string      `json:"state,omitempty"`
		ErrorDetails []ErrorText `json:"errorDetails,omitempty"`
		Conditions   []Condition `json:"conditions,omitempty"`
	} `json:"status,omitzero"`
}

// ErrorText is an error in a status: text, or an object with a message.
type ErrorText string

// UnmarshalJSON takes text, or an object's message.
func (e *ErrorText) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*e = ErrorText(s)
		return nil
	}
	var m struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(b, &m) == nil && m.Message != "" {
		*e = ErrorText(m.Message)
		return nil
	}
	*e = ErrorText(b)
	return nil
}

// WorkloadSelector chooses pods by labels, as Istio's resources do: matchLabels (security.istio.io) or labels
// (networking.istio.io).
type WorkloadSelector struct {
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

// Selects says whether the selector chooses a pod's labels; an absent or empty one chooses all.
func (s *WorkloadSelector) Selects(labels map[string]string) bool {
	if s == nil {
		return true
	}
	for _, m := range []map[string]string{s.MatchLabels, s.Labels} {
		for k, v := range m {
			if got, ok := labels[k]; !ok || got != v {
				return false
			}
		}
	}
	return true
}

// EnvoyFilter is an EnvoyFilter.
type EnvoyFilter struct {
	Meta `json:"metadata"`
	Spec struct {
		Selector   *WorkloadSelector `json:"workloadSelector,omitempty"`
		TargetRefs []Ref             `json:"targetRefs,omitempty"`
		Patches    []EnvoyPatch      `json:"configPatches,omitempty"`
	} `json:"spec"`
}

// EnvoyPatch is one patch of an EnvoyFilter.
type EnvoyPatch struct {
	ApplyTo string `json:"applyTo,omitempty"` // LISTENER, HTTP_FILTER, CLUSTER …
	Match   struct {
		Context  string          `json:"context,omitempty"` // ANY, SIDECAR_INBOUND, SIDECAR_OUTBOUND, GATEWAY
		Listener json.RawMessage `json:"listener,omitempty"`
		Cluster  json.RawMessage `json:"cluster,omitempty"`
	} `json:"match,omitzero"`
	Patch struct {
		Operation string          `json:"operation,omitempty"`
		Value     json.RawMessage `json:"value,omitempty"`
	} `json:"patch,omitzero"`
}

// MutualTLS is a mode of a PeerAuthentication.
type MutualTLS struct {
	Mode string `json:"mode,omitempty"` // UNSET, DISABLE, PERMISSIVE, STRICT
}

// PeerAuthentication says whether a pod takes plaintext.
type PeerAuthentication struct {
	Meta `json:"metadata"`
	Spec struct {
		Selector *WorkloadSelector     `json:"selector,omitempty"`
		MTLS     *MutualTLS            `json:"mtls,omitempty"`
		Ports    map[string]*MutualTLS `json:"portLevelMtls,omitempty"`
	} `json:"spec,omitzero"`
}

// ClientTLS is how a client is to speak TLS.
type ClientTLS struct {
	Mode string `json:"mode,omitempty"` // DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL
	SNI  string `json:"sni,omitempty"`
}

// TrafficPolicy is a policy of a DestinationRule.
type TrafficPolicy struct {
	TLS   *ClientTLS `json:"tls,omitempty"`
	Ports []struct {
		Port struct {
			Number int `json:"number,omitempty"`
		} `json:"port,omitzero"`
		TLS *ClientTLS `json:"tls,omitempty"`
	} `json:"portLevelSettings,omitempty"`
}

// DestinationRule says how clients are to speak to a host.
type DestinationRule struct {
	Meta `json:"metadata"`
	Spec struct {
		Host          string         `json:"host"`
		TrafficPolicy *TrafficPolicy `json:"trafficPolicy,omitempty"`
		Subsets       []struct {
			Name          string            `json:"name"`
			Labels        map[string]string `json:"labels,omitempty"`
			TrafficPolicy *TrafficPolicy    `json:"trafficPolicy,omitempty"`
		} `json:"subsets,omitempty"`
		Selector *WorkloadSelector `json:"workloadSelector,omitempty"`
		ExportTo []string          `json:"exportTo,omitempty"`
	} `json:"spec"`
}

// AuthorizationPolicy says who may call.
type AuthorizationPolicy struct {
	Meta `json:"metadata"`
	Spec struct {
		Selector   *WorkloadSelector `json:"selector,omitempty"`
		TargetRefs []Ref             `json:"targetRefs,omitempty"`
		Action     string            `json:"action,omitempty"` // "" is ALLOW; DENY, AUDIT, CUSTOM
		Rules      []json.RawMessage `json:"rules,omitempty"`  // nil with ALLOW refuses everything
	} `json:"spec,omitzero"`
}
