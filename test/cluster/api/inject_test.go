package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// tap returns the pod's tap. It fails the test if the pod has no tap.
func tap(t *testing.T, r kit.Created) *corev1.Container {
	t.Helper()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	found, _ := kit.Container(r.Pod, kit.Tap)
	if found == nil {
		t.Fatalf("no tap; warnings %q", r.Warnings)
	}
	return found
}

// TestInjected checks the properties of a tapped pod.
func TestInjected(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	r := c.Create(t, ns, kit.NewPod("web", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "prepare", Image: kit.ProbeImage}}
	}), metav1.CreateOptions{})
	found := tap(t, r)
	if r.Pod.Spec.InitContainers[0].Name != kit.Tap {
		t.Errorf("the tap is not first: %s", names(r.Pod))
	}
	if found.RestartPolicy == nil || *found.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("the tap is no native sidecar")
	}
	s := found.SecurityContext
	if s == nil || s.Capabilities == nil || fmt.Sprint(s.Capabilities.Drop, s.Capabilities.Add) != "[ALL] [NET_RAW]" ||
		!*s.RunAsNonRoot || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("securityContext: %+v", s)
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if found.Resources.Requests[name] == (resource.Quantity{}) {
			t.Errorf("resources: no request of %s", name)
		}
	}
	if m := found.Resources.Limits[corev1.ResourceMemory]; m.String() != "128Mi" {
		t.Errorf("memory limit: %s", m.String())
	}
	if found.LivenessProbe != nil || found.ReadinessProbe != nil || found.StartupProbe != nil {
		t.Error("the tap has a probe: it could make its pod unready")
	}
	if s := status(t, r.Pod); s.Mode != "native" || s.Profile != "default" {
		t.Errorf("status: %+v", s)
	}
	for _, v := range r.Pod.Spec.Volumes {
		if v.Secret != nil && (v.Secret.Optional == nil || !*v.Secret.Optional) || v.ConfigMap != nil && (v.ConfigMap.Optional == nil || !*v.ConfigMap.Optional) {
			t.Errorf("volume %s is not optional: the pod would wait for it", v.Name)
		}
	}
}

func names(p *corev1.Pod) string {
	var all []string
	for _, c := range p.Spec.InitContainers {
		all = append(all, "init "+c.Name)
	}
	for _, c := range p.Spec.Containers {
		all = append(all, c.Name)
	}
	return strings.Join(all, ", ")
}

// TestWays: pods that are created in different ways are tapped.
func TestWays(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	t.Run("bare pod", func(t *testing.T) { tap(t, c.Create(t, ns, kit.NewPod("bare"), metav1.CreateOptions{})) })
	t.Run("generateName", func(t *testing.T) {
		r := c.Create(t, ns, kit.NewPod("", func(p *corev1.Pod) { p.GenerateName = "some-" }), metav1.CreateOptions{})
		tap(t, r)
		if !strings.HasPrefix(r.Pod.Name, "some-") {
			t.Errorf("its name is %q", r.Pod.Name)
		}
	})
	t.Run("dry run", func(t *testing.T) {
		tap(t, c.DryRun(t, ns, kit.NewPod("dry")))
		if _, err := c.CoreV1().Pods(ns).Get(t.Context(), "dry", metav1.GetOptions{}); err == nil {
			t.Error("it was stored")
		}
	})
	t.Run("server-side apply, twice", func(t *testing.T) {
		const pod = `{apiVersion: v1, kind: Pod, metadata: {name: applied}, spec: {containers: [{name: app, image: "meshtls.test/probe:1"}]}}`
		c.Apply(t, ns, pod, "--server-side")
		c.Apply(t, ns, pod, "--server-side")
		if p := c.Pod(t, ns, "applied"); names(p) != "init meshtls-tap, app" {
			t.Errorf("it has %s", names(p))
		}
	})
	t.Run("client-side apply, twice", func(t *testing.T) {
		const pod = `{apiVersion: v1, kind: Pod, metadata: {name: old-way}, spec: {containers: [{name: app, image: "meshtls.test/probe:1"}]}}`
		c.Apply(t, ns, pod)
		if out := c.Apply(t, ns, pod); !strings.Contains(out, "unchanged") && !strings.Contains(out, "configured") {
			t.Errorf("the second said %s", out)
		}
	})
}

