package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// managedBy is the value of the label app.kubernetes.io/managed-by of objects that the webhook creates.
const managedBy = "meshtls-tap"

// dryRunName is the name of the container in the webhook's own pods.
const dryRunName = "probe"

// dryRunPod returns a pod for dry runs, without a tap. Policies should refuse the pod only because of the tap
// that is added later.
func dryRunPod(namespace, image string) *corev1.Pod {
	amount := corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("32Mi")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: "meshtls-tap-probe-",
			Labels: map[string]string{
				"app.kubernetes.io/name":       "meshtls-tap-probe",
				"app.kubernetes.io/managed-by": managedBy,
			},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(bool),
			SecurityContext:              restrictedPod(),
			Containers: []corev1.Container{{
				Name: dryRunName, Image: image, SecurityContext: restricted(),
				Resources: corev1.ResourceRequirements{Requests: amount, Limits: amount},
			}},
		},
	}
}

func restrictedPod() *corev1.PodSecurityContext {
	yes := true
	return &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
}

// restricted returns the security context that Pod Security's level restricted requires of a container.
func restricted() *corev1.SecurityContext {
	yes, no := true, false
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// tapped returns a copy of base with the tap that the webhook would inject for a profile. A label keeps the API server
// from calling the webhook for the copy. If base is one of the webhook's own pods, its container gets the tap's
// resources, which fit the namespace's limit ranges.
func tapped(cfg *inject.Config, ns *inject.Namespace, base *corev1.Pod, profile inject.Profile, now time.Time) (*corev1.Pod, error) {
	raw, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	result := inject.Tap(withProfile(cfg, profile), neutral(ns), raw, now)
	if result.Reason != inject.Injected {
		return nil, fmt.Errorf("dry run: a pod would not be tapped: %s %s", result.Reason, result.Detail)
	}
	pod, err := patched(raw, result.Patch)
	if err != nil {
		return nil, err
	}
	metav1.SetMetaDataLabel(&pod.ObjectMeta, inject.Label, inject.Disabled)
	if c, _ := tapOf(pod); c != nil && pod.Spec.Containers[0].Name == dryRunName {
		pod.Spec.Containers[0].Resources = c.Resources
	}
	return pod, nil
}

// withProfile returns a copy of the configuration that uses one profile for all pods, in all namespaces.
func withProfile(cfg *inject.Config, profile inject.Profile) *inject.Config {
	c := *cfg
	c.Profile, c.Own = profile, ""
	return &c
}

// neutral returns a namespace that requests taps. It copies from ns what changes the tap, but nothing that could
// prevent a tap or end it.
func neutral(ns *inject.Namespace) *inject.Namespace {
	view := &inject.Namespace{
		Name: ns.Name, Labels: map[string]string{inject.Label: inject.Enabled},
		Annotations: maps.Clone(ns.Annotations), LimitRanges: ns.LimitRanges, CPULimits: ns.CPULimits, NoNative: ns.NoNative, Waits: ns.Waits,
	}
	for _, key := range []string{inject.AnnotationProfile, inject.AnnotationImage, inject.AnnotationUntil, inject.AnnotationDuration} {
		delete(view.Annotations, inject.Prefix+key)
	}
	return view
}

// untapped returns a copy of base for which the webhook is not called.
func untapped(base *corev1.Pod) *corev1.Pod {
	pod := base.DeepCopy()
	metav1.SetMetaDataLabel(&pod.ObjectMeta, inject.Label, inject.Disabled)
	return pod
}

// asking returns a copy of base for the dry run of a profile: the pod requests a tap, its annotation names the profile,
// and it has the resources of the pod tapped. Any replica of the webhook may answer the API server's call.
func asking(base, tapped *corev1.Pod, profile inject.Profile, noNative bool) *corev1.Pod {
	pod := base.DeepCopy()
	metav1.SetMetaDataLabel(&pod.ObjectMeta, inject.Label, inject.Enabled)
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, inject.Prefix+inject.AnnotationDryRun, dryRunText(profile, noNative))
	pod.Spec.Containers[0].Resources = tapped.Spec.Containers[0].Resources
	return pod
}

// notNative is the suffix of the profile in a dry run's annotation. It requests a tap that is an ordinary container.
const notNative = "/container"

// dryRunText returns the value of the annotation of a dry run.
func dryRunText(profile inject.Profile, noNative bool) string {
	if noNative {
		return string(profile) + notNative
	}
	return string(profile)
}

// dryRunProfile returns the profile that the annotation of one of the webhook's dry runs requests. The annotation is
// ignored in requests that are not dry runs.
func dryRunProfile(r *review) (profile inject.Profile, noNative, ok bool) {
	if !r.dryRun() {
		return "", false, false
	}
	var pod struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if json.Unmarshal(r.Request.Object, &pod) != nil {
		return "", false, false
	}
	text, noNative := strings.CutSuffix(pod.Metadata.Annotations[inject.Prefix+inject.AnnotationDryRun], notNative)
	profile = inject.Profile(text)
	return profile, noNative, slices.Contains(inject.Profiles(), profile)
}

// tapOf returns the tap's container, or nil. native reports whether it is among the init containers.
func tapOf(pod *corev1.Pod) (c *corev1.Container, native bool) {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == inject.Name {
			return &pod.Spec.InitContainers[i], true
		}
	}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == inject.Name {
			return &pod.Spec.Containers[i], false
		}
	}
	return nil, false
}

// patched returns the pod raw with a patch applied.
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

// example returns a copy of an untapped pod of the namespace, ready to be created, or nil if there is no such pod. It
// looks at the first 50 pods.
func (d *dryRuns) example(ctx context.Context, namespace string) (*corev1.Pod, error) {
	var list corev1.PodList
	if err := d.live.List(ctx, &list, client.InNamespace(namespace), client.Limit(50)); err != nil {
		return nil, err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		raw, err := json.Marshal(pod)
		if err != nil || inject.Tap(withProfile(d.cfg, inject.ProfileDefault), neutral(&inject.Namespace{}), raw, d.now()).Reason != inject.Injected {
			continue
		}
		spec := pod.Spec.DeepCopy()
		spec.NodeName, spec.Priority = "", nil
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: "meshtls-tap-probe-", Labels: pod.Labels, Annotations: pod.Annotations,
		}, Spec: *spec}, nil
	}
	return nil, nil //nolint:nilnil // a missing pod is not an error
}
