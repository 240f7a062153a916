package service_test

import (
	"net/http"
	"strings"
	"testing"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

func TestDiagnoseByBoth(t *testing.T) {
	r := start(t)
	resp, err := pb.NewDiagnosisServiceClient(r.conn).Diagnose(t.Context(), &pb.DiagnoseRequest{Target: &pb.Target{Project: plainProject, Network: "default"}})
	if err != nil {
		t.Fatal(err)
	}
	if c := resp.GetReport().GetCauses(); len(c) != 1 || c[0].GetCheckId() != "config/network-mismatch" {
		t.Errorf("causes: %v", c)
	}
	a := r.do(t, http.MethodPost, "/v1:diagnose", `{"target":{"project":"plain-project","network":"default"}}`)
	if a.code != http.StatusOK || !strings.Contains(a.body, `"checkId":"config/network-mismatch"`) || !strings.HasSuffix(a.body, "}\n") {
		t.Errorf("%d %s", a.code, a.body)
	}
}
