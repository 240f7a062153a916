package kube

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Names that the mesh's sidecar injector gives, or reads.
const (
	ProxyContainer      = "istio-proxy"
	InitContainer       = "istio-init"       // sets the packet rules up
	ValidationContainer = "istio-validation" // where the CNI plugin sets them up
	RestartAlways       = "Always"

	LabelRevision         = "istio.io/rev"
	LabelTag              = "istio.io/tag"
	LabelInjection        = "istio-injection"         // on namespaces
	LabelInject           = "sidecar.istio.io/inject" // on pods; also an annotation
	LabelDataplaneMode    = "istio.io/dataplane-mode" // "ambient": no sidecar
	AnnotationProxyConfig = "proxy.istio.io/config"   // YAML
	AnnotationStatus      = "sidecar.istio.io/status" // JSON, written by the injector
	AnnotationNative      = "sidecar.istio.io/nativeSidecar"
)

// Namespace is a namespace.
type Namespace struct {
	Meta   `json:"metadata"`
	Status struct {
		Phase string `json:"phase,omitempty"`
	} `json:"status,omitzero"`
}

// Pod is a pod, or the template of one.
type Pod struct {
	Meta   `json:"metadata"`
	Spec   PodSpec   `json:"spec"`
	Status PodStatus `json:"status,omitzero"`
	// TemplateOf names the workload that this is the template of: "Deployment shop/checkout"; "" for a pod.
	TemplateOf string `json:"-"`
	// Described says that the pod was read from what kubectl describe prints, which tells nothing of hostNetwork (but for the
	// address of a running pod), security contexts and restart policies, and cuts long annotations.
	Described bool `json:"-"`
}

// PodRow is a pod as a row of the table that kubectl get pods prints. It doesn't tell which containers the pod has: 1/2 may be a
// sidecar that isn't ready, an application that isn't, or a pod of two containers of its own.
type PodRow struct {
	Meta                // name, and the namespace where the table has it
	Ready, Total int    // of the containers, native sidecars included, init containers not
	Status       string // the column: "Running", "Init:CrashLoopBackOff", "PodInitializing"
	Restarts     int
	Node         string // "" where the table has no such column
}

// PodSpec is what a pod is to run.
type PodSpec struct {
	Containers       []Container      `json:"containers,omitempty"`
	InitContainers   []Container      `json:"initContainers,omitempty"`
	HostNetwork      bool             `json:"hostNetwork,omitempty"`
	NodeName         string           `json:"nodeName,omitempty"`
	ServiceAccount   string           `json:"serviceAccountName,omitempty"`
	RestartPolicy    string           `json:"restartPolicy,omitempty"`
	SecurityContext  *SecurityContext `json:"securityContext,omitempty"`
	RuntimeClassName string           `json:"runtimeClassName,omitempty"`
	ReadinessGates   []struct {
		Type string `json:"conditionType"`
	} `json:"readinessGates,omitempty"`
	DNSPolicy string `json:"dnsPolicy,omitempty"`
}

