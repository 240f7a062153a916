package kube

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestSelectorTerms(t *testing.T) {
	labels := map[string]string{"app": "web", "empty": ""}
	for _, tc := range []struct {
		name string
		s    string
		want string // the failing term; "" where it matches
	}{
		{"nothing", `{}`, ""},
		{"label", `{"matchLabels":{"app":"web"}}`, ""},
		{"other value", `{"matchLabels":{"app":"db"}}`, "app=db"},
		{"in", `{"matchExpressions":[{"key":"app","operator":"In","values":["db","web"]}]}`, ""},
		{"in, absent", `{"matchExpressions":[{"key":"tier","operator":"In","values":["a","b"]}]}`, "tier in (a,b)"},
		{"not in, absent", `{"matchExpressions":[{"key":"tier","operator":"NotIn","values":["a"]}]}`, ""},
		{"not in, there", `{"matchExpressions":[{"key":"app","operator":"NotIn","values":["web"]}]}`, "app!=web"},
		{"exists, empty value", `{"matchExpressions":[{"key":"empty","operator":"Exists"}]}`, ""},
		{"exists not", `{"matchExpressions":[{"key":"tier","operator":"Exists"}]}`, "tier"},
		{"absent", `{"matchExpressions":[{"key":"app","operator":"DoesNotExist"}]}`, "!app"},
		{"both kinds of terms", `{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"x","operator":"Exists"}]}`, "x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Selector
			if err := json.Unmarshal([]byte(tc.s), &s); err != nil {
				t.Fatal(err)
			}
			r, err := s.Failing(labels)
			got := ""
			if r != nil {
				got = r.String()
			}
			if err != nil || got != tc.want {
				t.Errorf("failing term %q, %v; want %q", got, err, tc.want)
			}
		})
	}
	s := Selector{MatchExpressions: []Requirement{{Key: "a", Operator: "Gt", Values: []string{"1"}}}}
	if _, err := s.Failing(labels); err == nil {
		t.Error("an unknown operator must be an error")
	}
}

func TestCalls(t *testing.T) {
	pods := []Rule{{Operations: []string{"CREATE"}, APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}}
	enabled := &Selector{MatchLabels: map[string]string{"istio-injection": "enabled"}}
	optedOut := &Selector{MatchExpressions: []Requirement{{Key: LabelInject, Operator: "NotIn", Values: []string{"false"}}}}
	byName := &Selector{MatchExpressions: []Requirement{{Key: nameLabel, Operator: "NotIn", Values: []string{"shop"}}}}
	shop := &Namespace{Meta: Meta{Name: "shop", Labels: map[string]string{"istio-injection": "enabled"}}}
	plain := &Namespace{Meta: Meta{Name: "shop"}}
	pod := &Pod{Meta: Meta{Name: "web", Namespace: "shop"}}
	out := &Pod{Meta: Meta{Name: "web", Namespace: "shop", Labels: map[string]string{LabelInject: "false"}}}
	cond := []MatchCondition{{Name: "no-jobs", Expression: "true"}}
	isFalse := func(MatchCondition) (bool, error) { return false, nil }
	failing := func(MatchCondition) (bool, error) { return false, errors.New("no such field") }
	for _, tc := range []struct {
		name string
		w    Webhook
		pod  *Pod
		ns   *Namespace
		cond ConditionResult
		want Answer
		on   string
	}{
		{"selected", Webhook{Rules: pods, NamespaceSelector: enabled, ObjectSelector: optedOut}, pod, shop, nil, Yes, ""},
		{"no selectors", Webhook{Rules: pods}, pod, nil, nil, Yes, ""},
		{"no rule", Webhook{Rules: []Rule{{Operations: []string{"UPDATE"}, APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}}}}, pod, shop, nil, No, "rules"},
		{"subresources alone", Webhook{Rules: []Rule{{Operations: []string{"*"}, APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"pods/exec"}}}}, pod, shop, nil, No, "rules"},
		{"everything", Webhook{Rules: []Rule{{Operations: []string{"*"}, APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}}}}, pod, shop, nil, Yes, ""},
		{"cluster scope", Webhook{Rules: []Rule{{Operations: []string{"*"}, APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}, Scope: "Cluster"}}}, pod, shop, nil, No, "rules"},
		{"other version, exact", Webhook{MatchPolicy: "Exact", Rules: []Rule{{Operations: []string{"CREATE"}, APIGroups: []string{""}, APIVersions: []string{"v2"}, Resources: []string{"pods"}}}}, pod, shop, nil, No, "rules"},
		{"namespace without label", Webhook{Rules: pods, NamespaceSelector: enabled}, pod, plain, nil, No, "namespaceSelector"},
		{"namespace not known", Webhook{Rules: pods, NamespaceSelector: enabled}, pod, nil, nil, Unknown, "namespaceSelector"},
		{"namespace not known, its name decides", Webhook{Rules: pods, NamespaceSelector: byName}, pod, nil, nil, No, "namespaceSelector"},
		{"namespace not known, the pod decides", Webhook{Rules: pods, NamespaceSelector: enabled, ObjectSelector: optedOut}, out, nil, nil, No, "objectSelector"},
		{"pod opted out", Webhook{Rules: pods, NamespaceSelector: enabled, ObjectSelector: optedOut}, out, shop, nil, No, "objectSelector"},
		{"condition false", Webhook{Rules: pods, MatchConditions: cond}, pod, shop, isFalse, No, "matchConditions"},
		{"condition fails", Webhook{Rules: pods, MatchConditions: cond}, pod, shop, failing, Unknown, "matchConditions"},
		{"condition not evaluated", Webhook{Rules: pods, MatchConditions: cond}, pod, shop, nil, Unknown, "matchConditions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.w.Calls(CreatePod(tc.pod, tc.ns), tc.cond)
			if got.Answer != tc.want || got.On != tc.on {
				t.Errorf("%+v; want %v on %q", got, tc.want, tc.on)
			}
		})
	}
}

func TestManagedFieldsTellLabels(t *testing.T) {
	var m Meta
	if err := json.Unmarshal([]byte(`{"name":"a","creationTimestamp":null,"managedFields":[
	  {"manager":"kubectl","operation":"Update","time":"2026-11-01T10:00:00Z","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:istio-injection":{}}}}},
	  {"manager":"kubectl-label","operation":"Update","time":"2026-11-02T10:00:00Z","fieldsV1":{"f:metadata":{"f:labels":{"f:istio.io/rev":{}}}}}]}`), &m); err != nil {
		t.Fatal(err)
	}
	if at, ok := m.LabelSetBy(LabelRevision); !ok || at.Day() != 2 {
		t.Errorf("istio.io/rev set by %v, %v", at, ok)
	}
	if _, ok := m.LabelSetBy("app"); ok {
		t.Error("nobody is noted to have set app")
	}
}
