package repository_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNoConflictMarks: no text has the marks that git leaves when a merge or rebase stops at a conflict.
func TestNoConflictMarks(t *testing.T) {
	mark := regexp.MustCompile(`(?m)^(<{7}|>{7}) `)
	for _, name := range tracked(t) {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || bytes.IndexByte(text, 0) >= 0 { // a folder, a removed file, or a binary one
			continue
		}
		if m := mark.FindIndex(text); m != nil {
			t.Errorf("%s:%d has a mark of a conflict", name, 1+bytes.Count(text[:m[0]], []byte("\n")))
		}
	}
}

// TestResourceNames: the Kubernetes objects that documents name after the chart's release are in the manifests that the chart renders
// by default, or are the ConfigMap and the namespace that users create.
func TestResourceNames(t *testing.T) {
	rendered := read(t, "test/cluster/chart/testdata/default.yaml")
	named := regexp.MustCompile("(?i)\\b(secret|configmap|deployment|deploy|lease|service|serviceaccount|namespace|clusterrole|mutatingwebhookconfiguration|poddisruptionbudget|networkpolicy|validatingadmissionpolicy)[ /]`?((?:zz-|aa-)?meshtls-tap[a-z0-9-]*)")
	found := 0
	for _, name := range tracked(t) {
		if path.Ext(name) != ".md" && path.Base(name) != "NOTES.txt" {
			continue
		}
		for _, m := range named.FindAllStringSubmatch(read(t, name), -1) {
			found++
			kind, object := strings.ToLower(m[1]), m[2]
			if object == "meshtls-tap" && (kind == "configmap" || kind == "namespace") {
				continue
			}
			if !regexp.MustCompile(`(?:name|value): "?` + regexp.QuoteMeta(object) + `"?(?:[,}]|\s)`).MatchString(rendered) {
				t.Errorf("%s: the chart has no %s %s", name, kind, object)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d objects found: this test reads the documents wrong", found)
	}
}

// TestWordsAreExplained: schema/README.md has each word that the schema lists for a field of the project's own (meshtls) or for
// event.action and event.reason.
func TestWordsAreExplained(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal([]byte(read(t, "schema/record.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	text := read(t, "schema/README.md")
	example := []string{"client_key_hint", "ambient"} // their words are names from elsewhere
	found := 0
	var walk func(field string, node any)
	walk = func(field string, node any) {
		switch x := node.(type) {
		case map[string]any:
			words, _ := x["examples"].([]any)
			for _, w := range words {
				word, ok := w.(string)
				if !ok || !regexp.MustCompile(`^[a-z0-9_-]+$`).MatchString(word) || slices.Contains(example, path.Base(field)) {
					continue
				}
				found++
				if !strings.Contains(text, "`"+word+"`") {
					t.Errorf("schema/README.md lacks `%s`, a word of %s", word, field)
				}
			}
			for _, name := range slices.Sorted(maps.Keys(x)) {
				walk(path.Join(field, name), x[name])
			}
		case []any:
			for _, item := range x {
				walk(field, item)
			}
		}
	}
	fields := schema["properties"].(map[string]any)
	walk("meshtls", fields["meshtls"])
	event := fields["event"].(map[string]any)["properties"].(map[string]any)
	walk("event/action", event["action"])
	walk("event/reason", event["reason"])
	if found < 40 {
		t.Errorf("only %d words found: this test reads the schema wrong", found)
	}
}
