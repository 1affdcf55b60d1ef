package attach

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestExplain: the message names the namespace of the missing right, or all namespaces, and the command that prints the right.
func TestExplain(t *testing.T) {
	err := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	for namespace, want := range map[string]string{
		"shop": "\nmissing right: verb \"list\" on \"pods\" in namespace \"shop\"; `kubectl meshtls rbac` prints a Role with",
		"":     "\nmissing right: verb \"list\" on \"pods\" in all namespaces; `kubectl meshtls rbac -A` prints a ClusterRole with",
	} {
		if got := Explain(err, "list", "pods", namespace).Error(); !strings.Contains(got, want) {
			t.Errorf("namespace %q: %s", namespace, got)
		}
	}
}
