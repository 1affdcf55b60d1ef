package inject

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// pod has the fields of a pod that the tap depends on. It is never encoded again, so fields that it lacks, or that
// this version of k8s.io/api does not know, are preserved.
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
		Resources        *corev1.ResourceRequirements `json:"resources"` // set for the pod as a whole (KEP-2837)
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

// container has the fields of a container that the tap depends on.
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

// decode parses a pod. It returns an error if the pod has no metadata or no containers.
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

// tap returns the list of the spec that has the container named Name, and its index there.
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

// each calls f for all containers, init containers first.
func (p *pod) each(f func(*container)) {
	for i := range p.Spec.InitContainers {
		f(&p.Spec.InitContainers[i])
	}
	for i := range p.Spec.Containers {
		f(&p.Spec.Containers[i])
	}
}
