package lab

import (
	"cmp"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// worlds says, of each scenario, what CSDS must tell: how many clients are connected, the statuses of the resources
// that are not SYNCED, or the code of the refusal. log is what the first client's log must hold.
func worlds() map[string]struct {
	connected int
	faults    map[statusv3.ConfigStatus]int
	refused   codes.Code
	log       string
} {
	type want = struct {
		connected int
		faults    map[statusv3.ConfigStatus]int
		refused   codes.Code
		log       string
	}
	const notFound = "code = NotFound desc = Requested entity was not found. Cloud Service Mesh configuration was not found for "
	return map[string]want{
		"api-disabled":                    {refused: codes.PermissionDenied, log: "Traffic Director API has not been used in project 482915067713 before or it is disabled."},
		"api-errors":                      {connected: 2},
		"backend-fail-open":               {connected: 2},
		"backend-health-check-blocked":    {connected: 2},
		"backend-health-check-mismatch":   {connected: 2},
		"backend-no-backends":             {connected: 2},
		"backend-some-unhealthy":          {connected: 2},
		"bootstrap-incomplete":            {log: "closed: 3, Invalid node id"},
		"client-not-connected":            {connected: 2},
		"config-rejected":                 {connected: 3, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_ERROR: 1}, log: "http filters list is empty"},
		"config-stale":                    {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_STALE: 1}},
		"control-plane-unavailable":       {refused: codes.Unavailable, log: "code = Unavailable desc = The service is currently unavailable."},
		"dns-nxdomain":                    {log: "produced zero addresses"},
		"dns-servfail":                    {log: "server misbehaving"},
		"envoy-too-old":                   {connected: 2},
		"evidence-denied":                 {refused: codes.PermissionDenied},
		"grpc-blocked":                    {refused: codes.Unavailable, log: "502"},
		"healthy":                         {connected: 3},
		"healthy-filtered":                {connected: 1},
		"healthy-mesh":                    {connected: 2},
		"healthy-one-proxy":               {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_STALE: 1}},
		"invalid-credentials":             {log: "closed: 16, Request had invalid authentication credentials. Expected OAuth 2 access token"},
		"mesh-has-no-routes":              {log: notFound + `mesh "shop-mesh" in project "482915067713".`},
		"mesh-not-found":                  {log: notFound + `mesh "shop-mesh" in project "482915067713".`},
		"metadata-filter-mismatch":        {log: notFound + `network "mesh-vpc" in project "482915067713".`},
		"missing-oauth-scope":             {log: "code = PermissionDenied desc = Request had insufficient authentication scopes."},
		"missing-permission":              {log: "code = PermissionDenied desc = Permission 'trafficdirector.networks.getConfigs' denied on resource"},
		"network-mismatch":                {log: notFound + `network "mesh-vcp" in project "482915067713".`},
		"no-client-connected":             {},
		"no-forwarding-rule":              {log: notFound + `network "mesh-vpc" in project "482915067713".`},
		"project-number-mismatch":         {log: notFound + `network "mesh-vpc" in project "482915067731".`},
		"proxyless-authority-unknown":     {connected: 1, log: `xds: authority "traffic-director.example.com" specified in dial target "xds://traffic-director.example.com/checkout:50051" is not found in the bootstrap file`},
		"proxyless-bootstrap-missing":     {connected: 1, log: `bootstrap environment variables ("GRPC_XDS_BOOTSTRAP" or "GRPC_XDS_BOOTSTRAP_CONFIG") not defined`},
		"proxyless-target-not-matched":    {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_NOT_SENT: 1}},
		"proxyless-zero-addresses":        {connected: 2, log: "code = Unavailable desc = weighted-target: no targets to pick from"},
		"proxyless-validation":            {connected: 1},
		"tcp-blocked":                     {refused: codes.DeadlineExceeded},
		"tls-intercepted":                 {refused: codes.Unavailable, log: "certificate signed by unknown authority"},
		"bootstrap-placeholder":           {connected: 1, log: "closed: 5, "},
		"clock-skew":                      {connected: 2},
		"dns-unexpected-address":          {log: "closed: 14, "},
		"interception-port-missing":       {connected: 2},
		"no-service-account":              {connected: 1},
		"not-found-logged":                {refused: codes.PermissionDenied, log: "closed: 5, "},
		"quota-exhausted":                 {log: "closed: 8, Quota exceeded for quota metric"},
		"service-proxy-network-mismatch":  {connected: 1},
		"stream-errors":                   {log: "closed: 13, Internal error encountered."},
		"xds-v2":                          {connected: 1},
		"two-faults":                      {connected: 3, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_ERROR: 1}, log: "http filters list is empty"},
		"proxyless-bootstrap-invalid":     {connected: 1, log: "xds: required field `xds_servers` not found in bootstrap"},
		"request-mtls-mismatch":           {connected: 2},
		"request-no-healthy-upstream":     {connected: 2},
		"request-no-route":                {connected: 2},
		"request-rbac-denied":             {connected: 2},
		"request-timeout":                 {connected: 2},
		"request-upstream-refused":        {connected: 2},
		"traffic-endpoint-unreachable":    {connected: 2},
		"vm-agent-failure":                {connected: 2},
		"vm-bootstrap-in-progress":        {connected: 1},
		"vm-bootstrap-source-unreachable": {connected: 1},
		"vm-ipv6-modules-missing":         {connected: 1},
		"vm-not-service-proxy":            {connected: 1},
		"vm-serial-log-errors":            {connected: 1},
		"xds-access-log-unwritable":       {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_ERROR: 1}, log: "rejected: Error adding/updating listener(s)"},
		"xds-address-in-use":              {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_ERROR: 1}, log: "Address already in use"},
		"xds-baseline-difference":         {connected: 2},
		"xds-cluster-not-found":           {connected: 2},
		"xds-config-not-sent":             {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_NOT_SENT: 2}},
		"xds-destination-not-configured":  {connected: 2},
		"xds-endpoints-unhealthy":         {connected: 2},
		"xds-inbound-port-not-configured": {connected: 2},
		"xds-initial-fetch-timeout":       {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_NOT_SENT: 2}, log: "initial fetch timed out for type.googleapis.com/envoy.config.listener.v3.Listener"},
		"xds-listener-warming":            {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_NOT_SENT: 4}},
		"xds-no-dynamic-config":           {connected: 1, log: `closed: 5, Requested entity was not found. Cloud Service Mesh configuration was not found for network "mesh-vcp"`},
		"xds-no-endpoints":                {connected: 2},
		"xds-privileged-port":             {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_ERROR: 1}, log: "Permission denied"},
		"xds-route-not-found":             {connected: 2, faults: map[statusv3.ConfigStatus]int{statusv3.ConfigStatus_NOT_SENT: 2}},
		"vm-agent-dead":                   {connected: 2},
		"vm-bootstrap-failed":             {connected: 1},
		"vm-bootstrap-not-started":        {connected: 1},
		"vm-guest-attributes-disabled":    {connected: 2},
		"vm-not-running":                  {connected: 1},
		"vm-well":                         {connected: 2},
	}
}

