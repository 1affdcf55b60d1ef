package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
)

// survey is the taps of all selected pods that could be read.
type survey struct {
	pods       int
	namespaces []string // those with pods that were read, sorted
	taps       []attach.Tap
	unproven   []string // what could not be read, a sentence each
}

// errUnproven is the error of a command whose result is true only for what could be read.
var errUnproven = errors.New("some pods could not be read, so it is not known whether taps run in them: see \"Not known\" above")

// survey reads the selected pods. Pods of namespaces that cannot be read are unproven.
func (o *options) survey(ctx context.Context, client kubernetes.Interface, s *selection) (*survey, error) {
	found := &survey{}
	pods, err := o.pods(ctx, client, s)
	if s.all && apierrors.IsForbidden(err) {
		pods, err = found.eachNamespace(ctx, client, s, err)
	}
	if err != nil {
		return nil, err
	}
	found.add(pods)
	return found, nil
}

// eachNamespace lists the pods of one namespace after the other, for a user who may not list those of all together.
func (f *survey) eachNamespace(ctx context.Context, client kubernetes.Interface, s *selection, refused error) ([]corev1.Pod, error) {
	list, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, refused
	}
	var all []corev1.Pod
	var denied []string
	for i := range list.Items {
		ns := list.Items[i].Name
		pods, err := listPods(ctx, client, ns, s.selector)
		switch {
		case apierrors.IsForbidden(err):
			denied = append(denied, ns)
		case err != nil:
			return nil, err
		}
		all = append(all, pods...)
	}
	if len(denied) > 0 {
		f.unproven = append(f.unproven, fmt.Sprintf("no right to list the pods of %s: %s.", plural(len(denied), "namespace"), strings.Join(denied, ", ")))
	}
	return all, nil
}

// add adds the taps of pods.
func (f *survey) add(pods []corev1.Pod) {
	var lost []string
	for i := range pods {
		p := &pods[i]
		if unanswered(p) {
			lost = append(lost, p.Namespace+"/"+p.Name)
		}
		f.pods++
		if !slices.Contains(f.namespaces, p.Namespace) {
			f.namespaces = append(f.namespaces, p.Namespace)
		}
		f.taps = append(f.taps, attach.Taps(p)...)
	}
	slices.Sort(f.namespaces)
	if len(lost) > 0 {
		f.unproven = append(f.unproven, fmt.Sprintf("%s not respond, so what is shown may be old: %s.", choose(len(lost), "the node of 1 pod does", fmt.Sprintf("the nodes of %d pods do", len(lost))), strings.Join(lost, ", ")))
	}
}

// unanswered reports whether the control plane has lost a pod's node, so that the pod's status is old. The node controller then sets
// the condition Ready to false, and leaves ContainersReady (k8s.io/kubernetes pkg/controller/util/node, MarkPodsNotReady).
func unanswered(p *corev1.Pod) bool {
	ready, containers := corev1.ConditionTrue, corev1.ConditionFalse
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			ready = c.Status
		}
		if c.Type == corev1.ContainersReady {
			containers = c.Status
		}
	}
	return p.Status.Reason == "NodeLost" || len(p.Spec.ReadinessGates) == 0 && ready != corev1.ConditionTrue && containers == corev1.ConditionTrue
}

// scope returns what was read, as a sentence.
func (f *survey) scope() string {
	switch len(f.namespaces) {
	case 0:
		return "No running pods were found."
	case 1:
		return fmt.Sprintf("Read %s in namespace %s.", plural(f.pods, "pod"), f.namespaces[0])
	}
	return fmt.Sprintf("Read %s in %s.", plural(f.pods, "pod"), plural(len(f.namespaces), "namespace"))
}
