package node_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// A gap has two times: how long a pod was not Ready, and how long its Service had no ready endpoint.
type gap struct{ unready, out time.Duration }

// watched calls do. Then it measures the gap of a pod and its Service, until done returns nil, the pod is Ready and the
// Service has a ready endpoint.
func watched(t *testing.T, c *kit.Cluster, ns, pod, service string, do func(), done func(*corev1.Pod) error) gap {
	t.Helper()
	var g gap
	last := time.Now()
	do()
	kit.Eventually(t, kit.Limit, "the pod to be Ready again", func() error {
		p := c.Pod(t, ns, pod)
		ready, in := kit.IsReady(p), served(t, c, ns, service)
		now := time.Now()
		if !ready {
			g.unready += now.Sub(last)
		}
		if !in {
			g.out += now.Sub(last)
		}
		last = now
		if err := done(p); err != nil {
			return err
		}
		if !ready || !in {
			return fmt.Errorf("ready %v, in its Service %v", ready, in)
		}
		return nil
	})
	return g
}

// served reports whether the Service has a ready endpoint.
func served(t *testing.T, c *kit.Cluster, ns, service string) bool {
	t.Helper()
	slices, err := c.DiscoveryV1().EndpointSlices(ns).List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slices.Items {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				return true
			}
		}
	}
	return false
}

// service is a Service whose pods have the label app=web.
const service = `{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}`

func inService(p *corev1.Pod) { p.Labels = map[string]string{"app": "web"} }

// withService runs a tapped pod with a Service.
func withService(t *testing.T, c *kit.Cluster, ns string, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	c.Apply(t, ns, service)
	pod := run(t, c, ns, kit.NewPod("web", append(change, inService)...))
	kit.Eventually(t, kit.Limit, "the Service to have the pod", func() error {
		if !served(t, c, ns, "web") {
			return errors.New("it has none")
		}
		return nil
	})
	return pod
}

// restarted returns a function that returns nil once the tap has been restarted n times. The function fails the test
// if the application has been restarted.
func restarted(t *testing.T, n int32) func(*corev1.Pod) error {
	t.Helper()
	return func(p *corev1.Pod) error {
		if s := status(p, "app"); s == nil || s.RestartCount != 0 {
			t.Fatalf("the application was restarted: %+v", s)
		}
		if s := status(p, kit.Tap); s == nil || s.RestartCount < n || s.State.Running == nil {
			return fmt.Errorf("the tap: %+v", s)
		}
		return nil
	}
}

// TestTapKilled: after the tap was killed, the application continues, the tap is restarted once, and the pod is Ready
// as soon as the tap is. For comparison, an idle native sidecar of another pod is killed at the same time.
func TestTapKilled(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, tapped)
	pod := withService(t, c, ns)
	beside := run(t, c, c.Namespace(t, nil), kit.NewPod("beside", withIdle))
	both := []string{process(t, c, pod, kit.Tap), process(t, c, beside, "idle")}
	var others time.Duration
	last := time.Now()
	g := watched(t, c, ns, "web", "web", func() { onNode(t, c, append([]string{"kill", "-9"}, both...)...) }, func(p *corev1.Pod) error {
		b := c.Pod(t, beside.Namespace, beside.Name)
		now := time.Now()
		if !kit.IsReady(b) {
			others += now.Sub(last)
		}
		last = now
		if s := status(b, "idle"); s == nil || s.RestartCount < 1 || !kit.IsReady(b) {
			return fmt.Errorf("the idle sidecar: %+v", s)
		}
		return restarted(t, 1)(p)
	})
	t.Logf("tap killed: pod unready for %v, out of its Service for %v; with a sidecar that does nothing unready for %v",
		g.unready.Round(100*time.Millisecond), g.out.Round(100*time.Millisecond), others.Round(100*time.Millisecond))
	if s := status(c.Pod(t, ns, "web"), kit.Tap); s == nil || s.RestartCount != 1 {
		t.Errorf("the tap was restarted again: %+v", s)
	}
	get(t, c, ns, "client", "http://"+pod.Status.PodIP+":8080/", 1)
	c.Logged(t, kit.Limit, ns, "web", kit.Tap, `"plaintext-edge"`)
}

// withIdle adds an idle native sidecar to a pod.
func withIdle(p *corev1.Pod) {
	always := corev1.ContainerRestartPolicyAlways
	p.Spec.InitContainers = kit.Spec("pause").Containers
	p.Spec.InitContainers[0].Name, p.Spec.InitContainers[0].RestartPolicy = "idle", &always
}

