package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// TestSlowServer: a pod is admitted in time even if the API server takes long to list a namespace's quotas and owners, or to answer a
// dry run. If that information is still missing, the pod gets no tap, and the Event says why.
func TestSlowServer(t *testing.T) {
	for name, test := range map[string]struct {
		slow   string        // a part of the type names of the lists that are slow
		takes  time.Duration // time that each of these lists takes
		dry    time.Duration // time that each dry run takes
		most   time.Duration // bound of the time of a response
		tapped bool
		detail string
	}{
		"quick":                     {slow: "List", takes: 10 * time.Millisecond, dry: 10 * time.Millisecond, most: 100 * time.Millisecond, tapped: true},
		"just quick enough":         {slow: "List", takes: 240 * time.Millisecond, most: mostQuotaWait, tapped: true},
		"all is slow":               {slow: "List", takes: 300 * time.Millisecond, most: mostQuotaWait, detail: "did not answer in time"},
		"quotas are never read":     {slow: "ResourceQuota", takes: time.Hour, most: mostQuotaWait, detail: "did not answer in time"},
		"pods are never read":       {slow: "PartialObject", takes: time.Hour, most: mostQuotaWait, detail: "did not answer in time"},
		"one kind is never read":    {slow: "HorizontalPodAutoscaler", takes: time.Hour, most: mostQuotaWait, detail: "did not answer in time"},
		"dry runs are slow as well": {slow: "List", takes: time.Hour, dry: time.Second, most: patience("3s"), detail: "did not answer in time"},
		"dry runs never end":        {dry: time.Hour, most: patience("3s"), detail: "it is not known yet whether the namespace admits a tap"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := slowly(t, test.slow, test.takes, test.dry)
				var recorded *inject.Result
				h := newEndpoint("/inject", slog.New(slog.DiscardHandler), w.decide(inject.Tap, true), func(_ *review, r *inject.Result) { recorded = r })
				begin := time.Now()
				got := asks(t, h, strings.NewReader(reviewOf(aPod, "")), "application/json")
				took := time.Since(begin)
				if !got.Allowed || (len(got.Patch) > 0) != test.tapped {
					t.Errorf("allowed: %t, patch: %s", got.Allowed, got.Patch)
				}
				if took > test.most {
					t.Errorf("it took %v, want %v at most", took, test.most)
				}
				if !strings.Contains(recorded.Detail, test.detail) {
					t.Errorf("the Event says %q", recorded.Detail)
				}
				time.Sleep(2 * mostWait) // the requests that are still running end meanwhile
			})
		})
	}
}

// slowly returns a webhook with usual caches and a slow API server.
func slowly(t *testing.T, kinds string, takes, dry time.Duration) *webhook {
	t.Helper()
	k := newClock()
	q := newWorld(t, inject.QuotaFit, ample).quotas[0] // its quotas have a usage already
	q.Namespace = "shop"
	cached := fake.NewClientBuilder().WithObjects(&q, labeled("shop")).Build()
	wait := func(ctx context.Context, d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the connection: %w", ctx.Err())
		}
	}
	live := interceptor.NewClient(cached, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			if kind := fmt.Sprintf("%T", list); kinds != "" && strings.Contains(kind, kinds) {
				if err := wait(ctx, takes); err != nil {
					return err
				}
			}
			return c.List(ctx, list, client.InNamespace("shop"))
		},
		Create: func(ctx context.Context, _ client.WithWatch, _ client.Object, _ ...client.CreateOption) error {
			return wait(ctx, dry)
		},
	})
	n := namespacesOf(cached, k)
	n.cfg.Quota, n.cfg.QuotaGrowth = inject.QuotaFit, 10
	return &webhook{
		cfg: n.cfg, namespaces: n, dryRuns: newDryRuns(live, live, n.cfg, true, slog.New(slog.DiscardHandler)),
		quotas: &quotas{cached: cached, live: live, cfg: n.cfg, nodes: &nodes{}, turns: map[string]*turns{}},
	}
}
