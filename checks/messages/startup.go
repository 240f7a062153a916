package messages

import "github.com/meshdiag/meshdiag/diagnose"

// What is said while a pod with a sidecar starts.
var (
	// ConnectionRefused is what an application prints where nothing listens at the address that it dials. While a pod starts,
	// its connections are sent to a proxy that may not listen yet. It is no evidence of that by itself: most refused
	// connections have other causes, so that it counts only beside a time line of the same pod that has the proxy ready
	// after it, and not where it comes back after [ProxyReady].
	//
	// Fields: address (host:port dialled), or node (the same as Node.js prints it), or host and port, as far as the line
	// gives them, curl_host and curl_port where it was curl; url (what was asked for, where a Go client says it); name and
	// resolver, where the query of a name was refused; stream (set where a stream to a control plane, or the agent's own
	// connection, ended with it: it is no application then).
	ConnectionRefused = diagnose.Signature{
		ID: "connection-refused",
		Anchors: []string{
			": connection refused", "connect ECONNREFUSED", "[Errno 111] Connection refused", "ConnectException: Connection refused",
			"Connection refused (os error 111)", "(111): Connection refused", "failed: Connection refused", "curl: (7) Failed to connect to ",
		},
		Pattern: `(?:(?P<stream>gRPC config stream|(?:ADS|xDS) stream|ADS streaming RPC|failed to connect to upstream|upstream grpc client|upstream terminated|Envoy proxy (?:is NOT|to become) ready)[^\n]*?)?` +
			`(?:(?:\b(?:Get|Put|Post|Head|Patch|Delete|GET|PUT|POST) ` + quotes + `(?P<url>https?://[^\s"'\\]+?)` + quotes + `: )?dial tcp[46]? +(?P<address>[^\s"'\\]+): (?:connect|getsockopt): connection refused` +
			`|\blookup (?P<name>[\w.-]+)(?: on (?P<resolver>[^\s"'\\]+))?: read udp [^\s"'\\]+: (?:read|recvfrom): connection refused` +
			`|connect ECONNREFUSED(?: (?P<node>[^\s"'\\,)]+))?` +
			`|(?:\(host=\\*'(?P<host>[^'\\\n]+)\\*', port=(?P<port>\d+)\)[^\n]*?)?\[Errno 111\] Connection refused` +
			`|ConnectException: Connection refused|Connection refused \(os error 111\)|\(111\): Connection refused|failed: Connection refused` +
			`|curl: \(7\) Failed to connect to (?P<curl_host>\S+) port (?P<curl_port>\d+))`,
		Meaning: "a connection was refused; a sign of a proxy that isn't ready only together with a time line of the pod's start",
		Examples: []string{
			`panic: dial tcp 10.84.12.7:6379: connect: connection refused`,
			`Error: failed to create connection to feature-store redis, err=dial tcp   192.168.9.16:19209: connect: connection refused`,
			`Error: connect ECONNREFUSED 10.84.12.7:6379`,
			`Get "https://vault.vault:8200/v1/sys/health": dial tcp: lookup vault.vault on 10.64.0.10:53: read udp 10.60.1.5:38411->10.64.0.10:53: read: connection refused`,
			`2019-10-24T09:21:57.100Z [ERROR] auth.handler: error authenticating: error="Put http://vault.vault.svc:8200/v1/auth/kubernetes/login: dial tcp 10.84.3.9:8200: connect: connection refused" backoff=1.5`,
			`[ERROR] auth.handler: error authenticating: error="Put \"http://vault.vault.svc:8200/v1/auth/kubernetes/login\": dial tcp 10.84.3.9:8200: connect: connection refused"`,
			`requests.exceptions.ConnectionError: HTTPConnectionPool(host='catalog', port=8080): Max retries exceeded with url: / (Caused by NewConnectionError('<urllib3.connection.HTTPConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused'))`,
			`Caused by: java.net.ConnectException: Connection refused`,
			`curl: (7) Failed to connect to vault.vault port 8200 after 2 ms: Connection refused`,
		},
	}
	// ProbeFailed is the kubelet's word that a container failed a probe: as an event, and in the kubelet's log. Failures
	// within the first half minute of a container are normal.
	//
	// Fields: probe ("Readiness", "Liveness", "Startup"; type in the kubelet's log), status (of the HTTP answer) or url and
	// error; pod (NAMESPACE/NAME) and container, in the kubelet's log alone.
	// https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/prober/prober.go
	ProbeFailed = diagnose.Signature{
		ID:      "kubelet-probe-failed",
		Anchors: []string{" probe failed: ", `probeType="`},
		Pattern: `(?:\b(?P<probe>Readiness|Liveness|Startup) probe failed: |\bprobeType=\\*"(?P<type>Readiness|Liveness|Startup)\\*" pod=\\*"(?P<pod>[^"\\\n]+)\\*"[^\n]*? containerName=\\*"(?P<container>[^"\\\n]+)\\*"[^\n]*? output=\\*"?)` +
			`(?:HTTP probe failed with statuscode: (?P<status>\d+)|(?:Get \\*"?(?P<url>https?://[^\s"\\]+?)\\*"?: )?(?P<error>[^"\\\n]*))`,
		Meaning: "a container failed a probe of the kubelet's",
		Examples: []string{
			`  Warning  Unhealthy  6m (x3 over 6m)  kubelet  Readiness probe failed: HTTP probe failed with statuscode: 503`,
			`Readiness probe failed: Get "http://10.60.1.5:15021/healthz/ready": dial tcp 10.60.1.5:15021: connect: connection refused`,
			`Readiness probe failed: Get http://10.60.1.5:15020/healthz/ready: dial tcp 10.60.1.5:15020: connect: connection refused`,
			`I0212 11:24:51.100000    1712 prober.go:107] "Probe failed" probeType="Readiness" pod="shop/cart-6f7c" podUID="f0140293-8505-4462-964b-7d6dcb43f93a" containerName="istio-proxy" probeResult="failure" output="HTTP probe failed with statuscode: 503"`,
		},
	}
	// ProxyWaitFailed says that the hook which holds a pod's application until its proxy serves gave up: Istio's agent
	// prints it, the kubelet reports it as FailedPostStartHook and restarts the proxy.
	//
	// Fields: pod and namespace, where the kubelet says it; exit (the hook's exit code); error (what the agent saw last:
	// "HTTP status code 503" or an error of its request; text, where the agent itself says it); failure (where the kubelet
	// could not run the hook).
	// https://github.com/istio/istio/blob/master/pilot/cmd/pilot-agent/app/wait.go
	ProxyWaitFailed = diagnose.Signature{
		ID:      "proxy-wait-failed",
		Anchors: []string{"waiting for Envoy proxy to become ready", "'pilot-agent wait", "[pilot-agent wait"},
		Pattern: `(?:Exec lifecycle hook \(\[pilot-agent wait[^\n]*? in Pod \\*"(?P<pod>[\w.*-]+)_(?P<namespace>[a-z0-9-]+)(?:\([\w-]*\))?\\*" failed - error: )?` +
			`(?:command 'pilot-agent wait[^'\n]*' exited with (?P<exit>\d+)(?:: (?:Error: )?timeout waiting for Envoy proxy to become ready\. Last error: (?P<error>(?:[^\n\\]|\\")*))?` +
			`|timeout waiting for Envoy proxy to become ready\. Last error: (?P<text>(?:[^\n\\]|\\")*)|(?P<failure>rpc error: [^\n]*))`,
		Meaning: "a pod's start was held for its proxy, which did not become ready",
		Examples: []string{
			`  Warning  FailedPostStartHook  3m6s   kubelet            Exec lifecycle hook ([pilot-agent wait]) for Container "istio-proxy" in Pod "cart-6f7c_shop(f0140293-8505-4462-964b-7d6dcb43f93a)" failed - error: command 'pilot-agent wait' exited with 255: Error: timeout waiting for Envoy proxy to become ready. Last error: Get "http://localhost:15021/healthz/ready": dial tcp [::1]:15021: connect: connection refused`,
			`  Warning  FailedPostStartHook  3m6s   kubelet            PostStartHook failed: command 'pilot-agent wait' exited with 255: Error: timeout waiting for Envoy proxy to become ready. Last error: HTTP status code 503`,
			"2021-04-21T18:56:34.102096Z\terror\ttimeout waiting for Envoy proxy to become ready. Last error: HTTP status code 503",
			`Exec lifecycle hook ([pilot-agent wait]) for Container "istio-proxy" in Pod "cart-6f7c_shop(f0140293-8505-4462-964b-7d6dcb43f93a)" failed - error: rpc error: code = Unknown desc = container not running`,
		},
	}
	// InterceptionSetupFailed says that the rules which send a pod's traffic to its proxy could not be loaded. kube-proxy,
	// Docker and firewall scripts print the same of their own rules: it counts in the log of istio-init or of Istio's CNI
	// plugin, or where the line names a chain of Istio's.
	//
	// Fields: tool ("iptables-restore"); exists (set where a chain is there already, as after the init container ran a
	// second time), chain (its name, where the line gives it), line (of the rules), error (for the rest); panic (set for the
	// stack trace of Istio's own program).
	InterceptionSetupFailed = diagnose.Signature{
		ID: "interception-setup-failed",
		Anchors: []string{
			"Chain already exists", "iptables-restore: line ", "tables-restore v1.", "ADD failed (File exists)", "iptables v1.", "executeIptablesRestoreCommand", "Failed to execute: ip",
		},
		Pattern: `\b(?P<tool>ip6?tables(?:-legacy|-nft)?(?:-restore)?)(?: v\d[\d.]*)?(?: \([\w-]+\))?: ?(?:(?:ip6?tables-restore: )?(?P<exists>Chain already exists)|line (?P<line>\d+) failed|(?:ip6?tables-restore: )?(?P<error>(?:unable to|can't) initialize (?:ip6?tables )?table [^\n]*|[Cc]ouldn't load (?:match|target) [^\n]*|Permission denied[^\n]*|Another app is currently holding the xtables lock[^\n]*))` +
			`|(?P<added>CHAIN_(?:USER_)?ADD failed \(File exists\))(?:: chain (?P<chain>[\w-]+))?|(?P<panic>\bexecuteIptablesRestoreCommand\b)` +
			`|Failed to execute: (?P<command>ip6?tables(?:-legacy|-nft)?(?:-restore)?)\b[^\n]*exit status \d+`,
		Meaning: "rules that send traffic to the proxy could not be loaded",
		Examples: []string{
			`iptables: Chain already exists.`,
			`iptables-restore: line 2 failed`,
			`iptables-restore v1.8.4 (legacy): iptables-restore: unable to initialize table 'nat'`,
			`line 2: CHAIN_USER_ADD failed (File exists): chain ISTIO_REDIRECT`,
			"iptables v1.6.1: can't initialize iptables table `nat': Permission denied (you must be root)",
			`istio.io/istio/tools/istio-iptables/pkg/cmd.(*IptablesConfigurator).executeIptablesRestoreCommand(0xc0004b7d58, 0x1, 0x0, 0x0)`,
			"2021-06-28T07:00:00.000000Z\terror\tFailed to execute: iptables-restore --noflush /tmp/iptables-rules-1624863600.txt311, exit status 1",
		},
	}
	// InterceptionNotValid says that the container istio-validation found no rules at work: with Istio's CNI plugin, the pod
	// was started on a node where the plugin didn't run yet. The container ends with exit code 126.
	//
	// Fields: none.
	// https://github.com/istio/istio/blob/master/tools/istio-iptables/pkg/validation/validator.go
	InterceptionNotValid = diagnose.Signature{
		ID:      "interception-not-valid",
		Anchors: []string{"iptables validation failed", "validation timeout"},
		Pattern: `(?m)iptables validation failed; workload is not ready for Istio|(?:\bistio-validation\b[^\n]*|[Ee]rror:? |\berror\t|^\s*)validation timeout\s*$`,
		Meaning: "a pod has no rules that send its traffic to its proxy",
		Examples: []string{
			`iptables validation failed; workload is not ready for Istio.`,
			`Error: validation timeout`,
			"2020-02-27T09:00:00.000000Z\terror\tvalidation timeout",
		},
	}
	// PodCreateFailed is the controllers' word that a pod could not be created at all: for a webhook (then
	// [WebhookCallFailed] or [WebhookDenied] recognises it too), for a quota, for a policy.
	//
	// Fields: reason; or text, where the line doesn't name the event.
	PodCreateFailed = diagnose.Signature{
		ID:      "pod-create-failed",
		Anchors: []string{"Error creating: "},
		Pattern: `\bFailedCreate\b[^\n]*?Error creating: (?P<reason>[^\n]*)|Error creating: (?P<text>(?:Internal error occurred: |pods? ` + quotes + `[\w.-]+` + quotes + ` is |admission webhook )[^\n]*)`,
		Meaning: "Kubernetes could not create a pod",
		Examples: []string{
			`  Warning  FailedCreate  18m (x10 over 10h)  replicaset-controller  Error creating: Internal error occurred: failed calling webhook "sidecar-injector.istio.io": Post https://istiod.istio-system.svc:443/inject?timeout=30s: context deadline exceeded`,
			`Error creating: pods "cart-6f7c-x2x9z" is forbidden: exceeded quota: compute, requested: limits.cpu=2, used: limits.cpu=8, limited: limits.cpu=8`,
		},
	}
)
