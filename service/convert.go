package service

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
	"github.com/meshdiag/meshdiag/evidence/kube"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// The API's enums, value by value. A test holds that no value is missing on either side.
var (
	verdicts = map[diagnose.Verdict]pb.Verdict{
		diagnose.CausesFound:  pb.Verdict_VERDICT_CAUSES_FOUND,
		diagnose.Healthy:      pb.Verdict_VERDICT_HEALTHY,
		diagnose.Inconclusive: pb.Verdict_VERDICT_INCONCLUSIVE,
	}
	severities = map[diagnose.Severity]pb.Severity{
		diagnose.SeverityUnset: pb.Severity_SEVERITY_UNSPECIFIED,
		diagnose.Advice:        pb.Severity_SEVERITY_ADVICE,
		diagnose.Degrading:     pb.Severity_SEVERITY_DEGRADING,
		diagnose.Blocking:      pb.Severity_SEVERITY_BLOCKING,
	}
	confidences = map[diagnose.Confidence]pb.Confidence{
		diagnose.ConfidenceUnset: pb.Confidence_CONFIDENCE_UNSPECIFIED,
		diagnose.Possible:        pb.Confidence_CONFIDENCE_POSSIBLE,
		diagnose.Likely:          pb.Confidence_CONFIDENCE_LIKELY,
		diagnose.Confirmed:       pb.Confidence_CONFIDENCE_CONFIRMED,
	}
	outcomes = map[diagnose.Outcome]pb.Outcome{
		diagnose.OutcomePassed:       pb.Outcome_OUTCOME_PASSED,
		diagnose.OutcomeFound:        pb.Outcome_OUTCOME_FOUND,
		diagnose.OutcomeSymptom:      pb.Outcome_OUTCOME_SYMPTOM,
		diagnose.OutcomeSkipped:      pb.Outcome_OUTCOME_SKIPPED,
		diagnose.OutcomeInconclusive: pb.Outcome_OUTCOME_INCONCLUSIVE,
	}
	vantages = map[evidence.Vantage]pb.Vantage{
		evidence.FromService:  pb.Vantage_VANTAGE_SERVICE,
		evidence.FromWorkload: pb.Vantage_VANTAGE_WORKLOAD,
		evidence.FromAPI:      pb.Vantage_VANTAGE_API,
	}
	symptoms = map[diagnose.Symptom]pb.Symptom{
		diagnose.SymptomNone:           pb.Symptom_SYMPTOM_UNSPECIFIED,
		diagnose.SymptomNotConnected:   pb.Symptom_SYMPTOM_NOT_CONNECTED,
		diagnose.SymptomNoConfig:       pb.Symptom_SYMPTOM_NO_CONFIG,
		diagnose.SymptomConfigRejected: pb.Symptom_SYMPTOM_CONFIG_REJECTED,
		diagnose.SymptomRequestsFail:   pb.Symptom_SYMPTOM_REQUESTS_FAIL,
		diagnose.SymptomNoSidecar:      pb.Symptom_SYMPTOM_NO_SIDECAR,
		diagnose.SymptomPodNotStarting: pb.Symptom_SYMPTOM_POD_NOT_STARTING,
	}
)

// ToProto gives a report as the API has it, under a name: "reports/ID". Text that isn't valid UTF-8, as a log may hold, has
// U+FFFD where it breaks; times that are zero or out of the API's range are left out.
func ToProto(rep *diagnose.Report, name string) *pb.Report {
	out := &pb.Report{
		Name: name, Target: targetToProto(rep.Target), Verdict: verdicts[rep.Verdict], Headline: rep.Headline, Notes: slices.Clone(rep.Notes),
		Timing: &pb.Timing{StartTime: timeToProto(rep.Timing.Started), Duration: durationpb.New(rep.Timing.Took)},
	}
	for _, c := range rep.Timing.Collectors {
		out.Timing.Collectors = append(out.Timing.Collectors, timingToProto(c))
	}
	for _, f := range rep.Causes {
		out.Causes = append(out.Causes, causeToProto(f))
	}
	for _, r := range rep.Results {
		out.Results = append(out.Results, resultToProto(r))
	}
	for _, o := range rep.Observations {
		m := &pb.Observation{
			Fact: string(o.Name), Status: pb.FactStatus_FACT_STATUS_KNOWN, Source: o.Source.String(), Vantage: vantages[o.Source.Vantage],
			Time: timeToProto(o.Source.Time),
		}
		if !o.Known() {
			m.Status, m.Error = pb.FactStatus_FACT_STATUS_UNKNOWN, o.Err.Error()
		}
		out.Observations = append(out.Observations, m)
	}
	for _, u := range rep.Unseen {
		out.Unseen = append(out.Unseen, &pb.Unseen{
			Fact: string(u.Fact), Reason: u.Reason, Source: u.Source.String(), Permission: u.Permission, Role: u.Role, Command: u.Command,
			Mandatory: u.Mandatory,
		})
	}
	return valid(out)
}

