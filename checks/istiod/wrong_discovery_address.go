package istiod

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// WrongDiscoveryAddress finds proxies that look for istiod where there is none.
var WrongDiscoveryAddress = diagnose.Check{
	ID:       "istiod/wrong-discovery-address",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomPodNotStarting},
	Needs: append([]evidence.Name{
		evidence.ConfigMaps.Name(), evidence.Pods.Name(), evidence.Workloads.Name(), evidence.Namespaces.Name(), evidence.ClusterServices.Name(), evidence.LogMessages.Name(),
	}, planeNeeds...),
	Explains:   unserved,
	Signatures: []diagnose.Signature{messages.StreamClosed, messages.AgentUpstreamFailed, messages.AgentUpstreamConnected, messages.HostNotFound, messages.ProxyNotReady, messages.ProxyReady},
	Doc: diagnose.Doc{
		Title: "Proxies look for istiod at an address where it isn't",
		Explanation: "A proxy finds istiod at the discoveryAddress of its ProxyConfig: that of the mesh's configuration, or of the pod's annotation proxy.istio.io/config, which goes before it. " +
			"Where it names a Service that doesn't exist, or a port that the Service doesn't have, the proxy gets neither a certificate nor configuration: its streams end with \"no healthy upstream\", " +
			"or the name doesn't resolve. It happens when a revision of istiod is removed whose pods were never restarted, and when a configuration is copied from another cluster.",
		Quiet: "No address is set: then the injector's default holds. It names a Google API: the checks of controlplane and config tell of those. It is an IP address, or the name of a host outside the cluster. The Service exists, and istiod behind it doesn't run (istiod/not-ready).",
		Remedy: []diagnose.Step{
			{Text: "See which istiod there is", Command: "kubectl get services -A -l app=istiod"},
			{If: "configmap", Text: "Correct discoveryAddress under defaultConfig in the mesh's configuration: in the values or the IstioOperator that it was installed from (meshConfig.defaultConfig.discoveryAddress), or the next upgrade brings it back. See it", Command: "kubectl -n {{namespace}} get configmap {{configmap}} -o yaml"},
			{If: "annotated", Text: "Take discoveryAddress out of the annotation proxy.istio.io/config of the pod template, so that the mesh's own holds, or correct it", Command: "kubectl -n {{namespace}} get {{annotated}} -o yaml"},
			{If: "right", Text: "What is there is {{right}}."},
			{If: "log", Text: "Find what the proxy was told: the annotation proxy.istio.io/config of the pod, and the mesh's configuration", Command: "kubectl -n istio-system get configmaps -o yaml | grep -n discoveryAddress"},
			{If: "app_workload", Text: "Then restart the workload: a proxy reads the address when its pod is made", Command: "kubectl -n {{app_namespace}} rollout restart {{app_workload}}"},
			{Unless: "app_workload", Text: "Then restart the workloads whose proxies look there (kubectl rollout restart): a proxy reads the address when its pod is made."},
		},
		References: []string{refMeshConfig, refProxyIssues},
	},
	Evaluate: wrongDiscoveryAddress,
}

func wrongDiscoveryAddress(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	whose, shows := cluster.ControlPlane(v)
	if whose.Managed() {
		return nil, diagnose.Skip("Google runs the control plane: %s", shows)
	}
	set := addresses(req, v)
	services, serr := evidence.Get(v, evidence.ClusterServices)
	logs, lerr := evidence.Get(v, evidence.LogMessages)
	var out []diagnose.Cause
	var open error
	for i := range set {
		a := &set[i]
		if ofGoogle(a.value) {
			continue
		}
		problem, unknown := a.judge(services, failed(serr))
		if unknown != nil && open == nil {
			open = unknown
		}
		if problem != "" && len(out) < maxCauses {
			out = append(out, a.cause(req, problem, services, logs))
		}
	}
	if len(out) == 0 {
		out = fromLog(req, set, services, logs, serr != nil)
	}
	if len(out) > 0 {
		return out, nil
	}
	_, merr := evidence.Get(v, evidence.ConfigMaps)
	if err := first(failed(merr), failed(lerr)); err != nil {
		return nil, err
	}
	if len(set) == 0 && merr != nil && lerr != nil {
		return nil, merr
	}
	return nil, open
}

func (a *address) cause(req diagnose.Request, problem string, services []evidence.Objects[kube.Service], logs []evidence.LogMessage) diagnose.Cause {
	c := diagnose.Cause{
		Subject: a.where, Key: a.key, Confidence: diagnose.Confirmed, Params: map[string]string{},
		Summary:  sentence(fmt.Sprintf("%s sends proxies to istiod at %s, and %s", upper(a.where), a.value, problem)),
		Evidence: []diagnose.Exhibit{{Fact: a.fact, Excerpt: a.field + ": " + a.value, Source: a.source}},
	}
	for k, s := range a.params {
		c.Params[k] = s
	}
	if a.params["configmap"] == "" {
		c.Params["annotated"] = a.params["workload"]
		if a.params["workload"] == "" {
			c.Params["annotated"] = "pod/" + a.params["pod"]
		}
		c.Params["app_namespace"], c.Params["app_workload"] = a.params["namespace"], a.params["workload"]
	} else {
		withApp(req, c.Params)
	}
	others := istiods(services)
	c.Params["right"] = some(others)
	c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ClusterServices.Name(), Excerpt: "Services of istiod: " + orNone(some(others))})
	n := 0
	for _, m := range logs {
		host, _ := splitAddress(a.value)
		if t, ok := missed(m); ok && (t == "" || t == host) && n < maxExhibits {
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: clip(m.Text, maxExcerpt), Source: m.Source})
			n++
		}
	}
	return c
}

