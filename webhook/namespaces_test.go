package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	recorder "k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// known returns what a replica knows of the namespaces of a cluster.
func known(c client.Client, k *clock) *namespaces {
	settings, _ := inject.ParseSettings(nil)
	cfg := &inject.Config{Settings: settings, Image: "tap:1", Own: "tap", Profile: inject.ProfileAuto, ServerMinor: 37, Version: "v1", TenantMay: []string{"*"}}
	return &namespaces{cached: c, live: c, cfg: cfg, images: &images{}, nodes: &nodes{}, now: k.now, memory: &memory{c, "tap", "meshtls-tap"}}
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
			n := known(fake.NewClientBuilder().WithObjects(c.objects...).Build(), k)
			ns, err := n.of(t.Context(), "shop")
			if err != nil || !c.want(ns) {
				t.Errorf("%v: %+v", err, ns)
			}
		})
	}
	if _, err := known(fake.NewClientBuilder().Build(), k).of(t.Context(), "shop"); err == nil {
		t.Error("no error for a namespace that is not there")
	}
}

func capsOf(ns *inject.Namespace) (out []string) {
	for _, c := range ns.Caps {
		out = append(out, fmt.Sprint(c.Source, " ", c.Limits, " ", c.Resource, " ", c.Left.String()))
	}
	return out
}

// TestNewLabel: a label that the cache has not seen is looked up.
func TestNewLabel(t *testing.T) {
	old := labeled("shop")
	old.Labels = nil
	n := known(fake.NewClientBuilder().WithObjects(old).Build(), newClock())
	n.live = fake.NewClientBuilder().WithObjects(labeled("shop")).Build()
	ns, err := n.of(t.Context(), "shop")
	if err != nil || ns.Labels[inject.Label] != inject.Enabled {
		t.Errorf("%v: %+v", err, ns)
	}
}

// TestTenure walks through what a namespace may ask for and take back.
func TestTenure(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithObjects(labeled("shop", "duration", "2h")).WithReturnManagedFields().Build()
	told := recorder.NewFakeRecorder(10)
	ten := &tenure{client: c, namespaces: known(c, k), events: &events{recorder: told}, log: slog.New(slog.DiscardHandler)}
	step := func(wantNext time.Duration, wantUntil, wantEnabled string) {
		t.Helper()
		got, err := ten.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "shop"}})
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
	step(30*time.Minute, "2026-11-24T14:00:00Z", "") // it runs since it was first seen
	k.forward(30 * time.Minute)
	step(0, "2026-11-24T14:00:00Z", "false")
	step(0, "2026-11-24T14:00:00Z", "false")
	if len(told.Events) != 1 {
		t.Errorf("told %d times that it is over", len(told.Events))
	}
	var ns corev1.Namespace // without the label nothing is turned on again
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
	annotate("duration", "3h") // extended, from now on: ended taps continue
	step(3*time.Hour, "2026-11-24T17:00:00Z", "true")
	k.forward(time.Hour)
	if err := c.Delete(t.Context(), config("meshtls-tap", "shop")); err != nil { // which moves no end
		t.Fatal(err)
	}
	step(2*time.Hour, "2026-11-24T17:00:00Z", "")
	annotate("until", "2026-11-24T16:00:00Z")
	step(time.Hour, "2026-11-24T16:00:00Z", "")
	var m corev1.ConfigMap // whoever may write in the namespace may end its taps sooner, not later
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
	step(0, "", "") // no end any more, and that is said
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "meshtls-tap"}, &m); err != nil {
		t.Fatal(err)
	} else if _, said := m.Data["until"]; !said {
		t.Error("without the key taps go by what their pods were made with")
	}
	annotate("until", "2026-11-24T16:00:00Z")
	step(time.Hour, "2026-11-24T16:00:00Z", "")

	// what others write there stays
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

// TestMemory: since when a duration runs is known of one namespace, by its UID, and for one duration; and it is kept where no
// tenant writes.
func TestMemory(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithReturnManagedFields().Build()
	m := known(c, k).memory
	shop, other := labeled("shop"), labeled("other")
	shop.UID, other.UID = "1", "2"
	for _, ns := range []*corev1.Namespace{shop, other} {
		if err := m.keep(t.Context(), ns, "2h", k.now()); err != nil {
			t.Fatal(err)
		}
	}
	again := shop.DeepCopy() // the next one of that name
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
	if err := m.keep(t.Context(), shop, "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	config, err := m.read(t.Context())
	if err != nil || config.Namespace != "tap" || len(config.Data) != 1 || config.Data["other"] == "" {
		t.Errorf("%v: %s %v", err, config.Namespace, config.Data)
	}
}

// TestNothingToEnd: a namespace that asks for no end gets no ConfigMap.
func TestNothingToEnd(t *testing.T) {
	c := fake.NewClientBuilder().WithObjects(labeled("shop")).Build()
	ten := &tenure{client: c, namespaces: known(c, newClock()), events: &events{}, log: slog.New(slog.DiscardHandler)}
	for _, name := range []string{"shop", "gone"} {
		if got, err := ten.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}); err != nil || got.RequeueAfter != 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	var list corev1.ConfigMapList
	if err := c.List(t.Context(), &list); err != nil || len(list.Items) != 0 {
		t.Errorf("%v: %d config maps", err, len(list.Items))
	}
}

