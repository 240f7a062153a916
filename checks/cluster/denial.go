package cluster

import "strings"

// InjectorRefused says whether a webhook's denial of a request is the sidecar injector's word on its own template, its values, or an
// annotation of the pod: injection/injector-failed tells it then, and webhook/denied leaves it alone. webhook and reason are the
// fields of [messages.WebhookDenied]. The injector hands its error to the API server as it is, so that any denial by a webhook of
// its name is one (toAdmissionResponse of Istio's pkg/kube/inject/webhook.go).
func InjectorRefused(webhook, reason string) bool {
	if strings.HasSuffix(webhook, injectorSuffix) {
		return true
	}
	for _, words := range []string{"Pod injection failed", "failed parsing generated injected YAML", "failed to run injection template"} {
		if strings.Contains(reason, words) {
			return true
		}
	}
	return false
}
