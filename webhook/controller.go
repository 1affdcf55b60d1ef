package webhook

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// The times of the dry runs.
const (
	dryRunEvery = time.Hour
	dryRunDelay = time.Second     // delay after a change: changes come in bursts
	dryRunPause = 3 * time.Second // minimum time between two runs, unless the namespace itself changed
)

// dryRunAgain lists the delays of further dry runs after a change: the API server's own admission plugins may see the
// change later than the webhook.
var dryRunAgain = []time.Duration{3 * time.Second, 8 * time.Second, 20 * time.Second}

// dryRunner is the controller that repeats the dry runs of a namespace. It does so every hour, when the namespace gets
// the label, when the namespace, its limit ranges or a policy changes, and when a pod of the namespace was refused. It
// runs on every replica.
type dryRunner struct {
	client     client.Client
	namespaces *namespaces
	dryRuns    *dryRuns

	mu    sync.Mutex
	again map[string]int // by namespace: how many of the delays in dryRunAgain have passed since its last change
}

// Reconcile does the dry runs of one namespace.
func (d *dryRunner) Reconcile(ctx context.Context, q reconcile.Request) (reconcile.Result, error) {
	var object corev1.Namespace
	err := d.client.Get(ctx, client.ObjectKey{Name: q.Name}, &object)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	if err != nil || !concerned(d.dryRuns.cfg, &object) {
		d.dryRuns.forget(q.Name)
		d.calm(q.Name)
		return reconcile.Result{}, nil
	}

	ns, err := d.namespaces.view(ctx, &object)
	if err != nil {
		return reconcile.Result{}, err
	}

	age, ok := d.dryRuns.age(ns)
	if !ok {
		d.changed(q.Name)
	} else if age < dryRunPause {
		return reconcile.Result{RequeueAfter: dryRunPause - age}, nil
	}

	if _, err := d.dryRuns.renew(ctx, ns); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: d.next(q.Name)}, nil
}

// changed restarts the sequence of repeated dry runs (dryRunAgain) for a namespace.
func (d *dryRunner) changed(namespace string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.again[namespace] = 0
}

// calm ends the sequence of repeated dry runs for a namespace.
func (d *dryRunner) calm(namespace string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.again, namespace)
}

// next returns the time until the next dry runs of a namespace.
func (d *dryRunner) next(namespace string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := d.again[namespace]; ok {
		if n < len(dryRunAgain) {
			d.again[namespace]++
			return dryRunAgain[n]
		}
		delete(d.again, namespace)
	}
	return dryRunEvery - time.Duration(rand.Int64N(int64(dryRunEvery/10))) //nolint:gosec // it spreads the dry runs of namespaces
}

// queue is the work queue of a controller that reconciles namespaces.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// register adds the controller to the manager. own lists the webhook's own configurations, because changes of these
// start no dry runs. policies reports whether the API server has ValidatingAdmissionPolicies (since 1.30).
func (d *dryRunner) register(mgr manager.Manager, own []string, policies bool) error {
	everywhere := false
	b := builder.ControllerManagedBy(mgr).Named("profiles").
		For(&corev1.Namespace{}, builder.WithPredicates(askedOrWas())).
		WithOptions(controller.Options{NeedLeaderElection: &everywhere, MaxConcurrentReconciles: 4}).
		Watches(&corev1.LimitRange{}, d.ofItsNamespace()).
		Watches(&corev1.Event{}, d.ofRefusal(), builder.WithPredicates(predicate.NewPredicateFuncs(refusedTap))).
		Watches(&admissionv1.ValidatingWebhookConfiguration{}, d.ofAll(nil), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&admissionv1.MutatingWebhookConfiguration{}, d.ofAll(own), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	if policies {
		b = b.Watches(&admissionv1.ValidatingAdmissionPolicy{}, d.ofAll(nil), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
			Watches(&admissionv1.ValidatingAdmissionPolicyBinding{}, d.ofAll(nil), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	}
	return b.Complete(d)
}

// askedOrWas selects changes of namespaces that request taps or requested them before the change.
func askedOrWas() predicate.Predicate {
	asks := func(o client.Object) bool { return o.GetLabels()[inject.Label] == inject.Enabled }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return asks(e.Object) },
		DeleteFunc: func(e event.DeleteEvent) bool { return asks(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return asks(e.ObjectNew) || asks(e.ObjectOld) },
	}
}

// refusedTap reports whether an Event is about a pod that was refused because of its tap.
func refusedTap(o client.Object) bool {
	e, ok := o.(*corev1.Event)
	return ok && e.Reason == "FailedCreate" && strings.Contains(e.Message, inject.Name)
}

// ofRefusal records the refusal of a pod and repeats the dry runs of its namespace.
func (d *dryRunner) ofRefusal() handler.EventHandler {
	refused := func(o client.Object, q queue) {
		if e, ok := o.(*corev1.Event); ok {
			d.dryRuns.storeRefusal(e.Namespace, e.Message)
		}
		d.later(q, o.GetNamespace())
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { refused(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { refused(e.ObjectNew, q) },
	}
}

// ofItsNamespace repeats the dry runs of the namespace of a changed object.
func (d *dryRunner) ofItsNamespace() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { d.later(q, e.Object.GetNamespace()) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { d.later(q, e.ObjectNew.GetNamespace()) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { d.later(q, e.Object.GetNamespace()) },
	}
}

// ofAll repeats the dry runs of all namespaces when an object changes. It ignores the webhook's own objects, whose
// names are in own.
func (d *dryRunner) ofAll(own []string) handler.EventHandler {
	all := func(ctx context.Context, o client.Object, q queue) {
		if slices.Contains(own, o.GetName()) {
			return
		}
		var list corev1.NamespaceList
		if d.client.List(ctx, &list, client.MatchingLabels{inject.Label: inject.Enabled}) != nil {
			return // the cache is not filled yet, and each namespace will be reconciled when it appears in the cache
		}
		for i := range list.Items {
			d.later(q, list.Items[i].Name)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { all(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { all(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { all(ctx, e.Object, q) },
	}
}

// later queues a namespace and restarts its sequence of repeated dry runs.
func (d *dryRunner) later(q queue, namespace string) {
	d.changed(namespace)
	later(q, namespace)
}

// later queues a namespace after the delay dryRunDelay.
func later(q queue, namespace string) {
	q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: namespace}}, dryRunDelay)
}

// register adds the controller to the manager.
func (t *expiry) register(mgr manager.Manager) error {
	return builder.ControllerManagedBy(mgr).Named("tenure"). // the name is a label of controller-runtime's metrics, so it stays the same
									For(&corev1.Namespace{}, builder.WithPredicates(askedOrWas())).
									Watches(&corev1.ConfigMap{}, handler.Funcs{
			CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { later(q, e.Object.GetNamespace()) },
			UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { later(q, e.ObjectNew.GetNamespace()) },
			DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { later(q, e.Object.GetNamespace()) },
		}).
		Complete(t)
}
