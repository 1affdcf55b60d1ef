package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// A world is a namespace with quotas, as an API server and its controllers keep it: pods are
// admitted one by one, and decided on as they are when a batch of them begins.
type world struct {
	t      *testing.T
	policy inject.QuotaPolicy
	quotas []corev1.ResourceQuota
	owners owners
	pods   []corev1.Pod
	why    map[string]int // of pods without a tap
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

// view returns the input of a decision at this time.
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

// batch creates n pods of an owner that are decided on at the same moment, and returns how many
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

// admit counts a pod, if all quotas have room for it; with sign -1 it takes it out again.
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

// usage returns the amount that a line of a quota counts for a pod, whose only init container is its tap.
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

// settle creates what an owner lacks, as its controller does: in batches that double, and again
// until nothing changes.
func (w *world) settle(want int, owner *metav1.OwnerReference, spec *corev1.PodSpec) {
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

// deploy adds a Deployment and its ReplicaSet, and returns how pods name the latter.
func (w *world) deploy(name string, replicas int, spec *corev1.PodSpec, surge int) *metav1.OwnerReference {
	template := corev1.PodTemplateSpec{Spec: *spec}
	most := intstr.FromInt32(int32(surge))
	w.owners.deployments = append(w.owners.deployments, appsv1.Deployment{ObjectMeta: metaOf("Deployment", name, nil), Spec: appsv1.DeploymentSpec{
		Replicas: number(replicas), Template: template, Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &most}},
	}})
	return w.revise(name, replicas, spec)
}

// revise adds a ReplicaSet to a Deployment.
func (w *world) revise(name string, replicas int, spec *corev1.PodSpec) *metav1.OwnerReference {
	set := fmt.Sprintf("%s-%d", name, len(w.owners.replicaSets))
	w.owners.replicaSets = append(w.owners.replicaSets, appsv1.ReplicaSet{
		ObjectMeta: metaOf("ReplicaSet", set, owns("Deployment", name)),
		Spec:       appsv1.ReplicaSetSpec{Replicas: number(replicas), Template: corev1.PodTemplateSpec{Spec: *spec}},
	})
	return owns("ReplicaSet", set)
}

// autoscale runs a Deployment of two pods, which an autoscaler with a maximum of most scales to
// ten. surge is that of the Deployment.
func (w *world) autoscale(most int32, surge int) {
	w.owners.autoscalers = []autoscalingv2.HorizontalPodAutoscaler{{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "a"}, MaxReplicas: most,
	}}}
	o := w.deploy("a", 2, tenth, surge)
	w.settle(2, o, tenth)
	w.scale(0, 10)
	w.settle(10, o, tenth)
}

// scale changes the replicas of a Deployment that deploy made, as an autoscaler does.
func (w *world) scale(at, replicas int) {
	w.owners.deployments[at].Spec.Replicas, w.owners.replicaSets[at].Spec.Replicas = number(replicas), number(replicas)
}

var (
	tenth = specOf("50m", "50Mi", "100m", "100Mi") // of exact
	exact = quotaOf("requests.cpu", "500m", "requests.memory", "500Mi", "limits.cpu", "1", "limits.memory", "1000Mi")
	tight = quotaOf("requests.cpu", "530m", "requests.memory", "700Mi", "limits.cpu", "2", "limits.memory", "1400Mi")
	ample = quotaOf("requests.cpu", "100", "requests.memory", "100Gi", "limits.cpu", "100", "limits.memory", "100Gi")
)

