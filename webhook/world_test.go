package webhook

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// A world simulates a namespace with quotas, an API server and its controllers. Pods are created in batches. For all
// pods of a batch the webhook decides by the state before the batch. Quotas then admit the pods one by one.
type world struct {
	t      *testing.T
	policy inject.QuotaPolicy
	quotas []corev1.ResourceQuota
	owners owners
	pods   []corev1.Pod
	why    map[string]int // the number of pods without a tap, by reason
	serial int
}

func newWorld(t *testing.T, policy inject.QuotaPolicy, hard ...corev1.ResourceQuota) *world {
	w := &world{t: t, policy: policy, why: map[string]int{}}
	for i := range hard {
		q := hard[i].DeepCopy()
		q.Status.Used = corev1.ResourceList{}
		for name := range q.Spec.Hard {
			q.Status.Used[name] = resource.MustParse("0")
		}
		w.quotas = append(w.quotas, *q)
	}
	return w
}

// view returns the namespace as the webhook reads it now.
func (w *world) view() *inject.Namespace {
	ns := &inject.Namespace{Name: "shop", Labels: map[string]string{inject.Label: inject.Enabled}}
	o := w.owners
	o.pods = nil
	for i := range w.pods {
		o.pods = append(o.pods, metav1.PartialObjectMetadata{ObjectMeta: w.pods[i].ObjectMeta})
	}
	var err error
	if ns.Demand, ns.Others, err = o.demand(nil, 10, 3); err != nil {
		w.t.Fatal(err)
	}
	for i := range w.quotas {
		ns.Quotas = append(ns.Quotas, *w.quotas[i].DeepCopy())
		if _, ok := w.quotas[i].Spec.Hard[corev1.ResourceLimitsCPU]; ok {
			ns.CPULimits = true
		}
	}
	return ns
}

// batch creates n pods of an owner, and the webhook decides about all of them at the same time. It returns how many
// were admitted.
func (w *world) batch(n int, owner *metav1.OwnerReference, spec *corev1.PodSpec) int {
	ns, admitted := w.view(), 0
	settings, _ := inject.ParseSettings(nil)
	cfg := &inject.Config{Settings: settings, Image: "tap:1", Quota: w.policy, QuotaGrowth: 10, ServerMinor: 37}
	for range n {
		w.serial++
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("p", w.serial)}, Spec: *spec.DeepCopy()}
		if owner != nil {
			pod.OwnerReferences = []metav1.OwnerReference{*owner}
		}
		raw, err := json.Marshal(pod)
		if err != nil {
			w.t.Fatal(err)
		}
		if w.policy != "untapped" {
			result := inject.Tap(cfg, ns, raw, newClock().now())
			if result.Reason != inject.Injected {
				w.why[string(result.Reason)+": "+result.Detail]++
			}
			if pod, err = patched(raw, result.Patch); err != nil {
				w.t.Fatal(err)
			}
		}
		if w.admit(pod, 1) {
			w.pods = append(w.pods, *pod)
			admitted++
		}
	}
	return admitted
}

// admit adds a pod to the usage of the quotas and reports whether all of them have room for it. With sign -1 it subtracts
// the pod.
func (w *world) admit(pod *corev1.Pod, sign int64) bool {
	var next []corev1.ResourceQuota
	for i := range w.quotas {
		q := w.quotas[i].DeepCopy()
		next = append(next, *q)
		if sel := q.Spec.ScopeSelector; sel != nil && sel.MatchExpressions[0].Values[0] != pod.Spec.PriorityClassName {
			continue
		}
		for name, hard := range q.Spec.Hard {
			used := q.Status.Used[name]
			add := usage(pod, name)
			if sign < 0 {
				used.Sub(add)
			} else {
				used.Add(add)
			}
			if sign > 0 && used.Cmp(hard) > 0 {
				return false
			}
			q.Status.Used[name] = used
		}
	}
	w.quotas = next
	return true
}

// usage returns the amount that a line of a quota counts for a pod. The only init container of the pod may be its tap.
func usage(pod *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	var sum resource.Quantity
	if name == corev1.ResourcePods {
		return resource.MustParse("1")
	}
	of, limits := strings.CutPrefix(string(name), "limits.")
	of = strings.TrimPrefix(of, "requests.")
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		l := c.Resources.Requests
		if limits {
			l = c.Resources.Limits
		}
		sum.Add(l[corev1.ResourceName(of)])
	}
	return sum
}

// replenish creates the missing pods of an owner as a controller does: in batches that double in size, and again after a
// failure.
func (w *world) replenish(want int, owner *metav1.OwnerReference, spec *corev1.PodSpec) {
	for range 8 {
		for size := 1; w.have(owner) < want; size *= 2 {
			n := min(size, want-w.have(owner))
			if w.batch(n, owner, spec) < n {
				break
			}
		}
	}
}

func (w *world) have(owner *metav1.OwnerReference) (n int) {
	for i := range w.pods {
		if controllerOf(&w.pods[i]) == owner.UID {
			n++
		}
	}
	return n
}

