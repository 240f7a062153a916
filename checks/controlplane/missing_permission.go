package controlplane

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The permissions that a proxy needs; roles/trafficdirector.client holds both.
// https://cloud.google.com/iam/docs/roles-permissions/trafficdirector
const (
	getConfigs    = "trafficdirector.networks.getConfigs"    // configuration: ADS and CSDS
	reportMetrics = "trafficdirector.networks.reportMetrics" // load reports: LRS
)

// fullEvaluation is the method whose word on a permission takes everything into account: folders, groups, conditions and
// deny policies.
const fullEvaluation = "policy-troubleshooter"

// MissingPermission finds that the proxies' service account lacks a permission of the control plane.
//
// A full evaluation or the control plane's own refusal is CONFIRMED. A project policy that doesn't grant the permission is
// LIKELY at most: folders, groups, custom roles, conditions and deny policies aren't in it.
var MissingPermission = diagnose.Check{
	ID:         "controlplane/missing-permission",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerAPI,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:      []evidence.Name{evidence.ProxyPermissions.Name(), evidence.LogMessages.Name()},
	Explains:   disconnected,
	Signatures: []diagnose.Signature{messages.PermissionDenied, messages.StreamClosed, messages.ADSFailed, messages.StreamWorked},
	Doc: diagnose.Doc{
		Title: "The proxies' service account lacks a permission",
		Explanation: "The control plane gives configuration to principals that hold " + getConfigs + " on the project that the proxy names, " +
			"and takes load reports from those that hold " + reportMetrics + ". Without the first a proxy gets no configuration at all; " +
			"without the second alone it works, and the control plane balances without knowing the load.",
		Quiet: "Basic and network roles that include the permission (owner, editor, viewer, compute.networkViewer, compute.networkAdmin and others); " +
			"the control plane answered later on; the principal's permissions could not be evaluated (inconclusive).",
		Remedy: []diagnose.Step{
			{Unless: "service_account", If: "instance", Text: "Find the service account of the proxy's VM.",
				Command: "gcloud compute instances describe {{instance}} --zone={{zone}} --project={{project}} --format='value(serviceAccounts.email)'"},
			{If: "service_account", Text: "Grant the role that holds both permissions. It takes a minute or two; proxies connect by themselves then.",
				Command: "gcloud projects add-iam-policy-binding {{project}} --member=serviceAccount:{{service_account}} --role=roles/trafficdirector.client --condition=None"},
			{Unless: "service_account", Text: "Grant the role that holds both permissions to the proxies' service account; put its email in SERVICE_ACCOUNT_EMAIL's place.",
				Command: "gcloud projects add-iam-policy-binding {{project}} --member=serviceAccount:SERVICE_ACCOUNT_EMAIL --role=roles/trafficdirector.client --condition=None"},
			{If: "service_account", Text: "If the account holds the role already, see what takes it away (a condition or a deny policy).",
				Command: "gcloud policy-troubleshoot iam //cloudresourcemanager.googleapis.com/projects/{{project}} --principal-email={{service_account}} --permission={{permission}}"},
		},
		References: []string{
			"https://cloud.google.com/iam/docs/roles-permissions/trafficdirector",
			"https://docs.cloud.google.com/service-mesh/docs/audit-logging-td",
		},
	},
	Evaluate: missingPermission,
}

func missingPermission(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	states, stateErr := evidence.Get(v, evidence.ProxyPermissions)
	if stateErr == nil && len(states) == 0 {
		stateErr = diagnose.Skip("no principal's permissions were evaluated")
	}
	causes, unknown := lackingPermissions(req, states)
	msgs, logErr := evidence.Get(v, evidence.LogMessages)
	causes = append(causes, refusedPermissions(req, msgs, states)...)
	switch {
	case len(causes) > 0:
		return causes, nil
	case unknown != "":
		return nil, &evidence.Missing{Name: evidence.ProxyPermissions.Name(), Why: evidence.Failed, Err: errors.New(unknown)}
	}
	return nil, either(stateErr, logErr)
}

// lackingPermissions gives a cause for each principal that lacks a permission, and else what isn't known.
func lackingPermissions(req diagnose.Request, states []evidence.PermissionState) (causes []diagnose.Cause, unknown string) {
	var principals []string
	for _, s := range states {
		principals = append(principals, s.Principal)
	}
	for _, p := range unique(principals) {
		var lacks []evidence.PermissionState
		for _, name := range []string{getConfigs, reportMetrics} {
			s, ok := strongest(states, p, name)
			switch {
			case !ok || s.Access == evidence.AccessGranted:
			case s.Access == evidence.AccessDenied || s.Access == evidence.AccessNotInPolicy:
				lacks = append(lacks, s)
			case unknown == "":
				unknown = fmt.Sprintf("whether %s holds %s could not be evaluated", p, name)
			}
		}
		if len(lacks) == 0 {
			continue
		}
		s := lacks[0]
		how := "the project's own policy grants it by no role (folders, groups and conditions were not seen)"
		confidence := diagnose.Likely
		if s.Access == evidence.AccessDenied {
			how = "Policy Troubleshooter says so"
			if s.Method == fullEvaluation {
				confidence = diagnose.Confirmed
			} else {
				how = "an evaluation by " + s.Method + " says so"
			}
		}
		c := diagnose.Cause{
			Subject: p, Confidence: confidence,
			About:   diagnose.About{diagnose.AboutAccount: {p}, diagnose.AboutProject: {s.Project}},
			Summary: fmt.Sprintf("%s lacks %s in project %s: %s.", p, s.Permission, orTarget(s.Project, req), how),
			Params:  map[string]string{"service_account": p, "permission": s.Permission, "project": orTarget(s.Project, req)},
		}
		if s.Permission == reportMetrics {
			c.Severity = diagnose.Degrading
			c.Summary = fmt.Sprintf("%s gets configuration but may not report load: it lacks %s in project %s.", p, s.Permission, orTarget(s.Project, req))
		}
		for _, l := range lacks {
			c.About[diagnose.AboutPermission] = append(c.About[diagnose.AboutPermission], l.Permission)
			c.Evidence = append(c.Evidence, diagnose.Exhibit{
				Fact: evidence.ProxyPermissions.Name(), Source: l.Source,
				Excerpt: fmt.Sprintf("%s: %s %s (%s)", p, l.Permission, accessWord(l.Access), l.Method),
			})
		}
		causes = append(causes, c)
	}
	return causes, unknown
}

