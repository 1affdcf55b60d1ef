package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// quotas reads the data that decides whether taps fit a namespace's quotas. It reads from the API server in this order:
// pods, their owners, the quotas. A pod that is created during the reading is counted twice: as a missing pod and in
// the quota. In this order no pod is left out.
type quotas struct {
	cached client.Reader
	live   client.Reader
	cfg    *inject.Config
	nodes  *nodes

	mu    sync.Mutex
	turns map[string]*turns // by namespace
}

// turns are the readings of one namespace. Callers that arrive during a reading wait for the next reading, and share
// it.
type turns struct{ running, next *turn }

// turn is one reading, running or done.
type turn struct {
	done chan struct{} // closed when the other fields are filled in
	read *reading
	err  error
}

// reading is the result of a turn. It is immutable once the turn is done.
type reading struct {
	owners owners
	quotas []corev1.ResourceQuota
}

// fillIn fills in the namespace's quotas and, if they count taps and the policy is QuotaFit, the demand of its
// owners. DemandError describes what could not be read.
func (q *quotas) fillIn(ctx context.Context, ns *inject.Namespace) {
	list, err := q.list(ctx, q.live, ns.Name)
	if err != nil {
		ns.DemandError = inTime(err)
		if list, err = q.list(ctx, q.cached, ns.Name); err != nil {
			return
		}
	}

	ns.Quotas = list
	ns.CPULimits = ns.CPULimits || countsCPULimits(list) // list may be newer than the cache
	if q.cfg.Quota != inject.QuotaFit || ns.DemandError != "" || !slices.ContainsFunc(list, func(q corev1.ResourceQuota) bool { return inject.CountsTaps(&q) }) {
		return
	}

	r, err := q.read(ctx, ns.Name)
	if err != nil {
		ns.DemandError = inTime(err)
		return
	}
	ns.Quotas = r.quotas
	ns.Demand, ns.Others, err = r.owners.demand(ns.LimitRanges, q.cfg.QuotaGrowth, q.nodes.number())
	if err != nil {
		ns.DemandError = err.Error()
	}
}

// inTime returns the reason that an Event gives if a reading is incomplete because of err.
func inTime(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "the API server did not answer in time"
	}
	return err.Error()
}

func (q *quotas) list(ctx context.Context, from client.Reader, namespace string) ([]corev1.ResourceQuota, error) {
	var list corev1.ResourceQuotaList
	err := from.List(ctx, &list, client.InNamespace(namespace))
	return list.Items, err
}

// read returns a reading that started after the call.
func (q *quotas) read(ctx context.Context, namespace string) (*reading, error) {
	q.mu.Lock()
	t := q.turns[namespace]
	if t == nil {
		t = &turns{}
		q.turns[namespace] = t
	}
	mine := t.next
	if mine == nil {
		mine = &turn{done: make(chan struct{})}
		t.next = mine
		go q.run(context.WithoutCancel(ctx), namespace, t, t.running, mine)
	}
	q.mu.Unlock()
	select {
	case <-mine.done:
		return mine.read, mine.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run waits until before, the namespace's previous reading, has ended, and then does the reading mine. Each takes at
// most mostQuotaWait, so that a reading that hangs does not block later ones.
func (q *quotas) run(ctx context.Context, namespace string, t *turns, before, mine *turn) {
	if before != nil {
		<-before.done
	}
	ctx, cancel := context.WithTimeout(ctx, mostQuotaWait)
	defer cancel()
	q.mu.Lock()
	t.running, t.next = mine, nil
	q.mu.Unlock()
	mine.err = contained(func() (err error) {
		mine.read, err = q.gather(ctx, namespace)
		return err
	})
	q.mu.Lock()
	if t.next == nil {
		delete(q.turns, namespace)
	}
	q.mu.Unlock()
	close(mine.done)
}

// contained calls f and returns a panic of f as an error. A panic in a goroutine would end the webhook, but an error
// only leaves a pod without a tap.
func contained(f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("internal error: %v", cause)
		}
	}()
	return f()
}

// gather reads the pods, owners and quotas of a namespace, in that order.
func (q *quotas) gather(ctx context.Context, namespace string) (*reading, error) {
	r := &reading{}
	var pods metav1.PartialObjectMetadataList
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	// A pod that has ended counts neither for a quota nor as a replica of its owner.
	active := fields.AndSelectors(
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	)
	if err := q.live.List(bounded(ctx, mostRead), &pods, client.InNamespace(namespace), client.MatchingFieldsSelector{Selector: active}); err != nil {
		return nil, err
	}
	r.owners.pods = pods.Items
	if err := r.owners.read(bounded(ctx, mostRead), q.live, namespace); err != nil {
		return nil, err
	}
	var err error
	r.quotas, err = q.list(ctx, q.live, namespace)
	return r, err
}

// read fills in all owners, but not the pods.
func (o *owners) read(ctx context.Context, from client.Reader, namespace string) error {
	var l struct {
		deployments  appsv1.DeploymentList
		replicaSets  appsv1.ReplicaSetList
		statefulSets appsv1.StatefulSetList
		daemonSets   appsv1.DaemonSetList
		jobs         batchv1.JobList
		cronJobs     batchv1.CronJobList
		controllers  corev1.ReplicationControllerList
		autoscalers  autoscalingv2.HorizontalPodAutoscalerList
	}
	lists := []client.ObjectList{&l.deployments, &l.replicaSets, &l.statefulSets, &l.daemonSets, &l.jobs, &l.cronJobs, &l.controllers, &l.autoscalers}
	errs := make([]error, len(lists))

	var wg sync.WaitGroup
	for i, list := range lists {
		wg.Go(func() {
			errs[i] = contained(func() error { return from.List(ctx, list, client.InNamespace(namespace)) })
		})
	}
	wg.Wait()

	o.deployments, o.replicaSets, o.statefulSets, o.daemonSets = l.deployments.Items, l.replicaSets.Items, l.statefulSets.Items, l.daemonSets.Items
	o.jobs, o.cronJobs, o.controllers, o.autoscalers = l.jobs.Items, l.cronJobs.Items, l.controllers.Items, l.autoscalers.Items
	return errors.Join(errs...)
}
