package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

const (
	configuration = "zz-meshtls-tap"
	selector      = "app.kubernetes.io/instance=meshtls-tap,app.kubernetes.io/component=webhook"
)

// TestHelmTest: `helm test` succeeds if pods are tapped, also on a second run. If pods are not tapped, it fails.
func TestHelmTest(t *testing.T) {
	long(t)
	c := installed(t)
	if out := helm(t, c, "helm3", "test", release, "--timeout", "60s"); !strings.Contains(out, "Succeeded") { // the function install tests Helm 4
		t.Errorf("helm3 test: %s", out)
	}
	kit.Eventually(t, kit.Limit, "its namespace to be gone", func() error {
		ns, err := c.CoreV1().Namespaces().Get(t.Context(), release+"-check", metav1.GetOptions{})
		if err == nil {
			return fmt.Errorf("it is %s", ns.Status.Phase)
		}
		return nil
	})
	unlabelled := c.Namespace(t, nil)
	installed(t, "--set", "tests.namespace="+unlabelled)
	if out, err := c.Run(t, "", c.Bin("helm4"), chart("test", release, "--timeout", "5s")...); err == nil {
		t.Errorf("helm test goes well where pods are not tapped: %s", out)
	}
	// Helm does not delete the pod of a failed test, so that its log can be read.
	if err := c.CoreV1().Pods(release).Delete(t.Context(), release+"-check", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// TestPodOptIn: if the chart allows it, a pod can request a tap by its label in a namespace without the label.
func TestPodOptIn(t *testing.T) {
	long(t)
	c := installed(t, "--set", "injection.podOptIn=true")
	ns := c.Namespace(t, nil)
	asks := run(t, c, ns, kit.NewPod("asks", func(p *corev1.Pod) { p.Labels = tapped }))
	if found, _ := kit.Container(asks, kit.Tap); found == nil {
		t.Error("the pod that asks is not tapped")
	}
	other := run(t, c, ns, kit.NewPod("other"))
	if found, _ := kit.Container(other, kit.Tap); found != nil {
		t.Error("the pod beside it is tapped")
	}
	get(t, c, ns, "client", "http://"+asks.Status.PodIP+":8080/", 1)
	c.Logged(t, kit.Limit, ns, "asks", kit.Tap, `"plaintext-edge"`)
}

// TestReplicaKilled: after one of two replicas was killed, pods are still tapped, and no pod is refused.
func TestReplicaKilled(t *testing.T) {
	long(t)
	c := installed(t)
	ns := c.Namespace(t, tapped)
	pods := c.Selected(t, release, selector, 2)
	now := int64(0)
	var without, refused, created atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			r := c.DryRun(t, ns, kit.NewPod("p"))
			created.Add(1)
			if r.Err != nil {
				refused.Add(1)
			} else if found, _ := kit.Container(r.Pod, kit.Tap); found == nil {
				without.Add(1)
			}
		}
	})
	if err := c.CoreV1().Pods(release).Delete(t.Context(), pods[0].Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Selected(t, release, selector, 2) {
		c.Ready(t, release, p.Name)
	}
	close(stop)
	wg.Wait()
	t.Logf("one of two replicas killed: of %d pods %d were refused, %d untapped", created.Load(), refused.Load(), without.Load())
	if refused.Load() > 0 {
		t.Error("pods were refused")
	}
	if without.Load() > created.Load()/2 {
		t.Error("half of the pods came without a tap, though a replica was there")
	}
}

