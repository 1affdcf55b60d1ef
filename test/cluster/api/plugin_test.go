package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// plugin runs kubectl-meshtls and returns its output, standard error included.
func plugin(t *testing.T, c *kit.Cluster, stdin string, args ...string) (string, error) {
	t.Helper()
	return c.Run(t, stdin, filepath.Join(os.Getenv("PRODUCT"), "kubectl-meshtls"), append(args, "--kubeconfig", c.Kubeconfig())...)
}

// says fails the test unless a run of the plugin succeeds and its output has all parts.
func says(t *testing.T, c *kit.Cluster, args []string, parts ...string) string {
	t.Helper()
	out, err := plugin(t, c, "", args...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("%q: %q is missing in\n%s", args, part, out)
		}
	}
	return out
}

// TestPluginEnable: enable and disable act on the webhook of a real API server. The end is confirmed by the webhook, pods are tapped in
// between, and what was turned off stays off until it is enabled again.
func TestPluginEnable(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, nil)
	hasTap := func(want bool) {
		t.Helper()
		kit.Eventually(t, kit.Limit, fmt.Sprintf("tapped: %v", want), func() error {
			r := c.DryRun(t, ns, kit.NewPod("p"))
			if r.Err != nil {
				return r.Err
			}
			if found, _ := kit.Container(r.Pod, kit.Tap); (found != nil) != want {
				return fmt.Errorf("tapped: %v; %q", found != nil, r.Warnings)
			}
			return nil
		})
	}
	config := func() map[string]string {
		t.Helper()
		m, err := c.CoreV1().ConfigMaps(ns).Get(t.Context(), "meshtls-tap", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return m.Data
	}
	hasTap(false)
	says(t, c, []string{"enable", ns, "--for", "2h", "--dry-run=server", "-o", "yaml"}, "meshtls-tap: enabled", "(dry run)")
	hasTap(false)

	if out := says(t, c, []string{"enable", ns, "--for", "2h"}, "taps requested until "); strings.Contains(out, "warning") {
		t.Errorf("the webhook has not confirmed the end:\n%s", out)
	}
	first := config()["until"]
	if first == "" {
		t.Error("the ConfigMap has no end")
	}
	hasTap(true)
	says(t, c, []string{"disable", ns}, "running taps of namespace "+ns+" end")
	if got := config()["enabled"]; got != "false" {
		t.Errorf("after disable: enabled %q", got)
	}
	hasTap(false)
	if out := says(t, c, []string{"enable", ns, "--for", "2h"}, "taps that were turned off resume"); strings.Contains(out, "warning") {
		t.Errorf("not confirmed:\n%s", out)
	}
	if got := config(); got["enabled"] != "true" || got["until"] < first {
		t.Errorf("after the second enable: %v, the first end was %s", got, first)
	}
	hasTap(true)
	if out := says(t, c, []string{"enable", ns}, "without a time limit"); strings.Contains(out, "warning") {
		t.Errorf("not confirmed:\n%s", out)
	}
	hasTap(true)
}

// TestPluginRestart: enable --restart changes the template of a Deployment once.
func TestPluginRestart(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, nil)
	labels := map[string]string{"app": "web"}
	d, err := c.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: kit.Spec()},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	set, err := c.AppsV1().ReplicaSets(ns).Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Labels: labels, OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID, Controller: &yes}}},
		Spec:       appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := c.Create(t, ns, kit.NewPod("web-1-a", func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set.Name, UID: set.UID, Controller: &yes}}
	}), metav1.CreateOptions{})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	kit.Eventually(t, kit.Limit, "the next second: creation times are in seconds", func() error {
		if now := time.Now().Truncate(time.Second); !now.After(r.Pod.CreationTimestamp.Time) {
			return fmt.Errorf("it is %v", now)
		}
		return nil
	})
	says(t, c, []string{"enable", ns}, "1 running pod without a tap is not restarted; --restart would restart deployment/web")
	says(t, c, []string{"explain", "web-1-a", "-n", ns}, "not tapped: it was created before its namespace got the label", "--restart")
	says(t, c, []string{"enable", ns, "--restart", "--dry-run=server"}, "deployment/web: restarted (1 pod) (dry run)")
	says(t, c, []string{"enable", ns, "--restart"}, "deployment/web: restarted (1 pod)")
	if d, err = c.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{}); err != nil || d.Generation != 2 {
		t.Errorf("%v: generation %d, want 2", err, d.Generation)
	}
}

// TestPluginExplain: what the webhook has decided about real pods, and why.
func TestPluginExplain(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	create := func(name string, change ...func(*corev1.Pod)) {
		t.Helper()
		if r := c.Create(t, ns, kit.NewPod(name, change...), metav1.CreateOptions{}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	create("tapped")
	create("out", func(p *corev1.Pod) { p.Labels = map[string]string{label: "disabled"} })
	create("host", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	out := says(t, c, []string{"explain", "tapped", "out", "host", "-n", ns},
		ns+"/tapped: it has a tap, which does not run", "profile default", // there is no node
		ns+"/out: not tapped: its label meshtls-tap=disabled opts out", ns+"/host: not tapped: it uses its node's network")
	if strings.Contains(out, "outdated") || strings.Contains(out, "assumed") {
		t.Errorf("the webhook's settings were not read as the webhook reads them:\n%s", out)
	}
}

// TestPluginCheck: each line of check for a cluster that works, and for a namespace that refuses taps.
func TestPluginCheck(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	says(t, c, []string{"check", "-n", ns}, "API server", "rights to attach taps in "+ns, "caBundle", "Ignore", "a dry run in namespace "+ns)
	says(t, c, []string{"check", "--pre"}, "rights to install the chart", "the webhook configuration "+configuration+" exists")

	restricted := c.Namespace(t, map[string]string{label: "enabled", "pod-security.kubernetes.io/enforce": "restricted"})
	out, err := plugin(t, c, "", "check", "-n", restricted)
	if err == nil || !strings.Contains(out, "forbids NET_RAW") || !strings.Contains(out, " failed: see the lines") {
		t.Errorf("a restricted namespace: %v\n%s", err, out)
	}
	if out, err := plugin(t, c, "", "check", "-n", ns, "--as", "nobody"); err == nil || !strings.Contains(out, "patch pods/ephemeralcontainers") {
		t.Errorf("a user without rights: %v\n%s", err, out)
	}
}

// TestPluginInject: the API server accepts a manifest with a tap, and the webhook leaves its pods as they are.
func TestPluginInject(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: a}]}\n"
	file := filepath.Join(t.TempDir(), "injected.yaml")
	out, err := c.Run(t, manifest, "sh", "-c", filepath.Join(os.Getenv("PRODUCT"), "kubectl-meshtls")+" inject -f - --image ghcr.io/meshtls-tap/meshtls-tap:1 >"+file)
	if err != nil || !strings.Contains(out, "pod/a: tap added") {
		t.Fatal(err, out)
	}
	if out, err := c.Kubectl(t, "--namespace", ns, "apply", "--filename", file); err != nil {
		t.Fatal(err, out)
	}
	p, err := c.CoreV1().Pods(ns).Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || len(p.Spec.InitContainers) != 1 || p.Spec.InitContainers[0].Image != "ghcr.io/meshtls-tap/meshtls-tap:1" {
		t.Errorf("%v: %s", err, names(p))
	}
}
