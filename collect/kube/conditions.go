package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	// conditionCost is what the API server lets one expression cost (PerCallLimit of k8s.io/apiserver/pkg/apis/cel).
	conditionCost = 1_000_000
	// conditionTimeout bounds one evaluation: what keeps to that cost takes a tenth of it.
	conditionTimeout = time.Second
	// interruptEvery is how many steps of a comprehension are made between two looks at the clock.
	interruptEvery = 100
	// maxConditionPods bounds the pods and templates that conditions are evaluated for, one for all of a template.
	maxConditionPods = 50
)

// condition is a compiled expression, or why it can't be.
type condition struct {
	configuration, webhook, name string
	hook                         *kube.Webhook
	program                      cel.Program
	problem                      string
}

// subjectPod is a pod or template that conditions are evaluated for.
type subjectPod struct {
	pod  kube.Pod
	like []kube.Pod // others of the same template
	read access     // what holds it
	path []string   // where in it
}

// matchConditions evaluates webhooks' CEL conditions for the creation of the pods asked about. They may read any field, so the
// objects are read again as they are.
func (s *step) matchConditions(ctx context.Context) error {
	all, err := s.hooks()
	if err != nil {
		return without("which conditions webhooks have", err)
	}
	src := evidence.Source{Collector: collectorName, Detail: "CEL evaluation", Vantage: evidence.FromAPI, Time: s.cfg.Now()}
	conditions, err := compileConditions(all)
	if err != nil {
		return err
	}
	var out []evidence.MatchConditionResult
	if len(conditions) > 0 {
		subjects, err := s.subjects()
		if err != nil {
			return without("which pods are asked about", err)
		}
		if n := len(subjects) - maxConditionPods; n > 0 {
			s.fail(ctx, evidence.MatchConditions.Name(), src, fmt.Errorf("they were not evaluated for %d pods", n))
			subjects = subjects[:maxConditionPods]
		}
		for _, sub := range subjects {
			out = append(out, s.evaluate(ctx, sub, conditions, src)...)
		}
	}
	evidence.Put(s.set, evidence.MatchConditions, out, src)
	return nil
}

// subjects gives the pods asked about, one for all of a template, and the templates of what makes them.
func (s *step) subjects() ([]subjectPod, error) {
	pods, err := s.askedPods()
	if err != nil {
		return nil, err
	}
	var out []subjectPod
	at := map[string]int{} // by what made it and with which template
	for _, p := range pods {
		_, injected := p.Annotations[kube.AnnotationStatus]
		key := fmt.Sprintf("%s %s %t", owner(&p.Meta), p.Labels["controller-revision-hash"], injected)
		if i, ok := at[key]; ok && alike(&p) {
			out[i].like = append(out[i].like, p)
			continue
		}
		at[key] = len(out)
		acc := access{what: "pod " + p.Ref(), verb: "get", version: "v1", resource: "pods", namespace: p.Namespace, name: p.Name}
		out = append(out, subjectPod{pod: p, read: acc})
	}
	batches, err := evidence.Get(s.view, evidence.Workloads)
	if err != nil {
		return out, nil //nolint:nilerr // the pods are enough; why workloads aren't known is told elsewhere
	}
	t := s.req.Target
	for _, w := range evidence.All(batches) {
		asked := t.Pod == "" && (t.Workload == "" || w.Kind+"/"+w.Name == t.Workload)
		if !asked || w.Controller() != nil || w.Namespace != t.Namespace {
			continue
		}
		for _, k := range workloadKinds {
			if k.kind != w.Kind {
				continue
			}
			acc := access{what: w.Title(), verb: "get", group: k.group, version: k.version, resource: k.resource, namespace: w.Namespace, name: w.Name}
			path := []string{"spec", "template"}
			if w.Kind == "CronJob" {
				path = []string{"spec", "jobTemplate", "spec", "template"}
			}
			out = append(out, subjectPod{pod: w.Pod(), read: acc, path: path})
		}
	}
	return out, nil
}

// alike says whether the pods of what made this one differ in name alone; those of StatefulSets and Jobs differ in labels too.
func alike(p *kube.Pod) bool {
	o := owner(&p.Meta)
	return strings.HasPrefix(o, "ReplicaSet/") || strings.HasPrefix(o, "DaemonSet/")
}

// evaluate gives what the conditions of those webhooks say of a pod that would be called for it otherwise.
func (s *step) evaluate(ctx context.Context, sub subjectPod, conditions []condition, src evidence.Source) []evidence.MatchConditionResult {
	var out []evidence.MatchConditionResult
	var object map[string]any
	var problem string
	for _, c := range conditions {
		if c.hook.Calls(kube.CreatePod(&sub.pod, nil), nil).Answer == kube.No {
			continue
		}
		r := evidence.MatchConditionResult{Configuration: c.configuration, Webhook: c.webhook, Condition: c.name, Pod: sub.pod.Title(), Problem: c.problem, Source: src}
		if r.Problem == "" && object == nil && problem == "" {
			var err error
			if object, err = s.raw(ctx, sub); err != nil {
				problem = err.Error()
				s.fail(ctx, evidence.MatchConditions.Name(), src, err)
			}
		}
		switch {
		case r.Problem != "":
		case problem != "":
			r.Problem = problem
		default:
			r.True, r.Problem = evaluateCondition(ctx, c.program, object, &sub.pod)
		}
		out = append(out, r)
		for _, p := range sub.like {
			r.Pod = p.Title()
			out = append(out, r)
		}
	}
	return out
}

