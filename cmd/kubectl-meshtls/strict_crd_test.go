package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// istioAPI is the module with Istio's CRDs (Apache-2.0). The test downloads it through the Go module proxy; the product does not use it.
const istioAPI = "istio.io/api@v1.28.0"

// TestPoliciesFitCRDs: the CRD of PeerAuthentication accepts what strict prints, without a field that it does not know.
func TestPoliciesFitCRDs(t *testing.T) {
	if testing.Short() {
		t.Skip("it downloads " + istioAPI)
	}
	schema := crdSchema(t, filepath.Join(module(t, istioAPI), "kubernetes", "customresourcedefinitions.gen.yaml"), "peerauthentications.security.istio.io", "v1")
	g, list := permissive(t, "istio")
	var out bytes.Buffer
	if err := writePolicies(&out, g, list); err != nil {
		t.Fatal(err)
	}
	docs := strings.Split(out.String(), "\n---\n")[1:]
	if len(docs) != 2 {
		t.Fatalf("%d documents", len(docs))
	}
	for _, doc := range docs {
		if err := schema.Validate(specOf(t, doc)); err != nil {
			t.Errorf("%v\n%s", err, doc)
		}
		if wrong := strings.Replace(doc, "STRICT", "STRICTEST", 1); schema.Validate(specOf(t, wrong)) == nil {
			t.Errorf("an unknown mode is accepted: %s", wrong)
		}
		if wrong := strings.Replace(doc, "selector:", "selektor:", 1); schema.Validate(specOf(t, wrong)) == nil {
			t.Errorf("an unknown field is accepted: %s", wrong)
		}
	}
}

// module returns the folder of a Go module.
func module(t *testing.T, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", name)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := cmd.Output()
	var found struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &found); err != nil || jsonErr != nil || found.Dir == "" {
		t.Skipf("%s is not available: %v %s", name, err, found.Error)
	}
	return found.Dir
}

// crdSchema returns the schema of a custom resource, in which unknown fields are errors.
func crdSchema(t *testing.T, file, name, version string) *jsonschema.Schema {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(b), "\n---\n") {
		var crd struct {
			Metadata struct{ Name string }
			Spec     struct {
				Versions []struct {
					Name   string
					Schema struct{ OpenAPIV3Schema map[string]any }
				}
			}
		}
		if err := yaml.Unmarshal([]byte(doc), &crd); err != nil {
			t.Fatal(err)
		}
		if crd.Metadata.Name != name {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if v.Name != version {
				continue
			}
			properties, _ := v.Schema.OpenAPIV3Schema["properties"].(map[string]any)
			closeObjects(properties["spec"])
			c := jsonschema.NewCompiler()
			if err := c.AddResource("spec.json", properties["spec"]); err != nil {
				t.Fatal(err)
			}
			s, err := c.Compile("spec.json")
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	t.Fatalf("%s has no %s %s", file, name, version)
	return nil
}

// closeObjects forbids properties that a schema does not name, which the API server would drop.
func closeObjects(node any) {
	switch n := node.(type) {
	case map[string]any:
		if _, named := n["properties"]; named && n["additionalProperties"] == nil {
			n["additionalProperties"] = false
		}
		if n["format"] != nil { // formats of OpenAPI such as int32
			delete(n, "format")
		}
		for _, x := range n {
			closeObjects(x)
		}
	case []any:
		for _, x := range n {
			closeObjects(x)
		}
	}
}

func specOf(t *testing.T, doc string) any {
	t.Helper()
	j, err := yaml.YAMLToJSON([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		t.Fatal(err)
	}
	o, _ := v.(map[string]any)
	return o["spec"]
}
