package chart_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestReadme compares the table in the chart's README with values.yaml: the last column of the table has the comments
// "# -- " of values.yaml. The text outside of the two marks in README.md is written by hand.
func TestReadme(t *testing.T) {
	const begin, end = "<!-- values: written by `make chart UPDATE=1` -->\n", "<!-- end of values -->\n"
	file := filepath.Join(chart, "README.md")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(content), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks %q and %q", file, begin, end)
	}
	var table strings.Builder
	table.WriteString("\n| value | default | description |\n|---|---|---|\n")
	for _, v := range leaves(t) {
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", v.path, strings.ReplaceAll(v.value, "|", `\|`), strings.ReplaceAll(v.comment, "|", `\|`))
	}
	table.WriteString("\n")
	compare(t, file, before+begin+table.String()+end+after)
}

type leaf struct{ path, value, comment string }

// leaves returns the values that have a row in the table: scalars, lists, and maps that are empty or have one
// description for the whole map.
func leaves(t *testing.T) []leaf {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	var found []leaf
	var walk func(prefix string, node *yaml.Node)
	walk = func(prefix string, node *yaml.Node) {
		for i := 0; i < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			path, comment := prefix+key.Value, described(key)
			if value.Kind == yaml.MappingNode && len(value.Content) > 0 && comment == "" {
				walk(path+".", value)
				continue
			}
			found = append(found, leaf{path, compact(t, value), comment})
		}
	}
	walk("", document.Content[0])
	return found
}

// described returns the text of the comment "# -- " above a key, or "".
func described(key *yaml.Node) string {
	lines := strings.Split(key.HeadComment, "\n")
	text, ok := strings.CutPrefix(lines[len(lines)-1], "# -- ")
	if !ok {
		return ""
	}
	return text
}

func compact(t *testing.T, node *yaml.Node) string {
	t.Helper()
	var v any
	if err := node.Decode(&v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestEveryValueIsInTheSchema finds values that the schema has and values.yaml lacks. Helm itself refuses values that
// the schema lacks.
func TestEveryValueIsInTheSchema(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(content, &root); err != nil {
		t.Fatal(err)
	}
	content, err = os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := yaml.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, schema, values map[string]any)
	walk = func(path string, schema, values map[string]any) {
		properties, _ := schema["properties"].(map[string]any)
		if properties != nil && schema["additionalProperties"] != false && path != ".global" { // global may have unknown keys, because other charts use it too
			t.Errorf("the schema of %q takes values that it does not know", path)
		}
		for name, p := range properties {
			value, ok := values[name]
			if !ok && name != "global" && name != "cpu" && !strings.HasSuffix(path, "issuerRef") {
				t.Errorf("the schema has %s.%s, values.yaml has not", path, name)
			}
			if inner, ok := value.(map[string]any); ok {
				walk(path+"."+name, p.(map[string]any), inner)
			}
		}
	}
	walk("", root, all)
}