// raw reads the pod as it is to be created: with all fields, without what is written later.
func (s *step) raw(ctx context.Context, sub subjectPod) (map[string]any, error) {
	var text json.RawMessage
	if err := s.object(ctx, sub.read, &text); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber() // CEL tells 1 from 1.0
	var whole any
	if err := dec.Decode(&whole); err != nil {
		return nil, fmt.Errorf("reading %s: %w", sub.read.what, err)
	}
	v := whole
	for _, p := range sub.path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	m, ok := numbers(v).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("reading %s: it has no %s", sub.read.what, strings.Join(sub.path, "."))
	}
	delete(m, "status")
	m["apiVersion"], m["kind"] = "v1", "Pod"
	meta, _ := m["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		m["metadata"] = meta
	}
	meta["namespace"] = sub.pod.Namespace
	if sub.pod.TemplateOf != "" {
		meta["generateName"] = sub.pod.GenerateName
	}
	return m, nil
}

// numbers makes int64 and float64 of JSON's numbers, as the API server does.
func numbers(v any) any {
	switch x := v.(type) {
	case json.Number:
		if i, err := x.Int64(); err == nil {
			return i
		}
		f, _ := x.Float64()
		return f
	case map[string]any:
		for k := range x {
			x[k] = numbers(x[k])
		}
	case []any:
		for i := range x {
			x[i] = numbers(x[i])
		}
	}
	return v
}

// compileConditions compiles the conditions of all webhooks.
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchconditions
func compileConditions(all []kube.WebhookConfiguration) ([]condition, error) {
	var env *cel.Env
	var out []condition
	for i := range all {
		for j := range all[i].Webhooks {
			w := &all[i].Webhooks[j]
			for _, mc := range w.MatchConditions {
				if env == nil {
					var err error
					if env, err = conditionEnv(); err != nil {
						return nil, fmt.Errorf("preparing CEL: %w", err)
					}
				}
				c := condition{configuration: all[i].Name, webhook: w.Name, name: mc.Name, hook: w}
				c.program, c.problem = compileCondition(env, mc.Expression)
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// conditionEnv has the variables of match conditions, and those of the API server's libraries that are CEL's own.
func conditionEnv() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType), cel.Variable("request", cel.DynType), cel.Variable("authorizer", cel.DynType),
		cel.HomogeneousAggregateLiterals(), cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(),
		ext.Strings(ext.StringsVersion(2)), ext.Sets(), ext.TwoVarComprehensions(), ext.Lists(ext.ListsVersion(3)),
	)
}

const asksAuthorizer = "it asks what the one who creates the pod may do, which isn't known here"

func compileCondition(env *cel.Env, expression string) (cel.Program, string) {
	ast, issues := env.Compile(expression)
	if err := issues.Err(); err != nil {
		if strings.Contains(expression, "authorizer") {
			return nil, asksAuthorizer
		}
		return nil, "it can't be compiled here: " + line(err.Error())
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptPartialEval), cel.CostLimit(conditionCost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, "it can't be compiled here: " + line(err.Error())
	}
	return program, ""
}

// evaluateCondition gives what an expression says of a pod's creation, or why that can't be said.
func evaluateCondition(ctx context.Context, program cel.Program, object map[string]any, p *kube.Pod) (bool, string) {
	pods := map[string]any{"group": "", "version": "v1", "resource": "pods"}
	kind := map[string]any{"group": "", "version": "v1", "kind": "Pod"}
	vars := map[string]any{
		"object": object, "oldObject": nil,
		"request": map[string]any{
			"operation": "CREATE", "kind": kind, "requestKind": kind, "resource": pods, "requestResource": pods, "subResource": "", "requestSubResource": "",
			"namespace": p.Namespace, "name": p.Name, "dryRun": false,
		},
	}
	activation, err := cel.PartialVars(vars, unknown(p)...)
	if err != nil {
		return false, "it can't be evaluated here: " + line(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, conditionTimeout)
	defer cancel()
	v, _, err := program.ContextEval(ctx, activation)
	if err != nil {
		return false, "it can't be evaluated: " + line(err.Error())
	}
	if types.IsUnknown(v) {
		return false, "it depends on what isn't known here, such as who creates the pod"
	}
	b, ok := v.Value().(bool)
	if !ok {
		return false, "it is neither true nor false"
	}
	return b, ""
}

// unknown gives what isn't known of the request that created a pod, or would: who made it, and what was written afterwards.
func unknown(p *kube.Pod) []*cel.AttributePatternType {
	at := func(variable string, path ...string) *cel.AttributePatternType {
		a := cel.AttributePattern(variable)
		for _, f := range path {
			a = a.QualString(f)
		}
		return a
	}
	out := []*cel.AttributePatternType{
		at("authorizer"), at("request", "userInfo"), at("request", "options"), at("request", "uid"),
		at("object", "metadata", "uid"), at("object", "metadata", "creationTimestamp"), at("object", "metadata", "resourceVersion"),
		at("object", "metadata", "managedFields"), at("object", "spec", "nodeName"),
	}
	if p.GenerateName != "" && !strings.HasPrefix(owner(&p.Meta), "StatefulSet/") {
		// The API server makes the name only when webhooks have been called; a StatefulSet gives its pods their own.
		out = append(out, at("request", "name"), at("object", "metadata", "name"))
	}
	if _, injected := p.Annotations[kube.AnnotationStatus]; injected {
		// It isn't as it was when it came: an injector changed these.
		for _, f := range []string{"containers", "initContainers", "volumes", "securityContext"} {
			out = append(out, at("object", "spec", f))
		}
		out = append(out, at("object", "metadata", "labels"), at("object", "metadata", "annotations"))
	}
	return out
}
