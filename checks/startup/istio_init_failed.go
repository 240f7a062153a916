package startup

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// IstioInitFailed finds pods whose traffic could not be set up to go to the proxy.
var IstioInitFailed = diagnose.Check{
	ID:         "startup/istio-init-failed",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   notStarting,
	Needs:      needs,
	Explains:   []diagnose.CheckID{idTimeout},
	Signatures: []diagnose.Signature{messages.InterceptionSetupFailed, messages.InterceptionNotValid},
	Doc: diagnose.Doc{
		Title: "The mesh's init container failed",
		Explanation: "istio-init writes the packet rules that send the pod's traffic to its proxy; where the CNI plugin does that, istio-validation looks whether it did, and ends with exit code 126 where the " +
			"rules are missing. Nothing else of the pod starts until it has succeeded.",
		Quiet: "It failed once and then succeeded; another init container failed; or iptables failed elsewhere than in a pod of the mesh.",
		Remedy: []diagnose.Step{
			{If: "exists", Text: "The rules of a run before are still there: the container was run a second time in the same pod, as when somebody removes ended containers from the node (docker prune). Delete the pod, so that it is made anew, and keep such clean-ups off the nodes",
				Command: "kubectl -n {{namespace}} delete pod {{pod}}"},
			{If: "denied", Text: "The container may not change packet rules: it needs the capabilities NET_ADMIN and NET_RAW, which a policy or the container runtime takes from it (GKE Autopilot gives them to no pod unless it was told to). Use the CNI plugin, which needs neither; the managed mesh comes with it"},
			{If: "modules", Text: "The node's kernel lacks what iptables needs. Use nodes of another image, or load the modules on the node", Command: "sudo modprobe -a ip_tables iptable_nat xt_REDIRECT xt_owner"},
			{If: "validation", Text: "The CNI plugin did not set up the rules: the pod was started on its node before the plugin ran there, or the plugin failed. Is it ready there?",
				Command: "kubectl get pods -A -o wide -l k8s-app=istio-cni-node"},
			{If: "node", Text: "The pod's node is {{node}}; what does the plugin log there?", Command: "kubectl logs -n kube-system -l k8s-app=istio-cni-node --tail=200 --prefix"},
			{If: "validation", Text: "Delete the pod once the plugin is ready: it is made anew, and gets its rules then. The plugin's repair controller does so by itself where it is on (cni.repair)", Command: "kubectl -n {{namespace}} delete pod {{pod}}"},
			{If: "image", Text: "Its image can't be run ({{image}}). Can the node reach its registry, and may the node's service account read it?", Command: "kubectl -n {{namespace}} describe pod {{pod}}"},
			{If: "container", Text: "Read all that it printed", Command: "kubectl -n {{namespace}} logs {{pod}} -c {{container}} --previous"},
			{If: "container", Text: "Only of its first run there may be no earlier log", Command: "kubectl -n {{namespace}} logs {{pod}} -c {{container}}"},
			{Unless: "container", Text: "Find the pods whose init container fails", Command: "kubectl get pods -A | grep Init:"},
		},
		References: []string{refTraffic, refCNI, refProblems},
	},
	Evaluate: istioInitFailed,
}

func istioInitFailed(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var list []found
	for _, x := range s.starts {
		if f, ok := initFailed(x); ok {
			list = append(list, f)
		}
	}
	for _, x := range slices.Concat(s.gone, s.logs) {
		if f, ok := initFailedLogged(x); ok {
			list = append(list, f)
		}
	}
	if len(list) > 0 {
		return s.causes(list), nil
	}
	return nil, s.open()
}

// cannotRun are the reasons of a container that is not even started.
var cannotRun = []string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerError", "CreateContainerConfigError", "RunContainerError"}

