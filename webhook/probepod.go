package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// managedBy is the label app.kubernetes.io/managed-by of what the webhook makes.
const managedBy = "meshtls-tap"

// probePod is a pod that no policy should mind but for its tap.
func probePod(namespace, image string) *corev1.Pod {
	amount := corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("32Mi")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: "meshtls-tap-probe-",
			Labels: map[string]string{
				inject.Label:                   inject.Disabled, // nobody need call us for it
				"app.kubernetes.io/name":       "meshtls-tap-probe",
				"app.kubernetes.io/managed-by": managedBy,
			},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(bool),
			SecurityContext:              restrictedPod(),
			Containers: []corev1.Container{{
				Name: "probe", Image: image, SecurityContext: restricted(),
				Resources: corev1.ResourceRequirements{Requests: amount, Limits: amount},
			}},
		},
	}
}

func restrictedPod() *corev1.PodSecurityContext {
	yes := true
	return &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
}

// restricted is what Pod Security's level restricted asks of a container.
func restricted() *corev1.SecurityContext {
	yes, no := true, false
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// tapped returns the pod with the tap of a profile, as it would be injected. A pod of our
// own gets the tap's resources for itself, which fit the namespace's limit ranges.
func tapped(cfg *inject.Config, ns *inject.Namespace, base *corev1.Pod, profile inject.Profile, now time.Time) (*corev1.Pod, error) {
	forced := *cfg
	forced.Profile, forced.Own = profile, ""
	view := &inject.Namespace{
		Name: "probed", Labels: map[string]string{inject.Label: inject.Enabled},
		Annotations: maps.Clone(ns.Annotations), LimitRanges: ns.LimitRanges,
	}
	for _, key := range []string{"profile", inject.AnnotationImage, inject.AnnotationUntil, inject.AnnotationDuration} {
		delete(view.Annotations, inject.Prefix+key)
	}
	unlabelled := base.DeepCopy()
	delete(unlabelled.Labels, inject.Label)
	raw, err := json.Marshal(unlabelled)
	if err != nil {
		return nil, err
	}
	result := inject.Tap(&forced, view, raw, now)
	if result.Reason != inject.Injected {
		return nil, fmt.Errorf("probe: %s %s", result.Reason, result.Detail)
	}
	pod, err := patched(raw, result.Patch)
	if err != nil {
		return nil, err
	}
	metav1.SetMetaDataLabel(&pod.ObjectMeta, inject.Label, inject.Disabled)
	if base.Spec.Containers[0].Name == "probe" {
		for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			if c.Name == inject.Name {
				pod.Spec.Containers[0].Resources = c.Resources
			}
		}
	}
	return pod, nil
}

func patched(raw []byte, ops []inject.Operation) (*corev1.Pod, error) {
	text, err := json.Marshal(ops)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, err
	}
	if raw, err = patch.Apply(raw); err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	return pod, json.Unmarshal(raw, pod)
}

// example returns a pod of the namespace without its tap's traces, ready to be created, or nil.
func (p *probes) example(ctx context.Context, namespace string) (*corev1.Pod, error) {
	var list corev1.PodList
	if err := p.live.List(ctx, &list, client.InNamespace(namespace), client.Limit(50)); err != nil {
		return nil, err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		raw, err := json.Marshal(pod)
		view := &inject.Namespace{Name: "probed", Labels: map[string]string{inject.Label: inject.Enabled}}
		if err != nil || inject.Tap(p.cfg, view, raw, p.now()).Reason != inject.Injected {
			continue
		}
		spec := pod.Spec.DeepCopy()
		spec.NodeName, spec.Priority = "", nil
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: "meshtls-tap-probe-", Labels: pod.Labels, Annotations: pod.Annotations,
		}, Spec: *spec}, nil
	}
	return nil, nil //nolint:nilnil // there is none, and that is no error
}
