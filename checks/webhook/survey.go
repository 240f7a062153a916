package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// hook is one entry of a webhook configuration.
type hook struct {
	config   *kube.WebhookConfiguration
	hook     *kube.Webhook
	injector bool // it puts the mesh's sidecar into pods
	inert    bool // its selectors are made never to match
	source   evidence.Source
}

// server is what webhooks are called at, and what is known of it.
type server struct {
	ref   *kube.ServiceReference // nil for a URL, and where nothing tells it
	url   string                 // outside the cluster
	name  string                 // the webhook's, where only a message names it
	mesh  bool
	hooks []hook // in the order of the configurations
	said  []said
	faults
}

// survey is what is known of every webhook's server.
type survey struct {
	req     diagnose.Request
	view    *evidence.View
	servers []*server
	asked   []kube.Pod // see askedPods
	spaces  []evidence.Objects[kube.Namespace]
	results []evidence.MatchConditionResult

	services    []evidence.Objects[kube.Service]
	endpoints   []evidence.Objects[kube.EndpointSlice]
	pods        []evidence.Objects[kube.Pod] // istiod's, then others
	deployments []evidence.Objects[kube.Workload]
	workloads   []kube.Workload
	roles       []evidence.Objects[kube.ClusterRole]
	certs       []evidence.ServingCertificate
	logs        []evidence.LogMessage

	plane cluster.Plane
	// whole says that every webhook of the cluster is known.
	whole    bool
	hooksErr error // why not all webhooks are known
	// messagesErr says why nothing can be said of messages that weren't seen.
	messagesErr                            error
	servicesErr, slicesErr, deploymentsErr error
}

// look reads the evidence, and puts it together by server.
func look(req diagnose.Request, v *evidence.View) *survey {
	s := &survey{req: req, view: v}
	mutating, merr := evidence.Get(v, evidence.MutatingWebhooks)
	validating, verr := evidence.Get(v, evidence.ValidatingWebhooks)
	_, mwhole := evidence.Whole(v, evidence.MutatingWebhooks)
	_, vwhole := evidence.Whole(v, evidence.ValidatingWebhooks)
	s.whole = mwhole == nil && vwhole == nil && evidence.Covers(mutating, "") && evidence.Covers(validating, "")
	s.hooksErr = firstFailure(mwhole, vwhole)
	if merr != nil && verr != nil && s.hooksErr == nil {
		s.hooksErr = merr
	}
	s.services, s.servicesErr = evidence.Get(v, evidence.ClusterServices)
	s.endpoints, s.slicesErr = evidence.Get(v, evidence.EndpointSlices)
	s.deployments, s.deploymentsErr = evidence.Get(v, evidence.ControlPlaneWorkloads)
	s.roles, _ = evidence.Get(v, evidence.ClusterRoles)
	s.certs, _ = evidence.Get(v, evidence.ServingCertificates)
	s.spaces, _ = evidence.Get(v, evidence.Namespaces)
	s.results, _ = evidence.Get(v, evidence.MatchConditions)
	workloads, _ := evidence.Get(v, evidence.Workloads)
	s.workloads = evidence.All(workloads)
	istiods, _ := evidence.Get(v, evidence.ControlPlanePods)
	pods, _ := evidence.Get(v, evidence.Pods)
	s.pods = slices.Concat(istiods, pods)
	var tally evidence.Tally
	s.logs, _ = evidence.Read(&tally, v, evidence.LogMessages)
	events, _ := evidence.Read(&tally, v, evidence.ClusterEvents)
	s.messagesErr = tally.Err()
	s.plane, _ = cluster.ControlPlane(v)

	s.readHooks(mutating)
	s.readHooks(validating)
	list := s.withReasons(readMessages(req, s.logs, events))
	// Messages that say where a webhook was called tell what those are about that don't.
	slices.SortStableFunc(list, func(a, b said) int { return cmp.Compare(a.vague(), b.vague()) })
	for _, m := range list {
		if s.managed(m) {
			continue
		}
		u := s.serverOf(m)
		u.said = append(u.said, m)
	}
	slices.SortStableFunc(s.servers, func(a, b *server) int {
		rank := func(u *server) int {
			if u.mesh {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.id(), b.id()))
	})
	for _, u := range s.servers {
		s.judge(u)
	}
	return s
}

