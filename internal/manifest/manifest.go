package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
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

// maxManifest bounds the size of a manifest, in bytes. The API server accepts objects of up to 3 MiB; a List has several.
const maxManifest = 64 << 20

func edit(in io.Reader, out io.Writer, f editor) ([]Outcome, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxManifest {
		return nil, fmt.Errorf("the manifest has more than %d MiB: split it", maxManifest>>20)
	}
	var outcomes []Outcome
	n := 0
	for _, d := range split(text) {
		if len(bytes.TrimSpace(d.text)) > 0 {
			n++
		}
		done, changed, err := editDocument(d.text, f)
		if err == nil && !d.plain() {
			err = fmt.Errorf("%q: expected --- on a line of its own", bytes.TrimSpace(d.separator))
		}
		if err != nil {
			return outcomes, fmt.Errorf("document %d: %w", max(n, 1), err)
		}
		outcomes = append(outcomes, done...)
		for _, part := range [...][]byte{d.separator, changed} {
			if _, err := out.Write(part); err != nil {
				return outcomes, err
			}
		}
	}
	return outcomes, nil
}

// document is a document of a manifest with the line before it.
type document struct{ separator, text []byte }

const separator = "---"

// plain reports whether the separator has nothing after the dashes but a comment.
func (d *document) plain() bool {
	rest := bytes.TrimSpace(bytes.TrimPrefix(d.separator, []byte(separator)))
	return len(rest) == 0 || rest[0] == '#'
}

// split splits a manifest at the lines that begin a document (YAML 1.2.2, section 9.1.2). Joined again, the parts are the manifest.
func split(text []byte) []document {
	documents := []document{{}}
	for line := range bytes.Lines(text) {
		d := &documents[len(documents)-1]
		if after, ok := bytes.CutPrefix(line, []byte(separator)); ok && (len(after) == 0 || bytes.IndexByte([]byte(" \t\r\n"), after[0]) >= 0) {
			documents = append(documents, document{separator: line})
			continue
		}
		d.text = append(d.text, line...)
	}
	return documents
}

// editDocument returns the outcomes for the objects of one document, and its text after the edits.
func editDocument(text []byte, f editor) ([]Outcome, []byte, error) {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	if len(document.Content) == 0 {
		return nil, text, nil // empty, or only comments
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) { // such as a stream of JSON objects
		return nil, nil, errors.New("another document follows it: expected a line with --- between them")
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
