package attach

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

// needed is the memory in bytes that must be left under a pod's limit: the tap's budget of 48 MiB, and 16 MiB for the application to
// grow. The containers of a pod share its limit, and an ephemeral container cannot have one of its own.
const needed = 64 << 20

// memory checks that enough memory is left for a tap in a pod. It returns the reason for a refusal, or else a sentence if it
// could not check, or two empty strings.
func (c *Client) memory(ctx context.Context, pod *corev1.Pod) (refusal, note string) {
	limit := memoryLimit(pod)
	if limit == 0 {
		return "", ""
	}
	if limit < needed {
		return fmt.Sprintf("its memory limit is %s, and a tap needs 64Mi of it: tap a pod with a higher limit, or capture on the node and use `tap read`", mebibytes(limit)), ""
	}
	used, err := c.memoryUsage(ctx, pod)
	if err != nil {
		return "", fmt.Sprintf("could not check whether 64Mi of its memory limit of %s is left (%s)", mebibytes(limit), why(err))
	}
	if left := limit - used; left < needed {
		return fmt.Sprintf("only %s of its memory limit of %s is left, and a tap needs 64Mi: tap another replica, or capture on the node and use `tap read`", mebibytes(max(0, left)), mebibytes(limit)), ""
	}
	return "", ""
}

// memoryLimit returns the memory limit of a pod in bytes; 0: it has none.
func memoryLimit(pod *corev1.Pod) int64 {
	if r := pod.Spec.Resources; r != nil {
		if q, ok := r.Limits[corev1.ResourceMemory]; ok {
			return q.Value()
		}
	}
	sum := int64(0)
	add := func(c *corev1.Container) bool {
		q, ok := c.Resources.Limits[corev1.ResourceMemory]
		sum += q.Value()
		return ok
	}
	for i := range pod.Spec.Containers {
		if !add(&pod.Spec.Containers[i]) {
			return 0
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways && !add(c) {
			return 0
		}
	}
	return sum
}

// memoryUsage returns the memory in bytes that a pod's containers use, from metrics.k8s.io.
func (c *Client) memoryUsage(ctx context.Context, pod *corev1.Pod) (int64, error) {
	b, err := c.Kube.CoreV1().RESTClient().Get().
		AbsPath("/apis/metrics.k8s.io/v1beta1/namespaces", pod.Namespace, "pods", pod.Name).Do(ctx).Raw()
	if err != nil {
		return 0, err
	}
	var m struct {
		Containers []struct {
			Usage struct {
				Memory resource.Quantity `json:"memory"`
			} `json:"usage"`
		} `json:"containers"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return 0, err
	}
	used := int64(0)
	for i := range m.Containers {
		used += m.Containers[i].Usage.Memory.Value()
	}
	return used, nil
}

// why returns the reason for which metrics.k8s.io was not read, in a few words.
func why(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "no right to get pods of metrics.k8s.io"
	case gone(err), apierrors.IsServiceUnavailable(err):
		return "metrics.k8s.io does not have the pod"
	}
	return err.Error()
}

// mebibytes formats a number of bytes, rounded down to MiB.
func mebibytes(n int64) string { return fmt.Sprintf("%dMi", n>>20) }
