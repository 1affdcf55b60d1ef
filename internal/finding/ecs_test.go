package finding_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/schema"
)

// TestECSNames: the fields of the golden records that are not under meshtls are the same as the
// committed list of names of the Elastic Common Schema.
func TestECSNames(t *testing.T) {
	types := map[string]string{}
	b, err := os.ReadFile("testdata/ecs.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) == 2 && !strings.HasPrefix(line, "#") {
			types[fields[0]] = fields[1]
		}
	}
	emitted := map[string]bool{}
	for _, file := range []string{"finding.json", "flow.json", "posture.json", "tap.json", "folded.json", "redact-none.json", "ambient.json"} {
		for _, d := range read(t, file) {
			leaves(d, "", func(path string, v any) {
				if strings.HasPrefix(path, "meshtls.") {
					return
				}
				emitted[path] = true
				if !fits(types[path], v) {
					t.Errorf("%s: %s is %v, ECS has %q", file, path, v, types[path])
				}
			})
		}
	}
	for name := range types {
		if !emitted[name] {
			t.Errorf("%s is in the list, and in no golden record", name)
		}
	}
}

// read reads the records of a golden file.
func read(t *testing.T, file string) []map[string]any {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var docs []map[string]any
	for in := json.NewDecoder(f); in.More(); {
		var d map[string]any
		if err := in.Decode(&d); err != nil {
			t.Fatal(err)
		}
		docs = append(docs, d)
	}
	if len(docs) == 0 {
		t.Fatalf("%s: no records", file)
	}
	return docs
}

// leaves calls f for each value that is not an object, with its dotted path.
func leaves(node map[string]any, prefix string, f func(path string, v any)) {
	for name, v := range node {
		if m, ok := v.(map[string]any); ok {
			leaves(m, prefix+name+".", f)
			continue
		}
		f(prefix+name, v)
	}
}

// fits reports whether a value can be indexed as an ECS type.
func fits(kind string, v any) bool {
	if list, ok := v.([]any); ok {
		return len(list) > 0 && !slices.ContainsFunc(list, func(x any) bool { return !fits(kind, x) })
	}
	switch v := v.(type) {
	case string:
		return v != "" && slices.Contains([]string{"keyword", "constant_keyword", "wildcard", "match_only_text", "date", "ip"}, kind)
	case float64:
		return kind == "long" || kind == "float"
	case bool:
		return kind == "boolean"
	}
	return false
}

// TestSchemaIsUsed: each field of the schema is in a golden record. So no field of the schema is
// misspelled or never written.
func TestSchemaIsUsed(t *testing.T) {
	emitted := map[string]bool{}
	for _, file := range []string{"finding.json", "flow.json", "posture.json", "tap.json", "folded.json", "redact-none.json", "ambient.json"} {
		for _, d := range read(t, file) {
			leaves(d, "", func(path string, _ any) { emitted[path] = true })
		}
	}
	for _, r := range unseen(t) { // its fields are not in the golden tap records
		var d map[string]any
		if err := json.Unmarshal(r.Value, &d); err != nil {
			t.Fatal(err)
		}
		leaves(d, "", func(path string, _ any) { emitted[path] = true })
	}
	var s map[string]any
	if err := json.Unmarshal(schema.JSON, &s); err != nil {
		t.Fatal(err)
	}
	// kinds of workload other than the golden pod's
	for _, other := range []string{"statefulset", "daemonset", "job", "cronjob", "replicaset"} {
		emitted["kubernetes."+other+".name"] = true
	}
	promised := map[string]bool{}
	var walk func(node map[string]any, path string)
	walk = func(node map[string]any, path string) {
		properties, _ := node["properties"].(map[string]any)
		for name, p := range properties {
			walk(p.(map[string]any), strings.TrimPrefix(path+"."+name, "."))
		}
		if properties == nil && node["additionalProperties"] == nil {
			promised[path] = true
			if node["description"] == nil && node["const"] == nil {
				t.Errorf("%s has no description", path)
			}
		}
	}
	walk(s, "")
	for _, path := range slices.Sorted(maps.Keys(promised)) {
		if !emitted[path] {
			t.Errorf("%s is in the schema, and in no golden record", path)
		}
	}
	if len(promised) < 100 {
		t.Errorf("only %d fields found in the schema", len(promised))
	}
}

// TestRulesAreExplained: schema/README.md has the severities of each rule. rule.reference points to a heading there, or
// to a page of docs/rules (see TestRulePages).
func TestRulesAreExplained(t *testing.T) {
	b, err := os.ReadFile("../../schema/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range finding.Rules() {
		if !strings.Contains(string(b), "| `"+id+"` | ") && !strings.Contains(string(b), "| [`"+id+"`](../docs/rules/"+id+".md) | ") {
			t.Errorf("%s has no severities in schema/README.md", id)
		}
	}
	for _, id := range explained {
		if !strings.Contains(string(b), "\n### "+id+"\n") {
			t.Errorf("%s has no heading in schema/README.md", id)
		}
	}
	for _, d := range read(t, "finding.json") {
		ref, id := doc(d).text("rule.reference"), doc(d).text("rule.id")
		if !strings.HasSuffix(ref, "/schema/README.md#"+id) && !strings.HasSuffix(ref, "/docs/rules/"+id+".md") {
			t.Errorf("reference %s", ref)
		}
	}
}
