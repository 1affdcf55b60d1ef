package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// budget creates a ResourceQuota and sets its usage, because the controller that would do so does not run in this
// tier.
func budget(t *testing.T, c *kit.Cluster, ns string, scopes *corev1.ScopeSelector, lines ...string) {
	t.Helper()
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}, ScopeSelector: scopes}}
	used := corev1.ResourceList{}
	for i := 0; i < len(lines); i += 2 {
		q.Spec.Hard[corev1.ResourceName(lines[i])] = resource.MustParse(lines[i+1])
		used[corev1.ResourceName(lines[i])] = resource.MustParse("0")
	}
	q, err := c.CoreV1().ResourceQuotas(ns).Create(t.Context(), q, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	q.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: used}
	if _, err := c.CoreV1().ResourceQuotas(ns).UpdateStatus(t.Context(), q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A deployment is a Deployment whose ReplicaSets and pods the test creates, as the controllers would do.
type deployment struct {
	c    *kit.Cluster
	ns   string
	name string
	sets []*appsv1.ReplicaSet
	spec corev1.PodSpec
	uid  types.UID
}

func sized(cpu, memory, cpuLimit, memoryLimit string) corev1.PodSpec {
	spec := kit.Spec("serve")
	spec.Containers[0].Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)},
		Limits:   corev1.ResourceList{"cpu": resource.MustParse(cpuLimit), "memory": resource.MustParse(memoryLimit)},
	}
	return spec
}

func (d *deployment) template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": d.name}}, Spec: d.spec}
}

func deploy(t *testing.T, c *kit.Cluster, ns, name string, replicas int32, spec corev1.PodSpec) *deployment {
	t.Helper()
	d := &deployment{c: c, ns: ns, name: name, spec: spec}
	surge := intstr.FromInt32(3)
	made, err := c.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: d.template(),
		Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.uid = made.UID
	d.revise(t, replicas)
	return d
}

// revise adds a ReplicaSet.
func (d *deployment) revise(t *testing.T, replicas int32) {
	t.Helper()
	yes := true
	set, err := d.c.AppsV1().ReplicaSets(d.ns).Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", d.name, len(d.sets)), OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "Deployment", Name: d.name, UID: d.uid, Controller: &yes},
		}},
		Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": d.name}}, Template: d.template()},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.sets = append(d.sets, set)
}

// scale sets the number of replicas as an autoscaler does. Then it does the work of the Deployment's controller.
func (d *deployment) scale(t *testing.T, replicas int32) {
	t.Helper()
	s := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: d.name, Namespace: d.ns}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	if _, err := d.c.AppsV1().Deployments(d.ns).UpdateScale(t.Context(), d.name, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	d.resize(t, 0, replicas)
}

func (d *deployment) resize(t *testing.T, set int, replicas int32) {
	t.Helper()
	s := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: d.sets[set].Name, Namespace: d.ns}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	if _, err := d.c.AppsV1().ReplicaSets(d.ns).UpdateScale(t.Context(), d.sets[set].Name, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// fill creates the missing pods of a ReplicaSet as a controller does, in concurrent batches that double in size. When a
// pod is refused, fill starts again with a batch of one pod. It starts at most six times in all.
func (d *deployment) fill(t *testing.T, set, want int) {
	t.Helper()
	set0 := d.sets[set]
	for range 6 {
		for size := 1; ; size *= 2 {
			n := min(size, want-len(d.pods(t, set)))
			if n <= 0 {
				return
			}
			if d.batch(t, set0, n) < n {
				break
			}
		}
	}
}

func (d *deployment) batch(t *testing.T, set *appsv1.ReplicaSet, n int) (created int) {
	t.Helper()
	yes := true
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range n {
		wg.Go(func() {
			template := d.template()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: set.Name + "-", Labels: template.Labels, OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set.Name, UID: set.UID, Controller: &yes},
			}}, Spec: template.Spec}
			_, err := d.c.CoreV1().Pods(d.ns).Create(t.Context(), pod, metav1.CreateOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created++
			} else if !strings.Contains(err.Error(), "exceeded quota") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return created
}

func (d *deployment) pods(t *testing.T, set int) (out []corev1.Pod) {
	t.Helper()
	list, err := d.c.CoreV1().Pods(d.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		if o := metav1.GetControllerOf(&p); o != nil && o.UID == d.sets[set].UID {
			out = append(out, p)
		}
	}
	return out
}

