package vm

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// What the tables of this area are about.
const projectID = "mesh-prod-4f2a"

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

	target  = diagnose.Request{Target: diagnose.Target{Project: projectID, Network: "mesh-vpc", Zone: "europe-west1-b", Instance: "web-1"}}
	network = diagnose.Request{Target: diagnose.Target{Project: projectID, Network: "mesh-vpc"}}
	files   = diagnose.Request{}

	api      = evidence.Source{Collector: "gcp", Detail: "compute.instances.get", Vantage: evidence.FromAPI, Time: noon}
	pasted   = evidence.Source{Collector: "file", Detail: "web-1.txt", Vantage: evidence.FromWorkload, Time: noon, Pasted: true}
	service  = evidence.Source{Collector: "probe", Vantage: evidence.FromService, Time: noon}
	workload = evidence.Source{Collector: "file", Detail: "bundle.tar.gz", Vantage: evidence.FromWorkload, Time: noon, Pasted: true}

	// open are the parameters that files alone don't tell.
	open = []string{"instance", "zone", "project"}
)

// web is a service proxy's VM as gcloud makes it.
func web(change ...func(*evidence.Instance)) evidence.Instance {
	i := evidence.Instance{
		Name: "web-1", Zone: "europe-west1-b", Project: projectID, ID: "3633122484352464042", Status: "RUNNING", Networks: []string{"mesh-vpc"}, Addresses: []string{"10.128.0.5"},
		Metadata: map[string]string{evidence.ServiceProxyKey: `{"api-version":"0.2"}`, evidence.EnableGuestAttributes: "TRUE"},
		Labels:   map[string]string{evidence.ServiceProxyKey: "on"}, Created: noon.Add(-24 * time.Hour), Source: api,
	}
	for _, f := range change {
		f(&i)
	}
	return i
}

func status(s string) func(*evidence.Instance) { return func(i *evidence.Instance) { i.Status = s } }

func made(ago time.Duration) func(*evidence.Instance) {
	return func(i *evidence.Instance) { i.Created = noon.Add(-ago) }
}

func metadata(kv ...string) func(*evidence.Instance) {
	return func(i *evidence.Instance) {
		i.Metadata = map[string]string{}
		for n := 0; n < len(kv); n += 2 {
			i.Metadata[kv[n]] = kv[n+1]
		}
	}
}

func plain(i *evidence.Instance) {
	i.Metadata, i.Labels = map[string]string{"ssh-keys": "x"}, nil
}

func fromFile(i *evidence.Instance) { i.Source = pasted }

func vms(l ...evidence.Instance) func(*evidence.Set) { return put(evidence.Instances, l) }

// put records one fact from a live API.
func put[T any](k evidence.Key[T], x T) func(*evidence.Set) { return putFrom(k, x, api) }

// putFrom records one fact from a source.
func putFrom[T any](k evidence.Key[T], x T, src evidence.Source) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, k, x, src) }
}

// attrs are the VM's guest attributes, from the API.
func attrs(kv ...string) func(*evidence.Set) {
	return put(evidence.GuestAttributes, guest(api, kv...))
}

// table are guest attributes as a file tells them: it doesn't say whose.
func table(kv ...string) func(*evidence.Set) {
	g := guest(pasted, kv...)
	g.Instance, g.Zone = "", ""
	return putFrom(evidence.GuestAttributes, g, pasted)
}

func guest(src evidence.Source, kv ...string) evidence.GuestAttributeSet {
	g := evidence.GuestAttributeSet{Instance: "web-1", Zone: "europe-west1-b", Values: map[string]string{}, Source: src}
	for n := 0; n < len(kv); n += 2 {
		g.Values[kv[n]] = kv[n+1]
	}
	return g
}

// absent is the API's 404.
var absent = put(evidence.GuestAttributes, evidence.GuestAttributeSet{Instance: "web-1", Zone: "europe-west1-b", Source: api})

func beat(ago time.Duration) string { return noon.Add(-ago).Format(time.RFC3339) }

func deny(n evidence.Name) checkstest.Put { return checkstest.Deny(api, n) }

func late(n evidence.Name) checkstest.Put { return checkstest.Late(api, n) }

func all(list ...checkstest.Put) checkstest.Put { return checkstest.All(list...) }

// serial is what the VM wrote to its first serial port.
func serial(lines ...string) func(*evidence.Set) {
	src := evidence.Source{Collector: "gcp", Detail: "compute.instances.getSerialPortOutput", Vantage: evidence.FromAPI, Time: noon}
	return putFrom(evidence.SerialPorts, []evidence.SerialPort{{Instance: "web-1", Port: 1, Text: strings.Join(lines, "\n") + "\n", Source: src}}, src)
}

// logs records messages of a log.
func logs(m ...evidence.LogMessage) func(*evidence.Set) {
	return putFrom(evidence.LogMessages, m, pasted)
}

func message(signature, text string) evidence.LogMessage {
	return evidence.LogMessage{Signature: signature, File: "agent.log", Line: 3, LastLine: 3, Text: text, Count: 1, Source: pasted}
}

// TestArea holds what all checks of the area have in common.
func TestArea(t *testing.T) {
	checks := []diagnose.Check{
		NotRunning, BootstrapNotStarted, BootstrapInProgress, BootstrapFailed, AgentDead, AgentFailure, GuestAttributesDisabled, NotServiceProxy,
		EnvoyNotRunning, EnvoyNotLive, IPv6ModulesMissing, BootstrapSourceUnreachable, SerialLogErrors,
	}
	if _, err := diagnose.New(diagnose.Config{Checks: checks}); err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		_, condition, _ := strings.Cut(string(c.ID), "/")
		if _, err := os.Stat(strings.ReplaceAll(condition, "-", "_") + ".go"); err != nil || c.ID.Area() != "vm" {
			t.Errorf("%s has no file of its name here", c.ID)
		}
		if c.Doc.Explanation == "" || c.Doc.Quiet == "" || len(c.Doc.Remedy) == 0 || len(c.Doc.References) == 0 {
			t.Errorf("%s lacks a part of its page", c.ID)
		}
	}
	checkstest.Signatures(t, []diagnose.Signature{messages.AgentCannotReach, messages.IPv6ModulesMissing, messages.FetchFailed, messages.ServiceProxySetup})
}

func TestHeartbeatForms(t *testing.T) {
	want := time.Date(2026, 3, 2, 11, 59, 30, 0, time.UTC)
	for _, s := range []string{
		"2026-03-02T11:59:30Z", "2026-03-02T12:59:30+01:00", "2026-03-02T11:59:30.000Z", "Mon, 02 Mar 2026 11:59:30 GMT", "Mon, 02 Mar 2026 11:59:30 UTC",
		"Mon, 02 Mar 2026 12:59:30 +0100", "1772452770", "1772452770.0", "1772452770000", " 1772452770\n", "Mon Mar  2 11:59:30 UTC 2026", "2026-03-02 11:59:30 +0000 UTC",
		"2026-03-02 12:59:30.0 +0100 CET m=+31.5", "2026-03-02T11:59:30", "2026-03-02 11:59:30",
	} {
		if got, ok := parseHeartbeat(s); !ok || !got.Equal(want) {
			t.Errorf("%q: %s, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "now", "0", "-5", "NaN", "Inf", "12", "Mon, 02 Mar 2026 12:59:30 CET", "2026-03-02", "99999999999999999999999999"} {
		if got, ok := parseHeartbeat(s); ok {
			t.Errorf("%q was read as %s", s, got)
		}
	}
}
