package messages

import "github.com/meshdiag/meshdiag/diagnose"

// AgentCannotReach is the word of the agent on a VM that the control plane's API server doesn't answer it. It looks again
// within minutes, so that one alone says little.
//
// Fields: none.
var AgentCannotReach = diagnose.Signature{
	ID:      "agent-cannot-reach-api-server",
	Anchors: []string{"annot reach the Cloud Service Mesh API", "annot reach the Traffic Director API"},
	Pattern: `[Cc]annot reach the (?:Cloud Service Mesh|Traffic Director) API server`,
	Meaning: "the agent on the VM can't reach the control plane's API server",
	Examples: []string{
		`gce-service-proxy  agent-last-failure  Cannot reach the Cloud Service Mesh API server`,
		`"message": "Cannot reach the Traffic Director API server",`,
	},
}

// IPv6ModulesMissing is what ip6tables and modprobe print where the running kernel has no IPv6 tables. "Address family not
// supported by protocol" isn't among them: it says that IPv6 is switched off.
//
// Fields: module or table, whichever the line names.
var IPv6ModulesMissing = diagnose.Signature{
	ID:      "ip6tables-modules-missing",
	Anchors: []string{"initialize ip6tables table", "Module ip6", "Module nf_nat_ipv6", "Module nf_conntrack_ipv6"},
	Pattern: "initialize ip6tables table [`'](?P<table>\\w+)'(?:: Table does not exist[^\\n]*)?$" +
		`|FATAL: Module (?P<module>ip6\w+|nf_nat_ipv6|nf_conntrack_ipv6) not found`,
	Meaning: "the running kernel lacks the modules of IPv6 packet filtering",
	Examples: []string{
		"ip6tables v1.8.7 (legacy): can't initialize ip6tables table `nat': Table does not exist (do you need to insmod?)",
		"modprobe: FATAL: Module ip6_tables not found in directory /lib/modules/5.10.0-28-cloud-amd64",
		"[   61.204511] startup-script: modprobe: FATAL: Module ip6table_nat not found in directory /lib/modules/5.10.0-28-cloud-amd64",
	},
}

