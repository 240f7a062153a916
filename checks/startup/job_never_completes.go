package startup

import (
	"fmt"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// JobNeverCompletes finds Jobs whose application is done and whose proxy runs on.
var JobNeverCompletes = diagnose.Check{
	ID:       "startup/job-never-completes",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerCluster,
	Needs:    needs,
	Doc: diagnose.Doc{
		Title: "A Job does not complete, as its proxy runs on",
		Explanation: "A Job's pod is done when all of its containers have ended. A sidecar that is an ordinary container doesn't know that the application has, and runs on: the pod stays, the Job never completes, " +
			"and a CronJob that forbids concurrent runs starts no more.",
		Quiet: "The proxy is a native sidecar, which Kubernetes ends itself; a container of the application still runs, or is started again; or it ended only just now.",
		Remedy: []diagnose.Step{
			{Text: "End the proxy of this pod now; the Job completes then", Command: "kubectl -n {{namespace}} exec {{pod}} -c istio-proxy -- pilot-agent request POST quitquitquit"},
			{If: "native_patch", Text: "Make the proxy a native sidecar, from the next run on (Kubernetes 1.29 and Istio 1.24 or later)", Command: "kubectl -n {{namespace}} patch {{workload}} --type=merge -p {{native_patch}}"},
			{Unless: "native_patch", Text: "Make the proxy a native sidecar (Kubernetes 1.29 and Istio 1.24 or later): the annotation sidecar.istio.io/nativeSidecar: \"true\" in the pod template. A Job's template can't be changed: make the Job anew"},
			{Text: "Or let the application end the proxy when it is done: curl -fsS -X POST http://localhost:15020/quitquitquit as the last thing that it does, also when it fails"},
			{Text: "Or leave the Job out of the mesh, if it needs nothing of it: the label sidecar.istio.io/inject: \"false\" in the pod template"},
		},
		References: []string{refSidecars, refAnnotations, "https://istio.io/latest/blog/2023/native-sidecars/"},
	},
	Evaluate: jobNeverCompletes,
}

// ending is how long after its application a proxy may run on: scripts that end it need a moment.
const ending = 30 * time.Second

func jobNeverCompletes(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var list []found
	for _, x := range s.starts {
		if f, ok := s.lingers(x); ok {
			list = append(list, f)
		}
	}
	if len(list) > 0 {
		return s.causes(list), nil
	}
	return nil, s.podsErr
}

// lingers says whether a pod's application is done for good and its proxy runs on.
func (s *survey) lingers(x *start) (found, bool) {
	maker := cluster.Maker(x.pod)
	job := strings.HasPrefix(maker, "Job/")
	policy := x.pod.Spec.RestartPolicy
	if x.proxy == nil || x.native || !x.pod.Deleted.IsZero() || !job && policy != "Never" && policy != "OnFailure" {
		return found{}, false
	}
	proxy := x.pod.StatusOf(kube.ProxyContainer)
	if proxy == nil || proxy.State.Running == nil {
		return found{}, false
	}
	var last time.Time
	var how []string
	for _, c := range x.pod.Spec.Containers {
		if c.Name == kube.ProxyContainer {
			continue
		}
		st := x.pod.StatusOf(c.Name)
		if st == nil || st.State.Terminated == nil {
			return found{}, false
		}
		t := st.State.Terminated
		if t.ExitCode != 0 && policy != "Never" {
			return found{}, false // it's started again
		}
		if t.Finished.After(last) {
			last = t.Finished
		}
		how = append(how, fmt.Sprintf("%s %s", c.Name, end(t)))
	}
	if len(how) == 0 || !x.now.IsZero() && x.now.Sub(last) < ending {
		return found{}, false
	}
	f := found{x: x, confidence: diagnose.Confirmed, word: "runs on", params: map[string]string{}}
	what := "The application"
	if x.now.IsZero() {
		// The file may have been written the moment after.
		f.confidence = diagnose.Likely
		f.summary = fmt.Sprintf("%s of %s has ended and its proxy runs on, so that the Job does not complete.", what, x.title())
	} else {
		f.summary = fmt.Sprintf("%s of %s ended %s ago and its proxy runs on, so that the Job does not complete.", what, x.title(), spell(x.now.Sub(last)))
	}
	if !job {
		f.summary = strings.Replace(f.summary, "the Job does not complete", "the pod does not", 1)
	}
	f.text = strings.Join(how, ", ") + "; istio-proxy runs"
	if w := s.workload(x); w != nil {
		if o := w.Controller(); o != nil && o.Kind == "CronJob" {
			f.params["native_patch"] = patch("CronJob/"+o.Name, one(kube.AnnotationNative, "true"))
			f.params["workload"] = "cronjob/" + o.Name
		}
	}
	return f, true
}
