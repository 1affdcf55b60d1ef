package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	recorder "k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// namespacesOf returns the namespaces of a replica, in the cluster of c.
func namespacesOf(c client.Client, k *clock) *namespaces {
	settings, _ := inject.ParseSettings(nil)
	cfg := &inject.Config{Settings: settings, Image: "tap:1", Own: "tap", Profile: inject.ProfileAuto, ServerMinor: 37, Version: "v1", TenantMay: []string{"*"}}
	return &namespaces{cached: c, live: c, cfg: cfg, images: &images{}, nodes: &nodes{}, now: k.now, durations: &durations{c, "tap", "meshtls-tap"}}
}

func labeled(name string, annotations ...string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{inject.Label: inject.Enabled}}}
	for i := 0; i < len(annotations); i += 2 {
		metav1.SetMetaDataAnnotation(&ns.ObjectMeta, "meshtls-tap/"+annotations[i], annotations[i+1])
	}
	return ns
}

func TestNamespace(t *testing.T) {
	k := newClock()
	config := func(data ...string) *corev1.ConfigMap {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "meshtls-tap"}, Data: map[string]string{}}
		for i := 0; i < len(data); i += 2 {
			m.Data[data[i]] = data[i+1]
		}
		return m
	}
	for name, c := range map[string]struct {
		objects []client.Object
		want    func(*inject.Namespace) bool
	}{
		"plain": {[]client.Object{labeled("shop")}, func(ns *inject.Namespace) bool {
			return ns.Until.IsZero() && !ns.Off && ns.Labels[inject.Label] == inject.Enabled && ns.Images == nil
		}},
		"turned off": {[]client.Object{labeled("shop"), config("enabled", "false")}, func(ns *inject.Namespace) bool { return ns.Off }},
		"turned on":  {[]client.Object{labeled("shop"), config("enabled", "true")}, func(ns *inject.Namespace) bool { return !ns.Off }},
		"nonsense":   {[]client.Object{labeled("shop", "until", "x", "duration", "x"), config("enabled", "perhaps", "until", "x")}, func(ns *inject.Namespace) bool { return !ns.Off && ns.Until.IsZero() }},
		"another's": {[]client.Object{labeled("shop"), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "else", Name: "meshtls-tap"}, Data: map[string]string{"enabled": "false"}}},
			func(ns *inject.Namespace) bool { return !ns.Off }},
		"until": {[]client.Object{labeled("shop", "until", "2026-11-24T13:00:00Z")}, func(ns *inject.Namespace) bool { return ns.Until.Equal(k.now().Add(time.Hour)) }},
		"over, and turned off for that": {[]client.Object{labeled("shop", "until", "2026-11-24T11:00:00Z"), config("enabled", "false")},
			func(ns *inject.Namespace) bool { return !ns.Off && ns.Until.Before(k.now()) }},
		"duration, new": {[]client.Object{labeled("shop", "duration", "2h")}, func(ns *inject.Namespace) bool { return ns.Until.Equal(k.now().Add(2 * time.Hour)) }},
		"the config's own until": {[]client.Object{labeled("shop", "until", "2026-11-24T13:00:00Z"), config("until", "2026-11-24T12:30:00Z")},
			func(ns *inject.Namespace) bool { return ns.Until.Equal(k.now().Add(30 * time.Minute)) }},
		"limits": {[]client.Object{
			labeled("shop"),
			&corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "l"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
				{Type: corev1.LimitTypeContainer}, {Type: corev1.LimitTypePod, Max: corev1.ResourceList{"cpu": resource.MustParse("1")}},
			}}},
			&corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
				"limits.cpu": resource.MustParse("1"), "cpu": resource.MustParse("1"), "pods": resource.MustParse("3"),
			}}, Status: corev1.ResourceQuotaStatus{Used: corev1.ResourceList{"limits.cpu": resource.MustParse("1"), "cpu": resource.MustParse("2")}}},
		}, func(ns *inject.Namespace) bool {
			return len(ns.LimitRanges) == 2 && fmt.Sprint(capsOf(ns)) == "[limit range l false cpu 1 limit range l true cpu 1]" && ns.CPULimits
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := namespacesOf(fake.NewClientBuilder().WithObjects(c.objects...).Build(), k)
			ns, err := n.of(t.Context(), "shop")
			if err != nil || !c.want(ns) {
				t.Errorf("%v: %+v", err, ns)
			}
		})
	}
	if _, err := namespacesOf(fake.NewClientBuilder().Build(), k).of(t.Context(), "shop"); err == nil {
		t.Error("no error for a namespace that is not there")
	}
}

