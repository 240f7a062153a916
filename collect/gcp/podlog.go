package gcp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	logging "google.golang.org/api/logging/v2"

	"github.com/meshdiag/meshdiag/collect/kubefacts"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	// podWindow is how far back the log of one pod is read. Its events live an hour in the cluster, and its containers' logs as
	// long as the containers: a pod that failed in the night is asked about in the morning. Of a whole namespace, what is older
	// than [logWindow] may long have been mended.
	podWindow = 24 * time.Hour
	// maxPodEntries bounds the entries read of each of the two logs, the latest.
	maxPodEntries = 1000
)

var (
	kubeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	// gkeContext is how gcloud names kubeconfig contexts: gke_PROJECT_LOCATION_CLUSTER.
	gkeContext = regexp.MustCompile(`^gke_([a-z0-9.:-]+)_([a-z0-9-]+)_([a-z0-9-]+)$`)
)

// podTarget is what of a cluster is to be read.
type podTarget struct {
	project, cluster, location, namespace string
	pod                                   string
	workload                              string // its name
	since                                 time.Time
}

// podTarget gives it, or an error where a name can't be one: names go into a filter.
func (a *API) podTarget(t diagnose.Target) (podTarget, error) {
	p := podTarget{project: t.Project, namespace: t.Namespace, pod: t.Pod, since: a.cfg.Now().Add(-logWindow)}
	if t.Pod != "" {
		p.since = a.cfg.Now().Add(-podWindow)
	}
	if _, name, ok := kube.SplitWorkload(t.Workload); ok {
		p.workload = name
	}
	for _, n := range []struct{ field, value string }{{"target.namespace", p.namespace}, {"target.pod", p.pod}, {"target.workload", p.workload}} {
		if n.value != "" && !kubeName.MatchString(n.value) {
			return p, fmt.Errorf("%s: %.100q is not a name: lower case letters, digits, hyphens, dots", n.field, n.value)
		}
	}
	if m := gkeContext.FindStringSubmatch(t.Cluster); m != nil {
		p.location, p.cluster = m[2], m[3]
	}
	return p, nil
}

// of gives the terms of a filter that hold for what is asked about; the arguments are the names of the fields. A workload's pods
// begin with its name.
func (p podTarget) of(namespace, name string) string {
	s := fmt.Sprintf(`%s="%s"`, namespace, p.namespace)
	switch {
	case p.pod != "":
		s += fmt.Sprintf(` AND %s="%s"`, name, p.pod)
	case p.workload != "":
		s += fmt.Sprintf(` AND %s=~"^%s($|-)"`, name, strings.ReplaceAll(p.workload, ".", "[.]"))
	}
	return s
}

// place gives the terms that hold for the cluster, where its name is known.
func (p podTarget) place() string {
	s := fmt.Sprintf(`timestamp>="%s"`, p.since.UTC().Format(time.RFC3339))
	if p.cluster != "" {
		s += fmt.Sprintf(` AND resource.labels.cluster_name="%s"`, p.cluster)
	}
	return s
}

// logFilter asks for what the mesh's containers complain of, and for what any container says of refused connections and of the
// proxy. Clusters of before 2019 write the resource "container", with other labels.
// https://docs.cloud.google.com/monitoring/api/resources#tag_k8s_container
func (p podTarget) logFilter() string {
	return p.place() + ` AND ((resource.type="k8s_container" AND ` + p.of("resource.labels.namespace_name", "resource.labels.pod_name") +
		`) OR (resource.type="container" AND ` + p.of("resource.labels.namespace_id", "resource.labels.pod_id") +
		`)) AND ((resource.labels.container_name=("istio-proxy" OR "istio-init" OR "istio-validation" OR "discovery") AND severity>=WARNING)` +
		` OR "Envoy proxy is" OR "connection refused" OR "ECONNREFUSED" OR "pilot-agent" OR "iptables" OR "xDS" OR "failed calling webhook")`
}

// eventFilter asks for the cluster's events.
// https://docs.cloud.google.com/kubernetes-engine/docs/how-to/view-logs
func (p podTarget) eventFilter() string {
	return fmt.Sprintf(`logName="projects/%s/logs/events" AND `, p.project) + p.place() + " AND " +
		p.of("jsonPayload.involvedObject.namespace", "jsonPayload.involvedObject.name")
}

func (p podTarget) title() string {
	switch {
	case p.pod != "":
		return "pod " + p.namespace + "/" + p.pod
	case p.workload != "":
		return "the pods of " + p.namespace + "/" + p.workload
	}
	return "the pods of namespace " + p.namespace
}

