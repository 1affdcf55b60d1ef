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

// expiry is the controller that ends the taps of namespaces that requested taps for a limited time. The namespace has
// an annotation with the end or the duration. expiry writes the end into the namespace's ConfigMap, which the taps read
// periodically, and turns the taps off at that time. It does not remove the namespace's label. Only the elected replica
// runs it.
type expiry struct {
	client     client.Client
	namespaces *namespaces
	events     *events
	log        *slog.Logger
}

// Reconcile updates the ConfigMap of one namespace.
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
		// The ConfigMap stays, and no tap is turned on again, because the label is missing. If the duration was removed
		// too, its start is forgotten: the same duration then starts again.
		if durationOf(&object) == 0 {
			return again(t.namespaces.durations.save(ctx, &object, "", time.Time{}))
		}
		return reconcile.Result{}, nil
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
		return reconcile.Result{}, nil // there is no end, and the webhook has no key to remove
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

// again requests another reconciliation after 1 s if err was caused by a stale cache. It returns all other errors.
func again(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	return reconcile.Result{}, err
}

// startDuration records the start of the namespace's duration. If the duration was changed, it starts again.
func (t *expiry) startDuration(ctx context.Context, object *corev1.Namespace) error {
	m, d := t.namespaces.durations, durationOf(object)
	if d == 0 {
		return m.save(ctx, object, "", time.Time{})
	}
	span := d.String() // unlike the annotation its length is bounded, because all namespaces share one ConfigMap
	since, err := m.since(ctx, object, span)
	if err != nil || !since.IsZero() {
		return err
	}
	return m.save(ctx, object, span, t.namespaces.now())
}

// durationOf returns the namespace's duration. It returns 0 if the namespace has none or an invalid one.
func durationOf(object *corev1.Namespace) time.Duration {
	d, err := time.ParseDuration(object.Annotations[inject.Prefix+inject.AnnotationDuration])
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// window holds the times at which a namespace's taps end. A zero time means no end.
type window struct {
	platform time.Time // from the namespace's annotations, which tenants cannot write
	theirs   time.Time // from the key until of the ConfigMap, if the webhook did not write it
}

// end returns the earlier of both times: tenants may end their taps earlier, but not later.
func (w window) end() time.Time {
	if w.platform.IsZero() || !w.theirs.IsZero() && w.theirs.Before(w.platform) {
		return w.theirs
	}
	return w.platform
}

func (w window) over(now time.Time) bool { return !w.end().IsZero() && !w.end().After(now) }

// ownKeys returns the keys of the ConfigMap whose latest writer is the webhook.
func ownKeys(config *corev1.ConfigMap) map[string]bool {
	keys := map[string]bool{}
	for _, f := range config.ManagedFields {
		if f.Manager != string(fieldOwner) || f.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Data map[string]any `json:"f:data"`
		}
		json.Unmarshal(f.FieldsV1.GetRawBytes(), &fields) //nolint:errcheck // after an error, no key counts as the webhook's
		for key := range fields.Data {
			keys[strings.TrimPrefix(key, "f:")] = true
		}
	}
	return keys
}

// configData returns the data that the webhook writes into the ConfigMap; ours has the keys that it wrote before. An
// earlier until that somebody else wrote stays. An until of the webhook that no longer applies becomes "", which means
// no end. The key must not be missing, because the taps would then use the end in the environment of their pods. Taps
// that have ended continue only if the end was postponed.
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

// write applies configData to the ConfigMap. It removes keys that the webhook wrote before and that configData no
// longer has.
func (t *expiry) write(ctx context.Context, object *corev1.Namespace, config *corev1.ConfigMap, w window, now time.Time) error {
	data := w.configData(ownKeys(config), now)
	want := ac.ConfigMap(*t.namespaces.cfg.Settings.ConfigMap, object.Name).WithData(data)
	if err := t.client.Apply(ctx, want, fieldOwner, client.ForceOwnership); err != nil {
		return err
	}
	if want.ResourceVersion != nil && *want.ResourceVersion == config.ResourceVersion {
		return nil // nothing has changed
	}
	t.log.Info("namespace's ConfigMap written", "namespace", object.Name, "until", stamp(w.end()), "over", w.over(now))
	if w.over(now) && config.Data[configEnabled] != "false" {
		t.events.namespace(object.Name, corev1.EventTypeNormal, "TapsEnded",
			"The taps of this namespace were requested until %s. They are now off.", stamp(w.end()))
	}
	return nil
}

// stamp formats a time as RFC 3339 in UTC; the zero time as "".
func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
