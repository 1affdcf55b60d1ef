package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// podCounter counts the pods of the namespaces that request taps. It also finds pods without a tap that were created
// before the webhook was installed or while it was unavailable. Only the elected replica runs it.
type podCounter struct {
	client     client.Client // reads namespaces, from the cache
	live       client.Reader // reads pods, in pages: they are too many for a cache
	cfg        *inject.Config
	namespaces *namespaces
	dryRuns    *dryRuns
	quotas     *quotas // nil: quotas are not checked
	events     *events
	log        *slog.Logger

	reported map[string]podCounts // counts that were reported last, by namespace
}

// The number of pods in a page. etcd stores objects of at most 1.5 MiB, so a page of fewPods pods always fits in
// mostRead bytes. A page of manyPods pods usually does.
const (
	manyPods = 250
	fewPods  = 10
)

// The states of pods. A pod that is skipped for a reason in the map states is counted under that reason, any other
// skipped pod under stateSkipped.
const (
	stateTapped   = "tapped"
	stateOutdated = "outdated" // tapped, but with another configuration
	stateUntapped = "untapped" // not tapped, although it could be
	stateSkipped  = "skipped"
)

// podCounts is the number of pods of a namespace, by state.
type podCounts map[string]int

// states lists the reasons for skipping a pod that are counted separately. The values describe the Event that is sent
// to the namespace: its type, its reason and its note. The note is a format string for the number of pods.
var states = map[inject.Reason][3]string{
	inject.ReasonOptedOut: {corev1.EventTypeNormal, "PodsOptedOut", "%d pods run without a tap because of their label " + inject.Label + "=" + inject.Disabled + "."},
	inject.ReasonRefused:  {corev1.EventTypeWarning, "PodsRefused", "%d pods run without a tap because Pod Security, a policy or a webhook refuses tapped pods."},
	inject.ReasonForeign: {corev1.EventTypeWarning, inject.EventForeign,
		"%d pods have a container named " + inject.Name + " that is not the tap. They have no tap."},
	inject.ReasonHostNetwork: {corev1.EventTypeNormal, "PodsInHostNetwork", "%d pods use their node's network and have no tap."},
	inject.ReasonShared:      {corev1.EventTypeNormal, "PodsShareProcesses", "%d pods run without a tap because their containers share a process namespace."},
	inject.ReasonQuota:       {corev1.EventTypeWarning, "PodsOverQuota", "%d pods run without a tap because a quota or a limit range has no room for the tap."},
}

// state returns the state for a reason.
func state(r inject.Reason) string {
	if _, ok := states[r]; ok {
		return string(r)
	}
	return stateSkipped
}

// countAll counts the pods of all namespaces, sets the metrics, and sends Events to namespaces whose counts have
// changed.
func (c *podCounter) countAll(ctx context.Context) error {
	var list corev1.NamespaceList
	if err := c.client.List(ctx, &list, client.MatchingLabels{inject.Label: inject.Enabled}); err != nil {
		return err
	}

	seen := map[string]podCounts{}
	var errs []error
	for i := range list.Items {
		name := list.Items[i].Name
		if !concerned(c.cfg, &list.Items[i]) {
			continue
		}
		counts, err := c.count(ctx, &list.Items[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("namespace %s: %w", name, err))
			continue
		}
		seen[name] = counts
		c.publish(name, counts)
		c.report(name, counts)
	}

	for name := range c.reported {
		if _, ok := seen[name]; !ok {
			podStates.DeletePartialMatch(map[string]string{"namespace": name})
		}
	}
	c.reported = seen
	return errors.Join(errs...)
}

// report sends an Event for each state whose count has changed since the last report.
func (c *podCounter) report(name string, counts podCounts) {
	was := c.reported[name]
	if counts[stateUntapped]+counts[stateOutdated] > 0 && (counts[stateUntapped] != was[stateUntapped] || counts[stateOutdated] != was[stateOutdated]) {
		c.events.namespace(name, corev1.EventTypeWarning, "PodsUntapped",
			"%d pods run without a tap and %d with an outdated one: they were created before the webhook or the label, or while the webhook was unavailable. Restart them to change that.",
			counts[stateUntapped], counts[stateOutdated])
	}
	for reason, about := range states {
		if n := counts[string(reason)]; n > 0 && n != was[string(reason)] {
			c.events.namespace(name, about[0], about[1], about[2], n)
		}
	}
}

func (c *podCounter) publish(name string, counts podCounts) {
	all := []string{stateTapped, stateOutdated, stateUntapped, stateSkipped}
	for reason := range states {
		all = append(all, string(reason))
	}
	for _, state := range all {
		podStates.WithLabelValues(name, state).Set(float64(counts[state]))
	}
}

func (c *podCounter) count(ctx context.Context, object *corev1.Namespace) (podCounts, error) {
	counts := podCounts{}
	ns, err := c.namespaces.view(ctx, object)
	if err != nil {
		return counts, err
	}

	a, err := c.dryRuns.of(ctx, ns)
	if err != nil {
		return counts, err
	}
	a.fillIn(ns)
	if c.quotas != nil {
		c.quotas.fillIn(ctx, ns)
	}

	var list corev1.PodList
	limit := client.Limit(manyPods)
	for next := ""; ; next = list.Continue {
		page := func() error {
			return c.live.List(bounded(ctx, mostRead), &list, client.InNamespace(ns.Name), limit, client.Continue(next))
		}

		err := page()
		if errors.Is(err, errTooMuch) && limit > fewPods {
			limit = fewPods
			err = page()
		}
		if err != nil {
			return counts, err
		}
		for i := range list.Items {
			if err := c.add(counts, ns, &list.Items[i]); err != nil {
				return counts, err
			}
		}
		if list.Continue == "" {
			return counts, nil
		}
	}
}

func (c *podCounter) add(counts podCounts, ns *inject.Namespace, pod *corev1.Pod) error {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	raw, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	switch reason := inject.Tap(c.cfg, ns, raw, c.namespaces.now()).Reason; reason {
	case inject.ReasonAlready:
		var status inject.Status
		if json.Unmarshal([]byte(pod.Annotations[inject.Prefix+inject.AnnotationStatus]), &status) == nil && status.Config == c.cfg.Hash() {
			counts[stateTapped]++
		} else {
			counts[stateOutdated]++
		}
	case inject.Injected:
		counts[stateUntapped]++
	default:
		counts[state(reason)]++
	}
	return nil
}
