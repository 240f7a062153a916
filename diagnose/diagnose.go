// Package diagnose turns evidence into a report: it runs the collectors that are needed, asks the checks, folds symptoms
// under their roots, and says what could not be seen.
//
// A [Check] is a literal and one pure function of evidence. A [Collector] brings evidence. The [Engine] owns deadlines,
// order and verdict; nothing flows back from checks to collectors.
package diagnose

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

// CheckID names a check: "area/condition". It is permanent: bots key on it.
type CheckID string

// Area gives the part before the slash.
func (id CheckID) Area() string { a, _, _ := strings.Cut(string(id), "/"); return a }

// Severity says how bad a cause is for the traffic, higher is worse.
type Severity int

// The severities.
const (
	SeverityUnset Severity = iota
	Advice                 // works, and could be better
	Degrading              // works in part
	Blocking               // does not work
)

func (s Severity) String() string { return [...]string{"", "advice", "degrading", "blocking"}[s] }

// Confidence says how sure a cause is, higher is surer.
type Confidence int

// The confidences.
const (
	ConfidenceUnset Confidence = iota
	Possible                   // a heuristic
	Likely                     // a message says so, or it was seen from elsewhere
	Confirmed                  // facts were compared
)

func (c Confidence) String() string {
	return [...]string{"", "possible", "likely", "confirmed"}[c]
}

// Layer orders causes that are alike otherwise: what lies deeper comes first.
type Layer int

// The layers, deepest first.
const (
	LayerAPI Layer = iota + 1
	LayerNetwork
	LayerConfig
	LayerCluster
	LayerVM
	LayerInterception
	LayerBackend
)

// Symptom is what the person asking sees.
type Symptom string

// The symptoms a request may name.
const (
	SymptomNone           Symptom = ""
	SymptomNotConnected   Symptom = "not-connected"    // the proxy can't reach the control plane
	SymptomNoConfig       Symptom = "no-config"        // the proxy gets no configuration
	SymptomConfigRejected Symptom = "config-rejected"  // the proxy rejects its configuration
	SymptomRequestsFail   Symptom = "requests-fail"    // requests through the mesh fail
	SymptomNoSidecar      Symptom = "no-sidecar"       // a pod has no sidecar
	SymptomPodNotStarting Symptom = "pod-not-starting" // a pod isn't made, or doesn't start
)

// Symptoms lists every symptom a request may name.
func Symptoms() []Symptom {
	return []Symptom{SymptomNotConnected, SymptomNoConfig, SymptomConfigRejected, SymptomRequestsFail, SymptomNoSidecar, SymptomPodNotStarting}
}

// Target names what is to be diagnosed. Project and either Network or Mesh are needed for anything live of Google Cloud, a
// Namespace or a Revision for anything live of a Kubernetes cluster.
type Target struct {
	Project  string // id or number
	Network  string // VPC network's name
	Mesh     string // Mesh's name; "scope:NAME" for a Gateway scope
	NodeID   string // one proxy, by its xDS node id
	Zone     string // with Instance: one VM
	Instance string
	// Destination is what a client in the mesh can't reach: IP:PORT, HOST:PORT or a service's name.
	Destination string
	// ServingPort is the port that the proxy's own application serves on, for traffic that comes in; 0 for none.
	ServingPort int

	// Cluster is the kubeconfig context of the Kubernetes cluster that the following are in; "" for the current one, or the one
	// that meshdiag runs in.
	Cluster   string
	Namespace string
	Pod       string // a pod's name
	Workload  string // what makes the pods, as kind/name: "Deployment/checkout"
	Revision  string // a revision of the control plane, or a tag: a value of the label istio.io/rev
}

// Kubernetes says whether the target names a part of a Kubernetes cluster.
func (t Target) Kubernetes() bool { return t.Namespace != "" || t.Revision != "" }

// Live says whether the target names enough to ask Google Cloud's live systems.
func (t Target) Live() bool { return t.Project != "" && (t.Network != "" || t.Mesh != "") }

// Scope gives the network segment of a node id for this target: the network, "mesh:NAME" or "scope:NAME".
func (t Target) Scope() string {
	switch {
	case t.Network != "":
		return t.Network
	case t.Mesh == "", strings.HasPrefix(t.Mesh, evidence.MeshPrefix), strings.HasPrefix(t.Mesh, evidence.ScopePrefix):
		return t.Mesh
	default:
		return evidence.MeshPrefix + t.Mesh
	}
}

// MeshName gives the Mesh without its prefix; "" where the target isn't a Mesh.
func (t Target) MeshName() string {
	if t.Mesh == "" || strings.HasPrefix(t.Mesh, evidence.ScopePrefix) {
		return ""
	}
	return strings.TrimPrefix(t.Mesh, evidence.MeshPrefix)
}

// GatewayScope gives the Gateway scope without its prefix; "" where the target isn't one.
func (t Target) GatewayScope() string {
	if s, ok := strings.CutPrefix(t.Mesh, evidence.ScopePrefix); ok {
		return s
	}
	return ""
}

