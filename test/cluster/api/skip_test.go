package api_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// A row describes a pod that is not tapped.
type row struct {
	namespace   map[string]string // labels of the namespace, in addition to the one that requests taps
	annotations map[string]string // annotations of the namespace
	untapped    bool              // the namespace does not request taps
	in          string            // an existing namespace in which the pod is created
	before      func(*testing.T, *kit.Cluster, string)
	pod         func(*corev1.Pod)
	warning     string // a part of the warning; empty: not checked
	still       bool   // the pod has its own container with the tap's name
}

// TestSkipped: each of the pods is admitted without a tap.
func TestSkipped(t *testing.T) {
	c, _ := installed(t)
	for name, r := range map[string]row{
		"host network": {pod: func(p *corev1.Pod) { p.Spec.HostNetwork = true }},
		"shared processes": {warning: "shared_process_namespace", pod: func(p *corev1.Pod) {
			yes := true
			p.Spec.ShareProcessNamespace = &yes
		}},
		"Windows by os":       {pod: func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }},
		"Windows by selector": {pod: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"} }},
		"mirror pod": {pod: func(p *corev1.Pod) {
			p.Annotations = map[string]string{"kubernetes.io/config.mirror": "x"}
			p.Spec.NodeName = "node"
		}},
		"opted out":                {pod: func(p *corev1.Pod) { p.Labels = map[string]string{label: "disabled"} }},
		"namespace not asked":      {untapped: true},
		"pod alone asks":           {untapped: true, pod: func(p *corev1.Pod) { p.Labels = map[string]string{label: "enabled"} }},
		"own namespace":            {in: release},
		"kube-system":              {in: "kube-system"},
		"namespace expired":        {annotations: map[string]string{"meshtls-tap/until": "2026-01-01T00:00:00Z"}, warning: "expired"},
		"turned off":               {before: turnOff, warning: "turned_off"},
		"Job without native":       {annotations: map[string]string{"meshtls-tap/mode": "container"}, pod: owned("batch/v1", "Job", "once"), warning: "job"},
		"kubelets before 1.29":     {before: oldKubelet, warning: "old_kubelets"},
		"Pod Security":             {namespace: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}, pod: kit.Restricted, warning: "restricted"},
		"another policy":           {namespace: map[string]string{"policy": "no-raw"}, before: policy, warning: "no-raw"},
		"quota":                    {before: quota, pod: needs("100m", "50Mi"), warning: "quota"},
		"a foreign init container": {pod: func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: kit.Tap, Image: "mine"}} }, still: true, warning: "foreign_container"},
		"a foreign container": {warning: "foreign_container", pod: func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: kit.Tap, Image: "mine"})
		}, still: true},
	} {
		t.Run(name, func(t *testing.T) { r.run(t, c) })
	}
}

func (r row) run(t *testing.T, c *kit.Cluster) {
	ns := r.in
	switch {
	case ns != "":
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"enabled"}}}`, label)
		if _, err := c.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	case r.untapped:
		ns = c.Namespace(t, r.namespace)
	default:
		labels := map[string]string{label: "enabled"}
		maps.Copy(labels, r.namespace)
		ns = c.Namespace(t, labels)
	}
	if r.annotations != nil {
		annotate(t, c, ns, r.annotations)
	}
	if r.before != nil {
		r.before(t, c, ns)
	}
	pod := kit.NewPod("p")
	if r.pod != nil {
		r.pod(pod)
	}
	// It takes a moment until the API server and the webhook see new objects.
	kit.Eventually(t, kit.Limit, "the pod to be left alone", func() error {
		result := c.DryRun(t, ns, pod.DeepCopy())
		if result.Err != nil {
			return result.Err
		}
		found, _ := kit.Container(result.Pod, kit.Tap)
		if (found != nil) != r.still || found != nil && found.Image != "mine" {
			return fmt.Errorf("a tap is there: %v", found)
		}
		if warned := strings.Join(result.Warnings, "\n"); !strings.Contains(warned, r.warning) {
			return fmt.Errorf("warnings %q, want %q among them", warned, r.warning)
		}
		return nil
	})
}

func annotate(t *testing.T, c *kit.Cluster, namespace string, annotations map[string]string) {
	t.Helper()
	ns, err := c.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ns.Annotations = annotations
	if _, err := c.CoreV1().Namespaces().Update(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func owned(version, kind, name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: name, UID: "1", Controller: &yes}}
		if kind == "Job" {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
		}
	}
}

func needs(cpu, memory string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
	}
}

func turnOff(t *testing.T, c *kit.Cluster, ns string) {
	t.Helper()
	c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: meshtls-tap}, data: {enabled: "false"}}`, "--server-side", "--force-conflicts")
}

// oldKubelet adds a node with an old kubelet. The webhook lists the nodes when it starts and every five minutes.
func oldKubelet(t *testing.T, c *kit.Cluster, _ string) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "old"}}
	node, err := c.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.CoreV1().Nodes().Delete(context.Background(), "old", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		once.hook.restart(t, c)
	})
	node.Status.NodeInfo.KubeletVersion = "v1.28.15"
	if _, err := c.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	once.hook.restart(t, c)
}

// policy creates a policy such as Kyverno or Gatekeeper would: it refuses containers that add a capability.
func policy(t *testing.T, c *kit.Cluster, _ string) {
	t.Helper()
	c.Apply(t, "default", `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-raw}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]}
  validations:
  - expression: >-
      !has(object.spec.initContainers) || object.spec.initContainers.all(c, c.name != 'meshtls-tap')
    message: "policy no-raw: no taps here"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-raw}
spec: {policyName: no-raw, validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {policy: no-raw}}}}
`)
}

func quota(t *testing.T, c *kit.Cluster, ns string) {
	t.Helper()
	c.Apply(t, ns, `{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {limits.memory: 100Mi, requests.cpu: "1"}}}`)
	// The test sets the usage, because the controller that would do so does not run in this tier.
	q, err := c.CoreV1().ResourceQuotas(ns).Get(t.Context(), "q", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	q.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: corev1.ResourceList{
		corev1.ResourceLimitsMemory: resource.MustParse("0"), corev1.ResourceRequestsCPU: resource.MustParse("0"),
	}}
	if _, err := c.CoreV1().ResourceQuotas(ns).UpdateStatus(t.Context(), q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}
