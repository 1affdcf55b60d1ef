package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// get returns the value of a key in a mapping, or nil.
func get(n *yaml.Node, key string) *yaml.Node {
	if at := find(n, key); at >= 0 {
		return n.Content[at+1]
	}
	return nil
}

// find returns the index of a key in the content of a mapping, or -1.
func find(n *yaml.Node, key string) int {
	if n == nil || n.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// text returns the scalar value of a key in a mapping, or "".
func text(n *yaml.Node, key string) string {
	if v := get(n, key); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// items returns the items of a list, or nothing if n is no list.
func items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// set sets a key of a mapping.
func set(n *yaml.Node, key string, value *yaml.Node) {
	if at := find(n, key); at >= 0 {
		n.Content[at+1] = value
		return
	}
	name := &yaml.Node{}
	name.SetString(key)
	n.Content = append(n.Content, name, value)
}

// unset removes a key of a mapping.
func unset(n *yaml.Node, key string) {
	if at := find(n, key); at >= 0 {
		n.Content = slices.Delete(n.Content, at, at+2)
	}
}

// dropEmpty removes a key whose value is an empty list or mapping.
func dropEmpty(n *yaml.Node, key string) {
	if v := get(n, key); v != nil && v.Kind != yaml.ScalarNode && len(v.Content) == 0 {
		unset(n, key)
	}
}

// add applies one "add" operation of a JSON Patch (RFC 6902, section 4.1) to a mapping.
func add(root *yaml.Node, path string, value any) error {
	v, err := node(value)
	if err != nil {
		return err
	}
	steps := strings.Split(strings.TrimPrefix(path, "/"), "/")
	n := root
	for i, step := range steps {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step) // RFC 6901, section 4
		last := i == len(steps)-1
		switch {
		case n == nil:
			return fmt.Errorf("patch: %s: the field does not exist", path)
		case n.Kind == yaml.MappingNode && last:
			set(n, step, v)
		case n.Kind == yaml.MappingNode:
			n = get(n, step)
		case n.Kind == yaml.SequenceNode && step == "-" && last:
			n.Content = append(n.Content, v)
		case n.Kind == yaml.SequenceNode:
			at, err := strconv.Atoi(step)
			if err != nil || at < 0 || at > len(n.Content) || at == len(n.Content) && !last {
				return fmt.Errorf("patch: %s: the list has no such item", path)
			}
			if last {
				n.Content = slices.Insert(n.Content, at, v)
			} else {
				n = n.Content[at]
			}
		default: // such as null: an empty list or mapping that was written without a value
			return fmt.Errorf("patch: %s: expected a list or a mapping, found %q", path, n.Value)
		}
	}
	return nil
}

// node returns a value as YAML.
func node(value any) (*yaml.Node, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	text, err := sigsyaml.JSONToYAML(raw)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	return document.Content[0], nil
}