func causeToProto(f diagnose.Finding) *pb.Cause {
	m := &pb.Cause{
		CheckId: string(f.Check), Title: f.Title, Severity: severities[f.Severity], Confidence: confidences[f.Confidence],
		Subject: f.Subject, Summary: f.Summary, Explanation: f.Explanation, References: slices.Clone(f.References),
		Remediation: stepsToProto(f.Remedy), Symptoms: texts(f.Symptoms),
	}
	for _, x := range f.Evidence {
		m.Evidence = append(m.Evidence, &pb.Evidence{
			Fact: string(x.Fact), Source: x.Source.String(), Vantage: vantages[x.Source.Vantage], Time: timeToProto(x.Source.Time), Excerpt: x.Excerpt,
		})
	}
	return m
}

func stepsToProto(actions []diagnose.Action) (out []*pb.RemediationStep) {
	for _, a := range actions {
		out = append(out, &pb.RemediationStep{Text: a.Text, Command: a.Command})
	}
	return out
}

func resultToProto(r diagnose.Result) *pb.CheckResult {
	return &pb.CheckResult{CheckId: string(r.Check), Outcome: outcomes[r.Outcome], Reason: r.Reason}
}

func timingToProto(t diagnose.CollectorTiming) *pb.CollectorTiming {
	return &pb.CollectorTiming{Name: t.Name, Duration: durationpb.New(t.Took), Late: t.Late, Error: t.Err}
}

// eventToProto gives nil for an event that holds nothing.
func eventToProto(e diagnose.Event) *pb.StreamDiagnoseResponse {
	m := &pb.StreamDiagnoseResponse{}
	switch {
	case e.Collector != nil:
		m.Event = &pb.StreamDiagnoseResponse_Collector{Collector: timingToProto(*e.Collector)}
	case e.Check != nil:
		m.Event = &pb.StreamDiagnoseResponse_Check{Check: resultToProto(*e.Check)}
	case e.CollectorStarted != "":
		m.Event = &pb.StreamDiagnoseResponse_CollectorStarted{CollectorStarted: e.CollectorStarted}
	default:
		return nil
	}
	return valid(m)
}

// targetToProto gives nil for a target that names nothing: only files were read.
func targetToProto(t diagnose.Target) *pb.Target {
	if t == (diagnose.Target{}) {
		return nil
	}
	m := &pb.Target{Project: t.Project, Network: t.Network, Mesh: t.Mesh, NodeId: t.NodeID}
	if t.Instance != "" {
		m.Vm = &pb.Vm{Zone: t.Zone, Instance: t.Instance}
	}
	if t.Kubernetes() {
		m.Kubernetes = &pb.Kubernetes{Cluster: t.Cluster, Namespace: t.Namespace, Pod: t.Pod, Workload: t.Workload, Revision: t.Revision}
	}
	return m
}

func targetFromProto(t *pb.Target) diagnose.Target {
	k := t.GetKubernetes()
	out := diagnose.Target{
		Project: t.GetProject(), Network: t.GetNetwork(), Mesh: t.GetMesh(), NodeID: t.GetNodeId(),
		Zone: t.GetVm().GetZone(), Instance: t.GetVm().GetInstance(),
		Cluster: k.GetCluster(), Namespace: k.GetNamespace(), Pod: k.GetPod(), Revision: k.GetRevision(),
	}
	if kind, name, ok := kube.SplitWorkload(k.GetWorkload()); ok {
		out.Workload = kind + "/" + name
	}
	return out
}