func TestEveryWorld(t *testing.T) {
	all, err := Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	table := worlds()
	for _, s := range all {
		if len(s.Ask.Documents) > 0 { // nobody is in them
			t.Run(s.Name, func(t *testing.T) { checkTarget(t, startScenario(t, s, Options{})) })
			continue
		}
		want, ok := table[s.Name]
		if !ok {
			t.Errorf("scenario %s has no row in this test", s.Name)
			continue
		}
		delete(table, s.Name)
		t.Run(s.Name, func(t *testing.T) {
			v := startScenario(t, s, Options{})
			if s.Fault.Path == "blackhole" {
				checkBlackhole(t, v)
				return
			}
			if want.refused != codes.OK {
				if got := v.refusal(t); got != want.refused {
					t.Errorf("CSDS answers %s, expected %s", got, want.refused)
				}
			} else {
				checkFleet(t, v, want.connected, want.faults)
			}
			if want.log != "" {
				log := clientLog(t, v, s.Clients[0].Name)
				if !strings.Contains(log, want.log) {
					t.Errorf("log of %s:\n%s\nexpected %q in it", s.Clients[0].Name, log, want.log)
				}
			}
			checkTarget(t, v)
		})
	}
	for name := range table {
		t.Errorf("row %s has no scenario", name)
	}
}

