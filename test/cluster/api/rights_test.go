package api_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestRights compares the rights of the webhook's account with testdata/rights, for several values of the chart. The
// rights are those that the API server lists (kubectl auth can-i --list) in a tapped namespace and in the webhook's
// namespace.
func TestRights(t *testing.T) {
	c, _ := installed(t)
	for name, values := range map[string]string{
		"default": "webhook.replicas=2",
		// Each of these values removes a right.
		"least": "tap.quota=never,tap.imageCheck=false,tap.configMap=,webhook.events=false,webhook.dryRuns=never,webhook.tls.mode=existingSecret,webhook.tls.secretName=x,webhook.tls.caBundle=-----BEGIN CERTIFICATE-----",
		// With cert-manager the webhook needs no rights to change the caBundle or to use the Secret of the authority.
		"certManager": "webhook.tls.mode=certManager",
	} {
		t.Run(name, func(t *testing.T) {
			own, shop := c.Namespace(t, nil), c.Namespace(t, tapped)
			rbac, err := c.Run(t, "", c.Bin("helm4"), "template", own, filepath.Join(kit.Repository(), "charts", "tap"), "--namespace", own,
				"--set", "fullnameOverride="+own, "--set", values, "--show-only", "templates/rbac.yaml")
			if err != nil {
				t.Fatal(err)
			}
			c.Apply(t, own, rbac)
			t.Cleanup(func() { // deletes the objects that are not in the namespace
				ctx, now := context.Background(), *metav1.NewDeleteOptions(0)
				if err := errors.Join(c.RbacV1().ClusterRoleBindings().Delete(ctx, own, now), c.RbacV1().ClusterRoles().Delete(ctx, own, now)); err != nil {
					t.Error(err)
				}
			})
			everywhere := mayDo(t, c, own, shop)
			here := slices.DeleteFunc(mayDo(t, c, own, own), func(row string) bool { return slices.Contains(everywhere, row) })
			got := "in every namespace\n" + strings.Join(everywhere, "\n") + "\n\nin the release's namespace\n" + strings.Join(here, "\n") + "\n"
			golden(t, filepath.Join("testdata", "rights", name+".txt"), got)
		})
	}
}

// mayDo returns the rights that the account of a release has in a namespace, without those that every account has.
// They are the rows of kubectl auth can-i --list: resource, resource names in brackets, and verbs.
func mayDo(t *testing.T, c *kit.Cluster, own, namespace string) (rows []string) {
	t.Helper()
	out, err := c.Kubectl(t, "auth", "can-i", "--list", "--no-headers", "--as", "system:serviceaccount:"+own+":"+own, "--namespace", namespace)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`^(\S+)\s+\[\]\s+(\[.*\])\s+\[(.*)\]$`)
	for line := range strings.Lines(out) {
		m := row.FindStringSubmatch(strings.TrimSpace(strings.ReplaceAll(line, own, release)))
		if m == nil || strings.HasPrefix(m[1], "self") || strings.HasPrefix(m[1], "clustertrustbundles") {
			continue
		}
		if m[2] != "[]" {
			m[1] += " " + m[2]
		}
		rows = append(rows, "  "+m[1]+": "+m[3])
	}
	slices.Sort(rows)
	return rows
}

// golden compares a text with a golden file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs (-update writes it anew):\n%s", file, got)
	}
}