// end deletes a pod and updates the usage of the quota, as a controller would do.
func (d *deployment) end(t *testing.T, set int) {
	t.Helper()
	all := d.pods(t, set)
	if len(all) == 0 {
		return
	}
	now := int64(0)
	if err := d.c.CoreV1().Pods(d.ns).Delete(context.WithoutCancel(t.Context()), all[0].Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	q, err := d.c.CoreV1().ResourceQuotas(d.ns).Get(t.Context(), "q", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	used := q.Status.Used["requests.cpu"]
	for _, c := range append(all[0].Spec.InitContainers, all[0].Spec.Containers...) {
		used.Sub(c.Resources.Requests["cpu"])
	}
	q.Status.Used["requests.cpu"] = used
	if _, err := d.c.CoreV1().ResourceQuotas(d.ns).UpdateStatus(t.Context(), q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// want checks that a ReplicaSet has the given number of pods, and that the number of tapped pods is between the
// arguments least and most.
func (d *deployment) want(t *testing.T, set, pods, least, most int) {
	t.Helper()
	all, taps := d.pods(t, set), 0
	for i := range all {
		if found, _ := kit.Container(&all[i], kit.Tap); found != nil {
			taps++
		}
	}
	t.Logf("%d pods, %d of them tapped", len(all), taps)
	if len(all) != pods || taps < least || taps > most {
		t.Errorf("%d pods, %d of them tapped; want %d, and %d to %d", len(all), taps, pods, least, most)
	}
}

// TestQuotaKeepsNoPodOut: in a quota that has room for ten pods, ten pods start.
func TestQuotaKeepsNoPodOut(t *testing.T) {
	c, h := installed(t)
	spec := sized("50m", "50Mi", "100m", "100Mi")
	exact := []string{"requests.cpu", "500m", "requests.memory", "500Mi", "limits.cpu", "1", "limits.memory", "1000Mi"}
	ns := func(t *testing.T) string {
		ns := c.Namespace(t, tapped)
		h.works(t, c, ns) // waits until the webhook taps pods here: from now on only the quota can leave a pod untapped
		return ns
	}
	t.Run("exact", func(t *testing.T) {
		ns := ns(t)
		budget(t, c, ns, nil, exact...)
		d := deploy(t, c, ns, "ten", 10, spec)
		d.fill(t, 0, 10)
		d.want(t, 0, 10, 0, 0)
		kit.Eventually(t, kit.Limit, "an Event that says why", func() error { return said(t, c, ns, "NotTapped", "quota q has ") })
	})
	for name, test := range map[string]struct {
		hard        []string
		least, most int
	}{
		"room for some taps": {[]string{"requests.cpu", "530m", "requests.memory", "700Mi", "limits.cpu", "2", "limits.memory", "1400Mi"}, 1, 6},
		"room for all":       {[]string{"requests.cpu", "20", "requests.memory", "20Gi", "limits.cpu", "50", "limits.memory", "50Gi"}, 10, 10},
	} {
		t.Run(name, func(t *testing.T) {
			ns := ns(t)
			budget(t, c, ns, nil, test.hard...)
			d := deploy(t, c, ns, "ten", 10, spec)
			d.fill(t, 0, 10)
			d.want(t, 0, 10, test.least, test.most)
		})
	}
	t.Run("of another class", func(t *testing.T) {
		ns := ns(t)
		budget(t, c, ns, &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"high"}},
		}}, exact...)
		d := deploy(t, c, ns, "ten", 10, spec)
		d.fill(t, 0, 10)
		d.want(t, 0, 10, 10, 10)
	})
	t.Run("scaled by its subresource", func(t *testing.T) {
		ns := ns(t)
		budget(t, c, ns, nil, exact...)
		d := deploy(t, c, ns, "ten", 3, spec)
		d.fill(t, 0, 3)
		d.scale(t, 10)
		d.fill(t, 0, 10)
		d.want(t, 0, 10, 0, 0)
	})
	t.Run("rolling update with surge", func(t *testing.T) {
		ns := ns(t)
		budget(t, c, ns, nil, "requests.cpu", "650m")
		d := deploy(t, c, ns, "ten", 10, spec)
		d.fill(t, 0, 10)
		d.revise(t, 3)
		for n := 3; len(d.pods(t, 0)) > 0; n = min(n+2, 10) {
			d.resize(t, 1, int32(n))
			d.fill(t, 1, n)
			if len(d.pods(t, 1)) < n {
				break
			}
			for range 2 {
				d.resize(t, 0, int32(max(len(d.pods(t, 0))-1, 0)))
				d.end(t, 0)
			}
		}
		d.fill(t, 1, 10)
		d.want(t, 1, 10, 0, 6)
	})
}

// said returns an error unless the namespace has an Event with a reason and with part in its note. It fails the test if
// an Event is about a pod.
func said(t *testing.T, c *kit.Cluster, ns, reason, part string) error {
	t.Helper()
	list, err := c.EventsV1().Events(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	var seen []string
	found := false
	for _, e := range list.Items {
		if e.Regarding.Kind == "Pod" {
			t.Errorf("an Event about a pod: %s %s", e.Reason, e.Note)
		}
		seen = append(seen, e.Reason+" "+e.Note)
		found = found || e.Reason == reason && strings.Contains(e.Note, part)
	}
	if !found {
		return fmt.Errorf("none of %q", seen)
	}
	return nil
}
