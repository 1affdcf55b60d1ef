package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestPluginRights: a user with the Role that `kubectl meshtls rbac` prints can attach a tap, read it and prove that it
// has ended. A user without one of the verbs that the command needs is told which one is missing.
func TestPluginRights(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	w := newWorkstation(t, c)
	i := w.start(t, "rbac", "-n", ns, "--user", "responder-"+ns)
	i.expect(t, 0)
	c.Apply(t, ns, i.out.String())
	x := newTarget(t, c, ns)
	allowed(t, c, ns, "responder-"+ns, "create", "pods/attach", true)
	tap := w.tap(t, "web", "-n", ns, "--for", "4s", "--as", "responder-"+ns)
	x.tapped(t)
	tap.expect(t, 0, "plaintext", ns+"/web")
	t.Log(tap)
	x.untapped(t)
	kit.Eventually(t, kit.Limit, "status to report that no tap runs", func() error {
		s := w.start(t, "status", "-n", ns, "--as", "responder-"+ns)
		s.expect(t, 0)
		if !strings.Contains(s.out.String(), "No tap runs in ") {
			return fmt.Errorf("%s", s)
		}
		return nil
	})

	role, err := c.RbacV1().Roles(ns).Get(t.Context(), "meshtls-responder", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range []struct {
		verb, resource string
		args           []string // of the command that needs it
	}{
		{"get", "pods", []string{"tap", "web"}},
		{"list", "pods", []string{"status"}},
		{"patch", "pods/ephemeralcontainers", []string{"tap", "web"}},
		{"create", "pods/attach", []string{"tap", "web"}},
		{"get", "pods/log", []string{"tap", "web"}},
	} {
		t.Run(missing.verb+" "+missing.resource, func(t *testing.T) {
			user := without(t, c, role, missing.verb, missing.resource)
			args := slices.Concat(missing.args, []string{"-n", ns, "--as", user})
			if missing.args[0] == "tap" {
				args = append(slices.Concat(args, tapImage), "--for", "10s")
			}
			begin := time.Now()
			i := w.start(t, args...)
			i.expect(t, 1, fmt.Sprintf("missing right: verb %q on %q in namespace %q", missing.verb, missing.resource, ns), "kubectl meshtls rbac")
			t.Logf("after %v: %s", time.Since(begin), i)
		})
	}
	x.unharmed(t)
}

// without gives a user the rights of a Role without one verb on one resource, waits until they are effective, and returns the user's name.
func without(t *testing.T, c *kit.Cluster, role *rbacv1.Role, verb, resource string) (user string) {
	t.Helper()
	name := "no-" + verb + "-" + strings.ReplaceAll(resource, "/", "-")
	user = name + "-" + role.Namespace
	less := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, rule := range role.Rules {
		for _, r := range rule.Resources {
			for _, v := range rule.Verbs {
				if r != resource || v != verb {
					less.Rules = append(less.Rules, rbacv1.PolicyRule{APIGroups: rule.APIGroups, Resources: []string{r}, Verbs: []string{v}})
				}
			}
		}
	}
	if _, err := c.RbacV1().Roles(role.Namespace).Create(t.Context(), less, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}
	if _, err := c.RbacV1().RoleBindings(role.Namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, rule := range less.Rules {
		allowed(t, c, role.Namespace, user, rule.Verbs[0], rule.Resources[0], true)
	}
	allowed(t, c, role.Namespace, user, verb, resource, false)
	return user
}

// allowed waits until a user has a right, or has not.
func allowed(t *testing.T, c *kit.Cluster, ns, user, verb, resource string, want bool) {
	t.Helper()
	resource, sub, _ := strings.Cut(resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: verb, Resource: resource, Subresource: sub},
	}}
	kit.Eventually(t, kit.Limit, "the rights of "+user, func() error {
		r, err := c.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err == nil && r.Status.Allowed != want {
			err = fmt.Errorf("allowed to %s %s/%s: %v", verb, resource, sub, r.Status.Allowed)
		}
		return err
	})
}

// TestPluginFound: kubectl finds the plugin in PATH, lists it, runs it and completes its arguments.
func TestPluginFound(t *testing.T) {
	t.Parallel()
	c := installed(t)
	w := newWorkstation(t, c)
	folder := t.TempDir()
	if err := os.Symlink(program(t), filepath.Join(folder, "kubectl-meshtls")); err != nil {
		t.Fatal(err)
	}
	script, err := w.command(program(t), "completion", "kubectl").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "kubectl_complete-meshtls"), script, 0o755); err != nil {
		t.Fatal(err)
	}
	ns := c.Namespace(t, nil)
	run(t, c, ns, kit.NewPod("web-pod"))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"plugin", "list"}, filepath.Join(folder, "kubectl-meshtls")},
		{[]string{"meshtls", "version"}, "kubectl meshtls version test"},
		{[]string{"meshtls", "status", "-n", ns}, "No tap runs in "},
		{[]string{"__complete", "meshtls", "stat"}, "status"},
		{[]string{"__complete", "meshtls", "tap", "-n", ns, "we"}, "web-pod"},
	} {
		cmd := w.command(c.Bin("kubectl"), test.args...)
		cmd.Env = append(cmd.Env, "PATH="+folder+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), test.want) {
			t.Errorf("kubectl %s: %v, no %q in\n%s", strings.Join(test.args, " "), err, test.want, out)
		}
	}
}
