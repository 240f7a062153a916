package xds

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

func TestListenerWarming(t *testing.T) {
	long, short := whole(), whole()
	long.warming, short.warming = 10*time.Minute, 20*time.Second
	long.inbound, short.inbound = "", ""
	pasted := long.dump(t)
	pasted.Source.Pasted, pasted.Source.Time = true, noon.Add(24*time.Hour)
	stale := dumpParts{chains: toCheckout, warming: 10 * time.Minute}.dump(t) // nothing in it is newer
	stale.Source.Pasted = true
	quiet := commonQuiet(t, target)
	quiet[3].Outcome = diagnose.OutcomePassed
	checkstest.Run(t, ListenerWarming, append(quiet,
		checkstest.Case{Name: "ten minutes", Request: target, Put: dumps(long.dump(t)), Want: []checkstest.Want{{Summary: "warming for 10m0s"}}},
		checkstest.Case{Name: "a file, by what else is in it", Request: files, Put: dumps(pasted), Want: []checkstest.Want{{Summary: "warming for 9m59s"}}},
		checkstest.Case{Name: "with what it waits for", Request: target, Put: func(s *evidence.Set) {
			dumps(long.dump(t))(s)
			evidence.Put(s, evidence.EnvoyPending, []evidence.EnvoyInit{{Unready: []envoy.Unready{{Manager: "init manager Listener-local-init-manager TRAFFICDIRECTOR_INTERCEPTION_LISTENER 1", Targets: []string{"target RdsRouteConfigSubscription RDS init URL_MAP/x"}}}}}, evidence.Source{})
		}, Want: []checkstest.Want{{Summary: "waiting for target RdsRouteConf"}}},
		checkstest.Case{Name: "twenty seconds", Request: target, Put: dumps(short.dump(t))},
		checkstest.Case{Name: "a file of which nobody knows when it was taken", Request: files, Put: dumps(stale)},
	))
}
