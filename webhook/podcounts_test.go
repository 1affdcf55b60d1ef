package webhook

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	recorder "k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

func TestPodCounter(t *testing.T) {
	k := newClock()
	pod := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}
		if change != nil {
			change(p)
		}
		return p
	}
	n := namespacesOf(nil, k)
	tap := func(hash string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: inject.Name, Image: "tap:1", Args: []string{"run"}}}
			p.Annotations = map[string]string{"meshtls-tap/status": `{"image":"tap:1","config":"` + hash + `"}`}
		}
	}
	c := fake.NewClientBuilder().WithObjects(
		labeled("shop"), labeled("kube-system"), pod("tapped", tap(n.cfg.Hash())), pod("old", tap("1")), pod("foreign", func(p *corev1.Pod) { tap("x")(p); p.Annotations = nil }),
		pod("untapped", nil), pod("out", func(p *corev1.Pod) { p.Labels = map[string]string{inject.Label: inject.Disabled} }),
		pod("host", func(p *corev1.Pod) { p.Spec.HostNetwork = true }), pod("windows", func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }),
		pod("over", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
	).Build()
	n.cached, n.live = c, c
	recorded := recorder.NewFakeRecorder(10) // kube-system has the label too, but is ignored
	s := &podCounter{
		client: c, live: c, cfg: n.cfg, namespaces: n, dryRuns: dryRunsOn(&cluster{answers: true, policy: admitAll}, nil), events: &events{recorder: recorded}, log: slog.New(slog.DiscardHandler),
	}
	do(t, s.countAll, s.countAll)
	want := podCounts{stateTapped: 1, stateOutdated: 1, stateUntapped: 1, "foreign_container": 1, "opted_out": 1, "host_network": 1, stateSkipped: 1}
	if got := s.reported["shop"]; !maps.Equal(got, want) {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	var reasons []string
	for len(recorded.Events) > 0 {
		reasons = append(reasons, strings.Fields(<-recorded.Events)[1])
	}
	slices.Sort(reasons)
	if fmt.Sprint(reasons) != "[ForeignContainer PodsInHostNetwork PodsOptedOut PodsUntapped]" {
		t.Errorf("Events %v", reasons)
	}
	s.dryRuns = dryRunsOn(&cluster{answers: true, policy: refuse(func(*corev1.Container) bool { return true })}, nil)
	do(t, s.countAll)
	if got := s.reported["shop"]; got["refused"] != 1 || got[stateUntapped] != 0 {
		t.Errorf("counted %+v where taps are refused", got)
	}
	if first, second := <-recorded.Events, <-recorded.Events; !strings.Contains(first, "PodsUntapped") || !strings.Contains(second, "PodsRefused") {
		t.Errorf("Events %s, %s", first, second)
	}
	ns := labeled("shop")
	ns.Labels = nil
	if err := c.Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if do(t, s.countAll); len(s.reported) != 0 {
		t.Errorf("counted %+v", s.reported)
	}
}
