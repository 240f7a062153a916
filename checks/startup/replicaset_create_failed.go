package startup

import (
	"cmp"
	"fmt"
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

// ReplicaSetCreateFailed finds workloads that get no pods since creating them fails.
var ReplicaSetCreateFailed = diagnose.Check{
	ID:         "startup/replicaset-create-failed",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomPodNotStarting, diagnose.SymptomNoSidecar},
	Needs:      needs,
	Signatures: []diagnose.Signature{messages.PodCreateFailed},
	Doc: diagnose.Doc{
		Title: "Pods can't be created",
		Explanation: "The API server refuses to create the pods of a workload, so that there is none to look at: what went wrong is told by FailedCreate events of its ReplicaSet (StatefulSet, DaemonSet, Job) " +
			"alone, and these live an hour. In a mesh it is most often the injector's webhook, which is called for every pod of an injected namespace, and without which none is made. The checks of the " +
			"area webhook say why it fails.",
		Quiet: "A quota, a limit range, a Pod Security level that the application itself violates, or a missing service account is the reason: that is no fault of the mesh; the pods are there by now; or the " +
			"last attempt is longer ago than the controllers' longest pause.",
		Remedy: []diagnose.Step{
			{If: "webhook", Text: "Find out why webhook {{webhook}} can't be called, or why it refuses: the causes of the area webhook say so, where there is evidence of them"},
			{If: "webhook", Text: "Which configuration is it of, and where does it call?", Command: "kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations -o 'custom-columns=NAME:.metadata.name,WEBHOOKS:.webhooks[*].name,SERVICE:.webhooks[*].clientConfig.service.name,URL:.webhooks[*].clientConfig.url'"},
			{If: "security", Text: "The sidecar's {{security}} needs NET_ADMIN and NET_RAW, and the namespace's Pod Security level forbids them. Use the CNI plugin, with which no container of a pod needs them; the managed mesh comes with it"},
			{If: "security", Text: "Or allow it in this namespace: the level privileged, which allows everything to all of its pods", Command: "kubectl label namespace {{namespace}} pod-security.kubernetes.io/enforce=privileged --overwrite"},
			{If: "twice", Text: "The pod has a container of the mesh twice: two injectors change it, or the manifest already holds an injected sidecar. Take {{twice}} out of the template, or let one injector alone select the pod"},
			{If: "kind", Text: "See the events of the latest attempts", Command: "kubectl -n {{namespace}} describe {{kind}} {{name}}"},
			{Unless: "kind", Text: "See which workloads fail to create pods", Command: "kubectl get events -A --field-selector reason=FailedCreate"},
			{If: "workload", Text: "Controllers wait longer and longer between attempts: once it is mended, start anew", Command: "kubectl -n {{namespace}} rollout restart {{workload}}"},
		},
		References: []string{"https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-webhook", refProblems, "https://kubernetes.io/docs/concepts/security/pod-security-standards/"},
	},
	Evaluate: replicaSetCreateFailed,
}

// repeats is within what time a controller that can't create a pod tries again: Kubernetes' work queues wait 1,000 seconds at most.
// An event that is older wasn't repeated: what it tells is over.
// https://github.com/kubernetes/client-go/blob/master/util/workqueue/default_rate_limiters.go
const repeats = 20 * time.Minute

// why is why creating failed.
type why int

const (
	whyElse     why = iota // nothing that is known to be the mesh's
	whyWebhook             // a webhook can't be called, or refuses
	whySecurity            // Pod Security refuses what the mesh's containers need
	whyTwice               // a container of the mesh is there twice
)

var (
	webhookName = regexp.MustCompile(`(?:failed calling (?:admission )?webhook|admission webhook) \\?"([^"\\]+)\\?"`)
	// meshContainer finds a container of the mesh in what Pod Security says: container "istio-init" must not include "NET_ADMIN".
	meshContainer = regexp.MustCompile(`containers? [^;]*?\\?"(istio-(?:init|proxy|validation))\\?"[^;]*?must not|initContainers\[\d+\]\.securityContext\.capabilities\.add: Invalid value: \\?"(NET_ADMIN|NET_RAW)\\?"`)
	duplicate     = regexp.MustCompile(`Duplicate value: \\?"(istio-(?:init|proxy|validation))\\?"`)
	attempted     = regexp.MustCompile(`\bexceeded quota|quota evaluation|LimitRange|maximum |minimum |violates PodSecurity|unable to validate against any security policy|error looking up service account|serviceaccounts? .* not found`)
)

