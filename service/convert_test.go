package service

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// constants counts the constants of a type that a package declares.
func constants(t *testing.T, dir, typeName string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources in %s: %v", dir, err)
	}
	n := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			current := ""
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				if id, ok := v.Type.(*ast.Ident); ok {
					current = id.Name
				} else if len(v.Values) > 0 {
					current = ""
				}
				if current == typeName {
					n += len(v.Names)
				}
			}
		}
	}
	return n
}

// mapped holds a table against both sides: every constant of the Go type has a value, and every value of the API but
// UNSPECIFIED (where zero is false) is one's.
func mapped[K comparable, V protoreflect.Enum](t *testing.T, dir, typeName string, table map[K]V, zero bool) {
	t.Helper()
	if n := constants(t, dir, typeName); n != len(table) {
		t.Errorf("%s has %d constants, the table %d rows", typeName, n, len(table))
	}
	seen := map[protoreflect.EnumNumber]int{}
	var any V
	for _, v := range table {
		seen[v.Number()]++
	}
	values := any.Descriptor().Values()
	for i := range values.Len() {
		v := values.Get(i)
		want := 1
		if v.Number() == 0 && !zero {
			want = 0
		}
		if seen[v.Number()] != want {
			t.Errorf("%s stands %d times in the table of %s, want %d", v.Name(), seen[v.Number()], typeName, want)
		}
	}
}

func TestEveryValueIsMapped(t *testing.T) {
	mapped(t, "../diagnose", "Verdict", verdicts, false)
	mapped(t, "../diagnose", "Severity", severities, true)
	mapped(t, "../diagnose", "Confidence", confidences, true)
	mapped(t, "../diagnose", "Outcome", outcomes, false)
	mapped(t, "../diagnose", "Symptom", symptoms, true)
	mapped(t, "../evidence", "Vantage", vantages, false)
	for _, s := range diagnose.Symptoms() {
		if symptoms[s] == pb.Symptom_SYMPTOM_UNSPECIFIED {
			t.Errorf("symptom %s isn't mapped", s)
		}
	}
}

func TestToProto(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	bad := "bytes \xff\xfe"
	src := evidence.Source{Collector: "csds", Detail: bad, Vantage: evidence.FromAPI, Time: at}
	rep := &diagnose.Report{
		Target:  diagnose.Target{Project: "p", Network: "n", Zone: "z", Instance: "i", NodeID: bad},
		Verdict: diagnose.CausesFound, Headline: bad, Notes: []string{"fine", bad},
		Causes: []diagnose.Finding{{
			Check: "a/b", Title: bad, Severity: diagnose.Blocking, Confidence: diagnose.Likely, Subject: bad, Summary: bad, Explanation: bad,
			Evidence: []diagnose.Exhibit{{Fact: "clients", Excerpt: bad, Source: src}, {Fact: "x", Source: evidence.Source{Time: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}}},
			Remedy:   []diagnose.Action{{Text: bad, Command: bad}}, References: []string{bad}, Symptoms: []diagnose.CheckID{"c/d"},
		}},
		Results:      []diagnose.Result{{Check: "a/b", Outcome: diagnose.OutcomeFound, Reason: bad}},
		Observations: []evidence.Observation{{Name: "clients", Source: src}, {Name: "rules", Source: src, Err: errors.New(bad)}},
		Unseen:       []diagnose.Unseen{{Fact: "rules", Reason: bad, Source: src, Permission: "perm", Role: "role", Command: bad, Mandatory: true}},
		Timing:       diagnose.Timing{Started: at, Took: time.Second, Collectors: []diagnose.CollectorTiming{{Name: "csds", Took: time.Second, Late: true, Err: bad}}},
	}
	m := ToProto(rep, "reports/x")
	if _, err := proto.Marshal(m); err != nil {
		t.Errorf("can't be sent: %v", err)
	}
	if _, err := protojson.Marshal(m); err != nil {
		t.Errorf("can't be JSON: %v", err)
	}
	const repaired = "bytes \uFFFD"
	c := m.GetCauses()[0]
	for what, ok := range map[string]bool{
		"name":         m.GetName() == "reports/x",
		"target":       m.GetTarget().GetVm().GetInstance() == "i" && m.GetTarget().GetVm().GetZone() == "z" && m.GetTarget().GetNodeId() == repaired,
		"verdict":      m.GetVerdict() == pb.Verdict_VERDICT_CAUSES_FOUND && m.GetHeadline() == repaired,
		"notes":        m.GetNotes()[0] == "fine" && m.GetNotes()[1] == repaired,
		"cause":        c.GetCheckId() == "a/b" && c.GetSeverity() == pb.Severity_SEVERITY_BLOCKING && c.GetConfidence() == pb.Confidence_CONFIDENCE_LIKELY && c.GetSymptoms()[0] == "c/d",
		"evidence":     c.GetEvidence()[0].GetSource() == "csds "+repaired && c.GetEvidence()[0].GetVantage() == pb.Vantage_VANTAGE_API && c.GetEvidence()[0].GetTime().AsTime().Equal(at),
		"odd time":     c.GetEvidence()[1].GetTime() == nil,
		"remedy":       c.GetRemediation()[0].GetCommand() == repaired,
		"result":       m.GetResults()[0].GetOutcome() == pb.Outcome_OUTCOME_FOUND,
		"observations": m.GetObservations()[0].GetStatus() == pb.FactStatus_FACT_STATUS_KNOWN && m.GetObservations()[1].GetStatus() == pb.FactStatus_FACT_STATUS_UNKNOWN && m.GetObservations()[1].GetError() == repaired,
		"unseen":       m.GetUnseen()[0].GetMandatory() && m.GetUnseen()[0].GetRole() == "role",
		"timing":       m.GetTiming().GetDuration().AsDuration() == time.Second && m.GetTiming().GetCollectors()[0].GetLate(),
	} {
		if !ok {
			t.Errorf("%s: %v", what, m)
		}
	}
	if rep.Notes[1] != bad || rep.Causes[0].References[0] != bad {
		t.Error("the report itself was changed")
	}
}

// Keys and values of node metadata are whatever a client sends.
func TestClientTextIsRepaired(t *testing.T) {
	m := clientToProto("projects/p/networks/n", evidence.Client{NodeID: "a/b", Metadata: map[string]string{"k\xff": "v\xff", "ok": "ok"}}, nil)
	if _, err := proto.Marshal(m); err != nil {
		t.Error(err)
	}
	if m.GetName() != "projects/p/networks/n/clients/a%2Fb" || m.GetMetadata()["k\uFFFD"] != "v\uFFFD" || m.GetMetadata()["ok"] != "ok" || len(m.GetMetadata()) != 2 {
		t.Errorf("%v", m)
	}
}
