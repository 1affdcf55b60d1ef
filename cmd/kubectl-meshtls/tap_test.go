package main

import (
	"bytes"
	"regexp"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
)

// TestTapDryRun: --dry-run=client -o yaml prints the patch of each pod. The random identifier of the attachment is replaced.
func TestTapDryRun(t *testing.T) {
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-0", UID: "1"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	c := &attach.Client{Kube: fake.NewClientset()}
	plan, err := c.Plan(t.Context(), []corev1.Pod{pod}, attach.Options{Image: "r/meshtls-tap:1", For: 5 * time.Minute, Unchecked: true})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	o := &options{IOStreams: genericiooptions.IOStreams{Out: &out}}
	if err := o.printPlan(plan, "yaml"); err != nil {
		t.Fatal(err)
	}
	golden(t, "dry_run.yaml", regexp.MustCompile("[0-9a-f]{12}").ReplaceAllString(out.String(), "RANDOM"))
}

// TestFlagsOfAttachments: wrong values are wrong usage, before any request.
func TestFlagsOfAttachments(t *testing.T) {
	for _, args := range [][]string{
		{"tap", "web"}, // this build has no version, so the image is needed
		{"tap", "web", "--image", "x", "--for", "0s"},
		{"tap", "web", "--image", "x", "--max-pods", "0"},
		{"tap", "web", "--image", "x", "--image-pull-policy", "always"},
		{"tap", "web", "--image", "x", "--dry-run", "yes"},
		{"tap", "web", "--image", "x", "--fail-on", "plaintext"},
		{"tap", "web", "--image", "x", "-o", "yaml"},
		{"tap", "--image", "x"},
		{"pcap", "web", "--image", "x", "-f", "tcp prot 1"},
		{"pcap", "web", "--image", "x", "--max-bytes", "many"},
		{"pcap", "web", "--image", "x", "--snaplen", "0"},
		{"rbac"},
		{"status", "-o", "xml"},
	} {
		if _, stderr, status := command(t, args...); status != exitUsage || stderr == "" {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
	}
}
