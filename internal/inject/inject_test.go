package inject

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const (
	optedIn = `{metadata: {labels: {meshtls-tap: enabled}}, spec: {containers: [{name: a, image: a}]}}`
	dropped = `
metadata: {annotations: {meshtls-tap/status: '{"mode":"native","image":"tap:1"}'}}
spec: {initContainers: [{name: other, image: o}, {name: meshtls-tap, image: "tap:1", args: [run]}], containers: [{name: a, image: a}]}
`
	tenant = `
metadata:
  annotations:
    meshtls-tap/filter: not port 22
    meshtls-tap/fliter: x
    meshtls-tap/mode: container
    meshtls-tap/expect: 10.0.0.0/8=any
    meshtls-tap/duration: 10m
    meshtls-tap/until: "2026-11-24T13:00:00+00:00"
    meshtls-tap/memory-limit: 96Mi
    meshtls-tap/status: stale
spec: {containers: [{name: a, image: a}]}
`
)

func refuseAll(ns *Namespace) {
	ns.Refusals = map[Profile]string{ProfileRoot: "root"}
	for _, p := range AutoProfiles() {
		ns.Refusals[p] = `violates PodSecurity "restricted:latest"`
	}
}

func until(d time.Duration) func(*Namespace) {
	return func(ns *Namespace) {
		ns.Annotations = map[string]string{Prefix + AnnotationUntil: noon.Add(d).Format(time.RFC3339)}
	}
}

func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}
}

func wantUntil(name, want string) func(*testing.T, corev1.Pod) {
	return func(t *testing.T, p corev1.Pod) {
		if got := env(p, name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
}

func wantProxy(proxy, skip string) func(*testing.T, corev1.Pod) {
	return func(t *testing.T, p corev1.Pod) {
		if a, b := env(p, "TAP_LOCAL_PROXY"), env(p, "TAP_DECLARED_SKIP"); a != proxy || b != skip {
			t.Errorf("proxy %q, skip %q; want %q, %q", a, b, proxy, skip)
		}
	}
}

func labeled(key, value string) func(*Namespace) {
	return func(ns *Namespace) { ns.Labels[key] = value }
}

// wantAmbient returns a function that checks the tap's TAP_AMBIENT, and that the tap is the first container. It also
// checks that the webhook added no annotation of Istio, so the mesh treats the pod as before.
func wantAmbient(want string) func(*testing.T, corev1.Pod) {
	return func(t *testing.T, p corev1.Pod) {
		if got := env(p, "TAP_AMBIENT"); got != want {
			t.Errorf("TAP_AMBIENT=%q, want %q", got, want)
		}
		for key := range p.Annotations {
			if strings.Contains(key, "istio.io/") && !strings.HasPrefix(key, "ambient.istio.io/") && key != annotationSidecar {
				t.Errorf("annotation %s", key)
			}
		}
		if p.Spec.InitContainers[0].Name != Name {
			t.Error("the tap is not the first container: it would miss the pod's first connections")
		}
	}
}

func wantNative(t *testing.T, p corev1.Pod) {
	for _, c := range p.Spec.InitContainers {
		if c.Name == Name && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
			t.Error("the tap is an init container that never ends")
		}
	}
}

func wantResources(cpuRequest, memoryRequest, cpuLimit, memoryLimit string) func(*testing.T, corev1.Pod) {
	return func(t *testing.T, p corev1.Pod) {
		r := p.Spec.InitContainers[0].Resources
		for i, want := range []string{cpuRequest, memoryRequest, cpuLimit, memoryLimit} {
			got := []resource.Quantity{r.Requests["cpu"], r.Requests["memory"], r.Limits["cpu"], r.Limits["memory"]}[i]
			if got.Cmp(resource.MustParse(want)) != 0 {
				t.Errorf("resource %d: %s, want %s", i, &got, want)
			}
		}
	}
}

func wantDisk(request, limit string) func(*testing.T, corev1.Pod) {
	return func(t *testing.T, p corev1.Pod) {
		r := p.Spec.InitContainers[0].Resources
		a, b := r.Requests[corev1.ResourceEphemeralStorage], r.Limits[corev1.ResourceEphemeralStorage]
		if a.Cmp(resource.MustParse(request)) != 0 || b.Cmp(resource.MustParse(limit)) != 0 {
			t.Errorf("request %s, limit %s of ephemeral storage; want %s, %s", &a, &b, request, limit)
		}
	}
}

// env returns the value of one of the tap's variables.
func env(p corev1.Pod, name string) string {
	for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
		for _, e := range c.Env {
			if c.Name == Name && e.Name == name {
				return e.Value
			}
		}
	}
	return ""
}