// strongest gives what is best known of a permission: a full evaluation, then a grant, then what else there is.
func strongest(states []evidence.PermissionState, principal, permission string) (evidence.PermissionState, bool) {
	rank := func(s evidence.PermissionState) int {
		switch {
		case s.Access == evidence.AccessUnknown:
			return 0
		case s.Method == fullEvaluation:
			return 3
		case s.Access == evidence.AccessGranted:
			return 2
		}
		return 1
	}
	var best evidence.PermissionState
	found := false
	for _, s := range states {
		if s.Principal == principal && s.Permission == permission && (!found || rank(s) > rank(best)) {
			best, found = s, true
		}
	}
	return best, found
}

// refusedPermissions gives a cause for each log in which the control plane refuses the proxy.
func refusedPermissions(req diagnose.Request, msgs []evidence.LogMessage, states []evidence.PermissionState) []diagnose.Cause {
	var causes []diagnose.Cause
	add := func(m evidence.LogMessage, permission, project string, confidence diagnose.Confidence, loads bool) {
		named := project
		project = orTarget(project, req)
		c := diagnose.Cause{
			Subject: proxyOf(req, m), Key: fileKey(msgs, m.File), Confidence: confidence,
			About:    aboutProxy(m),
			Summary:  fmt.Sprintf("The control plane refuses the proxy's service account, says %s: it lacks %s.", inLog(m), permission),
			Params:   map[string]string{"permission": permission, "project": project},
			Evidence: []diagnose.Exhibit{quote(m)},
		}
		c.About[diagnose.AboutPermission], c.About[diagnose.AboutProject] = []string{permission}, []string{named}
		if granted(states, permission) {
			c.Confidence = diagnose.Possible
			c.Summary = fmt.Sprintf("%s says that the proxy lacks %s; its service account holds it now, so the message is old or another account's.", inLog(m), permission)
		}
		if loads {
			c.Severity = diagnose.Degrading
			c.Summary = fmt.Sprintf("The control plane refuses the proxy's load reports, says %s: its service account lacks %s.", inLog(m), permission)
		}
		same := func(o diagnose.Cause) bool { return o.Key == c.Key && o.Subject == c.Subject }
		if i := slices.IndexFunc(causes, same); i >= 0 { // one account, one role to grant
			causes[i] = both(causes[i], c)
			return
		}
		causes = append(causes, c)
	}
	good := worked(msgs)
	var files []string // whose refusal names the permission
	for _, m := range msgs {
		permission := m.Fields["permission"] + m.Fields["required"] + m.Fields["lacking"]
		if m.Signature != messages.PermissionDenied.ID || permission == "" || good.after(m) {
			continue
		}
		files = append(files, m.File)
		add(m, permission, m.Fields["project"], diagnose.Confirmed, permission == reportMetrics)
	}
	for _, c := range closures(msgs) {
		if c.code != codePermissionDenied || !callerText.MatchString(c.text) || slices.Contains(files, c.File) || good.after(c.LogMessage) {
			continue
		}
		loads := c.method == loadReports
		permission := getConfigs
		if loads {
			permission = reportMetrics
		}
		add(c.LogMessage, permission, "", diagnose.Likely, loads)
	}
	return causes
}

// both makes one cause of two permissions that one proxy lacks. That of configuration speaks: without it nothing works.
func both(a, b diagnose.Cause) diagnose.Cause {
	out := a
	if a.Severity != diagnose.SeverityUnset && b.Severity == diagnose.SeverityUnset {
		out = b
	}
	out.Evidence = append(slices.Clone(a.Evidence), b.Evidence...)
	out.About = maps.Clone(out.About)
	out.About[diagnose.AboutPermission] = unique(append(slices.Clone(a.About[diagnose.AboutPermission]), b.About[diagnose.AboutPermission]...))
	return out
}

// granted says whether a full evaluation found that every principal known holds a permission.
func granted(states []evidence.PermissionState, permission string) bool {
	some := false
	for _, s := range states {
		if s.Permission != permission {
			continue
		}
		if s.Access != evidence.AccessGranted || s.Method != fullEvaluation {
			return false
		}
		some = true
	}
	return some
}

func accessWord(a evidence.Access) string {
	if a == evidence.AccessDenied {
		return "denied"
	}
	return "not granted by the project's policy"
}

func orTarget(project string, req diagnose.Request) string {
	if strings.TrimSpace(project) == "" {
		return req.Target.Project
	}
	return project
}
