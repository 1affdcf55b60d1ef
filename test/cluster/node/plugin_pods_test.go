package node_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/image"
	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestPluginPods taps pods of several kinds, which have neither a shell nor tools. No request fails.
func TestPluginPods(t *testing.T) {
	t.Parallel()
	c := installed(t)
	load(t, c, image.Image{Ref: registry + "/distroless:1", Entrypoint: []string{"/app/server"}, User: "65532:65532", Files: []image.File{
		{To: "/app/server", From: c.Bin("probe")},
		{To: "/etc/os-release", Content: []byte("ID=distroless\n"), Mode: 0o644},
		{To: "/etc/ssl/certs/ca-certificates.crt", Mode: 0o644},
	}})
	user := func(id int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			kit.Restricted(p)
			p.Spec.SecurityContext.RunAsUser, p.Spec.SecurityContext.RunAsGroup = &id, &id
		}
	}
	yes := true
	for name, test := range map[string]struct {
		change   func(*corev1.Pod)
		level    string // Pod Security's
		user     string // the first of the application's user ids
		announce string
	}{
		"scratch":    {change: func(*corev1.Pod) {}, user: "0", announce: "with the capability NET_RAW and no other"},
		"distroless": {change: func(p *corev1.Pod) { p.Spec.Containers[0].Image = registry + "/distroless:1" }, user: "65532", announce: "with the capability NET_RAW and no other"},
		"another user, read-only root": {change: func(p *corev1.Pod) {
			user(1234)(p)
			p.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem = &yes
		}, user: "1234", announce: "with the capability NET_RAW and no other"},
		"baseline": {change: user(4321), level: "baseline", user: "4321", announce: "the namespace does not admit the addition of NET_RAW"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var labels map[string]string
			if test.level != "" {
				labels = map[string]string{"pod-security.kubernetes.io/enforce": test.level}
			}
			ns := c.Namespace(t, labels)
			x, w := newTarget(t, c, ns, test.change), newWorkstation(t, c)
			if first, _, _ := strings.Cut(x.user, " "); first != test.user {
				t.Errorf("the application's user is %s, want %s", x.user, test.user)
			}
			i := w.tap(t, "web", "-n", ns, "--for", "4s")
			x.tapped(t)
			i.expect(t, 0, test.announce, "plaintext", ns+"/web")
			x.untapped(t)
			w.proves(t, ns, 1)
		})
	}
}

// TestPluginRestricted: Pod Security's level restricted admits no tap. The plugin changes nothing, and prints what to do
// about it, which works.
func TestPluginRestricted(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	x, w := newTarget(t, c, ns, kit.Restricted), newWorkstation(t, c)
	i := w.tap(t, "web", "-n", ns, "--for", "3s")
	wayOut := "kubectl label namespace " + ns + " pod-security.kubernetes.io/enforce=baseline --overwrite"
	i.expect(t, 1, "Pod Security", wayOut, "tap read")
	t.Log(i)
	if n := len(c.Pod(t, ns, "web").Spec.EphemeralContainers); n != 0 {
		t.Fatalf("%d ephemeral containers", n)
	}
	if out, err := c.Kubectl(t, strings.Fields(wayOut)[1:]...); err != nil {
		t.Fatal(err, out)
	}
	i = w.tap(t, "web", "-n", ns, "--for", "4s")
	x.tapped(t)
	i.expect(t, 0, "plaintext")
	x.untapped(t)
}

// TestPluginRefused: pods that cannot be tapped are refused with the reason, and nothing is changed.
func TestPluginRefused(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	run(t, c, ns, kit.NewPod("host", func(p *corev1.Pod) {
		p.Spec.HostNetwork = true
		p.Spec.Containers[0].Args = []string{"pause"}
	}))
	run(t, c, ns, kit.NewPod("small", func(p *corev1.Pod) { limit(p, "32Mi") }))
	w := newWorkstation(t, c)
	for _, test := range []struct {
		args   []string
		status int
		says   []string
	}{
		{[]string{"host"}, 1, []string{ns + "/host", "it uses the node's network"}},
		{[]string{"small"}, 1, []string{ns + "/small", "its memory limit is 32Mi, and a tap needs 64Mi of it"}},
		{[]string{"missing"}, 1, []string{`pods "missing" not found`}},
		{[]string{"deploy/missing"}, 1, []string{`"missing" not found`}},
		{[]string{"-l", "app=missing"}, 1, []string{"no running pod is selected"}},
		{[]string{"--max-pods", "1", "host", "small"}, 1, []string{"2 pods are selected, but at most 1 may be tapped"}},
		{[]string{}, 2, []string{"no pod is named: expected POD"}},
	} {
		i := w.tap(t, append(test.args, "-n", ns)...)
		i.expect(t, test.status, test.says...)
		t.Log(i.line + "\n" + i.err.String())
	}
	for _, name := range []string{"host", "small"} {
		if n := len(c.Pod(t, ns, name).Spec.EphemeralContainers); n != 0 {
			t.Errorf("%s: %d ephemeral containers", name, n)
		}
	}
}

// limit sets the memory limit of a pod's container.
func limit(p *corev1.Pod, memory string) {
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
}

// TestPluginTen taps the ten pods of a Deployment at once.
func TestPluginTen(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	c.Apply(t, ns, deployment("web", 10))
	pods := c.Selected(t, ns, "app=web", 10)
	for i := range pods {
		c.Ready(t, ns, pods[i].Name)
	}
	w := newWorkstation(t, c)
	i := w.tap(t, "deploy/web", "-n", ns)
	i.says(t, "Will add an ephemeral container to 10 pods")
	kit.Eventually(t, kit.Limit, "ten taps to run", func() error {
		s := w.start(t, "status", "-n", ns)
		s.expect(t, 0)
		if all := s.out.String(); !strings.Contains(all, "10 attached taps run.") || strings.Contains(all, "may still start") {
			return fmt.Errorf("%s", s)
		}
		return nil
	})
	t.Logf("ten taps run after %v", time.Since(i.begin))
	w.start(t, "stop", "-n", ns).expect(t, 0, "10 attached taps ended.")
	i.expect(t, 0)
	w.proves(t, ns, 10)
	t.Log(i)
	for _, p := range c.Selected(t, ns, "app=web", 10) {
		if s := status(&p, "app"); s == nil || s.RestartCount != 0 {
			t.Errorf("%s: %+v", p.Name, s)
		}
	}
}

// TestPluginAgain taps a pod in which a tap runs, and one in which a tap has ended.
func TestPluginAgain(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	x, w := newTarget(t, c, ns), newWorkstation(t, c)
	first := w.tap(t, "web", "-n", ns, "--for", "10m")
	first.says(t, "plaintext")
	x.tapped(t)
	second := w.tap(t, "web", "-n", ns, "--for", "20m")
	second.says(t, "plaintext")
	second.end(t, syscall.SIGINT)
	second.expect(t, 0, "Will read the records of the tap that already runs in 1 pod: "+ns+"/web", "meshtls-tap-1, which was attached before, are read. This command does not end that tap", "that tap ends in")
	x.tapped(t) // the first still runs
	if n := len(c.Pod(t, ns, "web").Spec.EphemeralContainers); n != 1 {
		t.Errorf("%d ephemeral containers, want 1", n)
	}
	first.end(t, syscall.SIGINT)
	w.proves(t, ns, 1)
	third := w.tap(t, "web", "-n", ns, "--for", "4s")
	x.tapped(t)
	third.expect(t, 0, "this one is named meshtls-tap-2", "plaintext")
	t.Log(second, third)
	x.untapped(t)
	w.proves(t, ns, 2)
}
