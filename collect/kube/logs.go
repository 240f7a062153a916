package kube

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	// logLines and logBytes bound what is read of one container's log: its last 2,000 lines, which are an hour or so of istiod's,
	// and no more than 2 MiB of them.
	logLines, logBytes = 2000, 2 << 20
	// startBytes bounds what is read of a container's log from its beginning, where it tells of the container's start.
	startBytes = 256 << 10
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
		return without("which pods are istiod's", err)
	}
	pods := slices.DeleteFunc(slices.Clone(evidence.All(batches)), func(p kube.Pod) bool { return p.Ended() })
	for i := range pods[:min(len(pods), maxIstiods)] {
		s.podLog(ctx, &pods[i], func(c kube.ContainerStatus) part {
			if c.Name == "discovery" {
				return end
			}
			return none
		})
	}
	if n := len(pods) - maxIstiods; n > 0 {
		s.fail(ctx, evidence.LogMessages.Name(), s.logSource(""), fmt.Errorf("the logs of %d pods of istiod were not read", n))
	}
	return nil
}

// podLogs looks for known messages in the logs of the proxy of the pods asked about, of what runs before it, of containers that ended
// and were started again, and in how the others' logs begin: an application that connects too early says so there.
func (s *step) podLogs(ctx context.Context) error {
	pods, err := s.askedPods()
	if err != nil {
		return without("which pods are asked about", err)
	}
	if s.req.Target.Pod == "" {
		pods = slices.DeleteFunc(pods, func(p kube.Pod) bool { return ready(&p) })
		pods = onePerMaker(pods)
	}
	for i := range pods[:min(len(pods), maxAskedPods)] {
		s.podLog(ctx, &pods[i], startOf)
	}
	return nil
}

// part is what is read of a container's log.
type part int

const (
	none  part = iota
	begin      // how it begins
	end        // how it ends
	both       // how it ends, and how it begins where that isn't in it
)

// startOf gives what of a container's log tells of its pod's start.
func startOf(c kube.ContainerStatus) part {
	switch t := c.State.Terminated; {
	case c.Name == kube.ProxyContainer, c.Restarts > 0:
		return both
	case c.Name == kube.InitContainer, c.Name == kube.ValidationContainer, t != nil && t.ExitCode != 0:
		return end
	case t != nil || c.State.Running == nil:
		return none // it ended well, or hasn't begun
	default:
		return begin
	}
}

// podLog reads the logs of a pod's containers, of the container before too where it was started again.
func (s *step) podLog(ctx context.Context, p *kube.Pod, want func(kube.ContainerStatus) part) {
	all := slices.Concat(p.Status.InitContainers, p.Status.Containers)
	all = slices.DeleteFunc(all, func(c kube.ContainerStatus) bool { return want(c) == none })
	for _, c := range all[:min(len(all), maxContainers)] {
		s.containerLog(ctx, p, c.Name, false, want(c))
		if c.Restarts > 0 {
			s.containerLog(ctx, p, c.Name, true, want(c))
		}
	}
}

func (s *step) containerLog(ctx context.Context, p *kube.Pod, container string, previous bool, want part) {
	if !dnsName.MatchString(p.Name) || !dnsName.MatchString(p.Namespace) {
		return
	}
	// The kubelet's times make one time line of what several containers say; an application's own may be of another zone.
	q := url.Values{"container": {container}, "timestamps": {"true"}}
	of := "container " + container + " of pod " + p.Ref()
	if previous {
		q.Set("previous", "true")
		of = "the container before, " + container + " of pod " + p.Ref()
	}
	acc := access{what: "the log of " + of, verb: "get", version: "v1", resource: "pods", sub: "log", namespace: p.Namespace, name: p.Name}
	src := s.logSource("log of " + of)
	var text []byte
	var err error
	if want != begin {
		text, err = s.logText(ctx, acc, q, logLines, logBytes)
		if len(text) < logBytes && bytes.Count(text, []byte("\n")) < logLines {
			want = end // that is all of it
		}
	}
	if want != end && err == nil {
		var first []byte
		first, err = s.logText(ctx, acc, q, 0, startBytes)
		text = append(first, text...)
	}
	switch {
	case hasCode(err, http.StatusBadRequest):
		return // the container has no log: it waits to start, or none came before it
	case err != nil:
		s.fail(ctx, evidence.LogMessages.Name(), src, err)
		return
	}
	found, _, err := s.cfg.Scanner.Scan(bytes.NewReader(text), src.Detail, src)
	if err != nil {
		s.fail(ctx, evidence.LogMessages.Name(), src, fmt.Errorf("looking for messages: %w", err))
		return
	}
	for i := range found {
		found[i].Source = src
	}
	evidence.Put(s.set, evidence.LogMessages, found, src)
}

// logText reads a log's last lines, or, where lines is 0, how it begins: no more of it than most bytes.
func (s *step) logText(ctx context.Context, acc access, q url.Values, lines, most int) ([]byte, error) {
	q = maps.Clone(q)
	q.Set("limitBytes", strconv.Itoa(most))
	if lines > 0 {
		q.Set("tailLines", strconv.Itoa(lines))
	}
	var text bytes.Buffer
	err := s.get(ctx, acc, q, func(r io.Reader) error {
		text.Reset()
		_, err := text.ReadFrom(io.LimitReader(r, int64(most)))
		return err
	})
	b := timed(text.Bytes())
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return b, err
}

// timed puts the time that the kubelet writes before a line into the line where that is a JSON object: there it is looked for.
func timed(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		at, rest, ok := bytes.Cut(line, []byte(" "))
		if _, err := time.Parse(time.RFC3339Nano, string(at)); ok && err == nil && len(rest) > 1 && rest[0] == '{' && rest[1] == '"' {
			out = append(out, `{"timestamp":"`...)
			out = append(out, at...)
			out = append(out, `",`...)
			out = append(out, rest[1:]...)
			continue
		}
		out = append(out, line...)
	}
	return out
}

func (s *step) logSource(detail string) evidence.Source {
	return evidence.Source{Collector: collectorName, Detail: cmp.Or(detail, "logs of istiod"), Vantage: evidence.FromWorkload, Time: s.cfg.Now()}
}

// ready says whether a pod takes traffic, or has ended and needn't.
func ready(p *kube.Pod) bool {
	c := kube.FindCondition(p.Status.Conditions, "Ready")
	return p.Ended() || (c != nil && c.Status == "True")
}
