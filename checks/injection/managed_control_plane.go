package injection

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// ManagedControlPlane finds a managed control plane that isn't well.
var ManagedControlPlane = diagnose.Check{
	ID:       "injection/managed-control-plane",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoSidecar, diagnose.SymptomPodNotStarting},
	Needs: []evidence.Name{
		evidence.FleetMesh.Name(), evidence.ControlPlaneRevisions.Name(), evidence.MutatingWebhooks.Name(), evidence.LogMessages.Name(),
	},
	Explains:   []diagnose.CheckID{idSelected, idMissing, "startup/replicaset-create-failed"},
	Signatures: []diagnose.Signature{messages.WebhookCallFailed},
	Doc: diagnose.Doc{
		Title: "The managed control plane is not ready",
		Explanation: "Google runs this control plane: its webhooks are URLs, not Services of the cluster, and nothing in the cluster is to be restarted or patched for it. What keeps it from working shows " +
			"in the conditions that the fleet reports for the cluster, in those of the ControlPlaneRevision in istio-system, and in calls of its webhooks that fail.",
		Quiet: "It is being provisioned just now, which takes a while. It is active, and its conditions are information, or warnings about single configurations. No control plane is managed.",
		Remedy: []diagnose.Step{
			{If: "link", Text: "Follow Google's page about {{code}}: {{link}}"},
			{If: "todo", Text: "{{todo}}"},
			{If: "agent", Text: "Give the mesh's service agent its role back, in each project that the condition names", Command: "gcloud projects add-iam-policy-binding {{fleet_project}} --member=serviceAccount:service-{{fleet_number}}@gcp-sa-servicemesh.iam.gserviceaccount.com --role=roles/anthosservicemesh.serviceAgent"},
			{If: "gateway_api", Text: "Where the API server answers for an unknown server, see that the Connect Gateway API is on in the fleet's project", Command: "gcloud services enable connectgateway.googleapis.com"},
			{If: "fleet_project", Text: "See the state that the fleet reports", Command: "gcloud container fleet mesh describe --project={{fleet_project}}"},
			{Unless: "fleet_project", Text: "See the state that the fleet reports", Command: "gcloud container fleet mesh describe"},
			{Text: "See the revision's own conditions", Command: "kubectl -n istio-system describe controlplanerevisions"},
			{Text: "If that doesn't tell, ask Google's support, with a bundle of meshdiag collect, from which credentials are left out"},
		},
		References: []string{
			refManaged, "https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-configuration", refImplementing,
			"https://docs.cloud.google.com/kubernetes-engine/fleet-management/docs/reference/rpc/google.cloud.gkehub.servicemesh.v1",
		},
	},
	Evaluate: managedControlPlane,
}

// managedKey is the key of what a managed control plane that isn't there, or can't be called, explains; a pod that no label of its
// own or of its namespace puts into the mesh isn't among that.
func managedKey(key string) string { return strings.TrimSuffix("managed/"+key, "/") }

// provisioningLimit is how long provisioning may take before it counts as stuck. Google speaks of minutes; an hour more leaves room
// for a fleet of many clusters.
const provisioningLimit = 2 * time.Hour

func managedControlPlane(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var t evidence.Tally
	fleet, _ := evidence.Read(&t, v, evidence.FleetMesh)
	revisions, _ := evidence.Read(&t, v, evidence.ControlPlaneRevisions)
	hooks, _ := evidence.Get(v, evidence.MutatingWebhooks)
	logs, _ := evidence.Get(v, evidence.LogMessages)
	var out []diagnose.Cause
	for _, m := range fleet {
		if c, ok := membership(m); ok {
			if len(fleet) > 1 {
				c.Key = "memberships/" + path.Base(m.Membership)
			}
			out = append(out, c)
		}
	}
	seen := map[string]bool{}
	for _, b := range revisions {
		for _, r := range b.Items {
			if c, ok := stalled(r, b.Source); ok && !seen[r.Name] {
				out = append(out, c)
			}
			seen[r.Name] = true
		}
	}
	out = append(out, failingCalls(cluster.Injectors(hooks), logs)...)
	if len(out) > 0 {
		return out, nil
	}
	return nil, t.Err()
}

