package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestReadme runs the installation lines of both READMEs in a cluster without meshtls-tap, without a pause between
// the lines. Only the name of the namespace and the locations of the images and the chart are different. Afterwards
// the pods are tapped. The tap's log has what the README promises: the first finding, or the reason why records are
// not delivered.
func TestReadme(t *testing.T) {
	long(t)
	c := installed(t)
	for _, readme := range []struct{ file, block, logged string }{
		{"charts/tap/README.md", "(?s)```sh\n(helm install meshtls-tap .*?)```", `"plaintext-edge"`},
		{"README.md", "(?s)```\n(helm install meshtls-tap .*?)```", `records are not delivered`}, // because there is no broker
	} {
		t.Run(strings.ReplaceAll(readme.file, "/", " "), func(t *testing.T) {
			changes()
			helm(t, c, "helm4", "uninstall", release, "--wait", "--timeout", "60s")
			text, err := os.ReadFile(filepath.Join(kit.Repository(), readme.file))
			if err != nil {
				t.Fatal(err)
			}
			block := regexp.MustCompile(readme.block).FindStringSubmatch(string(text))
			if block == nil {
				t.Fatalf("%s has no such block", readme.file)
			}
			ns := c.Namespace(t, nil)
			c.Apply(t, ns, shop())
			for _, app := range []string{"web", "client"} {
				for _, p := range c.Selected(t, ns, "app="+app, 2) {
					c.Ready(t, ns, p.Name)
				}
			}
			begin := time.Now()
			out, err := c.Run(t, "", "bash", "-exc", "cd "+kit.Repository()+"\n"+here(c, ns).Replace(block[1]))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s\nall lines took %v", out, time.Since(begin).Round(100*time.Millisecond))
			for _, app := range []string{"web", "client"} {
				if out, err := c.Kubectl(t, "--namespace", ns, "rollout", "status", "deployment/"+app, "--timeout", "180s"); err != nil {
					t.Fatal(err, out)
				}
			}
			var one string
			for _, p := range c.Selected(t, ns, "app", 4) {
				if found, _ := kit.Container(&p, kit.Tap); found == nil {
					t.Errorf("pod %s is not tapped", p.Name)
				} else if p.Labels["app"] == "web" {
					one = p.Name
				}
			}
			if t.Failed() {
				out, _ := c.Kubectl(t, "--namespace", release, "logs", "--selector", selector, "--prefix", "--timestamps")
				t.Fatalf("the webhook says:\n%s", out)
			}
			line := c.Logged(t, kit.Limit, ns, one, kit.Tap, readme.logged)
			t.Logf("in the log of a tap %v after the first line: %.200s", time.Since(begin).Round(100*time.Millisecond), line)
		})
	}
}

// here returns a replacer that changes the names in a README's lines to those of this cluster.
func here(c *kit.Cluster, ns string) *strings.Replacer {
	chart := fmt.Sprintf("charts/tap --set image.registry=%s,tap.image.tag=%s,webhook.image.tag=%s", registry, version, version)
	return strings.NewReplacer("oci://ghcr.io/meshtls-tap/charts/tap", chart, "charts/tap", chart, "SHOP", ns,
		"helm install", c.Bin("helm4")+" install", "helm test", c.Bin("helm4")+" test", "kubectl", c.Bin("kubectl"))
}

// shop returns two Deployments. One of them calls the other through a Service.
func shop() string {
	clients := strings.ReplaceAll(deployment("client", 2), "args: [serve], readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1}",
		`args: [get, -n=0, -every=500ms, "http://$(WEB_SERVICE_HOST)/"]`)
	return service + "\n---\n" + deployment("web", 2) + "\n---\n" + clients
}
