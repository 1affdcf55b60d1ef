package webhook

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// TestQuotaFits: in each case the number of pods that start is the same with and without the webhook.
func TestQuotaFits(t *testing.T) {
	for name, c := range map[string]struct {
		quota  corev1.ResourceQuota
		play   func(*world)
		tapped [2]int // the least and the most tapped pods
	}{
		"exact":   {exact, func(w *world) { w.replenish(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{0, 0}},
		"tight":   {tight, func(w *world) { w.replenish(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{3, 6}},
		"ample":   {ample, func(w *world) { w.replenish(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{10, 10}},
		"of pods": {quotaOf("pods", "10", "requests.cpu", "600m"), func(w *world) { w.replenish(12, w.deploy("a", 12, tenth, 3), tenth) }, [2]int{0, 10}},
		"of pods alone": {quotaOf("pods", "10"), func(w *world) {
			w.replenish(10, w.deploy("a", 10, tenth, 3), tenth)
		}, [2]int{10, 10}},
		"too small": {quotaOf("requests.cpu", "275m"), func(w *world) { w.replenish(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{0, 5}},
		"limits of memory alone": {quotaOf("limits.memory", "1000Mi"), func(w *world) {
			w.replenish(10, w.deploy("a", 10, tenth, 3), tenth)
		}, [2]int{0, 0}},
		"scaled from one": {exact, func(w *world) {
			o := w.deploy("a", 1, tenth, 3)
			w.replenish(1, o, tenth)
			w.scale(0, 10)
			w.replenish(10, o, tenth)
		}, [2]int{0, 0}},
		"scaled from five, step by step": {exact, func(w *world) {
			o := w.deploy("a", 5, tenth, 3)
			for n := 5; n <= 10; n++ {
				w.scale(0, n)
				w.replenish(n, o, tenth)
			}
		}, [2]int{0, 0}},
		"scaled from zero": {tight, func(w *world) {
			o := w.deploy("a", 0, tenth, 3)
			w.scale(0, 10)
			w.replenish(10, o, tenth)
		}, [2]int{1, 6}},
		"autoscaler":                {quotaOf("requests.cpu", "500m"), func(w *world) { w.autoscale(10, 0) }, [2]int{0, 0}},
		"autoscaler with room":      {quotaOf("requests.cpu", "1"), func(w *world) { w.autoscale(12, 1) }, [2]int{10, 10}},
		"rolling update with surge": {quotaOf("requests.cpu", "650m"), func(w *world) { w.roll() }, [2]int{0, 0}},
		"rolling update with room":  {quotaOf("requests.cpu", "680m"), func(w *world) { w.roll() }, [2]int{1, 6}},
		"two owners": {quotaOf("requests.cpu", "530m"), func(w *world) {
			other := specOf("30m", "1Mi", "1", "1Gi")
			a, b := w.deploy("a", 10, tenth, 0), w.deploy("b", 1, other, 0)
			w.replenish(10, a, tenth)
			w.replenish(1, b, other)
		}, [2]int{0, 0}},
		"two at once": {quotaOf("requests.cpu", "560m"), func(w *world) {
			other := specOf("10m", "1Mi", "1", "1Gi")
			a, b := w.deploy("a", 10, tenth, 0), w.deploy("b", 5, other, 0)
			for range 20 {
				w.batch(min(2, 10-w.have(a)), a, tenth)
				w.batch(min(1, 5-w.have(b)), b, other)
			}
		}, [2]int{0, 2}},
		"with a sidecar of others": {quotaOf("requests.cpu", "1"), func(w *world) { // the template requests 50m
			with := specOf("100m", "50Mi", "200m", "100Mi")
			w.replenish(10, w.deploy("a", 10, tenth, 0), with)
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
			w.replenish(3, owns("DaemonSet", "d"), tenth)
		}, [2]int{0, 0}},
		"job": {quotaOf("requests.cpu", "260m"), func(w *world) {
			w.owners.jobs = []batchv1.Job{{ObjectMeta: metaOf("Job", "j", nil), Spec: batchv1.JobSpec{
				Parallelism: number(5), Completions: number(12), Template: corev1.PodTemplateSpec{Spec: *tenth},
			}}}
			for done := range 12 {
				w.owners.jobs[0].Status.Succeeded = int32(done)
				w.replenish(min(5, 12-done), owns("Job", "j"), tenth)
				if done < 11 {
					w.end(owns("Job", "j"))
				}
			}
			w.replenish(1, owns("Job", "j"), tenth)
		}, [2]int{0, 1}},
		"ten bare pods":         {exact, func(w *world) { w.bare(10, 1) }, [2]int{0, 0}},
		"ten bare pods at once": {tight, func(w *world) { w.bare(10, 10) }, [2]int{0, 6}},
		"an owner of its own kind": {tight, func(w *world) {
			w.batch(10, owns("Workflow", "w"), tenth)
		}, [2]int{0, 6}},
		"not of this class": {classed("high"), func(w *world) { w.replenish(10, w.deploy("a", 10, tenth, 3), tenth) }, [2]int{10, 10}},
		"of this class": {classed("high"), func(w *world) {
			spec := tenth.DeepCopy()
			spec.PriorityClassName = "high"
			w.replenish(10, w.deploy("a", 10, spec, 3), spec)
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

// TestQuotaKeepsRoom: if a quota has room for all pods without taps, all pods start, although some are tapped. The
// owners are random. The number of their pods grows at most tenfold, in random steps.
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
				w.replenish(all[i].to, all[i].ref, all[i].spec)
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

// TestQuotaPolicies tests the policies never and always. With always, taps may take the room of later pods: here one of
// ten pods does not start.
func TestQuotaPolicies(t *testing.T) {
	for policy, want := range map[inject.QuotaPolicy][2]int{inject.QuotaNever: {10, 0}, inject.QuotaAlways: {9, 9}} {
		w := newWorld(t, policy, quotaOf("requests.cpu", "500m"))
		w.replenish(10, w.deploy("a", 10, tenth, 0), tenth)
		if got := [2]int{len(w.pods), w.tapped()}; got != want {
			t.Errorf("%s: %v pods and taps, want %v: %v", policy, got, want, w.why)
		}
	}
}

// TestQuotasRead: a reading includes all owners and pods of a namespace, and fails if the API server does not answer.
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
		return c.List(ctx, list, client.InNamespace("shop")) // the fake client does not support field selectors
	}})
	n := namespacesOf(plain, k)
	n.cfg.QuotaGrowth, n.cfg.Quota = 10, inject.QuotaFit
	read := &quotas{cached: plain, live: c, cfg: n.cfg, nodes: &nodes{}, turns: map[string]*turns{}}
	view := func() *inject.Namespace {
		ns := &inject.Namespace{Name: "shop"}
		read.fillIn(t.Context(), ns)
		return ns
	}
	if ns := view(); ns.DemandError != "" || len(ns.Quotas) != 1 || len(ns.Demand) != 1 || ns.Demand[0].Missing != 3 || ns.Demand[0].More != 27 || ns.Others[""] != 1 || !ns.CPULimits {
		t.Errorf("read %+v", ns)
	}
	for _, crashes = range []bool{false, true} {
		for _, broken = range []string{"ResourceQuota", "PartialObject", "DeploymentList", "HorizontalPodAutoscaler"} {
			if crashes && broken == "ResourceQuota" {
				continue // the request's own goroutine reads the quotas, and the endpoint recovers from its panics
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

// TestQuotasTogether: each caller gets a reading that started after its call, and concurrent callers share one
// reading.
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
	<-began // waits until the second reading has begun
	close(goOn)
	wg.Wait()
	if more := len(began); more > 1 { // one of the twenty calls may have been late
		t.Errorf("%d more readings", more)
	}
	if len(read.turns) != 0 {
		t.Errorf("left: %v", read.turns)
	}
}
