package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/image"
	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestPluginVerify: `kubectl meshtls verify` in the two namespaces of the walk-through, whose pods have no tap and are not restarted. Without
// a mesh the answer is plaintext. With real Envoy sidecars it is mutual TLS. A second verify finds the sidecars' connection older than
// its taps, and says so within 60 s.
func TestPluginVerify(t *testing.T) {
	complete(t)
	c := kit.Open(t)
	if os.Getenv("PRODUCT") == "" {
		t.Skip("PRODUCT is not set: run `make test-cluster`")
	}
	loadProduct(t, c, version)
	load(t, c, envoyImage(t))
	load(t, c, image.Image{Ref: registry + "/httpbin:1", Files: []image.File{{To: "/httpbin", From: os.Getenv("WALK_HTTPBIN")}}, Entrypoint: []string{"/httpbin"}, User: "65532:65532"})
	walkGone(t, c)
	t.Cleanup(func() { walkGone(t, c) })
	before := map[string]*corev1.Pod{}
	for _, ns := range []string{"unencrypted", "encrypted"} {
		named(t, c, ns)
		c.Apply(t, ns, workloads(t, ns)+`---
apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec: {selector: {app: httpbin}, ports: [{port: 14001}]}
`)
	}
	for _, ns := range []string{"unencrypted", "encrypted"} {
		for _, app := range []string{"curl", "httpbin"} {
			if out, err := c.Kubectl(t, "--namespace", ns, "rollout", "status", "deployment/"+app, "--timeout", "90s"); err != nil {
				t.Fatal(err, out)
			}
			p := c.Ready(t, ns, c.Selected(t, ns, "app="+app, 1)[0].Name)
			before[ns+"/"+app] = p
			if ns == "encrypted" {
				redirect(t, c, p, app)
			}
		}
	}
	const mutual = "mutual TLS, TLS 1.3, TLS_AES_128_GCM_SHA256, client certificate presented (inferred), both ends agree"
	for _, v := range []struct {
		name, namespace, to string
		flags               string
		status              int
		answer              string
	}{
		{"no mesh, by the workload", "unencrypted", "deploy/httpbin", "", 3, "plaintext, HTTP, both ends agree"},
		{"no mesh, nobody sends anything", "unencrypted", "httpbin", "--wait --timeout 3s", 4, "neither end saw a connection between them"},
		{"Envoy, by the service", "encrypted", "svc/httpbin", "-o json", 0, mutual},
		{"Envoy's pooled connection is older than the taps", "encrypted", "httpbin", "", 4, "older than the taps"},
		{"Envoy's pooled connection is older than the taps, and nothing is sent", "encrypted", "httpbin", "--wait --timeout 10s", 4, "older than the taps"},
	} {
		t.Run(v.name, func(t *testing.T) {
			if v.namespace == "encrypted" && v.status == 4 {
				use(t, c, before["encrypted/curl"])
			}
			begin := time.Now()
			args := append([]string{"verify", "deploy/curl", v.to, "--namespace", v.namespace, "--image", registry + "/meshtls-tap:" + version, "--image-pull-policy", "Never"}, strings.Fields(v.flags)...)
			out, errs, status := plugin(t, c, args...)
			took := time.Since(begin)
			t.Logf("exit status %d after %.1f s\n%s%s", status, took.Seconds(), errs, out)
			if status != v.status || !strings.Contains(out, v.answer) {
				t.Errorf("exit status %d, not %d, or no %q", status, v.status, v.answer)
			}
			if took > time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
	for name, p := range before {
		now := c.Pod(t, p.Namespace, p.Name)
		if now.UID != p.UID {
			t.Errorf("%s: another pod", name)
		}
		for _, s := range now.Status.ContainerStatuses {
			if s.RestartCount != 0 {
				t.Errorf("%s: %s restarted", name, s.Name)
			}
		}
		for _, s := range now.Status.EphemeralContainerStatuses {
			if s.State.Terminated == nil || s.State.Terminated.ExitCode != 0 {
				t.Errorf("%s: %s: %+v", name, s.Name, s.State)
			}
		}
	}
}

// use has the application send a request again and again, until the test ends. So its proxy keeps a connection open and uses it.
func use(t *testing.T, c *kit.Cluster, p *corev1.Pod) {
	t.Helper()
	url := "http://" + serviceIP(t, c, p.Namespace, "httpbin") + ":14001/get"
	name := filepath.Join(t.TempDir(), "responses")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := c.Command(t.Context(), c.Bin("kubectl"), "--namespace", p.Namespace, "exec", p.Name, "-c", "curl", "--", "/probe", "get", "-n", "0", "-every", "500ms", url)
	cmd.Stdout, cmd.Stderr = out, out
	kit.Start(t, cmd)
	kit.Eventually(t, kit.Limit, "two responses to the application", func() error {
		text, err := os.ReadFile(name)
		if strings.Count(string(text), " 200 ") < 2 {
			return fmt.Errorf("%w %s", err, text)
		}
		return nil
	})
}

// serviceIP returns the address of a service.
func serviceIP(t *testing.T, c *kit.Cluster, ns, name string) string {
	t.Helper()
	s, err := c.CoreV1().Services(ns).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Spec.ClusterIP
}

// plugin runs the plugin in the cluster's network, and returns its output, its error output and its exit status.
func plugin(t *testing.T, c *kit.Cluster, args ...string) (out, errs string, status int) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := c.Command(t.Context(), filepath.Join(os.Getenv("PRODUCT"), "kubectl-meshtls"), args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// walkGone waits until the namespaces of the walk-through do not exist.
func walkGone(t *testing.T, c *kit.Cluster) {
	t.Helper()
	kit.Eventually(t, kit.Limit, "the namespaces of the walk-through to be gone", func() error {
		for _, ns := range []string{"unencrypted", "encrypted"} {
			if _, err := c.CoreV1().Namespaces().Get(context.Background(), ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s: %w", ns, err)
			}
		}
		return nil
	})
}