func (v *visitor) refusal(t *testing.T) codes.Code {
	t.Helper()
	_, err := statusv3.NewClientStatusDiscoveryServiceClient(v.dial(t)).FetchClientStatus(t.Context(), v.request(""))
	return status.Code(err)
}

func checkFleet(t *testing.T, v *visitor, connected int, faults map[statusv3.ConfigStatus]int) {
	t.Helper()
	fleet := v.fleet(t)
	if len(fleet) != connected {
		t.Errorf("%d clients listed, expected %d: %q", len(fleet), connected, slices.Sorted(maps.Keys(fleet)))
	}
	got := map[statusv3.ConfigStatus]int{}
	for id, configs := range fleet {
		if len(configs) == 0 {
			t.Errorf("%s has no configuration", id)
		}
		for _, c := range configs {
			if c.GetConfigStatus() != statusv3.ConfigStatus_SYNCED {
				got[c.GetConfigStatus()]++
			}
		}
	}
	if !maps.Equal(got, faults) {
		t.Errorf("statuses besides SYNCED: %v, expected %v", got, faults)
	}
}

func clientLog(t *testing.T, v *visitor, client string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(filepath.Dir(v.Connection().CAFile), client, "client.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkTarget sees to it that what a world tells to ask about exists.
func checkTarget(t *testing.T, v *visitor) {
	t.Helper()
	target := v.Target()
	if documents := v.Scenario().Ask.Documents; len(documents) > 0 && (target.Project != "" || len(target.Files) != len(documents)) {
		t.Errorf("target has project %q and files %q", target.Project, target.Files)
	} else if len(documents) == 0 && (target.Network == "") == (target.Mesh == "") {
		t.Errorf("target has network %q and mesh %q", target.Network, target.Mesh)
	}
	for _, f := range target.Files {
		if info, err := os.Stat(f); err != nil || info.Size() == 0 {
			t.Errorf("artifact %s: %v", f, cmp.Or(err, os.ErrInvalid))
		}
	}
	if u, err := url.Parse(v.Connection().GCPEndpoint); err != nil || u.Scheme != "https" || u.Path != "" {
		t.Errorf("GCP endpoint %q", v.Connection().GCPEndpoint)
	}
}

// The NACK in config-rejected is the client's own: its reason is in error_state, and in nobody else's.
func TestRejectionCarriesItsReason(t *testing.T) {
	v := startWorld(t, "config-rejected", Options{})
	for id, configs := range v.fleet(t) {
		for _, c := range configs {
			switch {
			case id == v.Target().NodeID && !strings.Contains(c.GetErrorState().GetDetails(), "http filters list is empty"):
				t.Errorf("%s: details %q", c.GetName(), c.GetErrorState().GetDetails())
			case id != v.Target().NodeID && c.GetErrorState() != nil:
				t.Errorf("%s of %s has an error state", c.GetName(), id)
			}
		}
	}
}

// A rejected version must not be sent again and again.
func TestRejectedVersionIsSentOnce(t *testing.T) {
	v := startWorld(t, "config-rejected", Options{})
	nonces := map[string]bool{}
	for range 50 {
		for _, c := range v.fleet(t)[v.Target().NodeID] {
			nonces[c.GetVersionInfo()+c.GetLastUpdated().String()] = true
		}
	}
	if len(nonces) != 1 {
		t.Errorf("the rejected listener was sent %d times", len(nonces))
	}
}

func TestStaleSince(t *testing.T) {
	v := startWorld(t, "config-stale", Options{})
	fleet := v.fleet(t)
	var other string
	for id := range fleet {
		if id != v.Target().NodeID {
			other = id
		}
	}
	const tenMinutes = 600
	sent := func(id string) int64 { return fleet[id][0].GetLastUpdated().GetSeconds() }
	ago := sent(other) - sent(v.Target().NodeID)
	const slack = 60 // both were sent when the world started
	if ago < tenMinutes-slack || ago > tenMinutes+slack {
		t.Errorf("the stale client's configuration is %d s older than the other's", ago)
	}
}

func TestMoreClients(t *testing.T) {
	const clients = 40
	v := startWorld(t, "healthy", Options{Clients: clients})
	if n := len(v.fleet(t)); n != clients {
		t.Errorf("%d clients listed, expected %d", n, clients)
	}
}