// TestUpgrade: taps of two versions run at the same time, and an upgrade changes no running pod. The webhook writes
// the caBundle; upgrades and rollbacks by Helm 3 and 4 keep it.
func TestUpgrade(t *testing.T) {
	c := installed(t)
	ns := c.Namespace(t, tapped)
	old := run(t, c, ns, kit.NewPod("old"))
	bundle := caBundle(t, c)
	if len(bundle) == 0 {
		t.Fatal("the webhook has written no caBundle")
	}
	loadProduct(t, c, "next")
	next := []string{"--set", "tap.image.tag=next,webhook.image.tag=next"}
	changes()
	steps := []struct {
		program string
		args    []string
	}{{"helm4", next}, {"helm3", nil}, {"helm3", next}}
	back := []string{"helm4", "helm3"}
	if testing.Short() {
		steps, back = steps[:1], back[:1]
	}
	for _, step := range steps {
		begin := time.Now()
		helm(t, c, step.program, "upgrade", release, append([]string{"--wait", "--timeout", "90s"}, step.args...)...)
		if now := caBundle(t, c); !bytes.Equal(now, bundle) {
			t.Errorf("%s upgrade changed the caBundle from %d to %d bytes", step.program, len(bundle), len(now))
		}
		t.Logf("%s upgrade: %v", step.program, time.Since(begin).Round(100*time.Millisecond))
	}
	kit.Eventually(t, kit.Limit, "a tap of the new version", func() error {
		r := c.DryRun(t, ns, kit.NewPod("p"))
		if r.Err != nil {
			return r.Err
		}
		found, _ := kit.Container(r.Pod, kit.Tap)
		if found == nil || !strings.HasSuffix(found.Image, ":next") {
			return fmt.Errorf("%v %q", found, r.Warnings)
		}
		return nil
	})
	fresh := run(t, c, ns, kit.NewPod("fresh"))
	for _, p := range []*corev1.Pod{old, fresh} {
		now := c.Pod(t, ns, p.Name)
		if s := status(now, kit.Tap); now.UID != p.UID || s == nil || s.RestartCount != 0 || s.State.Running == nil {
			t.Errorf("pod %s: %+v", p.Name, s)
		}
	}
	for _, program := range back {
		helm(t, c, program, "rollback", release, "--wait", "--timeout", "90s")
		if now := caBundle(t, c); !bytes.Equal(now, bundle) {
			t.Errorf("%s rollback changed the caBundle from %d to %d bytes", program, len(bundle), len(now))
		}
	}
}

func caBundle(t *testing.T, c *kit.Cluster) []byte {
	t.Helper()
	m, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), configuration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m.Webhooks[0].ClientConfig.CABundle
}

// TestUninstall checks which objects remain after an uninstallation by Helm 3 and 4, and that they do not keep pods
// from starting.
func TestUninstall(t *testing.T) {
	long(t)
	c := installed(t)
	ns := c.Namespace(t, tapped)
	live := run(t, c, ns, kit.NewPod("live"))
	if !sockets(t, c, live) {
		t.Error("the live tap has no packet socket")
	}
	changes()
	helm(t, c, "helm4", "uninstall", release, "--wait", "--timeout", "60s")
	begin := time.Now()
	pod := run(t, c, ns, kit.NewPod("later"))
	t.Logf("a pod after the uninstallation is Ready after %v", time.Since(begin).Round(100*time.Millisecond))
	if found, _ := kit.Container(pod, kit.Tap); found != nil {
		t.Error("it is tapped")
	}
	turnOff(t, c, ns) // running taps read the ConfigMap even if there is no webhook
	var behind []string
	kit.Eventually(t, kit.Limit, "the rest to go", func() error {
		behind = left(t, c)
		for _, name := range behind {
			if name != "secret/"+release+"-ca" && name != "lease.coordination.k8s.io/"+release { // the chart's README names the two objects that remain
				return errors.New(name + " is there")
			}
		}
		return nil
	})
	t.Logf("left behind in namespace %s: %s", release, strings.Join(behind, ", "))

	helm(t, c, "helm3", "install", release, "--wait", "--timeout", "90s")
	injecting(t, c, tapped)
	helm(t, c, "helm3", "uninstall", release, "--wait", "--timeout", "60s")
	kit.Eventually(t, 90*time.Second, "the live tap to close its packet sockets", func() error {
		if sockets(t, c, live) {
			return errors.New("it has some")
		}
		return nil
	})
	now := c.Pod(t, ns, "live")
	if s := status(now, kit.Tap); now.UID != live.UID || !kit.IsReady(now) || s == nil || s.State.Running == nil || s.RestartCount != 0 {
		t.Errorf("the pod that ran: ready %v, its tap %+v", kit.IsReady(now), s)
	}
	t.Logf("left in pods until they restart: container %s, idle, without packet sockets", kit.Tap)
	helm(t, c, "helm4", "install", release, "--wait", "--timeout", "90s")
}