var fleetNumber = regexp.MustCompile(`^projects/(([0-9]+)|[^/]+)/`)

// membership judges what the fleet says of one cluster.
func membership(m evidence.FleetMembership) (c diagnose.Cause, bad bool) {
	var worst *evidence.FleetCondition
	var failing []string
	for i, x := range m.Conditions {
		if x.Severity == "ERROR" {
			failing = append(failing, x.Code)
			if worst == nil {
				worst = &m.Conditions[i]
			}
		}
	}
	name := path.Base(m.Membership)
	c = diagnose.Cause{Subject: "the managed control plane of " + name, Key: "fleet", Confidence: diagnose.Confirmed, Params: map[string]string{}}
	planeBad, planeSays := lifecycle(m.ControlPlane)
	dataBad, dataSays := lifecycle(m.DataPlane)
	late := m.ControlPlane == "PROVISIONING" && !m.Updated.IsZero() && m.Source.Time.Sub(m.Updated) > provisioningLimit
	switch {
	case planeBad:
		c.Summary = fmt.Sprintf("The fleet reports the managed control plane of %s as %s (%s)", name, m.ControlPlane, planeSays)
		c.Key = managedKey("")
		if m.ControlPlane == "DEGRADED" || m.ControlPlane == "NEEDS_ATTENTION" {
			c.Severity = diagnose.Degrading
		}
	case late:
		c.Severity, c.Confidence, c.Key = diagnose.Degrading, diagnose.Likely, managedKey("")
		c.Summary = fmt.Sprintf("The managed control plane of %s has been PROVISIONING since %s", name, m.Updated.UTC().Format(time.RFC3339))
	case m.ControlPlane == "PROVISIONING":
		return c, false // conditions are those of what isn't finished yet
	case dataBad:
		c.Severity = diagnose.Degrading
		c.Summary = fmt.Sprintf("The fleet reports the managed data plane of %s as %s (%s)", name, m.DataPlane, dataSays)
	case worst != nil:
		c.Severity = diagnose.Degrading
		c.Summary = fmt.Sprintf("The fleet reports an error in the managed mesh of %s", name)
	default:
		return c, false
	}
	excerpt := fmt.Sprintf("%s: control plane %s, implementation %s, data plane %s", m.Membership, cmp.Or(m.ControlPlane, "not managed"), cmp.Or(m.Implementation, "not told"), cmp.Or(m.DataPlane, "not managed"))
	for _, d := range m.Details {
		excerpt += fmt.Sprintf("\n%s: %s", d.Code, d.Text)
	}
	c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.FleetMesh.Name(), Excerpt: excerpt, Source: m.Source})
	for i, x := range m.Conditions {
		if i == maxConfigurations {
			break
		}
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.FleetMesh.Name(), Excerpt: strings.TrimSpace(fmt.Sprintf("%s %s: %s %s", x.Severity, x.Code, x.Details, x.Link)), Source: m.Source})
	}
	if g := fleetNumber.FindStringSubmatch(m.Membership); g != nil {
		c.Params["fleet_project"], c.Params["fleet_number"] = g[1], g[2]
	}
	switch {
	case worst != nil:
		known := explainCondition(worst.Code)
		c.Summary += ": " + worst.Code
		if says := cmp.Or(known.meaning, strings.TrimRight(worst.Details, ".")); says != "" {
			c.Summary += ", " + says
		}
		if len(failing) > 1 {
			c.Summary += "; also " + some(failing[1:])
		}
		c.Params["code"], c.Params["link"], c.Params["todo"] = worst.Code, worst.Link, known.todo
		if known.agent && c.Params["fleet_number"] != "" {
			c.Params["agent"] = "true"
		}
	case len(m.Details) > 0:
		c.Summary += ": " + cut(strings.TrimRight(m.Details[0].Text, "."))
	}
	c.Summary += "."
	return c, true
}

