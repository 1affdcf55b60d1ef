package webhook

import (
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// TestTenantMay: a namespace can end its taps or choose a profile only with annotations and keys that the platform
// allows it to set.
func TestTenantMay(t *testing.T) {
	own := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "meshtls-tap"}, Data: map[string]string{"enabled": "false", "until": "2026-11-24T12:30:00Z"}}
	for name, c := range map[string]struct {
		may        []string
		ends, off  bool
		candidates int
	}{
		"nothing":   {[]string{"filter"}, false, false, 3},
		"all":       {[]string{"*"}, true, true, 1},
		"enabled":   {[]string{"enabled"}, false, true, 3},
		"until":     {[]string{"until"}, true, false, 3},
		"duration":  {[]string{"duration"}, true, false, 3},
		"a profile": {[]string{"profile"}, false, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			object := labeled("shop", "duration", "1h", "profile", "baseline")
			cl := fake.NewClientBuilder().WithObjects(object, own.DeepCopy()).WithReturnManagedFields().Build()
			n := namespacesOf(cl, newClock())
			n.cfg.TenantMay = c.may
			ns, err := n.of(t.Context(), "shop")
			if err != nil || ns.Until.IsZero() == c.ends || ns.Off != c.off {
				t.Errorf("%v: until %v, off %t", err, ns.Until, ns.Off)
			}
			p := dryRunsOn(&cluster{}, func(cfg *inject.Config) { cfg.TenantMay = c.may })
			if got, _ := p.candidates(ns); len(got) != c.candidates {
				t.Errorf("candidates %v", got)
			}
			e := &expiry{client: cl, namespaces: n, events: &events{}, log: slog.New(slog.DiscardHandler)}
			got, err := e.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "shop"}})
			if err != nil || (got.RequeueAfter > 0) != c.ends {
				t.Errorf("%v: again after %v", err, got.RequeueAfter)
			}
			var after corev1.ConfigMap
			if err := cl.Get(t.Context(), client.ObjectKeyFromObject(own), &after); err != nil || after.Data["until"] == "" {
				t.Errorf("%v: what the namespace wrote is gone: %v", err, after.Data)
			}
		})
	}
}
