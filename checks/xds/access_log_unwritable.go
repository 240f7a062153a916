package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// AccessLogUnwritable finds a listener that was refused because its access log can't be opened.
var AccessLogUnwritable = diagnose.Check{
	ID:       "xds/access-log-unwritable",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomConfigRejected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "Envoy may not write its access log",
		Explanation: "The control plane puts the access log's path into every listener, from TRAFFICDIRECTOR_ACCESS_LOG_PATH in the " +
			"proxy's node metadata. Envoy opens the file when it takes a listener over; where its user may not, it rejects the " +
			"listener, and traffic that is redirected to that listener's port is refused.",
		Quiet: "When the file or its directory is missing, or the error is another than a lack of permission.",
		Remedy: []diagnose.Step{
			{Text: "On the proxy's VM or in its container, while Envoy runs: let Envoy's user own the file.",
				Command: `sudo touch {{path}} && sudo chown "$(ps -o euid= -C envoy | head -n 1 | tr -d ' ')" {{path}} && sudo chmod u+rw {{path}}`},
			{Text: "Its user must also be able to enter the directory that the file is in:",
				Command: `namei -l {{path}}`},
			{Text: "Or set TRAFFICDIRECTOR_ACCESS_LOG_PATH (node metadata in the bootstrap, or sidecar.env) to a file that Envoy's user may write, and restart Envoy."},
			{Text: "Envoy takes the listener over with the next configuration it is sent. Restart it to have that at once, then see that no listener is in error:",
				Command: `curl -s 'http://localhost:15000/config_dump?resource=dynamic_listeners' | grep -c error_state`},
		},
		References: []string{
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
			"https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage",
		},
	},
	Needs:      rejectionNeeds,
	Signatures: rejectionSignatures,
	Explains:   []diagnose.CheckID{"xds/config-rejected"},
	Evaluate:   accessLogUnwritable,
}

func accessLogUnwritable(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	return special(req, v, fileDenial, func(g group, k kind, who string) (string, map[string]string) {
		return fmt.Sprintf("%s could not open %s for %s: permission denied (the path is TRAFFICDIRECTOR_ACCESS_LOG_PATH's).", who, clip(k.path, maxNameSize), g.listener()),
			map[string]string{"path": k.path}
	})
}
