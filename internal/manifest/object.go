package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// object is an object of a manifest that has a pod or a pod template.
type object struct {
	kind, version, namespace, name string
	pod                            *yaml.Node // the Pod, or the template
}

// inject adds the tap.
func (o *object) inject(cfg *inject.Config, now time.Time, out *Outcome) error {
	raw, err := o.podJSON()
	if err != nil {
		return err
	}
	ns := &inject.Namespace{Name: o.namespace, Labels: map[string]string{inject.Label: inject.Enabled}}
	result := inject.Tap(cfg, ns, raw, now)
	out.Reason, out.Detail, out.Warnings = result.Reason, result.Detail, result.Warnings
	if len(result.Patch) == 0 {
		return nil
	}
	if get(o.pod, "metadata") == nil {
		set(o.pod, "metadata", &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"})
	}
	for _, op := range result.Patch {
		if err := add(o.pod, op.Path, op.Value); err != nil {
			return err
		}
	}
	out.Changed = true
	return nil
}

// podJSON returns the pod as the webhook would see it: with the workload as its owner.
func (o *object) podJSON() ([]byte, error) {
	text, err := yaml.Marshal(o.pod)
	if err != nil {
		return nil, err
	}
	var pod map[string]any
	if err := sigsyaml.Unmarshal(text, &pod); err != nil {
		return nil, err
	}
	meta, _ := pod["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		pod["metadata"] = meta
	}
	if o.kind != "Pod" {
		meta["ownerReferences"] = []any{inject.Owner{APIVersion: o.version, Kind: o.kind, Name: o.name, Controller: true}}
	}
	return json.Marshal(pod)
}

// uninject removes the tap's container, the volumes that only it mounts, and the annotation that names it.
func (o *object) uninject(out *Outcome) error {
	spec, annotations := get(o.pod, "spec"), get(get(o.pod, "metadata"), "annotations")
	status := text(annotations, inject.Prefix+inject.AnnotationStatus)
	var was inject.Status
	if status != "" {
		if err := json.Unmarshal([]byte(status), &was); err != nil {
			return fmt.Errorf("annotation %s: %w", inject.Prefix+inject.AnnotationStatus, err)
		}
	}
	var mounts []string
	for _, list := range []string{"initContainers", "containers"} {
		containers := get(spec, list)
		for i, c := range items(containers) {
			if text(c, "name") != inject.Name {
				continue
			}
			if status == "" || text(c, "image") != was.Image {
				out.Detail = fmt.Sprintf("its container %s is not removed: it has the image %q, which the annotation %s does not name", inject.Name, text(c, "image"), inject.Prefix+inject.AnnotationStatus)
				return nil
			}
			mounts = mountsOf(c)
			containers.Content = slices.Delete(containers.Content, i, i+1)
			dropEmpty(spec, list)
			out.Changed = true
			break
		}
	}
	if status != "" {
		unset(annotations, inject.Prefix+inject.AnnotationStatus)
		out.Changed = true
		if dropEmpty(get(o.pod, "metadata"), "annotations"); o.kind != "Pod" {
			dropEmpty(o.pod, "metadata")
		}
	}
	o.removeVolumes(spec, mounts)
	return nil
}

// removeVolumes removes the tap's volumes among mounts, unless another container mounts them.
func (o *object) removeVolumes(spec *yaml.Node, mounts []string) {
	for _, list := range []string{"initContainers", "containers", "ephemeralContainers"} {
		for _, c := range items(get(spec, list)) {
			used := mountsOf(c)
			mounts = slices.DeleteFunc(mounts, func(name string) bool { return slices.Contains(used, name) })
		}
	}
	volumes := get(spec, "volumes")
	if volumes == nil {
		return
	}
	volumes.Content = slices.DeleteFunc(volumes.Content, func(v *yaml.Node) bool {
		name := text(v, "name")
		return strings.HasPrefix(name, inject.Name+"-") && slices.Contains(mounts, name)
	})
	dropEmpty(spec, "volumes")
}

// mountsOf returns the names of the volumes that a container mounts.
func mountsOf(c *yaml.Node) []string {
	var names []string
	for _, m := range items(get(c, "volumeMounts")) {
		names = append(names, text(m, "name"))
	}
	return names
}
