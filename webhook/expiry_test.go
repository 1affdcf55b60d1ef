package webhook

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	recorder "k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// TestExpiry makes the changes that a namespace may make to the end of its taps, one after the other.
func TestExpiry(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithObjects(labeled("shop", "duration", "2h")).WithReturnManagedFields().Build()
	recorded := recorder.NewFakeRecorder(10)
	e := &expiry{client: c, namespaces: namespacesOf(c, k), events: &events{recorder: recorded}, log: slog.New(slog.DiscardHandler)}
	step := func(wantNext time.Duration, wantUntil, wantEnabled string) {
		t.Helper()
		got, err := e.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "shop"}})
		if err != nil || got.RequeueAfter != wantNext {
			t.Errorf("%v, again after %v; want %v", err, got.RequeueAfter, wantNext)
		}
		var m corev1.ConfigMap
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "meshtls-tap"}, &m); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		if m.Data["until"] != wantUntil || m.Data["enabled"] != wantEnabled {
			t.Errorf("config %v, want until %q, enabled %q", m.Data, wantUntil, wantEnabled)
		}
	}
	annotate := func(annotations ...string) {
		t.Helper()
		var ns corev1.Namespace
		if err := c.Get(t.Context(), client.ObjectKey{Name: "shop"}, &ns); err != nil {
			t.Fatal(err)
		}
		ns.Annotations = labeled("shop", annotations...).Annotations
		if err := c.Update(t.Context(), &ns); err != nil {
			t.Fatal(err)
		}
	}
	step(2*time.Hour, "2026-11-24T14:00:00Z", "")
	k.forward(90 * time.Minute)
	step(30*time.Minute, "2026-11-24T14:00:00Z", "") // the duration starts when the webhook first sees it
	k.forward(30 * time.Minute)
	step(0, "2026-11-24T14:00:00Z", "false")
	step(0, "2026-11-24T14:00:00Z", "false")
	if len(recorded.Events) != 1 {
		t.Errorf("%d Events about the end", len(recorded.Events))
	}
	var ns corev1.Namespace // no tap is turned on again if the label is removed and restored
	if err := c.Get(t.Context(), client.ObjectKey{Name: "shop"}, &ns); err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"", inject.Disabled, inject.Enabled} {
		ns.Labels = map[string]string{inject.Label: label}
		if err := c.Update(t.Context(), &ns); err != nil {
			t.Fatal(err)
		}
		step(0, "2026-11-24T14:00:00Z", "false")
	}
	annotate("duration", "3h") // a longer duration starts now, so taps that had ended continue
	step(3*time.Hour, "2026-11-24T17:00:00Z", "true")
	k.forward(time.Hour)
	if err := c.Delete(t.Context(), config("meshtls-tap", "shop")); err != nil { // the deletion does not change the end
		t.Fatal(err)
	}
	step(2*time.Hour, "2026-11-24T17:00:00Z", "")
	annotate("until", "2026-11-24T16:00:00Z")
	step(time.Hour, "2026-11-24T16:00:00Z", "")
	var m corev1.ConfigMap // tenants may end the taps earlier, but not later
	for until, want := range map[string]string{"2026-11-24T15:30:00Z": "2026-11-24T15:30:00Z", "2026-11-30T00:00:00Z": "2026-11-24T16:00:00Z"} {
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "meshtls-tap"}, &m); err != nil {
			t.Fatal(err)
		}
		m.Data["until"] = until
		if err := c.Update(t.Context(), &m); err != nil {
			t.Fatal(err)
		}
		at, _ := time.Parse(time.RFC3339, want)
		step(at.Sub(k.now()), want, "")
	}
	if err := c.Delete(t.Context(), config("meshtls-tap", "shop")); err != nil {
		t.Fatal(err)
	}
	step(time.Hour, "2026-11-24T16:00:00Z", "")
	annotate()
	step(0, "", "") // there is no end any more, so the key until is empty
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "meshtls-tap"}, &m); err != nil {
		t.Fatal(err)
	} else if _, reported := m.Data["until"]; !reported {
		t.Error("without the key the taps use the end in the environment of their pods")
	}
	annotate("until", "2026-11-24T16:00:00Z")
	step(time.Hour, "2026-11-24T16:00:00Z", "")

	// keys that others wrote remain
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "meshtls-tap"}, &m); err != nil {
		t.Fatal(err)
	}
	m.Data["mute"] = "10.0.0.0/8"
	if err := c.Update(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	k.forward(time.Hour)
	step(0, "2026-11-24T16:00:00Z", "false")
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "meshtls-tap"}, &m); err != nil || m.Data["mute"] != "10.0.0.0/8" {
		t.Errorf("%v: %v", err, m.Data)
	}
}

