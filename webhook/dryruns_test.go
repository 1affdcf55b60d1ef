package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// A cluster responds to dry runs like an API server with webhooks and policies.
type cluster struct {
	cfg     *inject.Config
	answers bool                     // the API server calls the tap's webhook
	after   func(*corev1.Pod)        // another webhook, which is called after the tap's
	policy  func(*corev1.Pod) string // why a pod is refused, or ""
	err     error                    // if not nil, every call returns it
	calls   atomic.Int32
}

func (c *cluster) create(_ context.Context, pod *corev1.Pod) error {
	c.calls.Add(1)
	if c.err != nil {
		return c.err
	}
	made := pod.DeepCopy()
	if c.answers && pod.Labels[inject.Label] != inject.Disabled {
		raw, err := json.Marshal(pod)
		if err != nil {
			return err
		}
		yes := true
		r := &review{}
		r.Request = &request{DryRun: &yes, Object: raw}
		profile, noNative, ok := dryRunProfile(r)
		if !ok {
			return errors.New("no profile requested")
		}
		ns := neutral(&inject.Namespace{Name: pod.Namespace, NoNative: noNative})
		ns.Labels = map[string]string{inject.Label: inject.Enabled}
		out, err := patched(raw, inject.Tap(withProfile(c.cfg, profile), ns, raw, time.Now()).Patch)
		if err != nil {
			return err
		}
		made = out
	}
	if c.after != nil {
		c.after(made)
	}
	if why := c.policy(made); why != "" {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "meshtls-tap-probe-", errors.New(why))
	}
	*pod = *made
	return nil
}

func admitAll(*corev1.Pod) string { return "" }

// refuse returns a policy that refuses pods whose tap satisfies f.
func refuse(f func(*corev1.Container) bool) func(*corev1.Pod) string {
	return func(p *corev1.Pod) string {
		if c, _ := tapOf(p); c != nil && f(c) {
			return "policy x: no"
		}
		return ""
	}
}

func addsRaw(c *corev1.Container) bool { return c.SecurityContext.Capabilities != nil }
func fixedUser(c *corev1.Container) bool {
	return c.SecurityContext.RunAsUser != nil
}

// forget removes restartPolicy from init containers, as a webhook with an older API does.
func forget(p *corev1.Pod) {
	for i := range p.Spec.InitContainers {
		p.Spec.InitContainers[i].RestartPolicy = nil
	}
}

// validHooks refuses a hook of an init container that is not a native sidecar, as the API server does.
func validHooks(p *corev1.Pod) string {
	for _, c := range p.Spec.InitContainers {
		if c.Lifecycle != nil && c.RestartPolicy == nil {
			return `Pod "p" is invalid: spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always`
		}
	}
	return ""
}

func dryRunsOn(c *cluster, change func(*inject.Config)) *dryRuns {
	settings, _ := inject.ParseSettings(nil)
	c.cfg = &inject.Config{Settings: settings, Image: "tap:1", Own: "tap", Profile: inject.ProfileAuto, ServerMinor: 37, TenantMay: []string{"*"}}
	if change != nil {
		change(c.cfg)
	}
	return &dryRuns{
		create: c.create, live: fake.NewClientBuilder().Build(), cfg: c.cfg, log: slog.New(slog.DiscardHandler), now: time.Now,
		refused: map[string]refusal{}, known: map[string]*admission{}, running: map[string]chan struct{}{},
	}
}

func TestDryRuns(t *testing.T) {
	all := inject.Profiles()
	admitted := func(v *admission) (out []inject.Profile) {
		for _, p := range all {
			if v.refusals[p] == "" {
				out = append(out, p)
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		*cluster
		config   func(*inject.Config)
		labels   map[string]string
		profile  string // the namespace's annotation
		want     []inject.Profile
		noNative bool
		calls    int32
		refusal  string // a part of the refusal of the default profile
	}{
		"all is well":                  {cluster: &cluster{answers: true, policy: admitAll}, want: all[:1], calls: 1},
		"the webhook is not there yet": {cluster: &cluster{policy: admitAll}, want: all[:1], calls: 2},
		"a fixed user is refused":      {cluster: &cluster{answers: true, policy: refuse(fixedUser)}, want: []inject.Profile{inject.ProfileOpenShift}, calls: 2, refusal: "policy x: no"},
		"adding is refused":            {cluster: &cluster{answers: true, policy: refuse(addsRaw)}, want: []inject.Profile{inject.ProfileBaseline}, calls: 3, refusal: "policy x: no"},
		"taps are refused": {cluster: &cluster{answers: true, policy: refuse(func(*corev1.Container) bool { return true })}, calls: 4,
			refusal: "policy x: no"},
		"pods are refused": {cluster: &cluster{answers: true, policy: func(*corev1.Pod) string { return "no pods" }}, calls: 4, refusal: "no pods"},
		"quota is full": {cluster: &cluster{answers: true, policy: func(*corev1.Pod) string {
			return "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
		}}, want: all[:1], calls: 2},
		"one profile":              {cluster: &cluster{answers: true, policy: admitAll}, config: func(c *inject.Config) { c.Profile = inject.ProfileRoot }, want: all[3:], calls: 1, refusal: untried},
		"the namespace's profile":  {cluster: &cluster{answers: true, policy: admitAll}, profile: "baseline", want: []inject.Profile{inject.ProfileBaseline}, calls: 1, refusal: untried},
		"no profile of that name":  {cluster: &cluster{answers: true, policy: admitAll}, profile: "best", want: all[:1], calls: 1},
		"pods may choose":          {cluster: &cluster{answers: true, policy: refuse(addsRaw)}, config: func(c *inject.Config) { c.Allowed = []string{"*"} }, want: []inject.Profile{inject.ProfileBaseline}, calls: 4, refusal: "policy x: no"},
		"sidecars are spoilt":      {cluster: &cluster{answers: true, after: forget, policy: admitAll}, want: all[:1], noNative: true, calls: 2},
		"with a hook, spoilt":      {cluster: &cluster{answers: true, after: forget, policy: validHooks}, config: func(c *inject.Config) { c.Version = "1" }, want: all[:1], noNative: true, calls: 2},
		"spoilt, and picky":        {cluster: &cluster{answers: true, after: forget, policy: refuse(addsRaw)}, want: []inject.Profile{inject.ProfileBaseline}, noNative: true, calls: 4, refusal: "policy x: no"},
		"spoilt, as containers":    {cluster: &cluster{answers: true, after: forget, policy: admitAll}, config: func(c *inject.Config) { c.Mode = inject.Container }, want: all[:1], calls: 1},
		"no dry runs":              {cluster: &cluster{err: apierrors.NewBadRequest(`admission webhook "x" does not support dry run`)}, want: all[:1], calls: 2},
		"no dry runs, baseline":    {cluster: &cluster{err: apierrors.NewBadRequest(`admission webhook "x" does not support dry run`)}, labels: level("baseline"), want: []inject.Profile{inject.ProfileBaseline}, calls: 6, refusal: "enforce=baseline forbids"},
		"no dry runs, restricted":  {cluster: &cluster{err: apierrors.NewBadRequest(`admission webhook "x" does not support dry run`)}, labels: level("restricted"), calls: 4, refusal: "enforce=restricted"},
		"no right to do a dry run": {cluster: &cluster{err: forbidden}, want: all[:1], calls: 2},
	} {
		t.Run(name, func(t *testing.T) {
			p := dryRunsOn(c.cluster, c.config)
			ns := &inject.Namespace{Name: "shop", Labels: c.labels}
			if c.profile != "" {
				ns.Annotations = map[string]string{"meshtls-tap/profile": c.profile}
			}
			v, err := p.of(t.Context(), ns)
			if err != nil {
				t.Fatal(err)
			}
			if got := admitted(v); !slices.Equal(got, c.want) || v.noNative != c.noNative {
				t.Errorf("admitted %v, no native %v; want %v, %v: %v", got, v.noNative, c.want, c.noNative, v.refusals)
			}
			if got := v.refusals[inject.ProfileDefault]; !strings.Contains(got, c.refusal) {
				t.Errorf("refusal %q, want %q", got, c.refusal)
			}
			if got := c.cluster.calls.Load(); got != c.calls {
				t.Errorf("%d calls, want %d", got, c.calls)
			}
		})
	}
}

// TestNoDryRuns: if dry runs are disabled, no pod is created. Taps are refused because of the namespace's label, or
// after a pod was refused because of its tap.
func TestNoDryRuns(t *testing.T) {
	k := newClock()
	for name, c := range map[string]struct {
		labels  map[string]string
		refused bool
		after   time.Duration
		want    inject.Profile // the admitted profile; "": none
	}{
		"no label":              {nil, false, 0, inject.ProfileDefault},
		"baseline":              {level("baseline"), false, 0, inject.ProfileBaseline},
		"restricted":            {level("restricted"), false, 0, ""},
		"a pod was refused":     {nil, true, time.Minute, ""},
		"one was, long ago":     {nil, true, freshness, inject.ProfileDefault},
		"one was, and baseline": {level("baseline"), true, time.Minute, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cl := &cluster{answers: true, policy: admitAll}
			p := dryRunsOn(cl, nil)
			p.off, p.now = true, k.now
			ns := &inject.Namespace{Name: "shop", Labels: c.labels}
			if _, err := p.of(t.Context(), ns); err != nil {
				t.Fatal(err)
			}
			if c.refused {
				p.storeRefusal("shop", "policy x: no")
				k.forward(c.after)
			}
			v, err := p.of(t.Context(), ns)
			if err != nil || cl.calls.Load() != 0 {
				t.Fatalf("%v, %d dry runs", err, cl.calls.Load())
			}
			for _, profile := range inject.AutoProfiles() {
				if v.refusals[profile] == "" {
					if c.want != profile {
						t.Errorf("admitted %s, want %q: %v", profile, c.want, v.refusals)
					}
					return
				}
			}
			if c.want != "" {
				t.Errorf("admitted none, want %s: %v", c.want, v.refusals)
			}
		})
	}
}

func level(name string) map[string]string {
	return map[string]string{"pod-security.kubernetes.io/enforce": name}
}

var forbidden = apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New(`User "x" cannot create resource "pods" in API group "" in the namespace "shop"`))

// TestDryRunByExample: if the webhook's own pod is refused even without a tap, a pod of the namespace is used.
func TestDryRunByExample(t *testing.T) {
	c := &cluster{answers: true, policy: func(p *corev1.Pod) string {
		if p.Labels["team"] == "" {
			return "policy team: a label is missing"
		}
		return refuse(addsRaw)(p)
	}}
	p := dryRunsOn(c, nil)
	ns := &inject.Namespace{Name: "shop"}
	p.live = fake.NewClientBuilder().WithObjects(
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}, Spec: corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Name: "a"}}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b", Labels: map[string]string{"team": "x"}}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "a"}}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "c"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}},
	).Build()
	v, err := p.of(t.Context(), ns)
	if err != nil || v.refusals[inject.ProfileBaseline] != "" || v.refusals[inject.ProfileDefault] == "" {
		t.Errorf("%v: %+v", err, v)
	}
}

// TestDryRunsTogether: concurrent callers share one dry run. Another dry run is done when a property that matters
// changes.
func TestDryRunsTogether(t *testing.T) {
	c := &cluster{answers: true, policy: admitAll}
	p := dryRunsOn(c, nil)
	k := newClock()
	p.now = k.now
	ns := &inject.Namespace{Name: "shop", Labels: map[string]string{"a": "b"}}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := p.of(t.Context(), ns); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	asked := func(want int32, ns *inject.Namespace) {
		t.Helper()
		if _, err := p.of(t.Context(), ns); err != nil {
			t.Error(err)
		}
		if got := c.calls.Load(); got != want {
			t.Errorf("asked %d times, want %d", got, want)
		}
	}
	asked(1, ns)
	asked(1, &inject.Namespace{Name: "shop", Labels: ns.Labels, Annotations: map[string]string{"unrelated": "x"}})
	relabelled := &inject.Namespace{Name: "shop", Labels: level("baseline")}
	asked(2, relabelled)
	asked(2, relabelled)
	k.forward(freshness)
	asked(3, relabelled)
	c.err = apierrors.NewInternalError(errors.New("etcd is away"))
	k.forward(freshness)
	asked(4, relabelled) // the dry run fails, so the earlier result remains
	if _, err := p.of(t.Context(), ns); err == nil {
		t.Error("no error although nothing is known")
	}
	p.forget("shop")
	if _, err := p.of(t.Context(), relabelled); err == nil {
		t.Error("known although forgotten")
	}
}

// TestDryRunProfile: only a dry run can request a profile by the annotation.
func TestDryRunProfile(t *testing.T) {
	yes, no := true, false
	object := func(v string) json.RawMessage {
		return json.RawMessage(`{"metadata":{"annotations":{"meshtls-tap/probe":"` + v + `"}}}`)
	}
	for _, c := range []struct {
		dry      *bool
		object   json.RawMessage
		profile  inject.Profile
		noNative bool
		ok       bool
	}{
		{&yes, object("baseline"), inject.ProfileBaseline, false, true},
		{&yes, object("root/container"), inject.ProfileRoot, true, true},
		{&yes, object("auto"), "", false, false},
		{&yes, object(""), "", false, false},
		{&yes, json.RawMessage(`{}`), "", false, false},
		{&yes, json.RawMessage(`[`), "", false, false},
		{&no, object("baseline"), "", false, false},
		{nil, object("baseline"), "", false, false},
	} {
		r := &review{}
		r.Request = &request{DryRun: c.dry, Object: c.object}
		profile, noNative, ok := dryRunProfile(r)
		if ok != c.ok || ok && (profile != c.profile || noNative != c.noNative) {
			t.Errorf("%s: %s %v %v", c.object, profile, noNative, ok)
		}
	}
}
