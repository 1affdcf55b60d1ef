package inject

import (
	"maps"
	"slices"
	"strings"
)

// Operation is one operation of a JSON Patch (RFC 6902). Op is always "add".
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patch collects operations. If the pod lacks a list or map, the whole list or map is added. If the pod has it, its
// new members are added one by one. Members of a list are appended ("/-"), so that the length of the list does not
// matter.
type patch struct{ ops []Operation }

func (t *patch) add(path string, value any) {
	t.ops = append(t.ops, Operation{"add", path, value})
}

// annotations adds annotations to the pod, in the order of their keys.
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

// extend appends values to a list of the spec; n is the length of the list.
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

// first inserts a value at the start of a list of the spec; n is the length of the list.
func first[T any](t *patch, path string, n int, value T) {
	if n == 0 {
		t.add(path, []T{value})
		return
	}
	t.add(path+"/0", value)
}

// escape encodes a key as a reference token of a JSON Pointer (RFC 6901, section 3).
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }
