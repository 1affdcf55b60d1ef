package webhook

import (
	"errors"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// owners has the pods of one namespace and the objects that own them. The pods were read first.
type owners struct {
	pods         []metav1.PartialObjectMetadata // pods that have not ended
	deployments  []appsv1.Deployment
	replicaSets  []appsv1.ReplicaSet
	statefulSets []appsv1.StatefulSet
	daemonSets   []appsv1.DaemonSet
	jobs         []batchv1.Job
	cronJobs     []batchv1.CronJob
	controllers  []corev1.ReplicationController
	autoscalers  []autoscalingv2.HorizontalPodAutoscaler
}

// tallier computes the demands of owners.
type tallier struct {
	*owners
	ranges []corev1.LimitRangeItem
	growth int // factor by which the number of pods of an owner without an autoscaler may grow
	nodes  int
	byUID  map[types.UID]int // number of pods that are not being deleted, by their controller; "": without one
	out    []inject.Demand
	errs   []error
}

// demand returns the pods that the owners may still create. For each other controller it returns the number of existing
// pods, by the controller's UID. growth is the factor by which the number of an owner's pods may grow without an
// autoscaler; nodes is the number of nodes.
func (o *owners) demand(ranges []corev1.LimitRangeItem, growth, nodes int) ([]inject.Demand, map[string]int, error) {
	t := &tallier{owners: o, ranges: ranges, growth: growth, nodes: nodes, byUID: map[types.UID]int{}}
	for i := range o.pods {
		if o.pods[i].DeletionTimestamp == nil {
			t.byUID[controllerOf(&o.pods[i])]++
		}
	}
	t.scaled()
	t.batch()
	for _, d := range t.out {
		for _, uid := range d.UIDs {
			delete(t.byUID, types.UID(uid))
		}
	}
	others := map[string]int{}
	for uid, n := range t.byUID {
		others[string(uid)] = n
	}
	return t.out, others, errors.Join(t.errs...)
}

// controllerOf returns the UID of an object's controller, or "" if it has none.
func controllerOf(o metav1.Object) types.UID {
	if c := metav1.GetControllerOfNoCopy(o); c != nil {
		return c.UID
	}
	return ""
}

// wish describes how many pods one owner wants.
type wish struct {
	kind, name string
	uids       []types.UID
	want       int  // pods that the owner wants now
	flight     int  // pods that are being created; used if it exceeds the number of missing pods
	surge      int  // further pods that the owner may have during a rollout
	fixed      bool // want does not grow
	template   *corev1.PodSpec
}

// add computes the demand of one owner from its wish and appends it.
func (t *tallier) add(w wish) {
	d := inject.Demand{}
	have := 0
	for _, uid := range w.uids {
		d.UIDs = append(d.UIDs, string(uid))
		have += t.byUID[uid]
	}

	d.Missing = max(w.want-have, w.flight, 0)
	most := t.growth * max(w.want, have, 1)
	if at := slices.IndexFunc(t.autoscalers, func(h autoscalingv2.HorizontalPodAutoscaler) bool {
		return h.Spec.ScaleTargetRef.Kind == w.kind && h.Spec.ScaleTargetRef.Name == w.name
	}); at >= 0 {
		most = max(int(t.autoscalers[at].Spec.MaxReplicas), w.want)
	}
	if w.fixed {
		most = w.want
	}
	d.More = max(most+w.surge-have-d.Missing, 0)

	var err error
	if d.Pod, err = inject.ShapeOf(w.template, t.ranges); err != nil {
		t.errs = append(t.errs, err)
		return
	}
	t.out = append(t.out, d)
}

// scaled adds the owners that have a replica count.
func (t *tallier) scaled() {
	for i := range t.deployments {
		t.deployment(&t.deployments[i])
	}

	for i := range t.replicaSets {
		s := &t.replicaSets[i]
		if slices.ContainsFunc(t.deployments, func(d appsv1.Deployment) bool { return d.UID == controllerOf(s) }) {
			continue
		}
		t.add(wish{kind: "ReplicaSet", name: s.Name, uids: []types.UID{s.UID}, want: count(s.Spec.Replicas), template: &s.Spec.Template.Spec})
	}

	for i := range t.statefulSets {
		s := &t.statefulSets[i]
		t.add(wish{kind: "StatefulSet", name: s.Name, uids: []types.UID{s.UID}, want: count(s.Spec.Replicas), template: &s.Spec.Template.Spec})
	}

	for i := range t.controllers {
		if c := &t.controllers[i]; c.Spec.Template != nil {
			t.add(wish{kind: "ReplicationController", name: c.Name, uids: []types.UID{c.UID}, want: count(c.Spec.Replicas), template: &c.Spec.Template.Spec})
		}
	}

	for i := range t.daemonSets {
		s := &t.daemonSets[i]
		want := int(s.Status.DesiredNumberScheduled)
		if s.Status.ObservedGeneration < s.Generation {
			want = max(want, t.nodes)
		}
		w := wish{kind: "DaemonSet", name: s.Name, uids: []types.UID{s.UID}, want: want, template: &s.Spec.Template.Spec}
		if u := s.Spec.UpdateStrategy.RollingUpdate; u != nil {
			w.surge = share(u.MaxSurge, want)
		}
		t.add(w)
	}
}

// deployment adds a Deployment. Its pods belong to its ReplicaSets.
func (t *tallier) deployment(d *appsv1.Deployment) {
	w := wish{kind: "Deployment", name: d.Name, uids: []types.UID{d.UID}, want: count(d.Spec.Replicas), template: &d.Spec.Template.Spec}
	for i := range t.replicaSets {
		if s := &t.replicaSets[i]; controllerOf(s) == d.UID {
			w.uids = append(w.uids, s.UID)
			w.flight += max(count(s.Spec.Replicas)-t.byUID[s.UID], 0)
		}
	}
	if u := d.Spec.Strategy.RollingUpdate; u != nil {
		w.surge = share(u.MaxSurge, w.want)
	}
	t.add(w)
}

// batch adds Jobs and CronJobs, whose pods end by themselves.
func (t *tallier) batch() {
	for i := range t.jobs {
		j := &t.jobs[i]
		want := count(j.Spec.Parallelism)
		if j.Spec.Completions != nil {
			want = min(want, max(int(*j.Spec.Completions-j.Status.Succeeded), 0))
		}
		if over(j) {
			want = 0
		}
		w := wish{kind: "Job", name: j.Name, uids: []types.UID{j.UID}, want: want, template: &j.Spec.Template.Spec}
		if over(j) {
			w.fixed = true
		}
		if j.Spec.Suspend != nil && *j.Spec.Suspend {
			w.surge, w.want = want, 0
		}
		t.add(w)
	}

	for i := range t.cronJobs {
		if c := &t.cronJobs[i]; c.Spec.Suspend == nil || !*c.Spec.Suspend {
			j := &c.Spec.JobTemplate.Spec
			t.add(wish{kind: "CronJob", name: c.Name, uids: []types.UID{c.UID}, surge: count(j.Parallelism), fixed: true, template: &j.Template.Spec})
		}
	}
}

// over reports whether a Job has ended.
func over(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
}

// count returns a number of pods; nil is Kubernetes' default of 1.
func count(n *int32) int {
	if n == nil {
		return 1
	}
	return int(*n)
}

// share returns a number of pods: v, or if v is a percentage, this percentage of all pods, rounded up. The argument of
// is the number of all pods.
func share(v *intstr.IntOrString, of int) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), of, true)
	if err != nil {
		return of // v is invalid: assume all of them
	}
	return n
}
