package xds

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNoDynamicConfig(t *testing.T) {
	bare := dumpParts{static: true}
	boot := func(file string, servers ...string) func(*evidence.Set) {
		return func(s *evidence.Set) {
			dumps(bare.dump(t))(s)
			evidence.Put(s, evidence.Bootstraps, []evidence.Bootstrap{{Kind: evidence.EnvoyBootstrap, File: file, Servers: servers}}, evidence.Source{})
		}
	}
	warming := whole()
	warming.clusters, warming.warming = nil, time.Second
	quiet := commonQuiet(t, target)
	quiet[3].Outcome = diagnose.OutcomePassed // a working proxy's dump is a dump
	checkstest.Run(t, NoDynamicConfig, append(quiet,
		checkstest.Case{Name: "nothing dynamic", Request: target, Put: dumps(bare.dump(t)), Want: []checkstest.Want{{Subject: nodeA, Key: "nodes/" + nodeA}}},
		checkstest.Case{Name: "the proxy asked about", Request: oneNode, Put: dumps(bare.dump(t)), Want: []checkstest.Want{{Subject: nodeA}}},
		checkstest.Case{Name: "though its bootstrap names a control plane", Request: files, Put: boot("config_dump.json", "trafficdirector.googleapis.com:443"), Want: []checkstest.Want{{Subject: nodeA}}},
		checkstest.Case{Name: "its bootstrap names none", Request: files, Put: boot("config_dump.json")},
		checkstest.Case{Name: "a listener is warming", Request: target, Put: dumps(warming.dump(t))},
	))
}
