package messages

import "github.com/meshdiag/meshdiag/diagnose"

// ProxyNotReady is the word of Istio's agent, at each readiness probe, that the proxy doesn't serve yet, and why. A few such
// lines are normal when a pod starts, and one or two when it ends. [ProxyReady] ends them; [AgentUpstreamFailed] and
// [AgentUpstreamConnected] tell of the same agent's connection to the control plane.
//
// Fields:
//   - where a configuration is waited for: config ("not received", "not fully received", or "received" where a part was
//     rejected), server ("Pilot" before Istio 1.12, "XDS server" since) and, where the line gives them, the counts
//     cds_successful, cds_rejected, lds_successful and lds_rejected since the proxy started;
//   - state, where Envoy is there and not live: "PRE_INITIALIZING", "INITIALIZING", "DRAINING";
//   - workers, where Envoy is live and its workers have not started;
//   - stat, where Envoy has not counted yet what the agent reads;
//   - failed ("readiness stats" or "server info") and error, where Envoy's admin interface didn't answer;
//   - terminated, where the agent itself is ending: its reason;
//   - other, for any other reason, as printed.
//
// https://github.com/istio/istio/blob/master/pilot/cmd/pilot-agent/status/ready/probe.go, and stats.go beside it
var ProxyNotReady = diagnose.Signature{
	ID:      "proxy-not-ready",
	Anchors: []string{"Envoy proxy is NOT ready", "config not received from ", "config not fully received from ", "config received from XDS server"},
	Pattern: `(?:Envoy proxy is NOT ready: )?\bconfig (?P<config>not received|not fully received|received) from (?P<server>Pilot|XDS server)\b(?:, but was rejected)?(?: \(is (?:Pilot|Istiod) running\?\))?` +
		`(?:: cds updates: (?P<cds_successful>\d+) successful, (?P<cds_rejected>\d+) rejected; lds updates: (?P<lds_successful>\d+) successful, (?P<lds_rejected>\d+) rejected)?` +
		`|Envoy proxy is NOT ready: (?:server is not live, current state is: (?P<state>[A-Z_]+)|(?P<workers>workers have not yet started)` +
		`|(?P<stat>[a-z_]+\.[a-z_]+) is not yet updated|server is terminated: (?P<terminated>[^\n]*)` +
		`|failed to get (?P<failed>readiness stats|server info): (?P<error>[^\n]*)|(?P<other>[^\n]*))`,
	Meaning: "the proxy of a pod doesn't serve yet",
	Examples: []string{
		"2019-05-10T04:56:28.765214Z\tinfo\tEnvoy proxy is NOT ready: config not received from Pilot (is Pilot running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected",
		"2022-06-06T07:14:09.419199Z\twarn\tEnvoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected",
		"2025-04-16T18:06:19.488430Z\twarn\tEnvoy proxy is NOT ready: config received from XDS server, but was rejected: cds updates: 1 successful, 0 rejected; lds updates: 0 successful, 1 rejected",
		"2022-06-06T07:14:09.419199Z\twarn\tEnvoy proxy is NOT ready: config not fully received from XDS server: cds updates: 1 successful, 0 rejected; lds updates: 0 successful, 0 rejected",
		"2020-06-29T23:37:28.890178Z\tinfo\tEnvoy proxy is NOT ready: server is not live, current state is: INITIALIZING",
		"2023-02-01T10:00:00.000000Z\twarn\tEnvoy proxy is NOT ready: workers have not yet started",
		"2023-02-01T10:00:00.000000Z\twarn\tEnvoy proxy is NOT ready: failed to get readiness stats: Get \"http://localhost:15000/stats?usedonly&filter=^(server\\.state|listener_manager\\.workers_started)\": dial tcp 127.0.0.1:15000: connect: connection refused",
		"2019-10-14T16:43:27.220855Z\tinfo\tEnvoy proxy is NOT ready: failed to get server info: failed retrieving Envoy stats: Get http://127.0.0.1:15000/server_info: net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
		"2023-02-01T10:00:00.000000Z\twarn\tEnvoy proxy is NOT ready: server.state is not yet updated: ",
		"2023-02-01T10:00:00.000000Z\twarn\tEnvoy proxy is NOT ready: listener_manager.workers_started is not yet updated: server.state: 2",
		"2025-01-06T15:53:16.165680Z\twarn\tEnvoy proxy is NOT ready: server is terminated: received signal: terminated",
	},
}
