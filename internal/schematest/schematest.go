package schematest

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/meshtls-tap/meshtls-tap/schema"
)

// Check fails the test if a record is not JSON on one line, or does not conform to the schema. It returns the decoded
// record, nil if the record is not a JSON object. Numbers are of the type json.Number.
func Check(t testing.TB, record []byte) map[string]any {
	t.Helper()
	if bytes.ContainsAny(record, "\n\r") {
		t.Errorf("line break in %q", record)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(record))
	if err != nil {
		t.Errorf("%v in %s", err, record)
		return nil
	}
	open, strict := Schemas(t)
	if err := open.Validate(v); err != nil {
		t.Errorf("%v in %s", err, record)
	} else if err := strict.Validate(v); err != nil {
		t.Errorf("strictly: %v in %s", err, record)
	}
	object, _ := v.(map[string]any)
	return object
}

// Lines checks each line that is a JSON object, except OCSF events, which have a schema of their own. The other lines are
// not records: an empty one at the end, the log of a tap. It returns the number of records.
func Lines(t testing.TB, lines []string) (records int) {
	t.Helper()
	for _, line := range lines {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "{") && !strings.Contains(line, `"class_uid":`) {
			Check(t, []byte(line))
			records++
		}
	}
	return records
}

// Schemas returns the published schema, and its strict form, in which objects have only the fields that the schema names,
// and values only those that it gives as examples. So the strict form rejects misspelled names.
func Schemas(t testing.TB) (open, strict *jsonschema.Schema) {
	t.Helper()
	both, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	return both[0], both[1]
}

var compiled = sync.OnceValues(func() (both [2]*jsonschema.Schema, err error) {
	for i := range both {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.JSON))
		if err != nil {
			return both, err
		}
		if i == 1 {
			Tighten(v)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource("record.json", v); err != nil {
			return both, err
		}
		if both[i], err = c.Compile("record.json"); err != nil {
			return both, err
		}
	}
	return both, nil
})

// Tighten turns a decoded schema, or a part of one, into its strict form, in place.
func Tighten(v any) {
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	if m["$comment"] == "open list" {
		m["enum"] = m["examples"]
	}
	properties, _ := m["properties"].(map[string]any)
	if properties != nil {
		m["additionalProperties"] = false
	}
	for _, p := range properties {
		Tighten(p)
	}
	Tighten(m["items"])
	Tighten(m["additionalProperties"])
}
