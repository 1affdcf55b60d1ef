package webhook

import (
	"context"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// durations records the start of each namespace's duration in a ConfigMap of the webhook's own namespace, because a
// tenant could change a record in the tapped namespace. The ConfigMap has the same name as the ConfigMaps of the tapped
// namespaces, because the webhook's role allows it to write that name. Each key is a namespace; the value is the
// namespace's UID, its duration and the start of the duration.
//
// The elected replica writes the ConfigMap, and the others read it.
type durations struct {
	cached client.Client
	own    string // the webhook's namespace
	name   string // of the ConfigMap; "": nothing is recorded
}

// since returns when a namespace's duration span started, or the zero time if that is not recorded.
func (m *durations) since(ctx context.Context, object *corev1.Namespace, span string) (time.Time, error) {
	config, err := m.read(ctx)
	if err != nil {
		return time.Time{}, err
	}
	f := strings.Split(config.Data[object.Name], " ")
	if len(f) != 3 || f[0] != string(object.UID) || f[1] != span {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, f[2])
	if err != nil {
		return time.Time{}, nil //nolint:nilerr // an invalid time counts as no record
	}
	return at, nil
}

// save records that a namespace's duration span started at a time; the zero time deletes the record. After a
// concurrent write it returns a conflict, and the caller tries again.
func (m *durations) save(ctx context.Context, object *corev1.Namespace, span string, at time.Time) error {
	config, err := m.read(ctx)
	if err != nil || m.name == "" {
		return err
	}

	data := maps.Clone(config.Data)
	if data == nil {
		data = map[string]string{}
	}
	delete(data, object.Name)
	if !at.IsZero() {
		data[object.Name] = strings.Join([]string{string(object.UID), span, stamp(at)}, " ")
	}
	if maps.Equal(data, config.Data) || len(data) == 0 && config.ResourceVersion == "" {
		return nil
	}

	next := config.DeepCopy()
	next.Data = data
	if config.ResourceVersion != "" {
		return m.cached.Update(ctx, next, fieldOwner)
	}
	next.ObjectMeta = metav1.ObjectMeta{Namespace: m.own, Name: m.name, Labels: map[string]string{"app.kubernetes.io/managed-by": managedBy}}
	return m.cached.Create(ctx, next, fieldOwner)
}

// read returns the ConfigMap, or an empty one.
func (m *durations) read(ctx context.Context) (*corev1.ConfigMap, error) {
	config := &corev1.ConfigMap{}
	if m.name == "" {
		return config, nil
	}
	err := m.cached.Get(ctx, client.ObjectKey{Namespace: m.own, Name: m.name}, config)
	if apierrors.IsNotFound(err) {
		return &corev1.ConfigMap{}, nil
	}
	return config, err
}
