package main

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestExplainTypeName: who may name pods but not workloads learns both ways out.
func TestExplainTypeName(t *testing.T) {
	refusal := apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, "checkout", nil)
	if got := explainTypeName(refusal).Error(); !strings.Contains(got, "rbac --optional") || !strings.Contains(got, "the name of a pod does not") {
		t.Error(got)
	}
	other := errors.New("no route to host")
	if got := explainTypeName(other); !errors.Is(got, other) || got.Error() != other.Error() {
		t.Error(got)
	}
}
