package inject

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// declaredReasons returns the values of all constants of type Reason, or inject.Reason, in the Go files of a folder.
func declaredReasons(t *testing.T, folder string) map[Reason]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	found := map[Reason]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || spec.Type == nil || !strings.HasSuffix(typeName(spec.Type), "Reason") {
				return true
			}
			for _, v := range spec.Values {
				if text, err := strconv.Unquote(v.(*ast.BasicLit).Value); err == nil {
					found[Reason(text)] = true
				}
			}
			return true
		})
	}
	return found
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// TestExplanations: each reason that this package or the webhook can give is explained, and no other.
func TestExplanations(t *testing.T) {
	declared := declaredReasons(t, ".")
	for r := range declaredReasons(t, "../../webhook") {
		declared[r] = true
	}
	if len(declared) < 20 {
		t.Fatalf("only %d reasons were found in the code", len(declared))
	}
	for r := range declared {
		if r == Injected {
			continue
		}
		if r.Meaning() == "" || r.Remedy() == "" && r != ReasonAlready {
			t.Errorf("%s: meaning %q, remedy %q", r, r.Meaning(), r.Remedy())
		}
	}
	for r := range explanations {
		if !declared[r] {
			t.Errorf("%s is explained, but no code gives it", r)
		}
	}
}

func TestParseNotTapped(t *testing.T) {
	for r := range explanations {
		got, detail, ok := ParseNotTapped(fmt.Sprintf(NotTappedNote, r, "it is so. Really."))
		if !ok || got != r || detail != "it is so. Really." {
			t.Errorf("%s: %s, %q, %v", r, got, detail, ok)
		}
	}
	for _, note := range []string{"", "A pod was created with a tap: mode native.", "A pod was created without a tap: unheard_of. x"} {
		if _, _, ok := ParseNotTapped(note); ok {
			t.Errorf("%q was understood", note)
		}
	}
}
