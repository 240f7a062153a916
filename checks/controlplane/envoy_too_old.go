package controlplane

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// minEnvoy is the oldest Envoy that Cloud Service Mesh supports.
// https://cloud.google.com/traffic-director/docs/troubleshooting
var minEnvoy = version{1, 24, 9}

// EnvoyVersion is Envoy's own version string, as it stands in the guest attribute proxy-version, in /server_info, in what
// "envoy --version" prints and in Envoy's first log lines: COMMIT/VERSION/STATE/BUILD/TLS.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/server_info.proto
//
// Fields: version ("1.15.1-dev").
var EnvoyVersion = diagnose.Signature{
	ID:      "envoy-version",
	Anchors: []string{"/Clean/RELEASE", "/Clean/DEBUG", "/Modified/RELEASE", "/Modified/DEBUG"},
	Pattern: `\b(?:sha|[0-9a-f]{7,40})/(?P<version>\d+\.\d+\.\d+[0-9A-Za-z.-]*)/(?:Clean|Modified)/(?:RELEASE|DEBUG)`,
	Meaning: "Envoy says which version it is",
	Examples: []string{
		`gce-service-proxy  proxy-version  sha/1.15.1-dev/Clean/RELEASE/BoringSSL`,
		`"message": "Envoy Version: dc78069b10cc94fa07bb974b7101dd1b42e2e7bf/1.15.1-dev/Clean/RELEASE/BoringSSL",`,
		`envoy  version: dc78069b10cc94fa07bb974b7101dd1b42e2e7bf/1.30.1/Clean/RELEASE/BoringSSL`,
		` "version": "b16d390f08f8a4bb9a3fd9a2e2e7bf7cf9b4fbd4/1.24.0/Modified/DEBUG/BoringSSL",`,
	},
}

// DumpInLog is the head of a configuration dump among what was taken for a log. The version in it is of an Envoy that may be
// anybody's: who hands the dump in as a file is told more.
//
// Fields: none.
var DumpInLog = diagnose.Signature{
	ID:       "envoy-config-dump",
	Anchors:  []string{"BootstrapConfigDump"},
	Pattern:  `type\.googleapis\.com/envoy\.admin\.v\w+\.BootstrapConfigDump`,
	Meaning:  "this is a configuration dump of an Envoy, which diagnose reads with -f",
	Examples: []string{`   "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",`, `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v2alpha.BootstrapConfigDump","bootstrap":{}}]}`},
}

// EnvoyTooOld finds an Envoy that is older than Cloud Service Mesh supports.
var EnvoyTooOld = diagnose.Check{
	ID:       "controlplane/envoy-too-old",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomConfigRejected},
	Needs: []evidence.Name{
		evidence.Clients.Name(), evidence.ClientStatuses.Name(), evidence.Bootstraps.Name(), evidence.LogMessages.Name(),
		evidence.GuestAttributes.Name(), evidence.EnvoyInfos.Name(),
	},
	Signatures: []diagnose.Signature{EnvoyVersion, DumpInLog},
	Doc: diagnose.Doc{
		Title:       "Envoy is older than Cloud Service Mesh supports",
		Explanation: "Cloud Service Mesh supports Envoy 1.24.9 and later. Older ones may not connect, may reject configuration that they don't know, and get no security fixes.",
		Quiet:       "A development build of a later version; proxyless gRPC clients, which hold no Envoy; Istio's version, which isn't Envoy's; a version that a later line of the same log supersedes; a configuration dump that was read as a log.",
		Remedy: []diagnose.Step{
			{If: "instance", Text: "See which Envoy the VM runs.", Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='curl -s localhost:15000/server_info | grep version; envoy --version'"},
			{Unless: "instance", Text: "See which Envoy runs there.", Command: "curl -s localhost:15000/server_info | grep version"},
			{Text: "Where a managed instance group made the VM with --service-proxy, a new VM gets a current Envoy: replace VMs group by group. It deletes their boot disks."},
			{Text: "Where you deploy Envoy yourself, put 1.24.9 or later (a release that is still maintained, preferably) in its image or package, and roll it out."},
		},
		References: []string{
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
			"https://github.com/envoyproxy/envoy/blob/main/RELEASES.md",
		},
	},
	Evaluate: envoyTooOld,
}

