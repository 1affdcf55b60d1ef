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

// Times of the dry runs.
const (
	dryRunEvery = time.Hour
	dryRunDelay = time.Second     // changes come in swarms
	dryRunPause = 3 * time.Second // between two runs that nothing of the namespace itself asked for
)

// dryRunAgain is when a namespace is asked about again after a change: the API server's own
// admission needs a while to see it.
var dryRunAgain = []time.Duration{3 * time.Second, 8 * time.Second, 20 * time.Second}

// dryRunner keeps the results of dry runs fresh: when a namespace gets the label, when it, its
// limits or a policy changes, when a pod of it was refused, and hourly. It runs on every replica.
type dryRunner struct {
	client     client.Client
	namespaces *namespaces
	dryRuns    *dryRuns

	mu    sync.Mutex
	again map[string]int // runs of dryRunAgain that a namespace has had since its last change
}

// Reconcile asks the API server about one namespace.
func (p *dryRunner) Reconcile(ctx context.Context, q reconcile.Request) (reconcile.Result, error) {
	var object corev1.Namespace
	err := p.client.Get(ctx, client.ObjectKey{Name: q.Name}, &object)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	if err != nil || !concerned(p.dryRuns.cfg, &object) {
		p.dryRuns.forget(q.Name)
		p.calm(q.Name)
		return reconcile.Result{}, nil
	}
	ns, err := p.namespaces.view(ctx, &object)
	if err != nil {
		return reconcile.Result{}, err
	}
	age, ok := p.dryRuns.age(ns)
	if !ok {
		p.changed(q.Name)
	} else if age < dryRunPause {
		return reconcile.Result{RequeueAfter: dryRunPause - age}, nil
	}
	if _, err := p.dryRuns.renew(ctx, ns); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: p.next(q.Name)}, nil
}

// changed begins dryRunAgain anew for a namespace.
func (p *dryRunner) changed(namespace string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again[namespace] = 0
}

// calm ends it.
func (p *dryRunner) calm(namespace string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.again, namespace)
}

// next is when to ask about a namespace again.
func (p *dryRunner) next(namespace string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, ok := p.again[namespace]; ok {
		if n < len(dryRunAgain) {
			p.again[namespace]++
			return dryRunAgain[n]
		}
		delete(p.again, namespace)
	}
	return dryRunEvery - time.Duration(rand.Int64N(int64(dryRunEvery/10))) //nolint:gosec // a spread
}

// queue is the work queue of a controller of namespaces.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// register adds the controller to the manager. policies says whether the API server
// has ValidatingAdmissionPolicies (since 1.30).
func (p *dryRunner) register(mgr manager.Manager, own []string, policies bool) error {
	everywhere := false
	b := builder.ControllerManagedBy(mgr).Named("profiles").
		For(&corev1.Namespace{}, builder.WithPredicates(askedOrWas())).
		WithOptions(controller.Options{NeedLeaderElection: &everywhere, MaxConcurrentReconciles: 4}).
		Watches(&corev1.LimitRange{}, p.ofItsNamespace()).
		Watches(&corev1.Event{}, p.ofRefusal(), builder.WithPredicates(predicate.NewPredicateFuncs(refusedTap))).
		Watches(&admissionv1.ValidatingWebhookConfiguration{}, p.ofAll(nil), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&admissionv1.MutatingWebhookConfiguration{}, p.ofAll(own), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	if policies {
		b = b.Watches(&admissionv1.ValidatingAdmissionPolicy{}, p.ofAll(nil), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
			Watches(&admissionv1.ValidatingAdmissionPolicyBinding{}, p.ofAll(nil), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	}
	return b.Complete(p)
}

// askedOrWas lets namespaces through that ask for taps, or did before the change.
func askedOrWas() predicate.Predicate {
	asks := func(o client.Object) bool { return o.GetLabels()[inject.Label] == inject.Enabled }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return asks(e.Object) },
		DeleteFunc: func(e event.DeleteEvent) bool { return asks(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return asks(e.ObjectNew) || asks(e.ObjectOld) },
	}
}

// refusedTap reports whether an Event tells of a pod that was not created because of its tap.
func refusedTap(o client.Object) bool {
	e, ok := o.(*corev1.Event)
	return ok && e.Reason == "FailedCreate" && strings.Contains(e.Message, inject.Name)
}

// ofRefusal takes note of a refused pod and asks anew about its namespace.
func (p *dryRunner) ofRefusal() handler.EventHandler {
	refused := func(o client.Object, q queue) {
		if e, ok := o.(*corev1.Event); ok {
			p.dryRuns.storeRefusal(e.Namespace, e.Message)
		}
		p.later(q, o.GetNamespace())
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { refused(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { refused(e.ObjectNew, q) },
	}
}

// ofItsNamespace asks anew about the namespace of what changed.
func (p *dryRunner) ofItsNamespace() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { p.later(q, e.Object.GetNamespace()) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { p.later(q, e.ObjectNew.GetNamespace()) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { p.later(q, e.Object.GetNamespace()) },
	}
}

// ofAll asks anew about all namespaces, except when what changed is our own.
func (p *dryRunner) ofAll(own []string) handler.EventHandler {
	all := func(ctx context.Context, o client.Object, q queue) {
		if slices.Contains(own, o.GetName()) {
			return
		}
		var list corev1.NamespaceList
		if p.client.List(ctx, &list, client.MatchingLabels{inject.Label: inject.Enabled}) != nil {
			return // the cache is not there yet, and each namespace is new anyhow
		}
		for i := range list.Items {
			p.later(q, list.Items[i].Name)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { all(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { all(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { all(ctx, e.Object, q) },
	}
}

func (p *dryRunner) later(q queue, namespace string) {
	p.changed(namespace)
	later(q, namespace)
}

func later(q queue, namespace string) {
	q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: namespace}}, dryRunDelay)
}

// register adds the controller to the manager.
func (t *expiry) register(mgr manager.Manager) error {
	return builder.ControllerManagedBy(mgr).Named("tenure").
		For(&corev1.Namespace{}, builder.WithPredicates(askedOrWas())).
		Watches(&corev1.ConfigMap{}, handler.Funcs{
			CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { later(q, e.Object.GetNamespace()) },
			UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { later(q, e.ObjectNew.GetNamespace()) },
			DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { later(q, e.Object.GetNamespace()) },
		}).
		Complete(t)
}
