// Package node_test tests the product in a real Kubernetes cluster with one node, on which pods run and taps capture: `make test-cluster`.
package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/image"
	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

const (
	release  = "meshtls-tap" // name of the release and of its namespace
	label    = "meshtls-tap"
	registry = "meshtls.test"
	version  = "test" // the tag of both images
)

var tapped = map[string]string{label: "enabled"} // the labels of a tapped namespace

// product is the current state of the release.
var product struct {
	sync.Mutex
	tried, installed bool
	values           []string // Helm's arguments, in addition to those of this cluster
	unknown          bool     // a test has changed the release without calling installed
}

// installed returns the cluster with the product installed. values are Helm's arguments, in addition to those that
// this cluster needs. A test that runs in parallel must not give any.
func installed(t *testing.T, values ...string) *kit.Cluster {
	t.Helper()
	c := kit.Open(t)
	if os.Getenv("PRODUCT") == "" {
		t.Skip("PRODUCT is not set: run `make test-cluster`")
	}
	product.Lock()
	defer product.Unlock()
	if !product.tried {
		product.tried = true
		install(t, c)
		product.installed = true
	}
	if !product.installed {
		t.Fatal("the product could not be installed, see the first test that failed")
	}
	if product.unknown || !slices.Equal(product.values, values) {
		product.unknown = true
		begin := time.Now()
		helm(t, c, "helm4", "upgrade", release, append([]string{"--install", "--wait", "--timeout", "90s"}, values...)...)
		t.Logf("helm upgrade %s: %v", strings.Join(values, " "), time.Since(begin).Round(100*time.Millisecond))
		product.unknown, product.values = false, values
		injecting(t, c, tapped)
	}
	return c
}

// long skips a test in CI (-short), where time is limited. Most tests that call it change the release and wait for a
// rollout.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: make test-cluster runs it")
	}
}

func install(t *testing.T, c *kit.Cluster) {
	t.Helper()
	loadProduct(t, c, version)
	begin := time.Now()
	since := func() time.Duration { return time.Since(begin).Round(100 * time.Millisecond) }
	helm(t, c, "helm4", "install", release, "--create-namespace", "--wait", "--timeout", "90s")
	t.Logf("installed by Helm 4, two replicas Ready, after %v", since())
	if out := helm(t, c, "helm4", "test", release, "--timeout", "60s"); !strings.Contains(out, "Succeeded") {
		t.Errorf("helm test in a cluster where nothing is labelled: %s", out)
	}
	t.Logf("helm test: pods are tapped after %v", since())
}

// changes records that a test changes the release without calling installed. A test that does so must call changes. The
// next test then upgrades the release to its own values.
func changes() {
	product.Lock()
	product.unknown = true
	product.Unlock()
}

// loadProduct builds the images of the tap and the webhook with a tag, and imports them into the node.
func loadProduct(t *testing.T, c *kit.Cluster, tag string) {
	t.Helper()
	product := os.Getenv("PRODUCT")
	for _, i := range []image.Image{
		{
			Ref: registry + "/meshtls-tap:" + tag, User: "59469:59469", Entrypoint: []string{"/tap"}, Cmd: []string{"run"},
			Files: []image.File{{To: "/tap", From: filepath.Join(product, "tap"), NetRaw: true}, {To: "/version", Content: []byte(tag), Mode: 0o644}},
		},
		{
			Ref: registry + "/meshtls-tap-webhook:" + tag, User: "59469:59469", Entrypoint: []string{"/tap-webhook"},
			Files: []image.File{{To: "/tap-webhook", From: filepath.Join(product, "tap-webhook")}, {To: "/version", Content: []byte(tag), Mode: 0o644}},
		},
	} {
		load(t, c, i)
	}
}

func load(t *testing.T, c *kit.Cluster, i image.Image) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if _, err := i.Write(file); err != nil {
		t.Fatal(err)
	}
	c.Load(t, file)
}

