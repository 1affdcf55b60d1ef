package inject

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// pod is what of a pod decides about the tap. Everything else stays as it came: a pod
// is never encoded again, so that a field which this version of k8s.io/api does not
// know survives.
type pod struct {
	Metadata *metadata `json:"metadata"`
	Spec     struct {
		HostNetwork bool `json:"hostNetwork"`

		ShareProcessNamespace bool    `json:"shareProcessNamespace"`
		RuntimeClassName      *string `json:"runtimeClassName"`

		OS *struct {
			Name string `json:"name"`
		} `json:"os"`
		NodeSelector     map[string]string            `json:"nodeSelector"`
		RestartPolicy    string                       `json:"restartPolicy"`
		ImagePullSecrets []named                      `json:"imagePullSecrets"`
		Volumes          []named                      `json:"volumes"`
		InitContainers   []container                  `json:"initContainers"`
		Containers       []container                  `json:"containers"`
		Resources        *corev1.ResourceRequirements `json:"resources"` // of the pod as a whole (KEP-2837)
		Overhead         corev1.ResourceList          `json:"overhead"`

		ActiveDeadlineSeconds *int64          `json:"activeDeadlineSeconds"`
		PriorityClassName     string          `json:"priorityClassName"`
		Affinity              json.RawMessage `json:"affinity"`
	} `json:"spec"`
}

type metadata struct {
	Labels          map[string]string `json:"labels"`
	Annotations     map[string]string `json:"annotations"`
	OwnerReferences []Owner           `json:"ownerReferences"`
}

type named struct {
	Name string `json:"name"`
}

// container is what of a container decides about the tap.
type container struct {
	Name          string                      `json:"name"`
	Image         string                      `json:"image"`
	Command       []string                    `json:"command"`
	Args          []string                    `json:"args"`
	RestartPolicy string                      `json:"restartPolicy"` // "Always" makes an init container a native sidecar
	Resources     corev1.ResourceRequirements `json:"resources"`
	Startup       *probe                      `json:"startupProbe"`
	Readiness     *probe                      `json:"readinessProbe"`
	Liveness      *probe                      `json:"livenessProbe"`
	Ports         []struct {
		Name          string `json:"name"`
		ContainerPort int    `json:"containerPort"`
	} `json:"ports"`
}

// Owner is the object that a pod belongs to, as its ownerReferences name it.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Controller bool   `json:"controller"`
}

func decode(raw []byte) (*pod, error) {
	var p pod
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("pod: %w", err)
	}
	if p.Metadata == nil || len(p.Spec.Containers) == 0 {
		return nil, fmt.Errorf("pod: no metadata, or no containers")
	}
	return &p, nil
}

// owner returns the controller of the pod, or nil.
func (p *pod) owner() *Owner {
	for i := range p.Metadata.OwnerReferences {
		if p.Metadata.OwnerReferences[i].Controller {
			return &p.Metadata.OwnerReferences[i]
		}
	}
	return nil
}

// tap returns where the container named Name is: its list in the spec, and its place there.
func (p *pod) tap() (list string, at int, found bool) {
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == Name {
			return "initContainers", i, true
		}
	}
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == Name {
			return "containers", i, true
		}
	}
	return "", 0, false
}

// each calls f for all containers, those of initialization first.
func (p *pod) each(f func(*container)) {
	for i := range p.Spec.InitContainers {
		f(&p.Spec.InitContainers[i])
	}
	for i := range p.Spec.Containers {
		f(&p.Spec.Containers[i])
	}
}
