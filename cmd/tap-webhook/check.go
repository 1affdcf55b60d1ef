package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// checkEnvironment has the environment variables of `tap-webhook check`.
type checkEnvironment struct {
	Kubeconfig string `env:"KUBECONFIG"`
	Namespace  string `env:"WEBHOOK_CHECK_NAMESPACE" envDefault:"default"`
}

const (
	checkLimit = time.Minute     // bounds the whole check, because `helm test` waits for it
	checkPause = 2 * time.Second // between two attempts
)

// check runs the command that `helm test` calls: it creates a pod in a namespace as a dry run and checks that the pod
// gets a tap. It returns the exit status.
func check(ctx context.Context, environ []string, out, errs io.Writer) int {
	var e checkEnvironment
	err := errors.Join(variables.Parse(&e, variables.Of(environ))...)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, checkLimit)
		defer cancel()
		err = checkTapped(ctx, e, out)
	}
	if err != nil {
		fmt.Fprintf(errs, "tap-webhook check: %v\n", err)
		return exitError
	}
	return exitFine
}

func checkTapped(ctx context.Context, e checkEnvironment, out io.Writer) error {
	config, err := cluster(e.Kubeconfig)
	if err != nil {
		return err
	}
	var said warnings
	config.WarningHandler = &said
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}

	namespace := e.Namespace
	for {
		said = nil
		pod, err := c.CoreV1().Pods(namespace).Create(ctx, checkPod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && hasTap(pod) {
			fmt.Fprintf(out, "a pod in namespace %s is tapped: %s\n", namespace, pod.Annotations["meshtls-tap/status"])
			return nil
		}
		if err == nil {
			err = fmt.Errorf("a pod in namespace %s is not tapped: %s", namespace, why(said))
		}
		select { // a webhook that was just installed first needs some time to try its image
		case <-ctx.Done():
			return err
		case <-time.After(checkPause):
		}
	}
}

func why(said warnings) string {
	if len(said) == 0 {
		return "the webhook was not called, or did not respond"
	}
	return strings.Join(said, "; ")
}

// checkPod returns a pod that every level of Pod Security admits.
func checkPod() *corev1.Pod {
	yes, no := true, false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "meshtls-tap-check-"},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "check", Image: "meshtls-tap.invalid/check",
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

func hasTap(p *corev1.Pod) bool {
	for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
		if c.Name == "meshtls-tap" {
			return true
		}
	}
	return false
}

// warnings collects the warnings in the responses of the API server.
type warnings []string

var _ rest.WarningHandler = (*warnings)(nil)

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) { *w = append(*w, text) }
