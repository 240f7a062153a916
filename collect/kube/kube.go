// Package kube collects evidence from a Kubernetes cluster, through its API server: what the namespace asked about holds, the
// admission webhooks and what is behind them, the mesh's control plane, and logs.
//
// It only reads. A list is read page by page into the slim types of evidence/kube, and one that couldn't be read to its end is
// never taken for a short one. What the API server refuses becomes an evidence.Denied that names the rule to add; that a kind
// isn't installed is knowledge, and told apart from a server that just doesn't find the path.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// collectorName is the collector that reports show as the source.
	collectorName = "kube"
	// collectorTimeout bounds one collector: forty pages of a list, or two answers that only just came in time.
	collectorTimeout = 20 * time.Second
	// defaultCallTimeout bounds one answer. An API server needs about 0.2 s for a page of 500 pods; 10 MB of them take the rest
	// on a slow line.
	defaultCallTimeout = 8 * time.Second
	// defaultRetryDelay is the first pause before another try, doubled each time.
	defaultRetryDelay = 200 * time.Millisecond
	// rootNamespace is where the mesh's control plane and its configuration for all namespaces are.
	rootNamespace = "istio-system"
)

// Config says how to reach the cluster.
type Config struct {
	// Kubeconfig is a file; "" looks where kubectl looks: $KUBECONFIG, ~/.kube/config, and then the cluster that the program
	// runs in.
	Kubeconfig string
	// PodExec allows to run `pilot-agent request GET` in the proxy's container of the pod asked about.
	PodExec bool
	// Scanner looks for known messages in logs and events; nil reads no logs.
	Scanner *logscan.Scanner
	// CallTimeout bounds one answer, RetryDelay is the first pause before another try; 0 takes the defaults, 8 s and 200 ms.
	CallTimeout, RetryDelay time.Duration
	Logger                  *slog.Logger // nil logs nothing
	// Observe, if not nil, is told of every exchange with an API server: "kubernetes", and how it ended ("200", "403", "error").
	// It is called from several goroutines.
	Observe func(api, code string)
	Now     func() time.Time // nil takes time.Now
}

// API reads the API servers of a kubeconfig's clusters. It may be used by several goroutines.
type API struct {
	cfg Config
	clusters
}

