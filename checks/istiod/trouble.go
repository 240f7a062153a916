package istiod

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// trouble is why a pod isn't ready, by the parameter that chooses what to do about it.
type trouble struct {
	kind   string // of the kinds below
	text   string // goes on after the pod's name: "can't pull the image …"
	passes bool   // it may be nothing but a pod that starts
	params map[string]string
}

// The kinds of trouble, the plainest first.
const (
	outOfMemory = "oom"
	crashing    = "crash"
	noImage     = "pull"
	badSpec     = "spec"
	evicted     = "evicted"
	unscheduled = "scheduling"
	notMounted  = "mount"
	notServing  = "probe"
	leaving     = "leaving"
	waiting     = "waiting"
)

var kinds = []string{outOfMemory, crashing, noImage, badSpec, evicted, unscheduled, notMounted, notServing, waiting, leaving}

// rank sorts troubles by how much they tell.
func (t trouble) rank() int { return slices.Index(kinds, t.kind) }

// pulls are the reasons for which a container waits for its image.
var pulls = []string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}

// troubleOf says why a pod isn't ready; events are the cluster's, as far as they are known.
func troubleOf(p *kube.Pod, events []kube.Event) trouble {
	if !p.Deleted.IsZero() {
		return trouble{kind: leaving, text: "is being deleted", passes: true}
	}
	if p.Ended() {
		return trouble{kind: evicted, text: fmt.Sprintf("has ended (%s)%s", cmp.Or(p.Status.Reason, p.Status.Phase), tail(p.Status.Message))}
	}
	for _, list := range [][]kube.ContainerStatus{p.Status.InitContainers, p.Status.Containers} {
		for _, c := range list {
			if t, ok := containerTrouble(p, c, events); ok {
				return t
			}
		}
	}
	if c := kube.FindCondition(p.Status.Conditions, "PodScheduled"); c != nil && c.Status == "False" {
		why := cmp.Or(c.Message, eventOf(p, events, "FailedScheduling", ""))
		return trouble{kind: unscheduled, text: "can't be scheduled" + tail(why)}
	}
	if why := eventOf(p, events, "FailedMount", ""); why != "" {
		return trouble{kind: notMounted, text: "lacks a volume" + tail(why)}
	}
	if p.Status.Phase == "Running" {
		return runsUnready(p, events)
	}
	if why := eventOf(p, events, "FailedScheduling", ""); why != "" && p.Spec.NodeName == "" {
		return trouble{kind: unscheduled, text: "can't be scheduled" + tail(why)}
	}
	return trouble{kind: waiting, text: "is " + cmp.Or(p.Status.Phase, "in no known state") + tail(cmp.Or(p.Status.Reason, p.Status.Message)), passes: true}
}

// containerTrouble says what is wrong with one container.
func containerTrouble(p *kube.Pod, c kube.ContainerStatus, events []kube.Event) (trouble, bool) {
	image := c.Image
	if spec, _ := p.Container(c.Name); spec != nil && spec.Image != "" {
		image = spec.Image
	}
	params := map[string]string{"container": c.Name, "image": image}
	ended := c.State.Terminated
	if w := c.State.Waiting; w != nil {
		switch {
		case slices.Contains(pulls, w.Reason):
			why := cmp.Or(eventOf(p, events, "Failed", "Failed to pull image"), w.Message)
			return trouble{kind: noImage, text: fmt.Sprintf("can't pull the image %s (%s)%s", image, w.Reason, tail(why)), params: params}, true
		case w.Reason == "CrashLoopBackOff":
			ended = c.Last.Terminated
			if ended == nil {
				return trouble{kind: crashing, text: fmt.Sprintf("container %s ends again and again (CrashLoopBackOff)%s", c.Name, tail(w.Message)), params: params}, true
			}
		case w.Reason == "", w.Reason == "ContainerCreating", w.Reason == "PodInitializing":
			return trouble{}, false
		default:
			return trouble{kind: badSpec, text: fmt.Sprintf("container %s can't be started (%s)%s", c.Name, w.Reason, tail(w.Message)), params: params}, true
		}
	}
	running := c.State.Running != nil
	if running && !c.Ready && c.Restarts > 0 {
		ended = c.Last.Terminated // it was started again, and isn't ready yet
	}
	if ended == nil || c.Ready || ended.ExitCode == 0 && ended.Reason != "OOMKilled" && c.State.Waiting == nil {
		return trouble{}, false
	}
	t := trouble{kind: crashing, params: params}
	if ended.Reason == "OOMKilled" {
		t.kind = outOfMemory
	}
	how := fmt.Sprintf("exit code %d", ended.ExitCode)
	if ended.Signal != 0 {
		how = fmt.Sprintf("signal %d", ended.Signal)
	}
	if ended.Reason != "" && ended.Reason != "Error" {
		how += ", " + ended.Reason
	}
	t.text = fmt.Sprintf("container %s ended with %s", c.Name, how)
	if c.Restarts > 0 {
		t.text += fmt.Sprintf(" and was restarted %s", plural(c.Restarts, "time", "times"))
	}
	t.text += tail(ended.Message)
	return t, true
}

// runsUnready says why a pod runs and doesn't take traffic.
func runsUnready(p *kube.Pod, events []kube.Event) trouble {
	if c := kube.FindCondition(p.Status.Conditions, "Ready"); c != nil && c.Status == "Unknown" {
		return trouble{kind: notServing, text: fmt.Sprintf("is on node %s, which doesn't answer%s", cmp.Or(p.Spec.NodeName, "of an unknown name"), tail(c.Message))}
	}
	for _, c := range p.Status.Containers {
		if c.Ready {
			continue
		}
		why := eventOf(p, events, "Unhealthy", "Readiness probe failed")
		return trouble{
			kind: notServing, text: fmt.Sprintf("runs, and its container %s is not ready%s", c.Name, tail(why)), passes: true, params: map[string]string{"container": c.Name},
		}
	}
	return trouble{kind: notServing, text: "runs, and is not ready", passes: true}
}

// eventOf gives the latest message of a reason about a pod, one that begins with a text; "" for none.
func eventOf(p *kube.Pod, events []kube.Event, reason, begins string) string {
	var last *kube.Event
	for i, e := range events {
		if e.Involved.Name == p.Name && e.Involved.Namespace == p.Namespace && e.Reason == reason && strings.HasPrefix(e.Message, begins) && (last == nil || !e.Last.Before(last.Last)) {
			last = &events[i]
		}
	}
	if last == nil {
		return ""
	}
	return last.Message
}

// tail puts a message behind a sentence.
func tail(more string) string {
	if more = clip(more, maxWords); more == "" {
		return ""
	}
	return ": " + more
}

// refused says why no pod can be made: a condition of the Deployment, or an event of one of its ReplicaSets.
func refused(w *kube.Workload, events []kube.Event) string {
	if c := kube.FindCondition(w.Status.Conditions, "ReplicaFailure"); c != nil && c.Status == "True" {
		return c.Message
	}
	for _, e := range events {
		if e.Reason == "FailedCreate" && e.Involved.Kind == "ReplicaSet" && e.Involved.Namespace == w.Namespace && strings.HasPrefix(e.Involved.Name, w.Name+"-") {
			return e.Message
		}
	}
	return ""
}

// eventsOf gives all events that are known.
func eventsOf(v *evidence.View) []kube.Event {
	batches, _ := evidence.Get(v, evidence.ClusterEvents)
	return evidence.All(batches)
}
