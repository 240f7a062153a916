package checks

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
)

// TestCatalogue holds the order, and that every check that another explains exists.
func TestCatalogue(t *testing.T) {
	all := All()
	if !slices.IsSortedFunc(all, func(a, b diagnose.Check) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
		t.Error("the catalogue isn't sorted by ID")
	}
	if _, err := diagnose.New(diagnose.Config{Checks: all}); err != nil {
		t.Error(err)
	}
	ids := map[diagnose.CheckID]bool{}
	for _, c := range all {
		ids[c.ID] = true
	}
	for _, c := range all {
		for _, x := range c.Explains {
			if !ids[x] {
				t.Errorf("%s explains %s, which is no check", c.ID, x)
			}
		}
		if c.Doc.Explanation == "" || len(c.Doc.Remedy) == 0 || len(c.Doc.References) == 0 || c.Doc.Quiet == "" {
			t.Errorf("%s lacks part of its documentation", c.ID)
		}
		for _, r := range c.Doc.References {
			if !strings.HasPrefix(r, "https://") {
				t.Errorf("%s refers to %q, which is no URL", c.ID, r)
			}
		}
	}
}

// TestEveryCheckIsInItsPlace holds that a check lives in the file that its ID names, beside a test, and is listed.
func TestEveryCheckIsInItsPlace(t *testing.T) {
	listed := map[string]bool{}
	for _, c := range All() {
		listed[string(c.ID)] = true
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, id := range checkIDs(t, path) {
			want := strings.ReplaceAll(id, "-", "_")
			if got := strings.TrimSuffix(filepath.ToSlash(path), ".go"); got != want {
				t.Errorf("%s is in %s, not in %s.go", id, path, want)
			}
			if _, err := os.Stat(want + "_test.go"); err != nil {
				t.Errorf("%s has no test beside it: %v", id, err)
			}
			if !listed[id] {
				t.Errorf("%s is not in the catalogue", id)
			}
			delete(listed, id)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := range listed {
		t.Errorf("%s is in the catalogue, and in no file", id)
	}
}

// checkIDs gives the IDs of the diagnose.Check literals of a file.
func checkIDs(t *testing.T, path string) (ids []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		if sel, ok := lit.Type.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Check" {
			return true
		}
		for _, e := range lit.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "ID" {
				if v, ok := kv.Value.(*ast.BasicLit); ok {
					ids = append(ids, strings.Trim(v.Value, `"`))
				}
			}
		}
		return true
	})
	return ids
}

// TestPagesAreFresh holds docs/checks to what the checks say now.
func TestPagesAreFresh(t *testing.T) {
	root := filepath.Join("..", "docs", "checks")
	want := map[string]string{"README.md": Index(All())}
	for _, c := range All() {
		want[string(c.ID)+".md"] = Page(c)
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil || !bytes.Equal(got, []byte(text)) {
			t.Errorf("docs/checks/%s is stale (make gen writes it): %v", name, err)
		}
	}
}

// TestSignatures holds that an ID means one signature.
func TestSignatures(t *testing.T) {
	seen := map[string]string{}
	for _, c := range All() {
		for _, s := range c.Signatures {
			if p, ok := seen[s.ID]; ok && p != s.Pattern {
				t.Errorf("signature %s means two things", s.ID)
			}
			seen[s.ID] = s.Pattern
		}
	}
	if got := Signatures(); len(got) != len(seen) {
		t.Errorf("%d signatures, want %d", len(got), len(seen))
	}
}

// TestRetired holds that an ID, once given, is never lost: testdata/ids lists every one.
func TestRetired(t *testing.T) {
	b, err := os.ReadFile("testdata/ids")
	if err != nil {
		t.Fatal(err)
	}
	var given []string
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		given = append(given, sc.Text())
	}
	for _, c := range All() {
		if !slices.Contains(given, string(c.ID)) {
			t.Errorf("%s is new: add it to testdata/ids", c.ID)
		}
		given = slices.DeleteFunc(given, func(s string) bool { return s == string(c.ID) })
	}
	for _, id := range given {
		t.Errorf("%s was given once, and no check has it", id)
	}
}