func TestSurvey(t *testing.T) {
	k := newClock()
	pod := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}
		if change != nil {
			change(p)
		}
		return p
	}
	n := known(nil, k)
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
	told := recorder.NewFakeRecorder(10) // kube-system has the label, and nothing comes of it
	s := &survey{
		client: c, live: c, cfg: n.cfg, namespaces: n, probes: probesOf(&cluster{answers: true, policy: admitAll}, nil), events: &events{recorder: told}, log: slog.New(slog.DiscardHandler),
	}
	do(t, s.look, s.look)
	want := tally{stateTapped: 1, stateOutdated: 1, stateUntapped: 1, "foreign_container": 1, "opted_out": 1, "host_network": 1, stateSkipped: 1}
	if got := s.said["shop"]; !maps.Equal(got, want) {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	var reasons []string
	for len(told.Events) > 0 {
		reasons = append(reasons, strings.Fields(<-told.Events)[1])
	}
	slices.Sort(reasons)
	if fmt.Sprint(reasons) != "[ForeignContainer PodsInHostNetwork PodsOptedOut PodsUntapped]" {
		t.Errorf("told %v", reasons)
	}
	s.probes = probesOf(&cluster{answers: true, policy: refuse(func(*corev1.Container) bool { return true })}, nil)
	do(t, s.look)
	if got := s.said["shop"]; got["refused"] != 1 || got[stateUntapped] != 0 {
		t.Errorf("counted %+v where taps are refused", got)
	}
	if first, second := <-told.Events, <-told.Events; !strings.Contains(first, "PodsUntapped") || !strings.Contains(second, "PodsRefused") {
		t.Errorf("told %s, %s", first, second)
	}
	ns := labeled("shop")
	ns.Labels = nil
	if err := c.Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if do(t, s.look); len(s.said) != 0 {
		t.Errorf("counted %+v", s.said)
	}
}

func TestNodes(t *testing.T) {
	node := func(name, version string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: version}}}
	}
	c := fake.NewClientBuilder().WithObjects(node("a", "v1.37.2"), node("b", "v1.28.9-eks-1")).Build()
	n := &nodes{live: c}
	if do(t, n.look); !n.old() {
		t.Error("an old kubelet was not seen")
	}
	if err := c.Delete(t.Context(), node("b", "")); err != nil {
		t.Fatal(err)
	}
	if do(t, n.look); n.old() {
		t.Error("an old kubelet that is gone is still seen")
	}
	for version, want := range map[string]int{"v1.29.3": 29, "1.31+": 31, "v1.9": 9, "": -1, "v2.1": -1, "v1.x": -1} {
		if m, ok := minor(version); ok != (want >= 0) || ok && m != want {
			t.Errorf("%q: %d %v", version, m, ok)
		}
	}
}

// TestLoop: it runs at once, when nudged, and again soon after an error.
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
	case runs <- nil: // one more had begun
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
	told := recorder.NewFakeRecorder(10)
	e := &events{recorder: told}
	r := &review{Request: &request{Namespace: "shop"}}
	owner := &inject.Owner{Kind: "ReplicaSet", Name: "web", UID: "u"}
	for _, result := range []inject.Result{
		{Owner: owner, Reason: inject.ReasonOptedOut}, {Owner: owner, Reason: reasonNotAPod}, {Reason: inject.ReasonRefused},
	} {
		e.pod(r, &result)
	}
	if len(told.Events) != 0 {
		t.Errorf("told of %s", <-told.Events)
	}
	e.pod(r, &inject.Result{Owner: owner, Mode: inject.Native, Profile: inject.ProfileDefault})
	e.pod(r, &inject.Result{Owner: owner, Reason: inject.ReasonRefused, Detail: strings.Repeat("x", 5000)})
	if got := <-told.Events; !strings.Contains(got, "Normal Tapped") {
		t.Error(got)
	}
	if got := <-told.Events; !strings.Contains(got, "Warning NotTapped") || len(got) > 1024 {
		t.Errorf("%d bytes: %.60s", len(got), got)
	}
	e.pod(r, &inject.Result{Owner: owner, Reason: inject.ReasonForeign, Detail: "why"})
	if got := <-told.Events; !strings.Contains(got, "Warning ForeignContainer") {
		t.Error(got)
	}
}

// TestDurationOfMuchText: whatever a namespace's duration looks like, it takes little of the ConfigMap
// that all namespaces share, and one that cannot be used takes nothing of it.
func TestDurationOfMuchText(t *testing.T) {
	for span, kept := range map[string]bool{strings.Repeat("0", 100_000) + "2h": true, "2 h": false, "-2h": false, "0s": false, strings.Repeat("x", 100_000): false} {
		c := fake.NewClientBuilder().WithObjects(labeled("shop", "duration", span)).WithReturnManagedFields().Build()
		n := known(c, newClock())
		ten := &tenure{client: c, namespaces: n, events: &events{}, log: slog.New(slog.DiscardHandler)}
		if _, err := ten.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "shop"}}); err != nil {
			t.Fatal(err)
		}
		config, err := n.memory.read(t.Context())
		if text := config.Data["shop"]; err != nil || (text != "") != kept || len(text) > 100 {
			t.Errorf("%.10s: %v, %d bytes", span, err, len(text))
		}
	}
}