// FetchFailed is what package managers, gsutil, curl and the OS Config agent print where what the set-up of a proxy needs
// can't be fetched. Such lines are of the set-up only in a VM's serial port output, or where they name its bucket.
//
// Fields: host, or bucket, as far as the line names one.
var FetchFailed = diagnose.Signature{
	ID: "bootstrap-fetch-failed",
	Anchors: []string{
		"Could not connect to ", "Failed to fetch ", "Temporary failure resolving", "Could not resolve", "Failed to connect to ",
		"does not have storage.objects.", "ServiceException: ", "AccessDeniedException: ", "Unable to find the server at ",
		"OSConfigAgent Error", "OSConfigAgent Warning", "Timeout was reached for http", "Resolving timed out",
	},
	Pattern: `\bCould not connect to (?P<apt>[a-z0-9.-]+:\d+)[^\n]*(?:timed out|unreachable|refused)` +
		`|\b[EWN]: Failed to fetch (?:mirror\+)?(?:https?|file|mirror)[:+]+/*(?P<fetch>[^\s/]+)[^\n]*(?:Could not|Temporary failure|Unable to connect|timed out|refused|unreachable|Cannot initiate)` +
		`|\bTemporary failure resolving '(?P<resolve>[^']+)'` +
		`|\bcurl: \(\d+\) (?:Could not resolve host: |Failed to connect to |Resolving timed out|Connection timed out)(?P<curl>[a-z0-9.-]*)` +
		`|(?:\((?:28|6|7)\): Timeout was reached for |Could not resolve host: )(?:https?://)?(?P<yum>[a-z0-9.-]+)` +
		`|(?:ServiceException: 40[13]|AccessDeniedException: 403)[^\n]*|does not have storage\.objects\.\w+ access(?: to (?:the )?(?P<bucket>\S+))?` +
		`|Unable to find the server at (?P<gsutil>[a-z0-9.-]+)` +
		`|OSConfigAgent (?:Error|Warning)\b[^\n]*?(?:code: \\?"(?:PermissionDenied|Unauthenticated|Unavailable|DeadlineExceeded)|rpc error: code = (?:PermissionDenied|Unauthenticated|Unavailable|DeadlineExceeded)|(?:dial tcp|lookup) (?P<dial>[a-z0-9.:-]+)[^\n]*)`,
	Meaning: "a package, a file or a service that a VM's set-up needs could not be reached",
	Examples: []string{
		`Mar  2 12:00:41 web-1 startup-script:   Could not connect to deb.debian.org:80 (151.101.194.132), connection timed out`,
		`E: Failed to fetch http://deb.debian.org/debian/pool/main/i/iptables/iptables_1.8.7-1_amd64.deb  Could not connect to deb.debian.org:80 (151.101.194.132), connection timed out`,
		`Err:1 http://deb.debian.org/debian bullseye InRelease   Temporary failure resolving 'deb.debian.org'`,
		`startup-script: curl: (28) Failed to connect to storage.googleapis.com port 443 after 130934 ms: Connection timed out`,
		`startup-script: curl: (6) Could not resolve host: storage.googleapis.com`,
		`ServiceException: 401 Anonymous caller does not have storage.objects.get access to the Google Cloud Storage object.`,
		`AccessDeniedException: 403 482915067713-compute@developer.gserviceaccount.com does not have storage.objects.list access to the Google Cloud Storage bucket.`,
		`ERROR: (gcloud.storage.cp) Unable to find the server at storage.googleapis.com`,
		`OSConfigAgent[412]: 2026-03-02T12:00:31.1021Z OSConfigAgent Error main.go:88: code: "PermissionDenied", message: "Permission denied", details: []`,
		`OSConfigAgent[412]: 2026-03-02T12:00:31.1021Z OSConfigAgent Warning: Error waiting for task (attempt 2 of 10): rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 142.250.1.95:443: i/o timeout"`,
		`Curl error (28): Timeout was reached for https://packages.cloud.google.com/yum/repos/google-compute-engine-el8-x86_64-stable/repodata/repomd.xml`,
	},
}

// ServiceProxySetup is a failure in the set-up of a service proxy, in the words of what runs it: its script, systemd, the
// OS Config agent, which runs the script as a recipe once and never again.
//
// Fields: none.
var ServiceProxySetup = diagnose.Signature{
	ID:      "service-proxy-setup-failed",
	Anchors: []string{"service-proxy-agent", "install-gce-service-proxy-agent", "Error installing recipe", "service-proxy-"},
	Pattern: `(?i)\bservice-proxy[\w.-]*\b[^\n]*\b(?:error|errors|failed|failure|fatal|panic|cannot|unable|denied|not found|no such file|exit(?:ed)?(?: with)? (?:status|code)[ =]*[1-9]\d*|status=[1-9]\d*)\b` +
		`|\b(?:error|failed|fatal|panic|cannot|unable)\b[^\n]*\bservice-proxy-agent\b|Error installing recipe: [^\n]*`,
	Meaning: "a step in the set-up of the VM's service proxy failed",
	Examples: []string{
		`Mar  2 12:01:07 web-1 systemd[1]: service-proxy-agent.service: Failed with result 'exit-code'.`,
		`startup-script: /tmp/tmp.x1/service-proxy-agent/service-proxy-agent-bootstrap.sh: line 212: dpkg: command not found`,
		`OSConfigAgent[412]: 2026-03-02T12:01:07.5Z OSConfigAgent Error policies.go:74: Error installing recipe: error running step 0 (RunScript): exit status 1`,
		`tar: cannot open /tmp/tmp.x1/service-proxy-agent-0.2.tgz: No such file or directory`,
	},
}