// TestOwners: the tap gets the name of the owner that users know, not of the ReplicaSet between the owner and the
// pod.
func TestOwners(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	for name, test := range map[string]struct {
		pod  func(*corev1.Pod)
		want string
	}{
		"Deployment": {func(p *corev1.Pod) {
			owned("apps/v1", "ReplicaSet", "web-6d4cf56db6")(p)
			p.Labels = map[string]string{"pod-template-hash": "6d4cf56db6"}
		}, "Deployment web"},
		"StatefulSet": {owned("apps/v1", "StatefulSet", "db"), "StatefulSet db"},
		"DaemonSet":   {owned("apps/v1", "DaemonSet", "agent"), "DaemonSet agent"},
		"Job":         {owned("batch/v1", "Job", "once"), "Job once"},
	} {
		t.Run(name, func(t *testing.T) {
			found := tap(t, c.DryRun(t, ns, kit.NewPod("p", test.pod)))
			if got := kit.Env(found, "TAP_WORKLOAD_KIND") + " " + kit.Env(found, "TAP_WORKLOAD_NAME"); got != test.want {
				t.Errorf("the tap's workload is %q, want %q", got, test.want)
			}
		})
	}
}

// TestPodSecurity: at each level of Pod Security a pod is admitted. It is tapped if the level admits a profile.
func TestPodSecurity(t *testing.T) {
	c, _ := installed(t)
	for level, want := range map[string]string{"privileged": "default", "baseline": "baseline", "restricted": ""} {
		t.Run(level, func(t *testing.T) {
			ns := c.Namespace(t, map[string]string{label: "enabled", "pod-security.kubernetes.io/enforce": level})
			kit.Eventually(t, kit.Limit, "profile "+want, func() error {
				r := c.DryRun(t, ns, kit.NewPod("p", kit.Restricted))
				if r.Err != nil {
					return r.Err
				}
				found, _ := kit.Container(r.Pod, kit.Tap)
				switch {
				case want == "" && found != nil:
					return fmt.Errorf("it is tapped, as %+v", status(t, r.Pod))
				case want == "":
					return nil
				case found == nil:
					return fmt.Errorf("it is not tapped: %q", r.Warnings)
				case status(t, r.Pod).Profile != want:
					return fmt.Errorf("profile %s", status(t, r.Pod).Profile)
				}
				return nil
			})
		})
	}
}