// left returns the objects of the release that still exist.
func left(t *testing.T, c *kit.Cluster) []string {
	t.Helper()
	var all []string
	for _, kind := range []string{"all", "secrets", "configmaps", "leases", "serviceaccounts", "roles", "rolebindings", "poddisruptionbudgets"} {
		out, err := c.Kubectl(t, "--namespace", release, "get", kind, "-o", "name")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if name := strings.TrimSpace(line); strings.Contains(name, "/") && !strings.HasSuffix(name, "/default") && !strings.HasSuffix(name, "/kube-root-ca.crt") {
				all = append(all, name)
			}
		}
	}
	for _, kind := range []string{"clusterroles", "clusterrolebindings", "mutatingwebhookconfigurations", "validatingadmissionpolicies"} {
		out, err := c.Kubectl(t, "get", kind, "-o", "name")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, release) {
				t.Errorf("%s is left", strings.TrimSpace(line))
			}
		}
	}
	return all
}

// turnOff turns the taps of a namespace off by its ConfigMap.
func turnOff(t *testing.T, c *kit.Cluster, ns string) {
	t.Helper()
	c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: meshtls-tap}, data: {enabled: "false"}}`, "--server-side", "--force-conflicts")
}

// TestTurnedOff: the ConfigMap turns taps off without a restart.
func TestTurnedOff(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, tapped)
	pods := 20
	if n, err := strconv.Atoi(os.Getenv("CLUSTER_TAPS")); err == nil {
		pods = n // more pods, for a measurement
	}
	for i := range pods {
		pod := kit.NewPod(fmt.Sprintf("p%d", i), func(p *corev1.Pod) {
			p.Annotations = map[string]string{"meshtls-tap/cpu-request": "1m"} // because many pods share two processors
		})
		if r := c.Create(t, ns, pod, metav1.CreateOptions{}); r.Err != nil {
			t.Fatal(r.Err)
		}
		if i >= 10 { // bounds to ten how many pods start at the same time
			c.Ready(t, ns, fmt.Sprintf("p%d", i-10))
		}
	}
	for i := range pods {
		c.Ready(t, ns, fmt.Sprintf("p%d", i))
	}
	begin := time.Now()
	turnOff(t, c, ns)
	var first, last time.Duration
	off := map[string]bool{}
	kit.Eventually(t, 5*time.Minute, "all taps to be off", func() error {
		for i := range pods {
			name := fmt.Sprintf("p%d", i)
			if !off[name] && !sockets(t, c, c.Pod(t, ns, name)) {
				off[name] = true
				last = time.Since(begin)
				if first == 0 {
					first = last
				}
			}
		}
		if len(off) < pods {
			return errors.New(fmt.Sprint(pods-len(off), " have a packet socket"))
		}
		return nil
	})
	t.Logf("%d taps closed their packet sockets between %v and %v after the ConfigMap, without a restart", pods, first.Round(time.Second), last.Round(time.Second))
	for i := range pods {
		p := c.Pod(t, ns, fmt.Sprintf("p%d", i))
		if s := status(p, kit.Tap); s == nil || s.RestartCount != 0 || !kit.IsReady(p) {
			t.Errorf("pod %s: %+v", p.Name, s)
		}
	}
}

// sockets reports whether there is a packet socket in the pod's network namespace.
func sockets(t *testing.T, c *kit.Cluster, p *corev1.Pod) bool {
	t.Helper()
	text := onNode(t, c, "cat", "/proc/"+process(t, c, p, "app")+"/net/packet")
	return strings.Count(text, "\n") > 1 // the first line is the heading
}
