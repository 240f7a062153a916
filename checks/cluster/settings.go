package cluster

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// Switch is what a pod itself says of injection.
type Switch int

// What a pod may say.
const (
	SwitchUnset Switch = iota // nothing: the injector's policy decides
	SwitchOn
	SwitchOff // "false", and every value that the injector doesn't take for a yes
)

// PodSwitch gives what a pod says of injection, and where: the label sidecar.istio.io/inject goes before the annotation of that
// name, and whatever is no yes of YAML 1.1 counts as a no, as in the injector (injectRequired of Istio's pkg/kube/inject).
func PodSwitch(m *kube.Meta) (s Switch, by, value string) {
	value, by = m.Annotations[kube.LabelInject], "annotation"
	if v, ok := m.Labels[kube.LabelInject]; ok {
		value, by = v, "label"
	}
	switch strings.ToLower(value) {
	case "":
		return SwitchUnset, "", ""
	case "y", "yes", "true", "on":
		return SwitchOn, by, value
	default:
		return SwitchOff, by, value
	}
}

// Settings is what an injector in the cluster was told to do with the pods that it is called for: its ConfigMap.
type Settings struct {
	ConfigMap *kube.ConfigMap
	// Policy is "enabled" or "disabled": what happens to pods that say nothing themselves. "" where it isn't told.
	Policy        string
	Never, Always []kube.Selector
}

// SettingsOf finds the ConfigMap that an injector reads: istio-sidecar-injector, with the revision at the end where it has a
// name, beside the injector's Service. ok is false where it isn't in the evidence, and for webhooks that are URLs.
func SettingsOf(in Injector, batches []evidence.Objects[kube.ConfigMap]) (s Settings, ok bool) {
	if in.Hook.Client.Service == nil {
		return s, false
	}
	name := "istio-sidecar-injector"
	if in.Revision != "default" {
		name += "-" + in.Revision
	}
	for _, b := range batches {
		for i := range b.Items {
			if c := &b.Items[i]; c.Name == name && c.Namespace == in.Hook.Client.Service.Namespace {
				return ReadSettings(c), true
			}
		}
	}
	return s, false
}

// policyLine finds the policy in the YAML of the key "config": it stands at the top level.
var policyLine = regexp.MustCompile(`(?m)^policy:[ \t]*["']?([\w-]+)`)

// ReadSettings reads an injector's ConfigMap. The selectors are those of the key "values", which is JSON and from which the key
// "config" is made. What can't be read is left out.
func ReadSettings(c *kube.ConfigMap) Settings {
	s := Settings{ConfigMap: c}
	if m := policyLine.FindStringSubmatch(c.Data["config"]); m != nil {
		s.Policy = m[1]
	}
	var values struct {
		Webhook struct {
			Never  []kube.Selector `json:"neverInjectSelector"`
			Always []kube.Selector `json:"alwaysInjectSelector"`
		} `json:"sidecarInjectorWebhook"`
	}
	if json.Unmarshal([]byte(c.Data["values"]), &values) == nil {
		s.Never, s.Always = values.Webhook.Never, values.Webhook.Always
	}
	return s
}

// Refuses says whether an injector with these settings leaves a pod alone that it is called for, though the pod itself doesn't
// refuse; why is then "policy" or the term of neverInjectSelector.
func (s Settings) Refuses(p *kube.Pod) (why string, refuses bool) {
	if sw, _, _ := PodSwitch(&p.Meta); sw != SwitchUnset {
		return "", false
	}
	matches := func(list []kube.Selector) (string, bool) {
		for _, sel := range list {
			// An empty selector is left out, unlike everywhere else.
			if failing, err := sel.Failing(p.Labels); err == nil && failing == nil && !sel.Empty() {
				var terms []string
				for _, r := range sel.Requirements() {
					terms = append(terms, r.String())
				}
				return strings.Join(terms, ","), true
			}
		}
		return "", false
	}
	if terms, ok := matches(s.Never); ok {
		return terms, true
	}
	if _, ok := matches(s.Always); ok || s.Policy == "" || s.Policy == "enabled" {
		return "", false
	}
	return PolicyWord, true
}

// PolicyWord is what [Settings.Refuses] answers where it is the policy that refuses.
const PolicyWord = "policy"