// firstFailure gives the first error that isn't that nobody was asked.
func firstFailure(errs ...error) error {
	for _, err := range errs {
		if err != nil && !notAsked(err) {
			return err
		}
	}
	return nil
}

func notAsked(err error) bool {
	var m *evidence.Missing
	return errors.As(err, &m) && m.Why == evidence.NotAsked
}

// askedPods gives the pods whose creation is asked about, one of each maker: those that are, those that templates would make, and
// one without labels, for a namespace that has none yet. Thousands of pods are looked at only where it matters.
func (s *survey) askedPods() []kube.Pod {
	if s.asked != nil {
		return s.asked
	}
	pods, _ := cluster.Pods(s.req, s.view)
	templates, _ := cluster.Templates(s.req, s.view)
	seen := map[string]bool{}
	for _, list := range [][]kube.Pod{pods, templates} {
		for i := range list {
			maker := cluster.Maker(&list[i])
			if maker == "" || !seen[maker] {
				seen[maker] = true
				s.asked = append(s.asked, list[i])
			}
		}
	}
	if len(s.asked) == 0 {
		s.asked = []kube.Pod{{Meta: kube.Meta{Namespace: s.req.Target.Namespace}}}
	}
	return s.asked
}

// readHooks takes up the entries of configurations. One that several sources tell is taken from the first, which is the live one.
func (s *survey) readHooks(batches []evidence.Objects[kube.WebhookConfiguration]) {
	from := map[string]int{}
	inert := map[*kube.Webhook]bool{}
	for _, in := range cluster.Injectors(batches) {
		inert[in.Hook] = in.Deactivated
	}
	for n, b := range batches {
		for i := range b.Items {
			c := &b.Items[i]
			if first, ok := from[c.Name]; ok && first != n {
				continue
			}
			from[c.Name] = n
			for j := range c.Webhooks {
				w := &c.Webhooks[j]
				h := hook{config: c, hook: w, injector: cluster.IsInjector(c, w), inert: inert[w], source: b.Source}
				u := s.server(w.Client.Service, w.Client.URL, "")
				u.hooks = append(u.hooks, h)
				u.mesh = u.mesh || h.injector || meshNames(w.Name, w.Client.Service) || (c.Labels["app"] == "istiod")
			}
		}
	}
}

// meshNames says whether a webhook's name, or its Service's, is one that Istio gives: its injectors, its validators of every
// release, and what ran them before istiod.
func meshNames(webhook string, ref *kube.ServiceReference) bool {
	if strings.HasSuffix(webhook, injectorSuffix) || strings.HasSuffix(webhook, validatorSuffix) ||
		slices.Contains([]string{"pilot.validation.istio.io", "mixer.validation.istio.io"}, webhook) {
		return true
	}
	return ref != nil && (ref.Name == "istiod" || strings.HasPrefix(ref.Name, "istiod-") || ref.Name == "istio-sidecar-injector" || ref.Name == "istio-galley")
}

const (
	injectorSuffix  = "sidecar-injector.istio.io" // ends the names of the webhooks that inject the sidecar
	validatorSuffix = "validation.istio.io"       // and of those that validate Istio's configuration
)

// server gives the server of a Service, a URL, or, where neither is known, of a webhook's name.
func (s *survey) server(ref *kube.ServiceReference, address, name string) *server {
	u := &server{ref: ref, url: host(address), name: name}
	if ref != nil {
		u.url, u.name = "", ""
	} else if address != "" {
		u.name = ""
	}
	if i := slices.IndexFunc(s.servers, func(x *server) bool { return x.id() == u.id() }); i >= 0 {
		return s.servers[i]
	}
	s.servers = append(s.servers, u)
	return u
}

// host gives a URL's scheme and host, its whole text where it can't be read.
func host(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return address
}

// id tells servers apart.
func (u *server) id() string {
	switch {
	case u.ref != nil:
		return u.service()
	case u.url != "":
		return u.url
	default:
		return "webhook " + u.name
	}
}

// service names the Service, with its port where that isn't 443: "istio-system/istiod".
func (u *server) service() string {
	name := u.ref.Namespace + "/" + u.ref.Name
	if p := u.ref.PortNumber(); p != defaultPort {
		name += fmt.Sprintf(":%d", p)
	}
	return name
}

// defaultPort is where a webhook is called that names no port.
const defaultPort = 443