// helm runs Helm for the chart, with the values of this cluster, and returns its output. It fails the test if Helm fails.
func helm(t *testing.T, c *kit.Cluster, program, verb, name string, args ...string) string {
	t.Helper()
	out, err := c.Run(t, "", c.Bin(program), chart(verb, name, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// chart returns Helm's arguments.
func chart(verb, name string, args ...string) []string {
	all := []string{verb, name}
	if verb == "install" || verb == "upgrade" {
		all = append(all, filepath.Join(kit.Repository(), "charts", "tap"),
			"--set", "image.registry="+registry, "--set", "tap.image.tag="+version, "--set", "webhook.image.tag="+version,
			// Tests set these annotations on namespaces, in addition to those that are allowed by default.
			"--set", "tap.tenantMay={enabled,until,duration,filter,mesh,mode,profile,exclude-kafka-port,emit,image}", "--set", "tap.allowedRegistries={"+registry+"}")
	}
	return append(append(all, "--namespace", name), args...)
}

// injecting waits until a pod is tapped in a new namespace with these labels.
func injecting(t *testing.T, c *kit.Cluster, labels map[string]string) {
	t.Helper()
	ns := c.Namespace(t, labels)
	kit.Eventually(t, kit.Limit, "a pod to be tapped", func() error {
		r := c.DryRun(t, ns, kit.NewPod("first"))
		if r.Err != nil {
			return r.Err
		}
		if found, _ := kit.Container(r.Pod, kit.Tap); found == nil {
			return fmt.Errorf("it is not: %q", r.Warnings)
		}
		return nil
	})
}

// annotate sets an annotation of a namespace.
func annotate(t *testing.T, c *kit.Cluster, ns, name, value string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, name, value)
	if _, err := c.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// run creates a pod and waits until it is Ready.
func run(t *testing.T, c *kit.Cluster, ns string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	if r := c.Create(t, ns, pod, metav1.CreateOptions{}); r.Err != nil {
		t.Fatal(r.Err)
	}
	return c.Ready(t, ns, pod.Name)
}

// get creates a pod that sends n requests to a URL, and waits until it has ended.
func get(t *testing.T, c *kit.Cluster, ns, name, url string, n int) {
	t.Helper()
	pod := kit.NewPod(name, func(p *corev1.Pod) {
		p.Spec.Containers[0].Args = []string{"get", "-n", fmt.Sprint(n), "-every", "10ms", url}
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Labels = map[string]string{label: "disabled"}
	})
	if r := c.Create(t, ns, pod, metav1.CreateOptions{}); r.Err != nil {
		t.Fatal(r.Err)
	}
	kit.Eventually(t, kit.Limit, "the requests to be answered", func() error {
		p := c.Pod(t, ns, name)
		if p.Status.Phase == corev1.PodFailed {
			t.Fatalf("%s: %s", name, c.Logs(t, ns, name, "app"))
		}
		if p.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("it is %s", p.Status.Phase)
		}
		return nil
	})
}

// status returns the status of the container that has the given name in a pod, or nil.
func status(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// process returns the id that the process of a running container has in the process namespace of the node.
func process(t *testing.T, c *kit.Cluster, p *corev1.Pod, name string) string {
	t.Helper()
	s := status(p, name)
	if s == nil || s.ContainerID == "" {
		t.Fatalf("container %s of %s has no id", name, p.Name)
	}
	_, id, _ := strings.Cut(s.ContainerID, "://")
	out := onNode(t, c, c.Bin("ctr"), "--namespace", "k8s.io", "task", "ls")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == id {
			return f[1]
		}
	}
	t.Fatalf("no task %s:\n%s", id, out)
	return ""
}

// onNode runs a program in the namespaces of the node and returns its output.
func onNode(t *testing.T, c *kit.Cluster, args ...string) string {
	t.Helper()
	out, err := nodeCommand(t, c, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}
