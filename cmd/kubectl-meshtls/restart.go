package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// restartedAt is the annotation of a pod template that `kubectl rollout restart` sets (k8s.io/kubectl pkg/polymorphichelpers).
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// workload is what has to be restarted to replace some pods.
type workload struct {
	kind, name string
	pods       int
	why        string // why it cannot be restarted, or ""
}

func (w *workload) String() string { return strings.ToLower(w.kind) + "/" + w.name }

// restartForTaps restarts the workloads whose pods have no tap and would get one, or says how many there are.
func (c *change) restartForTaps(ctx context.Context) error {
	view := c.state.view(time.Now())
	view.Labels, view.Off, view.Until = map[string]string{inject.Label: inject.Enabled}, false, time.Time{}
	cfg := c.install.cfg
	view.Annotations = nil
	return c.restart(ctx, "without a tap", func(pod *corev1.Pod) bool {
		raw, err := json.Marshal(pod)
		return err == nil && inject.Tap(&cfg, view, raw, time.Now()).Reason == inject.Injected
	})
}

// restartWithTaps restarts the workloads whose pods have taps, or says how many there are.
func (c *change) restartWithTaps(ctx context.Context) error {
	return c.restart(ctx, "with the container of a tap", hasSidecar)
}

// restart restarts the workloads of the pods that are selected.
func (c *change) restart(ctx context.Context, which string, selected func(*corev1.Pod) bool) error {
	pods, err := listPods(ctx, c.client, c.ns, "")
	if err != nil {
		return err
	}
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return !selected(&p) })
	found, err := c.workloads(ctx, pods)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		c.say("namespace/%s: there is no running pod %s, so nothing needs a restart", c.ns, which)
		return nil
	}
	if !c.flags.restart {
		var names []string
		for i := range found {
			names = append(names, found[i].String())
		}
		c.say("namespace/%s: %s", c.ns, notRestarted(len(pods), which, names))
		return nil
	}
	var errs []error
	for i := range found {
		w := &found[i]
		if w.why != "" {
			c.say("%s: not restarted (%s): %s", w, plural(w.pods, "pod"), w.why)
			continue
		}
		if err := c.rollout(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w, err))
			continue
		}
		c.say("%s: restarted (%s)", w, plural(w.pods, "pod"))
	}
	return errors.Join(errs...)
}

// notRestarted returns how many pods were left alone, and which workloads a restart would concern.
func notRestarted(pods int, which string, workloads []string) string {
	return fmt.Sprintf("%s %s %s not restarted; --restart would restart %s", plural(pods, "running pod"), which, choose(pods, "is", "are"), strings.Join(workloads, ", "))
}

// workloads returns the workloads of pods, sorted, each once.
func (c *change) workloads(ctx context.Context, pods []corev1.Pod) ([]workload, error) {
	found := map[[2]string]*workload{}
	for i := range pods {
		kind, name := "Pod", pods[i].Name
		if owner := metav1.GetControllerOf(&pods[i]); owner != nil {
			kind, name = owner.Kind, owner.Name
		}
		if kind == "ReplicaSet" {
			set, err := c.client.AppsV1().ReplicaSets(c.ns).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			if owner := metav1.GetControllerOf(set); owner != nil {
				kind, name = owner.Kind, owner.Name
			}
		}
		key := [2]string{kind, name}
		if found[key] == nil {
			found[key] = &workload{kind: kind, name: name}
		}
		found[key].pods++
	}
	var all []workload
	for _, w := range found {
		if err := c.restartable(ctx, w); err != nil {
			return nil, err
		}
		all = append(all, *w)
	}
	slices.SortFunc(all, func(a, b workload) int { return strings.Compare(a.String(), b.String()) })
	return all, nil
}

// restartable sets why a workload cannot be restarted.
func (c *change) restartable(ctx context.Context, w *workload) error {
	switch w.kind {
	case "Deployment":
		d, err := c.client.AppsV1().Deployments(c.ns).Get(ctx, w.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Spec.Paused {
			w.why = "its rollout is paused: resume it with kubectl rollout resume"
		}
	case "StatefulSet":
		s, err := c.client.AppsV1().StatefulSets(c.ns).Get(ctx, w.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
			w.why = "its strategy is OnDelete: delete its pods yourself"
		}
	case "DaemonSet":
		d, err := c.client.AppsV1().DaemonSets(c.ns).Get(ctx, w.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
			w.why = "its strategy is OnDelete: delete its pods yourself"
		}
	case "Pod":
		w.why = "it has no controller that would create it again: replace it yourself"
	case "Job":
		w.why = "jobs are not restarted: the change applies to the next run"
	default:
		w.why = "kubectl cannot restart this kind: replace its pods yourself"
	}
	return nil
}

// rollout restarts a workload as `kubectl rollout restart` does.
func (c *change) rollout(ctx context.Context, w *workload) error {
	if c.flags.dryRun == "client" {
		return nil
	}
	text, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{restartedAt: time.Now().Format(time.RFC3339)},
	}}}})
	if err != nil {
		return err
	}
	apps, q := c.client.AppsV1(), c.patchOptions()
	switch w.kind {
	case "Deployment":
		_, err = apps.Deployments(c.ns).Patch(ctx, w.name, types.StrategicMergePatchType, text, q)
	case "StatefulSet":
		_, err = apps.StatefulSets(c.ns).Patch(ctx, w.name, types.StrategicMergePatchType, text, q)
	case "DaemonSet":
		_, err = apps.DaemonSets(c.ns).Patch(ctx, w.name, types.StrategicMergePatchType, text, q)
	}
	return err
}