// set returns the arguments of Tap for a scene.
func (s *scene) set(t testing.TB) (*Config, *Namespace, []byte) {
	t.Helper()
	settings, err := ParseSettings([]byte(s.settings))
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{Settings: settings, Image: "tap:1", Own: "meshtls-tap", Version: "v1", ServerMinor: 37, TenantMay: []string{"*"}, Registries: []string{"mirror.example", "tap.example/taps"}}
	ns := &Namespace{Name: "shop", Labels: map[string]string{Label: Enabled}}
	if s.config != nil {
		s.config(cfg)
	}
	if s.ns != nil {
		s.ns(ns)
	}
	raw, err := yaml.YAMLToJSON([]byte(s.pod))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte(`"metadata"`)) { // the API server always sends metadata
		raw = append([]byte(`{"metadata":{},`), raw[1:]...)
	}
	return cfg, ns, raw
}

func TestTap(t *testing.T) {
	for name, s := range scenes {
		t.Run(name, func(t *testing.T) {
			cfg, ns, raw := s.set(t)
			got := Tap(cfg, ns, raw, noon)
			if got.Reason != s.reason {
				t.Fatalf("reason %q (%s), want %q", got.Reason, got.Detail, s.reason)
			}
			checkWarnings(t, got.Warnings, s.warnings)
			patched := apply(t, raw, got.Patch)
			kept(t, raw, patched)
			if s.also != nil {
				s.also(t, podOf(t, patched, name != "fields of the future"))
			}
			if got.Reason == Injected {
				sound(t, patched)
				again := Tap(cfg, ns, patched, noon)
				if again.Reason != ReasonAlready || len(again.Patch) != 0 {
					t.Errorf("a second call: %+v", again)
				}
			}
			golden(t, name, got.Patch)
		})
	}
}

func checkWarnings(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("warnings %q, want %q", got, want)
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("warning %q, want %q in it", got[i], want[i])
		}
		if len(got[i]) > 256 {
			t.Errorf("a warning of %d bytes: the API server cuts it", len(got[i]))
		}
	}
}

// golden compares a patch with its golden file.
func golden(t *testing.T, name string, ops []Operation) {
	t.Helper()
	if len(ops) == 0 {
		return
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(ops); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", strings.NewReplacer(" ", "_", ",", "", "'", "").Replace(name)+".json")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the patch is not %s (go test -update writes it anew):\n%s", file, &b)
	}
}

// apply applies a patch as the API server does.
func apply(t testing.TB, raw []byte, ops []Operation) []byte {
	t.Helper()
	if len(ops) == 0 {
		return raw
	}
	text, err := json.Marshal(ops)
	if err != nil {
		t.Fatal(err)
	}
	p, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Apply(raw)
	if err != nil {
		t.Fatalf("the patch does not apply: %v\n%s", err, raw)
	}
	return out
}

// podOf decodes a pod into the API's types.
func podOf(t testing.TB, raw []byte, strict bool) corev1.Pod {
	t.Helper()
	var p corev1.Pod
	d := json.NewDecoder(bytes.NewReader(raw))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	return p
}
