package controlplane

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// What the tables of this area are about.
const (
	projectID = "mesh-prod-4f2a"
	number    = "482915067713"
	vpc       = "mesh-vpc"
	account   = "mesh-proxy@mesh-prod-4f2a.iam.gserviceaccount.com"
	nodes     = "projects/" + number + "/networks/" + vpc + "/nodes/"
	nodeID    = nodes + "8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e77~10.128.0.5"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

	network  = diagnose.Request{Target: diagnose.Target{Project: projectID, Network: vpc}}
	meshReq  = diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: "prod-mesh"}}
	scopeReq = diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: "scope:edge"}}
	node     = diagnose.Request{Target: diagnose.Target{Project: projectID, Network: vpc, NodeID: nodeID}}
	vm       = diagnose.Request{Target: diagnose.Target{Project: projectID, Network: vpc, Zone: "europe-west1-b", Instance: "web-1"}}
	files    = diagnose.Request{}

	api      = evidence.Source{Collector: "test", Vantage: evidence.FromAPI, Time: noon}
	pasted   = evidence.Source{Collector: "artifact", Detail: "file", Vantage: evidence.FromWorkload, Time: noon, Pasted: true}
	service  = evidence.Source{Collector: "probe", Vantage: evidence.FromService, Time: noon}
	workload = evidence.Source{Collector: "probe", Vantage: evidence.FromWorkload, Time: noon}
)

// put records one fact from a live API.
func put[T any](k evidence.Key[T], x T) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, k, x, api) }
}

// putFrom records one fact from a source.
func putFrom[T any](k evidence.Key[T], x T, src evidence.Source) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, k, x, src) }
}

// deny records that an API refused to tell a fact.
func deny(n evidence.Name) checkstest.Put { return checkstest.Deny(api, n) }

// late records that the deadline came before a fact.
func late(n evidence.Name) checkstest.Put { return checkstest.Late(api, n) }

// all records several facts.
func all(list ...checkstest.Put) checkstest.Put { return checkstest.All(list...) }

// msg is a log message as the log scan reports it, once, at a line of proxy.log.
func msg(signature string, line int, text string, fields map[string]string) evidence.LogMessage {
	return evidence.LogMessage{Signature: signature, Fields: fields, File: "proxy.log", Line: line, LastLine: line, Text: text, Count: 1, Source: pasted}
}

// many is a message that came n times, up to a later line.
func many(m evidence.LogMessage, n, lastLine int) evidence.LogMessage {
	m.Count, m.LastLine = n, lastLine
	return m
}

// every is a message that came n times, the given time apart.
func every(m evidence.LogMessage, n int, apart time.Duration) evidence.LogMessage {
	m.Count, m.LastLine, m.First, m.Last = n, m.Line+n-1, noon, noon.Add(time.Duration(n-1)*apart)
	return m
}

// of is a message of a text of n lines that was handed in by itself.
func of(n int, m evidence.LogMessage) evidence.LogMessage {
	m.Of = n
	return m
}

// logs records log messages.
func logs(m ...evidence.LogMessage) func(*evidence.Set) {
	return putFrom(evidence.LogMessages, m, pasted)
}

func TestClip(t *testing.T) {
	if got := clip("äöü", 3); got != "ä…" {
		t.Errorf("clip cut a rune: %q", got)
	}
	if got := clip(" ab ", 3); got != "ab" {
		t.Errorf("clip changed a short text: %q", got)
	}
}

// TestArea holds what all checks of the area have in common.
func TestArea(t *testing.T) {
	checks := []diagnose.Check{
		NoClientConnected, ClientNotConnected, APIDisabled, APIErrors, MissingOAuthScope, MissingPermission, NoServiceAccount, DNSFailure, DNSUnexpectedAddress,
		TCPBlocked, TLSFailure, GRPCBlocked, InvalidCredentials, EnvoyTooOld, XDSv2, QuotaExhausted, StreamErrors, ClockSkew,
	}
	if _, err := diagnose.New(diagnose.Config{Checks: checks}); err != nil {
		t.Fatal(err)
	}
	known := map[diagnose.CheckID]bool{}
	for _, c := range checks {
		known[c.ID] = true
	}
	for _, c := range checks {
		_, condition, _ := strings.Cut(string(c.ID), "/")
		if _, err := os.Stat(strings.ReplaceAll(condition, "-", "_") + ".go"); err != nil || c.ID.Area() != "controlplane" {
			t.Errorf("%s has no file of its name here", c.ID)
		}
		if c.Doc.Explanation == "" || c.Doc.Quiet == "" || len(c.Doc.Remedy) == 0 || len(c.Doc.References) == 0 {
			t.Errorf("%s lacks a part of its page", c.ID)
		}
		for _, e := range c.Explains {
			if e.Area() == "controlplane" && !known[e] {
				t.Errorf("%s explains %s, which isn't there", c.ID, e)
			}
		}
	}
}
