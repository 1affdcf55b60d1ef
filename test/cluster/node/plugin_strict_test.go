package node_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/image"
	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestPluginStrict: `kubectl meshtls strict` about the walk-through with real Envoy sidecars. After mutual TLS only, its server is ready, unless more
// must have been seen. Without a mesh it is not enrolled (exit status 4: nothing is ready). In a permissive mixture, where another pod sends plaintext past the sidecar, that pod is named as
// the client that would be cut off.
func TestPluginStrict(t *testing.T) {
	long(t)
	complete(t)
	c := kit.Open(t)
	loadProduct(t, c, version)
	load(t, c, envoyImage(t))
	load(t, c, image.Image{Ref: registry + "/httpbin:1", Files: []image.File{{To: "/httpbin", From: os.Getenv("WALK_HTTPBIN")}}, Entrypoint: []string{"/httpbin"}, User: "65532:65532"})
	walkGone(t, c)
	t.Cleanup(func() { walkGone(t, c) })
	w := newWorkstation(t, c)
	pods := map[string]*corev1.Pod{}
	for _, ns := range []string{"unencrypted", "encrypted"} {
		named(t, c, ns)
		objects := workloads(t, ns)
		if ns == "encrypted" { // the label of Open Service Mesh on its pods
			objects = strings.ReplaceAll(objects, "metadata: {labels: {app: ", "metadata: {labels: {osm-proxy-uuid: d0a1, app: ")
		}
		c.Apply(t, ns, objects)
		for _, app := range []string{"curl", "httpbin"} {
			if out, err := c.Kubectl(t, "--namespace", ns, "rollout", "status", "deployment/"+app, "--timeout", "90s"); err != nil {
				t.Fatal(err, out)
			}
			p := c.Ready(t, ns, c.Selected(t, ns, "app="+app, 1)[0].Name)
			pods[ns+"/"+app] = p
			if ns == "encrypted" {
				redirect(t, c, p, app)
			}
		}
	}
	taps := w.tap(t, "deploy/httpbin", "deploy/curl", "-n", "encrypted", "--for", "5m", "--mesh", "osm")
	others := w.tap(t, "deploy/httpbin", "-n", "unencrypted", "--for", "5m")
	kit.Eventually(t, kit.Limit, "taps that run", func() error {
		if strings.Count(taps.String(), ": running") < 2 || strings.Count(others.String(), ": running") < 1 {
			return fmt.Errorf("%s%s", taps, others)
		}
		return nil
	})
	server := pods["encrypted/httpbin"]
	url := "http://" + server.Status.PodIP + ":14001/get"
	get := func(p *corev1.Pod, container string) {
		t.Helper()
		if out, err := c.Kubectl(t, "--namespace", p.Namespace, "exec", p.Name, "-c", container, "--", "/probe", "get", "-n", "3", url); err != nil {
			t.Fatal(err, out)
		}
	}
	get(pods["encrypted/curl"], "curl")
	get2 := "http://" + pods["unencrypted/httpbin"].Status.PodIP + ":14001/get"
	if out, err := c.Kubectl(t, "--namespace", "unencrypted", "exec", pods["unencrypted/curl"].Name, "-c", "curl", "--", "/probe", "get", "-n", "3", get2); err != nil {
		t.Fatal(err, out)
	}
	strict := func(status int, args ...string) func(texts ...string) {
		return func(texts ...string) {
			t.Helper()
			kit.Eventually(t, kit.Limit, fmt.Sprintf("strict %q: %q", args, texts), func() error {
				out, errs, got := plugin(t, c, append([]string{"strict"}, args...)...)
				for _, text := range texts {
					if got != status || !strings.Contains(out, text) {
						return fmt.Errorf("exit status %d\n%s%s", got, out, errs)
					}
				}
				t.Logf("strict %q: exit status %d\n%s%s", args, got, out, errs)
				return nil
			})
		}
	}
	strict(0, "-n", "encrypted", "--min-time", "1s")("ready")
	strict(4, "-n", "encrypted")("not_enough_seen", "less than 1h0m0s")
	strict(4, "-n", "unencrypted", "--min-time", "1s")("not_enrolled")

	// The mixture: another pod's connections pass the sidecar.
	other := pods["unencrypted/curl"]
	onNode(t, c, "nsenter", "-t", process(t, c, server, "envoy"), "-n", "nft", "insert", "rule", "ip", "mesh", "inbound", "ip", "saddr", other.Status.PodIP, "return")
	get(other, "curl")
	strict(3, "-n", "encrypted", "--min-time", "1s")("cut_off", "unencrypted/curl")
	for _, i := range []*invocation{taps, others} {
		i.end(t, syscall.SIGINT)
	}
}