// TestQuotaFits: in each of these namespaces as many pods start with the webhook as without.
func TestQuotaFits(t *testing.T) {
	for name, c := range map[string]struct {
		quota  corev1.ResourceQuota
		play   func(*world)
		tapped [2]int // at least, and at most
	}{
		"exact":   {exact, func(w *world) { w.settle(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{0, 0}},
		"tight":   {tight, func(w *world) { w.settle(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{3, 6}},
		"ample":   {ample, func(w *world) { w.settle(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{10, 10}},
		"of pods": {quotaOf("pods", "10", "requests.cpu", "600m"), func(w *world) { w.settle(12, w.deploy("a", 12, tenth, 3), tenth) }, [2]int{0, 10}},
		"of pods alone": {quotaOf("pods", "10"), func(w *world) {
			w.settle(10, w.deploy("a", 10, tenth, 3), tenth)
		}, [2]int{10, 10}},
		"too small": {quotaOf("requests.cpu", "275m"), func(w *world) { w.settle(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{0, 5}},
		"limits of memory alone": {quotaOf("limits.memory", "1000Mi"), func(w *world) {
			w.settle(10, w.deploy("a", 10, tenth, 3), tenth)
		}, [2]int{0, 0}},
		"scaled from one": {exact, func(w *world) {
			o := w.deploy("a", 1, tenth, 3)
			w.settle(1, o, tenth)
			w.scale(0, 10)
			w.settle(10, o, tenth)
		}, [2]int{0, 0}},
		"scaled from five, step by step": {exact, func(w *world) {
			o := w.deploy("a", 5, tenth, 3)
			for n := 5; n <= 10; n++ {
				w.scale(0, n)
				w.settle(n, o, tenth)
			}
		}, [2]int{0, 0}},
		"scaled from zero": {tight, func(w *world) {
			o := w.deploy("a", 0, tenth, 3)
			w.scale(0, 10)
			w.settle(10, o, tenth)
		}, [2]int{1, 6}},
		"autoscaler":                {quotaOf("requests.cpu", "500m"), func(w *world) { w.autoscale(10, 0) }, [2]int{0, 0}},
		"autoscaler with room":      {quotaOf("requests.cpu", "1"), func(w *world) { w.autoscale(12, 1) }, [2]int{10, 10}},
		"rolling update with surge": {quotaOf("requests.cpu", "650m"), func(w *world) { w.roll() }, [2]int{0, 0}},
		"rolling update with room":  {quotaOf("requests.cpu", "680m"), func(w *world) { w.roll() }, [2]int{1, 6}},
		"two owners": {quotaOf("requests.cpu", "530m"), func(w *world) {
			other := specOf("30m", "1Mi", "1", "1Gi")
			a, b := w.deploy("a", 10, tenth, 0), w.deploy("b", 1, other, 0)
			w.settle(10, a, tenth)
			w.settle(1, b, other)
		}, [2]int{0, 0}},
		"two at once": {quotaOf("requests.cpu", "560m"), func(w *world) {
			other := specOf("10m", "1Mi", "1", "1Gi")
			a, b := w.deploy("a", 10, tenth, 0), w.deploy("b", 5, other, 0)
			for range 20 {
				w.batch(min(2, 10-w.have(a)), a, tenth)
				w.batch(min(1, 5-w.have(b)), b, other)
			}
		}, [2]int{0, 2}},
		"with a sidecar of others": {quotaOf("requests.cpu", "1"), func(w *world) { // the template says 50m
			with := specOf("100m", "50Mi", "200m", "100Mi")
			w.settle(10, w.deploy("a", 10, tenth, 0), with)
		}, [2]int{0, 0}},
		"stateful set": {tight, func(w *world) {
			w.owners.statefulSets = []appsv1.StatefulSet{{ObjectMeta: metaOf("StatefulSet", "s", nil), Spec: appsv1.StatefulSetSpec{
				Replicas: number(10), Template: corev1.PodTemplateSpec{Spec: *tenth},
			}}}
			for range 10 {
				w.batch(1, owns("StatefulSet", "s"), tenth)
			}
		}, [2]int{3, 6}},
		"daemon set, not counted yet": {quotaOf("requests.cpu", "150m"), func(w *world) {
			set := appsv1.DaemonSet{ObjectMeta: metaOf("DaemonSet", "d", nil), Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{Spec: *tenth}}}
			set.Generation = 1
			w.owners.daemonSets = []appsv1.DaemonSet{set}
			w.settle(3, owns("DaemonSet", "d"), tenth)
		}, [2]int{0, 0}},
		"job": {quotaOf("requests.cpu", "260m"), func(w *world) {
			w.owners.jobs = []batchv1.Job{{ObjectMeta: metaOf("Job", "j", nil), Spec: batchv1.JobSpec{
				Parallelism: number(5), Completions: number(12), Template: corev1.PodTemplateSpec{Spec: *tenth},
			}}}
			for done := range 12 {
				w.owners.jobs[0].Status.Succeeded = int32(done)
				w.settle(min(5, 12-done), owns("Job", "j"), tenth)
				if done < 11 {
					w.end(owns("Job", "j"))
				}
			}
			w.settle(1, owns("Job", "j"), tenth)
		}, [2]int{0, 1}},
		"ten bare pods":         {exact, func(w *world) { w.bare(10, 1) }, [2]int{0, 0}},
		"ten bare pods at once": {tight, func(w *world) { w.bare(10, 10) }, [2]int{0, 6}},
		"an owner of its own kind": {tight, func(w *world) {
			w.batch(10, owns("Workflow", "w"), tenth)
		}, [2]int{0, 6}},
		"not of this class": {classed("high"), func(w *world) { w.settle(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{10, 10}},
		"of this class": {classed("high"), func(w *world) {
			spec := tenth.DeepCopy()
			spec.PriorityClassName = "high"
			w.settle(10, w.deploy("a", 10, spec, 3), spec)
		}, [2]int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			without, with := newWorld(t, "untapped", c.quota), newWorld(t, inject.QuotaFit, c.quota)
			c.play(without)
			c.play(with)
			if len(with.pods) != len(without.pods) {
				t.Errorf("%d pods of %d started, %d tapped: %v", len(with.pods), len(without.pods), with.tapped(), with.why)
			}
			if n := with.tapped(); n < c.tapped[0] || n > c.tapped[1] {
				t.Errorf("%d of %d tapped, want %v: %v", n, len(with.pods), c.tapped, with.why)
			}
		})
	}
}

// roll replaces ten pods, three at a time beyond them.
func (w *world) roll() {
	old := w.deploy("a", 10, tenth, 3)
	w.settle(10, old, tenth)
	next := w.revise("a", 3, tenth)
	for n := 3; ; n = min(n+2, 10) {
		w.owners.replicaSets[1].Spec.Replicas = number(n)
		w.settle(n, next, tenth)
		if w.have(next) < n {
			return // it never ends
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

func (w *world) bare(n, at int) {
	for ; n > 0; n -= at {
		w.batch(at, nil, tenth)
	}
}

func classed(class string) corev1.ResourceQuota {
	q := *exact.DeepCopy()
	q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
		{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{class}},
	}}
	return q
}

// TestQuotaKeepsRoom: owners of any shape that grow at most tenfold, step by step, in any order, in
// a quota that has room for all of them untapped. All of their pods start.
func TestQuotaKeepsRoom(t *testing.T) {
	tapped, whole := 0, 0
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		type owner struct {
			ref     *metav1.OwnerReference
			spec    *corev1.PodSpec
			now, to int
		}
		var all []owner
		cpu, memory := 0, 0
		for range 1 + rnd.IntN(3) {
			c, m, to := 1+rnd.IntN(120), 1+rnd.IntN(200), 1+rnd.IntN(30)
			all = append(all, owner{nil, specOf(fmt.Sprint(c, "m"), fmt.Sprint(m, "Mi"), "1", "1Gi"), (to + 9) / 10, to})
			cpu, memory = cpu+c*to, memory+m*to
		}
		room := func(n int) int { return n + rnd.IntN(1+n*rnd.IntN(30)/10) }
		w := newWorld(t, inject.QuotaFit, quotaOf("requests.cpu", fmt.Sprint(room(cpu), "m"), "requests.memory", fmt.Sprint(room(memory), "Mi")))
		for i := range all {
			all[i].ref = w.deploy(fmt.Sprint("d", i), all[i].now, all[i].spec, 0)
		}
		for range 40 {
			o := &all[rnd.IntN(len(all))]
			if n := min(1+rnd.IntN(4), o.now-w.have(o.ref)); n > 0 {
				w.batch(n, o.ref, o.spec)
			} else if rnd.IntN(5) == 0 {
				w.end(o.ref)
			}
			for i := range all {
				if rnd.IntN(3) == 0 {
					all[i].now = min(all[i].to, all[i].now+rnd.IntN(6))
					w.scale(i, all[i].now)
				}
			}
		}
		for i := range all {
			all[i].now = all[i].to
			w.scale(i, all[i].to)
		}
		for range 3 {
			for i := range all {
				w.settle(all[i].to, all[i].ref, all[i].spec)
			}
		}
		for i := range all {
			if have := w.have(all[i].ref); have != all[i].to {
				t.Errorf("seed %d: %d pods of %d of owner %d: %v", seed, have, all[i].to, i, w.why)
			}
		}
		tapped, whole = tapped+w.tapped(), whole+len(w.pods)
	}
	if t.Logf("%d of %d pods tapped", tapped, whole); tapped == 0 {
		t.Errorf("%d of %d pods tapped", tapped, whole)
	}
}

// TestQuotaPolicies: never and always, and that the world above can show a loss.
func TestQuotaPolicies(t *testing.T) {
	for policy, want := range map[inject.QuotaPolicy][2]int{inject.QuotaNever: {10, 0}, inject.QuotaAlways: {9, 9}} {
		w := newWorld(t, policy, quotaOf("requests.cpu", "500m"))
		w.settle(10, w.deploy("a", 10, tenth, 0), tenth)
		if got := [2]int{len(w.pods), w.tapped()}; got != want {
			t.Errorf("%s: %v pods and taps, want %v: %v", policy, got, want, w.why)
		}
	}
}

// TestQuotasRead: a reading has all that the API server knows about a namespace, and fails if the API server does not answer.
func TestQuotasRead(t *testing.T) {
	k := newClock()
	q := exact.DeepCopy()
	q.Namespace = "shop"
	d := &appsv1.Deployment{ObjectMeta: metaOf("Deployment", "a", nil), Spec: appsv1.DeploymentSpec{Replicas: number(3), Template: corev1.PodTemplateSpec{Spec: *tenth}}}
	pod := &corev1.Pod{ObjectMeta: metaOf("Pod", "b", nil), Spec: *tenth}
	elsewhere := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "else", Name: "a"}}
	plain := fake.NewClientBuilder().WithObjects(q, d, pod, elsewhere, labeled("shop")).Build()
	broken, crashes := "", false
	calls := atomic.Int32{}
	c := interceptor.NewClient(plain, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		calls.Add(1)
		if kind := fmt.Sprintf("%T", list); broken != "" && strings.Contains(kind, broken) {
			if crashes {
				panic("a fault of the client")
			}
			return errors.New("the API server is away")
		}
		return c.List(ctx, list, client.InNamespace("shop")) // the fake one knows no field selectors
	}})
	n := known(plain, k)
	n.cfg.QuotaGrowth, n.cfg.Quota = 10, inject.QuotaFit
	read := &quotas{cached: plain, live: c, cfg: n.cfg, nodes: &nodes{}, turns: map[string]*turns{}}
	view := func() *inject.Namespace {
		ns := &inject.Namespace{Name: "shop"}
		read.into(t.Context(), ns)
		return ns
	}
	if ns := view(); ns.DemandError != "" || len(ns.Quotas) != 1 || len(ns.Demand) != 1 || ns.Demand[0].Missing != 3 || ns.Demand[0].More != 27 || ns.Others[""] != 1 || !ns.CPULimits {
		t.Errorf("read %+v", ns)
	}
	for _, crashes = range []bool{false, true} {
		for _, broken = range []string{"ResourceQuota", "PartialObject", "DeploymentList", "HorizontalPodAutoscaler"} {
			if crashes && broken == "ResourceQuota" {
				continue // the request itself reads it, and the endpoint contains its panics
			}
			if ns := view(); ns.DemandError == "" || len(ns.Quotas) != 1 {
				t.Errorf("%s, crashes %t: read %+v", broken, crashes, ns)
			}
		}
	}
	broken = ""
	for _, policy := range []inject.QuotaPolicy{inject.QuotaNever, inject.QuotaAlways} {
		n.cfg.Quota = policy
		calls.Store(0)
		if ns := view(); len(ns.Quotas) != 1 || ns.Demand != nil || calls.Load() != 1 {
			t.Errorf("%s: %d lists, %+v", policy, calls.Load(), ns)
		}
	}
	n.cfg.Quota = inject.QuotaFit
	if err := plain.Delete(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	calls.Store(0)
	if view(); calls.Load() != 1 {
		t.Errorf("%d lists where there is no quota", calls.Load())
	}
}

// TestQuotasTogether: each caller gets a reading that began after its call, and many share one.
func TestQuotasTogether(t *testing.T) {
	q := exact.DeepCopy()
	q.Namespace = "shop"
	began, goOn := make(chan struct{}, 100), make(chan struct{})
	c := interceptor.NewClient(fake.NewClientBuilder().WithObjects(q).Build(), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, pods := list.(*metav1.PartialObjectMetadataList); pods {
				began <- struct{}{}
				<-goOn
				return nil
			}
			return c.List(ctx, list, client.InNamespace("shop"))
		}})
	read := &quotas{live: c, cfg: &inject.Config{Quota: inject.QuotaFit, QuotaGrowth: 1}, nodes: &nodes{}, turns: map[string]*turns{}}
	var wg sync.WaitGroup
	ask := func() {
		wg.Go(func() {
			if _, err := read.read(t.Context(), "shop"); err != nil {
				t.Error(err)
			}
		})
	}
	ask()
	<-began
	for range 20 {
		ask()
	}
	eventually.True(t, "a second reading to be asked for", func() bool {
		read.mu.Lock()
		defer read.mu.Unlock()
		return read.turns["shop"].next != nil
	})
	goOn <- struct{}{}
	<-began // the second
	close(goOn)
	wg.Wait()
	if more := len(began); more > 1 { // one of the twenty may have come late
		t.Errorf("%d more readings", more)
	}
	if len(read.turns) != 0 {
		t.Errorf("left: %v", read.turns)
	}
}