func config(name, namespace string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// TestDurations: a recorded start is valid only for the namespace's UID and for that duration. The record is stored
// in a namespace that no tenant can write to.
func TestDurations(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithReturnManagedFields().Build()
	m := namespacesOf(c, k).durations
	shop, other := labeled("shop"), labeled("other")
	shop.UID, other.UID = "1", "2"
	for _, ns := range []*corev1.Namespace{shop, other} {
		if err := m.save(t.Context(), ns, "2h", k.now()); err != nil {
			t.Fatal(err)
		}
	}
	again := shop.DeepCopy() // another namespace that gets the same name later
	again.UID = "3"
	for name, x := range map[string]struct {
		ns   *corev1.Namespace
		span string
		want time.Time
	}{"kept": {shop, "2h", k.now()}, "another duration": {shop, "3h", time.Time{}}, "another namespace": {again, "2h", time.Time{}}} {
		if got, err := m.since(t.Context(), x.ns, x.span); err != nil || !got.Equal(x.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if err := m.save(t.Context(), shop, "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	config, err := m.read(t.Context())
	if err != nil || config.Namespace != "tap" || len(config.Data) != 1 || config.Data["other"] == "" {
		t.Errorf("%v: %s %v", err, config.Namespace, config.Data)
	}
}

// TestNothingToEnd: a namespace that requests no end gets no ConfigMap.
func TestNothingToEnd(t *testing.T) {
	c := fake.NewClientBuilder().WithObjects(labeled("shop")).Build()
	e := &expiry{client: c, namespaces: namespacesOf(c, newClock()), events: &events{}, log: slog.New(slog.DiscardHandler)}
	for _, name := range []string{"shop", "gone"} {
		if got, err := e.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}); err != nil || got.RequeueAfter != 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	var list corev1.ConfigMapList
	if err := c.List(t.Context(), &list); err != nil || len(list.Items) != 0 {
		t.Errorf("%v: %d config maps", err, len(list.Items))
	}
}

// TestDurationOfMuchText: a long annotation takes little room in the ConfigMap that all namespaces share, and an invalid
// one takes none.
func TestDurationOfMuchText(t *testing.T) {
	for span, kept := range map[string]bool{strings.Repeat("0", 100_000) + "2h": true, "2 h": false, "-2h": false, "0s": false, strings.Repeat("x", 100_000): false} {
		c := fake.NewClientBuilder().WithObjects(labeled("shop", "duration", span)).WithReturnManagedFields().Build()
		n := namespacesOf(c, newClock())
		e := &expiry{client: c, namespaces: n, events: &events{}, log: slog.New(slog.DiscardHandler)}
		if _, err := e.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "shop"}}); err != nil {
			t.Fatal(err)
		}
		config, err := n.durations.read(t.Context())
		if text := config.Data["shop"]; err != nil || (text != "") != kept || len(text) > 100 {
			t.Errorf("%.10s: %v, %d bytes", span, err, len(text))
		}
	}
}

// TestSameDurationAgain: after label and duration were removed, the same duration starts again. While the annotation remains, it does not.
func TestSameDurationAgain(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithObjects(labeled("shop", "duration", "2h")).WithReturnManagedFields().Build()
	e := &expiry{client: c, namespaces: namespacesOf(c, k), events: &events{recorder: recorder.NewFakeRecorder(10)}, log: slog.New(slog.DiscardHandler)}
	step := func(label string, annotations ...string) (data map[string]string) {
		t.Helper()
		var ns corev1.Namespace
		if err := c.Get(t.Context(), client.ObjectKey{Name: "shop"}, &ns); err != nil {
			t.Fatal(err)
		}
		ns.Labels, ns.Annotations = map[string]string{inject.Label: label}, labeled("shop", annotations...).Annotations
		if err := c.Update(t.Context(), &ns); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "shop"}}); err != nil {
			t.Fatal(err)
		}
		var m corev1.ConfigMap
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "meshtls-tap"}, &m); err != nil {
			t.Fatal(err)
		}
		return m.Data
	}
	step(inject.Enabled, "duration", "2h")
	k.forward(3 * time.Hour)
	for _, label := range []string{inject.Enabled, "", inject.Enabled} {
		if got := step(label, "duration", "2h"); got["until"] != "2026-11-24T14:00:00Z" || got["enabled"] != "false" {
			t.Errorf("label %q, the same annotation: %v", label, got)
		}
	}
	if got := step(""); got["enabled"] != "false" {
		t.Errorf("without label and annotation: %v", got)
	}
	if got := step(inject.Enabled, "duration", "2h"); got["until"] != "2026-11-24T17:00:00Z" || got["enabled"] != "true" {
		t.Errorf("both set again: %v", got)
	}
}
