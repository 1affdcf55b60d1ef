package manifest

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func config() *inject.Config {
	return &inject.Config{
		Settings: inject.Settings{Env: []corev1.EnvVar{{Name: "TAP_MESH", Value: "istio"}}}.Defaults(),
		Image:    "registry.example/meshtls-tap:1.2.3", PullPolicy: corev1.PullIfNotPresent, Profile: inject.ProfileDefault, Version: "1.2.3",
	}
}

// manifests returns the manifests in testdata, by name.
func manifests(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	all := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".in.yaml")] = string(text)
	}
	return all
}

func injected(t *testing.T, text string) (string, []Outcome) {
	t.Helper()
	var b bytes.Buffer
	outcomes, err := Inject(strings.NewReader(text), &b, config(), now)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), outcomes
}

func uninjected(t *testing.T, text string) (string, []Outcome) {
	t.Helper()
	var b bytes.Buffer
	outcomes, err := Uninject(strings.NewReader(text), &b)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), outcomes
}

// parsed returns the documents of a manifest as values.
func parsed(t *testing.T, text string) []any {
	t.Helper()
	var all []any
	for document := range strings.SplitSeq("\n"+text, "\n---") {
		var v any
		if err := sigsyaml.Unmarshal([]byte(document), &v); err != nil {
			t.Fatal(err)
		}
		if v != nil {
			all = append(all, v)
		}
	}
	return all
}

// TestGolden compares the injected manifests with golden files, which are reviewed as text.
func TestGolden(t *testing.T) {
	for name, text := range manifests(t) {
		got, _ := injected(t, text)
		file := filepath.Join("testdata", name+".out.yaml")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("%s: %v: the result differs (-update writes it):\n%s", file, err, got)
		}
	}
}

// TestRoundTrip: removing the tap restores each field, and adding it again gives the same text.
func TestRoundTrip(t *testing.T) {
	for name, text := range manifests(t) {
		with, _ := injected(t, text)
		if with == text {
			t.Errorf("%s: nothing was injected", name)
		}
		without, _ := uninjected(t, with)
		if got, want := parsed(t, without), parsed(t, text); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: after inject and uninject:\n%s", name, without)
		}
		if again, _ := injected(t, without); !reflect.DeepEqual(parsed(t, again), parsed(t, with)) {
			t.Errorf("%s: a second injection differs:\n%s", name, again)
		}
		if twice, outcomes := injected(t, with); twice != with || outcomes[0].Reason != inject.ReasonAlready {
			t.Errorf("%s: a tapped manifest was changed: %+v", name, outcomes)
		}
	}
}

// TestUnchanged: documents without pods, and pods that are not tapped, are copied byte by byte.
func TestUnchanged(t *testing.T) {
	for name, text := range map[string]string{
		"a service":        "apiVersion: v1\nkind:   Service   # spaces stay\nmetadata: {name: web}\n",
		"another group":    "apiVersion: example.com/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{name: a}]}}}\n",
		"comments":         "# nothing here\n",
		"three documents":  "kind: A\n---\n# only a comment\n---\nkind: B\n",
		"opted out":        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {meshtls-tap: disabled}}\nspec: {containers: [{name: a, image: a}]}\n",
		"host network":     "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: true, containers: [{name: a, image: a}]}\n",
		"no template":      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n",
		"a list":           "[1, 2]\n",
		"as helm prints":   "---\n# Source: web.yaml\nkind: A\n--- # the second\nkind: B\n---\n---\n",
		"line ends of DOS": "kind: A\r\n---\r\nkind: B\r\n",
		"no line end":      "kind: A\n---\nkind: B",
		"dashes":           "kind: A\nmetadata:\n  name: |\n    ---\n",
		"nothing":          "",
		"ends":             "kind: A\n...\n---\nkind: B\n...\n",
	} {
		if got, _ := injected(t, text); got != text {
			t.Errorf("%s: inject printed %q", name, got)
		}
		if got, _ := uninjected(t, text); got != text {
			t.Errorf("%s: uninject printed %q", name, got)
		}
	}
}