// SecurityContext is a pod's or a container's.
type SecurityContext struct {
	RunAsUser  *int64 `json:"runAsUser,omitempty"`
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`
	FSGroup    *int64 `json:"fsGroup,omitempty"`
	Privileged *bool  `json:"privileged,omitempty"`
}

// Container is a container's specification.
type Container struct {
	Name            string           `json:"name"`
	Image           string           `json:"image,omitempty"`
	Command         []string         `json:"command,omitempty"`
	Args            []string         `json:"args,omitempty"`
	Env             []EnvVar         `json:"env,omitempty"`
	Ports           []ContainerPort  `json:"ports,omitempty"`
	RestartPolicy   string           `json:"restartPolicy,omitempty"` // "Always" on an init container makes it a native sidecar
	SecurityContext *SecurityContext `json:"securityContext,omitempty"`
	ReadinessProbe  *Probe           `json:"readinessProbe,omitempty"`
	StartupProbe    *Probe           `json:"startupProbe,omitempty"`
	LivenessProbe   *Probe           `json:"livenessProbe,omitempty"`
	Lifecycle       *Lifecycle       `json:"lifecycle,omitempty"`
	Resources       struct {
		Limits   map[string]Text `json:"limits,omitempty"`
		Requests map[string]Text `json:"requests,omitempty"`
	} `json:"resources,omitzero"`
}

// EnvValue gives a variable's value, false where it isn't set or comes from elsewhere.
func (c *Container) EnvValue(name string) (string, bool) {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value, e.From == nil
		}
	}
	return "", false
}

// Native says whether an init container is a native sidecar: it goes on running beside the application.
func (c *Container) Native() bool { return c.RestartPolicy == RestartAlways }

// EnvVar is a variable. From is not nil where the value comes from elsewhere.
type EnvVar struct {
	Name  string          `json:"name"`
	Value string          `json:"value,omitempty"`
	From  json.RawMessage `json:"valueFrom,omitempty"`
}

// ContainerPort is a port that a container declares.
type ContainerPort struct {
	Name     string `json:"name,omitempty"`
	Port     int    `json:"containerPort"`
	Protocol string `json:"protocol,omitempty"`
}

// Probe is a kubelet's probe.
type Probe struct {
	HTTPGet *struct {
		Path string `json:"path,omitempty"`
		Port Text   `json:"port,omitempty"`
	} `json:"httpGet,omitempty"`
	TCPSocket *struct {
		Port Text `json:"port,omitempty"`
	} `json:"tcpSocket,omitempty"`
	Exec             *Exec `json:"exec,omitempty"`
	InitialDelay     int   `json:"initialDelaySeconds,omitempty"`
	Period           int   `json:"periodSeconds,omitempty"`
	Timeout          int   `json:"timeoutSeconds,omitempty"`
	FailureThreshold int   `json:"failureThreshold,omitempty"`
}

// Lifecycle is what runs at a container's start and end.
type Lifecycle struct {
	PostStart *Handler `json:"postStart,omitempty"`
	PreStop   *Handler `json:"preStop,omitempty"`
}

// Handler is a lifecycle handler, as far as it runs a command.
type Handler struct {
	Exec *Exec `json:"exec,omitempty"`
}

// Exec is a command.
type Exec struct {
	Command []string `json:"command,omitempty"`
}

// Text is a value that the API takes as a number or as text: a port, a quantity.
type Text string

// UnmarshalJSON takes a number or a string.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = Text(s)
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*t = Text(n)
	return nil
}

// PodStatus is how a pod fares.
type PodStatus struct {
	Phase          string            `json:"phase,omitempty"`
	Reason         string            `json:"reason,omitempty"`
	Message        string            `json:"message,omitempty"`
	PodIP          string            `json:"podIP,omitempty"`
	HostIP         string            `json:"hostIP,omitempty"`
	Started        time.Time         `json:"startTime,omitzero"`
	Conditions     []Condition       `json:"conditions,omitempty"`
	Containers     []ContainerStatus `json:"containerStatuses,omitempty"`
	InitContainers []ContainerStatus `json:"initContainerStatuses,omitempty"`
}

// ContainerStatus is how a container fares.
type ContainerStatus struct {
	Name     string         `json:"name"`
	Image    string         `json:"image,omitempty"`
	Ready    bool           `json:"ready,omitempty"`
	Started  *bool          `json:"started,omitempty"`
	Restarts int            `json:"restartCount,omitempty"`
	State    ContainerState `json:"state,omitzero"`
	Last     ContainerState `json:"lastState,omitzero"`
}

// ContainerState is one of waiting, running, terminated; none of them counts as waiting.
type ContainerState struct {
	Waiting *struct {
		Reason  string `json:"reason,omitempty"`
		Message string `json:"message,omitempty"`
	} `json:"waiting,omitempty"`
	Running *struct {
		Started time.Time `json:"startedAt,omitzero"`
	} `json:"running,omitempty"`
	Terminated *Terminated `json:"terminated,omitempty"`
}

// Terminated is how a container ended.
type Terminated struct {
	ExitCode int       `json:"exitCode"`
	Signal   int       `json:"signal,omitempty"`
	Reason   string    `json:"reason,omitempty"` // "OOMKilled", "Error", "Completed"
	Message  string    `json:"message,omitempty"`
	Started  time.Time `json:"startedAt,omitzero"`
	Finished time.Time `json:"finishedAt,omitzero"`
}

// Container gives a container by name, of either list; init says that it is an init container.
func (p *Pod) Container(name string) (c *Container, init bool) {
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == name {
			return &p.Spec.Containers[i], false
		}
	}
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == name {
			return &p.Spec.InitContainers[i], true
		}
	}
	return nil, false
}

// StatusOf gives a container's status by name, of either list; nil for none.
func (p *Pod) StatusOf(name string) *ContainerStatus {
	for _, list := range [][]ContainerStatus{p.Status.Containers, p.Status.InitContainers} {
		if i := slices.IndexFunc(list, func(s ContainerStatus) bool { return s.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

// Sidecar gives the pod's proxy container: named istio-proxy, or with a proxyv2 image; nil where it has none. A gateway's own
// proxy is one too. native says that it is an init container that goes on running.
func (p *Pod) Sidecar() (c *Container, native bool) {
	if c, init := p.Container(ProxyContainer); c != nil && (!init || c.Native()) {
		return c, init
	}
	return nil, false
}

// Observed says whether the pod is one of a cluster: a manifest that was never applied has no status to go by.
func (p *Pod) Observed() bool {
	s := &p.Status
	return p.UID != "" || s.Phase != "" || len(s.Conditions)+len(s.Containers)+len(s.InitContainers) > 0
}

// Ended says whether the pod has run to its end.
func (p *Pod) Ended() bool { return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" }

// Title names the pod, or the template, for a report: "pod shop/checkout-1", "the template of Deployment shop/checkout".
func (p *Pod) Title() string {
	if p.TemplateOf != "" {
		return "the template of " + p.TemplateOf
	}
	return "pod " + p.Ref()
}

// Workload is what makes pods: Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob, ReplicationController.
type Workload struct {
	Kind   string `json:"kind"`
	Meta   `json:"metadata"`
	Spec   WorkloadSpec   `json:"spec"`
	Status WorkloadStatus `json:"status,omitzero"`
}

// WorkloadSpec is what all kinds of workloads have in common.
type WorkloadSpec struct {
	Replicas *int      `json:"replicas,omitempty"`
	Selector *Selector `json:"selector,omitempty"`
	Template Pod       `json:"template,omitzero"`
	// JobTemplate is a CronJob's.
	JobTemplate *struct {
		Spec struct {
			Template Pod `json:"template"`
		} `json:"spec"`
	} `json:"jobTemplate,omitempty"`
}

// WorkloadStatus is how a workload fares.
type WorkloadStatus struct {
	Replicas    int         `json:"replicas,omitempty"`
	Ready       int         `json:"readyReplicas,omitempty"`
	Available   int         `json:"availableReplicas,omitempty"`
	Desired     int         `json:"desiredNumberScheduled,omitempty"` // a DaemonSet's
	NumberReady int         `json:"numberReady,omitempty"`            // a DaemonSet's
	Active      int         `json:"active,omitempty"`                 // a Job's
	Succeeded   int         `json:"succeeded,omitempty"`
	Failed      int         `json:"failed,omitempty"`
	Conditions  []Condition `json:"conditions,omitempty"`
}

// Title names the workload for a report: "Deployment shop/checkout".
func (w *Workload) Title() string { return w.Kind + " " + w.Ref() }

// Pod gives the pod that the workload's template would make: with its namespace, and the template's labels and annotations.
func (w *Workload) Pod() Pod {
	p := w.Spec.Template
	if w.Spec.JobTemplate != nil {
		p = w.Spec.JobTemplate.Spec.Template
	}
	p.Namespace, p.GenerateName, p.TemplateOf, p.Origin = w.Namespace, w.Name+"-", w.Title(), w.Origin
	return p
}

// SplitWorkload reads "KIND/NAME" with kubectl's words for kinds ("deploy/checkout"); the kind comes back as in manifests.
func SplitWorkload(s string) (kind, name string, ok bool) {
	k, name, ok := strings.Cut(s, "/")
	if !ok || name == "" {
		return "", "", false
	}
	kind, ok = workloadKinds[strings.ToLower(k)]
	return kind, name, ok
}

var workloadKinds = map[string]string{
	"deployment": "Deployment", "deployments": "Deployment", "deploy": "Deployment",
	"replicaset": "ReplicaSet", "replicasets": "ReplicaSet", "rs": "ReplicaSet",
	"statefulset": "StatefulSet", "statefulsets": "StatefulSet", "sts": "StatefulSet",
	"daemonset": "DaemonSet", "daemonsets": "DaemonSet", "ds": "DaemonSet",
	"job": "Job", "jobs": "Job", "cronjob": "CronJob", "cronjobs": "CronJob", "cj": "CronJob",
	"replicationcontroller": "ReplicationController", "replicationcontrollers": "ReplicationController", "rc": "ReplicationController",
}
