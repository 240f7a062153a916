package kube

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestConditions(t *testing.T) {
	env, err := conditionEnv()
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{
			"name": "web-0", "namespace": "shop", "generateName": "web-", "labels": map[string]any{"app": "web", "statefulset.kubernetes.io/pod-name": "web-0"},
			"annotations": map[string]any{"team": "shop"},
		},
		"spec": map[string]any{
			"containers":                    []any{map[string]any{"name": "app", "image": "shop/app:1", "ports": []any{map[string]any{"containerPort": int64(8080)}}}},
			"terminationGracePeriodSeconds": int64(30), "nodeName": "node-1",
		},
	}
	generated := &kube.Pod{Meta: kube.Meta{Name: "web-0", GenerateName: "web-", Namespace: "shop"}}
	named := &kube.Pod{Meta: kube.Meta{Name: "web-0", Namespace: "shop"}}
	injected := &kube.Pod{Meta: kube.Meta{Name: "web-0", Namespace: "shop", Annotations: map[string]string{kube.AnnotationStatus: "{}"}}}
	ofSet := &kube.Pod{Meta: kube.Meta{Name: "web-0", GenerateName: "web-", Namespace: "shop", Owners: []kube.Owner{{Kind: "StatefulSet", Name: "web", Controller: true}}}}
	const unknown = "isn't known here"
	for _, test := range []struct {
		expression string
		pod        *kube.Pod
		want       bool
		problem    string
	}{
		{expression: "true", want: true},
		{expression: "object.metadata.labels.app == 'web'", want: true},
		{expression: "'app' in object.metadata.labels && object.metadata.labels['app'].startsWith('w')", want: true},
		{expression: "!has(object.metadata.labels.missing)", want: true},
		{expression: "has(object.spec.hostNetwork)", want: false},
		{expression: "object.spec.containers.exists(c, c.image.contains('shop/'))", want: true},
		{expression: "object.spec.containers.all(c, c.ports.all(p, p.containerPort < 1024))", want: false},
		{expression: "object.spec.terminationGracePeriodSeconds == 30", want: true},
		{expression: "request.operation == 'CREATE' && request.resource.resource == 'pods' && request.namespace == 'shop'", want: true},
		{expression: "request.kind.kind == 'Deployment'", want: false},
		{expression: "oldObject == null", want: true},
		{expression: "!request.dryRun", want: true},
		{expression: "object.metadata.?labels['app'].orValue('') == 'web'", want: true},
		{expression: "['a','b'].join('-') == 'a-b' && sets.contains([1, 2], [1])", want: true},
		// Who creates the pod isn't known; what doesn't depend on it is.
		{expression: "request.userInfo.username != 'system:serviceaccount:kube-system:x'", problem: unknown},
		{expression: "!('system:nodes' in request.userInfo.groups)", problem: unknown},
		{expression: "request.userInfo.username == 'x' || object.metadata.labels.app == 'web'", want: true},
		{expression: "request.userInfo.username == 'x' && object.metadata.labels.app == 'db'", want: false},
		{expression: "authorizer.group('').resource('pods').check('create').allowed()", problem: "what the one who creates the pod may do"},
		{expression: "authorizer == null", problem: unknown},
		// A name that is made only later.
		{expression: "object.metadata.name.startsWith('web')", problem: unknown},
		{expression: "object.metadata.name.startsWith('web')", pod: named, want: true},
		{expression: "request.name == 'web-0'", problem: unknown},
		{expression: "object.metadata.generateName == 'web-'", want: true},
		{expression: "object.metadata.name == 'web-0' && object.metadata.labels['statefulset.kubernetes.io/pod-name'] == 'web-0'", pod: ofSet, want: true},
		{expression: "object.spec.nodeName == 'node-1'", problem: unknown},
		// What an injector changed isn't what came.
		{expression: "object.spec.containers.exists(c, c.name == 'istio-proxy')", pod: injected, problem: unknown},
		{expression: "object.metadata.namespace == 'shop'", pod: injected, want: true},
		// Faults.
		{expression: "object.spec.nothing.here == 1", problem: "can't be evaluated: no such key: nothing"},
		{expression: "object.metadata.labels", problem: "neither true nor false"},
		{expression: "object.(", problem: "can't be compiled here"},
		{expression: "quantity('1').isGreaterThan(quantity('2'))", problem: "can't be compiled here"},
		{expression: "namespaceObject.metadata.name == 'shop'", problem: "can't be compiled here"},
		{expression: "'aaaa'.matches('((a')", problem: "can't be"},
		// Where the machine is slow, the time is up before the cost is.
		{expression: costly, problem: "can't be evaluated: operation "},
	} {
		p := test.pod
		if p == nil {
			p = generated
		}
		program, problem := compileCondition(env, test.expression)
		got := false
		if problem == "" {
			got, problem = evaluateCondition(t.Context(), program, object, p)
		}
		if got != test.want || (problem == "") != (test.problem == "") || !strings.Contains(problem, test.problem) || strings.Contains(problem, "\n") {
			t.Errorf("%.80s: %t, %q; want %t, %q", test.expression, got, problem, test.want, test.problem)
		}
	}
}

var costly = func() string {
	list := "[" + strings.Repeat("1,", 200) + "1]"
	return list + ".all(a, " + list + ".all(b, " + list + ".all(c, a + b + c > 0)))"
}()