// judge tells why creating a pod failed; name is the webhook's, or the container's. other says what it is where it isn't the mesh.
func judge(message string) (w why, name, other string) {
	if m := webhookName.FindStringSubmatch(message); m != nil {
		return whyWebhook, m[1], ""
	}
	if m := duplicate.FindStringSubmatch(message); m != nil {
		return whyTwice, m[1], ""
	}
	if strings.Contains(message, "violates PodSecurity") || strings.Contains(message, "security policy") {
		if m := meshContainer.FindStringSubmatch(message); m != nil {
			return whySecurity, cmp.Or(m[1], kube.InitContainer), ""
		}
		return whyElse, "", "a Pod Security level or policy"
	}
	switch {
	case strings.Contains(message, "quota"):
		return whyElse, "", "a quota"
	case strings.Contains(message, "service account") || strings.Contains(message, "serviceaccount"):
		return whyElse, "", "a missing service account"
	case attempted.MatchString(message):
		return whyElse, "", "a limit range"
	}
	return whyElse, "", "something outside the mesh"
}

func replicaSetCreateFailed(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	others := map[string]bool{}
	at := map[[3]string]int{}
	for _, b := range s.batches {
		for i := range b.Items {
			e := &b.Items[i]
			if e.Reason != "FailedCreate" || !s.ours(e) || over(e, b.Source) || s.made(e, b.Source) {
				continue
			}
			w, name, other := judge(e.Message)
			if w == whyElse {
				others[fmt.Sprintf("%s (%s)", other, e.Involved)] = true
				continue
			}
			c := s.createCause(e, b.Source, w, name)
			k := [3]string{c.Key, c.Subject, c.Summary}
			if j, ok := at[k]; ok {
				if len(out[j].Evidence) < maxExhibits {
					out[j].Evidence = append(out[j].Evidence, c.Evidence...)
				}
				continue
			}
			at[k] = len(out)
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		out = s.createLogged(others)
	}
	if len(out) > 0 {
		slices.SortFunc(out, func(a, b diagnose.Cause) int {
			return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Summary, b.Summary))
		})
		if n := len(out) - maxCauses; n > 0 {
			out = out[:maxCauses]
			out[maxCauses-1].Summary += fmt.Sprintf(" (%d more like it are not listed)", n)
		}
		return out, nil
	}
	switch {
	case len(others) > 0:
		var l []string
		for o := range others {
			l = append(l, o)
		}
		slices.Sort(l)
		return nil, diagnose.Skip("pods can't be created for %s: that is no fault of the mesh", cut(strings.Join(l, ", "), maxExcerpt))
	case s.eventsErr == nil:
		return nil, nil
	case notAsked(s.eventsErr) && s.logsErr == nil:
		return nil, nil
	}
	return nil, s.eventsErr
}

// ours says whether an event is about a workload that the request asks about.
func (s *survey) ours(e *kube.Event) bool {
	t := s.req.Target
	ns := cmp.Or(e.Involved.Namespace, e.Namespace, t.Namespace)
	switch {
	case t.Namespace != "" && ns != t.Namespace, t.Namespace == "" && cluster.System(ns):
		return false
	case t.Workload != "":
		_, name, _ := strings.Cut(t.Workload, "/")
		return e.Involved.Kind+"/"+e.Involved.Name == t.Workload || s.maker(e) == t.Workload || (s.find(e) == nil && strings.HasPrefix(e.Involved.Name, name+"-"))
	case t.Pod != "":
		return e.Involved.Name == t.Pod || strings.HasPrefix(t.Pod, e.Involved.Name+"-")
	}
	return true
}

// over says whether an event of the live cluster would have come again by now, were it still so.
func over(e *kube.Event, src evidence.Source) bool {
	return !src.Pasted && !e.Last.IsZero() && !src.Time.IsZero() && src.Time.Sub(e.Last) > repeats
}

// find gives the workload that an event is about; nil where it isn't known.
func (s *survey) find(e *kube.Event) *kube.Workload {
	i := slices.IndexFunc(s.workloads, func(w kube.Workload) bool {
		return w.Kind == e.Involved.Kind && w.Name == e.Involved.Name && (e.Involved.Namespace == "" || w.Namespace == e.Involved.Namespace)
	})
	if i < 0 {
		return nil
	}
	return &s.workloads[i]
}

// made says whether the workload has all its pods by now, or wants none any more.
func (s *survey) made(e *kube.Event, src evidence.Source) bool {
	w := s.find(e)
	if w == nil || src.Pasted != (w.Origin != "") {
		return false // what the two say is of different times
	}
	switch w.Kind {
	case "ReplicaSet", "StatefulSet", "ReplicationController":
		return w.Spec.Replicas != nil && w.Status.Replicas >= *w.Spec.Replicas
	case "Job":
		return w.Status.Active+w.Status.Succeeded > 0
	}
	return false
}

// maker gives what people call the workload: of a Deployment's ReplicaSet the Deployment.
func (s *survey) maker(e *kube.Event) string {
	own := e.Involved.Kind + "/" + e.Involved.Name
	if w := s.find(e); w != nil {
		if o := w.Controller(); o != nil {
			return o.Kind + "/" + o.Name
		}
		return own
	}
	// A Deployment names its ReplicaSets after itself and a hash of eight to ten of these letters.
	if m := setName.FindStringSubmatch(e.Involved.Name); m != nil && e.Involved.Kind == "ReplicaSet" {
		return "Deployment/" + m[1]
	}
	return own
}