// TestTapOutOfMemory: if memory runs out, the kernel kills the tap and not the application.
func TestTapOutOfMemory(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, tapped)
	pod := withService(t, c, ns)
	pid := process(t, c, pod, kit.Tap)
	// A process in the tap's control group allocates 200 MB, which exceeds the group's limit. The kernel kills the
	// tap because of its OOM score. The script first checks that the group and its limit exist. Otherwise the machine
	// would run out of memory.
	hog := fmt.Sprintf(`
		v1=$(sed -n 's/^[0-9]*:memory://p' /proc/%[1]s/cgroup) v2=$(sed -n 's/^0:://p' /proc/%[1]s/cgroup)
		d=/sys/fs/cgroup/memory$v1 limit=memory.limit_in_bytes
		[ -n "$v1" ] || { d=/sys/fs/cgroup$v2; limit=memory.max; }
		[ "$(cat "$d/$limit")" = 134217728 ] || exit 3
		echo $$ > "$d/cgroup.procs" || exit 4
		head -c 200000000 /dev/zero | tail`, pid)
	g := watched(t, c, ns, "web", "web", func() {
		if out, err := nodeCommand(t, c, "sh", "-c", hog); err == nil || !strings.Contains(err.Error(), "137") && !strings.Contains(err.Error(), "killed") {
			t.Fatalf("nothing ran out of memory: %v %s", err, out)
		}
	}, restarted(t, 1))
	s := status(c.Pod(t, ns, "web"), kit.Tap)
	if s.LastTerminationState.Terminated == nil {
		t.Fatalf("the tap has not ended: %+v", s)
	}
	t.Logf("tap out of memory (%s): pod unready for %v, out of its Service for %v", s.LastTerminationState.Terminated.Reason,
		g.unready.Round(100*time.Millisecond), g.out.Round(100*time.Millisecond))
}

// TestImageNotSeenToRun: with the image check, no pod gets a tap whose image cannot be pulled. The upgrade stops, and
// the old replicas continue with the old image.
func TestImageNotSeenToRun(t *testing.T) {
	long(t)
	c := installed(t)
	halted(t, c, func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return notPulled(&s) })
	}, "--set", "tap.image.tag=missing")
	ns := c.Namespace(t, tapped)
	pod := run(t, c, ns, kit.NewPod("web"))
	if found, _ := kit.Container(pod, kit.Tap); found == nil || strings.HasSuffix(found.Image, "missing") {
		t.Errorf("its tap is %+v", found)
	}
}

// TestNamespacesImage: if a namespace requests an image that cannot be pulled, no pod gets it.
func TestNamespacesImage(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, tapped)
	annotate(t, c, ns, "meshtls-tap/image", registry+"/meshtls-tap:absent")
	kit.Eventually(t, kit.Limit, "a warning of the image", func() error {
		r := c.DryRun(t, ns, kit.NewPod("p"))
		if r.Err != nil {
			return r.Err
		}
		found, _ := kit.Container(r.Pod, kit.Tap)
		if found == nil || strings.HasSuffix(found.Image, "absent") || !strings.Contains(strings.Join(r.Warnings, " "), "was not seen to run") {
			return fmt.Errorf("%+v %q", found, r.Warnings)
		}
		return nil
	})
	run(t, c, ns, kit.NewPod("web"))
}

// notPulled reports whether a container waits for an image that does not exist.
func notPulled(s *corev1.ContainerStatus) bool {
	return s.State.Waiting != nil && (strings.HasPrefix(s.State.Waiting.Reason, "ErrImage") || s.State.Waiting.Reason == "ImagePullBackOff")
}

// badGrace has Helm's arguments for a value that the tap rejects and the webhook does not check.
var badGrace = []string{"--set", "tap.extraEnv[0].name=TAP_GRACE,tap.extraEnv[0].value=lots"}

// TestBadSettings: if the tap rejects the settings, the image check finds this out, and no other pod gets them.
func TestBadSettings(t *testing.T) {
	long(t)
	c := installed(t)
	halted(t, c, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed }, badGrace...)
	ns := c.Namespace(t, tapped)
	pod := run(t, c, ns, kit.NewPod("web"))
	if found, _ := kit.Container(pod, kit.Tap); found == nil || kit.Env(found, "TAP_GRACE") != "" {
		t.Errorf("its tap is %+v", found)
	}
}

