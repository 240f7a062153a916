package vm

import (
	"cmp"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The values of the guest attribute bootstrap-status. Absent, it reads "[none]" in Google's guide.
// https://cloud.google.com/traffic-director/docs/troubleshooting
const (
	statusNone       = "[none]"
	statusInProgress = "IN PROGRESS"
	statusFailed     = "FAILED"
	statusFinished   = "FINISHED"
)

// report is what a VM's set-up and its agent say of themselves, with what is known of the VM.
type report struct {
	evidence.GuestAttributeSet
	vm    evidence.Instance
	vmErr error // why the VM isn't known
}

// reported reads the guest attributes. A VM that is stopped has none of its own time: those are leftovers.
func reported(req diagnose.Request, v *evidence.View) (report, error) {
	attrs, err := evidence.Get(v, evidence.GuestAttributes)
	vm, vmErr := about(req, v, attrs.Instance)
	r := report{attrs, vm, vmErr}
	switch {
	case err != nil:
		return r, err
	case req.Target.Instance != "" && attrs.Instance != "" && attrs.Instance != req.Target.Instance:
		return r, diagnose.Skip("the guest attributes are those of VM %s", attrs.Instance)
	case vmErr == nil && vm.Status != "" && vm.Status != "RUNNING":
		return r, diagnose.Skip("VM %s is %s: what it reported is of an earlier time", vm.Name, vm.Status)
	}
	return r, nil
}

// denied gives why the VM isn't known where it should be: it was asked for, and couldn't be learnt.
func (r report) denied() error {
	var m *evidence.Missing
	if errors.As(r.vmErr, &m) && m.Why != evidence.NotAsked {
		return r.vmErr
	}
	return nil
}

// status gives bootstrap-status in capitals; statusNone where it isn't set, "" where that isn't known.
func (r report) status() string {
	s, ok := r.Values[evidence.GuestBootstrapStatus]
	s = strings.ToUpper(strings.TrimSpace(s))
	switch {
	case !ok && r.Partial:
		return ""
	case s == "" || s == "NONE" || s == strings.ToUpper(statusNone):
		return statusNone
	}
	return strings.ReplaceAll(s, "_", " ")
}

// lastFailure gives bootstrap-last-failure. It is found by its prefix: Google's pages print a digit after it.
func (r report) lastFailure() (key, text string) {
	for k, v := range r.Values {
		if strings.HasPrefix(k, evidence.GuestBootstrapFailure) && strings.TrimSpace(v) != "" && (key == "" || k < key) {
			key, text = k, v
		}
	}
	return key, text
}

// agentFailure gives agent-last-failure, "" for none.
func (r report) agentFailure() string {
	s := strings.TrimSpace(r.Values[evidence.GuestAgentFailure])
	if strings.EqualFold(s, statusNone) || strings.EqualFold(s, "none") {
		return ""
	}
	return s
}

// attribute shows one guest attribute.
func (r report) attribute(key string) diagnose.Exhibit {
	value, ok := r.Values[key]
	if !ok {
		value = "(not set)"
	}
	return diagnose.Exhibit{Fact: evidence.GuestAttributes.Name(), Excerpt: "gce-service-proxy/" + key + ": " + clip(value, maxExcerpt), Source: r.Source}
}

// cause begins a cause about the VM.
func (r report) cause(req diagnose.Request) diagnose.Cause {
	return diagnose.Cause{
		Subject: subject(req, r.vm, r.Instance), About: aboutVM(req, r.vm, r.Instance), Confidence: diagnose.Confirmed, Params: params(req, r.vm, r.Instance),
	}
}

func (r report) name(req diagnose.Request) string {
	return named(cmp.Or(r.vm.Name, r.Instance, req.Target.Instance))
}

// age gives how long before the evidence the VM was made; ok is false where it isn't known.
func (r report) age() (age time.Duration, ok bool) {
	if r.vmErr != nil || r.vm.Created.IsZero() || r.Source.Time.IsZero() {
		return 0, false
	}
	return r.Source.Time.Sub(r.vm.Created), true
}

// heartbeatLayouts are the forms in which the agent's heartbeat may stand; it isn't documented which one it is.
var heartbeatLayouts = []string{
	time.RFC3339Nano, time.RFC1123, time.RFC1123Z, time.UnixDate, "2006-01-02 15:04:05.999999999 -0700 MST", "2006-01-02 15:04:05.999999999 -0700",
	"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999",
}

// minUnix and maxUnix bound the seconds that are taken for a time: the years 2001 and 2128. What is more is in a smaller unit.
const (
	minUnix = 1e9
	maxUnix = 5e9
)

// parseHeartbeat reads a time. Without a zone it is taken for UTC, the zone of Google's images; a zone's abbreviation that
// isn't UTC's says nothing certain.
func parseHeartbeat(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	s, _, _ = strings.Cut(s, " m=") // Go's monotonic clock
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		for range 3 { // milli-, micro- or nanoseconds
			if n >= maxUnix {
				n /= 1e3
			}
		}
		if !(n >= minUnix && n < maxUnix) {
			return time.Time{}, false
		}
		return time.Unix(0, int64(n*1e9)).UTC(), true
	}
	for _, l := range heartbeatLayouts {
		t, err := time.Parse(l, s)
		if err != nil {
			continue
		}
		if zone, offset := t.Zone(); offset == 0 && zone != "UTC" && zone != "GMT" && zone != "" {
			return time.Time{}, false
		}
		return t.UTC(), true
	}
	return time.Time{}, false
}

// ago says how long ago in words.
func ago(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d.Hours())/24) + " days"
	case d >= 2*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " hours"
	case d >= 2*time.Minute:
		return strconv.Itoa(int(d.Minutes())) + " minutes"
	}
	return strconv.Itoa(int(d.Seconds())) + " seconds"
}
