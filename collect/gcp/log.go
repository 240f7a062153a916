package gcp

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	logging "google.golang.org/api/logging/v2"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// logWindow is how far back Cloud Logging is read: a fault that is still there shows within minutes, and reads of longer
	// times are slow.
	logWindow = time.Hour
	// maxEntries bounds the entries read, the latest: an agent logs a line or two a minute.
	maxEntries = 500
	// logPage is as many entries as are asked for at once.
	logPage = 250
	// maxEntryText bounds one entry's text; Cloud Logging itself allows 256 KiB.
	maxEntryText = 256 << 10
	logMethod    = "logging.entries.list"
)

// collectLog looks for known messages in what the VM's agent and proxy sent to Cloud Logging lately.
func (a *API) collectLog(ctx context.Context, req diagnose.Request, view *evidence.View, set *evidence.Set) error {
	t := req.Target
	name := evidence.LogMessages.Name()
	id, err := instanceID(t, view)
	if err != nil {
		a.fail(ctx, set, name, logMethod, err)
		return nil
	}
	acc := access{
		what: fmt.Sprintf("the log of VM %s in Cloud Logging of project %s", t.Instance, t.Project), method: logMethod, project: t.Project,
		permission: "logging.logEntries.list", role: "roles/logging.viewer",
	}
	var entries []*logging.LogEntry
	since := a.cfg.Now().Add(-logWindow)
	err = a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
		c, err := a.logging()
		if err != nil {
			return "", err
		}
		l, err := c.Entries.List(&logging.ListLogEntriesRequest{
			ResourceNames: []string{"projects/" + t.Project}, Filter: logFilter(t.Project, id, since), OrderBy: "timestamp desc",
			PageSize: logPage, PageToken: token,
		}).Context(ctx).Do()
		if err != nil {
			return "", err
		}
		entries = append(entries, l.Entries...)
		if len(entries) >= maxEntries {
			return "", nil
		}
		return l.NextPageToken, nil
	})
	if err != nil {
		a.fail(ctx, set, name, logMethod, err)
		return nil
	}
	src := a.source(logMethod)
	found, _, err := a.cfg.Scanner.Scan(strings.NewReader(logText(entries[:min(len(entries), maxEntries)])), logMethod, src)
	if err != nil {
		a.fail(ctx, set, name, logMethod, fmt.Errorf("looking for messages: %w", err))
		return nil
	}
	for i := range found {
		found[i].Source = src
	}
	evidence.Put(set, evidence.LogMessages, found, src)
	return nil
}

// instanceID gives the number by which Cloud Logging knows the VM asked about.
func instanceID(t diagnose.Target, view *evidence.View) (string, error) {
	vms, err := evidence.Get(view, evidence.Instances)
	if err != nil {
		return "", fmt.Errorf("the id of VM %s isn't known: %w", t.Instance, err)
	}
	for _, vm := range vms {
		if vm.Name == t.Instance && (vm.Zone == "" || t.Zone == "" || vm.Zone == t.Zone) && evidence.Numeric(vm.ID) {
			return vm.ID, nil
		}
	}
	return "", fmt.Errorf("the id of VM %s isn't known", t.Instance)
}

// logFilter asks for the agent's own log, and for whatever else of the VM speaks of Envoy or of the control plane.
// https://docs.cloud.google.com/logging/docs/view/logging-query-language
func logFilter(project, instanceID string, since time.Time) string {
	return fmt.Sprintf(`resource.type="gce_instance" AND resource.labels.instance_id="%s" AND timestamp>="%s" AND (logName="projects/%s/logs/service-proxy-agent" OR "envoy" OR "trafficdirector.googleapis.com")`,
		instanceID, since.UTC().Format(time.RFC3339), project)
}

// logText makes a log of entries, oldest first, each line with its time.
func logText(entries []*logging.LogEntry) string {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e *logging.LogEntry) bool { return e == nil })
	slices.SortStableFunc(entries, func(a, b *logging.LogEntry) int { return entryTime(a).Compare(entryTime(b)) })
	var b strings.Builder
	for _, e := range entries {
		text := entryText(e)
		if len(text) > maxEntryText {
			text = text[:maxEntryText]
		}
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\r\n")
			if line == "" {
				continue
			}
			if t := entryTime(e); !t.IsZero() {
				b.WriteString(t.Format("2006-01-02T15:04:05.000Z") + " ")
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func entryTime(e *logging.LogEntry) time.Time {
	for _, s := range []string{e.Timestamp, e.ReceiveTimestamp} {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// entryText gives an entry's text: textPayload, the message in jsonPayload, or else jsonPayload as it is.
func entryText(e *logging.LogEntry) string {
	if e.TextPayload != "" || len(e.JsonPayload) == 0 {
		return e.TextPayload
	}
	var p map[string]any
	if json.Unmarshal(e.JsonPayload, &p) == nil {
		for _, k := range []string{"message", "MESSAGE", "msg"} {
			if s, ok := p[k].(string); ok && s != "" {
				return s
			}
		}
	}
	return string(e.JsonPayload)
}
