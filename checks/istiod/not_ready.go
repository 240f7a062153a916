package istiod

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// NotReady finds an istiod without a ready pod, and says why.
var NotReady = diagnose.Check{
	ID:       "istiod/not-ready",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: []diagnose.Symptom{diagnose.SymptomPodNotStarting, diagnose.SymptomNoSidecar, diagnose.SymptomNoConfig, diagnose.SymptomNotConnected},
	Needs: append([]evidence.Name{
		evidence.ControlPlanePods.Name(), evidence.ClusterEvents.Name(), evidence.Namespaces.Name(), evidence.Pods.Name(), evidence.Workloads.Name(),
	}, planeNeeds...),
	Explains: append([]diagnose.CheckID{"webhook/no-endpoints", "webhook/unreachable", "webhook/connection-broken"}, unserved...),
	Doc: diagnose.Doc{
		Title: "istiod has no ready pod",
		Explanation: "istiod gives the proxies their configuration and certificates, and it is the webhook that puts sidecars into pods. Without a ready pod of it, new pods are refused or come without " +
			"a sidecar, as their webhook's failurePolicy has it, and proxies that start get no configuration. Proxies that run go on with what they have, until their certificates end.",
		Quiet: "Some pod of istiod is ready, as during a rollout. Google runs the control plane: then there is no istiod in the cluster. A revision that is scaled to zero while another one serves. " +
			"A pod that was started less than a minute ago.",
		Remedy: []diagnose.Step{
			{If: "scaled", Text: "Start it again. Where an autoscaler or a GitOps tool scaled it, correct its lower bound there", Command: "kubectl -n {{namespace}} scale {{workload}} --replicas=1"},
			{If: "oom", Text: "istiod needs more memory than container {{container}} may take: it grows with the mesh's services, pods and proxies. Raise pilot.resources.limits.memory in the values of the installation; see what there is now", Command: "kubectl -n {{namespace}} get {{workload}} -o jsonpath='{.spec.template.spec.containers[*].resources}'"},
			{If: "crash", Text: "Read the last words of the container that ended", Command: "kubectl -n {{namespace}} logs {{pod}} -c {{container}} --previous --tail=50"},
			{If: "pull", Text: "See that the image {{image}} exists, and that the nodes may pull it: a wrong hub or tag in the installation's values, an imagePullSecret that isn't there, no way to the registry", Command: "kubectl -n {{namespace}} describe pod {{pod}}"},
			{If: "spec", Text: "A Secret or ConfigMap that the container names isn't there, or its command can't be run: the pod's events tell which", Command: "kubectl -n {{namespace}} describe pod {{pod}}"},
			{If: "mount", Text: "The volume's Secret or ConfigMap isn't there, or the node can't reach the disk: the pod's events tell which", Command: "kubectl -n {{namespace}} describe pod {{pod}}"},
			{If: "scheduling", Text: "Make room for the pod, or take away what keeps it from the nodes: istiod asks for 500m CPU and 2Gi of memory unless its values say otherwise, and doesn't tolerate taints", Command: "kubectl -n {{namespace}} describe pod {{pod}}"},
			{If: "scheduling", Text: "See what the nodes have left", Command: "kubectl describe nodes"},
			{If: "evicted", Text: "See why the node evicted it, and whether a new pod comes", Command: "kubectl -n {{namespace}} describe pod {{pod}}"},
			{If: "create", Text: "No pod can be made: a quota, a policy or a webhook refuses it. The events of its ReplicaSets tell which", Command: "kubectl -n {{namespace}} describe replicaset -l app=istiod"},
			{If: "probe", Text: "Read what istiod waits for: it is ready only once it has read every kind of object that it watches", Command: "kubectl -n {{namespace}} logs {{pod}} --tail=50"},
			{If: "workload", Text: "Watch it get ready", Command: "kubectl -n {{namespace}} rollout status {{workload}} --timeout=120s"},
			{Unless: "workload", Text: "Watch it get ready", Command: "kubectl -n {{namespace}} get pods -l app=istiod -o wide"},
		},
		References: []string{refResources, "https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods/", "https://istio.io/latest/docs/ops/deployment/performance-and-scalability/"},
	},
	Evaluate: notReady,
}

