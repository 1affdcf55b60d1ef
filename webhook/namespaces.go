package webhook

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// Keys of a namespace's ConfigMap that the webhook reads. The taps read them too (TAP_CONFIG_DIR).
const (
	configEnabled = "enabled" // false turns the namespace's taps off
	configUntil   = "until"   // the end of the taps, RFC 3339
)

// namespaces reads the state of namespaces, from the informers' caches.
type namespaces struct {
	cached    client.Reader
	live      client.Reader // reads a namespace or a label that is not in the cache yet
	cfg       *inject.Config
	images    *images
	nodes     *nodes
	durations *durations
	now       func() time.Time

	confirmed sync.Map // by name: the resource version that the API server last confirmed as current
}

// concerned reports whether a namespace requests taps and its pods may get them.
func concerned(cfg *inject.Config, object *corev1.Namespace) bool {
	return object.DeletionTimestamp == nil && object.Labels[inject.Label] == inject.Enabled &&
		object.Name != cfg.Own && !strings.HasPrefix(object.Name, inject.SystemPrefix)
}

// of returns the state of the namespace with a name, without refusals and quotas.
func (n *namespaces) of(ctx context.Context, name string) (*inject.Namespace, error) {
	var object corev1.Namespace
	err := n.cached.Get(ctx, client.ObjectKey{Name: name}, &object)
	if apierrors.IsNotFound(err) || err == nil && object.Labels[inject.Label] != inject.Enabled && !n.isFresh(&object) {
		// The API server calls the webhook because of a label, and the cache may not have that label yet.
		if fresh := (corev1.Namespace{}); n.live.Get(ctx, client.ObjectKey{Name: name}, &fresh) == nil {
			object, err = fresh, nil
			n.confirmed.Store(name, fresh.ResourceVersion)
		}
	}
	if err != nil {
		return nil, err
	}
	return n.view(ctx, &object)
}

// isFresh reports whether the API server has confirmed that the cached version of the namespace is current. It saves
// requests if pods request taps themselves: most namespaces of such pods do not have the label.
func (n *namespaces) isFresh(object *corev1.Namespace) bool {
	version, ok := n.confirmed.Load(object.Name)
	return ok && version == object.ResourceVersion
}

// view returns the state of the namespace that object describes, without refusals and quotas.
func (n *namespaces) view(ctx context.Context, object *corev1.Namespace) (*inject.Namespace, error) {
	ns := &inject.Namespace{
		Name: object.Name, Labels: object.Labels, Annotations: object.Annotations,
		Images: n.images.usable(), Waits: n.images.waiting(), OldKubelets: n.nodes.old(),
	}
	config, err := n.config(ctx, object.Name)
	if err != nil {
		return nil, err
	}
	w, err := n.window(ctx, n.permitted(object), config)
	if err != nil {
		return nil, err
	}
	ns.Until = w.end()
	enabled, bad := strconv.ParseBool(config.Data[configEnabled])
	ns.Off = bad == nil && !enabled && !w.over(n.now()) && n.cfg.NamespaceMay(configEnabled) // after the end of the taps, pods are skipped for that reason
	if err := n.limits(ctx, ns); err != nil {
		return nil, err
	}
	return ns, nil
}

// permitted returns a copy of a namespace without the product's annotations that a namespace may not set.
func (n *namespaces) permitted(object *corev1.Namespace) *corev1.Namespace {
	out := *object
	out.Annotations = maps.Clone(object.Annotations)
	maps.DeleteFunc(out.Annotations, func(name, _ string) bool {
		key, ours := strings.CutPrefix(name, inject.Prefix)
		return ours && !n.cfg.NamespaceMay(key)
	})
	return &out
}

// config returns the namespace's ConfigMap, or an empty one.
func (n *namespaces) config(ctx context.Context, namespace string) (*corev1.ConfigMap, error) {
	config := &corev1.ConfigMap{}
	name := *n.cfg.Settings.ConfigMap
	if name == "" {
		return config, nil
	}
	err := n.cached.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, config)
	return config, client.IgnoreNotFound(err)
}

// window returns when the taps of a namespace end.
func (n *namespaces) window(ctx context.Context, object *corev1.Namespace, config *corev1.ConfigMap) (w window, err error) {
	platform := func(t time.Time, err error) {
		if err == nil && (w.platform.IsZero() || t.Before(w.platform)) {
			w.platform = t
		}
	}
	platform(time.Parse(time.RFC3339, object.Annotations[inject.Prefix+inject.AnnotationUntil]))
	if d := durationOf(object); d > 0 {
		since, err := n.durations.since(ctx, object, d.String())
		if err != nil {
			return w, err
		}
		if since.IsZero() {
			since = n.now()
		}
		platform(since.Add(d), nil)
	}
	if t, bad := time.Parse(time.RFC3339, config.Data[configUntil]); bad == nil && !ownKeys(config)[configUntil] && n.cfg.NamespaceMay(configUntil) {
		w.theirs = t
	}
	return w, nil
}

// limits fills in the namespace's limit ranges, and whether a quota requires CPU limits.
func (n *namespaces) limits(ctx context.Context, ns *inject.Namespace) error {
	var ranges corev1.LimitRangeList
	if err := n.cached.List(ctx, &ranges, client.InNamespace(ns.Name)); err != nil {
		return err
	}
	for i := range ranges.Items {
		for _, item := range ranges.Items[i].Spec.Limits {
			ns.LimitRanges = append(ns.LimitRanges, item)
			if item.Type == corev1.LimitTypePod {
				ns.Caps = append(ns.Caps, podCaps("limit range "+ranges.Items[i].Name, item.Max)...)
			}
		}
	}
	var quotas corev1.ResourceQuotaList
	if err := n.cached.List(ctx, &quotas, client.InNamespace(ns.Name)); err != nil {
		return err
	}
	ns.CPULimits = countsCPULimits(quotas.Items)
	return nil
}

// countsCPULimits reports whether one of the quotas counts CPU limits. Such a quota refuses containers without a CPU
// limit.
func countsCPULimits(quotas []corev1.ResourceQuota) bool {
	return slices.ContainsFunc(quotas, func(q corev1.ResourceQuota) bool {
		_, ok := q.Spec.Hard[corev1.ResourceLimitsCPU]
		return ok
	})
}

// podCaps returns the caps of a pod's requests and limits that a limit range sets. source names the limit range.
func podCaps(source string, most corev1.ResourceList) []inject.Cap {
	var out []inject.Cap
	for name, q := range most {
		out = append(out, inject.Cap{Source: source, Resource: name, Left: q}, inject.Cap{Source: source, Limits: true, Resource: name, Left: q})
	}
	return out
}
