package api_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// reserved is a word in each refusal of the policy injection.protect.
const reserved = "reserved"

// TestProtect: with injection.protect, a user with the built-in role edit can turn no tap off, add no container with
// the tap's name and change no setting; a member of the group can. The policy is another than RBAC: both users have the same roles.
func TestProtect(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, nil)
	roles(t, c, ns)
	c.Apply(t, ns, workload("before", "", "x"))
	c.Apply(t, ns, barePod("running", "", "other", "x"))
	protect(t, c, ns)

	for name, test := range map[string]struct {
		args    []string
		object  string
		refused bool
	}{
		"the ConfigMap":                  {[]string{"create"}, configMap("meshtls-tap"), true},
		"another ConfigMap":              {[]string{"create"}, configMap("mine"), false},
		"a pod that opts out":            {[]string{"create"}, barePod("p", "disabled", "a", "x"), true},
		"a pod that opts in":             {[]string{"create"}, barePod("p", "enabled", "a", "x"), true},
		"a pod without the label":        {[]string{"create"}, barePod("p", "", "a", "x"), false},
		"an impostor":                    {[]string{"create"}, barePod("p", "", "meshtls-tap", "busybox:1"), true},
		"an impostor with our image":     {[]string{"create"}, barePod("p", "", "meshtls-tap", "ghcr.io/meshtls-tap/meshtls-tap:0.1.0"), true},
		"an image that looks like ours":  {[]string{"create"}, barePod("p", "", "meshtls-tap", "ghcr.io/meshtls-tap/meshtls-tap-evil:1"), true},
		"a Deployment that opts out":     {[]string{"create"}, workload("d", "disabled", "x"), true},
		"a Deployment with our name":     {[]string{"create"}, workload("d", "", "meshtls-tap"), true},
		"a Deployment":                   {[]string{"create"}, workload("d", "", "x"), false},
		"a Deployment that changes":      {[]string{"replace"}, workload("before", "disabled", "x"), true},
		"a Deployment that changes else": {[]string{"replace"}, workload("before", "", "z"), false},
		"a CronJob that opts out":        {[]string{"create"}, cronJob("disabled"), true},
		"a CronJob":                      {[]string{"create"}, cronJob(""), false},
		"a label on a pod that runs":     {[]string{"label", "pod", "running", "meshtls-tap=disabled"}, "", true},
		"another label on it":            {[]string{"label", "pod", "running", "a=b"}, "", false},
		"the namespace's label":          {[]string{"label", "namespace", ns, "meshtls-tap=disabled"}, "", true},
		"the namespace's annotation":     {[]string{"annotate", "namespace", ns, "meshtls-tap/image=evil:1"}, "", true},
		"another annotation":             {[]string{"annotate", "namespace", ns, "a=b"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(test.args, "--namespace", ns, "--dry-run=server")
			if test.object != "" {
				args = append(args, "--filename", "-")
			}
			out, err := c.Run(t, test.object, c.Bin("kubectl"), append(args, "--as", "tenant")...)
			if refused := err != nil && strings.Contains(out, reserved); refused != test.refused || err != nil && !refused {
				t.Errorf("the tenant: %v, refused should be %t", err, test.refused)
			}
			if strings.Contains(name, "impostor") || strings.Contains(name, "looks like") {
				return // whoever is admitted may do that, too; it is not what the group is for
			}
			if _, err := c.Run(t, test.object, c.Bin("kubectl"), append(args, "--as", "admin", "--as-group", "platform")...); err != nil {
				t.Errorf("the group: %v", err)
			}
		})
	}
	if _, err := c.Kubectl(t, "create", "configmap", "meshtls-tap", "--namespace", ns, "--from-literal=enabled=true", "--as", "admin", "--as-group", "platform"); err != nil {
		t.Fatal(err)
	}
	if out, err := c.Kubectl(t, "delete", "configmap", "meshtls-tap", "--namespace", ns, "--as", "tenant"); err == nil || !strings.Contains(out, reserved) {
		t.Errorf("the tenant deletes the ConfigMap: %v", err)
	}
}

// TestProtectAdmitsTaps: where the policy holds, a bare pod of a tenant is still tapped, since the webhook's container has the tap's image.
func TestProtectAdmitsTaps(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	roles(t, c, ns)
	protect(t, c, ns)
	out, err := c.Run(t, barePod("p", "", "a", "x"), c.Bin("kubectl"), "create", "--namespace", ns, "--dry-run=server", "--output", "yaml", "--filename", "-", "--as", "tenant")
	if err != nil || !strings.Contains(out, "name: meshtls-tap") {
		t.Errorf("%v: the pod is not tapped:\n%s", err, out)
	}
}

// roles gives both users what the role edit consists of (a controller that is not here adds it up), and the namespace itself, as
// platforms give it to owners of projects.
func roles(t *testing.T, c *kit.Cluster, ns string) {
	t.Helper()
	for _, args := range [][]string{
		{"create", "rolebinding", "edit", "--clusterrole", "system:aggregate-to-edit", "--user", "tenant", "--user", "admin"},
		{"create", "rolebinding", "view", "--clusterrole", "system:aggregate-to-view", "--user", "tenant", "--user", "admin"},
		{"create", "role", "owner", "--verb", "get,patch,update", "--resource", "namespaces"},
		{"create", "rolebinding", "owner", "--role", "owner", "--user", "tenant", "--user", "admin"},
	} {
		if _, err := c.Kubectl(t, append(args, "--namespace", ns)...); err != nil {
			t.Fatal(err)
		}
	}
}

// protect makes the chart's policy and waits until the API server has taken it in.
func protect(t *testing.T, c *kit.Cluster, ns string) {
	t.Helper()
	chart := filepath.Join(kit.Repository(), "charts", "tap")
	policy, err := c.Run(t, "", c.Bin("helm4"), "template", release, chart, "--namespace", release, "--show-only", "templates/protect.yaml",
		"--set", "injection.protect.enabled=true,injection.protect.groups={platform,system:masters},kafka.brokers={kafka.kafka.svc:9094}", "--kube-version", "1.37.0")
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, release, policy)
	t.Cleanup(func() {
		if out, err := c.Run(t, policy, c.Bin("kubectl"), "delete", "--ignore-not-found", "--filename", "-"); err != nil {
			t.Log(out)
		}
	})
	kit.Eventually(t, kit.Limit, "the policy", func() error {
		out, err := c.Kubectl(t, "create", "configmap", "meshtls-tap", "--namespace", ns, "--dry-run=server", "--as", "tenant")
		if err == nil || !strings.Contains(out, reserved) {
			return fmt.Errorf("the ConfigMap: %v", err)
		}
		return nil
	})
}

func configMap(name string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}, data: {enabled: "false"}}`, name)
}

func labels(value string) string {
	if value == "" {
		return "{app: x}"
	}
	return fmt.Sprintf("{app: x, meshtls-tap: %s}", value)
}

func barePod(name, label, container, image string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s, labels: %s}, spec: {containers: [{name: %s, image: "%s"}]}}`, name, labels(label), container, image)
}

func workload(name, label, container string) string {
	return fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s}, spec: {selector: {matchLabels: {app: x}},
template: {metadata: {labels: %s}, spec: {containers: [{name: %s, image: x}]}}}}`, name, labels(label), container)
}

func cronJob(label string) string {
	return fmt.Sprintf(`{apiVersion: batch/v1, kind: CronJob, metadata: {name: c}, spec: {schedule: "0 0 * * *", jobTemplate: {spec: {
template: {metadata: {labels: %s}, spec: {restartPolicy: Never, containers: [{name: a, image: x}]}}}}}}`, labels(label))
}
