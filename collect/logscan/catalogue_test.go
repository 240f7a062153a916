package logscan

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/collect/accesslog"
	"github.com/meshdiag/meshdiag/diagnose"
)

// catalogue gives every signature there is.
func catalogue() []diagnose.Signature {
	all := checks.Signatures()
	have := map[string]bool{}
	for _, s := range all {
		have[s.ID] = true
	}
	for _, s := range []diagnose.Signature{
		messages.ProxyNotReady, messages.WebhookCallFailed, messages.WebhookDenied, messages.TLSRejectedByClient, messages.ValidationNotSwitched,
		messages.ValidationSwitched, messages.WebhookPatchFailed, messages.WebhookUpdateConflict, messages.PodInjectionFailed,
		messages.ConnectionRefused, messages.ProbeFailed, messages.ProxyWaitFailed, messages.InterceptionSetupFailed,
		messages.InterceptionNotValid, messages.PodCreateFailed,
	} {
		if !have[s.ID] {
			all = append(all, s)
		}
	}
	return all
}

// realLog gives the log of a real ingress gateway; a line of its kind where the corpus is not at hand.
func realLog(t *testing.T) []string {
	t.Helper()
	for dir := "."; len(dir) < 100; dir = filepath.Join("..", dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			if text, err := os.ReadFile(filepath.Join(dir, "..", "shared", "corpus", "logs", "istio-ingress-gateway.log")); err == nil {
				return strings.Split(string(text), "\n")
			}
		}
	}
	return []string{"2020-06-29T23:37:27.523826Z\twarning\tenvoy config\tStreamAggregatedResources gRPC config stream closed: 14, no healthy upstream"}
}

// TestScansAgreeOnTheCatalogue holds the scan, with every signature, to the naive one: on real lines, on examples of every
// message in every kind of wrapping, and on junk, in any order.
func TestScansAgreeOnTheCatalogue(t *testing.T) {
	signatures, log := catalogue(), realLog(t)
	var examples []string
	for _, s := range signatures {
		examples = append(examples, s.Examples...)
	}
	examples = append(examples,
		`[2026-10-09T11:12:59.536Z] "GET /x HTTP/1.1" 503 UH - - "-" 0 19 0 - "10.1.2.3" "curl/8.7.1" "12a6498f" "shop.example.com" "-" outbound|9080||shop.svc - 127.0.0.1:80 10.1.2.3:0 - -`,
		`[2024-08-27T20:00:10.142Z] "- - -" 0 UF,URX - - "delayed_connect_error:_111" 0 0 0 - "-" "-" "-" "-" "10.244.0.17:15008" connect_originate - 10.244.0.17:80 - - -`,
		`{"response_code":503,"response_flags":"UT","start_time":"2021-06-04T14:35:50.462Z"}`)
	r := rand.New(rand.NewPCG(9, 10))
	junk := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return string(b)
	}
	line := func() string {
		switch r.IntN(8) {
		case 0, 1:
			return log[r.IntN(len(log))]
		case 2:
			return junk(r.IntN(200))
		}
		s := examples[r.IntN(len(examples))]
		switch r.IntN(9) {
		case 0:
			s = fmt.Sprintf("[2025-03-02 08:%02d:%02d.%03d][%d][warning][config] %s", r.IntN(60), r.IntN(60), r.IntN(1000), r.IntN(30), s)
		case 1:
			s = fmt.Sprintf("2025-03-02T08:%02d:%02d.%03dZ stderr F %s", r.IntN(60), r.IntN(60), r.IntN(1000), s)
		case 2, 3:
			for range 1 + r.IntN(2) {
				b, err := json.Marshal(map[string]string{"log": s + "\n", "time": fmt.Sprintf("2025-03-02T08:%02d:%02dZ", r.IntN(60), r.IntN(60))})
				if err != nil {
					t.Fatal(err)
				}
				s = string(b)
			}
		case 4:
			s = fmt.Sprintf("I0302 08:%02d:%02d.100000 1 x.go:1] \"Failed\" err=%q", r.IntN(60), r.IntN(60), s)
		case 5:
			s = "\x1b[31m" + s + "\x1b[0m"
		case 6:
			s = s[r.IntN(len(s)+1):]
		case 7:
			s += " " + examples[r.IntN(len(examples))]
		}
		return s
	}
	for range 25 {
		var lines []string
		for range r.IntN(150) {
			l := line()
			for range 1 + r.IntN(3)*r.IntN(4) {
				lines = append(lines, l)
			}
		}
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		text := []byte(strings.Join(lines, []string{"\n", "\r\n"}[r.IntN(2)]))
		if r.IntN(8) == 0 {
			text = inUTF16(string(bytes.ToValidUTF8(text, nil)), binary.LittleEndian)
		}
		compareScansOf(t, signatures, accesslog.Anchors(), text, 1+r.IntN(1+r.IntN(len(text)+200)), r.IntN(400), 1+r.IntN(3))
	}
}
