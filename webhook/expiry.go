package webhook

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// expiry ends what namespaces asked for until a time or for a duration: it writes the end into the
// namespace's ConfigMap, which the taps read again and again, and turns them off when it has
// come. The label stays: it belongs to whoever set it. Only the elected replica runs it.
type expiry struct {
	client     client.Client
	namespaces *namespaces
	events     *events
	log        *slog.Logger
}

// Reconcile looks at one namespace.
func (t *expiry) Reconcile(ctx context.Context, q reconcile.Request) (reconcile.Result, error) {
	var object corev1.Namespace
	if err := t.client.Get(ctx, client.ObjectKey{Name: q.Name}, &object); err != nil {
		if apierrors.IsNotFound(err) {
			return again(t.namespaces.durations.save(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: q.Name}}, "", time.Time{}))
		}
		return reconcile.Result{}, err
	}
	if object.DeletionTimestamp != nil || *t.namespaces.cfg.Settings.ConfigMap == "" {
		return reconcile.Result{}, nil
	}
	if object.Labels[inject.Label] != inject.Enabled {
		return reconcile.Result{}, nil // what was said stands: without the label nothing is turned on again
	}
	object = *t.namespaces.permitted(&object)
	if err := t.startDuration(ctx, &object); err != nil {
		return again(err)
	}
	config, err := t.namespaces.config(ctx, q.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	w, err := t.namespaces.window(ctx, &object, config)
	if err != nil {
		return reconcile.Result{}, err
	}
	if w.end().IsZero() && len(ownKeys(config)) == 0 {
		return reconcile.Result{}, nil // nothing to say, and nothing said
	}
	now := t.namespaces.now()
	if err := t.write(ctx, &object, config, w, now); err != nil {
		return reconcile.Result{}, err
	}
	if w.end().IsZero() || w.over(now) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: w.end().Sub(now)}, nil
}

// again asks for another reconciliation soon if a cache was stale, and returns the error otherwise.
func again(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	return reconcile.Result{}, err
}

// startDuration keeps since when the namespace's duration runs; another one begins anew.
func (t *expiry) startDuration(ctx context.Context, object *corev1.Namespace) error {
	m, d := t.namespaces.durations, durationOf(object)
	if d == 0 {
		return m.save(ctx, object, "", time.Time{})
	}
	span := d.String() // short, whatever the annotation is: all namespaces share one ConfigMap
	since, err := m.since(ctx, object, span)
	if err != nil || !since.IsZero() {
		return err
	}
	return m.save(ctx, object, span, t.namespaces.now())
}

// durationOf returns the namespace's duration, 0 if it has none that can be used.
func durationOf(object *corev1.Namespace) time.Duration {
	d, err := time.ParseDuration(object.Annotations[inject.Prefix+inject.AnnotationDuration])
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// window holds the times at which a namespace's taps end; a zero time means no end.
type window struct {
	platform time.Time // by the namespace's annotations, which tenants cannot write
	theirs   time.Time // by an until in the ConfigMap that is not ours
}

// end is the earlier of both: tenants may end their taps sooner, not later.
func (w window) end() time.Time {
	if w.platform.IsZero() || !w.theirs.IsZero() && w.theirs.Before(w.platform) {
		return w.theirs
	}
	return w.platform
}

func (w window) over(now time.Time) bool { return !w.end().IsZero() && !w.end().After(now) }

// ownKeys are the keys of the ConfigMap that we wrote last.
func ownKeys(config *corev1.ConfigMap) map[string]bool {
	keys := map[string]bool{}
	for _, f := range config.ManagedFields {
		if f.Manager != string(fieldOwner) || f.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Data map[string]any `json:"f:data"`
		}
		json.Unmarshal(f.FieldsV1.GetRawBytes(), &fields) //nolint:errcheck // then none is ours
		for key := range fields.Data {
			keys[strings.TrimPrefix(key, "f:")] = true
		}
	}
	return keys
}

// configData is what we say in the ConfigMap. An until that somebody else wrote stays if it is the
// sooner one. One that we wrote and that no longer counts becomes empty, which tells the
// taps that there is no end; without the key they would go by what their pods were made
// with. Taps that have ended continue only if their window was extended.
func (w window) configData(ours map[string]bool, now time.Time) map[string]string {
	data := map[string]string{}
	switch {
	case !w.platform.IsZero() && w.end().Equal(w.platform):
		data[configUntil] = stamp(w.platform)
	case w.platform.IsZero() && w.theirs.IsZero() && ours[configUntil]:
		data[configUntil] = ""
	}
	switch {
	case w.over(now):
		data[configEnabled] = "false"
	case ours[configEnabled] && !w.end().IsZero():
		data[configEnabled] = "true"
	}
	return data
}

// write applies our keys of the ConfigMap; those that are no longer in it go.
func (t *expiry) write(ctx context.Context, object *corev1.Namespace, config *corev1.ConfigMap, w window, now time.Time) error {
	data := w.configData(ownKeys(config), now)
	want := ac.ConfigMap(*t.namespaces.cfg.Settings.ConfigMap, object.Name).WithData(data)
	if err := t.client.Apply(ctx, want, fieldOwner, client.ForceOwnership); err != nil {
		return err
	}
	if want.ResourceVersion != nil && *want.ResourceVersion == config.ResourceVersion {
		return nil // it said so already
	}
	t.log.Info("namespace's config written", "namespace", object.Name, "until", stamp(w.end()), "over", w.over(now))
	if w.over(now) && config.Data[configEnabled] != "false" {
		t.events.namespace(object.Name, corev1.EventTypeNormal, "TapsEnded",
			"The taps of this namespace were asked for until %s and are off.", stamp(w.end()))
	}
	return nil
}

// stamp is how times are written; the zero time is "".
func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
