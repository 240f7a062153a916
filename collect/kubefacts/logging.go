package kubefacts

import (
	"encoding/json"
	"time"

	"github.com/meshdiag/meshdiag/evidence/kube"
)

// LoggedEvent gives the event that an entry of Cloud Logging holds: GKE writes the cluster's events to the log "events", each
// whole, as the payload of an entry about a pod, a node or the cluster. at is the entry's own time, for an event that tells
// none. ok is false for other payloads.
// https://docs.cloud.google.com/kubernetes-engine/docs/how-to/view-logs
func LoggedEvent(payload []byte, at time.Time) (e kube.Event, ok bool) {
	var h struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Involved   json.RawMessage `json:"involvedObject"`
		Regarding  json.RawMessage `json:"regarding"`
		Reason     string          `json:"reason"`
	}
	if json.Unmarshal(payload, &h) != nil || len(h.Involved)+len(h.Regarding) == 0 || h.Reason == "" || h.Kind != "" && h.Kind != "Event" {
		return e, false
	}
	if json.Unmarshal(payload, &e) != nil || e.Involved.Name == "" {
		return e, false
	}
	if e.Last.IsZero() {
		e.Last = at
	}
	if e.First.IsZero() {
		e.First = e.Last
	}
	return e, true
}

// Latest keeps of each event, which is written again with each of its occurrences, the latest state.
func Latest(events []kube.Event) []kube.Event {
	type id struct{ namespace, name, uid string }
	at := map[id]int{}
	var out []kube.Event
	for _, e := range events {
		k := id{e.Namespace, e.Name, e.UID}
		i, ok := at[k]
		if !ok || e.Name == "" {
			at[k] = len(out)
			out = append(out, e)
			continue
		}
		first, count := out[i].First, max(e.Count, out[i].Count)
		if !e.First.IsZero() && (first.IsZero() || e.First.Before(first)) {
			first = e.First
		}
		if !e.Last.Before(out[i].Last) {
			out[i] = e
		}
		out[i].First, out[i].Count = first, count
	}
	return out
}
