package inject

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// merged lists the annotations with comma-separated values to which the webhook may add items.
var merged = func() []string {
	keys := []string{safeToEvict}
	for _, m := range meshes {
		keys = append(keys, m.excludeOutbound)
	}
	return keys
}()

// kept fails unless the JSON of the pod in after contains everything of the pod in before: the members of objects with
// their values, and the elements of lists in their order.
func kept(t testing.TB, before, after []byte) {
	t.Helper()
	var a, b any
	if json.Unmarshal(before, &a) != nil || json.Unmarshal(after, &b) != nil {
		t.Fatalf("not JSON:\n%s\n%s", before, after)
	}
	if lost := lacks(a, b, ""); lost != "" {
		t.Errorf("%s was changed or removed:\n%s\n%s", lost, before, after)
	}
}

// lacks returns the path of the first value of a that is missing or different in b, or "".
func lacks(a, b any, path string) string {
	switch a := a.(type) {
	case map[string]any:
		m, ok := b.(map[string]any)
		if !ok {
			return path
		}
		for _, key := range slices.Sorted(maps.Keys(a)) {
			if strings.HasSuffix(path, "/annotations") && mayChange(key, a[key], m[key]) {
				continue
			}
			if lost := lacks(a[key], m[key], path+"/"+key); lost != "" {
				return lost
			}
		}
		return ""
	case []any:
		l, ok := b.([]any)
		if !ok {
			return path
		}
		for _, want := range a {
			for len(l) > 0 && lacks(want, l[0], path) != "" {
				l = l[1:]
			}
			if len(l) == 0 {
				return path + "/-"
			}
			l = l[1:]
		}
		return ""
	}
	if !reflect.DeepEqual(a, b) {
		return path
	}
	return ""
}

// mayChange reports whether the webhook may change an annotation from the value before to the value after. It may if
// the annotation is the webhook's own, or a list that only gets more items.
func mayChange(key string, before, after any) bool {
	if key == Prefix+AnnotationStatus {
		return true
	}
	a, _ := before.(string)
	b, _ := after.(string)
	if !slices.Contains(merged, key) {
		return false
	}
	for _, item := range splitList(a) {
		if !slices.Contains(splitList(b), item) {
			return false
		}
	}
	return true
}

// sound fails unless the pod has exactly one tap, unique names, and a volume for each mount.
func sound(t testing.TB, raw []byte) {
	t.Helper()
	p := podOf(t, raw, false)
	names, volumes, taps := map[string]bool{}, map[string]bool{}, 0
	for _, v := range p.Spec.Volumes {
		if volumes[v.Name] {
			t.Errorf("two volumes %s", v.Name)
		}
		volumes[v.Name] = true
	}
	for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
		if names[c.Name] {
			t.Errorf("two containers %s", c.Name)
		}
		names[c.Name] = true
		if c.Name != Name {
			continue
		}
		taps++
		checkTap(t, &c, volumes)
	}
	if taps != 1 {
		t.Errorf("%d taps", taps)
	}
}

func checkTap(t testing.TB, c *corev1.Container, volumes map[string]bool) {
	t.Helper()
	paths, vars := map[string]bool{}, map[string]bool{}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] || paths[m.MountPath] {
			t.Errorf("mount %s at %s: no such volume, or twice", m.Name, m.MountPath)
		}
		paths[m.MountPath] = true
	}
	for _, e := range c.Env {
		if vars[e.Name] {
			t.Errorf("%s is set twice", e.Name)
		}
		vars[e.Name] = true
	}
	for _, name := range []corev1.ResourceName{"cpu", "memory"} {
		request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
		_, limited := c.Resources.Limits[name]
		if _, ok := c.Resources.Requests[name]; !ok || limited != (limit.Sign() > 0) || limited && limit.Cmp(request) < 0 || name == "memory" && !limited {
			t.Errorf("%s: request %s, limit %s", name, &request, &limit)
		}
	}
}

// TestKept shows that kept fails when it should.
func TestKept(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want string
	}{
		{`{"a":[1,2]}`, `{"a":[0,1,3,2],"b":1}`, ""},
		{`{"a":[1,2]}`, `{"a":[2,1]}`, "/a/-"},
		{`{"a":{"b":null}}`, `{"a":{}}`, ""}, // null and absent are the same to the API
		{`{"a":{"b":1}}`, `{"a":{"b":2}}`, "/a/b"},
		{`{"a":[]}`, `{}`, "/a"},
		{`{"annotations":{"x":"1"}}`, `{"annotations":{"x":"2"}}`, "/annotations/x"},
		{`{"annotations":{"` + safeToEvict + `":"a, b"}}`, `{"annotations":{"` + safeToEvict + `":"a,b,c"}}`, ""},
		{`{"annotations":{"` + safeToEvict + `":"a, b"}}`, `{"annotations":{"` + safeToEvict + `":"a,c"}}`, "/annotations/" + safeToEvict},
	} {
		var a, b any
		json.Unmarshal([]byte(c.a), &a)
		json.Unmarshal([]byte(c.b), &b)
		if got := lacks(a, b, ""); got != c.want {
			t.Errorf("%s in %s: %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

// FuzzTap: for any pod, the patch applies, loses nothing of the pod, and results in exactly one tap.
func FuzzTap(f *testing.F) {
	for _, s := range scenes {
		_, _, raw := s.set(f)
		f.Add(raw, false)
		f.Add(raw, true)
	}
	every := scenes["everything"]
	cfg, ns, _ := every.set(f)
	cfg.Allowed = []string{"*"}
	asContainer := *cfg
	asContainer.Mode = Container
	cfg.Settings.ExcludeKafkaPort = true
	f.Fuzz(func(t *testing.T, raw []byte, container bool) {
		c := cfg
		if container {
			c = &asContainer
		}
		Annotate(c, ns, raw, noon)
		got := Tap(c, ns, raw, noon)
		if len(got.Patch) == 0 {
			return
		}
		if !canonical(raw) {
			return // raw is not a pod as the API server sends it, with each member once and by its exact name
		}
		after := apply(t, raw, got.Patch)
		kept(t, raw, after)
		if got.Reason == Injected {
			if again := Tap(c, ns, after, noon); again.Reason != ReasonAlready {
				t.Errorf("a second call: %q %s", again.Reason, again.Detail)
			}
		}
	})
}

// canonical reports whether raw is a pod as the API server sends it: decoding it into the API's types and encoding it
// again gives raw.
func canonical(raw []byte) bool {
	var p corev1.Pod
	if json.Unmarshal(raw, &p) != nil {
		return false
	}
	out, err := json.Marshal(&p)
	if err != nil {
		return false
	}
	var a, b any
	return json.Unmarshal(raw, &a) == nil && json.Unmarshal(out, &b) == nil && lacks(a, b, "") == ""
}
