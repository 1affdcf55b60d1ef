package attach

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestNumbersInText: the announcement is right for one pod and for two.
func TestNumbersInText(t *testing.T) {
	said := func(x ...PodPlan) string {
		return strings.Join((&Plan{Options: Options{For: time.Minute}, Pods: x}).Announce(), " ")
	}
	add := PodPlan{Pod: newPod("a"), Container: &corev1.EphemeralContainer{}, Profile: "default"}
	reuse := PodPlan{Pod: newPod("b"), Reuse: &Tap{}}
	for _, test := range []struct{ got, want string }{
		{said(add), "Will add an ephemeral container to 1 pod: shop/a. It runs as "},
		{said(add), " or when this command ends. The pod is not restarted."},
		{said(add, add), "Will add an ephemeral container to 2 pods: shop/a, shop/a. Each runs as "},
		{said(add, add), " or when this command ends. The pods are not restarted."},
		{said(reuse), "Will read the records of the tap that already runs in 1 pod: shop/b."},
		{said(reuse, reuse), "Will read the records of the taps that already run in 2 pods: shop/b, shop/b."},
		{(&TooManyPodsError{Pods: 2, Max: 1}).Error(), "2 pods are selected, but at most 1 may be tapped: select fewer, or set --max-pods"},
		{count(0, "pod"), "0 pods"},
	} {
		if !strings.Contains(test.got, test.want) {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}
