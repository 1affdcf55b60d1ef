package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// Outcome reports the result for one object that has pods.
type Outcome struct {
	Kind, Namespace, Name string

	Changed  bool
	Reason   inject.Reason // Inject: why no tap was added to the object
	Detail   string        // details of Reason, or why Uninject left a container
	Warnings []string
}

// String returns the object as KIND/NAME.
func (o *Outcome) String() string { return strings.ToLower(o.Kind) + "/" + o.Name }

// editor changes the pod template of one object and reports what it did.
type editor func(o *object, out *Outcome) error

// Inject copies a manifest and adds the tap to its pods. It returns an outcome for each object with pods, in the order of the manifest.
func Inject(in io.Reader, out io.Writer, cfg *inject.Config, now time.Time) ([]Outcome, error) {
	return edit(in, out, func(o *object, result *Outcome) error { return o.inject(cfg, now, result) })
}

// Uninject copies a manifest and removes what Inject or the webhook added to its pods. It returns an outcome for each object with pods.
func Uninject(in io.Reader, out io.Writer) ([]Outcome, error) {
	return edit(in, out, func(o *object, result *Outcome) error { return o.uninject(result) })
}

// maxDocument bounds the size of one document, in bytes. The API server accepts objects of up to 3 MiB; a List has several.
const maxDocument = 256 << 20

func edit(in io.Reader, out io.Writer, f editor) ([]Outcome, error) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(io.LimitReader(in, maxDocument)))
	var outcomes []Outcome
	for n := 1; ; n++ {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return outcomes, nil
		}
		if err != nil {
			return outcomes, fmt.Errorf("document %d: %w", n, err)
		}
		done, changed, err := editDocument(text, f)
		if err != nil {
			return outcomes, fmt.Errorf("document %d: %w", n, err)
		}
		outcomes = append(outcomes, done...)
		if n > 1 {
			changed = append([]byte("---\n"), changed...)
		}
		if len(changed) > 0 && changed[len(changed)-1] != '\n' {
			changed = append(changed, '\n')
		}
		if _, err := out.Write(changed); err != nil {
			return outcomes, err
		}
	}
}

// editDocument returns the outcomes for the objects of one document, and its text after the edits.
func editDocument(text []byte, f editor) ([]Outcome, []byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, nil, err
	}
	if len(document.Content) == 0 {
		return nil, text, nil // empty, or only comments
	}
	if aliased(&document) { // an edit of a shared part would change it in several places
		plain, err := expanded(text)
		if err != nil {
			return nil, nil, err
		}
		if err := yaml.Unmarshal(plain, &document); err != nil {
			return nil, nil, err
		}
	}
	outcomes, err := editObject(document.Content[0], f)
	if err != nil {
		return nil, nil, err
	}
	for i := range outcomes {
		if outcomes[i].Changed {
			changed, err := encode(&document, bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")))
			return outcomes, changed, err
		}
	}
	return outcomes, text, nil
}

// aliased reports whether a document has aliases of YAML.
func aliased(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		return true
	}
	return slices.ContainsFunc(n.Content, aliased)
}

// expanded returns a document without aliases. Comments are lost, and the fields are sorted.
func expanded(text []byte) ([]byte, error) {
	var v any
	if err := sigsyaml.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	return sigsyaml.Marshal(v)
}

func encode(document *yaml.Node, asJSON bool) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(document), e.Close()); err != nil {
		return nil, err
	}
	if !asJSON {
		return b.Bytes(), nil
	}
	plain, err := sigsyaml.YAMLToJSON(b.Bytes())
	if err != nil {
		return nil, err
	}
	b.Reset()
	err = json.Indent(&b, plain, "", "  ")
	return b.Bytes(), err
}

// editObject edits one object, or the items of a List.
func editObject(n *yaml.Node, f editor) ([]Outcome, error) {
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	kind, version := text(n, "kind"), text(n, "apiVersion")
	if items := get(n, "items"); strings.HasSuffix(kind, "List") && items != nil && items.Kind == yaml.SequenceNode {
		var all []Outcome
		for _, item := range items.Content {
			done, err := editObject(item, f)
			if err != nil {
				return nil, err
			}
			all = append(all, done...)
		}
		return all, nil
	}
	path, has := templates[groupKind{group(version), kind}]
	if !has {
		return nil, nil
	}
	pod := n
	for _, key := range path {
		if pod = get(pod, key); pod == nil {
			return nil, nil // the API server will refuse the object
		}
	}
	meta := get(n, "metadata")
	result := Outcome{Kind: kind, Namespace: text(meta, "namespace"), Name: text(meta, "name")}
	if result.Name == "" {
		result.Name = text(meta, "generateName") + "*"
	}
	o := &object{kind: kind, version: version, namespace: result.Namespace, name: text(meta, "name"), pod: pod}
	if err := f(o, &result); err != nil {
		return nil, fmt.Errorf("%s: %w", &result, err)
	}
	return []Outcome{result}, nil
}

type groupKind struct{ group, kind string }

// templates has the path of the pod in each kind of object with pods.
var templates = map[groupKind][]string{
	{"", "Pod"}:                   {},
	{"", "ReplicationController"}: {"spec", "template"},
	{"apps", "Deployment"}:        {"spec", "template"},
	{"apps", "ReplicaSet"}:        {"spec", "template"},
	{"apps", "StatefulSet"}:       {"spec", "template"},
	{"apps", "DaemonSet"}:         {"spec", "template"},
	{"batch", "Job"}:              {"spec", "template"},
	{"batch", "CronJob"}:          {"spec", "jobTemplate", "spec", "template"},
}

func group(version string) string {
	g, _, found := strings.Cut(version, "/")
	if !found {
		return ""
	}
	return g
}