// lifecycle explains a state of the control or data plane, and says whether it is a bad one.
// https://docs.cloud.google.com/kubernetes-engine/fleet-management/docs/reference/rpc/google.cloud.gkehub.servicemesh.v1
func lifecycle(state string) (bad bool, says string) {
	switch state {
	case "FAILED_PRECONDITION":
		return true, "something about the cluster keeps it from being provisioned"
	case "STALLED":
		return true, "it could not be provisioned"
	case "NEEDS_ATTENTION":
		return true, "it works, and something is to be done by you"
	case "DEGRADED":
		return true, "it works in part"
	case "DEPROVISIONING":
		return true, "it is being removed"
	}
	return false, ""
}

// stalled judges a ControlPlaneRevision. One that isn't reconciled yet and isn't stalled either is being provisioned.
func stalled(r kube.ControlPlaneRevision, src evidence.Source) (c diagnose.Cause, bad bool) {
	x := kube.FindCondition(r.Status.Conditions, "Stalled")
	if x == nil || x.Status != "True" {
		return c, false
	}
	says := map[string]string{
		"PreconditionFailed": "something about the cluster keeps it from being provisioned", "ProvisioningFailed": "it could not be provisioned",
	}[x.Reason]
	c = diagnose.Cause{
		Subject: "ControlPlaneRevision " + r.Name, Key: managedKey(""), Confidence: diagnose.Confirmed, Params: map[string]string{},
		Summary: fmt.Sprintf("ControlPlaneRevision %s is Stalled, %s", r.Name, cmp.Or(x.Reason, "without a reason")),
	}
	if says != "" {
		c.Summary += ": " + says
	}
	if x.Message != "" {
		c.Summary += ": " + cut(strings.TrimRight(x.Message, "."))
	}
	c.Summary += "."
	var lines []string
	for _, y := range r.Status.Conditions {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s=%s %s %s", y.Type, y.Status, y.Reason, y.Message)))
	}
	c.Evidence = []diagnose.Exhibit{{Fact: evidence.ControlPlaneRevisions.Name(), Excerpt: strings.Join(lines, "\n"), Source: src}}
	return c, true
}

// failingCalls finds calls of the managed control plane's webhooks that failed: those of webhooks that are URLs in the cluster,
// and of Istio's webhooks at URLs of Google's.
func failingCalls(injectors []cluster.Injector, logs []evidence.LogMessage) []diagnose.Cause {
	by := map[string][]evidence.LogMessage{}
	for _, m := range logs {
		name := m.Fields["webhook"]
		if m.Signature != messages.WebhookCallFailed.ID || m.Fields["trial"] != "" || m.Fields["service"] != "" || !strings.HasSuffix(name, ".istio.io") {
			continue
		}
		url := m.Fields["url"]
		known := slices.ContainsFunc(injectors, func(in cluster.Injector) bool { return in.Managed && in.Hook.Name == name })
		ours := strings.Contains(url, ".googleapis.com/") || strings.Contains(url, ".goog/") || strings.Contains(url, ".run.app/")
		if known || ours || strings.Contains(name, "asm-managed") {
			by[name] = append(by[name], m)
		}
	}
	var out []diagnose.Cause
	for name, l := range by {
		reason := l[0].Fields["reason"]
		c := diagnose.Cause{
			Subject: "the managed control plane's webhook " + name, Key: managedKey(""), Confidence: diagnose.Likely, Params: map[string]string{},
			Summary: fmt.Sprintf("The API server cannot call the managed control plane's webhook %s: %s", name, cut(cmp.Or(reason, "no reason given"))),
		}
		if strings.Contains(reason, "an error on the server") {
			c.Params["gateway_api"] = "true"
		}
		for _, m := range l[:min(len(l), maxNames)] {
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: m.Text, Source: m.Source})
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b diagnose.Cause) int { return strings.Compare(a.Subject, b.Subject) })
	return out
}
