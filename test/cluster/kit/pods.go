package kit

import (
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Tap is the name of the tap's container in a pod.
const Tap = "meshtls-tap"

// ProbeImage is the image of the tests' own program (cmd/probe). The node has it from its start.
const ProbeImage = "meshtls.test/probe:1"

// Spec returns a pod spec with one container, which runs the tests' program with arguments.
func Spec(args ...string) corev1.PodSpec {
	no, now := false, int64(1)
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &now,
		AutomountServiceAccountToken:  &no,
		Containers:                    []corev1.Container{{Name: "app", Image: ProbeImage, ImagePullPolicy: corev1.PullNever, Args: args}},
	}
}

// NewPod returns a pod with the spec Spec("serve"), after each of the functions has changed it.
func NewPod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: Spec("serve")}
	for _, f := range change {
		f(p)
	}
	return p
}

// Created is the result of a request to create a pod.
type Created struct {
	Pod      *corev1.Pod
	Warnings []string
	Err      error
}

// Create creates a pod and returns the API server's response, including warnings.
func (c *Cluster) Create(t testing.TB, namespace string, pod *corev1.Pod, options metav1.CreateOptions) Created {
	t.Helper()
	var w warnings
	config := rest.CopyConfig(c.Config)
	config.WarningHandler = &w
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	var r Created
	r.Pod, r.Err = client.CoreV1().Pods(namespace).Create(t.Context(), pod, options)
	r.Warnings = w.all
	return r
}

// DryRun creates the pod as a dry run.
func (c *Cluster) DryRun(t testing.TB, namespace string, pod *corev1.Pod) Created {
	t.Helper()
	return c.Create(t, namespace, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

type warnings struct {
	mu  sync.Mutex
	all []string
}

// HandleWarningHeader is called by client-go for each warning.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

// Restricted changes a pod so that Pod Security's level restricted admits it.
func Restricted(p *corev1.Pod) {
	yes, no, user := true, false, int64(65532)
	p.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
	}
}

// Env returns the value of a variable of a container, or "".
func Env(c *corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}
