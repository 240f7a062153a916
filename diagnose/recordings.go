package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxRecordingAge is how old a recording of a VM may be to count as seen there now: long enough to copy it off the VM and
	// to ask, and too short for a report to call a VM healthy by what it was before somebody changed it and forgot.
	maxRecordingAge = 15 * time.Minute
	// maxRecordingAhead is how far in the future a recording may seem to be made: machines that keep time by NTP are seconds
	// apart at most, and where the recorder measured its clock against the control plane's that is taken off first.
	maxRecordingAhead = 2 * time.Minute
)

// recordings says which bundles count as seen live, by name, and of each what a reader should know. doubts says why the others
// don't count, in one line; "" where there are none. Where the request asks about no VM and no proxy nothing depends on it.
func (e *Engine) recordings(req Request, set *evidence.Set) (counted map[string]bool, notes []string, doubts string) {
	t := req.Target
	if !t.Live() || t.Instance == "" && t.NodeID == "" {
		return nil, nil, ""
	}
	v := evidence.NewView(set)
	list, _ := evidence.Get(v, evidence.Recordings)     // where there are none, none counts
	instances, _ := evidence.Get(v, evidence.Instances) // they only tell a VM from an earlier one of its name
	counted = map[string]bool{}
	var why []string
	now := e.cfg.Now()
	for _, r := range list {
		reason := notNow(r, now)
		if slices.ContainsFunc(list, func(o evidence.Recording) bool { return o.File == r.File && !o.Source.Time.Equal(r.Source.Time) }) {
			reason = " is the name of several bundles" // whose facts can't be told apart
		} else if reason == "" {
			reason = notOf(r, t, instances)
		}
		if reason != "" {
			why = append(why, r.File+reason)
			notes = append(notes, fmt.Sprintf("%s%s: it doesn't count as seen on %s", r.File, reason, asked(t)))
			continue
		}
		counted[r.File] = true
		notes = append(notes, fmt.Sprintf("%s was recorded on %s %s ago, and counts as seen there", r.File, asked(t), span(max(age(r, now), 0))))
	}
	return counted, notes, strings.Join(why, "; ")
}

func asked(t Target) string {
	if t.Instance != "" {
		return "VM " + t.Zone + "/" + t.Instance
	}
	return "the machine of node " + t.NodeID
}

// age is how long ago a recording was made: by its machine's clock, put right where it was measured.
func age(r evidence.Recording, now time.Time) time.Duration {
	at := r.Taken
	if r.ClockKnown {
		at = at.Add(-r.Ahead)
	}
	return now.Sub(at)
}

// notNow says why a recording doesn't show how things are now, "" if it does.
func notNow(r evidence.Recording, now time.Time) string {
	switch a := age(r, now); {
	case r.Taken.IsZero():
		return " doesn't tell when it was recorded"
	case a > maxRecordingAge:
		return fmt.Sprintf(" was recorded %s ago, and a recording counts for %s", span(a), span(maxRecordingAge))
	case a < -maxRecordingAhead:
		return fmt.Sprintf(" was recorded %s in the future, by the clock here: one of the two clocks is wrong", span(-a))
	}
	return ""
}

// notOf says why a recording isn't known to be of what is asked about, "" if it is: of the VM, by what the metadata server told
// there, or of the proxy, by the node id of a bootstrap in it.
func notOf(r evidence.Recording, t Target, instances []evidence.Instance) string {
	id := r.Identity
	node := t.NodeID != "" && slices.Contains(r.NodeIDs, t.NodeID)
	known := id.Instance != "" && id.Zone != "" && (id.Project != "" || id.Number != "")
	switch {
	case t.Instance == "" && node, t.Instance != "" && !known && node:
		return ""
	case t.Instance == "" && len(r.NodeIDs) == 0:
		return " names no node id"
	case t.Instance == "":
		return " is of other proxies (" + r.NodeIDs[0] + ")"
	case !known:
		return " doesn't tell on which VM it was recorded: the metadata server didn't answer there"
	}
	vm := fmt.Sprintf("%s/%s of project %s", id.Zone, id.Instance, id.Project)
	if id.Project == "" {
		vm += id.Number
	}
	sameVM := t.Instance == id.Instance || t.Instance == id.InstanceID
	if !sameVM || evidence.LastSegment(t.Zone) != id.Zone || t.Project != id.Project && t.Project != id.Number {
		return " was recorded on VM " + vm
	}
	for _, i := range instances {
		if !i.Source.Pasted && i.Name == id.Instance && evidence.LastSegment(i.Zone) == id.Zone && i.ID != "" && id.InstanceID != "" && i.ID != id.InstanceID {
			return fmt.Sprintf(" was recorded on an earlier VM of that name (its number was %s, and is %s now)", id.InstanceID, i.ID)
		}
	}
	return ""
}

// span tells a time as people do, in its largest unit.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d/day))
}