// end deletes a pod of an owner.
func (w *world) end(owner *metav1.OwnerReference) {
	for i := range w.pods {
		if controllerOf(&w.pods[i]) == owner.UID {
			w.admit(&w.pods[i], -1)
			w.pods = append(w.pods[:i], w.pods[i+1:]...)
			return
		}
	}
}

func (w *world) tapped() (n int) {
	for i := range w.pods {
		if c, _ := tapOf(&w.pods[i]); c != nil {
			n++
		}
	}
	return n
}

func specOf(cpu, memory, cpuLimit, memoryLimit string) *corev1.PodSpec {
	return &corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)},
		Limits:   corev1.ResourceList{"cpu": resource.MustParse(cpuLimit), "memory": resource.MustParse(memoryLimit)},
	}}}}
}

func quotaOf(lines ...string) corev1.ResourceQuota {
	q := corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
	for i := 0; i < len(lines); i += 2 {
		q.Spec.Hard[corev1.ResourceName(lines[i])] = resource.MustParse(lines[i+1])
	}
	return q
}

func owns(kind, name string) *metav1.OwnerReference {
	yes := true
	return &metav1.OwnerReference{Kind: kind, Name: name, UID: types.UID(kind + name), Controller: &yes}
}

func metaOf(kind, name string, owner *metav1.OwnerReference) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(kind + name)}
	if owner != nil {
		m.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return m
}

func number(n int) *int32 { v := int32(n); return &v }

// deploy adds a Deployment with a ReplicaSet. It returns the pods' reference to the ReplicaSet.
func (w *world) deploy(name string, replicas int, spec *corev1.PodSpec, surge int) *metav1.OwnerReference {
	template := corev1.PodTemplateSpec{Spec: *spec}
	most := intstr.FromInt32(int32(surge))
	w.owners.deployments = append(w.owners.deployments, appsv1.Deployment{ObjectMeta: metaOf("Deployment", name, nil), Spec: appsv1.DeploymentSpec{
		Replicas: number(replicas), Template: template, Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &most}},
	}})
	return w.revise(name, replicas, spec)
}

// revise adds a ReplicaSet to a Deployment and returns the pods' reference to it.
func (w *world) revise(name string, replicas int, spec *corev1.PodSpec) *metav1.OwnerReference {
	set := fmt.Sprintf("%s-%d", name, len(w.owners.replicaSets))
	w.owners.replicaSets = append(w.owners.replicaSets, appsv1.ReplicaSet{
		ObjectMeta: metaOf("ReplicaSet", set, owns("Deployment", name)),
		Spec:       appsv1.ReplicaSetSpec{Replicas: number(replicas), Template: corev1.PodTemplateSpec{Spec: *spec}},
	})
	return owns("ReplicaSet", set)
}

// autoscale runs a Deployment with two pods, which an autoscaler scales to ten. most is the autoscaler's maximum;
// surge is the Deployment's.
func (w *world) autoscale(most int32, surge int) {
	w.owners.autoscalers = []autoscalingv2.HorizontalPodAutoscaler{{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "a"}, MaxReplicas: most,
	}}}
	o := w.deploy("a", 2, tenth, surge)
	w.replenish(2, o, tenth)
	w.scale(0, 10)
	w.replenish(10, o, tenth)
}

// scale changes the number of replicas of a Deployment that deploy created, as an autoscaler does.
func (w *world) scale(at, replicas int) {
	w.owners.deployments[at].Spec.Replicas, w.owners.replicaSets[at].Spec.Replicas = number(replicas), number(replicas)
}

var (
	tenth = specOf("50m", "50Mi", "100m", "100Mi") // a tenth of exact
	exact = quotaOf("requests.cpu", "500m", "requests.memory", "500Mi", "limits.cpu", "1", "limits.memory", "1000Mi")
	tight = quotaOf("requests.cpu", "530m", "requests.memory", "700Mi", "limits.cpu", "2", "limits.memory", "1400Mi")
	ample = quotaOf("requests.cpu", "100", "requests.memory", "100Gi", "limits.cpu", "100", "limits.memory", "100Gi")
)

// roll is a rolling update of ten pods with a surge of three.
func (w *world) roll() {
	old := w.deploy("a", 10, tenth, 3)
	w.replenish(10, old, tenth)
	next := w.revise("a", 3, tenth)
	for n := 3; ; n = min(n+2, 10) {
		w.owners.replicaSets[1].Spec.Replicas = number(n)
		w.replenish(n, next, tenth)
		if w.have(next) < n {
			return // the update does not progress any more
		}
		if w.have(old) == 0 {
			return
		}
		for range 2 {
			w.owners.replicaSets[0].Spec.Replicas = number(max(w.have(old)-1, 0))
			w.end(old)
		}
	}
}

// bare creates n pods without an owner, in batches of size at.
func (w *world) bare(n, at int) {
	for ; n > 0; n -= at {
		w.batch(at, nil, tenth)
	}
}

// classed returns a copy of the quota exact that counts only pods of one priority class.
func classed(class string) corev1.ResourceQuota {
	q := *exact.DeepCopy()
	q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
		{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{class}},
	}}
	return q
}