// TestPolicyComesAndGoes: when a new policy refuses tapped pods, the webhook notices this and names the policy in the
// reason. When the policy is deleted, the webhook notices that too.
func TestPolicyComesAndGoes(t *testing.T) {
	c, h := installed(t)
	ns := c.Namespace(t, map[string]string{label: "enabled", "policy": "no-raw"})
	h.works(t, c, ns)
	policy(t, c, "")
	begin, refused := time.Now(), time.Duration(0)
	kit.Eventually(t, kit.Limit, "the refuser to be named", func() error {
		r := c.DryRun(t, ns, kit.NewPod("p"))
		if r.Err != nil {
			refused = time.Since(begin)
			return r.Err
		}
		if !strings.Contains(strings.Join(r.Warnings, " "), "no-raw") {
			return fmt.Errorf("%q", r.Warnings)
		}
		return nil
	})
	t.Logf("a new policy was noticed after %v; until %v after it came, tapped pods were refused by it",
		time.Since(begin).Round(100*time.Millisecond), refused.Round(100*time.Millisecond))
	if err := c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(t.Context(), "no-raw", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.works(t, c, ns)
}

// TestResources: a tap does not change how the scheduler, autoscalers and limit ranges treat a pod.
func TestResources(t *testing.T) {
	c, _ := installed(t)
	t.Run("a Guaranteed pod stays Guaranteed", func(t *testing.T) {
		ns := c.Namespace(t, tapped)
		r := c.Create(t, ns, kit.NewPod("p", needs("100m", "64Mi")), metav1.CreateOptions{})
		found := tap(t, r)
		for name, limit := range found.Resources.Limits {
			if request := found.Resources.Requests[name]; request.Cmp(limit) != 0 {
				t.Errorf("%s: request %s, limit %s", name, request.String(), limit.String())
			}
		}
		if r.Pod.Status.QOSClass != corev1.PodQOSGuaranteed {
			t.Errorf("QoS class %s", r.Pod.Status.QOSClass)
		}
	})
	t.Run("a LimitRange that would give it a whole CPU", func(t *testing.T) {
		ns := c.Namespace(t, tapped)
		c.Apply(t, ns, `{apiVersion: v1, kind: LimitRange, metadata: {name: l}, spec: {limits: [{type: Container, max: {cpu: "1", memory: 1Gi}, min: {cpu: 50m, memory: 16Mi}, default: {cpu: "1", memory: 1Gi}}]}}`)
		kit.Eventually(t, kit.Limit, "the tap to fit the range", func() error {
			r := c.DryRun(t, ns, kit.NewPod("p", needs("100m", "64Mi")))
			if r.Err != nil {
				return r.Err
			}
			found, _ := kit.Container(r.Pod, kit.Tap)
			if found == nil {
				return fmt.Errorf("it is not tapped: %q", r.Warnings)
			}
			if cpu := found.Resources.Requests[corev1.ResourceCPU]; cpu.MilliValue() < 50 || cpu.MilliValue() > 500 {
				return fmt.Errorf("it asks for %s CPU", cpu.String())
			}
			return nil
		})
	})
	t.Run("a quota with room", func(t *testing.T) {
		ns := c.Namespace(t, tapped)
		quota(t, c, ns)
		patch := `{"spec":{"hard":{"limits.memory":"10Gi","requests.cpu":"10"}}}`
		if _, err := c.CoreV1().ResourceQuotas(ns).Patch(t.Context(), "q", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		patch = `{"status":{"hard":{"limits.memory":"10Gi","requests.cpu":"10"}}}`
		if _, err := c.CoreV1().ResourceQuotas(ns).Patch(t.Context(), "q", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		kit.Eventually(t, kit.Limit, "the pod to be admitted and tapped", func() error {
			r := c.DryRun(t, ns, kit.NewPod("p", needs("100m", "50Mi")))
			if r.Err != nil {
				return r.Err
			}
			if found, _ := kit.Container(r.Pod, kit.Tap); found == nil {
				return fmt.Errorf("it is not tapped: %q", r.Warnings)
			}
			return nil
		})
	})
}

// TestAnnotations: a pod may set its tap's resources, but nothing that could blind the tap. If an annotation is
// ignored, there is a warning.
func TestAnnotations(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	r := c.DryRun(t, ns, kit.NewPod("p", func(p *corev1.Pod) {
		p.Annotations = map[string]string{
			"meshtls-tap/memory-limit": "256Mi",
			"meshtls-tap/cpu-limit":    "lots",
			"meshtls-tap/filter":       "port 1",
			"meshtls-tap/untli":        "tomorrow",
		}
	}))
	found := tap(t, r)
	if m := found.Resources.Limits[corev1.ResourceMemory]; m.String() != "256Mi" {
		t.Errorf("memory limit %s", m.String())
	}
	if f := kit.Env(found, "TAP_FILTER"); f != "" {
		t.Errorf("the pod narrowed its tap's filter to %q", f)
	}
	warned := strings.Join(r.Warnings, "\n")
	for _, part := range []string{"cpu-limit", "filter", "untli"} {
		if !strings.Contains(warned, part) {
			t.Errorf("no warning of %s: %q", part, r.Warnings)
		}
	}
}

// TestVolumes: the autoscaler can remove a node in spite of the tap's volumes, and the pod's own annotation for its
// volumes is preserved.
func TestVolumes(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	const annotation = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
	r := c.DryRun(t, ns, kit.NewPod("p", func(p *corev1.Pod) { p.Annotations = map[string]string{annotation: "cache"} }))
	tap(t, r)
	got := strings.Split(r.Pod.Annotations[annotation], ",")
	local := []string{"cache"}
	for _, v := range r.Pod.Spec.Volumes {
		if v.EmptyDir != nil {
			local = append(local, v.Name)
			if v.EmptyDir.SizeLimit == nil {
				t.Errorf("volume %s has no limit", v.Name)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(local)
	if len(local) != 2 || !slices.Equal(got, local) {
		t.Errorf("%s: %v, want %v", annotation, got, local)
	}
}

// TestExpiry: taps that were requested for a limited time end by themselves, and the label remains.
func TestExpiry(t *testing.T) {
	c, h := installed(t)
	ns := c.Namespace(t, tapped)
	h.works(t, c, ns)
	annotate(t, c, ns, map[string]string{"meshtls-tap/duration": "5s"})
	kit.Eventually(t, kit.Limit, "the time to be over", func() error {
		r := c.DryRun(t, ns, kit.NewPod("p"))
		if r.Err != nil {
			return r.Err
		}
		if found, _ := kit.Container(r.Pod, kit.Tap); found != nil {
			return fmt.Errorf("a pod is tapped, TAP_UNTIL=%s", kit.Env(found, "TAP_UNTIL"))
		}
		return nil
	})
	kit.Eventually(t, kit.Limit, "the ConfigMap by which running taps end", func() error {
		m, err := c.CoreV1().ConfigMaps(ns).Get(t.Context(), "meshtls-tap", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if until, err := time.Parse(time.RFC3339, m.Data["until"]); err != nil || until.After(time.Now()) {
			return fmt.Errorf("until=%q", m.Data["until"])
		}
		return nil
	})
	after, err := c.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{})
	if err != nil || after.Labels[label] != "enabled" {
		t.Errorf("the label is gone: %v %v", after.Labels, err)
	}
	// If the duration is changed, it starts again, and the taps read the new end from the ConfigMap. A later until
	// does not change the end, nor does the deletion of the ConfigMap.
	annotate(t, c, ns, map[string]string{"meshtls-tap/duration": "2h"})
	config := func(what string, right func(data map[string]string) bool) (m *corev1.ConfigMap) {
		kit.Eventually(t, kit.Limit, what, func() (err error) {
			if m, err = c.CoreV1().ConfigMaps(ns).Get(t.Context(), "meshtls-tap", metav1.GetOptions{}); err == nil && !right(m.Data) {
				err = fmt.Errorf("%v", m.Data)
			}
			return err
		})
		return m
	}
	m := config("the window to be extended", func(data map[string]string) bool {
		until, err := time.Parse(time.RFC3339, data["until"])
		return err == nil && time.Until(until) > time.Hour && data["enabled"] != "false" // "true" if it was "false"
	})
	until := m.Data["until"]
	if err := c.CoreV1().ConfigMaps(ns).Delete(t.Context(), "meshtls-tap", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	m = config("the same end", func(data map[string]string) bool { return data["until"] == until })
	m.Data["until"] = time.Now().Add(30 * time.Hour).UTC().Format(time.RFC3339)
	if _, err := c.CoreV1().ConfigMaps(ns).Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	config("the later one to be written over", func(data map[string]string) bool { return data["until"] == until })
}

// TestOwnAccount: in the namespaces of others, the webhook's account can create pods only as dry runs and write only
// one ConfigMap.
func TestOwnAccount(t *testing.T) {
	c, h := installed(t)
	ns := c.Namespace(t, nil)
	kubeconfig := h.kubeconfig(t)
	h.narrowed(t, c)
	for name, test := range map[string]struct {
		args []string
		want string // a part of the refusal; empty if the request is allowed
	}{
		"a pod":                   {[]string{"run", "p", "--image=x", "--namespace", ns}, "only as a dry run"},
		"a pod as a dry run":      {[]string{"run", "p", "--image=x", "--namespace", ns, "--dry-run=server"}, ""},
		"a ConfigMap":             {[]string{"create", "configmap", "mine", "--namespace", ns}, "only the ConfigMap"},
		"the ConfigMap":           {[]string{"create", "configmap", "meshtls-tap", "--namespace", ns}, ""},
		"a Secret of others":      {[]string{"get", "secrets", "--namespace", ns}, "forbidden"},
		"a pod elsewhere, by get": {[]string{"delete", "pod", "x", "--namespace", ns}, "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := c.Kubectl(t, append([]string{"--kubeconfig", kubeconfig}, test.args...)...)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(out, test.want)) {
				t.Errorf("it said %v, %s; want %q", err, out, test.want)
			}
		})
	}
}
