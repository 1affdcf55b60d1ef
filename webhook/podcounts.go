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

// podCounter counts the pods of the namespaces that ask for taps: a webhook that was away, or came
// later than its pods, left some without. Only the elected replica runs it.
type podCounter struct {
	client     client.Client // namespaces from the cache
	live       client.Reader // pods, in pages: they are too many to keep
	cfg        *inject.Config
	namespaces *namespaces
	dryRuns    *dryRuns
	quotas     *quotas // nil: do not matter
	events     *events
	log        *slog.Logger

	reported map[string]podCounts // what a namespace was told last
}

// Pods of a page: as many as are usually small enough, and as many as always are (etcd takes objects
// of at most 1.5 MiB).
const (
	manyPods = 250
	fewPods  = 10
)

// The states of pods. One that is skipped for a reason that is not among them is stateSkipped.
const (
	stateTapped   = "tapped"
	stateOutdated = "outdated" // tapped with another configuration
	stateUntapped = "untapped" // though it could be
	stateSkipped  = "skipped"
)

// podCounts is the pods of a namespace, by state.
type podCounts map[string]int

// states are the states of pods that a reason names, with the Event on the namespace: its type, its
// reason, and a text for a number of pods.
var states = map[inject.Reason][3]string{
	inject.ReasonOptedOut: {corev1.EventTypeNormal, "PodsOptedOut", "%d pods run without a tap because of their label " + inject.Label + "=" + inject.Disabled + "."},
	inject.ReasonRefused:  {corev1.EventTypeWarning, "PodsRefused", "%d pods run without a tap because Pod Security, a policy or a webhook refuses tapped pods."},
	inject.ReasonForeign: {corev1.EventTypeWarning, "ForeignContainer",
		"%d pods have a container named " + inject.Name + " that is not the tap. They are not watched."},
	inject.ReasonHostNetwork: {corev1.EventTypeNormal, "PodsInHostNetwork", "%d pods are in their node's network and have no tap."},
	inject.ReasonShared:      {corev1.EventTypeNormal, "PodsShareProcesses", "%d pods run without a tap because their containers share their processes."},
	inject.ReasonQuota:       {corev1.EventTypeWarning, "PodsOverQuota", "%d pods run without a tap because a quota or a limit range has no room for it."},
}

// state is the name of a reason's state.
func state(r inject.Reason) string {
	if _, ok := states[r]; ok {
		return string(r)
	}
	return stateSkipped
}

// countAll counts all pods and tells each namespace whose count changed.
func (s *podCounter) countAll(ctx context.Context) error {
	var list corev1.NamespaceList
	if err := s.client.List(ctx, &list, client.MatchingLabels{inject.Label: inject.Enabled}); err != nil {
		return err
	}
	seen := map[string]podCounts{}
	var errs []error
	for i := range list.Items {
		name := list.Items[i].Name
		if !concerned(s.cfg, &list.Items[i]) {
			continue
		}
		t, err := s.count(ctx, &list.Items[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("namespace %s: %w", name, err))
			continue
		}
		seen[name] = t
		s.publish(name, t)
		s.report(name, t)
	}
	for name := range s.reported {
		if _, ok := seen[name]; !ok {
			podStates.DeletePartialMatch(map[string]string{"namespace": name})
		}
	}
	s.reported = seen
	return errors.Join(errs...)
}

// report says of each state what changed since the last time.
func (s *podCounter) report(name string, t podCounts) {
	was := s.reported[name]
	if t[stateUntapped]+t[stateOutdated] > 0 && (t[stateUntapped] != was[stateUntapped] || t[stateOutdated] != was[stateOutdated]) {
		s.events.namespace(name, corev1.EventTypeWarning, "PodsUntapped",
			"%d pods run without a tap and %d with an outdated one: they were created before, or while the webhook was away. Restart them to change that.",
			t[stateUntapped], t[stateOutdated])
	}
	for reason, about := range states {
		if n := t[string(reason)]; n > 0 && n != was[string(reason)] {
			s.events.namespace(name, about[0], about[1], about[2], n)
		}
	}
}

func (s *podCounter) publish(name string, t podCounts) {
	all := []string{stateTapped, stateOutdated, stateUntapped, stateSkipped}
	for reason := range states {
		all = append(all, string(reason))
	}
	for _, state := range all {
		podStates.WithLabelValues(name, state).Set(float64(t[state]))
	}
}

func (s *podCounter) count(ctx context.Context, object *corev1.Namespace) (podCounts, error) {
	t := podCounts{}
	ns, err := s.namespaces.view(ctx, object)
	if err != nil {
		return t, err
	}
	a, err := s.dryRuns.of(ctx, ns)
	if err != nil {
		return t, err
	}
	a.fillIn(ns)
	if s.quotas != nil {
		s.quotas.fillIn(ctx, ns)
	}
	var list corev1.PodList
	limit := client.Limit(manyPods)
	for next := ""; ; next = list.Continue {
		page := func() error {
			return s.live.List(bounded(ctx, mostRead), &list, client.InNamespace(ns.Name), limit, client.Continue(next))
		}
		err := page()
		if errors.Is(err, errTooMuch) && limit > fewPods {
			limit = fewPods
			err = page()
		}
		if err != nil {
			return t, err
		}
		for i := range list.Items {
			if err := s.add(t, ns, &list.Items[i]); err != nil {
				return t, err
			}
		}
		if list.Continue == "" {
			return t, nil
		}
	}
}

func (s *podCounter) add(t podCounts, ns *inject.Namespace, pod *corev1.Pod) error {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	raw, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	switch reason := inject.Tap(s.cfg, ns, raw, s.namespaces.now()).Reason; reason {
	case inject.ReasonAlready:
		var status inject.Status
		if json.Unmarshal([]byte(pod.Annotations[inject.Prefix+inject.AnnotationStatus]), &status) == nil && status.Config == s.cfg.Hash() {
			t[stateTapped]++
		} else {
			t[stateOutdated]++
		}
	case inject.Injected:
		t[stateUntapped]++
	default:
		t[state(reason)]++
	}
	return nil
}
