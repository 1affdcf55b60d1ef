package htmlreport

import (
	"go/parser"
	"go/token"
	"html/template"
	"path/filepath"
	"strings"
	"testing"
)

// contextual has the page's trusted texts in the types of html/template.
type contextual struct {
	*page
	Style                template.CSS
	Charts, Script, Data template.JS
}

// TestTemplateIsNotLinked: only tests import the packages that would make the plugin 20 MB larger.
func TestTemplateIsNotLinked(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if i.Path.Value == `"html/template"` || i.Path.Value == `"text/template"` {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}

// TestEscaping: html/template, which escapes by context, writes the same pages, also with hostile texts.
func TestEscaping(t *testing.T) {
	reference := template.Must(template.New("page").Parse(pageText))
	for name, r := range map[string]*Report{"small": small(), "large": large(), "hostile": hostile(), "empty": {}} {
		p, err := newPage(r)
		if err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		if err := reference.Execute(&want, contextual{p, template.CSS(p.Style), template.JS(p.Charts), template.JS(p.Script), template.JS(p.Data)}); err != nil {
			t.Fatal(err)
		}
		got := render(t, r)
		lines := strings.Split(want.String(), "\n")
		for i, line := range strings.Split(got, "\n") {
			if i >= len(lines) || line != lines[i] {
				t.Fatalf("%s: line %d is\n%.500s\nand not\n%.500s", name, i+1, line, lines[min(i, len(lines)-1)])
			}
		}
		if got != want.String() {
			t.Errorf("%s: the page is shorter", name)
		}
	}
}