func TestOutcomes(t *testing.T) {
	text := strings.Join([]string{
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: a}]}\n",
		"apiVersion: v1\nkind: Pod\nmetadata: {generateName: b-, namespace: kube-system}\nspec: {containers: [{name: a, image: a}]}\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: c}\n",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: d}\nspec: {hostNetwork: true, containers: [{name: a, image: a}]}\n",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: e}\nspec: {containers: [{name: meshtls-tap, image: theirs}]}\n",
	}, "---\n")
	_, outcomes := injected(t, text)
	var got []string
	for _, o := range outcomes {
		got = append(got, o.String()+" "+string(o.Reason))
	}
	want := []string{"pod/a ", "pod/b-* system_namespace", "pod/d host_network", "pod/e foreign_container"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	_, outcomes = uninjected(t, text)
	if last := outcomes[len(outcomes)-1]; last.Changed || !strings.Contains(last.Detail, `"theirs"`) {
		t.Errorf("a foreign container: %+v", last)
	}
}

// TestComments: comments and the order of fields remain; JSON remains JSON.
func TestComments(t *testing.T) {
	got, _ := injected(t, "# first\nkind: Pod # the kind\napiVersion: v1\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: web # the app\n    image: \"web:1\"\n")
	at := -1
	for _, part := range []string{"# first", "kind: Pod # the kind", "apiVersion", "spec:", "name: web # the app", `image: "web:1"`, "initContainers:", "name: meshtls-tap"} {
		next := strings.Index(got[at+1:], part)
		if next < 0 {
			t.Fatalf("%q is missing, or not in its place:\n%s", part, got)
		}
		at += 1 + next
	}
	got, _ = injected(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"a"}]}}`)
	if !strings.HasPrefix(got, "{\n") || !strings.Contains(got, `"initContainers": [`) {
		t.Errorf("JSON became\n%s", got)
	}
}

// TestAliases: a part that several workloads share is not changed for one of them twice.
func TestAliases(t *testing.T) {
	text := `apiVersion: v1
kind: List
items:
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: &t {metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: a}]}}}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: b}, spec: {template: *t}}
`
	got, outcomes := injected(t, text)
	if len(outcomes) != 2 || !outcomes[0].Changed || !outcomes[1].Changed || strings.Count(got, "name: meshtls-tap\n") < 2 {
		t.Errorf("%+v\n%s", outcomes, got)
	}
	for _, name := range []string{"a", "b"} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), "name: TAP_WORKLOAD_NAME value: "+name) {
			t.Errorf("the tap of %s has another workload's name:\n%s", name, got)
		}
	}
}

func TestErrors(t *testing.T) {
	for name, text := range map[string]string{
		"no YAML":           "a: [\n",
		"the second":        "a: 1\n---\nb: [\n",
		"JSON objects":      `{"kind":"A"}` + "\n" + `{"kind":"B"}` + "\n",
		"after a pod":       "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n...\nkind: B\n",
		"on the same line":  "kind: A\n--- {kind: B}\n",
		"an invalid status": "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {meshtls-tap/status: '{'}}\nspec: {containers: [{name: a}]}\n",
	} {
		for _, f := range []func(io.Reader, io.Writer) ([]Outcome, error){Uninject, func(in io.Reader, out io.Writer) ([]Outcome, error) { return Inject(in, out, config(), now) }} {
			_, err := f(strings.NewReader(text), io.Discard)
			if err == nil && name == "an invalid status" {
				continue // Inject leaves a tapped pod as it is
			}
			if err == nil || !strings.Contains(err.Error(), "document ") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// endless is a manifest without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '#'
	}
	return len(b), nil
}

// TestTooLarge: a manifest beyond the bound is refused. Its first part is not taken for the whole.
func TestTooLarge(t *testing.T) {
	if _, err := Uninject(endless{}, io.Discard); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Error(err)
	}
}

// FuzzUnchanged: a manifest of which nothing is changed is copied byte by byte.
func FuzzUnchanged(f *testing.F) {
	f.Add("---\n# a\nkind: A\n--- # b\r\nkind: B")
	f.Fuzz(func(t *testing.T, text string) {
		var b bytes.Buffer
		outcomes, err := Uninject(strings.NewReader(text), &b)
		if err == nil && !slices.ContainsFunc(outcomes, func(o Outcome) bool { return o.Changed }) && b.String() != text {
			t.Errorf("%q became %q", text, b.String())
		}
	})
}