// podEntries reads the latest entries that a filter chooses.
func (a *API) podEntries(ctx context.Context, p podTarget, what, filter string) ([]*logging.LogEntry, error) {
	acc := access{
		what: fmt.Sprintf("%s of %s in Cloud Logging of project %s", what, p.title(), p.project), method: logMethod, project: p.project,
		permission: "logging.logEntries.list", role: "roles/logging.viewer",
	}
	var entries []*logging.LogEntry
	err := a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
		c, err := a.logging()
		if err != nil {
			return "", err
		}
		l, err := c.Entries.List(&logging.ListLogEntriesRequest{
			ResourceNames: []string{"projects/" + p.project}, Filter: filter, OrderBy: "timestamp desc", PageSize: logPage, PageToken: token,
		}).Context(ctx).Do()
		if err != nil {
			return "", err
		}
		for _, e := range l.Entries {
			if e != nil {
				entries = append(entries, e)
			}
		}
		if len(entries) >= maxPodEntries {
			return "", nil
		}
		return l.NextPageToken, nil
	})
	return entries[:min(len(entries), maxPodEntries)], err
}

// collectPodLog looks for known messages in what the pods' containers logged. Each container's is a log of its own.
func (a *API) collectPodLog(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	name := evidence.LogMessages.Name()
	p, err := a.podTarget(req.Target)
	var entries []*logging.LogEntry
	if err == nil {
		entries, err = a.podEntries(ctx, p, "the log", p.logFilter())
	}
	if err != nil {
		a.fail(ctx, set, name, logMethod, err)
		return nil
	}
	logs := map[string][]*logging.LogEntry{}
	for _, e := range entries {
		c := container(e)
		logs[c] = append(logs[c], e)
	}
	src := a.source(logMethod)
	found := []evidence.LogMessage{}
	for _, c := range slices.Sorted(maps.Keys(logs)) {
		of := a.source(logMethod + " (" + c + ")")
		m, _, err := a.cfg.Scanner.Scan(strings.NewReader(logText(logs[c])), c, of)
		if err != nil {
			a.fail(ctx, set, name, logMethod, fmt.Errorf("looking for messages: %w", err))
			return nil
		}
		for i := range m {
			m[i].Source = of
		}
		found = append(found, m...)
	}
	evidence.Put(set, evidence.LogMessages, found, src)
	return nil
}

// container names the container that logged an entry: "shop/checkout-1/istio-proxy".
func container(e *logging.LogEntry) string {
	if e.Resource == nil {
		return "unknown container"
	}
	l := e.Resource.Labels
	if e.Resource.Type == "container" {
		return l["namespace_id"] + "/" + l["pod_id"] + "/" + l["container_name"]
	}
	return l["namespace_name"] + "/" + l["pod_name"] + "/" + l["container_name"]
}

// collectPodEvents reads the cluster's events from Cloud Logging, which keeps them longer than the cluster does. Events that it
// doesn't tell are no loss of the cluster's own, so that only the log's messages fail with it.
func (a *API) collectPodEvents(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	p, err := a.podTarget(req.Target)
	var entries []*logging.LogEntry
	if err == nil {
		entries, err = a.podEntries(ctx, p, "the events", p.eventFilter())
	}
	if err != nil {
		a.fail(ctx, set, evidence.LogMessages.Name(), logMethod, err)
		return nil
	}
	var o kubefacts.Objects
	for _, e := range entries {
		if event, ok := kubefacts.LoggedEvent(json.RawMessage(e.JsonPayload), entryTime(e)); ok {
			event.Origin = "Cloud Logging"
			o.Events = append(o.Events, event)
		}
	}
	o.Events = kubefacts.Latest(o.Events)
	slices.SortStableFunc(o.Events, func(x, y kube.Event) int { return x.Last.Compare(y.Last) })
	src := a.source(logMethod + " (events)")
	o.Put(set, src)
	found, err := kubefacts.Scan(func(r io.Reader, file string, src evidence.Source) ([]evidence.LogMessage, error) {
		m, _, err := a.cfg.Scanner.Scan(r, file, src)
		return m, err
	}, o.Messages(), "events", src)
	if err != nil {
		a.fail(ctx, set, evidence.LogMessages.Name(), logMethod, fmt.Errorf("looking for messages: %w", err))
		return nil
	}
	evidence.Put(set, evidence.LogMessages, found, src)
	return nil
}
