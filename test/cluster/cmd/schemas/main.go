// Command schemas writes JSON schemas for kubeconform, so that kubeconform needs no network.
//
//	schemas FOLDER SWAGGER.JSON [CRD.YAML...]
//
// It writes one file for each kind in the OpenAPI document of a Kubernetes release and in the custom resource definitions:
// FOLDER/KIND-GROUP-VERSION.json in lower case, as kubeconform names it. The schemas have no references and are strict: an
// unknown field is an error. Optional fields may be null, as for the API server.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

type schema = map[string]any

const prefix = "#/definitions/"

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: schemas FOLDER SWAGGER.JSON [CRD.YAML...]")
		os.Exit(2)
	}
	err := os.MkdirAll(os.Args[1], 0o755)
	if err == nil {
		err = builtin(os.Args[1], os.Args[2])
	}
	for _, file := range os.Args[3:] {
		if err == nil {
			err = custom(os.Args[1], file)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func builtin(folder, swagger string) error {
	var document struct{ Definitions map[string]schema }
	if err := decode(swagger, &document); err != nil {
		return err
	}
	all := document.Definitions
	// A quantity may also be a number.
	all["io.k8s.apimachinery.pkg.api.resource.Quantity"] = schema{"oneOf": []any{schema{"type": "string"}, schema{"type": "number"}}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		kinds, ok := all[name]["x-kubernetes-group-version-kind"].([]any)
		if !ok || len(kinds) != 1 {
			continue // the definition is a part of others, or a kind such as DeleteOptions that no manifest has
		}
		kind := kinds[0].(schema)
		r := resolver{all: all, within: map[string]bool{name: true}}
		if err := write(folder, kind["group"].(string), kind["version"].(string), kind["kind"].(string), r.object(all[name])); err != nil {
			return err
		}
	}
	return nil
}

func custom(folder, file string) error {
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema schema }
			}
		}
	}
	if err := decode(file, &crd); err != nil {
		return err
	}
	if len(crd.Spec.Versions) == 0 {
		return fmt.Errorf("%s: no custom resource definition", file)
	}
	for _, v := range crd.Spec.Versions {
		r := resolver{}
		s := r.object(v.Schema.OpenAPIV3Schema)
		s["properties"].(schema)["metadata"] = schema{"type": "object"}
		if err := write(folder, crd.Spec.Group, v.Name, crd.Spec.Names.Kind, s); err != nil {
			return err
		}
	}
	return nil
}

// A resolver replaces each reference by the definition that it names. If a definition contains itself, the inner one
// is replaced by a schema that accepts everything.
type resolver struct {
	all    map[string]schema
	within map[string]bool
}

func (r resolver) any(node any) any {
	switch n := node.(type) {
	case schema:
		return r.object(n)
	case []any:
		out := make([]any, len(n))
		for i := range n {
			out[i] = r.any(n[i])
		}
		return out
	}
	return node
}

func (r resolver) object(node schema) schema {
	if ref, ok := node["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, prefix)
		if r.within[name] {
			return schema{}
		}
		within := maps.Clone(r.within)
		within[name] = true
		return resolver{r.all, within}.object(r.all[name])
	}
	if node["format"] == "int-or-string" || node["x-kubernetes-int-or-string"] == true {
		return schema{"anyOf": []any{schema{"type": "string"}, schema{"type": "integer"}}}
	}
	out := schema{}
	for k, v := range node {
		if k != "description" && k != "properties" && !strings.HasPrefix(k, "x-kubernetes") {
			out[k] = r.any(v)
		}
	}
	if properties, ok := node["properties"].(schema); ok {
		out["properties"] = r.properties(properties, node["required"])
		if node["x-kubernetes-preserve-unknown-fields"] != true {
			out["additionalProperties"] = false
		}
	}
	return out
}

func (r resolver) properties(of schema, required any) schema {
	needed, _ := required.([]any)
	out := schema{}
	for name, p := range of {
		s := r.object(p.(schema))
		if t, ok := s["type"].(string); ok && !slices.Contains(needed, any(name)) {
			s["type"] = []any{t, "null"}
		}
		out[name] = s
	}
	return out
}

func decode(file string, to any) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(content, to); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func write(folder, group, version, kind string, s schema) error {
	name := kind
	if group != "" {
		name += "-" + strings.Split(group, ".")[0]
	}
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, strings.ToLower(name+"-"+version)+".json"), content, 0o644)
}
