package api_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// reserved is a word that is in every refusal by the policy injection.protect.
const reserved = "reserved"

// TestProtect: with injection.protect, a user with the built-in role edit cannot turn taps off, add a container with
// the tap's name or change settings. A member of the configured group can. Both users have the same roles, so the
// policy and not RBAC makes the difference.
func TestProtect(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, nil)
	roles(t, c, ns)
	c.Apply(t, ns, workload("before", "", "x"))
	c.Apply(t, ns, barePod("running", "", "other", "x"))
	c.Apply(t, ns, barePod("looked-at", "", "other", "x"))
	protect(t, c, ns)
	if err := attached(t, as(t, c, ns, "admin", "platform"), "looked-at", "meshtls-tap", nil); err != nil {
		t.Fatal(err)
	}
	tenant, admin := as(t, c, ns, "tenant"), as(t, c, ns, "admin", "platform")
	for name, test := range map[string]struct {
		do      request
		refused bool
	}{
		"the ConfigMap":                  {create(configMap("meshtls-tap")), true},
		"another ConfigMap":              {create(configMap("mine")), false},
		"a pod that opts out":            {create(barePod("p", "disabled", "a", "x")), true},
		"a pod that opts in":             {create(barePod("p", "enabled", "a", "x")), true},
		"a pod without the label":        {create(barePod("p", "", "a", "x")), false},
		"an impostor":                    {create(barePod("p", "", "meshtls-tap", "busybox:1")), true},
		"an impostor with our image":     {create(barePod("p", "", "meshtls-tap", "ghcr.io/meshtls-tap/meshtls-tap:0.1.0")), true},
		"an image that looks like ours":  {create(barePod("p", "", "meshtls-tap", "ghcr.io/meshtls-tap/meshtls-tap-evil:1")), true},
		"a Deployment that opts out":     {create(workload("d", "disabled", "x")), true},
		"a Deployment with our name":     {create(workload("d", "", "meshtls-tap")), true},
		"a Deployment":                   {create(workload("d", "", "x")), false},
		"a Deployment that changes":      {replace(workload("before", "disabled", "x")), true},
		"a Deployment that changes else": {replace(workload("before", "", "z")), false},
		"a CronJob that opts out":        {create(cronJob("disabled")), true},
		"a CronJob":                      {create(cronJob("")), false},
		"a label on a pod that runs":     {patch("pods", "running", `{"metadata":{"labels":{"meshtls-tap":"disabled"}}}`), true},
		"another label on it":            {patch("pods", "running", `{"metadata":{"labels":{"a":"b"}}}`), false},
		"the namespace's label":          {patch("namespaces", ns, `{"metadata":{"labels":{"meshtls-tap":"disabled"}}}`), true},
		"the namespace's annotation":     {patch("namespaces", ns, `{"metadata":{"annotations":{"meshtls-tap/image":"evil:1"}}}`), true},
		"another annotation":             {patch("namespaces", ns, `{"metadata":{"annotations":{"a":"b"}}}`), false},
		"an ephemeral impostor":          {attach("running", "meshtls-tap"), true},
		"an ephemeral container":         {attach("running", "meshtls-tap-1"), false},
		"an ephemeral container more":    {attach("looked-at", "debugger"), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.do(t, tenant)
			if refused := err != nil && strings.Contains(err.Error(), reserved); refused != test.refused || err != nil && !refused {
				t.Errorf("the tenant: %v, refused should be %t", err, test.refused)
			}
			if strings.Contains(name, "impostor") || strings.Contains(name, "looks like") {
				return // impostors are not tested for the group, because the policy may refuse them for it too
			}
			if err := test.do(t, admin); err != nil {
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

// TestProtectAdmitsTaps: with the policy, a tenant's pod is still tapped. The policy admits the tap's container
// because of its image.
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

// roles gives both users the same rights: those of the role edit, the right to change the namespace, and the right to
// add ephemeral containers. Platforms may give the last two to project owners. roles binds the parts of the role edit,
// because the controller that aggregates them is not running.
func roles(t *testing.T, c *kit.Cluster, ns string) {
	t.Helper()
	for _, args := range [][]string{
		{"create", "rolebinding", "edit", "--clusterrole", "system:aggregate-to-edit", "--user", "tenant", "--user", "admin"},
		{"create", "rolebinding", "view", "--clusterrole", "system:aggregate-to-view", "--user", "tenant", "--user", "admin"},
		{"create", "role", "owner", "--verb", "get,patch,update", "--resource", "namespaces,pods/ephemeralcontainers"},
		{"create", "rolebinding", "owner", "--role", "owner", "--user", "tenant", "--user", "admin"},
	} {
		if _, err := c.Kubectl(t, append(args, "--namespace", ns)...); err != nil {
			t.Fatal(err)
		}
	}
}

// protect creates the chart's policy and waits until the API server enforces it.
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

// A user is a client of the API server that acts as one user in one namespace.
type user struct {
	dynamic.Interface
	namespace string
}

// as returns a client that impersonates a user. A request with kubectl would take half a second instead of
// milliseconds.
func as(t *testing.T, c *kit.Cluster, ns, name string, groups ...string) user {
	t.Helper()
	config := rest.CopyConfig(c.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: append(groups, "system:authenticated")}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return user{client, ns}
}

// of returns the client for one resource.
func (u user) of(resource string) dynamic.ResourceInterface {
	group := map[string]string{"deployments": "apps", "cronjobs": "batch"}[resource]
	r := u.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource})
	if resource == "namespaces" {
		return r
	}
	return r.Namespace(u.namespace)
}

// A request sends a change as a user, as a dry run. It returns the error if the change is refused.
type request func(*testing.T, user) error

var dry = []string{metav1.DryRunAll}

func create(object string) request {
	return func(t *testing.T, u user) error {
		o, resource := decoded(t, object)
		_, err := u.of(resource).Create(t.Context(), o, metav1.CreateOptions{DryRun: dry})
		return err
	}
}

func replace(object string) request {
	return func(t *testing.T, u user) error {
		o, resource := decoded(t, object)
		_, err := u.of(resource).Update(t.Context(), o, metav1.UpdateOptions{DryRun: dry})
		return err
	}
}

func patch(resource, name, patch string) request {
	return func(t *testing.T, u user) error {
		_, err := u.of(resource).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: dry})
		return err
	}
}

// attach returns a request to add an ephemeral container, as kubectl debug does.
func attach(pod, container string) request {
	return func(t *testing.T, u user) error { return attached(t, u, pod, container, dry) }
}

func attached(t *testing.T, u user, pod, container string, dry []string) error {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"ephemeralContainers":[{"name":%q,"image":"x"}]}}`, container)
	_, err := u.of("pods").Patch(t.Context(), pod, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{DryRun: dry}, "ephemeralcontainers")
	return err
}

// decoded returns the object that a YAML text describes, and the name of its resource.
func decoded(t *testing.T, object string) (*unstructured.Unstructured, string) {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(object), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o, strings.ToLower(o.GetKind()) + "s"
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