var setName = regexp.MustCompile(`^(.+)-[bcdfghjklmnpqrstvwxz2456789]{6,10}$`)

func (s *survey) createCause(e *kube.Event, src evidence.Source, w why, name string) diagnose.Cause {
	ns := cmp.Or(e.Involved.Namespace, e.Namespace, s.req.Target.Namespace)
	maker := s.maker(e)
	kind, own, _ := strings.Cut(maker, "/")
	c := diagnose.Cause{
		Subject: kind + " " + ref(ns, own), Confidence: diagnose.Confirmed, Params: map[string]string{
			"namespace": ns, "kind": strings.ToLower(e.Involved.Kind), "name": e.Involved.Name, "pod": "", "workload": "",
		},
		Key: strings.TrimSuffix(cluster.NamespaceKey(s.req, ns), "/"),
	}
	switch t := s.req.Target; {
	case maker == t.Workload || t.Pod != "":
		c.Key = ""
	default:
		c.Key = cluster.NamespaceKey(s.req, ns) + "workloads/" + maker
	}
	if w == whyWebhook && s.managedCall(name, e.Message) {
		c.Key = managedKey(c.Key)
	}
	if kind == "Deployment" || kind == "StatefulSet" || kind == "DaemonSet" {
		c.Params["workload"] = strings.ToLower(kind) + "/" + own
	}
	if s.plane.Managed() {
		c.Params["managed"] = s.planeWhy
	}
	c.Summary = createWords(w, name, c.Params)
	times := ""
	if e.Count > 1 {
		times = fmt.Sprintf(" (%d times)", e.Count)
	}
	c.Summary = fmt.Sprintf("%s %s gets no pods: %s%s.", kind, ref(ns, own), c.Summary, times)
	text := e.Involved.String() + ": " + cut(e.Message, maxExcerpt)
	if !e.Last.IsZero() {
		text += "\nlast at " + e.Last.UTC().Format(time.RFC3339)
	}
	c.Evidence = []diagnose.Exhibit{{Fact: evidence.ClusterEvents.Name(), Excerpt: text, Source: src}}
	return c
}

// managedKey is the key of what a managed control plane that can't be called explains (injection/managed-control-plane).
func managedKey(key string) string { return strings.TrimSuffix("managed/"+key, "/") }

// managedCall says whether a failed call was one of the managed control plane's.
func (s *survey) managedCall(webhook, message string) bool {
	return strings.HasSuffix(webhook, ".istio.io") && strings.Contains(message, "failed calling") && !strings.Contains(message, ".svc:") &&
		(s.plane.Managed() || strings.Contains(webhook, "asm-managed") || googles.MatchString(message))
}

// googles finds a webhook's URL that is Google's.
var googles = regexp.MustCompile(`https://[\w.-]+\.(?:googleapis\.com|goog|run\.app)[:/]`)

// createWords says why, and notes it for the remedy.
func createWords(w why, name string, p map[string]string) string {
	switch w {
	case whyWebhook:
		p["webhook"] = name
		return "webhook " + name + " can't be called, or refuses them"
	case whySecurity:
		p["security"] = name
		return "Pod Security refuses what container " + name + " of the sidecar needs"
	default:
		p["twice"] = name
		return "container " + name + " is in them twice"
	}
}

// createLogged looks at messages alone.
func (s *survey) createLogged(others map[string]bool) []diagnose.Cause {
	var out []diagnose.Cause
	seen := map[string]bool{}
	for _, x := range s.logs {
		for _, l := range x.lines {
			if l.Signature != messages.PodCreateFailed.ID {
				continue
			}
			w, name, other := judge(l.Text)
			if w == whyElse {
				others[fmt.Sprintf("%s (%s)", other, l.File)] = true
				continue
			}
			c := diagnose.Cause{Subject: "the pods that " + x.file + " tells of", Key: "files/" + x.file, Confidence: diagnose.Likely, Params: map[string]string{}}
			if s.req.Target.Namespace != "" {
				c.Key = ""
			}
			if w == whyWebhook && s.managedCall(name, l.Text) {
				c.Key = managedKey(c.Key)
			}
			c.Summary = "Pods can't be created: " + createWords(w, name, c.Params) + "."
			if seen[c.Summary+x.file] {
				continue
			}
			seen[c.Summary+x.file] = true
			c.Evidence = []diagnose.Exhibit{{Fact: evidence.LogMessages.Name(), Excerpt: cut(l.Text, maxExcerpt), Source: l.Source}}
			out = append(out, c)
		}
	}
	return out
}
