package inject

import (
	"maps"
	"slices"
	"strings"
)

// Operation is one of a JSON Patch (RFC 6902). The op is always "add".
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patch collects operations. A list or map that the pod does not have is added whole,
// one that it has gets members, in a place that holds whatever the list's length is.
type patch struct{ ops []Operation }

func (t *patch) add(path string, value any) {
	t.ops = append(t.ops, Operation{"add", path, value})
}

// annotations adds to the pod's annotations, by key.
func (t *patch) annotations(p *pod, values map[string]string) {
	if len(values) == 0 {
		return
	}
	if p.Metadata.Annotations == nil {
		t.add("/metadata/annotations", values)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		t.add("/metadata/annotations/"+escape(key), values[key])
	}
}

// extend appends values to a list of the spec that has n members.
func extend[T any](t *patch, path string, n int, values []T) {
	if len(values) == 0 {
		return
	}
	if n == 0 {
		t.add(path, values)
		return
	}
	for i := range values {
		t.add(path+"/-", values[i])
	}
}

// first puts a value before all others of a list of the spec that has n members.
func first[T any](t *patch, path string, n int, value T) {
	if n == 0 {
		t.add(path, []T{value})
		return
	}
	t.add(path+"/0", value)
}

// escape makes a key a reference token of a JSON Pointer (RFC 6901, section 3).
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }
