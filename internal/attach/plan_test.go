package attach

import (
	"cmp"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares a text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got {
		t.Errorf("%s differs (%v); -update writes it. Now:\n%s", file, err, got)
	}
}

func limited(memory string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
	}
}

// adds reports whether a container adds a capability.
func adds(c *corev1.EphemeralContainer) bool {
	return c.SecurityContext.Capabilities != nil && len(c.SecurityContext.Capabilities.Add) > 0
}

const podSecurity = `pods "web" is forbidden: violates PodSecurity "x:latest": non-default capabilities`

// TestPlan: for each kind of pod it is decided beforehand whether a tap is attached, and the reason is given.
func TestPlan(t *testing.T) {
	options := Options{Image: "meshtls-tap:1", For: 10 * time.Minute}
	for name, test := range map[string]struct {
		pod       *corev1.Pod
		server    *server // nil: the zero server
		container string  // of the plan; "": refused or reused
		reuse     string
		profile   string // if it is not the default
		refusal   string // part of it
		note      string // part of the notes
	}{
		"plain":                          {pod: newPod("web"), container: "meshtls-tap-1"},
		"a second one":                   {pod: newPod("web", attached("meshtls-tap-1", ended)), container: "meshtls-tap-2", note: "so this one is named meshtls-tap-2"},
		"a running one":                  {pod: newPod("web", attached("meshtls-tap-1", running())), reuse: "meshtls-tap-1", note: "which was attached before, are read. This command does not end that tap"},
		"a running one that ends sooner": {pod: newPod("web", attached("meshtls-tap-1", startedAgo(5*time.Minute))), reuse: "meshtls-tap-1", note: "that tap ends in 5m, before the 10m of --for"},
		"one whose time is over":         {pod: newPod("web", attached("meshtls-tap-1", startedAgo(time.Hour))), container: "meshtls-tap-2", note: "the time of its tap meshtls-tap-1 is up"},
		"one whose image cannot be pulled": {
			pod:       newPod("web", attached("meshtls-tap-1", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}})),
			container: "meshtls-tap-2", note: "its tap meshtls-tap-1 cannot start (ImagePullBackOff), so another one is attached",
		},
		"one that starts": {pod: newPod("web", attached("meshtls-tap-1", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}})), reuse: "meshtls-tap-1", note: "which was attached before"},
		"a sidecar": {pod: newPod("web", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "meshtls-tap", Image: "meshtls-tap:1"})
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "meshtls-tap", State: running()}}
		}), reuse: "meshtls-tap", note: "The sidecar keeps running"},
		"a sidecar that sends to Kafka": {pod: newPod("web", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "meshtls-tap", Image: "meshtls-tap:1", Env: []corev1.EnvVar{{Name: "TAP_SINK", Value: "kafka"}}})
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "meshtls-tap", State: running()}}
		}), container: "meshtls-tap-1", note: "writes no records to its log"},
		"the tenth": {pod: newPod("web", func(p *corev1.Pod) {
			for range maxEphemeral {
				attached("meshtls-tap-1", ended)(p)
			}
		}), refusal: "it already has 9 tap containers"},
		"host network":  {pod: newPod("web", func(p *corev1.Pod) { p.Spec.HostNetwork = true }), refusal: "it uses the node's network"},
		"pending":       {pod: newPod("web", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }), refusal: "it is Pending, not Running"},
		"Windows":       {pod: newPod("web", func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }), refusal: "it runs on Windows"},
		"static":        {pod: newPod("web", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }), refusal: "it is a static pod"},
		"being deleted": {pod: newPod("web", func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }), refusal: "it is being deleted"},

		"a small limit":           {pod: newPod("web", limited("48Mi")), refusal: "its memory limit is 48Mi, and a tap needs 64Mi of it"},
		"a limit, not measured":   {pod: newPod("web", limited("256Mi")), container: "meshtls-tap-1", note: "could not check whether 64Mi of its memory limit of 256Mi is left (metrics.k8s.io does not have the pod)"},
		"a limit, enough left":    {pod: newPod("web", limited("256Mi")), server: &server{usage: "128Mi"}, container: "meshtls-tap-1"},
		"a limit, almost used":    {pod: newPod("web", limited("256Mi")), server: &server{usage: "200Mi"}, refusal: "only 56Mi of its memory limit of 256Mi is left"},
		"a limit, more than used": {pod: newPod("web", limited("256Mi")), server: &server{usage: "260Mi"}, refusal: "only 0Mi of its memory limit of 256Mi is left"},

		"baseline": {pod: newPod("web"), server: &server{refuse: func(c *corev1.EphemeralContainer) *metav1.Status {
			if adds(c) {
				return forbidden(podSecurity)
			}
			return nil
		}}, container: "meshtls-tap-1", profile: "baseline"},
		"restricted": {pod: newPod("web"), server: &server{
			labels: map[string]string{enforceLabel: "restricted"}, refuse: func(*corev1.EphemeralContainer) *metav1.Status { return forbidden(podSecurity) },
		}, refusal: "Pod Security of namespace shop (restricted) does not admit a tap. The level baseline does: run `kubectl label namespace shop pod-security.kubernetes.io/enforce=baseline --overwrite`"},
		"baseline, and an earlier tap adds NET_RAW": {
			pod: newPod("web", attached("meshtls-tap-1", ended), func(p *corev1.Pod) {
				p.Spec.EphemeralContainers[0].SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_RAW"}}}
			}),
			server: &server{labels: map[string]string{enforceLabel: "restricted"}, refuse: func(*corev1.EphemeralContainer) *metav1.Status { return forbidden(podSecurity) }},
			note:   "so this one is named meshtls-tap-2", refusal: "the pod keeps its ended container meshtls-tap-1, which adds NET_RAW, and Pod Security checks the whole pod. The level privileged does: run `kubectl label namespace shop pod-security.kubernetes.io/enforce=privileged --overwrite`, which changes nothing for running pods, and set the label to restricted again",
		},
		"the pod itself is not baseline": {pod: newPod("web"), server: &server{
			labels: map[string]string{enforceLabel: "baseline"}, refuse: func(*corev1.EphemeralContainer) *metav1.Status { return forbidden(podSecurity) },
		}, refusal: "(baseline) does not admit a tap: the pod itself has settings that this level does not allow. The level privileged does"},
		"another policy": {pod: newPod("web"), server: &server{refuse: func(*corev1.EphemeralContainer) *metav1.Status {
			return &metav1.Status{Status: metav1.StatusFailure, Code: 422, Reason: metav1.StatusReasonInvalid, Message: "ValidatingAdmissionPolicy 'no-debug' denied request"}
		}}, refusal: "the cluster does not admit a tap: ValidatingAdmissionPolicy 'no-debug' denied request"},
		"no right": {pod: newPod("web"), server: &server{refuse: func(*corev1.EphemeralContainer) *metav1.Status {
			return forbidden(`pods "web" is forbidden: User "jane" cannot patch resource "pods/ephemeralcontainers" in API group "" in the namespace "shop"`)
		}}, refusal: `missing right: verb "patch" on "pods/ephemeralcontainers" in namespace "shop"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := cmp.Or(test.server, &server{})
			c := newServer(t, s, test.pod)
			p, err := c.Plan(t.Context(), []corev1.Pod{*test.pod}, options)
			if err != nil {
				t.Fatal(err)
			}
			x := &p.Pods[0]
			var container, reuse string
			if x.Container != nil {
				container = x.Container.Name
			}
			if x.Reuse != nil {
				reuse = x.Reuse.Container
			}
			if container != test.container || reuse != test.reuse {
				t.Errorf("container %q, reuse %q: want %q, %q; refusal %q", container, reuse, test.container, test.reuse, x.Refusal)
			}
			if container != "" && string(x.Profile) != cmp.Or(test.profile, "default") {
				t.Errorf("profile %q, want %q", x.Profile, test.profile)
			}
			if (x.Refusal != "") != (test.refusal != "") || !strings.Contains(x.Refusal, test.refusal) {
				t.Errorf("refusal %q, want %q", x.Refusal, test.refusal)
			}
			if notes := strings.Join(x.Notes, "\n"); (notes == "") != (test.note == "") || !strings.Contains(notes, test.note) {
				t.Errorf("notes %q, want %q", notes, test.note)
			}
			if n := s.count("PATCH /api/v1/namespaces/shop/pods/web/ephemeralcontainers"); n != 0 {
				t.Errorf("the plan has changed the pod %d times", n)
			}
		})
	}
}

// TestPlanLimits: more pods than allowed are an error, and no request is sent for them.
func TestPlanLimits(t *testing.T) {
	s := &server{}
	c := newServer(t, s)
	pods := make([]corev1.Pod, DefaultMaxPods+1)
	var many *TooManyPodsError
	if _, err := c.Plan(t.Context(), pods, Options{For: time.Minute}); !errors.As(err, &many) || many.Pods != 21 || many.Max != 20 {
		t.Errorf("%v", err)
	}
	if len(s.calls) > 0 {
		t.Errorf("%q", s.calls)
	}
}

// TestContainer: the container sets every field that would otherwise be inherited from the pod, and describes the pod to the tap.
func TestContainer(t *testing.T) {
	pod := newPod("web-5d4f-x", func(p *corev1.Pod) {
		yes := true
		p.Labels = map[string]string{"pod-template-hash": "5d4f"}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-5d4f", Controller: &yes}}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "proxy"})
	})
	c := newServer(t, &server{}, pod)
	p, err := c.Plan(t.Context(), []corev1.Pod{*pod}, Options{
		Image: "meshtls-tap:1", For: 90 * time.Second, Env: []corev1.EnvVar{{Name: "TAP_WINDOW", Value: "1m"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e := p.Pods[0].Container
	s := e.SecurityContext
	if *s.RunAsUser != 59469 || *s.RunAsGroup != 59469 || !*s.RunAsNonRoot || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || *s.Privileged ||
		s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || !slices.Equal(s.Capabilities.Add, []corev1.Capability{"NET_RAW"}) || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%+v", s)
	}
	if !e.Stdin || !e.StdinOnce || e.TTY {
		t.Error("the container does not end with its client")
	}
	for name, want := range map[string]string{
		"TAP_FOR": "1m30s", "TAP_WORKLOAD_KIND": "Deployment", "TAP_WORKLOAD_NAME": "web", "TAP_LOCAL_PROXY": "istio", "TAP_EMIT": "findings,posture,flows", "TAP_WINDOW": "1m",
	} {
		if got := variable((*corev1.Container)(&e.EphemeralContainerCommon), name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
}

// TestAnnounce: pods about which the same is said share a sentence.
func TestAnnounce(t *testing.T) {
	pods := []*corev1.Pod{
		newPod("cart"), newPod("checkout-a", attached("meshtls-tap-1", ended)), newPod("checkout-b", attached("meshtls-tap-1", ended)),
		newPod("node-agent", func(p *corev1.Pod) { p.Spec.HostNetwork = true }), newPod("pay", limited("256Mi")),
		newPod("search", attached("meshtls-tap-3", running())), newPod("tiny", attached("meshtls-tap-1", ended), limited("48Mi")),
	}
	c := newServer(t, &server{}, pods...)
	var list []corev1.Pod
	for _, p := range pods {
		list = append(list, *p)
	}
	p, err := c.Plan(t.Context(), list, Options{Image: "meshtls-tap:1", For: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "announcement.txt", strings.Join(p.Announce(), "\n")+"\n")
}