// maxSeparate is up to how many old clients are told one by one; more are one cause.
const maxSeparate = 5

// oldClient is a client with an Envoy that is too old.
type oldClient struct {
	node, version string
	exhibit       diagnose.Exhibit
}

func envoyTooOld(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var tally evidence.Tally
	list, _ := evidence.Read(&tally, v, evidence.Clients)
	statuses, _ := evidence.Read(&tally, v, evidence.ClientStatuses)
	boots, _ := evidence.Read(&tally, v, evidence.Bootstraps)
	msgs, _ := evidence.Read(&tally, v, evidence.LogMessages)

	guest, _ := evidence.Read(&tally, v, evidence.GuestAttributes)
	infos, _ := evidence.Read(&tally, v, evidence.EnvoyInfos)

	causes := oldClients(req, list, statuses)
	if own := ownVersion(guest.Values[evidence.GuestProxyVersion]); tooOld(own) {
		vm := "VM " + guest.Instance
		if guest.Instance == "" {
			vm = "the VM"
		}
		causes = append(causes, oldCause(vm, "", diagnose.About{diagnose.AboutVM: {guest.Instance}}, "The Envoy of "+vm, own, diagnose.Exhibit{
			Fact: evidence.GuestAttributes.Name(), Excerpt: evidence.GuestProxyVersion + ": " + guest.Values[evidence.GuestProxyVersion], Source: guest.Source,
		}))
	}
	for _, i := range infos {
		own := ownVersion(i.Info.Version)
		if !tooOld(own) || (!req.Target.Live() && !namesTrafficDirector(i.Info.Node.ID, nil)) {
			continue
		}
		who := cmp.Or(i.Info.Node.ID, i.File, "the Envoy asked")
		key := ""
		if len(infos) > 1 {
			key = "files/" + i.File
		}
		causes = append(causes, oldCause(who, key, diagnose.About{diagnose.AboutNode: {i.Info.Node.ID}}, "The Envoy of "+who, own, diagnose.Exhibit{
			Fact: evidence.EnvoyInfos.Name(), Excerpt: "version: " + i.Info.Version, Source: i.Source,
		}))
	}
	for _, b := range boots {
		if b.Kind != evidence.EnvoyBootstrap || !tooOld(b.UserAgent) || (!req.Target.Live() && !ofTrafficDirector(b)) {
			continue
		}
		key := ""
		if len(boots) > 1 {
			key = "files/" + b.File
		}
		causes = append(causes, oldCause(b.File, key, diagnose.About{diagnose.AboutNode: {b.NodeID}}, "The Envoy of "+b.File, b.UserAgent, diagnose.Exhibit{
			Fact: evidence.Bootstraps.Name(), Excerpt: b.File + ": user agent version " + b.UserAgent, Source: b.Source,
		}))
	}
	// Of the versions in one log the last one runs.
	latest := map[string]evidence.LogMessage{}
	var logFiles []string
	dumps := map[string]bool{}
	for _, m := range msgs {
		dumps[m.File] = dumps[m.File] || m.Signature == DumpInLog.ID
	}
	for _, m := range msgs {
		if m.Signature != EnvoyVersion.ID || dumps[m.File] {
			continue
		}
		if _, ok := latest[m.File]; !ok {
			logFiles = append(logFiles, m.File)
		}
		if old, ok := latest[m.File]; !ok || after(m, old) {
			latest[m.File] = m
		}
	}
	slices.Sort(logFiles)
	for _, f := range logFiles {
		m := latest[f]
		if tooOld(m.Fields["version"]) {
			causes = append(causes, oldCause(proxyOf(req, m), fileKey(msgs, f), aboutProxy(m), "The Envoy of "+inLog(m), m.Fields["version"], quote(m)))
		}
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, tally.Err()
}

// namesTrafficDirector says whether an Envoy shows that it is one of Traffic Director's: by its node id or its node metadata.
func namesTrafficDirector(nodeID string, metadata map[string]string) bool {
	if _, err := evidence.ParseNodeID(nodeID); err == nil {
		return true
	}
	for k := range metadata {
		if strings.HasPrefix(k, "TRAFFICDIRECTOR_") {
			return true
		}
	}
	return false
}

// ownVersion takes the version out of what Envoy prints: revision/1.15.1-dev/Clean/RELEASE/BoringSSL.
func ownVersion(printed string) string {
	if p := strings.Split(printed, "/"); len(p) > 1 {
		return p[1]
	}
	return printed
}

// oldClients gives the causes that the control plane's list of clients holds.
func oldClients(req diagnose.Request, list evidence.ClientList, statuses []evidence.ClientStatus) []diagnose.Cause {
	var old []oldClient
	seen := map[string]bool{}
	envoys := 0
	look := func(c evidence.Client, fact evidence.Name, src evidence.Source) {
		if src.Pasted && !req.Target.Live() && !namesTrafficDirector(c.NodeID, c.Metadata) {
			return // an Envoy of some other mesh
		}
		if seen[c.NodeID] || !isEnvoy(c) || (req.Target.NodeID != "" && c.NodeID != req.Target.NodeID) {
			return
		}
		seen[c.NodeID] = true
		envoys++
		if tooOld(c.UserAgentVersion) {
			old = append(old, oldClient{c.NodeID, c.UserAgentVersion, diagnose.Exhibit{
				Fact: fact, Excerpt: fmt.Sprintf("%s: user agent %s %s", c.NodeID, c.UserAgentName, c.UserAgentVersion), Source: src,
			}})
		}
	}
	for _, c := range list.Clients {
		look(c, evidence.Clients.Name(), evidence.Source{})
	}
	for _, s := range statuses {
		look(s.Client, evidence.ClientStatuses.Name(), s.Source)
	}
	slices.SortFunc(old, func(a, b oldClient) int { return cmp.Compare(a.node, b.node) })
	var causes []diagnose.Cause
	if len(old) > maxSeparate {
		var versions []string
		c := diagnose.Cause{Subject: fmt.Sprintf("%d of %d Envoy proxies", len(old), envoys), Confidence: diagnose.Confirmed}
		for _, o := range old {
			versions = append(versions, o.version)
			if len(c.Evidence) < maxSeparate {
				c.Evidence = append(c.Evidence, o.exhibit)
			}
		}
		slices.Sort(versions)
		c.Summary = fmt.Sprintf("%s are older than %s: they are %s.", c.Subject, minEnvoy, listed(unique(versions)))
		return append(causes, c)
	}
	for _, o := range old {
		key := "nodes/" + o.node
		if o.node == req.Target.NodeID {
			key = ""
		}
		causes = append(causes, oldCause(o.node, key, diagnose.About{diagnose.AboutNode: {o.node}}, "The Envoy of "+shortNode(o.node), o.version, o.exhibit))
	}
	return causes
}

func oldCause(subject, key string, about diagnose.About, whose, is string, x diagnose.Exhibit) diagnose.Cause {
	if v, ok := parseVersion(is); ok {
		about[diagnose.AboutVersion] = []string{v.String()} // sources differ in what they print behind the numbers
	}
	return diagnose.Cause{
		About:   about,
		Subject: subject, Key: key, Confidence: diagnose.Confirmed,
		Summary:  fmt.Sprintf("%s is %s; Cloud Service Mesh supports %s and later.", whose, is, minEnvoy),
		Evidence: []diagnose.Exhibit{x},
	}
}

// isEnvoy says whether a client calls itself Envoy: "envoy" is what Envoy sets, gRPC libraries say "gRPC Go" and so on.
func isEnvoy(c evidence.Client) bool { return strings.EqualFold(c.UserAgentName, "envoy") }

// version is a version's three numbers.
type version [3]int

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// tooOld says whether s is a version of Envoy's that is too old. What isn't three numbers, a suffix aside, is not judged;
// a development build counts by its numbers.
func tooOld(s string) bool {
	v, ok := parseVersion(s)
	return ok && slices.Compare(v[:], minEnvoy[:]) < 0
}

func parseVersion(s string) (version, bool) {
	var v version
	// The whole string of which the version is a part, or the version alone.
	if p := strings.Split(s, "/"); len(p) > 1 {
		s = p[1]
	}
	s, _, _ = strings.Cut(strings.TrimSpace(s), "-")
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "+")
	parts := strings.Split(s, ".")
	if len(parts) != len(v) {
		return v, false
	}
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 {
			return v, false
		}
		v[i] = n
	}
	return v, v != version{}
}