// withApp names what is to be restarted, where the request tells it.
func withApp(req diagnose.Request, params map[string]string) {
	if kind, name, ok := strings.Cut(req.Target.Workload, "/"); ok {
		params["app_namespace"], params["app_workload"] = req.Target.Namespace, strings.ToLower(kind)+"/"+name
	}
}

// missed says whether a message tells of a control plane that isn't there, and at which host; "" where it doesn't say.
func missed(m evidence.LogMessage) (host string, ok bool) {
	switch m.Signature {
	case messages.AgentUpstreamFailed.ID:
		host, _ = splitAddress(m.Fields["address"] + m.Fields["agent_address"])
		return host, strings.Contains(m.Fields["text"], "no such host") && host != ""
	case messages.HostNotFound.ID:
		host = m.Fields["host"]
		return strings.TrimSuffix(host, "."), strings.HasPrefix(host, "istiod") || strings.HasPrefix(host, "istio-pilot")
	case messages.StreamClosed.ID:
		return "", m.Fields["bare"] != "" || m.Fields["code"] == "14" && strings.Contains(m.Fields["text"], "no healthy upstream") && m.Fields["method"] != "StreamLoadStats"
	}
	return "", false
}

// fromLog finds a wrong address by what proxies say alone: a name of the cluster that doesn't resolve is likely one, and streams
// without an upstream possibly, in the log of a proxy of Istio's that waits for its configuration. blind says that no Services are
// known; where they are, only names that no Service has count.
func fromLog(req diagnose.Request, set []address, services []evidence.Objects[kube.Service], logs []evidence.LogMessage, blind bool) []diagnose.Cause {
	files := map[string]bool{}
	waits := map[string]bool{}
	for _, m := range logs {
		files[m.File] = true
		waits[m.File] = waits[m.File] || m.Signature == messages.ProxyNotReady.ID && m.Fields["config"] != ""
	}
	var out []diagnose.Cause
	told := map[string]bool{}
	for _, m := range logs {
		host, ok := missed(m)
		if !ok || told[m.File] || over(m, logs) || len(out) >= maxCauses {
			continue
		}
		c := diagnose.Cause{
			Subject: "the proxy that wrote " + logName(m), Confidence: diagnose.Likely, Params: map[string]string{"log": "yes"},
			Summary:  fmt.Sprintf("The proxy looks for istiod at %s, a name that does not resolve.", host),
			Evidence: []diagnose.Exhibit{{Fact: evidence.LogMessages.Name(), Excerpt: clip(m.Text, maxExcerpt), Source: m.Source}},
		}
		if host == "" {
			// As guides about istiod quote it, without a code, it is no line of a log.
			if !waits[m.File] && m.Fields["bare"] == "" || len(set) > 0 || !blind {
				continue
			}
			c.Confidence = diagnose.Possible
			c.Summary = "The proxy finds no upstream for its control plane: its discovery address may name a Service that does not exist."
		} else {
			namespace, name, ok := serviceOf(host, services)
			known := slices.ContainsFunc(evidence.All(services), func(s kube.Service) bool { return s.Namespace == namespace && s.Name == name })
			if !ok || known {
				continue // the name is right: what is wrong is DNS, and controlplane tells of it
			}
			if evidence.Covers(services, namespace) {
				c.Summary = fmt.Sprintf("The proxy looks for istiod at %s, and Service %s/%s does not exist.", host, namespace, name)
			}
		}
		told[m.File] = true
		if len(files) > 1 {
			c.Key = "files/" + m.File
		}
		withApp(req, c.Params)
		out = append(out, c)
	}
	return out
}

// over says whether the same log goes on with a connection to the control plane, or with a proxy that serves.
func over(m evidence.LogMessage, logs []evidence.LogMessage) bool {
	return slices.ContainsFunc(logs, func(o evidence.LogMessage) bool {
		return (o.Signature == messages.AgentUpstreamConnected.ID || o.Signature == messages.ProxyReady.ID) && o.File == m.File && after(o, m)
	})
}

// after says whether the last of a came after the last of b in their log, by line or else by time.
func after(a, b evidence.LogMessage) bool {
	if x, y := max(a.Line, a.LastLine), max(b.Line, b.LastLine); x > 0 && y > 0 {
		return x > y
	}
	return a.Last.After(b.Last)
}

func logName(m evidence.LogMessage) string {
	if m.File == "" {
		return "the log"
	}
	return m.File
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