// New reads the kubeconfig; it contacts nobody. The error says what is wrong with a file that was named. One that wasn't, and
// is there and can't be read, is an error of the requests that ask about a cluster.
func New(cfg Config) (*API, error) {
	if cfg.CallTimeout <= 0 {
		cfg.CallTimeout = defaultCallTimeout
	}
	if cfg.RetryDelay <= 0 {
		cfg.RetryDelay = defaultRetryDelay
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &API{cfg: cfg}
	if err := a.load(cfg.Kubeconfig); err != nil {
		return nil, err
	}
	return a, nil
}

// Collectors gives the collectors: one a fact, so that one denial hides nothing else, and only what is needed is asked.
func (a *API) Collectors() []diagnose.Collector {
	webhooks := []evidence.Name{evidence.MutatingWebhooks.Name(), evidence.ValidatingWebhooks.Name()}
	logs := evidence.LogMessages.Name()
	out := []diagnose.Collector{
		a.collector("namespaces", (*step).namespaces, evidence.Namespaces.Name()),
		namespaced(a.collector("pods", (*step).pods, evidence.Pods.Name())),
		namespaced(needing(a.collector("workloads", (*step).workloads, evidence.Workloads.Name()), evidence.ClusterEvents.Name())),
		namespaced(a.collector("events", (*step).events, evidence.ClusterEvents.Name())),
		a.collector("mutating-webhooks", (*step).mutating, evidence.MutatingWebhooks.Name()),
		a.collector("validating-webhooks", (*step).validating, evidence.ValidatingWebhooks.Name()),
		needing(a.collector("services", (*step).services, evidence.ClusterServices.Name()), webhooks...),
		needing(a.collector("endpoint-slices", (*step).slices, evidence.EndpointSlices.Name()), webhooks...),
		needing(a.collector("istiod-pods", (*step).istiodPods, evidence.ControlPlanePods.Name()), webhooks...),
		needing(a.collector("istiod-deployments", (*step).istiodDeployments, evidence.ControlPlaneWorkloads.Name()), webhooks...),
		a.collector("cluster-roles", (*step).clusterRoles, evidence.ClusterRoles.Name()),
		needing(a.collector("config-maps", (*step).configMaps, evidence.ConfigMaps.Name()), evidence.Namespaces.Name()),
		a.collector("control-plane-revisions", (*step).revisions, evidence.ControlPlaneRevisions.Name()),
		a.collector("data-plane-controls", (*step).dataPlanes, evidence.DataPlaneControls.Name()),
		a.collector("envoy-filters", (*step).envoyFilters, evidence.EnvoyFilters.Name()),
		a.collector("peer-authentications", (*step).peerAuthentications, evidence.PeerAuthentications.Name()),
		a.collector("destination-rules", (*step).destinationRules, evidence.DestinationRules.Name()),
		a.collector("authorization-policies", (*step).authorizationPolicies, evidence.AuthorizationPolicies.Name()),
		needing(a.collector("certificates", (*step).certificates, evidence.ServingCertificates.Name()),
			append(webhooks, evidence.ClusterServices.Name(), evidence.EndpointSlices.Name())...),
		namespaced(needing(a.collector("match-conditions", (*step).matchConditions, evidence.MatchConditions.Name()),
			append(webhooks, evidence.Pods.Name(), evidence.Workloads.Name())...)),
	}
	if a.cfg.Scanner != nil {
		out = append(out,
			needing(a.collector("messages", (*step).messages, logs), said()...),
			needing(a.collector("istiod-logs", (*step).istiodLogs, logs), evidence.ControlPlanePods.Name()),
			namespaced(needing(a.collector("pod-logs", (*step).podLogs, logs), evidence.Pods.Name(), evidence.Workloads.Name())))
	}
	if a.cfg.PodExec {
		c := needing(a.collector("pod-exec", (*step).podExec, execFacts()...), evidence.Pods.Name(), evidence.Workloads.Name())
		applies := c.Applies
		c.Applies = func(r diagnose.Request) bool { return (r.Target.Pod != "" || r.Target.Workload != "") && applies(r) }
		out = append(out, c)
	}
	return out
}

// step is one collector's work: the cluster is the one that the request names.
type step struct {
	*cluster
	req  diagnose.Request
	view *evidence.View
	set  *evidence.Set
}

func (a *API) collector(name string, f func(*step, context.Context) error, provides ...evidence.Name) diagnose.Collector {
	return diagnose.Collector{
		Name: collectorName + "/" + name, Provides: provides, Timeout: collectorTimeout,
		Applies: func(r diagnose.Request) bool { return r.Target.Kubernetes() && a.Configured() },
		Collect: func(ctx context.Context, r diagnose.Request, v *evidence.View, s *evidence.Set) error {
			if err := checkNames(r.Target); err != nil {
				return err
			}
			c, err := a.cluster(r.Target.Cluster)
			if err != nil {
				return err
			}
			return f(&step{cluster: c, req: r, view: v, set: s}, ctx)
		},
	}
}

// namespaced makes a collector one for requests that name a namespace.
func namespaced(c diagnose.Collector) diagnose.Collector {
	applies := c.Applies
	c.Applies = func(r diagnose.Request) bool { return r.Target.Namespace != "" && applies(r) }
	return c
}

// needing makes a collector wait for facts.
func needing(c diagnose.Collector, needs ...evidence.Name) diagnose.Collector {
	c.Needs = needs
	return c
}

// dnsName is what names of namespaces, pods and workloads are made of (RFC 1123). Nothing else gets into a path.
var dnsName = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)

func checkNames(t diagnose.Target) error {
	for _, n := range []struct{ field, value string }{{"namespace", t.Namespace}, {"pod", t.Pod}} {
		if n.value != "" && !dnsName.MatchString(n.value) {
			return fmt.Errorf("target.kubernetes.%s: %.100q is not a name: lower-case letters, digits, hyphens, dots", n.field, n.value)
		}
	}
	return nil
}

// source gives the source of what one request told: "list pods in namespace shop".
func (s *step) source(acc access) evidence.Source {
	return evidence.Source{Collector: collectorName, Detail: acc.permission(), Vantage: evidence.FromAPI, Time: s.cfg.Now()}
}

// fail records that a fact couldn't be learnt.
func (s *step) fail(ctx context.Context, n evidence.Name, src evidence.Source, err error) {
	s.cfg.Logger.InfoContext(ctx, "could not read from the cluster", "fact", n, "asked", src.Detail, "error", err)
	if ctx.Err() != nil {
		s.set.FailLate(n, src, err)
		return
	}
	s.set.Fail(n, src, err)
}

// putObjects records what a list gave: all, a part and why it is no more, or why it is nothing.
func putObjects[T any](ctx context.Context, s *step, key evidence.Key[[]evidence.Objects[T]], acc access, items []T, err error) {
	src := s.source(acc)
	var part *partialError
	if err == nil || errors.As(err, &part) {
		evidence.Put(s.set, key, []evidence.Objects[T]{{Items: items, Namespace: acc.namespace, Whole: err == nil, Source: src}}, src)
	}
	if err != nil {
		s.fail(ctx, key.Name(), src, err)
	}
}
