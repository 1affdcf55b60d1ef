package finding_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/schema"
)

// explained are the rules that schema/README.md explains. All others have a page of their own.
var explained = []string{"plaintext-edge", "tls-not-mutual", "mtls-downgrade", "tap-blind"}

// sections are the headings of each page about a rule.
var sections = []string{"## Trigger", "## Limits", "## Example", "## First steps", "## Mute"}

// TestRulePages: each page has all sections, and its example has only fields and values of the schema, the rule's ID
// and its own address.
func TestRulePages(t *testing.T) {
	s := compilePart(t)
	for _, id := range pagedRules() {
		b, err := os.ReadFile("../../docs/rules/" + id + ".md")
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}

		page := string(b)
		for _, section := range sections {
			if strings.Count(page, "\n"+section+"\n") != 1 {
				t.Errorf("%s: no heading %q, or more than one", id, section)
			}
		}

		_, text, _ := strings.Cut(page, "\n```json\n")
		text, _, _ = strings.Cut(text, "\n```\n")
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		d := doc(v.(map[string]any))
		if got := d.text("rule.id"); got != id || !strings.HasSuffix(d.text("rule.reference"), "/docs/rules/"+id+".md") {
			t.Errorf("%s: the example is of %q, with the reference %q", id, got, d.text("rule.reference"))
		}
	}
}

// pagedRules returns the rules that have pages.
func pagedRules() (ids []string) {
	for _, id := range finding.Rules() {
		if !strings.Contains(" "+strings.Join(explained, " ")+" ", " "+id+" ") {
			ids = append(ids, id)
		}
	}
	return ids
}

// compilePart returns the strict form of the schema without required members, for a part of a record.
func compilePart(t *testing.T) *jsonschema.Schema {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.JSON))
	if err != nil {
		t.Fatal(err)
	}
	schematest.Tighten(v)
	loosen(v)
	c := jsonschema.NewCompiler()
	if err := c.AddResource("part.json", v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("part.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// loosen removes conditions and required members, in place.
func loosen(v any) {
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	for _, keyword := range []string{"required", "allOf", "anyOf", "oneOf", "if", "then", "else", "dependentRequired"} {
		delete(m, keyword)
	}
	properties, _ := m["properties"].(map[string]any)
	for _, p := range properties {
		loosen(p)
	}
	loosen(m["items"])
	loosen(m["additionalProperties"])
}
