package kit

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Limit is how long a test waits for conditions that are met within seconds on an idle machine. No measurement depends on
// it.
const Limit = 5 * time.Minute

// Eventually calls f until it returns nil. After the time limit it fails the test with the last error.
func Eventually(t testing.TB, limit time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for %s: %v", limit, what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Namespace creates a namespace with a unique name and deletes it at the end of the test. If the test has failed, it
// first prints a diagnosis.
func (c *Cluster) Namespace(t testing.TB, labels map[string]string) string {
	t.Helper()
	ns, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "t-", Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.diagnosis(ns.Name))
		}
		now := int64(0)
		err := c.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	if c.node { // pods are refused until the controller has created the service account
		Eventually(t, Limit, "the default service account", func() error {
			_, err := c.CoreV1().ServiceAccounts(ns.Name).Get(t.Context(), "default", metav1.GetOptions{})
			return err
		})
	}
	return ns.Name
}

// diagnosis describes a namespace: its pods, its warning Events, and the last lines of the logs.
func (c *Cluster) diagnosis(namespace string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var b strings.Builder
	events, err := c.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, e := range events.Items {
		if e.Type != corev1.EventTypeNormal {
			fmt.Fprintf(&b, "event: %s %s: %s: %s\n", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
	pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, p := range pods.Items {
		fmt.Fprintf(&b, "pod %s: %s\n", p.Name, p.Status.Phase)
		for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			log, _ := c.logs(ctx, namespace, p.Name, s.Name)
			fmt.Fprintf(&b, "  %s: ready %v, restarts %d, state %+v\n%s", s.Name, s.Ready, s.RestartCount, s.State, tail(log, 8))
		}
	}
	return b.String()
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var b strings.Builder
	for _, l := range lines[max(0, len(lines)-n):] {
		fmt.Fprintf(&b, "    | %.300s\n", l)
	}
	return b.String()
}

func (c *Cluster) logs(ctx context.Context, namespace, pod, container string) (string, error) {
	in, err := c.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container}).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer in.Close()
	all, err := io.ReadAll(in)
	return string(all), err
}

// Logs returns the log of a container so far.
func (c *Cluster) Logs(t testing.TB, namespace, pod, container string) string {
	t.Helper()
	log, err := c.logs(t.Context(), namespace, pod, container)
	if err != nil {
		t.Logf("logs of %s/%s %s: %v", namespace, pod, container, err)
	}
	return log
}

// Logged waits until a line of a container's log contains a text, and returns the line.
func (c *Cluster) Logged(t testing.TB, limit time.Duration, namespace, pod, container, text string) string {
	t.Helper()
	var line string
	Eventually(t, limit, fmt.Sprintf("%q in the log of %s/%s %s", text, namespace, pod, container), func() error {
		log, err := c.logs(t.Context(), namespace, pod, container)
		if err != nil {
			return err
		}
		for l := range strings.Lines(log) {
			if strings.Contains(l, text) {
				line = strings.TrimSpace(l)
				return nil
			}
		}
		return fmt.Errorf("it has not:\n%s", tail(log, 5))
	})
	return line
}

// Pod returns a pod.
func (c *Cluster) Pod(t testing.TB, namespace, name string) *corev1.Pod {
	t.Helper()
	p, err := c.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Selected waits until a label selects exactly n pods that are not being deleted, and returns them.
func (c *Cluster) Selected(t testing.TB, namespace, selector string, n int) []corev1.Pod {
	t.Helper()
	var found []corev1.Pod
	Eventually(t, Limit, fmt.Sprintf("%d pods with %s", n, selector), func() error {
		pods, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		found = nil
		for _, p := range pods.Items {
			if p.DeletionTimestamp == nil {
				found = append(found, p)
			}
		}
		if len(found) != n {
			return fmt.Errorf("%d are there", len(found))
		}
		return nil
	})
	return found
}

// Ready waits until a pod is Ready.
func (c *Cluster) Ready(t testing.TB, namespace, name string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	Eventually(t, Limit, "pod "+name+" to be Ready", func() (err error) {
		if pod, err = c.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !IsReady(pod) {
			return fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return nil
	})
	return pod
}

// IsReady reports whether a pod is Ready.
func IsReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Container returns the pod's container with the given name, or nil. init reports whether it is an init container.
func Container(p *corev1.Pod, name string) (container *corev1.Container, init bool) {
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == name {
			return &p.Spec.InitContainers[i], true
		}
	}
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == name {
			return &p.Spec.Containers[i], false
		}
	}
	return nil, false
}