func notReady(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	whose, shows := cluster.ControlPlane(v)
	if whose.Managed() {
		return nil, diagnose.Skip("Google runs the control plane: %s", shows)
	}
	workloads, werr := evidence.Get(v, evidence.ControlPlaneWorkloads)
	_, wpart := evidence.Whole(v, evidence.ControlPlaneWorkloads)
	pods, perr := evidence.Get(v, evidence.ControlPlanePods)
	events := eventsOf(v)
	serves := serving(req, v)
	list := slices.DeleteFunc(planes(workloads, pods), func(x plane) bool { return x.deployment != nil && !applied(x.deployment) && len(x.pods) == 0 })
	var up []string
	for i := range list {
		if list[i].serves() {
			up = append(up, list[i].title())
		}
	}
	var out []diagnose.Cause
	for i := range list {
		x := &list[i]
		asked := serves[x.revision]
		switch {
		case x.serves(), x.wants() == 0 && len(up) > 0 && !asked:
		case len(out) >= maxCauses:
		default:
			c, ok := x.cause(events)
			if !ok {
				continue
			}
			if len(up) > 0 && !asked {
				c.Key = x.key()
				c.Severity = diagnose.Degrading
				c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ControlPlaneWorkloads.Name(), Excerpt: "ready: " + some(up)})
			}
			out = append(out, c)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	if err := first(failed(werr), failed(wpart)); err != nil {
		return nil, err
	}
	if werr != nil && perr != nil {
		return nil, first(failed(perr), werr)
	}
	if len(list) == 0 {
		return nil, diagnose.Skip("no istiod is in what was seen")
	}
	return nil, nil
}

// cause says why a control plane has no ready pod; ok is false where it may be starting.
func (x *plane) cause(events []kube.Event) (c diagnose.Cause, ok bool) {
	wants := x.wants()
	c = diagnose.Cause{Subject: x.title(), Confidence: diagnose.Confirmed, Params: map[string]string{"namespace": x.namespace, "workload": "", "pod": ""}}
	if x.deployment != nil {
		c.Params["workload"] = "deployment/" + x.deployment.Name
		c.Evidence = append(c.Evidence, diagnose.Exhibit{
			Fact: evidence.ControlPlaneWorkloads.Name(), Source: x.source, Excerpt: fmt.Sprintf("%s: revision %s, replicas %d, ready %d", x.title(), x.revision, wants, x.deployment.Status.Ready),
		})
	}
	if !x.whole && x.deployment == nil {
		c.Confidence = diagnose.Likely // a file may leave out the pod that is ready
	}
	if wants == 0 {
		c.Params["scaled"] = "yes"
		c.Summary = fmt.Sprintf("%s is scaled to 0: no istiod of revision %s runs.", x.title(), x.revision)
		return c, true
	}
	at := x.source.Time
	if len(x.pods) == 0 {
		why := ""
		if m := refused(x.deployment, events); m != "" {
			why = ": no pod can be made: " + clip(m, maxWords)
			c.Params["create"] = "yes"
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ControlPlaneWorkloads.Name(), Source: x.source, Excerpt: clip(m, maxExcerpt)})
		} else if young(x.deployment.Created, at) {
			return c, false
		}
		c.Summary = sentence(fmt.Sprintf("No pod of %s is ready (0 of %d)%s", x.title(), wants, why))
		return c, true
	}
	type unready struct {
		pod *kube.Pod
		trouble
	}
	var all []unready
	starts := true
	for i := range x.pods {
		t := troubleOf(&x.pods[i], events)
		all = append(all, unready{&x.pods[i], t})
		starts = starts && t.passes && young(x.pods[i].Created, at)
	}
	if starts {
		return c, false
	}
	slices.SortStableFunc(all, func(a, b unready) int { return a.rank() - b.rank() })
	worst := all[0]
	c.Params[worst.kind] = "yes"
	c.Params["pod"] = worst.pod.Name
	for k, s := range worst.params {
		c.Params[k] = s
	}
	of := strconv.Itoa(wants)
	c.Summary = sentence(fmt.Sprintf("No pod of %s is ready (0 of %s): %s %s", x.title(), of, worst.pod.Name, worst.text))
	if x.deployment == nil && cluster.Maker(worst.pod) == "" {
		c.Summary = sentence(fmt.Sprintf("The %s is not ready: it %s", x.title(), worst.text))
	}
	for _, u := range all[:min(len(all), maxExhibits)] {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ControlPlanePods.Name(), Excerpt: clip("pod "+u.pod.Ref()+" "+u.text, maxExcerpt)})
	}
	return c, true
}

// key places a control plane that isn't the one that serves what is asked about.
func (x *plane) key() string {
	kind, ref, _ := strings.Cut(x.title(), " ")
	return "namespaces/" + x.namespace + "/workloads/" + kind + "/" + strings.TrimPrefix(ref, x.namespace+"/")
}

// young says whether something was made less than a minute before it was seen.
func young(made, seen time.Time) bool {
	return !made.IsZero() && !seen.IsZero() && seen.Sub(made) < starting
}