// initFailed looks at what the pod's status says of the mesh's init container.
func initFailed(x *start) (found, bool) {
	for _, name := range []string{kube.InitContainer, kube.ValidationContainer} {
		st := x.pod.StatusOf(name)
		if st == nil || st.State.Running != nil || st.State.Terminated != nil && st.State.Terminated.ExitCode == 0 {
			continue
		}
		f := found{x: x, confidence: diagnose.Confirmed, params: map[string]string{"container": name, "node": x.pod.Spec.NodeName}}
		t := ended(st)
		reason := whyWaiting(st)
		image, _ := x.pod.Container(name)
		switch {
		case slices.Contains(cannotRun, reason) && (t == nil || t.ExitCode == 0) && (image == nil || image.Image != "auto"):
			f.word = reason
			f.params["image"] = reason
			delete(f.params, "container")
			f.text = name + ": " + reason + ": " + cut(st.State.Waiting.Message, maxExcerpt)
			f.summary = fmt.Sprintf("Container %s of %s can't be started: %s.", name, x.title(), strings.TrimRight(cmp.Or(cut(st.State.Waiting.Message, maxQuote), reason), "."))
			f.params["container"] = ""
			return f, true
		case t == nil || t.ExitCode == 0:
			continue
		}
		said := ""
		for _, l := range x.lines {
			if l.Signature != messages.InterceptionSetupFailed.ID && l.Signature != messages.InterceptionNotValid.ID || l.container != "" && l.container != name {
				continue
			}
			kindOf(l, f.params)
			f.lines = append(f.lines, l)
			said = cmp.Or(said, l.quote())
		}
		if said == "" && t.Message != "" {
			said = lastLine(t.Message)
		}
		if t.ExitCode == 126 && name == kube.ValidationContainer {
			f.params["validation"] = "true"
		}
		if f.params["validation"] == "" {
			delete(f.params, "node") // it's the CNI plugin that is a node's
		}
		f.word = fmt.Sprint(name, t.ExitCode, f.params["exists"], f.params["denied"])
		f.text = fmt.Sprintf("%s: exit code %d, %s, %d restarts", name, t.ExitCode, cmp.Or(t.Reason, "no reason given"), st.Restarts)
		f.summary = fmt.Sprintf("Container %s of %s failed with exit code %d", name, x.title(), t.ExitCode)
		switch {
		case t.Reason == "OOMKilled":
			f.summary += ": it ran out of memory (OOMKilled)"
		case said != "":
			f.summary += ": " + said
		case f.params["validation"] != "":
			f.summary += ": the packet rules that the CNI plugin should have made are not there"
		}
		f.summary = strings.TrimRight(f.summary, ".") + "."
		return f, true
	}
	return found{}, false
}

// initFailedLogged looks at messages alone.
func initFailedLogged(x *start) (found, bool) {
	f := found{x: x, confidence: diagnose.Likely, params: map[string]string{}}
	for _, l := range x.lines {
		own := l.container == kube.InitContainer || l.container == kube.ValidationContainer
		switch {
		case l.Signature == messages.InterceptionNotValid.ID:
		case l.Signature == messages.InterceptionSetupFailed.ID && (own || l.Fields["panic"] != "" || strings.HasPrefix(l.Fields["chain"], "ISTIO_") || strings.Contains(l.Text, "ISTIO_") || agentLine.MatchString(l.Text)):
		case l.Signature == messages.InterceptionSetupFailed.ID && l.container == "" && len(f.lines) == 0 && x.file != "":
			// Anybody's iptables may say so.
			f.confidence = diagnose.Possible
		default:
			continue
		}
		if own {
			f.params["container"] = l.container
		}
		kindOf(l, f.params)
		f.lines = append(f.lines, l)
	}
	if len(f.lines) == 0 {
		return f, false
	}
	if x.pod.Name == "" {
		delete(f.params, "container")
	}
	what := "The packet rules that send traffic to the proxy could not be made"
	if f.params["validation"] != "" {
		what = "The packet rules that send traffic to the proxy are not there"
	}
	if x.file == "" {
		what += " in " + x.title()
	}
	f.summary = what + ": " + strings.TrimRight(f.lines[0].quote(), ".") + "."
	return f, true
}

// kindOf notes what a message says of why.
func kindOf(l line, p map[string]string) {
	text := l.Text
	switch {
	case l.Signature == messages.InterceptionNotValid.ID:
		p["validation"] = "true"
	case l.Fields["exists"] != "" || l.Fields["added"] != "":
		p["exists"] = "true"
	case strings.Contains(text, "Permission denied") || strings.Contains(text, "must be root") || strings.Contains(text, "Operation not permitted"):
		p["denied"] = "true"
	case strings.Contains(text, "initialize") || strings.Contains(text, "load match") || strings.Contains(text, "load target"):
		p["modules"] = "true"
	}
}

// lastLine gives the last line of a message that isn't empty.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return cut(lines[len(lines)-1], maxQuote)
}
