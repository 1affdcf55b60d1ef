package webhook

import (
	"context"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// Annotations of the namespaces' ConfigMap.
const (
	annotationEnds  = "meshtls-tap/ends"  // the until that we wrote
	annotationSince = "meshtls-tap/since" // when we first saw the duration, RFC 3339
	annotationSpan  = "meshtls-tap/span"  // the duration that since belongs to
)

// durationSince is when a namespace's duration began: when it was first seen, as the
// ConfigMap remembers, or now.
func durationSince(config *corev1.ConfigMap, span string, now time.Time) time.Time {
	if config.Annotations[annotationSpan] == span {
		if t, err := time.Parse(time.RFC3339, config.Annotations[annotationSince]); err == nil {
			return t
		}
	}
	return now
}

// tenure ends what namespaces asked for until a time or for a duration: it writes the end into the
// namespace's ConfigMap, which the taps read again and again, and turns them off when it has
// come. The label stays: it belongs to whoever set it. Only the elected replica runs it.
type tenure struct {
	client     client.Client
	namespaces *namespaces
	events     *events
	log        *slog.Logger
}

// Reconcile looks at one namespace.
func (t *tenure) Reconcile(ctx context.Context, q reconcile.Request) (reconcile.Result, error) {
	var object corev1.Namespace
	if err := t.client.Get(ctx, client.ObjectKey{Name: q.Name}, &object); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if object.DeletionTimestamp != nil || *t.namespaces.cfg.Settings.ConfigMap == "" {
		return reconcile.Result{}, nil
	}
	if object.Labels[inject.Label] != inject.Enabled {
		return reconcile.Result{}, nil // what was said stands: without the label nothing is turned on again
	}
	config, err := t.namespaces.config(ctx, q.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := t.namespaces.now()
	end := ends(&object, config, now)
	if end.IsZero() && !ours(config) {
		return reconcile.Result{}, nil // nothing to say, and nothing said
	}
	over := !end.IsZero() && !end.After(now)
	if err := t.write(ctx, &object, config, end, over); err != nil {
		return reconcile.Result{}, err
	}
	if end.IsZero() || over {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: end.Sub(now)}, nil
}

// ours is whether we have a field in the ConfigMap.
func ours(config *corev1.ConfigMap) bool {
	return slices.ContainsFunc(config.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == string(fieldOwner)
	})
}

// write applies our fields of the ConfigMap; those that are no longer in it go. An until
// that somebody else wrote stays.
func (t *tenure) write(ctx context.Context, object *corev1.Namespace, config *corev1.ConfigMap, end time.Time, over bool) error {
	data, notes := map[string]string{}, map[string]string{}
	theirs := config.Data[configUntil] != "" && config.Annotations[annotationEnds] == ""
	if !end.IsZero() && !theirs {
		data[configUntil] = stamp(end)
		notes[annotationEnds] = stamp(end)
	}
	if span := object.Annotations[inject.Prefix+inject.AnnotationDuration]; span != "" && !end.IsZero() {
		notes[annotationSpan] = span
		notes[annotationSince] = stamp(durationSince(config, span, t.namespaces.now()))
	}
	if over {
		data[configEnabled] = "false"
	}
	want := ac.ConfigMap(*t.namespaces.cfg.Settings.ConfigMap, object.Name).WithAnnotations(notes).WithData(data)
	if err := t.client.Apply(ctx, want, fieldOwner, client.ForceOwnership); err != nil {
		return err
	}
	if want.ResourceVersion != nil && *want.ResourceVersion == config.ResourceVersion {
		return nil // it said so already
	}
	t.log.Info("namespace's config written", "namespace", object.Name, "until", stamp(end), "over", over)
	if over && config.Data[configEnabled] != "false" {
		t.events.namespace(object.Name, corev1.EventTypeNormal, "TapsEnded",
			"The taps of this namespace were asked for until %s and are off.", stamp(end))
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
