package record_test

import (
	"encoding/json"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/schema"
)

// TestSchema: record.schema.json and the types have the same members at every path, with the same
// JSON types. Members that the schema requires are always written.
func TestSchema(t *testing.T) {
	var s struct {
		node
		Defs map[string]node `json:"$defs"`
	}
	if err := json.Unmarshal(schema.JSON, &s); err != nil {
		t.Fatal(err)
	}
	c := comparison{t: t, defs: s.Defs}
	c.compare("", reflect.TypeFor[record.Record](), &s.node)
	if c.values < 150 {
		t.Errorf("only %d values compared", c.values)
	}
}

// node is a part of a JSON Schema.
type node struct {
	Ref        string           `json:"$ref"`
	Type       string           `json:"type"`
	Const      any              `json:"const"`
	Minimum    *int             `json:"minimum"`
	Required   []string         `json:"required"`
	Properties map[string]*node `json:"properties"`
	Items      *node            `json:"items"`
	Additional *node            `json:"additionalProperties"`
}

type comparison struct {
	t      *testing.T
	defs   map[string]node
	values int // scalar values
}

func (c *comparison) compare(path string, typ reflect.Type, n *node) {
	if typ.Kind() == reflect.Pointer && typ != reflect.TypeFor[*time.Time]() {
		typ = typ.Elem()
	}
	if want := scalar(typ); want != "" {
		c.values++
		if got := c.describe(n); got != want && !strings.HasPrefix(got, want+" ") {
			c.t.Errorf("%s is %s in Go, but %s in the schema", path, want, got)
		}
		return
	}
	switch {
	case typ.Kind() == reflect.Slice && n.Type == "array" && n.Items != nil:
		c.compare(path+"[]", typ.Elem(), n.Items)
	case typ.Kind() == reflect.Map && n.Type == "object" && n.Additional != nil:
		c.compare(path+".*", typ.Elem(), n.Additional)
	case typ.Kind() == reflect.Struct && n.Type == "object" && n.Properties != nil:
		c.members(path, typ, n)
	default:
		c.t.Errorf("%s is a %s in Go, but %+v in the schema", path, typ, n)
	}
}

// members compares the members of an object.
func (c *comparison) members(path string, typ reflect.Type, n *node) {
	seen := map[string]bool{}
	for _, f := range reflect.VisibleFields(typ) {
		name, options, tagged := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			continue
		case n.Properties[name] == nil:
			c.t.Errorf("%s.%s is in Go but not in the schema", path, name)
			continue
		case tagged && !slices.Contains([]string{"omitempty", "omitzero"}, options):
			c.t.Errorf("%s.%s has the tag %q", path, name, options)
		case tagged && slices.Contains(n.Required, name):
			c.t.Errorf("%s.%s is required but not always written", path, name)
		}
		seen[name] = true
		c.compare(strings.TrimPrefix(path+"."+name, "."), f.Type, n.Properties[name])
	}
	for _, name := range slices.Sorted(maps.Keys(n.Properties)) {
		if !seen[name] {
			c.t.Errorf("%s.%s is in the schema but not in Go", path, name)
		}
	}
}

// scalar returns the name of the JSON type of a value, in the same form as describe. It returns "" for
// objects and lists.
func scalar(typ reflect.Type) string {
	switch typ {
	case reflect.TypeFor[record.Time]():
		return "time"
	case reflect.TypeFor[*time.Time]():
		return "second"
	case reflect.TypeFor[netip.Addr]():
		return "ip"
	}
	switch typ.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Uint16:
		return "port"
	case reflect.Uint64:
		return "integer 0.."
	case reflect.Int64:
		return "integer"
	default:
		return ""
	}
}

// describe returns the name of a type in the schema. References to times, addresses and ports have names
// of their own.
func (c *comparison) describe(n *node) string {
	name := strings.TrimPrefix(n.Ref, "#/$defs/")
	if slices.Contains([]string{"time", "second", "ip", "port"}, name) {
		return name
	}
	if name != "" {
		def := c.defs[name]
		n = &def
	}
	switch n.Const.(type) {
	case string:
		return "string"
	case float64:
		return "integer"
	}
	if n.Type == "integer" && n.Minimum != nil && *n.Minimum >= 0 {
		return "integer 0.."
	}
	return n.Type
}
