package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestAttach runs the two lines in README.md that attach a tap to a running pod, with other names and a shorter time.
// The ephemeral container reports the pod's connections and ends by itself, and the pod continues. The pod is
// distroless and does not run as root.
func TestAttach(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	pod := run(t, c, ns, kit.NewPod("web", kit.Restricted))
	run(t, c, ns, kit.NewPod("client", func(p *corev1.Pod) {
		p.Spec.Containers[0].Args = []string{"get", "-n", "0", "-every", "200ms", "http://" + pod.Status.PodIP + ":8080/"}
	}))
	readme, err := os.ReadFile(filepath.Join(kit.Repository(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile("(?m)^(kubectl debug POD .*)\n(kubectl logs POD .*)$").FindStringSubmatch(string(readme))
	if lines == nil {
		t.Fatal("README.md has no such lines")
	}
	names := strings.NewReplacer("POD", "web", "SHOP", ns, "ghcr.io/meshtls-tap/meshtls-tap:VERSION", registry+"/meshtls-tap:"+version, "--for 10m", "--for 20s",
		"kubectl", c.Bin("kubectl"))
	here := func(line string) string { return fmt.Sprintf("cd %q && %s", kit.Repository(), names.Replace(line)) }
	begin := time.Now()
	out, err := c.Run(t, "", "sh", "-c", here(lines[1]))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s", names.Replace(lines[1]), out)
	const container = "meshtls-tap-1"
	first := c.Logged(t, kit.Limit, ns, "web", container, `"plaintext-edge"`)
	t.Logf("the first verdict is in the log %v after kubectl debug: %.300s", time.Since(begin).Round(10*time.Millisecond), first)
	log, err := c.Run(t, "", "sh", "-c", here(lines[2])) // this line follows the log until the container has ended
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"meshtls.flow"`, `"plaintext-edge"`, `"name":"web"`, `"stopped"`} {
		if !strings.Contains(log, part) {
			t.Errorf("the log has no %s:\n%s", part, log)
		}
	}
	kit.Eventually(t, kit.Limit, "the container to have ended", func() error {
		after := c.Pod(t, ns, "web")
		for _, s := range after.Status.EphemeralContainerStatuses {
			if e := s.State.Terminated; s.Name == container && e != nil {
				t.Logf("it ended after %v with status %d", e.FinishedAt.Sub(e.StartedAt.Time), e.ExitCode)
				if s := status(after, "app"); e.ExitCode != 0 || s == nil || s.RestartCount != 0 || !kit.IsReady(after) {
					t.Errorf("%+v, and the application: %+v", e, s)
				}
				return nil
			}
		}
		return fmt.Errorf("%+v", after.Status.EphemeralContainerStatuses)
	})
}