func capsOf(ns *inject.Namespace) (out []string) {
	for _, c := range ns.Caps {
		out = append(out, fmt.Sprint(c.Source, " ", c.Limits, " ", c.Resource, " ", c.Left.String()))
	}
	return out
}

// TestNewLabel: if the cached namespace has no label, the API server is asked.
func TestNewLabel(t *testing.T) {
	old := labeled("shop")
	old.Labels = nil
	n := namespacesOf(fake.NewClientBuilder().WithObjects(old).Build(), newClock())
	n.live = fake.NewClientBuilder().WithObjects(labeled("shop")).Build()
	ns, err := n.of(t.Context(), "shop")
	if err != nil || ns.Labels[inject.Label] != inject.Enabled {
		t.Errorf("%v: %+v", err, ns)
	}
}

func TestNodes(t *testing.T) {
	node := func(name, version string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: version}}}
	}
	c := fake.NewClientBuilder().WithObjects(node("a", "v1.37.2"), node("b", "v1.28.9-eks-1")).Build()
	n := &nodes{live: c}
	if do(t, n.poll); !n.old() {
		t.Error("an old kubelet was not seen")
	}
	if err := c.Delete(t.Context(), node("b", "")); err != nil {
		t.Fatal(err)
	}
	if do(t, n.poll); n.old() {
		t.Error("an old kubelet that is gone is still seen")
	}
	for version, want := range map[string]int{"v1.29.3": 29, "1.31+": 31, "v1.9": 9, "": -1, "v2.1": -1, "v1.x": -1} {
		if m, ok := minor(version); ok != (want >= 0) || ok && m != want {
			t.Errorf("%q: %d %v", version, m, ok)
		}
	}
}

// TestLoop: a loop runs at once, when it is nudged, and soon after an error.
func TestLoop(t *testing.T) {
	runs := make(chan error)
	l := newLoop("test", false, time.Hour, slog.New(slog.DiscardHandler), func(context.Context) error { return <-runs })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Start(ctx) }()
	runs <- nil
	l.nudge()
	l.nudge()
	runs <- errNoReview
	runs <- nil
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case runs <- nil: // another run had started
		<-ended
	}
}

func TestRefusedTap(t *testing.T) {
	for _, c := range []struct {
		object client.Object
		want   bool
	}{
		{&corev1.Event{Reason: "FailedCreate", Message: `pods "x" is forbidden: container "meshtls-tap" must not`}, true},
		{&corev1.Event{Reason: "FailedCreate", Message: "quota"}, false},
		{&corev1.Event{Reason: "Killing", Message: "meshtls-tap"}, false},
		{&corev1.Pod{}, false},
	} {
		if refusedTap(c.object) != c.want {
			t.Errorf("%+v", c.object)
		}
	}
}

func TestEvents(t *testing.T) {
	recorded := recorder.NewFakeRecorder(10)
	e := &events{recorder: recorded}
	r := &review{Request: &request{Namespace: "shop"}}
	owner := &inject.Owner{Kind: "ReplicaSet", Name: "web", UID: "u"}
	for _, result := range []inject.Result{
		{Owner: owner, Reason: inject.ReasonOptedOut}, {Owner: owner, Reason: inject.ReasonNotAPod}, {Reason: inject.ReasonRefused},
	} {
		e.pod(r, &result)
	}
	if len(recorded.Events) != 0 {
		t.Errorf("an Event: %s", <-recorded.Events)
	}
	e.pod(r, &inject.Result{Owner: owner, Mode: inject.Native, Profile: inject.ProfileDefault})
	e.pod(r, &inject.Result{Owner: owner, Reason: inject.ReasonRefused, Detail: strings.Repeat("x", 5000)})
	if got := <-recorded.Events; !strings.Contains(got, "Normal Tapped") {
		t.Error(got)
	}
	if got := <-recorded.Events; !strings.Contains(got, "Warning NotTapped") || len(got) > 1024 {
		t.Errorf("%d bytes: %.60s", len(got), got)
	}
	e.pod(r, &inject.Result{Owner: owner, Reason: inject.ReasonForeign, Detail: "why"})
	if got := <-recorded.Events; !strings.Contains(got, "Warning ForeignContainer") {
		t.Error(got)
	}
}