// serverOf gives the server that a message is about. One that names the webhook alone is about the server of the webhook of that
// name, where there is one only.
func (s *survey) serverOf(m said) *server {
	if m.kind == patchForbidden || m.kind == handshakeBroken {
		return s.ofIstiod(m)
	}
	var ref *kube.ServiceReference
	if m.service != "" {
		ref = &kube.ServiceReference{Namespace: m.namespace, Name: m.service}
		if u, err := url.Parse(m.url); err == nil && u.Port() != "" {
			var port int
			if _, err := fmt.Sscan(u.Port(), &port); err == nil {
				ref.Port = &port
			}
		}
	}
	if ref == nil && m.alone {
		u := s.server(nil, "", "of istiod's")
		u.mesh = true
		return u
	}
	if ref == nil && m.url == "" {
		var found []*server
		for _, u := range s.servers {
			if u.calls(m.webhook) {
				found = append(found, u)
			}
		}
		if len(found) == 1 {
			return found[0]
		}
	}
	u := s.server(ref, m.url, cmp.Or(m.webhook, "that is not named"))
	u.mesh = u.mesh || meshNames(m.webhook, ref)
	return u
}

// calls says whether a webhook of a name is known to be called at the server.
func (u *server) calls(webhook string) bool {
	return webhook != "" && (slices.ContainsFunc(u.hooks, func(h hook) bool { return h.hook.Name == webhook }) ||
		slices.ContainsFunc(u.said, func(m said) bool { return m.webhook == webhook }))
}

// ofIstiod gives the server that a line of istiod's own log is about: that of the configuration it names, or the only one of the
// mesh, else one of its own.
func (s *survey) ofIstiod(m said) *server {
	var found []*server
	for _, u := range s.servers {
		if u.ref == nil || !u.mesh {
			continue
		}
		if m.kind == handshakeBroken || slices.ContainsFunc(u.hooks, func(h hook) bool { return h.config.Name == m.configuration }) {
			found = append(found, u)
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	name := m.configuration
	if m.kind == handshakeBroken {
		name = "server whose log is " + cmp.Or(m.file, "pasted")
	}
	u := s.server(nil, "", name)
	u.mesh = true
	return u
}

// calls says whether an entry is called for the pods that are asked about; where none are, for any pod.
func (s *survey) calls(h hook) bool {
	t := s.req.Target
	if !podHook(h) {
		return false
	}
	if t.Namespace == "" {
		in := cluster.Injector{Config: h.config, Hook: h.hook, Revision: cluster.Revision(&h.config.Meta), Tag: h.config.Labels[kube.LabelTag]}
		return t.Revision == "" || !h.injector || in.Serves(t.Revision)
	}
	ns, _ := cluster.FindNamespace(s.spaces, t.Namespace)
	asked := s.askedPods()
	for i := range asked {
		p := &asked[i]
		if h.hook.Calls(kube.CreatePod(p, ns), cluster.Conditions(p, h.config, h.hook, s.results)).Answer != kube.No {
			return true
		}
	}
	return false
}

// live says whether the entry is what the API server has now, not a file's word.
func (h hook) live() bool { return !h.source.Pasted }

// stored says whether the configuration was read out of a cluster, rather than written to be applied to one.
func (h hook) stored() bool {
	return h.live() || h.config.UID != "" || h.config.ResourceVersion != "" || !h.config.Created.IsZero()
}

// kind names the configuration's kind as kubectl takes it.
func (h hook) kind() string {
	if h.config.Mutating() {
		return "mutatingwebhookconfiguration"
	}
	return "validatingwebhookconfiguration"
}

// managed says whether a failed call is of the managed control plane's, which is Google's to see to: injection/managed-control-plane
// tells of it. Those are webhooks that are URLs in the cluster, and Istio's at URLs of Google's.
func (s *survey) managed(m said) bool {
	if m.kind == denied || m.service != "" || !strings.HasSuffix(m.webhook, ".istio.io") {
		return false
	}
	known := slices.ContainsFunc(s.servers, func(u *server) bool {
		return u.url != "" && slices.ContainsFunc(u.hooks, func(h hook) bool { return h.injector && h.hook.Name == m.webhook })
	})
	return known || strings.Contains(m.webhook, "asm-managed") ||
		slices.ContainsFunc([]string{".googleapis.com", ".goog", ".run.app"}, func(x string) bool {
			return strings.Contains(m.url, x+"/") || strings.Contains(m.url, x+":")
		})
}
