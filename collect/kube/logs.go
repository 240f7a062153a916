package kube

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	// logLines and logBytes bound what is read of one container's log: its last 2,000 lines, which are an hour or so of istiod's,
	// and no more than 2 MiB of them.
	logLines, logBytes = 2000, 2 << 20
	// maxIstiods bounds the pods of istiod whose logs are read: each may have served the pod.
	maxIstiods = 5
	// maxAskedPods bounds the pods asked about whose logs are read, where a workload or a namespace is asked about: one that
	// doesn't get ready of each maker.
	maxAskedPods = 5
	// maxContainers bounds the containers of a pod whose logs are read.
	maxContainers = 8
)

// istiodLogs looks for known messages in istiod's logs.
func (s *step) istiodLogs(ctx context.Context) error {
	batches, err := evidence.Get(s.view, evidence.ControlPlanePods)
	if err != nil {
		return fmt.Errorf("which pods are istiod's isn't known: %w", err)
	}
	pods := slices.DeleteFunc(slices.Clone(evidence.All(batches)), func(p kube.Pod) bool { return p.Ended() })
	for i := range pods[:min(len(pods), maxIstiods)] {
		s.podLog(ctx, &pods[i], func(c kube.ContainerStatus) bool { return c.Name == "discovery" })
	}
	if n := len(pods) - maxIstiods; n > 0 {
		s.fail(ctx, evidence.LogMessages.Name(), s.logSource(""), fmt.Errorf("the logs of %d pods of istiod were not read", n))
	}
	return nil
}

// podLogs looks for known messages in the logs of the proxy of the pods asked about, of what runs before it, and of containers
// that ended and were started again.
func (s *step) podLogs(ctx context.Context) error {
	pods, err := s.askedPods()
	if err != nil {
		return fmt.Errorf("which pods are asked about isn't known: %w", err)
	}
	if s.req.Target.Pod == "" {
		pods = slices.DeleteFunc(pods, func(p kube.Pod) bool { return ready(&p) })
		pods = onePerMaker(pods)
	}
	for i := range pods[:min(len(pods), maxAskedPods)] {
		s.podLog(ctx, &pods[i], func(c kube.ContainerStatus) bool {
			switch c.Name {
			case kube.ProxyContainer, kube.InitContainer, kube.ValidationContainer:
				return true
			}
			t := c.State.Terminated
			return c.Restarts > 0 || (t != nil && t.ExitCode != 0)
		})
	}
	return nil
}

// podLog reads the logs of a pod's containers that want picks, of the container before too where it was started again.
func (s *step) podLog(ctx context.Context, p *kube.Pod, want func(kube.ContainerStatus) bool) {
	all := slices.Concat(p.Status.InitContainers, p.Status.Containers)
	all = slices.DeleteFunc(all, func(c kube.ContainerStatus) bool { return !want(c) })
	for _, c := range all[:min(len(all), maxContainers)] {
		s.containerLog(ctx, p, c.Name, false)
		if c.Restarts > 0 {
			s.containerLog(ctx, p, c.Name, true)
		}
	}
}

func (s *step) containerLog(ctx context.Context, p *kube.Pod, container string, previous bool) {
	if !dnsName.MatchString(p.Name) || !dnsName.MatchString(p.Namespace) {
		return
	}
	q := url.Values{"container": {container}, "tailLines": {strconv.Itoa(logLines)}, "limitBytes": {strconv.Itoa(logBytes)}}
	of := "container " + container + " of pod " + p.Ref()
	if previous {
		q.Set("previous", "true")
		of = "the container before, " + container + " of pod " + p.Ref()
	}
	acc := access{what: "the log of " + of, verb: "get", version: "v1", resource: "pods", sub: "log", namespace: p.Namespace, name: p.Name}
	src := s.logSource("log of " + of)
	var text bytes.Buffer
	err := s.get(ctx, acc, q, func(r io.Reader) error {
		text.Reset()
		_, err := text.ReadFrom(io.LimitReader(r, logBytes))
		return err
	})
	switch {
	case hasCode(err, http.StatusBadRequest):
		return // the container has no log: it waits to start, or none came before it
	case err != nil:
		s.fail(ctx, evidence.LogMessages.Name(), src, err)
		return
	}
	found, _, err := s.cfg.Scanner.Scan(&text, src.Detail, src)
	if err != nil {
		s.fail(ctx, evidence.LogMessages.Name(), src, fmt.Errorf("looking for messages: %w", err))
		return
	}
	for i := range found {
		found[i].Source = src
	}
	evidence.Put(s.set, evidence.LogMessages, found, src)
}

func (s *step) logSource(detail string) evidence.Source {
	return evidence.Source{Collector: collectorName, Detail: cmp.Or(detail, "logs of istiod"), Vantage: evidence.FromWorkload, Time: s.cfg.Now()}
}

// ready says whether a pod takes traffic, or has ended and needn't.
func ready(p *kube.Pod) bool {
	c := kube.FindCondition(p.Status.Conditions, "Ready")
	return p.Ended() || (c != nil && c.Status == "True")
}