// halted upgrades the release. Then it waits until three conditions are met: no returns true for a pod that tries the
// tap's image, a new replica runs, and an old replica is Ready. It fails the test if the new replica becomes Ready.
func halted(t *testing.T, c *kit.Cluster, no func(*corev1.Pod) bool, values ...string) {
	t.Helper()
	changes()
	before := map[string]bool{}
	for _, p := range c.Selected(t, release, selector, 2) {
		before[p.Name] = true
	}
	begin := time.Now()
	helm(t, c, "helm4", "upgrade", release, values...)
	tries := "app.kubernetes.io/component=image-check"
	kit.Eventually(t, kit.Limit, "the upgrade to come to a halt", func() error {
		pods, err := c.CoreV1().Pods(release).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		ready, waiting := 0, 0
		for i := range pods.Items {
			p := &pods.Items[i]
			switch s := status(p, "webhook"); {
			case kit.IsReady(p) && !before[p.Name]:
				t.Fatalf("the new replica %s is Ready", p.Name)
			case kit.IsReady(p):
				ready++
			case s != nil && s.State.Running != nil && !before[p.Name]:
				waiting++
			}
		}
		found, err := c.CoreV1().Pods(release).List(t.Context(), metav1.ListOptions{LabelSelector: tries})
		if err != nil {
			return err
		}
		if ready == 0 || waiting == 0 || !slices.ContainsFunc(found.Items, func(p corev1.Pod) bool { return no(&p) }) {
			return fmt.Errorf("%d replicas of before are Ready, %d new ones run, %d images were tried", ready, waiting, len(found.Items))
		}
		return nil
	})
	t.Logf("helm upgrade %s came to a halt after %v", strings.Join(values, " "), time.Since(begin).Round(100*time.Millisecond))
}

// TestUnusableSettings: without the image check, a pod becomes Ready even if its tap rejects the settings. The tap
// starts without these settings and reports that.
func TestUnusableSettings(t *testing.T) {
	long(t)
	c := installed(t, append([]string{"--set", "tap.imageCheck=false"}, badGrace...)...)
	ns := c.Namespace(t, tapped)
	pod := run(t, c, ns, kit.NewPod("web"))
	if found, _ := kit.Container(pod, kit.Tap); found == nil || kit.Env(found, "TAP_GRACE") != "lots" {
		t.Fatalf("its tap is %+v", found)
	}
	t.Logf("the tap says: %.300s", c.Logged(t, kit.Limit, ns, "web", kit.Tap, "TAP_GRACE=lots: expected a duration such as 3s; 3s is used instead"))
	c.Logged(t, kit.Limit, ns, "web", kit.Tap, `"degraded"`)
	if s := status(c.Pod(t, ns, "web"), kit.Tap); s == nil || s.RestartCount != 0 || s.State.Running == nil {
		t.Errorf("the tap: %+v", s)
	}
}

// TestSecretsAbsent: if there are no brokers and no Secrets for them, the pod is Ready, and the tap reports what is
// missing.
func TestSecretsAbsent(t *testing.T) {
	long(t)
	c := installed(t, "--set", "kafka.brokers={10.98.0.1:1},kafka.tls.enabled=true,kafka.tls.ca.secretName=nope,kafka.tls.clientCertificate.secretName=nope,"+
		"kafka.sasl.mechanism=scram-sha-512,kafka.sasl.username=tap,kafka.sasl.password.secretName=nope")
	ns := c.Namespace(t, tapped)
	begin := time.Now()
	run(t, c, ns, kit.NewPod("web"))
	t.Logf("Ready after %v", time.Since(begin).Round(10*time.Millisecond))
	t.Logf("the tap says: %.300s", c.Logged(t, kit.Limit, ns, "web", kit.Tap, "records are not delivered"))
	if s := status(c.Pod(t, ns, "web"), kit.Tap); s == nil || s.RestartCount != 0 || s.State.Running == nil {
		t.Errorf("the tap: %+v", s)
	}
}

// TestImageMissing: without the image check, a missing image keeps a pod from starting in mode native, as documented.
// In mode container it does not.
func TestImageMissing(t *testing.T) {
	long(t)
	for _, mode := range []string{"native", "container"} {
		t.Run(mode, func(t *testing.T) {
			c := installed(t, "--set", "tap.image.tag=missing,tap.imageCheck=false,tap.mode="+mode)
			ns := c.Namespace(t, tapped)
			c.Apply(t, ns, service)
			if r := c.Create(t, ns, kit.NewPod("web", inService), metav1.CreateOptions{}); r.Err != nil {
				t.Fatal(r.Err)
			}
			kit.Eventually(t, kit.Limit, "the tap to be missed", func() error {
				p := c.Pod(t, ns, "web")
				s := status(p, kit.Tap)
				if s == nil || !notPulled(s) {
					return fmt.Errorf("%+v", s)
				}
				app := status(p, "app")
				runs := app != nil && app.State.Running != nil
				if mode == "container" && !runs {
					return fmt.Errorf("the application does not run: %+v", app)
				}
				if mode == "native" && runs {
					t.Fatal("the application runs: then this limit is gone, and the documentation wrong")
				}
				return nil
			})
			t.Logf("mode %s, image missing: application started: %v, pod Ready: %v, in its Service: %v",
				mode, mode == "container", kit.IsReady(c.Pod(t, ns, "web")), served(t, c, ns, "web"))
		})
	}
}