// requestFromProto gives the engine's request. Artifacts without a name are numbered, and names that occur twice are told
// apart, so that each is found again in the report. The error is a [*diagnose.BadInput].
func requestFromProto(r *pb.DiagnoseRequest) (diagnose.Request, error) {
	out := diagnose.Request{Target: targetFromProto(r.GetTarget())}
	for s, p := range symptoms {
		if p == r.GetSymptom() {
			out.Symptom = s
		}
	}
	out.Target.Destination, out.Target.ServingPort = r.GetDestination(), int(r.GetServingPort())
	if r.GetDestination() != "" {
		if _, err := envoy.ParseDestination(r.GetDestination()); err != nil {
			return out, &diagnose.BadInput{Field: "destination", Message: err.Error()}
		}
	}
	taken := map[string]bool{}
	total := 0
	for i, a := range slices.Concat(r.GetArtifacts(), r.GetBaseline()) {
		data := a.GetData()
		if a.GetText() != "" {
			data = []byte(a.GetText())
		}
		field, at := "artifacts", i
		if i >= len(r.GetArtifacts()) {
			field, at = "baseline", i-len(r.GetArtifacts())
		}
		if total += len(data); total > MaxArtifactBytes {
			return out, &diagnose.BadInput{
				Field: fmt.Sprintf("%s[%d]", field, at), Message: fmt.Sprintf("the artifacts are more than %d bytes together; hand in fewer, or only their last part", MaxArtifactBytes),
			}
		}
		out.Artifacts = append(out.Artifacts, diagnose.Artifact{Name: freeName(a.GetName(), i, taken), Data: data, Baseline: field == "baseline"})
	}
	// The fields besides artifacts' contents; framing adds a few bytes each.
	if rest := proto.Size(r) - total; rest > MaxRequestBytes {
		return out, &diagnose.BadInput{Field: "request", Message: fmt.Sprintf("is %d bytes long without its artifacts; at most %d are read", rest, MaxRequestBytes)}
	}
	return out, nil
}

func freeName(name string, i int, taken map[string]bool) string {
	base := name
	if base == "" {
		base = fmt.Sprintf("artifact %d", i+1)
	}
	name = base
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s (%d)", base, n)
	}
	taken[name] = true
	return name
}

func texts[T ~string](in []T) (out []string) {
	for _, s := range in {
		out = append(out, string(s))
	}
	return out
}

func timeToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	if ts := timestamppb.New(t); ts.IsValid() {
		return ts
	}
	return nil
}

// valid replaces what isn't UTF-8 in a message's strings: such a message could not be sent. The message must share no list
// with anything else.
func valid[M proto.Message](m M) M {
	scrub(m.ProtoReflect())
	return m
}

func utf8Text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func scrub(m protoreflect.Message) {
	clean := func(v protoreflect.Value) protoreflect.Value { return protoreflect.ValueOfString(utf8Text(v.String())) }
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		isText, isMessage := fd.Kind() == protoreflect.StringKind, fd.Message() != nil
		switch {
		case fd.IsMap():
			scrubMap(v.Map(), clean)
		case fd.IsList():
			for i := range v.List().Len() {
				if isText {
					v.List().Set(i, clean(v.List().Get(i)))
				} else if isMessage {
					scrub(v.List().Get(i).Message())
				}
			}
		case isText:
			m.Set(fd, clean(v))
		case isMessage:
			scrub(v.Message())
		}
		return true
	})
}

// scrubMap cleans keys and values; the API's maps are of strings alone.
func scrubMap(m protoreflect.Map, clean func(protoreflect.Value) protoreflect.Value) {
	bad := map[string]protoreflect.Value{}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		if s := k.String(); utf8Text(s) != s || utf8Text(v.String()) != v.String() {
			bad[s] = clean(v)
		}
		return true
	})
	for k, v := range bad {
		m.Clear(protoreflect.ValueOfString(k).MapKey())
		m.Set(protoreflect.ValueOfString(utf8Text(k)).MapKey(), v)
	}
}