func (t Target) String() string {
	var p []string
	add := func(k, v string) {
		if v != "" {
			p = append(p, k+" "+v)
		}
	}
	add("project", t.Project)
	add("network", t.Network)
	add("mesh", t.Mesh)
	if t.Instance != "" {
		add("VM", t.Zone+"/"+t.Instance)
	}
	add("node", t.NodeID)
	add("cluster", t.Cluster)
	add("namespace", t.Namespace)
	add("pod", t.Pod)
	add("workload", t.Workload)
	add("revision", t.Revision)
	if len(p) == 0 {
		return "the files given"
	}
	return strings.Join(p, ", ")
}

// Artifact is a file that a person handed in. Its kind is found by content, never by name.
type Artifact struct {
	Name string // for messages alone
	Data []byte
	Text bool // read it as log text whatever it looks like
	// Baseline says that it is of a proxy that works, to compare with.
	Baseline bool
}

// Request is one question.
type Request struct {
	Target    Target
	Symptom   Symptom
	Artifacts []Artifact
}

// Collector brings facts from one source.
type Collector struct {
	Name     string
	Provides []evidence.Name
	Needs    []evidence.Name // facts to wait for; Collect reads them from its view, known or not
	// Await, if not nil, gives those of Needs that it has to wait for in a request that tells the others itself.
	Await   func(Request) []evidence.Name
	Timeout time.Duration // its share of the deadline; 0 takes the engine's
	// Applies says whether the source has anything to say for the request. Where it says no, its facts stay not asked for.
	Applies func(Request) bool
	// Collect writes each fact of Provides, known or failed. An error fails those that it didn't write. It must return soon
	// after ctx ends, with what it has by then.
	Collect func(context.Context, Request, *evidence.View, *evidence.Set) error
}

// Check finds one condition. See the package's example in CONTRIBUTING.md.
type Check struct {
	ID       CheckID
	Doc      Doc
	Severity Severity
	Layer    Layer
	Symptoms []Symptom // what a person with this cause sees
	// Needs are the facts that Evaluate reads; a test holds that they are those it reads.
	Needs []evidence.Name
	// Explains are the checks whose causes are mere symptoms of this one's, where the causes' keys nest and their names don't
	// contradict each other; what such a symptom explains is explained as well, where it was found.
	Explains []CheckID
	// Signatures are the log messages it reads as evidence.LogMessages.
	Signatures []Signature
	// Applies says whether the check makes sense for the request; nil says always.
	Applies func(Request) bool
	// Evaluate returns the causes found; none says that the condition was looked for and isn't there. An *evidence.Missing
	// makes the check inconclusive (or skipped, where the fact was never asked for); a *NotApplicable makes it skipped.
	Evaluate func(Request, *evidence.View) ([]Cause, error)
}

// Doc is what is known of a check whatever the evidence. Pages and reports are made from it.
type Doc struct {
	Title       string // a short sentence without a full stop: "No forwarding rule for Traffic Director"
	Explanation string // why this breaks a mesh, in a paragraph or two
	Quiet       string // when it stays quiet though it looks alike
	Remedy      []Step
	References  []string // URLs
}

// Step is one thing to do. In Text and Command {{name}} stands for a parameter of the cause, or one that the target gives:
// project, network, mesh, scope, node_id, zone, instance. See [Render].
type Step struct {
	If      string // only where this parameter is set and not empty
	Unless  string // only where this parameter is unset or empty
	Text    string
	Command string // may be empty
}

// Signature recognises one kind of message in a log or an error text.
type Signature struct {
	ID string // "envoy-stream-closed"; permanent
	// Anchors are literal texts, at least 8 bytes each; a line without one of them isn't looked at further.
	Anchors []string
	// Pattern is a regular expression (RE2), not anchored; its named groups become the message's fields.
	Pattern string
	// Meaning says in a few words what the message tells.
	Meaning string
	// Examples are lines that it must recognise, as real programs print them.
	Examples []string
}

// Cause is one fault found.
type Cause struct {
	// Subject is what is faulty: "network mesh-vpc of project 123", a node id, a file.
	Subject string
	// Key places the cause for folding: a slash-separated path, empty for the whole target. A cause folds another under it
	// only where its key is empty or the start of the other's.
	Key string
	// About names what the cause speaks of, as its evidence told it. Causes of one check that give an About, even an empty one,
	// are joined into one where their names contradict each other nowhere; without it, only where key and subject are the same.
	// What contradicts another cause's names is never its symptom.
	About      About
	Summary    string // one sentence: what is wrong, with the values compared
	Confidence Confidence
	Severity   Severity // where it differs from the check's
	Params     map[string]string
	Evidence   []Exhibit
}

// Exhibit is one piece of evidence for a cause, to be shown.
type Exhibit struct {
	Fact    evidence.Name
	Excerpt string          // what it says, in a line or a few
	Source  evidence.Source // where from; the engine fills in the fact's own where this is zero
}

// NotApplicable is the error of a check that, seeing the evidence, doesn't apply.
type NotApplicable struct{ Reason string }

func (n *NotApplicable) Error() string { return "does not apply: " + n.Reason }

// Skip makes a NotApplicable.
func Skip(format string, a ...any) error { return &NotApplicable{Reason: fmt.Sprintf(format, a...)} }
