package service_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// BenchmarkDiagnose is one request whose dependencies answer at once, by each way in: what the service itself takes.
func BenchmarkDiagnose(b *testing.B) {
	r := start(b)
	b.Run("gRPC", func(b *testing.B) {
		d := pb.NewDiagnosisServiceClient(r.conn)
		for b.Loop() {
			if _, err := d.Diagnose(b.Context(), &pb.DiagnoseRequest{Target: target(plainProject)}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("REST", func(b *testing.B) {
		for b.Loop() {
			resp, err := r.http.Post(r.base+"/v1:diagnose", "application/json", strings.NewReader(good))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				b.Fatal(resp.Status, err)
			}
			_ = resp.Body.Close()
		}
	})
}
