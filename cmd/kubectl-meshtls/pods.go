package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
)

// selection selects pods: names, TYPE/NAME of workloads and services, or a label selector; in one namespace or in all.
type selection struct {
	names    []string
	selector string
	all      bool // namespaces
}

// addFlags adds the flags of a selection to a command.
func (s *selection) addFlags(c *cobra.Command) {
	c.Flags().StringVarP(&s.selector, "selector", "l", "", "select pods by labels, such as app=checkout")
	c.Flags().BoolVarP(&s.all, "all-namespaces", "A", false, "select pods of all namespaces")
}

// everything reports whether neither names nor labels are given.
func (s *selection) everything() bool { return len(s.names) == 0 && s.selector == "" }

// pods returns the selected pods that have not ended, sorted by namespace and name.
func (o *options) pods(ctx context.Context, client kubernetes.Interface, s *selection) ([]corev1.Pod, error) {
	ns, err := o.namespace()
	if err != nil {
		return nil, err
	}
	if len(s.names) > 0 && (s.selector != "" || s.all) {
		return nil, usageErrorf("names cannot be combined with -l or -A: expected one or the other")
	}
	var pods []corev1.Pod
	if len(s.names) == 0 {
		if s.all {
			ns = metav1.NamespaceAll
		}
		pods, err = listPods(ctx, client, ns, s.selector)
	} else {
		pods, err = o.named(ctx, client, ns, s.names)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.CompactFunc(pods, func(a, b corev1.Pod) bool { return a.UID == b.UID }), nil
}

// listPods returns the pods of a namespace, or of all, that have not ended.
func listPods(ctx context.Context, client kubernetes.Interface, ns, selector string) ([]corev1.Pod, error) {
	list, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, attach.Explain(err, "list", "pods", ns)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	}), nil
}

// named returns the pods of names: POD or TYPE/NAME.
func (o *options) named(ctx context.Context, client kubernetes.Interface, ns string, names []string) ([]corev1.Pod, error) {
	var others []string
	var pods []corev1.Pod
	for _, name := range names {
		kind, rest, found := strings.Cut(name, "/")
		if !found {
			kind, rest = "pod", name
		}
		if !slices.Contains([]string{"po", "pod", "pods"}, kind) {
			others = append(others, name)
			continue
		}
		pod, err := client.CoreV1().Pods(ns).Get(ctx, rest, metav1.GetOptions{})
		if err != nil {
			return nil, attach.Explain(err, "get", "pods", ns)
		}
		pods = append(pods, *pod)
	}
	if len(others) == 0 {
		return pods, nil
	}
	infos, err := resource.NewBuilder(o.config).WithScheme(scheme.Scheme, scheme.Scheme.PrioritizedVersionsAllGroups()...).
		NamespaceParam(ns).DefaultNamespace().ResourceTypeOrNameArgs(true, others...).Flatten().Do().Infos()
	if err != nil {
		return nil, explainTypeName(err)
	}
	for _, info := range infos {
		found, err := podsOf(ctx, client, info.Object, info.Namespace)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", info.Mapping.Resource.Resource, info.Name, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s/%s in namespace %s has no pods: check its number of replicas", info.Mapping.Resource.Resource, info.Name, info.Namespace)
		}
		pods = append(pods, found...)
	}
	return pods, nil
}

// explainTypeName adds the way out to the API server's refusal to return the object of a TYPE/NAME. It returns other errors unchanged.
func explainTypeName(err error) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	return fmt.Errorf("%w\nTYPE/NAME needs further rights, which `kubectl meshtls rbac --optional` prints; the name of a pod does not", err)
}

// errKind is the error for a type of resource that has no pods.
var errKind = errors.New("expected a pod, deployment, statefulset, daemonset, replicaset, job, cronjob or service")

// podsOf returns the pods of a workload, or those that a service selects.
func podsOf(ctx context.Context, client kubernetes.Interface, object runtime.Object, ns string) ([]corev1.Pod, error) {
	var s *metav1.LabelSelector
	switch x := object.(type) {
	case *appsv1.Deployment:
		s = x.Spec.Selector
	case *appsv1.StatefulSet:
		s = x.Spec.Selector
	case *appsv1.DaemonSet:
		s = x.Spec.Selector
	case *appsv1.ReplicaSet:
		s = x.Spec.Selector
	case *batchv1.Job:
		s = x.Spec.Selector
	case *batchv1.CronJob:
		var all []corev1.Pod
		for _, j := range x.Status.Active {
			pods, err := listPods(ctx, client, ns, batchv1.JobNameLabel+"="+j.Name)
			if err != nil {
				return nil, err
			}
			all = append(all, pods...)
		}
		return all, nil
	case *corev1.Service:
		if len(x.Spec.Selector) == 0 {
			return nil, errors.New("the service has no selector, so its pods are not known: name a pod or a workload")
		}
		return listPods(ctx, client, ns, labels.SelectorFromSet(x.Spec.Selector).String())
	default:
		return nil, usageErrorf("%w", errKind)
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, err
	}
	return listPods(ctx, client, ns, selector.String())
}
