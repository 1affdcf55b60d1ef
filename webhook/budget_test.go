package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// TestBudget: the sum of the responses to the requests of a context is bounded. Responses to other requests are
// not.
func TestBudget(t *testing.T) {
	const size = 10_000
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "`+strings.Repeat("x", size)+`"}}`)
	}))
	defer api.Close()
	cluster := &rest.Config{Host: api.URL}
	enforceBudgets(cluster)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	c, err := client.New(cluster, client.Options{Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	read := func(ctx context.Context) error {
		names := metav1.PartialObjectMetadataList{}
		names.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
		return errors.Join(c.List(ctx, &corev1.PodList{}, client.InNamespace("shop")), c.List(ctx, &names, client.InNamespace("shop")))
	}
	for name, x := range map[string]struct {
		ctx  context.Context
		want error
	}{
		"none":           {t.Context(), nil},
		"enough":         {bounded(t.Context(), 3*size), nil},
		"enough for one": {bounded(t.Context(), 3*size/2), errTooMuch},
	} {
		if err := read(x.ctx); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
}

// TestCountOfLargePods: pods that are too large for pages of the usual size are counted too.
func TestCountOfLargePods(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", Labels: map[string]string{inject.Label: inject.Disabled}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
	}
	live := fake.NewClientBuilder().WithObjects(pod).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
			var o client.ListOptions
			o.ApplyOptions(opts)
			if _, ok := l.(*corev1.PodList); ok && (o.Limit == 0 || o.Limit > fewPods) {
				return errTooMuch
			}
			return c.List(ctx, l, opts...)
		},
	}).Build()
	cl := fake.NewClientBuilder().WithObjects(labeled("shop")).Build()
	n, p := namespacesOf(cl, newClock()), dryRunsOn(&cluster{answers: true, policy: admitAll}, nil)
	s := &podCounter{client: cl, live: live, cfg: n.cfg, namespaces: n, dryRuns: p, events: &events{}, log: slog.New(slog.DiscardHandler)}
	if err := s.countAll(t.Context()); err != nil || s.reported["shop"][string(inject.ReasonOptedOut)] != 1 {
		t.Errorf("%v: %v", err, s.reported)
	}
}
