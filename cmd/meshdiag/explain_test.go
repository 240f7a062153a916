package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/report"
)

const scopeRefused = "gRPC config stream closed: 7, Request had insufficient authentication scopes.\n"

// explained runs explain with a text on standard input.
func explained(t *testing.T, in string, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	exit = run(t.Context(), append([]string{"explain"}, args...), strings.NewReader(in), &out, &errs)
	return exit, out.String(), errs.String()
}

func TestExplain(t *testing.T) {
	known, unknown := file(t, "envoy.log", scopeRefused), file(t, "app.log", "all is well\n")
	huge := file(t, "huge.log", "")
	if err := os.Truncate(huge, 40<<20); err != nil { // sparse: one line of 40 MiB of nothing
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		in       string
		args     []string
		exit     int
		out, err string
	}{
		{"a file", "", []string{known}, 1, "missing-oauth-scope", ""},
		{"standard input", scopeRefused, nil, 1, "missing-oauth-scope", ""},
		{"standard input by its name", scopeRefused, []string{"-"}, 1, "missing-oauth-scope", ""},
		{"nothing known", "", []string{unknown}, 3, "no known message in 1 line", ""},
		{"larger than diagnose takes", "", []string{huge}, 3, "no known message in 1 line", ""},
		{"empty", "", nil, 2, "", "standard input is empty"},
		{"no such file", "", []string{"/no/such.log"}, 2, "", "/no/such.log"},
		{"folder", "", []string{t.TempDir()}, 2, "", "folder"},
		{"two files", "", []string{known, unknown}, 2, "", "at most 1"},
		{"format", "x", []string{"-o", "xml"}, 2, "", "--output"},
		{"bad server", "x", []string{"--server", "nowhere"}, 2, "", "--server"},
		{"too much for a server", "", []string{"--server", "127.0.0.1:1", huge}, 2, "", "16 MiB"},
	} {
		exit, out, errs := explained(t, tc.in, tc.args...)
		if exit != tc.exit || !strings.Contains(strings.Join(strings.Fields(out), " "), tc.out) || !strings.Contains(errs, tc.err) {
			t.Errorf("%s: exit %d, want %d\n%s%s", tc.name, exit, tc.exit, out, errs)
		}
		if tc.exit == exitUsage && (out != "" || strings.Count(errs, "\n") != 1) {
			t.Errorf("%s: want one line on standard error alone, got %q and %q", tc.name, out, errs)
		}
	}
}

func TestExplainFormats(t *testing.T) {
	for _, format := range report.Formats() {
		exit, out, errs := explained(t, scopeRefused, "-o", format)
		if exit != exitCausesFound || !strings.Contains(out, "controlplane/missing-oauth-scope") {
			t.Errorf("-o %s: exit %d\n%s%s", format, exit, out, errs)
		}
	}
	var rep struct {
		Verdict string
		Causes  []struct{ CheckID string }
	}
	_, out, _ := explained(t, scopeRefused, "-o", "json")
	if err := json.Unmarshal([]byte(out), &rep); err != nil || rep.Verdict != "VERDICT_CAUSES_FOUND" || len(rep.Causes) != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestExplainByServer holds that a server gives the causes that are found here.
func TestExplainByServer(t *testing.T) {
	address := startServer(t, nil)
	exit, out, errs := explained(t, "caf\xe9\n"+scopeRefused, "--server", address)
	if exit != exitCausesFound || !strings.Contains(out, "controlplane/missing-oauth-scope") {
		t.Errorf("exit %d\n%s%s", exit, out, errs)
	}
	if exit, out, errs = explained(t, "all is well", "--server", address); exit != exitInconclusive {
		t.Errorf("exit %d\n%s%s", exit, out, errs)
	}
}
